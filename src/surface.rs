//! The management APIs, each an axum router over a registry.
//!
//! [`discue`] manages api clients and [`apig`] manages apps, each exactly as its published contract says;
//! [`admin`] is our own, and manages everything. What they share is below HTTP: the registry, the guard's
//! policies, and how content is read.
//!
//! Each router is a whole service: what it does not know it refuses in its own form, and its guard stands
//! before everything, so that a stranger learns nothing from it. Serve each on a host, a listener or a
//! nested path of its own.

pub mod admin;
pub mod apig;
mod author;
pub mod discue;
mod json;
mod openapi;

pub use openapi::documentation;

use std::time::Duration;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{Denial, admission::DigestMismatch, denial::Unauthenticated, registry::RegistryError};

/// The most bytes of content a surface reads.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long content may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// When to come back to a store that cannot be reached.
const RETRY_AFTER: u64 = 5;

/// Why content cannot be used. Says where, never what stood there: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum BodyError {
    #[error("at most {MAX_BODY_BYTES} bytes are taken")]
    TooLong,
    #[error("the content broke off, or did not arrive within {} s", BODY_TIMEOUT.as_secs())]
    Missing,
    #[error("the content is not what was signed")]
    Altered,
    #[error("the content is not JSON, at line {0}, column {1}")]
    Syntax(usize, usize),
    #[error("lists and objects lie more than {} deep within each other, at {place}", json::MAX_DEPTH)]
    Depth { place: String },
    /// The member, and why it does not fit.
    #[error("{0}")]
    Shape(String),
}

impl BodyError {
    /// As a surface says it; what was not signed is 401 on all of them.
    fn denial(self, otherwise: impl FnOnce(Self) -> Denial) -> Denial {
        if self == Self::Altered { Denial::content_mismatch() } else { otherwise(self) }
    }
}

/// All the content of a request.
async fn read_body(body: Body) -> Result<Bytes, BodyError> {
    read_body_within(body, MAX_BODY_BYTES).await
}

/// The same, of at most so many bytes.
async fn read_body_within(body: Body, most: usize) -> Result<Bytes, BodyError> {
    arrived(body, most, BODY_TIMEOUT).await
}

async fn arrived(body: Body, most: usize, within: Duration) -> Result<Bytes, BodyError> {
    match tokio::time::timeout(within, Limited::new(body, most).collect()).await {
        Ok(Ok(content)) => Ok(content.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLong),
        Ok(Err(error)) if DigestMismatch::is_cause_of(&*error) => Err(BodyError::Altered),
        Ok(Err(_)) | Err(_) => Err(BodyError::Missing),
    }
}

/// Reads content as an object of a published contract: members that the contract does not know are ignored, optional
/// members may be `null`, and a member of the contract may be there once.
///
/// A type for it has an `Option` for each member, with `#[serde(default)]`.
fn parse_object<T: DeserializeOwned>(content: &[u8]) -> Result<T, BodyError> {
    json::read_published(content)
}

