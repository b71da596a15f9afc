//! Why a request stops: a closed list, each with all that its answer needs.

mod detail;
mod signature_error;

pub use signature_error::SignatureError;

use std::{borrow::Cow, fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;
use smallvec::SmallVec;

use crate::{
    model::{Access, Lock, Role},
    header_value,
    limit::{LimitedBy, LimitExceeded},
    media::MediaType,
    signature::ALGORITHM,
    normalize_path::{PathError, PathRules},
};

static ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
static ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// What is wrong with a presented credential, or with its absence (401).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unauthenticated {
    /// There is none.
    Missing,
    /// It has not the form or the checksum of one.
    Malformed,
    /// Nobody has it.
    Unknown,
    /// Its time is over.
    Expired,
    /// It is a signature, and does not hold.
    Signature(Box<SignatureError>),
}

/// Why a known caller is refused (403).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forbidden {
    /// The credential is disabled.
    CredentialDisabled,
    /// The caller is disabled.
    CallerDisabled,
    /// The caller is of a kind that has no business here.
    WrongCallerKind,
    /// Too many bad credentials came from where the request comes from; in `retry_after` seconds it may again.
    Lockout {
        /// Whole seconds, rounded up.
        retry_after: u64,
    },
    /// The caller's role does not go so far.
    RoleTooLow {
        /// The role that does.
        needed: Role,
    },
    /// The caller may not call from where the request comes from.
    AddressNotAllowed,
    /// The caller has no grant for the route.
    NoGrant,
    /// A browser sends the request for a page of another site.
    Origin,
    /// The credential's scopes do not cover the request.
    Scope {
        /// What the request is about.
        resource: Arc<str>,
        /// How deep it goes.
        access: Access,
    },
}

/// What is wrong with content, at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where: a JSON Pointer as a URI fragment (RFC 6901, section 6), such as `#/limits/0/quota`.
    pub pointer: String,
    /// On which line of the content, from 1, where that is lines; the pointer is within what stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What, in words; never what stood there.
    pub detail: Cow<'static, str>,
}

/// Names of limits; the first two of them in place.
pub type Names = SmallVec<[Arc<str>; 2]>;

