//! The management APIs, each an axum router over a registry.
//!
//! [`discue`] manages API clients and [`apig`] manages apps, each exactly as its published contract requires.
//! [`admin`] is Portcullis's own API and manages everything. The three share what is below HTTP: the registry, the
//! policies of the guard, and the code that reads request bodies.
//!
//! Each router is a complete service. It answers unknown paths in the error format of its own contract, and its guard
//! runs before everything else, so that an unauthenticated client learns nothing from it. Serve each router on a
//! host or a listener of its own. An app with other routes passes on the paths of a router, with the whole path, because
//! `Location` and links name it:
//!
//! ```
//! use axum::{Router, routing::any_service};
//!
//! fn app(orders: Router, admin: Router) -> Router {
//!     orders.route("/admin/v1/{*path}", any_service(admin))
//! }
//! ```
//!
//! The routers do not check `Host`; the gateway's listeners do.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods))]

mod access;
pub mod admin;
pub mod apig;
mod author;
pub mod discue;
mod json;
mod lock_paths;
mod openapi;
pub mod transfer;

pub use openapi::documentation;

use std::time::Duration;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use portcullis::{Denial, admission::DigestMismatch, denial::Unauthenticated, registry::RegistryError};

/// Maximum size of a request body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Maximum time for a request body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// `Retry-After`, in seconds, while the store is unavailable.
const RETRY_AFTER: u64 = 5;

/// Reasons why a request body cannot be used. Messages name the place, but never repeat the value there, because it
/// may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum BodyError {
    #[error("the body is larger than {MAX_BODY_BYTES} bytes")]
    TooLong,
    #[error("the body was incomplete or did not arrive within {} s", BODY_TIMEOUT.as_secs())]
    Missing,
    #[error("the body does not match the signature")]
    ContentMismatch,
    #[error("the body is not valid JSON at line {0}, column {1}")]
    Syntax(usize, usize),
    #[error("arrays and objects are nested more than {} levels deep at {place}", json::MAX_DEPTH)]
    Depth { place: String },
    /// The member, and the reason why it is not accepted.
    #[error("{0}")]
    Shape(String),
}

impl BodyError {
    /// Converts this into a denial. A body that does not match its signature is 401 on every surface; `otherwise`
    /// converts all other reasons.
    fn denial(self, otherwise: impl FnOnce(Self) -> Denial) -> Denial {
        if self == Self::ContentMismatch { Denial::content_mismatch() } else { otherwise(self) }
    }
}

/// Reads the body of a request, of at most [`MAX_BODY_BYTES`] bytes.
async fn read_body(body: Body) -> Result<Bytes, BodyError> {
    read_body_within(body, MAX_BODY_BYTES).await
}

/// Reads the body of a request, of at most `most` bytes.
async fn read_body_within(body: Body, most: usize) -> Result<Bytes, BodyError> {
    arrived(body, most, BODY_TIMEOUT).await
}

async fn arrived(body: Body, most: usize, within: Duration) -> Result<Bytes, BodyError> {
    match tokio::time::timeout(within, Limited::new(body, most).collect()).await {
        Ok(Ok(content)) => Ok(content.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLong),
        Ok(Err(error)) if DigestMismatch::is_cause_of(&*error) => Err(BodyError::ContentMismatch),
        Ok(Err(_)) | Err(_) => Err(BodyError::Missing),
    }
}

/// Parses a body as an object of a published contract. Members that the contract does not define are ignored,
/// optional members may be `null`, and each member of the contract may appear only once.
///
/// The target type has an `Option` for each member, with `#[serde(default)]`.
fn parse_object<T: DeserializeOwned>(content: &[u8]) -> Result<T, BodyError> {
    json::read_published(content)
}

