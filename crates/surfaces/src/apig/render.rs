//! The error format of APIG's contract.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use portcullis::{
    Denial,
    denial::{Forbidden, SignatureError, Unauthenticated},
    limit::{LimitExceeded, LimitedBy},
    problem::{RenderDenial, RenderedDenial},
};

static JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The error format of APIG: `{"error_code","error_msg"}`, with the statuses of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFormat {
    /// For apps, which call the APIs of a gateway.
    Apps,
    /// For operators, whose signatures are IAM's and no app's (APIG.0301): the format of this surface.
    Operators,
}

impl RenderDenial for ErrorFormat {
    fn render(&self, denial: &Denial) -> RenderedDenial {
        let (status, code, message) = row(denial, *self);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let rendered = RenderedDenial::new(JSON.clone(), body(code, &message)).with_status(status);
        match self {
            Self::Apps => rendered,
            // Responses about management are not stored, including denials before a surface.
            Self::Operators => rendered.no_store(),
        }
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error_code: &'a str,
    error_msg: &'a str,
}

/// Returns the body of an error.
pub(super) fn body(error_code: &str, error_msg: &str) -> Bytes {
    // Serializing two strings cannot fail.
    serde_json::to_vec(&ErrorBody { error_code, error_msg }).unwrap_or_default().into()
}

/// Returns the text for an operator, who has an access key but is no app.
fn operator_message(error: &SignatureError) -> Cow<'static, str> {
    match error {
        SignatureError::UnknownAccessKey(access) => format!("access key {access} not found").into(),
        other => other.to_string().into(),
    }
}

/// Returns the status, code and text of a denial. The contract of the first version knows 400, 401, 403, 404 and 500;
/// a denial with another status becomes the nearest one.
fn row(denial: &Denial, format: ErrorFormat) -> (u16, &'static str, Cow<'static, str>) {
    match denial {
        Denial::Unauthenticated { cause, .. } => match cause {
            Unauthenticated::Missing => {
                (401, "APIG.1000", "Token missing. Log in again or try again later.".into())
            }
            Unauthenticated::Expired => (401, "APIG.1001", "Session expired. Please try again later.".into()),
            Unauthenticated::Malformed | Unauthenticated::Unknown => {
                (401, "APIG.1002", "Incorrect token or token resolution failed.".into())
            }
            Unauthenticated::Signature(why) if format == ErrorFormat::Operators => (
                401,
                "APIG.0301",
                format!("Incorrect IAM authentication information: {}", operator_message(why)).into(),
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
        | Denial::Maintenance { .. }
        | Denial::GatewayTimeout { .. } => (500, "APIG.9999", "System error.".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use portcullis::{
        Admission,
        model::{Period, TimeUnit},
        problem,
        signature::SignatureFormatError,
    };

    /// Returns the status, code and text of a denial in a format.
    fn rendered(denial: &Denial, format: ErrorFormat) -> (u16, String, String) {
        let response = problem::render(denial, &format, &Admission::default());
        assert_eq!(response.headers()["content-type"], "application/json");
        let is_stored = response.headers().get("cache-control").is_none_or(|value| value != "no-store");
        assert_eq!(is_stored, format == ErrorFormat::Apps);
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body.as_object().unwrap().len(), 2);
        let member = |name: &str| body[name].as_str().unwrap().to_owned();
        (response.status().as_u16(), member("error_code"), member("error_msg"))
    }

    fn exhausted(by: LimitedBy, limit: u32) -> Denial {
        let period = Period { interval: NonZeroU32::MIN, unit: TimeUnit::Minute };
        Denial::Exhausted(LimitExceeded { by, limit, period, retry_after: 60 })
    }

    /// The texts of the contract, section 3.3.
    #[test]
    fn signature_error_names_what_was_received() {
        let no_access = "Access or Credential is empty in Authorization";
        for (error, app, operator) in [
            (SignatureError::Malformed(SignatureFormatError::NoAccess), no_access, no_access),
            (
                SignatureError::UnknownAccessKey("unknown-key".into()),
                "app not found, appkey unknown-key",
                "access key unknown-key not found",
            ),
            (
                SignatureError::Mismatch("GET|/".into()),
                "verify signature fail, canonicalRequest:GET|/",
                "verify signature fail, canonicalRequest:GET|/",
            ),
            (
                SignatureError::Malformed(SignatureFormatError::Expired {
                    signed: "2025-12-31T23:44:59Z".parse().unwrap(),
                    now: "2026-01-01T00:00:00Z".parse().unwrap(),
                }),
                "signature expired, signature time:20251231T234459Z,server time:20260101T000000Z",
                "signature expired, signature time:20251231T234459Z,server time:20260101T000000Z",
            ),
        ] {
            let challenge = HeaderValue::from_static("SDK-HMAC-SHA256 realm=\"orders\"");
            let denial =
                Denial::Unauthenticated { cause: Unauthenticated::Signature(Box::new(error)), challenge };
            let text = format!("Incorrect app authentication information: {app}");
            assert_eq!(rendered(&denial, ErrorFormat::Apps), (401, "APIG.0303".into(), text));
            let text = format!("Incorrect IAM authentication information: {operator}");
            assert_eq!(rendered(&denial, ErrorFormat::Operators), (401, "APIG.0301".into(), text));
            let response = problem::render(&denial, &ErrorFormat::Apps, &Admission::default());
            assert_eq!(response.headers()["www-authenticate"], "SDK-HMAC-SHA256 realm=\"orders\"");
        }
    }

    #[test]
    fn throttle_names_its_limit() {
        for (by, name) in [
            (LimitedBy::Ip, "ip"),
            (LimitedBy::App, "app"),
            (LimitedBy::User, "user"),
            (LimitedBy::Api, "api"),
        ] {
            let (status, code, text) = rendered(&exhausted(by, 9), ErrorFormat::Apps);
            let reached = "The throttling threshold has been reached";
            assert_eq!((status, &*code), (429, "APIG.0308"));
            assert_eq!(text, format!("{reached}: policy {name} over ratelimit,limit:9,time:1 minute"));
        }
    }

    #[test]
    fn used_up_quota_is_405_with_the_body_of_the_contract() {
        let denial = exhausted(LimitedBy::Quota, 1);
        let response = problem::render(&denial, &ErrorFormat::Apps, &Admission::default());
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (405, &"60".parse().unwrap())
        );
        assert_eq!(
            &**response.body(),
            br#"{"error_code":"APIG.0501","error_msg":"The app quota has been used up."}"#
        );
    }

    #[test]
    fn statuses_outside_of_the_contract_become_the_nearest_one() {
        for (denial, status, code) in [
            (Denial::NotFound, 404, "APIG.0101"),
            (Denial::PaymentRequired { detail: "".into() }, 403, "APIG.1005"),
            (Denial::RateLimited { violated: [].into_iter().collect(), retry_after: 1 }, 500, "APIG.9008"),
            (Denial::ContentTooLarge { limit: 1 }, 400, "APIG.2000"),
            (Denial::unavailable("", 1), 500, "APIG.9999"),
        ] {
            for format in [ErrorFormat::Apps, ErrorFormat::Operators] {
                let (found, word, _) = rendered(&denial, format);
                assert_eq!((found, &*word), (status, code), "{denial}");
            }
        }
    }
}
