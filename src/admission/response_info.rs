//! The part of an admission that the response needs.

use http::HeaderName;
use jiff::Timestamp;

use super::Identity;
use crate::limit::LimitSnapshot;

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
    /// Whether the caching headers of the response are left to the inner service.
    pub(crate) keeps_caching: bool,
}

/// The headers that report the state of the limits to the client, in responses and in denials.
///
/// In `RateLimit-Policy`, `q` is the number of requests in `w` seconds. In `RateLimit`, `r` is the number of requests that
/// may arrive at once, at most the burst; `t` is the number of seconds until one more may, and is absent while the
/// burst is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitFields {
    /// `RateLimit` and `RateLimit-Policy`, as in draft-ietf-httpapi-ratelimit-headers-10.
    pub ietf_draft_10: bool,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset` (seconds since the epoch), for one limit: the one that will
    /// be exceeded first.
    pub x_ratelimit: bool,
}

impl Default for RateLimitFields {
    fn default() -> Self {
        Self { ietf_draft_10: true, x_ratelimit: false }
    }
}

/// The state of the recognised caller's rate limits, for the headers that report it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimitReport {
    pub(crate) reading: LimitSnapshot,
    pub(crate) fields: RateLimitFields,
    pub(crate) at: Timestamp,
}
