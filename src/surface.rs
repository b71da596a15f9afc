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
pub mod discue;
mod json;
mod spec;

pub use spec::documentation;

use std::{fmt, marker::PhantomData, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Number, error::Category};

use crate::{Denial, admission::Altered, denial::Forbidden, registry::Fault};

/// The most bytes of content a surface reads.
const MOST: usize = 64 * 1024;
/// How long content may take to arrive.
const WITHIN: Duration = Duration::from_secs(10);
/// When to come back to a store that cannot be reached.
const RETRY_AFTER: u64 = 5;

/// Why content cannot be used. Says where, never what stood there: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Unreadable {
    #[error("at most {MOST} bytes are taken")]
    TooLong,
    #[error("the content broke off, or did not arrive within {} s", WITHIN.as_secs())]
    Missing,
    #[error("the content is not what was signed")]
    Altered,
    #[error("not JSON, at line {0}, column {1}")]
    Syntax(usize, usize),
    #[error("not an object of the documented members, each once and of its type, at line {0}, column {1}")]
    Shape(usize, usize),
}

impl Unreadable {
    /// As a surface says it; what was not signed is 401 on all of them.
    fn denial(self, otherwise: impl FnOnce(Self) -> Denial) -> Denial {
        if self == Self::Altered { Denial::content_altered() } else { otherwise(self) }
    }
}

/// All the content of a request.
async fn content(body: Body) -> Result<Bytes, Unreadable> {
    content_within(body, MOST).await
}

/// The same, of at most so many bytes.
async fn content_within(body: Body, most: usize) -> Result<Bytes, Unreadable> {
    arrived(body, most, WITHIN).await
}

async fn arrived(body: Body, most: usize, within: Duration) -> Result<Bytes, Unreadable> {
    match tokio::time::timeout(within, Limited::new(body, most).collect()).await {
        Ok(Ok(content)) => Ok(content.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unreadable::TooLong),
        Ok(Err(error)) if Altered::is_cause_of(&*error) => Err(Unreadable::Altered),
        Ok(Err(_)) | Err(_) => Err(Unreadable::Missing),
    }
}

/// Content as an object of known members.
fn object<T: DeserializeOwned>(content: &[u8]) -> Result<T, Unreadable> {
    // serde would take the members from an array too, in the order they are declared.
    if content.trim_ascii_start().first() == Some(&b'[') {
        return Err(Unreadable::Shape(1, 1));
    }
    serde_json::from_slice(content).map_err(|error| match error.classify() {
        Category::Data => Unreadable::Shape(error.line(), error.column()),
        Category::Io | Category::Syntax | Category::Eof => Unreadable::Syntax(error.line(), error.column()),
    })
}

/// A member that may be absent, but not `null`.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(member: D) -> Result<Option<T>, D::Error> {
    T::deserialize(member).map(Some)
}

/// A word of several, which serde would also take as an object of it: `{"read":null}`.
fn word<'de, T: Deserialize<'de>, D: Deserializer<'de>>(member: D) -> Result<T, D::Error> {
    T::deserialize(String::deserialize(member)?.into_deserializer())
}

/// The same, that may be absent, but not `null`.
fn present_word<'de, T: Deserialize<'de>, D: Deserializer<'de>>(member: D) -> Result<Option<T>, D::Error> {
    word(member).map(Some)
}

/// An object, which serde would also take as a list of its members.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(object: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        object.deserialize_map(Members(PhantomData)).map(Self)
    }
}

/// What a registry's fault is to whoever asked.
fn denial(fault: Fault, now: Timestamp) -> Denial {
    match fault {
        Fault::NotFound => Denial::NotFound,
        Fault::NameTaken => Denial::Unprocessable { detail: "The name is taken.".into() },
        Fault::KeyTaken => Denial::Unprocessable { detail: "The key is taken.".into() },
        Fault::Conflict => {
            Denial::Conflict { detail: "It has changed meanwhile, or is there already.".into() }
        }
        Fault::InUse => Denial::Conflict { detail: "Something still stands on it.".into() },
        Fault::Reused => Denial::Unprocessable { detail: "Another request was made under this key.".into() },
        Fault::Full(most) => {
            Denial::PaymentRequired { detail: format!("There may be {most} of them, and there are.").into() }
        }
        Fault::Locked(lock) => Denial::Locked { lock: (*lock).into(), now },
        Fault::LockLost => Denial::PreconditionFailed {
            detail: "The lock is not held any more, or not with this token and fence.".into(),
        },
        Fault::Revoked => Denial::Forbidden(Forbidden::CredentialDisabled),
        Fault::Unavailable(inside) => {
            tracing::error!("the registry is unavailable: {inside}");
            Denial::unavailable("The registry cannot be reached just now.", RETRY_AFTER)
        }
        Fault::Corrupt(inside) => Denial::internal(inside),
    }
}

