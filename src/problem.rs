//! Renders denials as HTTP responses. No other module writes the bodies of denials.

mod prerendered;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::{
    Admission, Denial,
    denial::{FieldError, Forbidden, Unauthenticated},
    header_value,
    limit::{LimitExceeded, LimitedBy},
    media::MediaType,
};

static PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
static JSON: HeaderValue = HeaderValue::from_static("application/json");
static JSON_IN_UTF_8: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// The format of a denial's body: the contract that the response follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorFormat {
    /// RFC 9457, `application/problem+json`: the format of the gateway's own routes.
    #[default]
    Problem,
    /// `{"title","status"}`: the format of the discue surface.
    Discue,
    /// The discue format, pretty-printed: for a request with `?pretty=true`.
    DiscuePretty,
    /// `{"error_code","error_msg"}`, with the statuses of APIG's contract: the format for apps.
    Apig,
    /// The APIG format for operators, whose signatures are IAM's and no app's (APIG.0301): the format of the APIG
    /// surface.
    ApigManagement,
}

/// Response extension of every denial: its [`code`](Denial::code), for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenialCode(pub &'static str);

/// Renders a denial as a response with status, headers and body.
///
/// ```
/// use portcullis::{Admission, Denial, problem::{self, ErrorFormat}};
///
/// let answer = problem::render(&Denial::NotFound, ErrorFormat::Problem, &Admission::default());
/// assert_eq!(answer.status(), 404);
/// assert_eq!(answer.headers()["content-type"], "application/problem+json");
/// ```
#[must_use]
pub fn render(denial: &Denial, form: ErrorFormat, admission: &Admission) -> Response<Bytes> {
    if let Some(inside) = denial.internal_detail() {
        tracing::error!(code = denial.code(), "{inside}");
    }
    let (status, media_type, (body, length)) = match form {
        ErrorFormat::Problem => (denial.status(), &PROBLEM, prerendered::body(denial, problem)),
        ErrorFormat::Discue => (denial.status(), &JSON_IN_UTF_8, measured(discue(denial.status(), false))),
        ErrorFormat::DiscuePretty => {
            (denial.status(), &JSON_IN_UTF_8, measured(discue(denial.status(), true)))
        }
        ErrorFormat::Apig | ErrorFormat::ApigManagement => {
            let (status, body) = apig(denial, form);
            (status, &JSON, measured(body))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // Most denials have at most this many headers, so the map is allocated once.
    headers.reserve(6);
    headers.insert(header::CONTENT_TYPE, media_type.clone());
    headers.insert(header::CONTENT_LENGTH, length);
    denial.add_headers(headers);
    admission.add_response_headers(headers);
    if matches!(form, ErrorFormat::Discue | ErrorFormat::DiscuePretty | ErrorFormat::ApigManagement) {
        // Responses about management are not stored, including denials before a surface.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response.extensions_mut().insert(DenialCode(denial.code()));
    response
}

/// Members of a problem (RFC 9457, section 3.1), with our extensions.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<jiff::Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    violated_policies: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a [FieldError]>,
}

fn problem(denial: &Denial) -> Bytes {
    let detail = denial.detail();
    let lock = match denial {
        Denial::Locked { lock, .. } => Some(lock),
        _ => None,
    };
    json(&Problem {
        r#type: match denial {
            Denial::RateLimited { .. } | Denial::Exhausted(_) => {
                "https://iana.org/assignments/http-problem-types#quota-exceeded"
            }
            _ => "about:blank",
        },
        title: denial.status().canonical_reason().unwrap_or_default(),
        status: denial.status().as_u16(),
        detail: &detail,
        code: denial.code(),
        available: match denial {
            Denial::NotAcceptable { available } => Some(available.iter().map(MediaType::as_str).collect()),
            _ => None,
        },
        owner: lock.map(|lock| &*lock.owner),
        reason: lock.map(|lock| &*lock.reason),
        expires_at: lock.map(|lock| lock.expires_at),
        retry_after: denial.retry_after(),
        violated_policies: match denial {
            Denial::RateLimited { violated, .. } => Some(violated.iter().map(|name| &**name).collect()),
            Denial::Exhausted(exhausted) => Some(vec![exhausted.by.as_str()]),
            _ => None,
        },
        errors: match denial {
            Denial::InvalidShape { wrong } | Denial::InvalidValues { wrong } => Some(wrong),
            _ => None,
        },
    })
}

#[derive(Serialize)]
struct DiscueError<'a> {
    title: &'a str,
    status: u16,
}

