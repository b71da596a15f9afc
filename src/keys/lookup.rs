//! The sources of keys for policies.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use super::{KeyCache, KeyDigest, Keys, list::KeyList};
use crate::{
    clock::Moment,
    directory::{Directory, KeyEntry},
};

/// A source of keys for [`ApiKey`](crate::policy::ApiKey): a [list](Keys), a [cache](KeyCache), or a
/// [directory](Directory).
#[derive(Debug, Clone)]
pub struct KeyLookup(pub(crate) Lookup);

#[derive(Debug, Clone)]
pub(crate) enum Lookup {
    Directory(Arc<Directory>),
    List(Arc<KeyList>),
    Cache(KeyCache),
}

impl From<Arc<Directory>> for KeyLookup {
    fn from(directory: Arc<Directory>) -> Self {
        Self(Lookup::Directory(directory))
    }
}

impl From<Keys> for KeyLookup {
    fn from(keys: Keys) -> Self {
        Self(Lookup::List(Arc::new(keys.into_list())))
    }
}

impl From<KeyCache> for KeyLookup {
    fn from(cache: KeyCache) -> Self {
        Self(Lookup::Cache(cache))
    }
}

/// The result of a search for a key.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Key(Arc<KeyEntry>),
    Unknown,
    /// The store failed or did not answer in time.
    Fault,
}

/// A result that a request waits for.
pub(crate) type Pending = Arc<OnceLock<Found>>;

/// Resolves when the result of a look-up is there.
pub(crate) type LookupFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

impl KeyCache {
    /// Finds a key of any form. The result of an earlier wait is in `pending`.
    ///
    /// # Errors
    /// If the key is not in the cache: the future to wait for.
    pub(crate) fn find(
        &self,
        presented: &str,
        pending: &mut Option<Pending>,
        now: Moment,
    ) -> Result<Found, LookupFuture> {
        if let Some(found) = pending.take().and_then(|pending| pending.get().cloned()) {
            return Ok(found);
        }
        let digest = KeyDigest::from_key(presented);
        self.get(&digest, now).ok_or_else(|| {
            let result = Pending::default();
            *pending = Some(result.clone());
            self.load(digest, now, result)
        })
    }
}
