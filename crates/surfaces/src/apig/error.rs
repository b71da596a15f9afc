//! Error responses: the codes and texts of the contract, in one table.

use std::borrow::Cow;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;

use super::{
    render::{self, ErrorFormat},
    version::Version,
};
use crate::{BodyError, denial};
use portcullis::{Admission, Denial, problem, registry::RegistryError};

/// The challenge for a credential that is no longer accepted. Equal to the guard's challenge for a token.
static CHALLENGE: HeaderValue = HeaderValue::from_static("ApiKey realm=\"apig\", header=\"x-auth-token\"");

/// An error response of this API.
#[derive(Debug)]
pub(super) enum ApigError {
    /// A denial that every surface has, rendered as the guard renders it.
    Denied(Box<Denial>),
    /// The token's tenant is not a gateway.
    NoProject,
    /// The project has no such gateway.
    UnknownInstance(String),
    /// The gateway has no such app.
    UnknownApp(String),
    /// The gateway has no such app; used for requests about objects that belong to an app.
    UnknownOwner(String),
    /// The API does not exist.
    UnknownApi(String),
    /// The environment does not exist.
    UnknownEnvironment(String),
    /// The authorization does not exist.
    UnknownAuth(String),
    /// The app has no such AppCode.
    UnknownCode(String),
    /// The AppCode already exists, as an AppCode or as another credential.
    CodeTaken,
    /// The app has the maximum number of AppCodes.
    TooManyAppCodes,
    /// The app belongs to the marketplace, so an operator cannot delete it.
    MarketplaceApp(Version),
    /// The gateway has no such throttling policy.
    UnknownThrottle(String),
    /// The binding of a throttling policy does not exist.
    UnknownBinding,
    /// The throttling policy has no such excluded configuration.
    UnknownSpecial,
    /// The gateway has no such quota.
    UnknownQuota(String),
    /// Another throttling policy has this name.
    ThrottleTaken,
    /// The throttling policy is bound to APIs.
    ThrottleBound,
    /// The gateway has the maximum number of throttling policies.
    FullOfThrottles,
    /// The throttling policy already has an excluded configuration for this object.
    SpecialTaken,
    /// Another quota has this name.
    QuotaTaken,
    /// The gateway has the maximum number of quotas, or the throttling policy that of excluded configurations.
    TooMany,
    /// A number is below its minimum.
    TooSmall(&'static str),
    /// A number is above its maximum.
    TooLarge(&'static str),
    /// A value is outside the allowed values.
    UnknownValue(&'static str),
    /// A mandatory member is missing.
    Missing(&'static str),
    /// A member breaks its rule.
    Invalid(&'static str),
    /// A member or parameter has a value that this gateway does not accept.
    NotSupported(&'static str),
    /// Another app has this name.
    NameTaken,
    /// Another app has this AppKey.
    KeyTaken,
    /// The gateway has the maximum number of apps.
    Full,
}

impl ApigError {
    /// Converts a registry error; `missing` is the response to "not found".
    pub(super) fn new(fault: RegistryError, missing: Self, now: Timestamp) -> Self {
        match fault {
            RegistryError::NotFound => missing,
            RegistryError::NameTaken => Self::NameTaken,
            RegistryError::KeyTaken => Self::KeyTaken,
            RegistryError::LimitReached(_) => Self::Full,
            // Unreachable: requests to this API neither choose an id nor name a revision.
            RegistryError::Conflict | RegistryError::InUse | RegistryError::IdempotencyKeyReused => {
                Denial::internal("the registry reported a conflict that cannot occur").into()
            }
            RegistryError::Locked(_)
            | RegistryError::LockLost
            | RegistryError::NotAuthorized
            | RegistryError::Lapsed
            | RegistryError::LastOwner
            | RegistryError::Unavailable(_)
            | RegistryError::Corrupt(_) => denial(fault, now, &CHALLENGE).into(),
        }
    }

    /// Returns the status, code and text of the error.
    fn row(&self) -> Result<Row, &Denial> {
        Ok(match self {
            Self::Denied(denial) => return Err(denial),
            Self::NoProject => {
                row(StatusCode::UNAUTHORIZED, "APIG.1003", "Token contains no project information.")
            }
            Self::UnknownInstance(id) => missing("APIG.3030", format!("The instance does not exist;id:{id}")),
            Self::UnknownApp(id) => missing("APIG.3002", format!("App {id} does not exist")),
            Self::UnknownOwner(id) => missing("APIG.3004", format!("App {id} does not exist")),
            Self::UnknownApi(id) => missing("APIG.3002", format!("API {id} does not exist")),
            Self::UnknownEnvironment(id) => {
                missing("APIG.3003", format!("The environment does not exist,id:{id}"))
            }
            Self::UnknownAuth(id) => {
                missing("APIG.3009", format!("The app authorization record does not exist,id:{id}"))
            }
            Self::UnknownCode(id) => missing("APIG.3082", format!("AppCode {id} does not exist")),
            Self::UnknownThrottle(id) => {
                missing("APIG.3005", format!("Request throttling policy {id} does not exist"))
            }
            Self::UnknownBinding => {
                missing("APIG.3012", "The request throttling policy binding record does not exist.")
            }
            Self::UnknownSpecial => {
                missing("APIG.3013", "The excluded request throttling configuration does not exist.")
            }
            Self::UnknownQuota(id) => missing("APIG.3093", format!("App quota {id} does not exist")),
            // V1 lists 409 for this operation and for no other, without a reason.
            Self::MarketplaceApp(version) => row(
                if *version == Version::One { StatusCode::CONFLICT } else { StatusCode::FORBIDDEN },
                "APIG.1104",
                "No permissions to perform operations on this app.",
            ),
            Self::ThrottleBound => row(
                StatusCode::FORBIDDEN,
                "APIG.3451",
                "The request throttling policy cannot be deleted because it has been bound to APIs.",
            ),
            Self::Full => full("APIG.3103", "apps"),
            Self::TooManyAppCodes => full("APIG.3131", "AppCodes"),
            Self::FullOfThrottles => full("APIG.3107", "request throttling policies"),
            Self::TooMany => full("APIG.3100", "resources"),
            Self::NameTaken => wrong("APIG.3203", "The app name already exists."),
            Self::KeyTaken => wrong("APIG.3310", "The AppKey already exists."),
            Self::CodeTaken => wrong("APIG.3309", "The operation has already been performed."),
            Self::ThrottleTaken => wrong("APIG.3204", "The request throttling policy name already exists."),
            Self::SpecialTaken => {
                wrong("APIG.3308", "The excluded request throttling configuration already exists.")
            }
            Self::QuotaTaken => wrong("APIG.3325", "The API quota name already exists"),
            Self::Missing(member) => {
                of_member("APIG.2001", "The request parameters must be specified", member)
            }
            Self::TooSmall(member) => of_member("APIG.2002", "The parameter value is too small", member),
            Self::TooLarge(member) => of_member("APIG.2003", "The parameter value is too large", member),
            Self::UnknownValue(member) => {
                of_member("APIG.2004", "The parameter value is outside the allowable range", member)
            }
            Self::Invalid(member) => of_member("APIG.2011", "Invalid parameter value", member),
            Self::NotSupported(member) => of_member("APIG.2012", "Invalid parameter value", member),
        })
    }
}

/// The status, code and text of an error.
type Row = (StatusCode, &'static str, Cow<'static, str>);

fn row(status: StatusCode, code: &'static str, text: impl Into<Cow<'static, str>>) -> Row {
    (status, code, text.into())
}

fn missing(code: &'static str, text: impl Into<Cow<'static, str>>) -> Row {
    row(StatusCode::NOT_FOUND, code, text)
}

fn wrong(code: &'static str, text: impl Into<Cow<'static, str>>) -> Row {
    row(StatusCode::BAD_REQUEST, code, text)
}

fn of_member(code: &'static str, what: &str, member: &str) -> Row {
    wrong(code, format!("{what},parameterName:{member}. Please refer to the support documentation"))
}

fn full(code: &'static str, of: &str) -> Row {
    let text = format!("The number of {of} exceeds the maximum allowed limit.");
    row(StatusCode::FORBIDDEN, code, text)
}

impl From<Denial> for ApigError {
    fn from(denial: Denial) -> Self {
        Self::Denied(Box::new(denial))
    }
}

impl From<BodyError> for ApigError {
    fn from(why: BodyError) -> Self {
        why.denial(|why| Denial::bad_request(format!("Serialization error: {why}"))).into()
    }
}

impl IntoResponse for ApigError {
    /// Renders the error. The guard around the surface adds the headers of the admission.
    fn into_response(self) -> Response {
        let (status, error_code, error_msg) = match self.row() {
            Ok(row) => row,
            Err(denial) => {
                problem::log(denial);
                return problem::render(denial, &ErrorFormat::Operators, &Admission::default())
                    .map(Body::from);
            }
        };
        let media_type = HeaderValue::from_static("application/json");
        (status, [(header::CONTENT_TYPE, media_type)], render::body(error_code, &error_msg)).into_response()
    }
}
