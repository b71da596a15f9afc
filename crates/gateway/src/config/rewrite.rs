//! Configuration of changes to requests and responses of a route.

use std::{collections::BTreeMap, str::FromStr};

use http::{HeaderName, HeaderValue, uri::Authority};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, de};

use super::{FieldName, PathTemplate, RoutePath, value::parsed};

/// The maximum size of a compiled regular expression, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// The changes to the requests of a route before the upstream receives them, and to its responses.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rewrite {
    /// The prefix to remove from the path: `true` for the path of the route, or a path above it. Default: none.
    pub strip_prefix: StripPrefix,
    /// The path to put before the path of the request, after `strip_prefix`.
    pub add_prefix: Option<RoutePath>,
    /// The path that replaces the path of the request. It may contain parameters of the route's pattern.
    pub path: Option<PathTemplate>,
    /// The replacement of all matches of a regular expression in the path.
    pub regex: Option<RegexRewrite>,
    /// The `Host` header of the request to the upstream.
    pub host: HostRewrite,
    /// The changes to the headers of the request.
    pub request_headers: HeaderChanges,
    /// The changes to the headers of the response.
    pub response_headers: HeaderChanges,
}

/// The prefix to remove from a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StripPrefix {
    /// None.
    #[default]
    Nothing,
    /// The path of the route.
    Route,
    /// A path above that of the route, or that path.
    Path(RoutePath),
}

impl<'de> Deserialize<'de> for StripPrefix {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = StripPrefix;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false or a path in quotes")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<StripPrefix, E> {
                Ok(if on { StripPrefix::Route } else { StripPrefix::Nothing })
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<StripPrefix, E> {
                path.parse().map(StripPrefix::Path).map_err(E::custom)
            }
        }

        value.deserialize_any(Visitor)
    }
}

/// A regular expression and the text that replaces its matches.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegexRewrite {
    /// The regular expression. It is matched in linear time.
    #[serde(deserialize_with = "regex")]
    pub pattern: Regex,
    /// The replacement, in which `$1`, `${1}` and `$name` are captures.
    pub replacement: String,
}

fn regex<'de, D: Deserializer<'de>>(text: D) -> Result<Regex, D::Error> {
    let text = String::deserialize(text)?;
    let built = RegexBuilder::new(&text).size_limit(MAX_REGEX_BYTES).dfa_size_limit(MAX_REGEX_BYTES).build();
    built.map_err(|error| {
        // The last line has the reason; the lines before it repeat the expression.
        let error = error.to_string();
        de::Error::custom(format!("invalid regular expression: {}", error.lines().last().unwrap_or_default()))
    })
}

/// The `Host` header of a request to an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HostRewrite {
    /// The host that the client sent.
    #[default]
    Preserve,
    /// The address of the upstream.
    Upstream,
    /// A fixed name.
    Name(HeaderValue),
}

impl FromStr for HostRewrite {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a host is \"preserve\", \"upstream\", or a name with an optional port";
        match text {
            "preserve" => Ok(Self::Preserve),
            "upstream" => Ok(Self::Upstream),
            name => {
                let authority: Authority = name.parse().map_err(|_| WRONG)?;
                let is_host = !authority.as_str().contains('@') && !authority.host().is_empty();
                let value = HeaderValue::from_str(name).map_err(|_| WRONG)?;
                if is_host { Ok(Self::Name(value)) } else { Err(WRONG) }
            }
        }
    }
}

impl<'de> Deserialize<'de> for HostRewrite {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        parsed(text)
    }
}

/// Changes to headers. They are applied in the order of the fields.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderChanges {
    /// The headers to remove.
    pub remove: Vec<FieldName>,
    /// The headers to set. Other values of these headers are removed.
    pub set: HeaderValues,
    /// The headers to add to others of the same name.
    pub add: HeaderValues,
}

impl HeaderChanges {
    /// Returns `true` if nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.0.is_empty() && self.add.0.is_empty()
    }
}

/// Headers with their values.
#[derive(Debug, Clone, Default)]
pub struct HeaderValues(pub Vec<(HeaderName, HeaderValue)>);

impl<'de> Deserialize<'de> for HeaderValues {
    fn deserialize<D: Deserializer<'de>>(table: D) -> Result<Self, D::Error> {
        let pair = |(name, value): (String, String)| {
            let key: HeaderName =
                name.parse().map_err(|_| de::Error::custom(format!("\"{name}\" is not a header name")))?;
            let value = HeaderValue::from_str(&value)
                .map_err(|_| de::Error::custom(format!("the header {key} cannot have this value")))?;
            Ok((key, value))
        };
        BTreeMap::<String, String>::deserialize(table)?
            .into_iter()
            .map(pair)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}
