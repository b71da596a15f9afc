//! Reads all entities of a registry page by page.

use std::vec::IntoIter;

use async_trait::async_trait;
use jiff::Timestamp;

use super::RegistryError;
use crate::model::{CredentialId, Entity, Seq};

/// A consistent view of all entities, as of one change.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The number of the last change that the snapshot contains.
    pub seq: Seq,
    /// All entities, grouped by kind in the order of [`EntityKind::ALL`](crate::model::EntityKind::ALL). Within a kind they are in no
    /// particular order.
    pub entities: Vec<Entity>,
}

/// A page of entities and last uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotPage {
    /// Entities in their current state.
    pub entities: Vec<Entity>,
    /// The last uses of credentials, in whole seconds. Last uses are not changes.
    pub uses: Vec<(CredentialId, Timestamp)>,
}

impl SnapshotPage {
    /// Returns `true` if the page has neither entities nor last uses.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty() && self.uses.is_empty()
    }
}

/// A reader of all entities in a registry as of one change; see [`Registry::view`](super::Registry::view). An open view
/// may keep the store from removing old data: drop it soon.
#[async_trait]
pub trait SnapshotReader: Send {
    /// The number of the last change that the view contains.
    fn seq(&self) -> Seq;

    /// Returns the next page: first entities, each after the entities that it refers to, and then the last uses. An
    /// empty page is the end.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    async fn next(&mut self) -> Result<SnapshotPage, RegistryError>;
}

/// The maximum number of items on a page.
const PAGE: usize = 1_000;

/// A view whose data is held in memory.
pub(super) struct BufferedSnapshot {
    seq: Seq,
    entities: IntoIter<Entity>,
    credentials: Vec<CredentialId>,
    uses: IntoIter<(CredentialId, Timestamp)>,
}

impl BufferedSnapshot {
    pub(super) fn new(seq: Seq, entities: Vec<Entity>) -> Self {
        let credential = |entity: &Entity| match entity {
            Entity::Credential(credential) => Some(credential.id.clone()),
            _ => None,
        };
        let credentials = entities.iter().filter_map(credential).collect();
        Self { seq, entities: entities.into_iter(), credentials, uses: Vec::new().into_iter() }
    }

    pub(super) fn credentials(&self) -> &[CredentialId] {
        &self.credentials
    }

    /// Sets the last uses of the credentials, in the order of [`credentials`](Self::credentials).
    pub(super) fn note(&mut self, uses: Vec<Option<Timestamp>>) {
        let uses = std::mem::take(&mut self.credentials).into_iter().zip(uses);
        self.uses = uses.filter_map(|(id, at)| Some((id, at?))).collect::<Vec<_>>().into_iter();
    }
}

#[async_trait]
impl SnapshotReader for BufferedSnapshot {
    fn seq(&self) -> Seq {
        self.seq
    }

    async fn next(&mut self) -> Result<SnapshotPage, RegistryError> {
        let entities: Vec<_> = self.entities.by_ref().take(PAGE).collect();
        let uses = self.uses.by_ref().take(PAGE - entities.len()).collect();
        Ok(SnapshotPage { entities, uses })
    }
}
