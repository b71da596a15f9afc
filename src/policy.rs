//! Policies: rules over a [`Head`], and their composition.
//!
//! A policy is synchronous, does no I/O, reads no clock and allocates nothing when it admits a request. Policies
//! compose without further types: a tuple runs its parts in order, `Option` can disable one, `Arc` shares one, and
//! `Box<dyn Policy>` and `Vec` build a chain at run time.

mod accept;
mod api_key;
mod api_throttle;
mod body_buffering;
mod body_limit;
mod caller_kinds;
mod chain;
mod content_type;
#[cfg(any(feature = "tower", feature = "pingora"))]
mod guarded;
mod head_limit;
mod ip_acl;
mod lockout;
mod order;
mod rate_limit;
mod require_grant;
mod require_scope;
mod require_unlocked;
mod signature;
mod strict_http;

pub use accept::Accept;
pub use api_key::{ApiKey, KeySource};
pub use api_throttle::ApiThrottle;
pub use body_buffering::{BodyBuffering, BufferedBody};
pub use body_limit::BodyLimit;
pub use content_type::ContentType;
#[cfg(any(feature = "tower", feature = "pingora"))]
pub(crate) use guarded::Guarded;
pub use head_limit::HeadLimit;
pub use ip_acl::IpAcl;
pub use lockout::Lockout;
pub use order::{ChainOrder, Misplaced};
pub use rate_limit::RateLimit;
pub use require_grant::RequireGrant;
pub use require_scope::RequireScope;
pub use require_unlocked::RequireUnlocked;
pub use signature::{Signature, SignatureOr};
pub use strict_http::StrictHttp;

pub use crate::admission::RateLimitFields;

use std::{fmt, future::Future, pin::Pin};

use http::HeaderValue;

use crate::{Admission, Denial, Head, admission::Identity, denial::Unauthenticated};

/// A future that resolves when the policy should be evaluated again.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The reason why a policy did not admit a request.
pub enum Stop {
    /// The request is denied.
    Deny(Denial),
    /// The decision needs an answer from elsewhere. Await the future, then evaluate again.
    Wait(Wait),
    /// The decision needs the request body. Buffer it, pass its SHA-256 to [`Admission::set_content_sha256`], and evaluate
    /// again. The request then continues with the buffered body.
    NeedsBody(BodyBuffering),
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deny(denial) => f.debug_tuple("Deny").field(denial).finish(),
            Self::Wait(_) => f.write_str("Wait(..)"),
            Self::NeedsBody(buffering) => f.debug_tuple("NeedsBody").field(buffering).finish(),
        }
    }
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Deny(denial)
    }
}

/// A rule that admits or denies a request by its head.
///
/// ```
/// use portcullis::{Admission, Denial, Head, Policy, Stop};
///
/// /// Denies all requests on Sundays.
/// struct NotOnSundays;
///
/// impl Policy for NotOnSundays {
///     fn admit(&self, head: &Head<'_>, _: &mut Admission) -> Result<(), Stop> {
///         let day = head.now.time.to_zoned(jiff::tz::TimeZone::UTC).weekday();
///         if day == jiff::civil::Weekday::Sunday {
///             return Err(Denial::unavailable("closed on Sundays", 3600).into());
///         }
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a policy",
    note = "several policies are one chain: a tuple, such as `(ApiKey::new(keys), RateLimit::new())`"
)]
pub trait Policy: Send + Sync {
    /// Decides about a request. The policy stores what it learned, and the permits that it took, in the admission.
    ///
    /// Faces call [`Admission::evaluate`], which calls this method.
    ///
    /// # Errors
    /// [`Stop`] with the [`Denial`] of the request, or with what to wait for. Later policies do not run.
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop>;

    /// Returns the number of single policies in this one. A chain that waited resumes at the policy that waited.
    /// Only compositions return a number other than 1; the number never changes.
    fn steps(&self) -> u32 {
        1
    }

    /// Reports the policy's relation to the caller, so that a face can reject a chain in an impossible order when
    /// it is built. A policy that neither identifies a caller nor needs one reports nothing. A composition calls
    /// this method on its parts, in order.
    fn check_order(&self, _: &mut ChainOrder) {}
}

/// Returns the caller that a policy decides about. A layer checks when it is built that an earlier policy
/// identifies the caller. An inner layer may have no such layer around it: then the request has no proven caller,
/// and is denied like one without a credential.
fn recognised(admission: &Admission) -> Result<&Identity, Denial> {
    admission.identity().ok_or_else(missing_credential)
}

/// Returns the denial of a request without a recognised caller.
pub(crate) fn missing_credential() -> Denial {
    Denial::Unauthenticated {
        cause: Unauthenticated::Missing,
        challenge: HeaderValue::from_static("ApiKey realm=\"portcullis\""),
    }
}
