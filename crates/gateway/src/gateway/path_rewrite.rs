//! Changes of paths, for rewrites and redirects.

use std::borrow::Cow;

use regex::Regex;

use crate::config::{self, PathMatch, PathPattern, PathTemplate, RegexRewrite, RoutePath, StripPrefix};
use portcullis::{
    Denial,
    normalize_path::{self, PathRules},
};

/// A change of paths.
#[derive(Debug)]
pub(super) enum PathRewrite {
    /// The path stays.
    Keep,
    /// Removes the prefix, of a number of segments, and puts another one before the rest.
    Prefix { removed: RoutePath, added: Box<str> },
    /// Replaces the path. The pattern of the route has the positions of the parameters.
    Template(PathTemplate, Option<PathPattern>),
    /// Replaces the matches of a regular expression.
    Regex(Regex, String),
}

impl PathRewrite {
    /// Creates the change that a rewrite or redirect of a route configures. A valid configuration has at most one.
    pub(super) fn new(
        route: &config::Route,
        strip_prefix: &StripPrefix,
        add_prefix: Option<&RoutePath>,
        path: Option<&PathTemplate>,
        regex: Option<&RegexRewrite>,
    ) -> Self {
        if let Some(template) = path {
            let pattern = match &route.path {
                PathMatch::Pattern(pattern) => Some(pattern.clone()),
                _ => None,
            };
            return Self::Template(template.clone(), pattern);
        }
        if let Some(RegexRewrite { pattern, replacement }) = regex {
            return Self::Regex(pattern.clone(), replacement.clone());
        }
        let removed = match (strip_prefix, &route.path) {
            (StripPrefix::Path(path), _)
            | (StripPrefix::Route, PathMatch::Prefix(path) | PathMatch::Exact(path)) => path.clone(),
            _ => RoutePath::root(),
        };
        let added = add_prefix.map_or("", |path| path.as_str().trim_end_matches('/'));
        if removed.segment_count() == 0 && added.is_empty() {
            return Self::Keep;
        }
        Self::Prefix { removed, added: added.into() }
    }

    /// Returns the prefix that is removed from paths.
    pub(super) fn removed_prefix(&self) -> Option<&str> {
        match self {
            Self::Prefix { removed, .. } if removed.segment_count() > 0 => Some(removed.as_str()),
            _ => None,
        }
    }

    /// Returns the new path of a request, or `None` if it stays. The path is changed in its normalized form, in which the
    /// policies saw it.
    ///
    /// # Errors
    /// Returns 400 if the result is not a path, or violates a path rule that the path of the request does not violate.
    pub(super) fn apply(&self, path: &str) -> Result<Option<String>, Denial> {
        if matches!(self, Self::Keep) {
            return Ok(None);
        }
        let normal = normalize_path::normalize(path).map_err(|_| invalid())?;
        let breaks = normal.breaks;
        let changed = match self {
            Self::Keep => return Ok(None),
            Self::Prefix { removed, added } => {
                format!("{added}{}", after_segments(&normal.path, removed.segment_count()))
            }
            Self::Template(template, pattern) => {
                let value = |name: &str| pattern.as_ref()?.value(&normal.path, name);
                template.fill(value).ok_or_else(invalid)?
            }
            Self::Regex(pattern, replacement) => {
                let comparable = normal.comparable();
                match pattern.replace_all(&comparable, replacement.as_str()) {
                    Cow::Borrowed(_) => return Ok(None),
                    Cow::Owned(changed) => changed,
                }
            }
        };
        let changed = if changed.is_empty() { "/".to_owned() } else { changed };
        if is_valid(&changed, breaks) { Ok(Some(changed)) } else { Err(invalid()) }
    }
}

/// Returns `true` if a changed path is one that the gateway would forward. A capture or the rest of a path must not
/// become a dot segment, a host after two slashes, or anything else that the policies have not seen.
fn is_valid(path: &str, breaks: PathRules) -> bool {
    let normal = normalize_path::normalize(path);
    !path.starts_with("//") && normal.is_ok_and(|normal| normal.breaks.difference(breaks).is_empty())
}

fn invalid() -> Denial {
    Denial::bad_request("The path of the request cannot be rewritten to a valid path.")
}

