//! Reasons to deny a request: a closed enum whose variants hold all that the response needs.

mod detail;
mod signature_error;

pub use signature_error::SignatureError;

use std::{borrow::Cow, fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;
use smallvec::SmallVec;

use crate::{
    header_value,
    limit::{LimitExceeded, LimitedBy},
    media::MediaType,
    model::{Access, Lock, Role},
    normalize_path::{PathError, PathRules},
    signature::ALGORITHM,
};

static ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
static ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// A fault of a presented credential, or its absence (401).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unauthenticated {
    /// The request has no credential.
    Missing,
    /// The credential has an invalid form or checksum.
    Malformed,
    /// The credential belongs to no caller.
    Unknown,
    /// The credential has expired.
    Expired,
    /// The credential is a signature that is invalid.
    Signature(Box<SignatureError>),
}

/// A reason to deny a request of a known caller (403).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forbidden {
    /// The credential is disabled.
    CredentialDisabled,
    /// The caller is disabled.
    CallerDisabled,
    /// Callers of this kind may not use the resource.
    WrongCallerKind,
    /// Too many bad credentials came from the client's address; it may retry in `retry_after` seconds.
    Lockout {
        /// Whole seconds, rounded up.
        retry_after: u64,
    },
    /// The caller's role does not allow the operation.
    RoleTooLow {
        /// The lowest role that allows the operation.
        needed: Role,
    },
    /// The caller's address list does not allow the client's address.
    AddressNotAllowed,
    /// The caller has no grant for the route.
    NoGrant,
    /// A browser sent the request for a web page of another origin.
    Origin,
    /// The credential's scopes do not allow the request.
    Scope {
        /// The resource that the request is for.
        resource: Arc<str>,
        /// The access that the request needs.
        access: Access,
    },
    /// A rule of the service, in its words.
    Rule {
        /// The explanation.
        detail: Cow<'static, str>,
    },
}

/// A fault at one place of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The place: a JSON Pointer as a URI fragment (RFC 6901, section 6), such as `#/limits/0/quota`.
    pub pointer: String,
    /// The line of the body, from 1, if the body consists of lines; the pointer is relative to that line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The fault in words, without the value found there.
    pub detail: Cow<'static, str>,
}

/// Names of limits; the first two are stored inline.
pub type Names = SmallVec<[Arc<str>; 2]>;

