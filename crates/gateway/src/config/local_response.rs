//! Configuration of responses that the gateway makes without a service: redirects and fixed responses.

use http::{HeaderValue, StatusCode, uri::Authority};
use serde::{Deserialize, Deserializer, de};

use super::{PathTemplate, RegexRewrite, RoutePath, StripPrefix};

/// A redirect to another URL. The parts that are not configured are those of the request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redirect {
    /// The status: 301, 302, 303, 307 or 308.
    #[serde(deserialize_with = "redirection")]
    pub status: StatusCode,
    /// The scheme, `http` or `https`.
    pub scheme: Option<Scheme>,
    /// The host, with an optional port.
    #[serde(deserialize_with = "authority")]
    pub host: Option<Authority>,
    /// The prefix to remove from the path, as in `rewrite`.
    pub strip_prefix: StripPrefix,
    /// The path to put before the path, as in `rewrite`.
    pub add_prefix: Option<RoutePath>,
    /// The path, as in `rewrite`.
    pub path: Option<PathTemplate>,
    /// The replacement of matches in the path, as in `rewrite`.
    pub regex: Option<RegexRewrite>,
    /// Whether the query of the request is kept.
    pub keep_query: bool,
}

/// A scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// Returns the name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            status: StatusCode::TEMPORARY_REDIRECT,
            scheme: None,
            host: None,
            strip_prefix: StripPrefix::Nothing,
            add_prefix: None,
            path: None,
            regex: None,
            keep_query: true,
        }
    }
}

/// A fixed response.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FixedResponse {
    /// The status: 200 to 599, but not 206, 304 or a redirect.
    #[serde(deserialize_with = "final_status")]
    pub status: StatusCode,
    /// The media type of the body.
    #[serde(deserialize_with = "header_value")]
    pub content_type: HeaderValue,
    /// The body.
    pub body: String,
}

impl Default for FixedResponse {
    fn default() -> Self {
        let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
        Self { status: StatusCode::OK, content_type, body: String::new() }
    }
}

fn redirection<'de, D: Deserializer<'de>>(number: D) -> Result<StatusCode, D::Error> {
    let number = u16::deserialize(number)?;
    let status = StatusCode::from_u16(number).ok().filter(|_| matches!(number, 301..=303 | 307 | 308));
    status.ok_or_else(|| de::Error::custom("the status of a redirect is 301, 302, 303, 307 or 308"))
}

fn final_status<'de, D: Deserializer<'de>>(number: D) -> Result<StatusCode, D::Error> {
    let number = u16::deserialize(number)?;
    let is_fixed = (200..600).contains(&number) && number != 206 && !(300..400).contains(&number);
    let status = StatusCode::from_u16(number).ok().filter(|_| is_fixed);
    status.ok_or_else(|| {
        de::Error::custom("the status of a fixed response is 200 to 299 without 206, or 400 to 599")
    })
}

fn authority<'de, D: Deserializer<'de>>(text: D) -> Result<Option<Authority>, D::Error> {
    let authority = String::deserialize(text)?.parse::<Authority>().ok();
    let is_host = |host: &Authority| !host.as_str().contains('@') && !host.host().is_empty();
    match authority.filter(is_host) {
        Some(authority) => Ok(Some(authority)),
        None => Err(de::Error::custom("a host is a name with an optional port, such as \"www.example.com\"")),
    }
}

fn header_value<'de, D: Deserializer<'de>>(text: D) -> Result<HeaderValue, D::Error> {
    let value = HeaderValue::from_str(&String::deserialize(text)?).ok().filter(|value| !value.is_empty());
    value.ok_or_else(|| de::Error::custom("this is not a media type"))
}
