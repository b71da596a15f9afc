//! Hosts of routes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

use super::HostName;

/// The hosts that a route matches: a name, or all names below one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteHost {
    /// A name.
    Name(HostName),
    /// All names of one or more labels before this name: `*.example.com` matches `a.example.com` and
    /// `a.b.example.com`, but not `example.com`.
    Below(HostName),
}

impl RouteHost {
    /// Returns `true` if every host that `other` matches is matched here, too.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(name), Self::Name(other)) => name == other,
            (Self::Below(name), Self::Name(other)) => is_below(other.as_str(), name.as_str()),
            (Self::Below(name), Self::Below(other)) => {
                name == other || is_below(other.as_str(), name.as_str())
            }
            (Self::Name(_), Self::Below(_)) => false,
        }
    }

    /// Returns a name that the host matches.
    #[must_use]
    pub fn example(&self) -> String {
        match self {
            Self::Name(name) => name.as_str().to_owned(),
            Self::Below(name) => format!("any.{}", name.as_str()),
        }
    }
}

fn is_below(name: &str, above: &str) -> bool {
    name.strip_suffix(above).is_some_and(|labels| labels.ends_with('.'))
}

impl fmt::Display for RouteHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name.as_str()),
            Self::Below(name) => write!(f, "*.{}", name.as_str()),
        }
    }
}

impl FromStr for RouteHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("*.") {
            Some(name) => name.parse().map(Self::Below),
            None => text.parse().map(Self::Name),
        }
    }
}

impl<'de> Deserialize<'de> for RouteHost {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        String::deserialize(text)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_replaces_leading_labels_only() {
        for (text, shown) in [("*.Example.com.", "*.example.com"), ("a.example", "a.example")] {
            assert_eq!(text.parse::<RouteHost>().unwrap().to_string(), shown);
        }
        for text in ["*", "*.", "a.*.example", "*a.example", "*.*.example", "*.example:80"] {
            assert!(text.parse::<RouteHost>().is_err(), "{text}");
        }
    }

    #[test]
    fn wildcard_contains_names_and_wildcards_below_it() {
        for (host, other, contains) in [
            ("*.example", "a.example", true),
            ("*.example", "a.b.example", true),
            ("*.example", "example", false),
            ("*.example", "an-example", false),
            ("*.example", "*.b.example", true),
            ("*.example", "*.example", true),
            ("*.b.example", "*.example", false),
            ("b.example", "*.example", false),
            ("b.example", "b.example", true),
        ] {
            let [host, other] = [host, other].map(|host| host.parse::<RouteHost>().unwrap());
            assert_eq!(host.contains(&other), contains, "{host} {other}");
        }
    }
}
