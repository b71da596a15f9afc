//! Paths with parameters.

use portcullis::normalize_path::PathRules;

use super::route_path::normalized;

/// A path with parameters: `{name}` matches one segment that is not empty, and `{*name}` at the end the rest of the
/// path, which is not empty either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: Box<str>,
    segments: Vec<Segment>,
    /// The name of the parameter for the rest.
    rest: Option<Box<str>>,
    /// The length of the part before the first parameter, without a slash at its end.
    literal_len: usize,
    breaks: PathRules,
}

/// A segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(Box<str>),
    Parameter(Box<str>),
}

impl PathPattern {
    /// Parses a pattern.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("a path must start with /".into());
        }
        let (mut names, mut rest) = (Vec::<&str>::new(), None);
        let mut parts: Vec<_> = text.split('/').collect();
        if let Some(name) = parts.last().and_then(|last| last.strip_prefix("{*")?.strip_suffix('}')) {
            rest = Some(check_name(name)?);
            parts.pop();
        }
        let mut plain = Vec::new();
        for part in &parts {
            plain.push(match parameter(part) {
                Some(name) => {
                    names.push(check_name(name)?);
                    "x"
                }
                None if part.contains(['{', '}']) => {
                    let why = "a parameter must be a whole segment, such as {id}; {*rest} must be the last";
                    return Err(format!("`{part}`: {why}"));
                }
                None => part,
            });
        }
        names.extend(rest);
        if names.is_empty() {
            return Err(
                "a pattern needs a parameter, such as {id}; write path = { exact = \"/x\" } without one"
                    .into(),
            );
        }
        if let Some(name) =
            (1..names.len()).find_map(|at| names[..at].iter().find(|name| **name == names[at]))
        {
            return Err(format!("the parameter {{{name}}} occurs twice"));
        }
        let plain = plain.join("/");
        let (plain, breaks) =
            if plain.is_empty() { ("".into(), PathRules::NONE) } else { normalized(&plain)? };
        let segment = |(part, plain): (&&str, &str)| match parameter(part) {
            Some(name) => Segment::Parameter(name.into()),
            None => Segment::Literal(plain.into()),
        };
        let segments: Vec<_> = parts.iter().zip(plain.split('/')).skip(1).map(segment).collect();
        let before = segments.iter().map_while(|segment| match segment {
            Segment::Literal(text) => Some(text.len() + 1),
            Segment::Parameter(_) => None,
        });
        let literal_len = before.sum();
        let shown = segments.iter().map(Segment::shown).chain(rest.map(|rest| format!("/{{*{rest}}}")));
        let text = shown.collect::<String>().into();
        Ok(Self { text, segments, rest: rest.map(Into::into), literal_len, breaks })
    }

    /// Returns the pattern, with normalized literals.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the part before the first parameter, without a slash at its end.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        &self.text[..self.literal_len]
    }

    /// Returns the path rules that the literals violate.
    #[must_use]
    pub fn breaks(&self) -> PathRules {
        self.breaks
    }

    /// Returns `true` if the pattern has a parameter of this name.
    #[must_use]
    pub fn has_parameter(&self, name: &str) -> bool {
        let is_name = |segment: &Segment| matches!(segment, Segment::Parameter(known) if **known == *name);
        self.rest.as_deref() == Some(name) || self.segments.iter().any(is_name)
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(super) fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// Returns `true` if a normalized path matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut parts = path.splitn(self.segments.len() + 1, '/');
        let matching = self.segments.iter().all(|segment| match (segment, parts.next()) {
            (Segment::Literal(text), Some(part)) => **text == *part,
            (Segment::Parameter(_), Some(part)) => !part.is_empty(),
            (_, None) => false,
        });
        matching && parts.next().map(|rest| !rest.is_empty()) == self.rest.as_ref().map(|_| true)
    }

    /// Returns the value of a parameter in a normalized path that matches. The literals of the path may have another
    /// spelling than the pattern.
    #[must_use]
    pub fn value<'p>(&self, path: &'p str, name: &str) -> Option<&'p str> {
        let mut parts = path.strip_prefix('/')?.splitn(self.segments.len() + 1, '/');
        for segment in &self.segments {
            let part = parts.next()?;
            if matches!(segment, Segment::Parameter(known) if **known == *name) {
                return Some(part);
            }
        }
        parts.next().filter(|_| self.rest.as_deref() == Some(name))
    }
}

impl Segment {
    fn shown(&self) -> String {
        match self {
            Self::Literal(text) => format!("/{text}"),
            Self::Parameter(name) => format!("/{{{name}}}"),
        }
    }
}

/// Returns the name in a segment that is a parameter.
fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}').filter(|name| !name.starts_with('*'))
}

fn check_name(name: &str) -> Result<&str, String> {
    let is_name = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if is_name && !name.is_empty() {
        Ok(name)
    } else {
        Err(format!("\"{name}\" is not a name of a parameter: use a-z, 0-9 and _"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_matches_one_segment_and_rest_all_others() {
        for (pattern, path, matches) in [
            ("/users/{id}", "/users/7", true),
            ("/users/{id}", "/users/", false),
            ("/users/{id}", "/users", false),
            ("/users/{id}", "/users/7/", false),
            ("/users/{id}", "/users/7/orders", false),
            ("/users/{id}/", "/users/7/", true),
            ("/users/{id}/orders", "/users/7/orders", true),
            ("/users/{id}/orders", "/users//orders", false),
            ("/{a}/{b}", "/x/y", true),
            ("/files/{*rest}", "/files/a", true),
            ("/files/{*rest}", "/files/a/b/", true),
            ("/files/{*rest}", "/files/", false),
            ("/files/{*rest}", "/files", false),
            ("/{*rest}", "/a/b", true),
            ("/{*rest}", "/", false),
            ("/{id}", "*", false),
        ] {
            assert_eq!(PathPattern::parse(pattern).unwrap().matches(path), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn values_of_parameters_are_found_by_name() {
        let pattern = PathPattern::parse("/a b/{id}/\u{e9}/{*rest}").unwrap();
        assert_eq!(pattern.as_str(), "/a%20b/{id}/%C3%A9/{*rest}");
        assert_eq!(pattern.literal_prefix(), "/a%20b");
        let path = "/a%20b/7/%C3%A9/x/y/";
        assert!(pattern.matches(path));
        for (name, value) in [("id", Some("7")), ("rest", Some("x/y/")), ("other", None)] {
            assert_eq!(pattern.value(path, name), value, "{name}");
        }
    }

    #[test]
    fn malformed_pattern_is_rejected() {
        for (text, why) in [
            ("users/{id}", "must start with /"),
            ("/users", "needs a parameter"),
            ("/users/{id}.json", "a whole segment"),
            ("/{*rest}/x", "must be the last"),
            ("/{id}/{id}", "occurs twice"),
            ("/{Id}", "not a name"),
            ("/{}", "not a name"),
            ("/*/{id}", "`*` is not supported"),
            ("/../{id}", "dot segment"),
            ("/{id}?a", "a whole segment"),
            ("{id}", "must start with /"),
            ("{*rest}", "must start with /"),
        ] {
            let error = PathPattern::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