/// Returns the part of a path after a number of segments: empty, or with a slash at its start.
fn after_segments(path: &str, count: usize) -> &str {
    path.match_indices('/').nth(count).map_or("", |(at, _)| &path[at..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// Creates the rewrite of a route from its settings.
    fn rewrite(path: &str, settings: &str) -> PathRewrite {
        let text = format!(
            "store.path = \"x\"\nsecrets.file = \"x\"\nlisteners = [{{ address = \"127.0.0.1:0\" }}]\n\
             upstreams.up.address = \"127.0.0.1:1\"\n[[routes]]\nupstream = \"up\"\npath = {path}\nrewrite = {{ {settings} }}"
        );
        let config = Config::parse(&text).unwrap();
        let (route, rewrite) = (&config.routes[0], config.routes[0].rewrite.as_ref().unwrap());
        let (add, path) = (rewrite.add_prefix.as_ref(), rewrite.path.as_ref());
        PathRewrite::new(route, &rewrite.strip_prefix, add, path, rewrite.regex.as_ref())
    }

    #[test]
    fn path_is_changed_as_configured() {
        for (route, settings, path, expected) in [
            ("\"/api\"", "strip_prefix = true", "/api/x%3Ay/", Some("/x%3Ay/")),
            ("\"/api\"", "strip_prefix = true", "/%61pi", Some("/")),
            ("\"/api\"", "strip_prefix = true", "/api/", Some("/")),
            ("\"/a:b\"", "strip_prefix = true", "/a%3Ab/c", Some("/c")),
            ("\"/api/v1\"", "strip_prefix = \"/api\"", "/api/v1/x", Some("/v1/x")),
            ("{ pattern = \"/api/{id}\" }", "strip_prefix = \"/api\"", "/api/7", Some("/7")),
            ("\"/\"", "add_prefix = \"/v2\"", "/x", Some("/v2/x")),
            ("\"/\"", "add_prefix = \"/v2\"", "/", Some("/v2/")),
            ("\"/api\"", "strip_prefix = true, add_prefix = \"/v2\"", "/api", Some("/v2")),
            ("\"/api\"", "strip_prefix = true, add_prefix = \"/v2\"", "/api/x", Some("/v2/x")),
            ("\"/\"", "path = \"/fixed/caf\u{e9}\"", "/x/y", Some("/fixed/caf%C3%A9")),
            (
                "{ pattern = \"/u/{id}/{*rest}\" }",
                "path = \"/{rest}/of-{id}\"",
                "/%75/7%3A/a/b",
                Some("/a/b/of-7%3A"),
            ),
            (
                "\"/\"",
                "regex = { pattern = \"^/v([0-9]+)/\", replacement = \"/api-$1/\" }",
                "/v12/x",
                Some("/api-12/x"),
            ),
            (
                "\"/\"",
                "regex = { pattern = \"/(?<a>x)\", replacement = \"/$a-y\" }",
                "/x/x",
                Some("/x-y/x-y"),
            ),
            ("\"/\"", "regex = { pattern = \":\", replacement = \"-\" }", "/a%3Ab", Some("/a-b")),
            ("\"/\"", "regex = { pattern = \"none\", replacement = \"\" }", "/a", None),
            ("\"/\"", "host = \"upstream\"", "/a", None),
        ] {
            let found = rewrite(route, settings).apply(path);
            assert_eq!(found.unwrap().as_deref(), expected, "{settings} {path}");
        }
    }

    #[test]
    fn change_to_another_kind_of_path_is_denied() {
        for (route, settings, path) in [
            ("\"/api\"", "strip_prefix = true", "/api//evil.example"),
            ("\"/\"", "regex = { pattern = \"^/go/\", replacement = \"\" }", "/go/x"),
            ("\"/\"", "regex = { pattern = \"^/go\", replacement = \"/\" }", "/go/x"),
            ("\"/\"", "regex = { pattern = \"x\", replacement = \"\" }", "/a/x.x./b"),
            ("\"/\"", "regex = { pattern = \"x\", replacement = \"\" }", "/a/x/b"),
            ("\"/\"", "regex = { pattern = \"x\", replacement = \"\" }", "/a/%xx2e%2x5"),
            ("\"/\"", "regex = { pattern = \"x\", replacement = \"2\" }", "/%25xf"),
            ("{ pattern = \"/u/{id}/{n}\" }", "path = \"/v/{id}{n}/w\"", "/u/./."),
        ] {
            let denial = rewrite(route, settings).apply(path).unwrap_err();
            assert_eq!(denial.status(), 400, "{settings} {path}");
        }
    }

    #[test]
    fn violation_that_the_route_accepts_stays_accepted() {
        let strip = rewrite("\"/api\"", "strip_prefix = true");
        assert_eq!(strip.apply("/api/a//b;v=1").unwrap().as_deref(), Some("/a//b;v=1"));
    }
}
