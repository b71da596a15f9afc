//! Parses request bodies into documented types and reports the exact place of each error.
//!
//! `serde_path_to_error` also finds places, but not kinds: only the text of `serde_json`'s errors tells a missing
//! member from a wrong type or an invalid value. Therefore a body is parsed into a tree first, and the tree is
//! deserialized with an [error type](MemberError) of our own.

#![allow(
    clippy::option_option,
    reason = "an absent member and a null member of a patch have different meanings"
)]

mod field_error;
mod read;
mod renamed;

pub(super) use field_error::{FieldErrors, MemberError};
pub(super) use renamed::present_name;

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, error::Category};

use super::BodyError;
use portcullis::Denial;

/// Maximum nesting depth of arrays and objects.
pub(super) const MAX_DEPTH: usize = 16;

/// A JSON value. An object keeps all of its repeated members, so that they can be reported.
enum Node {
    Null,
    Truth(bool),
    Number(Number),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// Parses a body into a documented type.
///
/// # Errors
/// 400 for a body that is not JSON or does not match the schema; 422 for invalid values.
pub(super) fn read<T: DeserializeOwned>(content: &[u8]) -> Result<T, Denial> {
    let tree = tree(content).map_err(|unreadable| {
        Denial::bad_request(match unreadable {
            BodyError::Syntax(line, column) => {
                format!("The body is not valid JSON at line {line}, column {column}.")
            }
            other => format!("The body cannot be used: {other}."),
        })
    })?;
    T::deserialize(tree).map_err(MemberError::denial)
}

/// Parses a body into a type that describes an object of a published contract.
///
/// # Errors
/// [`BodyError`], which names the member that does not fit.
pub(super) fn read_published<T: DeserializeOwned>(content: &[u8]) -> Result<T, BodyError> {
    T::deserialize(tree(content)?).map_err(|misfit| BodyError::Shape(misfit.described()))
}

fn tree(content: &[u8]) -> Result<Node, BodyError> {
    let mut json = serde_json::Deserializer::from_slice(content);
    let node = Depth(0).deserialize(&mut json).and_then(|node| json.end().map(|()| node));
    node.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            // The depth limit is the only rule that the tree itself enforces.
            Category::Data => BodyError::Depth { place: format!("line {line}, column {column}") },
            _ => BodyError::Syntax(line, column),
        }
    })
}

/// Deserializes a value at a nesting depth.
#[derive(Clone, Copy)]
struct Depth(usize);

impl Depth {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.0 < MAX_DEPTH { Ok(Self(self.0 + 1)) } else { Err(E::custom("too deep")) }
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Node, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
        Ok(Node::Truth(truth))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Number::from_f64(number).map_or(Node::Null, Node::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let (inner, mut nodes) = (self.deeper()?, Vec::new());
        while let Some(node) = list.next_element_seed(inner)? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Node, A::Error> {
        let (inner, mut members) = (self.deeper()?, Vec::new());
        while let Some(name) = object.next_key()? {
            members.push((name, object.next_value_seed(inner)?));
        }
        Ok(Node::Object(members))
    }
}

/// Deserializes a member of a patch that may be absent or `null`; `null` removes the value.
pub(super) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    member: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(member).map(Some)
}

