//! The paths that a route matches.

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer, de};

use super::{PathPattern, RoutePath, path_pattern::Segment};
use portcullis::normalize_path::PathRules;

/// The paths that a route matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// A path and everything below it.
    Prefix(RoutePath),
    /// A single path.
    Exact(RoutePath),
    /// A path with parameters.
    Pattern(PathPattern),
}

/// A segment of a path, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Literal(&'a str),
    /// Any segment that is not empty.
    Any,
    End(End),
}

/// The end of the known segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// The path ends here.
    Here,
    /// At least one more character follows, after a slash.
    Rest,
    /// The path ends here, or more segments follow.
    Below,
}

impl PathMatch {
    /// Returns the match of every path.
    #[must_use]
    pub fn root() -> Self {
        Self::Prefix(RoutePath::root())
    }

    /// Returns the text in the configuration, normalized.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Prefix(path) | Self::Exact(path) => path.as_str(),
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }

    /// Returns the path rules that all requests to these paths violate.
    #[must_use]
    pub fn breaks(&self) -> PathRules {
        match self {
            Self::Prefix(path) | Self::Exact(path) => path.breaks(),
            Self::Pattern(pattern) => pattern.breaks(),
        }
    }

    /// Returns `true` if a normalized path matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Prefix(above) => above.contains(path),
            Self::Exact(exact) => exact.as_str() == path,
            Self::Pattern(pattern) => pattern.matches(path),
        }
    }

    /// Returns the longest path that is equal to all matching paths or above them.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        match self {
            Self::Prefix(path) | Self::Exact(path) => path.as_str(),
            Self::Pattern(pattern) => {
                Some(pattern.literal_prefix()).filter(|it| !it.is_empty()).unwrap_or("/")
            }
        }
    }

    /// Compares the precedence of two matches: the first one in order takes the requests that match both.
    ///
    /// Segments are compared from the left: a literal precedes a parameter, and a parameter precedes the end of a prefix
    /// or pattern with more below it. An exact path precedes a prefix.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        let (mut parts, end) = self.parts();
        let (mut others, other_end) = other.parts();
        parts.push(Part::End(end));
        others.push(Part::End(other_end));
        parts.cmp(&others)
    }

    /// Returns `true` if every path that `other` matches is matched here, too.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        let ((parts, end), (others, other_end)) = (self.parts(), other.parts());
        let more = others.get(parts.len()..);
        let fits =
            |(part, other): (&Part<'_>, &Part<'_>)| part == other || *part == Part::Any && !is_empty(*other);
        match more {
            Some(more) if parts.iter().zip(&others).all(fits) => match end {
                End::Below => true,
                End::Here => more.is_empty() && other_end == End::Here,
                End::Rest if more.is_empty() => other_end == End::Rest,
                End::Rest => *more != [Part::Literal("")] || other_end == End::Rest,
            },
            _ => false,
        }
    }

    /// Returns a path that both match, if there is one.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> Option<String> {
        let ((parts, end), (others, other_end)) = (self.parts(), other.parts());
        let both = |(part, other): (&Part<'_>, &Part<'_>)| match (*part, *other) {
            (Part::Any, part) | (part, Part::Any) if !is_empty(part) => Some(text_of(part).to_owned()),
            (Part::Literal(text), Part::Literal(other)) if text == other => Some(text.to_owned()),
            _ => None,
        };
        let mut path = parts.iter().zip(&others).map(both).collect::<Option<Vec<_>>>()?;
        let (longer, longer_end, shorter_end) = match parts.len().cmp(&others.len()) {
            Ordering::Less => (&others[parts.len()..], other_end, end),
            Ordering::Greater => (&parts[others.len()..], end, other_end),
            Ordering::Equal => (&[][..], end.min(other_end), end.max(other_end)),
        };
        path.extend(longer.iter().map(|part| text_of(*part).to_owned()));
        match (longer_end, shorter_end) {
            (_, End::Here) if !longer.is_empty() => return None,
            (End::Here, End::Rest) if longer.is_empty() || *longer == [Part::Literal("")] => return None,
            (End::Rest, _) => path.push("x".to_owned()),
            _ => {}
        }
        Some(format!("/{}", path.join("/")))
    }

    /// Returns a path that matches.
    #[must_use]
    pub fn example(&self) -> String {
        self.overlap(self).unwrap_or_else(|| self.as_str().to_owned())
    }

    fn parts(&self) -> (Vec<Part<'_>>, End) {
        match self {
            Self::Prefix(path) if path.as_str() == "/" => (Vec::new(), End::Below),
            Self::Prefix(path) => (literals(path.as_str()), End::Below),
            Self::Exact(path) => (literals(path.as_str()), End::Here),
            Self::Pattern(pattern) => {
                let end = if pattern.has_rest() { End::Rest } else { End::Here };
                (pattern.segments().iter().map(Part::of_segment).collect(), end)
            }
        }
    }
}

impl<'a> Part<'a> {
    fn of_segment(segment: &'a Segment) -> Self {
        match segment {
            Segment::Literal(text) => Self::Literal(text),
            Segment::Parameter(_) => Self::Any,
        }
    }
}

fn literals(path: &str) -> Vec<Part<'_>> {
    path.split('/').skip(1).map(Part::Literal).collect()
}

