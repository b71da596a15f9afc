//! Normalized paths of routes, without parameters.

use std::{fmt::Write, str::FromStr};

use serde::{Deserialize, Deserializer};

use super::value::parsed;
use portcullis::normalize_path::{self, PathError, PathRules};

/// A path without parameters.
///
/// The path is normalized in the same way as request paths: `/café` becomes `/caf%C3%A9`, and `/%7Ea` becomes `/~a`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePath {
    text: Box<str>,
    breaks: PathRules,
}

impl RoutePath {
    /// Returns the path `/`.
    #[must_use]
    pub fn root() -> Self {
        Self { text: "/".into(), breaks: PathRules::NONE }
    }

    /// Parses a path that matches nothing below it.
    pub(super) fn exact(text: &str) -> Result<Self, String> {
        normalized(text).map(|(text, breaks)| Self { text, breaks })
    }

    /// Returns the normalized path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the number of segments; `/` has none.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        if &*self.text == "/" { 0 } else { self.text.matches('/').count() }
    }

    /// Returns the path rules that a request to this path violates. The route must relax them to receive requests.
    #[must_use]
    pub fn breaks(&self) -> PathRules {
        self.breaks
    }

    /// Returns `true` if another path is this one or below it.
    #[must_use]
    pub fn contains(&self, other: &str) -> bool {
        let below = other.strip_prefix(&*self.text);
        &*self.text == "/" || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Parses a path that matches everything below it, too.
impl FromStr for RoutePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > 1 && text.starts_with('/') && text.ends_with('/') {
            return Err(
                "a path must not end with /, because it matches itself and everything below it".into()
            );
        }
        Self::exact(text)
    }
}

impl<'de> Deserialize<'de> for RoutePath {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        parsed(text)
    }
}

/// Returns the normalized form of a path, and the path rules that it violates.
pub(super) fn normalized(text: &str) -> Result<(Box<str>, PathRules), String> {
    if !text.starts_with('/') {
        return Err("a path must start with /".into());
    }
    if let Some(sign) = wildcard(text) {
        return Err(format!(
            "`{sign}` is not supported: a path matches itself and everything below it; for a path with parameters, \
             write path = {{ pattern = \"/users/{{id}}\" }}"
        ));
    }
    if let Some(sign) = text.chars().find(|sign| matches!(sign, '?' | '#')) {
        return Err(format!(
            "a path has no query or fragment: leave out `{sign}`; for a condition on the query, write \
             query = {{ name = \"value\" }}"
        ));
    }
    if let Some(sign) = text.chars().find(|sign| is_invisible(*sign)) {
        return Err(format!("the path contains the invisible character U+{:04X}", u32::from(sign)));
    }
    if text.split('/').any(|segment| segment.trim() != segment) {
        return Err(
            "a segment of the path begins or ends with a space; if this is intended, write %20".into()
        );
    }
    let encoded = encoded(text);
    let normal = normalize_path::normalize(&encoded).map_err(|why| match why {
        PathError::Percent => {
            "two hexadecimal digits must follow a percent sign; write %25 for the sign".into()
        }
        why => format!("no request can have this path: {why}"),
    })?;
    let breaks = normal.breaks;
    Ok((normal.comparable().into(), breaks))
}

/// Returns a part that other programs treat as a pattern. Here it would be matched literally, and the route would
/// protect nothing.
fn wildcard(path: &str) -> Option<&str> {
    if let Some(at) = path.find(['*', '{', '}', '<', '>', '[', ']', '^', '\\', '|', '`', '"']) {
        return path.get(at..=at);
    }
    for segment in path.split('/') {
        let is_group = segment.starts_with('(') && segment.ends_with([')', '+', '?']);
        if segment.starts_with(':') || is_group || segment == "..." {
            return Some(segment);
        }
        if let Some(at) = [".+", ".?", "(?", ")?", ")+"].iter().find_map(|sign| segment.find(sign)) {
            return segment.get(at..at + 2);
        }
    }
    path.ends_with('$').then_some("$")
}

/// Returns `true` for characters that are invisible or that reorder the text around them.
fn is_invisible(sign: char) -> bool {
    sign.is_control()
        || matches!(sign, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(sign, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{a0}' | '\u{3000}')
}

/// Percent-encodes the characters of a path that requests never send unencoded.
pub(super) fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for sign in path.chars() {
        if sign.is_ascii() && sign != ' ' {
            text.push(sign);
        } else {
            for byte in sign.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a `String` cannot fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_stored_in_normal_form() {
        for (text, normalized) in [
            ("/", "/"),
            ("/café", "/caf%C3%A9"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/%7Euser/%61", "/~user/a"),
            ("/a b", "/a%20b"),
            ("/odata/$metadata", "/odata/$metadata"),
            ("/Orders(7)", "/Orders(7)"),
            ("/v1/item:cancel", "/v1/item:cancel"),
            ("/%2A", "/*"),
            ("/a%3Ab%20c", "/a:b%20c"),
            ("/a.b/.well-known", "/a.b/.well-known"),
        ] {
            assert_eq!(text.parse::<RoutePath>().unwrap().as_str(), normalized, "{text}");
        }
    }

    #[test]
    fn path_that_no_request_can_have_is_rejected() {
        for (text, why) in [
            ("", "must start with /"),
            ("a", "must start with /"),
            ("/a/", "must not end with /"),
            ("/w/*", "`*` is not supported"),
            ("/w/**/x", "`*` is not supported"),
            ("/w/{id}", "`{` is not supported"),
            ("/w/:id", "`:id` is not supported"),
            ("/w/<id>", "`<` is not supported"),
            ("/w/[0-9]+", "`[` is not supported"),
            (r"/w/\d+", r"`\` is not supported"),
            ("/w/.+", "`.+` is not supported"),
            ("/(a|b)", "`|` is not supported"),
            ("/(orders)", "`(orders)` is not supported"),
            ("/w/...", "`...` is not supported"),
            ("/orders$", "`$` is not supported"),
            ("/a?b=1", "leave out `?`"),
            ("/a#b", "leave out `#`"),
            ("/a/../b", "dot segment"),
            ("/a/%2e%2e/b", "dot segment"),
            ("/a%00", "control character"),
            ("/100%", "write %25"),
            ("/a\u{200b}", "U+200B"),
            ("/a\u{202e}b", "U+202E"),
            ("/a\n", "U+000A"),
            ("/a ", "begins or ends with a space"),
        ] {
            let error = text.parse::<RoutePath>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn violated_path_rules_are_reported() {
        for (text, rules) in [
            ("/a", PathRules::NONE),
            ("/a//b", PathRules::EMPTY_SEGMENTS),
            ("/a;v=1", PathRules::PARAMETERS),
            ("/a%2Fb", PathRules::ENCODED_SLASHES),
            ("/%252e", PathRules::DOUBLE_ENCODING),
            ("/%ff", PathRules::NOT_UTF8),
        ] {
            assert_eq!(text.parse::<RoutePath>().unwrap().breaks(), rules, "{text}");
        }
    }
}