/// A reason to deny a request.
///
/// [`code`](Self::code) is stable: programs may rely on it. [`detail`](Self::detail) is for people and only contains
/// information that the caller may have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is its status, and `detail` explains it")]
pub enum Denial {
    /// 400: the request is invalid or ambiguous.
    BadRequest { detail: Cow<'static, str> },
    /// 400: the body lacks a required member, has a member of the wrong type, or has an unknown member.
    InvalidShape { wrong: Box<[FieldError]> },
    /// 401, with the authentication challenge for the client.
    Unauthenticated { cause: Unauthenticated, challenge: HeaderValue },
    /// 402: the tenant's subscription has lapsed or is used up.
    PaymentRequired { detail: Cow<'static, str> },
    /// 403: the caller is known but not allowed to do this.
    Forbidden(Forbidden),
    /// 404: the resource does not exist or belongs to another tenant; both look alike.
    NotFound,
    /// 405, with the methods that the resource supports.
    MethodNotAllowed { allow: HeaderValue },
    /// 406, with the available media types.
    NotAcceptable { available: Arc<[MediaType]> },
    /// 408: the head or the body did not arrive in time.
    RequestTimeout,
    /// 409: the request conflicts with another change.
    Conflict { detail: Cow<'static, str> },
    /// 412: the state that the change is based on has changed.
    PreconditionFailed { detail: Cow<'static, str> },
    /// 413: the body is longer than the limit, in bytes.
    ContentTooLarge { limit: u64 },
    /// 414: the target is longer than the limit, in bytes.
    TargetTooLong { limit: usize },
    /// 415 for the media type, with the supported ones as the value of `Accept`.
    UnsupportedMediaType { taken: HeaderValue, method: Method },
    /// 415 for the content coding, with the supported ones as the value of `Accept-Encoding`.
    UnsupportedCoding { taken: HeaderValue },
    /// 421: the request is for a host that this server does not serve.
    Misdirected { detail: Cow<'static, str> },
    /// 422: the request is well-formed, but cannot be processed.
    Unprocessable { detail: Cow<'static, str> },
    /// 422: the body has the right shape, but values that are not allowed.
    InvalidValues { wrong: Box<[FieldError]> },
    /// 423: the resource is locked until `lock.expires_at`.
    Locked { lock: Arc<Lock>, now: Timestamp },
    /// 431: the head is larger than the limit, in bytes.
    HeadTooLarge { limit: usize },
    /// 428: the request lacks a required precondition.
    PreconditionRequired { detail: Cow<'static, str> },
    /// 429: these rate limits are exceeded; a retry may succeed in `retry_after` seconds.
    RateLimited { violated: Names, retry_after: u64 },
    /// 429: the limit of a throttle, or a quota, is used up.
    Exhausted(LimitExceeded),
    /// 500: an internal error; `inside` is for the log only.
    Internal { inside: Cow<'static, str> },
    /// 501: the operation is disabled.
    NotImplemented { detail: Cow<'static, str> },
    /// 502: the upstream cannot be reached or sent an invalid response; `inside` is for the log only.
    BadGateway { inside: Cow<'static, str> },
    /// 503: the server is temporarily unavailable, through no fault of the caller.
    Unavailable { detail: Cow<'static, str>, retry_after: u64 },
    /// 503, or 423 if `is_locked` is true: the resource is under maintenance; a retry may succeed in `retry_after`
    /// seconds.
    Maintenance { is_locked: bool, detail: Cow<'static, str>, retry_after: u64 },
    /// 504: the upstream did not respond in time; `inside` is for the log only.
    GatewayTimeout { inside: Cow<'static, str> },
}

impl Denial {
    /// A 400 with an explanation.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::BadRequest { detail: detail.into() }
    }

    /// A 400 for a path that cannot be normalized.
    pub(crate) fn ambiguous(why: PathError) -> Self {
        Self::bad_request(format!("The request target is invalid: {why}."))
    }

    /// A 400 for a path that violates path rules that are not relaxed.
    pub(crate) fn path_violation(rules: PathRules) -> Self {
        let names = rules.names().collect::<Vec<_>>().join(", ");
        Self::bad_request(format!("The path violates these path rules: {names}."))
    }

    /// A 403 with an explanation, for rules of a service's own.
    ///
    /// ```
    /// use portcullis::{Caller, Denial};
    ///
    /// async fn refund(caller: Caller) -> Result<String, Denial> {
    ///     if caller.plan() != Some("gold") {
    ///         return Err(Denial::forbidden("Refunds need the plan gold."));
    ///     }
    ///     Ok("refunded".into())
    /// }
    /// ```
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Forbidden(Forbidden::Rule { detail: detail.into() })
    }

    /// A 500 with a reason for the log.
    pub fn internal(inside: impl Into<Cow<'static, str>>) -> Self {
        Self::Internal { inside: inside.into() }
    }

    /// A 503 with an explanation, and the seconds until a retry makes sense.
    pub fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after: u64) -> Self {
        Self::Unavailable { detail: detail.into(), retry_after }
    }

    /// A 401 for a body that does not match the SHA-256 that the request's signature covers.
    #[must_use]
    pub fn content_mismatch() -> Self {
        let cause = Unauthenticated::Signature(Box::new(SignatureError::ContentMismatch));
        Self::Unauthenticated { cause, challenge: HeaderValue::from_static(ALGORITHM) }
    }

    /// Returns the status code of the response.
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
            Self::Locked { .. } | Self::Maintenance { is_locked: true, .. } => StatusCode::LOCKED,
            Self::PreconditionRequired { .. } => StatusCode::PRECONDITION_REQUIRED,
            Self::RateLimited { .. } | Self::Exhausted(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::HeadTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotImplemented { .. } => StatusCode::NOT_IMPLEMENTED,
            Self::BadGateway { .. } => StatusCode::BAD_GATEWAY,
            Self::Unavailable { .. } | Self::Maintenance { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::GatewayTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Returns the reason as a stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest { .. } => "bad-request",
            Self::InvalidShape { .. } => "invalid-shape",
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
                Forbidden::WrongCallerKind => "caller-kind-not-allowed",
                Forbidden::Lockout { .. } => "lockout",
                Forbidden::RoleTooLow { .. } => "insufficient-role",
                Forbidden::AddressNotAllowed => "address-not-allowed",
                Forbidden::NoGrant => "not-granted",
                Forbidden::Origin => "origin-not-allowed",
                Forbidden::Scope { .. } => "insufficient-scope",
                Forbidden::Rule { .. } => "forbidden",
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
            Self::InvalidValues { .. } => "invalid-values",
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
            Self::Maintenance { .. } => "maintenance",
            Self::GatewayTimeout { .. } => "gateway-timeout",
        }
    }

    /// Returns the detail that only the log may contain.
    #[must_use]
    pub fn internal_detail(&self) -> Option<&str> {
        match self {
            Self::Internal { inside } | Self::BadGateway { inside } | Self::GatewayTimeout { inside } => {
                Some(inside)
            }
            _ => None,
        }
    }

    /// Returns the seconds until a retry makes sense, if known.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after, .. }
            | Self::Exhausted(LimitExceeded { retry_after, .. })
            | Self::Unavailable { retry_after, .. }
            | Self::Maintenance { retry_after, .. }
            | Self::Forbidden(Forbidden::Lockout { retry_after }) => Some(*retry_after),
            Self::Locked { lock, now } => Some(seconds_until(lock.expires_at, *now)),
            _ => None,
        }
    }

    /// Adds the headers that the status requires (RFC 9110): `WWW-Authenticate`, `Allow`, `Accept` and its relatives,
    /// `Retry-After`.
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

/// Returns the seconds until `moment`, rounded up so that a client that waits that long is not early. At least 1.
fn seconds_until(moment: Timestamp, now: Timestamp) -> u64 {
    let nanos = moment.as_nanosecond() - now.as_nanosecond();
    u64::try_from((nanos + 999_999_999).div_euclid(1_000_000_000)).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_until_a_time_are_rounded_up() {
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
