//! What a denial says to people.

use std::borrow::Cow;

use super::{Denial, Forbidden, Unauthenticated};
use crate::{
    model::{Access, LockedRequests},
    limit::{LimitedBy, LimitExceeded},
};

impl Denial {
    /// The reason for people: what was wrong, and what would be right.
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
            | Self::Unavailable { detail, .. } => detail.clone(),
            Self::Unauthenticated { cause, .. } => match cause {
                Unauthenticated::Missing => {
                    "This resource needs a credential, and the request has none.".into()
                }
                Unauthenticated::Malformed => {
                    "The credential has not the form of one: was it cut or mistyped?".into()
                }
                Unauthenticated::Unknown => "The credential is not known here.".into(),
                Unauthenticated::Expired => "The credential has expired.".into(),
                Unauthenticated::Signature(why) => format!("The signature does not hold: {why}.").into(),
            },
            Self::Forbidden(why) => match why {
                Forbidden::CredentialDisabled => "The credential is disabled.".into(),
                Forbidden::CallerDisabled => "The caller is disabled.".into(),
                Forbidden::WrongCallerKind => "A credential of this kind is not for this resource.".into(),
                Forbidden::Lockout { retry_after } => {
                    format!("Too many bad credentials came from here. Come back in {retry_after} s.").into()
                }
                Forbidden::RoleTooLow { needed } => format!("This needs the role {}.", needed.as_str()).into(),
                Forbidden::AddressNotAllowed => "The caller may not call from this address.".into(),
                Forbidden::NoGrant => "The caller is not authorized for this API.".into(),
                Forbidden::Origin => "A page of another site may not ask this.".into(),
                Forbidden::Scope { resource, access } => {
                    let verb = if *access == Access::Read { "read" } else { "write" };
                    format!("The credential's scopes do not let it {verb} {resource}.").into()
                }
            },
            Self::InvalidShape { .. } => {
                "The content does not have the documented form. `errors` says which member, and why.".into()
            }
            Self::InvalidValues { .. } => {
                "The content has values that are not allowed. `errors` says which, and why.".into()
            }
            Self::NotFound => "Nothing is here, or nothing of yours.".into(),
            Self::MethodNotAllowed { .. } => {
                "The resource is here; this method is not one of its own.".into()
            }
            Self::NotAcceptable { .. } => {
                "None of the available media types is acceptable to the request.".into()
            }
            Self::RequestTimeout => "The request did not come in time, or came too slowly.".into(),
            Self::ContentTooLarge { limit } => format!("At most {limit} bytes are taken here.").into(),
            Self::TargetTooLong { limit } => {
                format!("A request's target may have {limit} bytes here, its query included.").into()
            }
            Self::HeadTooLarge { limit } => {
                format!("A request's target and fields may have {limit} bytes here in all.").into()
            }
            Self::UnsupportedMediaType { .. } => "The content's media type is not taken here.".into(),
            Self::UnsupportedCoding { .. } => "The content's coding is not taken here.".into(),
            Self::Locked { lock, .. } => {
                let what = if lock.covers == LockedRequests::All { "all requests" } else { "changes" };
                format!("Locked for {what} by {}: {}", lock.owner, lock.reason).into()
            }
            Self::Exhausted(LimitExceeded { by, limit, period, retry_after }) => {
                let by = match by {
                    LimitedBy::Api => "This API may be called",
                    LimitedBy::User => "The tenant may call this API",
                    LimitedBy::App => "The app may call this API",
                    LimitedBy::Ip => "This API may be called from one address",
                    LimitedBy::Quota => "The app's quota lets it call",
                };
                format!("{by} {limit} times in {period}. Come back in {retry_after} s.").into()
            }
            Self::RateLimited { violated, retry_after } => {
                format!("Used up: {}. There is room again in {retry_after} s.", violated.join(", ")).into()
            }
            Self::Internal { .. } => "The request failed here, through no fault of its own.".into(),
            Self::BadGateway { .. } => {
                "The service behind could not be reached or did not make sense.".into()
            }
            Self::GatewayTimeout { .. } => "The service behind did not answer in time.".into(),
        }
    }
}
