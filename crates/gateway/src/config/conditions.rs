//! Conditions of routes on headers and on the query.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, de};

/// Conditions on values with names: each value must be present, or be equal to a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions<N, V>(Vec<(N, Option<V>)>);

/// Conditions on request headers.
pub type HeaderConditions = Conditions<HeaderName, HeaderValue>;

/// Conditions on parameters of the query.
pub type QueryConditions = Conditions<String, String>;

impl<N, V> Default for Conditions<N, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<N: PartialEq, V: PartialEq> Conditions<N, V> {
    /// Returns `true` if there is no condition.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of conditions, and the number of those on a value.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        (self.0.len(), self.0.iter().filter(|(_, value)| value.is_some()).count())
    }

    /// Returns the names.
    pub fn names(&self) -> impl Iterator<Item = &N> {
        self.0.iter().map(|(name, _)| name)
    }

    /// Returns `true` if a request that just satisfies `others` satisfies these conditions, too.
    #[must_use]
    pub fn follow_from(&self, others: &[&Self]) -> bool {
        self.0.iter().all(|(name, value)| {
            let mut known = others.iter().flat_map(|others| &others.0).filter(|(other, _)| other == name);
            known.any(|(_, other)| value.is_none() || value == other)
        })
    }

    /// Returns `true` if a request can satisfy these conditions and others.
    #[must_use]
    pub fn agree_with(&self, others: &Self) -> bool {
        self.0.iter().all(|(name, value)| {
            let mut known = others.0.iter().filter(|(other, _)| other == name);
            known.all(|(_, other)| value.is_none() || other.is_none() || value == other)
        })
    }
}

impl HeaderConditions {
    /// Returns `true` if headers satisfy the conditions. One of several headers of a name is enough.
    #[must_use]
    pub fn match_headers(&self, headers: &HeaderMap) -> bool {
        self.0.iter().all(|(name, value)| match value {
            None => headers.contains_key(name),
            Some(value) => headers.get_all(name).iter().any(|other| other == value),
        })
    }
}

impl QueryConditions {
    /// Returns `true` if a query satisfies the conditions. One of several parameters of a name is enough.
    #[must_use]
    pub fn match_query(&self, query: Option<&str>) -> bool {
        let query = query.unwrap_or_default().as_bytes();
        self.0.iter().all(|(name, value)| {
            let mut values = form_urlencoded::parse(query).filter(|(other, _)| other == name);
            values.any(|(_, other)| value.as_ref().is_none_or(|value| *value == other))
        })
    }
}

/// A condition in the file: `true`, or the text that the value must be equal to.
struct Expected(Option<String>);

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Expected;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text in quotes, or true for any value")
            }

            fn visit_bool<E: de::Error>(self, present: bool) -> Result<Expected, E> {
                if present {
                    Ok(Expected(None))
                } else {
                    Err(E::custom(
                        "a condition cannot be false: a request with the value matches another route",
                    ))
                }
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Expected, E> {
                Ok(Expected(Some(value.to_owned())))
            }
        }

        value.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for HeaderConditions {
    fn deserialize<D: Deserializer<'de>>(table: D) -> Result<Self, D::Error> {
        let mut all: Vec<(HeaderName, Option<HeaderValue>)> = Vec::new();
        for (name, Expected(value)) in BTreeMap::<String, Expected>::deserialize(table)? {
            let key: HeaderName =
                name.parse().map_err(|_| de::Error::custom(format!("\"{name}\" is not a header name")))?;
            if all.iter().any(|(other, _)| *other == key) {
                return Err(de::Error::custom(format!("the header {key} has two conditions")));
            }
            let invalid = |_| de::Error::custom(format!("no header {key} can have this value"));
            let value =
                value.map(|value| HeaderValue::from_str(value.trim()).map_err(invalid)).transpose()?;
            all.push((key, value));
        }
        Ok(Self(all))
    }
}

impl<'de> Deserialize<'de> for QueryConditions {
    fn deserialize<D: Deserializer<'de>>(table: D) -> Result<Self, D::Error> {
        let all = BTreeMap::<String, Expected>::deserialize(table)?;
        Ok(Self(all.into_iter().map(|(name, Expected(value))| (name, value)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> QueryConditions {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn query_is_decoded_before_it_is_compared() {
        let conditions = query("\"a b\" = \"\u{e9}\"\nflag = true");
        for (text, matches) in [
            (Some("a+b=%C3%A9&flag"), true),
            (Some("flag=0&a%20b=x&a%20b=%c3%a9"), true),
            (Some("a b=%e9&flag=1"), false),
            (Some("a+b=%C3%A9"), false),
            (Some("flag=1"), false),
            (None, false),
        ] {
            assert_eq!(conditions.match_query(text), matches, "{text:?}");
        }
        assert!(QueryConditions::default().match_query(None));
    }

    #[test]
    fn one_of_several_headers_satisfies_a_condition() {
        let conditions: HeaderConditions = toml::from_str("X-Version = \"2\"\nx-beta = true").unwrap();
        for (fields, matches) in [
            (&[("x-version", "1"), ("x-version", "2"), ("x-beta", "")][..], true),
            (&[("x-version", "2")], false),
            (&[("x-version", "2 "), ("x-beta", "1")], false),
            (&[("x-version", "1, 2"), ("x-beta", "1")], false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(conditions.match_headers(&headers), matches, "{fields:?}");
        }
    }

    #[test]
    fn condition_without_effect_is_rejected() {
        for text in ["a = false", "a = 1", "\"a b\" = true", "a = \"\\u0001\"", "x-a = true\nX-A = \"1\""] {
            assert!(toml::from_str::<HeaderConditions>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn presence_follows_from_a_value() {
        let (value, present, other) = (query("a = \"1\""), query("a = true"), query("a = \"2\""));
        assert!(present.follow_from(&[&value]) && !value.follow_from(&[&present]));
        assert!(query("").follow_from(&[]) && !present.follow_from(&[]));
        assert!(
            value.agree_with(&present) && !value.agree_with(&other) && value.agree_with(&query("b = \"2\""))
        );
    }
}
