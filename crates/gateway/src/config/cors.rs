//! Configuration of CORS, the permission for scripts of other origins to call a route.

mod origin;

pub use origin::AllowedOrigin;

use http::{HeaderName, Method};
use serde::{Deserialize, Deserializer, de};

use super::{ConfigDuration, list::methods};

/// The entry that expands to the default list.
const DEFAULT: &str = "default";

/// The CORS settings of a route.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// The origins whose scripts may call the route.
    #[serde(deserialize_with = "origins")]
    pub origins: Vec<AllowedOrigin>,
    /// The methods that scripts may use. Default: the methods of the route.
    #[serde(default, deserialize_with = "methods")]
    pub methods: Vec<Method>,
    /// The request headers that scripts may set. Default: `["default"]`.
    #[serde(default)]
    pub headers: HeaderList,
    /// The response headers that scripts may read. Default: `["default"]`.
    #[serde(default)]
    pub expose_headers: HeaderList,
    /// Whether browsers send cookies and client certificates, and scripts may read the response.
    #[serde(default)]
    pub credentials: bool,
    /// The time for which browsers may reuse the response to a preflight request. Default: that of the browser.
    pub max_age: Option<ConfigDuration>,
}

impl Cors {
    /// Returns `true` if every origin is allowed.
    #[must_use]
    pub fn allows_any_origin(&self) -> bool {
        self.origins.contains(&AllowedOrigin::Any)
    }
}

fn origins<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<AllowedOrigin>, D::Error> {
    let list = Vec::<String>::deserialize(list)?;
    if list.is_empty() {
        return Err(de::Error::custom("an empty list allows no origin; name one, or remove the cors table"));
    }
    list.iter().map(|origin| origin.parse().map_err(de::Error::custom)).collect()
}

/// A list of header names, which may include the default list (`"default"`) or every header (`"*"`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderList {
    /// Whether the list includes the default list.
    pub has_default: bool,
    /// Whether the list includes every header.
    pub has_any: bool,
    /// The other headers.
    pub names: Vec<HeaderName>,
}

impl Default for HeaderList {
    fn default() -> Self {
        Self { has_default: true, has_any: false, names: Vec::new() }
    }
}

impl<'de> Deserialize<'de> for HeaderList {
    fn deserialize<D: Deserializer<'de>>(list: D) -> Result<Self, D::Error> {
        let mut headers = Self { has_default: false, has_any: false, names: Vec::new() };
        for entry in Vec::<String>::deserialize(list)? {
            match &*entry {
                DEFAULT => headers.has_default = true,
                "*" => headers.has_any = true,
                name => {
                    let parsed = name.parse().ok().filter(|_| !name.contains('*'));
                    let why = || de::Error::custom(format!("\"{name}\" is not a header name"));
                    headers.names.push(parsed.ok_or_else(why)?);
                }
            }
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Table {
        list: HeaderList,
    }

    #[test]
    fn header_list_extends_or_replaces_the_default() {
        let list = |text: &str| toml::from_str::<Table>(&format!("list = {text}")).map(|table| table.list);
        assert_eq!(list("[]").unwrap(), HeaderList { has_default: false, ..HeaderList::default() });
        let extended = list("[\"default\", \"X-Trace\"]").unwrap();
        assert_eq!((extended.has_default, extended.has_any), (true, false));
        assert_eq!(extended.names, [HeaderName::from_static("x-trace")]);
        assert!(list("[\"*\"]").unwrap().has_any);
        assert!(list("[\"x trace\"]").is_err() && list("[\"x-*\"]").is_err());
    }
}