/// Timestamps in the format of RFC 3339. Errors do not repeat the invalid value.
pub(super) mod moment {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, de::Error};

    fn parsed<E: Error>(text: &str) -> Result<Timestamp, E> {
        let wrong = || E::custom("must be a time such as 2026-11-23T03:00:00Z (RFC 3339)");
        if !is_rfc_3339(text) {
            return Err(wrong());
        }
        text.parse().map_err(|_| E::custom("must be an existing date and time, at most 9999-12-30T22:00:00Z"))
    }

    /// Returns `true` if the text has the form of RFC 3339. The day and the time need not exist. Time zone names,
    /// which other parsers accept, do not belong to that form.
    fn is_rfc_3339(text: &str) -> bool {
        let fits = |text: &str, form: &str| {
            let same =
                |(c, f): (u8, u8)| if f == b'0' { c.is_ascii_digit() } else { c.eq_ignore_ascii_case(&f) };
            text.len() == form.len() && text.bytes().zip(form.bytes()).all(same)
        };
        let Some((moment, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else { return false };
        let whole = rest.strip_prefix('.').map_or(Some(rest), |part| {
            let zone = part.trim_start_matches(|c: char| c.is_ascii_digit());
            (zone.len() < part.len()).then_some(zone)
        });
        let is_zone = |zone: &str| {
            let hours =
                zone.get(1..3).and_then(|hours| hours.parse().ok()).is_some_and(|hours: u8| hours < 24);
            fits(zone, "Z") || hours && (fits(zone, "+00:00") || fits(zone, "-00:00"))
        };
        fits(moment, "0000-00-00T00:00:00") && whole.is_some_and(is_zone)
    }

    pub(crate) fn maybe<'de, D: Deserializer<'de>>(member: D) -> Result<Option<Timestamp>, D::Error> {
        Option::<String>::deserialize(member)?.map(|text| parsed(&text)).transpose()
    }

    pub(crate) fn nullable<'de, D: Deserializer<'de>>(
        member: D,
    ) -> Result<Option<Option<Timestamp>>, D::Error> {
        maybe(member).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::non_null;
    use portcullis::model::CallerId;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "the parsed values are not read")]
    struct Outer {
        name: String,
        #[serde(default, deserialize_with = "non_null")]
        count: Option<u32>,
        #[serde(default)]
        inner: Vec<Inner>,
        #[serde(default, deserialize_with = "nullable")]
        id: Option<Option<CallerId>>,
        #[serde(default, deserialize_with = "moment::maybe")]
        at: Option<jiff::Timestamp>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "the parsed values are not read")]
    struct Inner {
        #[serde(rename = "a/b~ü")]
        kind: Kind,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        One,
        Other,
    }

    /// Returns `ok`, or the status and the pointers of the errors.
    fn outcome(text: &str) -> String {
        match read::<Outer>(text.as_bytes()) {
            Ok(_) => "ok".into(),
            Err(denial) => {
                let mut shown = denial.status().as_str().to_owned();
                if let Denial::InvalidShape { wrong } | Denial::InvalidValues { wrong } = denial {
                    wrong.iter().for_each(|wrong| write!(shown, " {}", wrong.pointer).unwrap());
                }
                shown
            }
        }
    }

    #[test]
    fn error_has_an_exact_pointer() {
        let deep = format!(r#"{{"name":{}"#, "[".repeat(60_000));
        for (text, expected) in [
            (r#" {"name":"a","count":7,"inner":[{"a/b~ü":"one"}],"id":null} "#, "ok"),
            (r#"{"name":"a","id":"x","at":"2026-01-01T00:00:00Z"}"#, "ok"),
            (r#"{"name":"a","at":null,"inner":[]}"#, "ok"),
            ("", "400"),
            ("nul", "400"),
            ("\u{feff}{}", "400"),
            (r#"{"name":"\ud800"}"#, "400"),
            (r#"{"name":"a"} {}"#, "400"),
            (r#"{"name":"a",}"#, "400"),
            (r#"{"name":"a","count":1e999}"#, "400"),
            (&deep, "400"),
            (r#"{"name":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}"#, "400"),
            ("null", "400 #"),
            ("[]", "400 #"),
            (r#"["a"]"#, "400 #"),
            ("\"a\"", "400 #"),
            ("{}", "400 #/name"),
            (r#"{"name":null}"#, "400 #/name"),
            (r#"{"name":1}"#, "400 #/name"),
            (r#"{"name":{}}"#, "400 #/name"),
            (r#"{"name":"a","nam":1}"#, "400 #/nam"),
            (r#"{"name":"a","n\u0061me":"b"}"#, "400 #/name"),
            (r#"{"name":"a","%~/é x":1}"#, "400 #/%25~0~1%C3%A9%20x"),
            (r#"{"name":"a","count":null}"#, "400 #/count"),
            (r#"{"name":"a","count":"1"}"#, "400 #/count"),
            (r#"{"name":"a","count":7.0}"#, "ok"),
            (r#"{"name":"a","count":-0.0}"#, "ok"),
            (r#"{"name":"a","count":1e2}"#, "ok"),
            (r#"{"name":"a","count":-7.0}"#, "422 #/count"),
            (r#"{"name":"a","count":4294967296.0}"#, "422 #/count"),
            (r#"{"name":"a","count":1e300}"#, "400 #/count"),
            (r#"{"name":"a","count":1.5}"#, "400 #/count"),
            (r#"{"name":"a","count":-1}"#, "422 #/count"),
            (r#"{"name":"a","count":4294967296}"#, "422 #/count"),
            (r#"{"name":"a","inner":{}}"#, "400 #/inner"),
            (r#"{"name":"a","inner":[[]]}"#, "400 #/inner/0"),
            (r#"{"name":"a","inner":[{"a/b~ü":"one"},{}]}"#, "400 #/inner/1/a~1b~0%C3%BC"),
            (r#"{"name":"a","inner":[{"a/b~ü":1}]}"#, "400 #/inner/0/a~1b~0%C3%BC"),
            (r#"{"name":"a","inner":[{"a/b~ü":"two"}]}"#, "422 #/inner/0/a~1b~0%C3%BC"),
            (r#"{"name":"a","inner":[{"a/b~ü":{"one":null}}]}"#, "400 #/inner/0/a~1b~0%C3%BC"),
            (r#"{"name":"a","id":""}"#, "422 #/id"),
            (r#"{"name":"a","id":7}"#, "400 #/id"),
            (r#"{"name":"a","at":"now"}"#, "422 #/at"),
            (r#"{"name":"a","at":7}"#, "400 #/at"),
        ] {
            assert_eq!(outcome(text), expected, "{}", &text[..text.len().min(60)]);
        }
        assert!(read::<Outer>(b"{\"name\":\"\xff\"}").is_err());
    }

    #[test]
    fn errors_repeat_only_shortened_names() {
        for text in [
            r#"{"name":"a","count":"hunter2"}"#,
            r#"{"name":"a","inner":[{"a/b~ü":"hunter2"}]}"#,
            r#"{"name":"a","id":"hunter2 hunter2"}"#,
            r#"{"name":"a","at":"hunter2"}"#,
            r#"{"name":"a","count":72727272727}"#,
            r#""hunter2""#,
            &format!(r#"{{"{}":1}}"#, "x".repeat(60_000)),
        ] {
            let denial = read::<Outer>(text.as_bytes()).unwrap_err();
            let shown = format!("{denial:?}");
            assert!(!shown.contains("hunter2") && !shown.contains("7272"), "{shown}");
            assert!(shown.len() < 600, "{}", shown.len());
        }
    }
}
