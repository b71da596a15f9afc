//! Everything in a registry, read page by page.

use std::vec::IntoIter;

use async_trait::async_trait;
use jiff::Timestamp;

use super::RegistryError;
use crate::model::{CredentialId, Entity, Seq};

/// Some of the things that a registry keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotPage {
    /// What its changes came to.
    pub entities: Vec<Entity>,
    /// When credentials were last used, in whole seconds: no changes.
    pub uses: Vec<(CredentialId, Timestamp)>,
}

impl SnapshotPage {
    /// Whether nothing is on it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty() && self.uses.is_empty()
    }
}

/// Everything in a registry as of one change; see [`Registry::view`](super::Registry::view). Whoever has one and
/// reads no further may hold up what the store has to clear away: end it soon.
#[async_trait]
pub trait SnapshotReader: Send {
    /// The number of the last change it contains.
    fn seq(&self) -> Seq;

    /// The next page: entities, each behind those that it stands on, and then the last uses. An empty one is the
    /// end.
    ///
    /// # Errors
    /// Only [`Fault::Unavailable`] and [`Fault::Corrupt`].
    async fn next(&mut self) -> Result<SnapshotPage, RegistryError>;
}

/// How much of what is held is handed over at once.
const PAGE: usize = 1_000;

/// All of it, held.
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

    /// When these credentials were used, in their order.
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
