//! The part of an admission that the response needs.

use http::HeaderName;

use super::{Identity, RateLimitReport};

/// The results that a response reports. They are apart from the rest of an [`Admission`](super::Admission), which the inner service
/// receives, because a future has to hold them while the request is served.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResponseInfo {
    /// The caller and its credential.
    pub(crate) identity: Option<Identity>,
    /// The state of the caller's rate limits.
    pub(crate) report: Option<RateLimitReport>,
    /// The header that contained the credential, if the inner service does not receive it.
    pub(crate) credential: Option<HeaderName>,
    /// Whether the response depends on `Accept`.
    pub(crate) varies: bool,
}