/// Forbids every cache to store a response of a management API. `no-store` replaces the weaker `private`, which the
/// guard adds to every response to a known caller. Any other `Cache-Control` of a handler is kept.
async fn no_store(mut response: Response) -> Response {
    let headers = response.headers_mut();
    if headers.get(header::CACHE_CONTROL).is_none_or(|value| value == "private") {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Deserializes a member that may be absent, but not `null`.
fn non_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(member: D) -> Result<Option<T>, D::Error> {
    T::deserialize(member).map(Some)
}

/// Converts a registry error into a denial; `challenge` is sent with a credential that is no longer accepted.
fn denial(fault: RegistryError, now: Timestamp, challenge: &HeaderValue) -> Denial {
    match fault {
        RegistryError::NotFound => Denial::NotFound,
        RegistryError::NameTaken => Denial::Unprocessable { detail: "The name is already in use.".into() },
        RegistryError::KeyTaken => Denial::Unprocessable { detail: "The key is already in use.".into() },
        RegistryError::Conflict => {
            Denial::Conflict { detail: "Another request changed it, or it already exists.".into() }
        }
        RegistryError::InUse => Denial::Conflict { detail: "Other resources use it. Delete them first.".into() },
        RegistryError::IdempotencyKeyReused => Denial::Unprocessable { detail: "This key was sent with another request.".into() },
        RegistryError::LimitReached(most) => {
            let detail = format!(
                "The tenant has {most} callers of this kind, which is its limit. Delete one, or ask for a higher limit."
            );
            Denial::PaymentRequired { detail: detail.into() }
        }
        RegistryError::Locked(lock) => Denial::Locked { lock: (*lock).into(), now },
        RegistryError::LockLost => Denial::PreconditionFailed {
            detail: "The lock is no longer held with this token and fence. Acquire it again.".into(),
        },
        RegistryError::NotAuthorized => {
            Denial::Unauthenticated { cause: Unauthenticated::Unknown, challenge: challenge.clone() }
        }
        RegistryError::Lapsed => Denial::PaymentRequired { detail: "The tenant's subscription has lapsed.".into() },
        RegistryError::LastOwner => Denial::Conflict {
            detail: "No other owner would have an accepted key after this change. Create one for another owner first."
                .into(),
        },
        RegistryError::Unavailable(inside) => {
            tracing::error!("registry unavailable: {inside}");
            Denial::unavailable(
                "The store could not be read or written. Try again later; the gateway's log has the reason.",
                RETRY_AFTER,
            )
        }
        RegistryError::Corrupt(inside) => Denial::internal(inside),
    }
}

/// Converts a whole number that is written with a fraction or an exponent: `7.0` is `7`, because RFC 8259 has only
/// one kind of number. Returns `None` for other numbers and beyond 2^53, where doubles do not represent every whole
/// number.
fn integral(number: f64) -> Option<i64> {
    let exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    exact.then(|| format!("{number:.0}").parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use http_body::Frame;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Members {
        text: Option<String>,
        number: Option<i64>,
        list: Option<Vec<String>>,
    }

    /// A body that never yields a frame.
    struct Silent;

    impl http_body::Body for Silent {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }

    #[test]
    fn lost_lock_is_a_failed_precondition() {
        let denial =
            denial(RegistryError::LockLost, Timestamp::UNIX_EPOCH, &HeaderValue::from_static("Bearer"));
        assert_eq!((denial.status().as_u16(), denial.retry_after()), (412, None));
    }

    #[tokio::test]
    async fn missing_content_times_out() {
        let within = Duration::from_millis(10);
        assert_eq!(arrived(Body::new(Silent), MAX_BODY_BYTES, within).await, Err(BodyError::Missing));
        assert_eq!(arrived(Body::from("{}"), MAX_BODY_BYTES, within).await.as_deref(), Ok(&b"{}"[..]));
    }

    #[test]
    fn published_object_ignores_unknown_members_and_names_errors() {
        let deep = format!(r#"{{"other":{}"#, "[".repeat(60_000));
        let long = format!(r#"{{"{}":1}}"#, "x".repeat(60_000));
        let text = |text: &str| Members { text: Some(text.into()), ..Members::default() };
        let number = |number| Members { number: Some(number), ..Members::default() };
        for (content, expected) in [
            ("{}", Ok(Members::default())),
            (r#" {"text":"a"} "#, Ok(text("a"))),
            (r#"{"text":"\ud83d\ude00"}"#, Ok(text("😀"))),
            (r#"{"text":null,"number":null,"list":null}"#, Ok(Members::default())),
            (r#"{"text":"a","other":{"text":[1,null]},"other":2}"#, Ok(text("a"))),
            (&long, Ok(Members::default())),
            (r#"{"number":7}"#, Ok(number(7))),
            (r#"{"number":7.0}"#, Ok(number(7))),
            (r#"{"number":-1e2}"#, Ok(number(-100))),
            ("", Err("the body is not valid JSON at line 1, column 0")),
            ("nul", Err("the body is not valid JSON at line 1, column 3")),
            (r#"{"text":"a"} {}"#, Err("the body is not valid JSON at line 1, column 14")),
            (r#"{"text":"a",}"#, Err("the body is not valid JSON at line 1, column 13")),
            (r#"{"text":"\ud800"}"#, Err("the body is not valid JSON at line 1, column 16")),
            ("\u{feff}{}", Err("the body is not valid JSON at line 1, column 1")),
            (&deep, Err("arrays and objects are nested more than 16 levels deep at line 1, column 25")),
            ("null", Err("expected an object, got null")),
            ("\"a\"", Err("expected an object, got a string")),
            (r#"["a"]"#, Err("expected an object, got an array")),
            (r#"{"text":1}"#, Err("text: expected a string, got a number")),
            (r#"{"text":{}}"#, Err("text: expected a string, got an object")),
            (r#"{"number":"hunter2"}"#, Err("number: expected a whole number, got a string")),
            (r#"{"number":1.5}"#, Err("number: expected a whole number, got a number with a fraction")),
            (r#"{"list":"a"}"#, Err("list: expected an array, got a string")),
            (r#"{"list":["a",null]}"#, Err("list/1: expected a string, got null")),
            (r#"{"text":"a","text":"a"}"#, Err("text: the member is repeated")),
            (r#"{"text":"a","te\u0078t":null}"#, Err("text: the member is repeated")),
        ] {
            let read = parse_object::<Members>(content.as_bytes()).map_err(|error| error.to_string());
            assert_eq!(read, expected.map_err(str::to_owned), "{}", &content[..content.len().min(60)]);
        }
        assert!(parse_object::<Members>(b"{\"text\":\"\xff\"}").is_err());
    }
}
