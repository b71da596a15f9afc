//! Exports a registry as a file.

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    ndjson::{FORMAT, Header, LastUse, LineCounts, MAX_LINE_LEN, MetaLine, USE, VERSION},
    secrets::{SecretFingerprints, needs},
};
use portcullis::{
    model::hex::encode,
    registry::{Registry, RegistryError, SnapshotPage, SnapshotReader},
};

/// An export in progress. At most one page of it is in memory. See the [module](super).
pub struct Export {
    view: Box<dyn SnapshotReader>,
    hash: Sha256,
    /// `None` after the last line.
    tally: Option<LineCounts>,
    /// The first line, until it is returned.
    head: Option<Header>,
}

impl Export {
    /// Begins an export of the current data of a registry. `secrets` are those of its installation. `now` is written to
    /// the file.
    ///
    /// An open export may occupy a connection to the store and keep the store from removing old data: continue it or
    /// drop it.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`].
    pub async fn begin(
        registry: &dyn Registry,
        secrets: &SecretFingerprints,
        now: Timestamp,
    ) -> Result<Self, RegistryError> {
        let view = registry.view().await?;
        let SecretFingerprints { peppers, seal_keys } = secrets.clone();
        let head = Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            seq: view.seq(),
            at: now,
            peppers,
            seal_keys,
        };
        Ok(Self { view, hash: Sha256::new(), tally: Some(LineCounts::default()), head: Some(head) })
    }

    /// Returns the next lines; `None` at the end.
    ///
    /// # Errors
    /// Only [`RegistryError::Unavailable`] and [`RegistryError::Corrupt`]. The lines up to then are not a complete file, and an import
    /// rejects them.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, RegistryError> {
        let Some(tally) = &mut self.tally else { return Ok(None) };
        let mut lines = Vec::new();
        if let Some(head) = self.head.take() {
            write(&mut lines, &MetaLine::Head(head))?;
        }
        let page = self.view.next().await?;
        if page.is_empty() {
            self.hash.update(&lines);
            let sha256 = encode(&std::mem::take(&mut self.hash).finalize());
            let tally = self.tally.take().unwrap_or_default();
            write(&mut lines, &MetaLine::End(tally.end(sha256)))?;
            return Ok(Some(lines));
        }
        let SnapshotPage { entities, uses } = page;
        for entity in entities {
            tally.count(entity.kind().as_str());
            needs(&entity).for_each(|(need, _)| tally.need(need));
            write(&mut lines, &entity)?;
        }
        for (credential, at) in uses {
            tally.count(USE);
            write(&mut lines, &MetaLine::Use(LastUse { credential, at }))?;
        }
        self.hash.update(&lines);
        Ok(Some(lines))
    }
}

/// Writes a line and checks that an import can read it.
fn write(lines: &mut Vec<u8>, line: &impl Serialize) -> Result<(), RegistryError> {
    let start = lines.len();
    let written = serde_json::to_writer(&mut *lines, line);
    lines.push(b'\n');
    if written.is_err() || lines.len() - start > MAX_LINE_LEN {
        return Err(RegistryError::Corrupt("an entity is too long to export, or cannot be written".into()));
    }
    Ok(())
}
