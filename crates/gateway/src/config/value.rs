//! Types of configuration values: durations, header names, host names, credential sources.

use std::{fmt, str::FromStr, time::Duration};

use http::HeaderName;
use serde::{Deserialize, Deserializer, de};

use portcullis::policy::KeySource;

/// Deserializes a text and parses it.
pub(super) fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    text: D,
) -> Result<T, D::Error> {
    String::deserialize(text)?.parse().map_err(de::Error::custom)
}

/// A duration from 1 ms to 24 h, written as a whole number and `ms`, `s`, `m` or `h`, such as `500ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigDuration(Duration);

impl ConfigDuration {
    pub(super) const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// Returns the duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for ConfigDuration {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a duration is a whole number and ms, s, m or h, such as \"500ms\", up to 24h";
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| WRONG)?;
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(WRONG),
        };
        let millis = number.checked_mul(unit).ok_or(WRONG)?;
        if (1..=86_400_000).contains(&millis) { Ok(Self(Duration::from_millis(millis))) } else { Err(WRONG) }
    }
}

impl<'de> Deserialize<'de> for ConfigDuration {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        parsed(text)
    }
}

/// The name of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldName(HeaderName);

impl FieldName {
    pub(super) const fn from_static(name: &'static str) -> Self {
        Self(HeaderName::from_static(name))
    }

    /// Returns the name in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the header name.
    #[must_use]
    pub fn name(&self) -> &HeaderName {
        &self.0
    }
}

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        parsed(text).map(Self)
    }
}

/// A host name in lower case, without a port and without the trailing dot. Non-ASCII names are converted to A-labels
/// (RFC 5890), as clients send them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(Box<str>);

impl HostName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const WRONG: &str = "a host must be a name without a port, such as \"api.example.com\"";
        if text.contains('*') {
            return Err(
                "`*` stands only for the first labels, as in \"*.example.com\"; leave the host out to match all hosts"
                    .into()
            );
        }
        if let Some((host, port)) = text.rsplit_once(':')
            && !port.is_empty()
            && port.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(format!("a host must be written without its port: \"{host}\" matches all ports"));
        }
        // Requests may have a trailing dot, which is removed before the lookup.
        let name = text.strip_suffix('.').unwrap_or(text);
        let name = if name.is_ascii() {
            name.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(name).map_err(|_| "invalid internationalized domain name".to_owned())?
        };
        let plain =
            |label: &str| label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let fits = |label: &str| (1..=63).contains(&label.len()) && plain(label);
        if name.len() <= 253 && name.split('.').all(fits) { Ok(Self(name.into())) } else { Err(WRONG.into()) }
    }
}

/// The source of a credential: the name of a header, or `Authorization: <scheme>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceName(pub KeySource);

impl FromStr for SourceName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a source is a header name, or \"Authorization: <scheme>\"";
        let Some((name, scheme)) = text.split_once(':') else {
            let name: HeaderName = text.parse().map_err(|_| WRONG)?;
            let bare = name == http::header::AUTHORIZATION;
            return if bare { Err(WRONG) } else { Ok(Self(KeySource::Field(name))) };
        };
        let scheme = scheme.trim();
        let token = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if name.trim().eq_ignore_ascii_case("authorization") && token {
            Ok(Self(KeySource::Authorization(scheme.into())))
        } else {
            Err(WRONG)
        }
    }
}

impl<'de> Deserialize<'de> for SourceName {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        parsed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_a_range() {
        for (text, millis) in [("1ms", 1), ("2s", 2_000), ("3m", 180_000), ("24h", 86_400_000)] {
            assert_eq!(text.parse::<ConfigDuration>().unwrap().duration().as_millis(), millis);
        }
        for text in ["", "5", "s", "0s", "-1s", "1.5s", "25h", "99999999999999999999s", "1 s", "1d"] {
            assert!(text.parse::<ConfigDuration>().is_err(), "{text}");
        }
    }

    #[test]
    fn host_is_stored_in_normal_form() {
        for (text, normalized) in [
            ("API.Example.com", "api.example.com"),
            ("api.example.com.", "api.example.com"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("XN--bcher-kva.example", "xn--bcher-kva.example"),
            ("a_b.internal", "a_b.internal"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            assert_eq!(text.parse::<HostName>().unwrap().as_str(), normalized, "{text}");
        }
        for text in
            ["", ".", "a..b", ".example", "a:80", "a:", "*.example", "a b", "https://a", "[::1]", "\u{200b}"]
        {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
        assert!(format!("{}.example", "a".repeat(64)).parse::<HostName>().is_err());
    }

    #[test]
    fn source_is_a_header_or_a_scheme() {
        assert_eq!("X-API-KEY".parse::<SourceName>().unwrap().0, KeySource::x_api_key());
        assert_eq!("authorization: Bearer".parse::<SourceName>().unwrap().0, KeySource::bearer());
        for text in ["", "Authorization", "Authorization:", "Cookie: a", "a b"] {
            assert!(text.parse::<SourceName>().is_err(), "{text}");
        }
    }
}
