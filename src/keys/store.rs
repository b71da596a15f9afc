//! The interface of tables that contain keys.

use std::{error::Error, future::Future, pin::Pin};

use super::{Key, KeyDigest};

/// An error of a store.
pub type StoreError = Box<dyn Error + Send + Sync>;

/// A table of keys that the application owns, such as an SQL table with a column for the SHA-256 of each key.
///
/// A [`KeyCache`](super::KeyCache) in front of it remembers keys, limits the number of concurrent look-ups, and looks
/// up each key once however many requests present it.
///
/// ```
/// use std::collections::HashMap;
/// use portcullis::{keys::{Key, KeyCache, KeyDigest, KeyStore, StoreError}, policy::ApiKey};
///
/// struct Table(HashMap<KeyDigest, String>);
///
/// impl KeyStore for Table {
///     async fn find(&self, digest: KeyDigest) -> Result<Option<Key>, StoreError> {
///         // Usually: SELECT caller, … FROM keys WHERE sha256 = $1
///         Ok(self.0.get(&digest).map(Key::new))
///     }
/// }
///
/// let table = Table(HashMap::from([(KeyDigest::from_key("correct horse battery staple"), "shop".into())]));
/// let policy = ApiKey::new(KeyCache::new(table));
/// ```
pub trait KeyStore: Send + Sync + 'static {
    /// Finds the key with this digest. `None` means that there is no such key, and the request is denied with 401.
    ///
    /// # Errors
    /// If the table cannot be read. Requests are then denied with 503, never with 401.
    fn find(&self, digest: KeyDigest) -> impl Future<Output = Result<Option<Key>, StoreError>> + Send;
}

/// [`KeyStore`] with a boxed future.
pub(super) trait DynKeyStore: Send + Sync {
    fn find(&self, digest: KeyDigest) -> FindFuture<'_>;
}

pub(super) type FindFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<Key>, StoreError>> + Send + 'a>>;

impl<S: KeyStore> DynKeyStore for S {
    fn find(&self, digest: KeyDigest) -> FindFuture<'_> {
        Box::pin(KeyStore::find(self, digest))
    }
}
