//! Reads and verifies the change log, for auditors.

use std::str::FromStr;

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::store::ensure_exists;
use crate::config::Config;
use portcullis::{
    clock::SystemClock,
    model::{
        Change, ChangeKind, Seq,
        hex::{decode, encode},
    },
    registry::{Registry, sqlite::Sqlite},
};

/// The number of changes that are read at once.
const PAGE: u32 = 500;

/// The number and the hash of a change, written as `41:9f86d081…`. If it is kept elsewhere, it later proves that this
/// change and all changes before it are unmodified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChainHead {
    seq: Seq,
    hash: [u8; 32],
}

impl std::fmt::Display for ChainHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, encode(&self.hash))
    }
}

impl FromStr for ChainHead {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once(':').and_then(|(seq, hash)| Some((seq.parse().ok()?, decode(hash)?)));
        let (seq, hash) = parts.ok_or("expected a change number, a colon and 64 hexadecimal digits")?;
        Ok(Self { seq, hash })
    }
}

/// A change as shown to users: the object before and after, without digests and secrets.
#[derive(Debug, Serialize)]
pub struct ChangeRecord {
    /// The number of the change.
    pub seq: Seq,
    /// The time of the change.
    pub at: Timestamp,
    /// The actor that made the change.
    pub actor: String,
    /// The operation.
    pub verb: ChangeKind,
    /// The kind of the changed object.
    pub kind: &'static str,
    /// The id of the changed object.
    pub id: String,
    /// The object before the change. `null` if it did not exist.
    pub before: Option<Value>,
    /// The object after the change. `null` if it was deleted.
    pub after: Option<Value>,
}

impl ChangeRecord {
    /// Returns the members that changed, each with its old and its new value.
    pub fn differences(&self) -> impl Iterator<Item = (&str, &Value, &Value)> {
        let before = self.before.as_ref().and_then(Value::as_object);
        let after = self.after.as_ref().and_then(Value::as_object);
        let own = ["revision", "updated_at"];
        let both = before.zip(after).into_iter().flat_map(|(before, after)| {
            after.iter().filter_map(|(name, now)| Some((name.as_str(), before.get(name)?, now)))
        });
        both.filter(move |(name, was, is)| was != is && !own.contains(name))
    }
}

/// Opens the store of a configuration for reading. The store is neither created nor changed.
async fn store(config: &Config) -> anyhow::Result<Sqlite> {
    let path = &config.store.path;
    ensure_exists(path)?;
    let opened = Sqlite::open_to_read(path, std::sync::Arc::new(SystemClock::new())).await;
    opened.with_context(|| format!("store {}", path.display()))
}

/// Verifies that the store holds exactly the changes that were written through a registry. With an anchor, also
/// verifies that the changes up to the anchor are unmodified. Returns the current anchor.
///
/// # Errors
/// Fails at the first violation, or if the store does not exist or cannot be read.
pub async fn verify(config: &Config, expected: Option<ChainHead>) -> anyhow::Result<ChainHead> {
    let store = store(config).await?;
    let proven = compare(&store, expected).await;
    store.close().await;
    proven
}

async fn compare(store: &Sqlite, expected: Option<ChainHead>) -> anyhow::Result<ChainHead> {
    let proof = store.verify().await?;
    if let Some(expected) = expected {
        match store.hash(expected.seq).await? {
            // The default head means an empty log: every log extends it.
            None if expected == ChainHead::default() => {}
            Some(hash) if hash == expected.hash => {}
            Some(_) => bail!("change {} differs from the given head: the log was rewritten", expected.seq),
            None => bail!("change {} of the given head does not exist: the log was truncated", expected.seq),
        }
    }
    Ok(ChainHead { seq: proof.changes, hash: proof.head })
}

/// Passes the changes after a number to a callback, one by one, up to a limit.
///
/// # Errors
/// Fails if the store does not exist or cannot be read, or if the callback fails.
pub async fn list(
    config: &Config,
    after: Seq,
    limit: u64,
    suppressed: impl FnMut(&ChangeRecord) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let store = store(config).await?;
    let listed = list_all(&store, after, limit, suppressed).await;
    store.close().await;
    listed
}

async fn list_all(
    store: &Sqlite,
    after: Seq,
    limit: u64,
    mut suppressed: impl FnMut(&ChangeRecord) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let (mut after, mut left) = (after, limit);
    while left > 0 {
        let changes = store.changes(after, PAGE.min(u32::try_from(left).unwrap_or(PAGE))).await?;
        let Some(last) = changes.last() else { break };
        (after, left) = (last.seq, left - changes.len() as u64);
        for change in changes {
            suppressed(&to_record(store, change).await?)?;
        }
    }
    Ok(())
}

async fn to_record(store: &Sqlite, change: Change) -> anyhow::Result<ChangeRecord> {
    let before = store.before(&change).await?;
    let after = (change.verb != ChangeKind::Deleted).then(|| change.entity.redacted());
    Ok(ChangeRecord {
        seq: change.seq,
        at: change.at,
        verb: change.verb,
        kind: change.entity.kind().as_str(),
        id: change.entity.id().to_owned(),
        before: before.map(|entity| entity.redacted()),
        after,
        actor: change.actor.as_str().to_owned(),
    })
}