/// A whole number, which may also be written with a fraction or an exponent; `null` is none.
fn whole<'de, D: Deserializer<'de>>(member: D) -> Result<Option<i64>, D::Error> {
    let number = |number: Number| number.as_i64().or_else(|| integral(number.as_f64()?));
    let wrong = || D::Error::custom("a whole number is expected");
    Option::<Number>::deserialize(member)?.map(|it| number(it).ok_or_else(wrong)).transpose()
}

/// The same of a member that may be absent, but not `null`.
fn present_whole<'de, D: Deserializer<'de>>(member: D) -> Result<Option<i64>, D::Error> {
    whole(member)?.map(Some).ok_or_else(|| D::Error::custom("a whole number is expected"))
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

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        #[serde(default, deserialize_with = "present")]
        a: Option<String>,
        #[serde(default, deserialize_with = "present")]
        b: Option<String>,
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
        let denial = denial(Fault::LockLost, Timestamp::UNIX_EPOCH);
        assert_eq!((denial.status().as_u16(), denial.retry_after()), (412, None));
    }

    #[tokio::test]
    async fn content_that_does_not_come_is_not_waited_for() {
        let within = Duration::from_millis(10);
        assert_eq!(arrived(Body::new(Silent), MOST, within).await, Err(Unreadable::Missing));
        assert_eq!(arrived(Body::from("{}"), MOST, within).await.as_deref(), Ok(&b"{}"[..]));
    }

    #[test]
    fn an_object_has_each_known_member_once_and_of_its_type() {
        let deep = format!(r#"{{"a":{}"#, "[".repeat(60_000));
        let unknown = format!(r#"{{"{}":1}}"#, "x".repeat(60_000));
        for (text, expected) in [
            (r#" {"b":"2"} "#, None),
            ("{}", None),
            (r#"{"a":"\ud83d\ude00"}"#, None),
            ("", Some("not JSON")),
            ("nul", Some("not JSON")),
            (r#"{"a":"x"} {}"#, Some("not JSON")),
            (r#"{"a":"x",}"#, Some("not JSON")),
            ("{'a':'x'}", Some("not JSON")),
            (r#"{"a":"\ud800"}"#, Some("not JSON")),
            (r#"{"a":"\ude00\ud83d"}"#, Some("not JSON")),
            ("\u{feff}{}", Some("not JSON")),
            ("null", Some("not an object")),
            ("\"a\"", Some("not an object")),
            (r#"["x","y"]"#, Some("not an object")),
            (r#"{"a":null}"#, Some("not an object")),
            (r#"{"a":1}"#, Some("not an object")),
            (r#"{"a":{}}"#, Some("not an object")),
            (r#"{"c":"x"}"#, Some("not an object")),
            (r#"{"a":"x","a":"x"}"#, Some("not an object")),
            (r#"{"a":"x","\u0061":"y"}"#, Some("not an object")),
            (&deep, Some("not an object")),
            (&unknown, Some("not an object")),
        ] {
            let outcome = object::<Pair>(text.as_bytes()).map_err(|error| error.to_string());
            let shown = &text[..text.len().min(40)];
            match (outcome, expected) {
                (Ok(_), None) => {}
                (Err(error), Some(start)) => {
                    assert!(error.starts_with(start), "{shown} {error}");
                    assert!(error.len() < 120, "{shown}");
                }
                (outcome, _) => panic!("{shown} {outcome:?}"),
            }
        }
        assert!(object::<Pair>(b"{\"a\":\"\xff\"}").is_err());
    }
}
