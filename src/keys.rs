//! Keys without a registry: a fixed list, or a table of the application's own.
//!
//! [`Keys`] is a list that the program creates at its start. A [`KeyStore`] finds keys in a table of the application;
//! a [`KeyCache`] remembers what it found. Both are arguments of [`ApiKey::new`](crate::policy::ApiKey::new), as is
//! the [`Directory`](crate::directory::Directory) of a [registry](crate::registry), which the management surfaces need.
//!
//! Such keys may have any form, of at most 1,024 bytes; those of a list have at least 16 visible ASCII characters. They
//! are compared by their SHA-256, so they must be random: a key is not a password.

mod cache;
mod digest;
mod error;
mod found;
mod key;
mod list;
mod lookup;
mod store;

pub use cache::{KeyCache, KeyCacheBuilder};
pub use digest::KeyDigest;
pub use error::KeyError;
pub(crate) use found::{Found, Pending};
pub use key::Key;
pub use list::Keys;
pub use lookup::KeyLookup;
pub(crate) use lookup::Lookup;
pub use store::{KeyStore, StoreError};