/// Marks an answer of a management API as not to be stored by any cache. That takes the place of the weaker `private`, which
/// the guard adds to every answer to a known caller. Any other `Cache-Control` of a handler is left alone.
async fn no_store(mut response: Response) -> Response {
    let headers = response.headers_mut();
    if headers.get(header::CACHE_CONTROL).is_none_or(|value| value == "private") {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// A member that may be absent, but not `null`.
fn non_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(member: D) -> Result<Option<T>, D::Error> {
    T::deserialize(member).map(Some)
}

/// A registry's fault as a denial; `challenge` goes with a credential that is not accepted any more.
fn denial(fault: RegistryError, now: Timestamp, challenge: &HeaderValue) -> Denial {
    match fault {
        RegistryError::NotFound => Denial::NotFound,
        RegistryError::NameTaken => Denial::Unprocessable { detail: "The name is taken.".into() },
        RegistryError::KeyTaken => Denial::Unprocessable { detail: "The key is taken.".into() },
        RegistryError::Conflict => {
            Denial::Conflict { detail: "It has changed meanwhile, or is there already.".into() }
        }
        RegistryError::InUse => Denial::Conflict { detail: "Something still stands on it.".into() },
        RegistryError::IdempotencyKeyReused => Denial::Unprocessable { detail: "Another request was made under this key.".into() },
        RegistryError::LimitReached(most) => {
            let detail = format!(
                "The tenant has {most} callers of this kind, as many as it may have. Delete one, or have its limit raised."
            );
            Denial::PaymentRequired { detail: detail.into() }
        }
        RegistryError::Locked(lock) => Denial::Locked { lock: (*lock).into(), now },
        RegistryError::LockLost => Denial::PreconditionFailed {
            detail: "The lock is not held any more, or not with this token and fence.".into(),
        },
        RegistryError::NotAuthorized => {
            Denial::Unauthenticated { cause: Unauthenticated::Unknown, challenge: challenge.clone() }
        }
        RegistryError::Lapsed => Denial::PaymentRequired { detail: "The subscription has lapsed.".into() },
        RegistryError::LastOwner => Denial::Conflict {
            detail: "No other owner has a key that is accepted then: make one for another owner first."
                .into(),
        },
        RegistryError::Unavailable(inside) => {
            tracing::error!("the registry is unavailable: {inside}");
            Denial::unavailable(
                "The store could not be read or written. Try again later; the log has the reason.",
                RETRY_AFTER,
            )
        }
        RegistryError::Corrupt(inside) => Denial::internal(inside),
    }
}

/// What a number is that is whole and written with a fraction or an exponent: `7.0` is `7` (RFC 8259 knows one kind
/// of number). Beyond 2^53 not every whole number is one of these.
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

    /// A body of nothing, for ever.
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
    fn a_lock_that_is_not_held_is_a_precondition_that_failed() {
        let denial = denial(RegistryError::LockLost, Timestamp::UNIX_EPOCH, &HeaderValue::from_static("Bearer"));
        assert_eq!((denial.status().as_u16(), denial.retry_after()), (412, None));
    }

    #[tokio::test]
    async fn content_that_does_not_come_is_not_waited_for() {
        let within = Duration::from_millis(10);
        assert_eq!(arrived(Body::new(Silent), MAX_BODY_BYTES, within).await, Err(BodyError::Missing));
        assert_eq!(arrived(Body::from("{}"), MAX_BODY_BYTES, within).await.as_deref(), Ok(&b"{}"[..]));
    }

    #[test]
    fn a_published_object_takes_unknown_members_and_null_and_names_what_does_not_fit() {
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
            ("", Err("the content is not JSON, at line 1, column 0")),
            ("nul", Err("the content is not JSON, at line 1, column 3")),
            (r#"{"text":"a"} {}"#, Err("the content is not JSON, at line 1, column 14")),
            (r#"{"text":"a",}"#, Err("the content is not JSON, at line 1, column 13")),
            (r#"{"text":"\ud800"}"#, Err("the content is not JSON, at line 1, column 16")),
            ("\u{feff}{}", Err("the content is not JSON, at line 1, column 1")),
            (&deep, Err("lists and objects lie more than 16 deep within each other, at line 1, column 25")),
            ("null", Err("an object is expected, not null")),
            ("\"a\"", Err("an object is expected, not a string")),
            (r#"["a"]"#, Err("an object is expected, not a list")),
            (r#"{"text":1}"#, Err("text: a string is expected, not a number")),
            (r#"{"text":{}}"#, Err("text: a string is expected, not an object")),
            (r#"{"number":"hunter2"}"#, Err("number: a whole number is expected, not a string")),
            (r#"{"number":1.5}"#, Err("number: a whole number is expected, not a number with a fraction")),
            (r#"{"list":"a"}"#, Err("list: a list is expected, not a string")),
            (r#"{"list":["a",null]}"#, Err("list/1: a string is expected, not null")),
            (r#"{"text":"a","text":"a"}"#, Err("text: it stands more than once")),
            (r#"{"text":"a","te\u0078t":null}"#, Err("text: it stands more than once")),
        ] {
            let read = parse_object::<Members>(content.as_bytes()).map_err(|error| error.to_string());
            assert_eq!(read, expected.map_err(str::to_owned), "{}", &content[..content.len().min(60)]);
        }
        assert!(parse_object::<Members>(b"{\"text\":\"\xff\"}").is_err());
    }
}
