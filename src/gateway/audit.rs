//! The change log, for whoever has to account for it.

use std::str::FromStr;

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::{
    model::{
        Change, Seq, ChangeKind,
        hex::{encode, decode},
    },
    clock::SystemClock,
    config::Config,
    registry::{Registry, sqlite::Sqlite},
};

/// How many changes are read at once.
const PAGE: u32 = 500;

/// A change's number and hash, as `41:9f86d081…`: kept elsewhere, it proves later that this change and all before
/// it are what they were.
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
        let (seq, hash) = parts.ok_or("a change's number, a colon, and 64 hexadecimal digits")?;
        Ok(Self { seq, hash })
    }
}

/// A change as it is told: what there was before and after, without digests and secrets.
#[derive(Debug, Serialize)]
pub struct ChangeRecord {
    /// Its number.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What was done.
    pub verb: ChangeKind,
    /// To what kind of thing.
    pub kind: &'static str,
    /// To which.
    pub id: String,
    /// What it was; `null` when it was not there.
    pub before: Option<Value>,
    /// What it is since; `null` when it is gone.
    pub after: Option<Value>,
}

impl ChangeRecord {
    /// The members that are different since, each with what it was and what it is.
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

/// The store of a configuration, as it is: nothing of it is made or changed.
async fn store(config: &Config) -> anyhow::Result<Sqlite> {
    let path = &config.store.path;
    if !path.exists() {
        bail!("there is no store {}", path.display());
    }
    let opened = Sqlite::open_to_read(path, std::sync::Arc::new(SystemClock::new())).await;
    opened.with_context(|| format!("store {}", path.display()))
}

/// Proves that the store holds what was written through a registry, and nothing else; and, given an anchor, that
/// the changes up to it are those that it was made of. Returns the anchor of today.
///
/// # Errors
/// The first thing that is not so; when there is no store, or it cannot be read.
pub async fn verify(config: &Config, kept: Option<ChainHead>) -> anyhow::Result<ChainHead> {
    let store = store(config).await?;
    let proven = compare(&store, kept).await;
    store.close().await;
    proven
}

async fn compare(store: &Sqlite, kept: Option<ChainHead>) -> anyhow::Result<ChainHead> {
    let proof = store.verify().await?;
    if let Some(kept) = kept {
        match store.hash(kept.seq).await? {
            // What an empty log begins with: all of it is behind that.
            None if kept == ChainHead::default() => {}
            Some(hash) if hash == kept.hash => {}
            Some(_) => bail!("change {} has another hash than was kept: the log was written anew", kept.seq),
            None => bail!("change {} was kept and is not there: the log was cut off", kept.seq),
        }
    }
    Ok(ChainHead { seq: proof.changes, hash: proof.head })
}

/// Tells the changes after a number, at most so many, one by one.
///
/// # Errors
/// When there is no store, it cannot be read, or the telling fails.
pub async fn list(
    config: &Config,
    after: Seq,
    limit: u64,
    tell: impl FnMut(&ChangeRecord) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let store = store(config).await?;
    let listed = list_all(&store, after, limit, tell).await;
    store.close().await;
    listed
}

async fn list_all(
    store: &Sqlite,
    after: Seq,
    limit: u64,
    mut tell: impl FnMut(&ChangeRecord) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let (mut after, mut left) = (after, limit);
    while left > 0 {
        let changes = store.changes(after, PAGE.min(u32::try_from(left).unwrap_or(PAGE))).await?;
        let Some(last) = changes.last() else { break };
        (after, left) = (last.seq, left - changes.len() as u64);
        for change in changes {
            tell(&to_record(store, change).await?)?;
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
