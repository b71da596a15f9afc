//! The sources of keys for policies.

use std::sync::Arc;

use super::{KeyCache, Keys, list::KeyList};
use crate::directory::Directory;

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
