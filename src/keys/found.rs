//! The results of look-ups.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use crate::directory::KeyEntry;

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
