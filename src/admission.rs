//! The results of admitting a request.

mod caching;
mod content_digest;
mod headers;
mod identity;
mod matched_route;
mod path;
mod permit;
mod response_info;
mod upstream;

pub use content_digest::{DigestMismatch, DigestVerifier};
pub use identity::Identity;
pub use matched_route::MatchedRoute;
pub(crate) use permit::Permit;
pub use permit::{Committed, Permits};
pub use response_info::RateLimitFields;
pub(crate) use response_info::{RateLimitReport, ResponseInfo};

use std::{net::IpAddr, sync::Arc};

use http::Uri;

use crate::{directory::CallerEntry, keys::Pending, media::MediaType, normalize_path::PathRules};

/// The results of the policies that admitted a request, and the permits that they acquired.
///
/// A handler finds it among the request's extensions. A clone carries the results but no permits, which stay with the
/// original.
#[derive(Debug, Default)]
pub struct Admission {
    /// The part that the response needs, too.
    pub(crate) response: ResponseInfo,
    pub(crate) offers: Option<(Arc<[MediaType]>, usize)>,
    /// Boxed, because it is rare and large.
    pub(crate) target: Option<Box<Uri>>,
    pub(crate) path_violations: PathRules,
    /// The normalized path to decide on, if it differs from the path that the client sent.
    pub(crate) path: Option<Box<str>>,
    /// Set once the path to decide on is known to be normalized.
    pub(crate) is_normal: bool,
    /// Set once [`StrictHttp`](crate::policy::StrictHttp) has admitted the request.
    pub(crate) is_strict: bool,
    pub(crate) body_limit: Option<u64>,
    /// Bytes of the body that a proxy has passed on.
    pub(crate) passed_on: u64,
    /// The results that the request waited for.
    pub(crate) awaited: Option<Box<Awaited>>,
    /// SHA-256 that the body must have, if nothing has checked it yet.
    pub(crate) verifier: Option<Box<DigestVerifier>>,
    matched_route: Option<&'static MatchedRoute>,
    pub(crate) permits: Permits,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) cursor: Cursor,
}

/// The results of waits, for the policies that caused them. Boxed, because most requests wait for nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Awaited {
    /// SHA-256 of the body, if the body was buffered.
    pub(crate) content_sha256: Option<[u8; 32]>,
    /// The look-up of the request's key.
    pub(crate) key: Option<Pending>,
}

/// The position of an evaluation in a chain of policies, in steps.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    /// The steps passed in this evaluation.
    pub(crate) at: u32,
    /// The steps passed in the evaluation that ended in a wait.
    pub(crate) passed: u32,
}

impl Clone for Admission {
    fn clone(&self) -> Self {
        Self {
            response: self.response.clone(),
            offers: self.offers.clone(),
            target: self.target.clone(),
            path_violations: self.path_violations,
            path: self.path.clone(),
            is_normal: self.is_normal,
            is_strict: self.is_strict,
            body_limit: self.body_limit,
            passed_on: self.passed_on,
            awaited: self.awaited.clone(),
            verifier: self.verifier.clone(),
            matched_route: self.matched_route,
            permits: Permits::default(),
            peer: self.peer,
            cursor: Cursor::default(),
        }
    }
}

impl Admission {
    /// Refunds all permits.
    pub(crate) fn refund(&mut self) {
        self.cursor.passed = 0;
        self.permits.refund();
        // A refunded permit is not reported as spent.
        self.response.report.take_if(|report| !report.reading.is_denial());
    }

    /// Returns the caller and its credential, if a policy recognised them.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.response.identity.as_ref()
    }

    /// Returns the client's address, if the face knew it.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Returns the caller, if a policy recognised one.
    #[must_use]
    pub fn caller(&self) -> Option<&CallerEntry> {
        self.identity().map(Identity::caller)
    }

    /// Returns the media type for the response, if [`Accept`](crate::policy::Accept) negotiated one.
    ///
    /// ```
    /// use axum::{Extension, http::header, response::IntoResponse};
    /// use portcullis::Admission;
    ///
    /// async fn orders(Extension(admission): Extension<Admission>) -> impl IntoResponse {
    ///     match admission.media_type().map(|media_type| media_type.as_str()) {
    ///         Some("text/csv") => ([(header::CONTENT_TYPE, "text/csv")], "id\n7\n"),
    ///         _ => ([(header::CONTENT_TYPE, "application/json")], "[{\"id\":7}]"),
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn media_type(&self) -> Option<&MediaType> {
        self.offers.as_ref().and_then(|(offers, chosen)| offers.get(*chosen))
    }

    /// Returns the route that the request matched, if a policy selects routes, such as that of the gateway.
    #[must_use]
    pub fn matched_route(&self) -> Option<&'static MatchedRoute> {
        self.matched_route
    }

    /// Sets the route that the request matched. For policies that select a route and evaluate its policies.
    pub fn set_matched_route(&mut self, route: &'static MatchedRoute) {
        self.matched_route = Some(route);
    }

    /// Sets the identity. A report about the limits of an earlier identity is dropped.
    pub(crate) fn set_identity(&mut self, identity: Identity) {
        self.response.report = None;
        self.response.identity = Some(identity);
    }

    /// Takes the permits out of the admission, to be held while the request is served.
    #[must_use]
    pub fn take_permits(&mut self) -> Permits {
        std::mem::take(&mut self.permits)
    }

    /// Returns the maximum length of the body in bytes, if a policy set one. The reader of the body must enforce it.
    #[must_use]
    pub fn body_limit(&self) -> Option<u64> {
        self.body_limit
    }

    /// Takes the check of a signed body that was not read yet. The reader of the body must perform it.
    #[must_use]
    pub fn take_content_check(&mut self) -> Option<Box<DigestVerifier>> {
        self.verifier.take()
    }

    /// Sets the SHA-256 of the body, which a policy asked for ([`Stop::NeedsBody`](crate::Stop::NeedsBody)).
    pub fn set_content_sha256(&mut self, hash: [u8; 32]) {
        self.awaited.get_or_insert_default().content_sha256 = Some(hash);
    }
}
