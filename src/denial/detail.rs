//! Explanations of denials for the developers of clients.

use std::borrow::Cow;

use super::{Denial, Forbidden, Unauthenticated};
use crate::{
    limit::{LimitExceeded, LimitedBy},
    model::{Access, LockedRequests},
};

impl Denial {
    /// Returns an explanation for people: what is wrong with the request, and how to correct it.
    #[must_use]
    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::BadRequest { detail }
            | Self::PaymentRequired { detail }
            | Self::Conflict { detail }
            | Self::PreconditionFailed { detail }
            | Self::PreconditionRequired { detail }
            | Self::Misdirected { detail }
            | Self::Unprocessable { detail }
            | Self::NotImplemented { detail }
            | Self::Unavailable { detail, .. }
            | Self::Maintenance { detail, .. } => detail.clone(),
            Self::Unauthenticated { cause, .. } => match cause {
                Unauthenticated::Missing => {
                    "The request has no credential. Send one as WWW-Authenticate describes.".into()
                }
                Unauthenticated::Malformed => {
                    "The credential is malformed. Check that it was copied completely.".into()
                }
                Unauthenticated::Unknown => "The credential is unknown. Check it, or get a new one.".into(),
                Unauthenticated::Expired => "The credential has expired. Replace it with a new one.".into(),
                Unauthenticated::Signature(why) => format!("The signature is invalid: {why}.").into(),
            },
            Self::Forbidden(why) => match why {
                Forbidden::CredentialDisabled => "The credential is disabled. Use another one.".into(),
                Forbidden::CallerDisabled => "The caller is disabled. Ask the operator to enable it.".into(),
                Forbidden::WrongCallerKind => "Callers of this kind may not use this resource.".into(),
                Forbidden::Lockout { retry_after } => {
                    format!("This address sent too many bad credentials. Retry in {retry_after} s.").into()
                }
                Forbidden::RoleTooLow { needed } => {
                    format!("The role {} is required.", needed.as_str()).into()
                }
                Forbidden::AddressNotAllowed => {
                    "The caller's address list does not allow this client address.".into()
                }
                Forbidden::NoGrant => {
                    "The caller has no grant for this API. Ask the operator for one.".into()
                }
                Forbidden::Rule { detail } => detail.clone(),
                Forbidden::Origin => "Web pages of other origins may not send this request.".into(),
                Forbidden::Scope { resource, access } => {
                    let verb = if *access == Access::Read { "read" } else { "write" };
                    format!("The credential's scopes do not allow it to {verb} {resource}.").into()
                }
            },
            Self::InvalidShape { .. } => {
                "The body does not match the documented schema. `errors` lists each member and reason.".into()
            }
            Self::InvalidValues { .. } => {
                "The body has values that are not allowed. `errors` lists each value and reason.".into()
            }
            Self::NotFound => "No resource at this path is visible to the caller. Check the path.".into(),
            Self::MethodNotAllowed { .. } => {
                "The resource does not support this method. The Allow header lists the supported ones.".into()
            }
            Self::NotAcceptable { .. } => {
                "The Accept header matches none of the available media types. Request one of them.".into()
            }
            Self::RequestTimeout => "The request did not arrive in time. Send it again, faster.".into(),
            Self::ContentTooLarge { limit } => format!("The body exceeds the limit of {limit} bytes.").into(),
            Self::TargetTooLong { limit } => {
                format!("The request target, including the query, exceeds the limit of {limit} bytes.").into()
            }
            Self::HeadTooLarge { limit } => {
                format!("The request target and headers together exceed the limit of {limit} bytes.").into()
            }
            Self::UnsupportedMediaType { .. } => "Send a Content-Type from this response's Accept.".into(),
            Self::UnsupportedCoding { .. } => "Send a Content-Encoding that Accept-Encoding lists.".into(),
            Self::Locked { lock, .. } => {
                let what = if lock.covers == LockedRequests::All { "all requests" } else { "changes" };
                format!("A lock held by {} blocks {what} ({}). Retry later.", lock.owner, lock.reason).into()
            }
            Self::Exhausted(LimitExceeded { by, limit, period, retry_after }) => {
                let by = match by {
                    LimitedBy::Api => "The limit of this API",
                    LimitedBy::User => "The tenant's limit on this API",
                    LimitedBy::App => "The app's limit on this API",
                    LimitedBy::Ip => "The limit per address on this API",
                    LimitedBy::Quota => "The app's quota",
                };
                format!("{by} is used up ({limit} calls in {period}). Retry in {retry_after} s.").into()
            }
            Self::RateLimited { violated, retry_after } => {
                format!("Rate limit exceeded: {}. Retry in {retry_after} s.", violated.join(", ")).into()
            }
            Self::Internal { .. } => "An internal error occurred. If it persists, tell the operator.".into(),
            Self::BadGateway { .. } => {
                "The upstream could not be reached or sent an invalid response. Retry later.".into()
            }
            Self::GatewayTimeout { .. } => "The upstream timed out. The request may have succeeded.".into(),
        }
    }
}