/// Renders a discue error, whose content depends on the status alone.
#[doc(hidden)]
#[must_use]
pub fn discue(status: StatusCode, pretty: bool) -> Bytes {
    let error = DiscueError { title: status.canonical_reason().unwrap_or_default(), status: status.as_u16() };
    // Serializing these two members cannot fail.
    if pretty { serde_json::to_vec_pretty(&error).unwrap_or_default().into() } else { json(&error) }
}

/// An APIG error in the format of the management contract.
#[derive(Serialize)]
#[doc(hidden)]
pub struct ApigError<'a> {
    pub error_code: &'a str,
    pub error_msg: &'a str,
}

/// Renders an APIG error. The contract of the first version knows 400, 401, 403, 404 and 500; a denial with another
/// status becomes the nearest one.
fn apig(denial: &Denial, form: ErrorFormat) -> (StatusCode, Bytes) {
    let (status, code, message): (u16, _, _) = match denial {
        Denial::Unauthenticated { cause, .. } => match cause {
            Unauthenticated::Missing => {
                (401, "APIG.1000", "Token missing. Log in again or try again later.".into())
            }
            Unauthenticated::Expired => (401, "APIG.1001", "Session expired. Please try again later.".into()),
            Unauthenticated::Malformed | Unauthenticated::Unknown => {
                (401, "APIG.1002", "Incorrect token or token resolution failed.".into())
            }
            Unauthenticated::Signature(why) if form == ErrorFormat::ApigManagement => (
                401,
                "APIG.0301",
                format!("Incorrect IAM authentication information: {}", why.operator_message()).into(),
            ),
            Unauthenticated::Signature(why) => {
                (401, "APIG.0303", format!("Incorrect app authentication information: {why}").into())
            }
        },
        Denial::Forbidden(Forbidden::NoGrant) => {
            (403, "APIG.0304", "The app is not authorized to access the API.".into())
        }
        Denial::Forbidden(Forbidden::AddressNotAllowed) => {
            (403, "APIG.0405", "The app is not accessed from a trusted IP address.".into())
        }
        Denial::Forbidden(Forbidden::Lockout { .. }) => {
            let detail = denial.detail();
            (403, "APIG.1005", format!("No permissions to request this method: {detail}").into())
        }
        Denial::Forbidden(_) | Denial::PaymentRequired { .. } => {
            (403, "APIG.1005", "No permissions to request this method".into())
        }
        Denial::Locked { .. } => (403, "APIG.1104", denial.detail()),
        Denial::NotFound => {
            (404, "APIG.0101", "The API does not exist or has not been published in the environment.".into())
        }
        Denial::MethodNotAllowed { .. } => (405, "APIG.1005", "No permissions to request this method".into()),
        Denial::Exhausted(LimitExceeded { by: LimitedBy::Quota, .. }) => {
            (405, "APIG.0501", "The app quota has been used up.".into())
        }
        Denial::Exhausted(LimitExceeded { by, limit, period, .. }) => {
            let over = format!("policy {} over ratelimit,limit:{limit},time:{period}", by.as_str());
            (429, "APIG.0308", format!("The throttling threshold has been reached: {over}").into())
        }
        Denial::RateLimited { .. } => (500, "APIG.9008", "Too many requests. Try again later.".into()),
        Denial::BadRequest { .. }
        | Denial::InvalidShape { .. }
        | Denial::InvalidValues { .. }
        | Denial::PreconditionFailed { .. }
        | Denial::PreconditionRequired { .. }
        | Denial::NotAcceptable { .. }
        | Denial::RequestTimeout
        | Denial::Conflict { .. }
        | Denial::ContentTooLarge { .. }
        | Denial::TargetTooLong { .. }
        | Denial::HeadTooLarge { .. }
        | Denial::UnsupportedMediaType { .. }
        | Denial::UnsupportedCoding { .. }
        | Denial::Misdirected { .. }
        | Denial::Unprocessable { .. } => {
            (400, "APIG.2000", format!("Parameter error: {}", denial.detail()).into())
        }
        Denial::Internal { .. }
        | Denial::NotImplemented { .. }
        | Denial::BadGateway { .. }
        | Denial::Unavailable { .. }
        | Denial::GatewayTimeout { .. } => (500, "APIG.9999", "System error.".into()),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, json(&ApigError { error_code: code, error_msg: &message }))
}

fn json(value: &impl Serialize) -> Bytes {
    // Large enough for most problems, so that the buffer does not grow.
    let mut text = Vec::with_capacity(512);
    // Serializing strings and numbers into memory cannot fail.
    let _ = serde_json::to_writer(&mut text, value);
    text.into()
}

fn measured(body: Bytes) -> prerendered::Body {
    let length = header_value::from_u64(body.len() as u64);
    (body, length)
}