/// Why a request stops.
///
/// [`code`](Self::code) is stable: programs may rely on it. [`detail`](Self::detail) is for people and
/// never says more than the caller may know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is its status, and `detail` explains it")]
pub enum Denial {
    /// 400: it can be read in two ways, or not at all.
    BadRequest { detail: Cow<'static, str> },
    /// 400: content without the members that it must have, of the types that they must have, and no others.
    InvalidShape { wrong: Box<[FieldError]> },
    /// 401, with what a client may try.
    Unauthenticated { cause: Unauthenticated, challenge: HeaderValue },
    /// 402: the tenant's subscription has lapsed, or holds no more.
    PaymentRequired { detail: Cow<'static, str> },
    /// 403: the caller is known, and may not.
    Forbidden(Forbidden),
    /// 404: missing, or somebody else's, which look the same.
    NotFound,
    /// 405, with the methods that are there.
    MethodNotAllowed { allow: HeaderValue },
    /// 406, with what there is to choose from.
    NotAcceptable { available: Arc<[MediaType]> },
    /// 408: the head or the content did not come in time.
    RequestTimeout,
    /// 409: somebody else was there first.
    Conflict { detail: Cow<'static, str> },
    /// 412: what the change is based on is no longer so.
    PreconditionFailed { detail: Cow<'static, str> },
    /// 413: more bytes than are taken here.
    ContentTooLarge { limit: u64 },
    /// 414: a longer target than is taken here, in bytes.
    TargetTooLong { limit: usize },
    /// 415, for the media type: what is taken instead, as the value of `Accept`.
    UnsupportedMediaType { taken: HeaderValue, method: Method },
    /// 415, for the content coding: what is taken instead, as the value of `Accept-Encoding`.
    UnsupportedCoding { taken: HeaderValue },
    /// 421: sent to a host that is not answered here.
    Misdirected { detail: Cow<'static, str> },
    /// 422: well-formed, and still makes no sense.
    Unprocessable { detail: Cow<'static, str> },
    /// 422: content of the right shape, with values that are out of place.
    InvalidValues { wrong: Box<[FieldError]> },
    /// 423: held by somebody, until `lock.expires_at`.
    Locked { lock: Arc<Lock>, now: Timestamp },
    /// 431: a larger head than is taken here, in bytes.
    HeadTooLarge { limit: usize },
    /// 428: the request must say what it takes to be there.
    PreconditionRequired { detail: Cow<'static, str> },
    /// 429: these limits are used up; in `retry_after` seconds there is room again.
    RateLimited { violated: Names, retry_after: u64 },
    /// 429: a throttle's limit, or a quota, is used up.
    Exhausted(LimitExceeded),
    /// 500: our fault; `inside` is for the log only.
    Internal { inside: Cow<'static, str> },
    /// 501: switched off here.
    NotImplemented { detail: Cow<'static, str> },
    /// 502: the service behind cannot be reached, or makes no sense; `inside` is for the log only.
    BadGateway { inside: Cow<'static, str> },
    /// 503: for now, through no fault of the caller.
    Unavailable { detail: Cow<'static, str>, retry_after: u64 },
    /// 504: the service behind did not answer in time; `inside` is for the log only.
    GatewayTimeout { inside: Cow<'static, str> },
}

impl Denial {
    /// A 400 with its reason.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::BadRequest { detail: detail.into() }
    }

    /// A 400 for a path that has no normal form.
    pub(crate) fn ambiguous(why: PathError) -> Self {
        Self::bad_request(format!("In the target, {why}."))
    }

    /// A 400 for a path that breaks rules which are not relaxed.
    pub(crate) fn path_violation(rules: PathRules) -> Self {
        let names = rules.names().collect::<Vec<_>>().join(", ");
        Self::bad_request(format!("The path breaks rules that are not relaxed here: {names}."))
    }

    /// A 500 with a reason for the log.
    pub fn internal(inside: impl Into<Cow<'static, str>>) -> Self {
        Self::Internal { inside: inside.into() }
    }

    /// A 503 with its reason, and when to come back, in seconds.
    pub fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after: u64) -> Self {
        Self::Unavailable { detail: detail.into(), retry_after }
    }

    /// A 401 for content that is not what its request's signature says.
    #[must_use]
    pub fn content_mismatch() -> Self {
        let cause = Unauthenticated::Signature(Box::new(SignatureError::ContentMismatch));
        Self::Unauthenticated { cause, challenge: HeaderValue::from_static(ALGORITHM) }
    }

    /// The status code of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest { .. } | Self::InvalidShape { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::PaymentRequired { .. } => StatusCode::PAYMENT_REQUIRED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable { .. } => StatusCode::NOT_ACCEPTABLE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::PreconditionFailed { .. } => StatusCode::PRECONDITION_FAILED,
            Self::ContentTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TargetTooLong { .. } => StatusCode::URI_TOO_LONG,
            Self::UnsupportedMediaType { .. } | Self::UnsupportedCoding { .. } => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::Misdirected { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::Unprocessable { .. } | Self::InvalidValues { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Locked { .. } => StatusCode::LOCKED,
            Self::PreconditionRequired { .. } => StatusCode::PRECONDITION_REQUIRED,
            Self::RateLimited { .. } | Self::Exhausted(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::HeadTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotImplemented { .. } => StatusCode::NOT_IMPLEMENTED,
            Self::BadGateway { .. } => StatusCode::BAD_GATEWAY,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::GatewayTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The reason in one stable word, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest { .. } => "bad-request",
            Self::InvalidShape { .. } => "wrong-shape",
            Self::Unauthenticated { cause, .. } => match cause {
                Unauthenticated::Missing => "credential-missing",
                Unauthenticated::Malformed => "credential-malformed",
                Unauthenticated::Unknown => "credential-unknown",
                Unauthenticated::Expired => "credential-expired",
                Unauthenticated::Signature(why) => why.code(),
            },
            Self::PaymentRequired { .. } => "payment-required",
            Self::Forbidden(why) => match why {
                Forbidden::CredentialDisabled => "credential-disabled",
                Forbidden::CallerDisabled => "caller-disabled",
                Forbidden::WrongCallerKind => "caller-kind",
                Forbidden::Lockout { .. } => "lockout",
                Forbidden::RoleTooLow { .. } => "role",
                Forbidden::AddressNotAllowed => "address",
                Forbidden::NoGrant => "not-granted",
                Forbidden::Origin => "origin",
                Forbidden::Scope { .. } => "scope",
            },
            Self::NotFound => "not-found",
            Self::MethodNotAllowed { .. } => "method-not-allowed",
            Self::NotAcceptable { .. } => "not-acceptable",
            Self::RequestTimeout => "request-timeout",
            Self::Conflict { .. } => "conflict",
            Self::PreconditionFailed { .. } => "precondition-failed",
            Self::ContentTooLarge { .. } => "content-too-large",
            Self::TargetTooLong { .. } => "target-too-long",
            Self::UnsupportedMediaType { .. } => "unsupported-media-type",
            Self::UnsupportedCoding { .. } => "unsupported-coding",
            Self::Misdirected { .. } => "misdirected",
            Self::Unprocessable { .. } => "unprocessable",
            Self::InvalidValues { .. } => "wrong-values",
            Self::Locked { .. } => "locked",
            Self::PreconditionRequired { .. } => "precondition-required",
            Self::RateLimited { .. } => "rate-limited",
            Self::Exhausted(LimitExceeded { by: LimitedBy::Quota, .. }) => "quota-exhausted",
            Self::Exhausted(_) => "throttled",
            Self::HeadTooLarge { .. } => "head-too-large",
            Self::Internal { .. } => "internal",
            Self::NotImplemented { .. } => "not-implemented",
            Self::BadGateway { .. } => "bad-gateway",
            Self::Unavailable { .. } => "unavailable",
            Self::GatewayTimeout { .. } => "gateway-timeout",
        }
    }

    /// What only the log may say.
    #[must_use]
    pub fn internal_detail(&self) -> Option<&str> {
        match self {
            Self::Internal { inside } | Self::BadGateway { inside } | Self::GatewayTimeout { inside } => {
                Some(inside)
            }
            _ => None,
        }
    }

    /// In how many seconds a retry makes sense, when that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after, .. }
            | Self::Exhausted(LimitExceeded { retry_after, .. })
            | Self::Unavailable { retry_after, .. }
            | Self::Forbidden(Forbidden::Lockout { retry_after }) => Some(*retry_after),
            Self::Locked { lock, now } => Some(seconds_until(lock.expires_at, *now)),
            _ => None,
        }
    }

    /// Adds the fields that the status calls for (RFC 9110): `WWW-Authenticate`, `Allow`, `Accept` and
    /// its kin, `Retry-After`.
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        match self {
            Self::Unauthenticated { challenge, .. } => {
                headers.insert(header::WWW_AUTHENTICATE, challenge.clone());
            }
            Self::MethodNotAllowed { allow } => {
                headers.insert(header::ALLOW, allow.clone());
            }
            Self::UnsupportedMediaType { taken, method } => {
                headers.insert(header::ACCEPT, taken.clone());
                if method == Method::POST {
                    headers.insert(&ACCEPT_POST, taken.clone());
                } else if method == Method::PATCH {
                    headers.insert(&ACCEPT_PATCH, taken.clone());
                }
            }
            Self::UnsupportedCoding { taken } => {
                headers.insert(header::ACCEPT_ENCODING, taken.clone());
            }
            _ => {}
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, header_value::from_u64(seconds));
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status().as_u16(), self.code())
    }
}

impl std::error::Error for Denial {}

/// Whole seconds, rounded up: who waits that long finds the moment passed. At least 1.
fn seconds_until(moment: Timestamp, now: Timestamp) -> u64 {
    let nanos = moment.as_nanosecond() - now.as_nanosecond();
    u64::try_from((nanos + 999_999_999).div_euclid(1_000_000_000)).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_until_a_moment_are_rounded_up() {
        let now: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        for (until, seconds) in [
            ("2026-01-01T00:00:10.5Z", 10),
            ("2026-01-01T00:00:10.500000001Z", 11),
            ("2026-01-01T00:00:00.6Z", 1),
            ("2025-01-01T00:00:00Z", 1),
        ] {
            assert_eq!(seconds_until(until.parse().unwrap(), now), seconds);
        }
    }
}