fn is_empty(part: Part<'_>) -> bool {
    part == Part::Literal("")
}

fn text_of(part: Part<'_>) -> &str {
    if let Part::Literal(text) = part { text } else { "x" }
}

/// The forms of a path in the file that are tables.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    prefix: Option<String>,
    exact: Option<String>,
    pattern: Option<String>,
}

impl<'de> Deserialize<'de> for PathMatch {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = PathMatch;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a path in quotes, { exact = \"/x\" } or { pattern = \"/x/{id}\" }")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<PathMatch, E> {
                path.parse().map(PathMatch::Prefix).map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<PathMatch, A::Error> {
                let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let path = match (table.prefix, table.exact, table.pattern) {
                    (Some(path), None, None) => path.parse().map(PathMatch::Prefix),
                    (None, Some(path), None) => RoutePath::exact(&path).map(PathMatch::Exact),
                    (None, None, Some(pattern)) => PathPattern::parse(&pattern).map(PathMatch::Pattern),
                    _ => Err("a path has exactly one of prefix, exact and pattern".to_owned()),
                };
                path.map_err(de::Error::custom)
            }
        }

        value.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses `=/x` as an exact path, a text with a parameter as a pattern, and others as prefixes.
    fn path(text: &str) -> PathMatch {
        match text.strip_prefix('=') {
            Some(exact) => PathMatch::Exact(RoutePath::exact(exact).unwrap()),
            None if text.contains('{') => PathMatch::Pattern(PathPattern::parse(text).unwrap()),
            None => PathMatch::Prefix(text.parse().unwrap()),
        }
    }

    #[test]
    fn more_specific_path_precedes_segment_by_segment() {
        let order = [
            "=/a/b",
            "/a/b",
            "=/a/b/",
            "/a/{x}/c",
            "/a/{x}",
            "/a/{*rest}",
            "=/a",
            "/a",
            "/{x}/b",
            "/{*rest}",
            "=/",
            "/",
        ];
        let mut sorted = order.map(path).to_vec();
        sorted.sort_by(PathMatch::compare);
        let position = |text: &str| sorted.iter().position(|one| *one == path(text)).unwrap();
        for (first, second) in [
            ("=/a/b", "/a/b"),
            ("/a/b", "/a/{x}"),
            ("/a/b", "/a/{x}/c"),
            ("=/a/b/", "/a/b"),
            ("/a/{x}", "/a/{*rest}"),
            ("/a/{*rest}", "/a"),
            ("/a/{x}", "/{x}/b"),
            ("/a", "/{x}/b"),
            ("/{x}/b", "/{*rest}"),
            ("/{*rest}", "/"),
            ("=/", "/"),
        ] {
            assert!(position(first) < position(second), "{first} {second}");
        }
        assert_eq!(path("/{a}/{b}").compare(&path("/{c}/{d}")), Ordering::Equal);
    }

    #[test]
    fn containment_and_overlap_are_by_segments() {
        for (one, other, contains, overlap) in [
            ("/", "/a", true, Some("/a")),
            ("/a", "/ab", false, None),
            ("/a", "=/a", true, Some("/a")),
            ("=/a", "/a", false, Some("/a")),
            ("=/a", "=/a/", false, None),
            ("/a", "=/a/", true, Some("/a/")),
            ("/a", "/a/{x}", true, Some("/a/x")),
            ("/a/{x}", "=/a/b", true, Some("/a/b")),
            ("/a/{x}", "=/a/", false, None),
            ("/a/{x}", "/a/b", false, Some("/a/b")),
            ("/a/{x}", "/a/{y}", true, Some("/a/x")),
            ("/a/{x}", "/{y}/b", false, Some("/a/b")),
            ("/a/{x}", "/{y}/b/{z}", false, None),
            ("/a/{*rest}", "/a", false, Some("/a/x")),
            ("/a/{*rest}", "=/a", false, None),
            ("/a/{*rest}", "=/a/", false, None),
            ("/a/{*rest}", "/a/b", true, Some("/a/b")),
            ("/a/{*rest}", "/a/{x}/c", true, Some("/a/x/c")),
            ("/{*rest}", "/a/{*rest}", true, Some("/a/x")),
        ] {
            let [one, other] = [one, other].map(path);
            assert_eq!(one.contains(&other), contains, "{one:?} {other:?}");
            assert_eq!(one.overlap(&other).as_deref(), overlap, "{one:?} {other:?}");
            assert_eq!(other.overlap(&one).as_deref(), overlap, "{other:?} {one:?}");
            if let Some(both) = overlap {
                assert!(one.matches(both) && other.matches(both), "{both}");
            }
        }
    }

    #[test]
    fn path_in_the_file_has_one_form() {
        let parse = |text: &str| toml::from_str::<std::collections::BTreeMap<String, PathMatch>>(text);
        for (text, expected) in [
            ("path = \"/a\"", "/a"),
            ("path = { prefix = \"/a\" }", "/a"),
            ("path = { exact = \"/a/\" }", "=/a/"),
            ("path.pattern = \"/a/{id}\"", "/a/{id}"),
        ] {
            assert_eq!(parse(text).unwrap()["path"], path(expected), "{text}");
        }
        for text in [
            "path = {}",
            "path = { exact = \"/a\", prefix = \"/a\" }",
            "path = { regex = \"x\" }",
            "path = 1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
