//! Finds the routes whose paths match a request.

use std::{collections::BTreeMap, ops::Range};

use crate::config::{PathMatch, PathPattern};

/// The positions of the routes of one host, or of all hosts, by path.
#[derive(Default)]
pub(super) struct PathIndex {
    prefixes: BTreeMap<Box<str>, Range<usize>>,
    /// The length of the longest prefix, in bytes.
    longest: usize,
    others: Option<Box<Others>>,
}

/// The positions of the routes whose paths are no prefixes.
#[derive(Default)]
struct Others {
    exact: BTreeMap<Box<str>, Range<usize>>,
    /// In the order of precedence.
    patterns: Vec<(PathPattern, Range<usize>)>,
}

impl PathIndex {
    /// Adds the route at a position. Positions are in the order of precedence, so that routes of the same path have
    /// consecutive ones.
    pub(super) fn insert(&mut self, path: &PathMatch, at: usize) {
        let range = match path {
            PathMatch::Prefix(path) => {
                self.longest = self.longest.max(path.as_str().len());
                self.prefixes.entry(path.as_str().into()).or_insert(at..at)
            }
            PathMatch::Exact(path) => {
                self.others.get_or_insert_default().exact.entry(path.as_str().into()).or_insert(at..at)
            }
            PathMatch::Pattern(pattern) => {
                let patterns = &mut self.others.get_or_insert_default().patterns;
                let is_same =
                    |(other, _): &(PathPattern, _)| PathMatch::Pattern(other.clone()).compare(path).is_eq();
                if !patterns.last().is_some_and(is_same) {
                    patterns.push((pattern.clone(), at..at));
                }
                let Some((_, range)) = patterns.last_mut() else { return };
                range
            }
        };
        range.end = at + 1;
    }

    /// Passes the routes of each matching path to `pick`, the most specific first, until it returns a result.
    pub(super) fn find_map<R>(
        &self,
        path: &str,
        mut pick: impl FnMut(Range<usize>) -> Option<R>,
    ) -> Option<R> {
        match &self.others {
            None => self.matching(path).find_map(|(_, range)| pick(range)),
            Some(others) => self.find_map_among(others, path, pick),
        }
    }

    fn find_map_among<R>(
        &self,
        others: &Others,
        path: &str,
        mut pick: impl FnMut(Range<usize>) -> Option<R>,
    ) -> Option<R> {
        if let Some(found) = others.exact.get(path).and_then(|range| pick(range.clone())) {
            return Some(found);
        }
        let mut patterns = others.patterns.iter().filter(|(pattern, _)| pattern.matches(path)).peekable();
        for (length, range) in self.matching(path) {
            // Where the prefix ends or earlier, the pattern still has a literal or a parameter.
            while let Some((_, range)) =
                patterns.next_if(|(pattern, _)| pattern.literal_prefix().len() >= length)
            {
                if let Some(found) = pick(range.clone()) {
                    return Some(found);
                }
            }
            if let Some(found) = pick(range) {
                return Some(found);
            }
        }
        patterns.find_map(|(_, range)| pick(range.clone()))
    }

    /// Returns the routes of each prefix that equals a path or is above it, and the length of the prefix without a slash
    /// at its end; the longest first.
    fn matching(&self, path: &str) -> impl Iterator<Item = (usize, Range<usize>)> {
        // Bytes beyond the longest prefix are skipped: a request path may have thousands of segments.
        let end = path.len().min(self.longest);
        let ends = (1..=end).rev().filter(|end| path.as_bytes().get(*end).is_none_or(|byte| *byte == b'/'));
        let above = ends.filter_map(|end| path.get(..end)).filter(|above| *above != "/");
        let found = above.filter_map(|above| Some((above.len(), self.prefixes.get(above)?.clone())));
        let root = || Some((0, self.prefixes.get("/").filter(|_| path.starts_with('/'))?.clone()));
        found.chain(std::iter::once_with(root).flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// Creates an index of paths in the form of the configuration file, in the order of precedence.
    fn index(paths: &[&str]) -> PathIndex {
        let head = "store.path = \"x\"\nsecrets.file = \"x\"\nlisteners = [{ address = \"127.0.0.1:0\" }]\n\
                    upstreams.up.address = \"127.0.0.1:1\"\n";
        let routes = paths.iter().map(|path| format!("[[routes]]\nupstream = \"up\"\npath = {path}\n"));
        let text = format!("{head}{}", routes.collect::<Vec<_>>().concat());
        let mut index = PathIndex::default();
        for (at, route) in Config::parse(&text).unwrap().routes.iter().enumerate() {
            index.insert(&route.path, at);
        }
        index
    }

    fn found(paths: &PathIndex, path: &str) -> Vec<usize> {
        let mut found = Vec::new();
        paths.find_map(path, |range| {
            found.push(range.start);
            None::<()>
        });
        found
    }

    #[test]
    fn longest_matching_prefix_is_found_first() {
        let paths = index(&["\"/\"", "\"/a\"", "\"/a/b\"", "\"/a/bc/d\""]);
        let deep = format!("/a/b{}", "/x".repeat(100_000));
        for (path, expected) in [
            ("/", &[0][..]),
            ("/x", &[0]),
            ("/ab", &[0]),
            ("/a", &[1, 0]),
            ("/a/", &[1, 0]),
            ("/a/bc", &[1, 0]),
            ("/a/bc/", &[1, 0]),
            ("/a/b", &[2, 1, 0]),
            ("/a/b/c", &[2, 1, 0]),
            ("/a/bc/d", &[3, 1, 0]),
            ("/a/bc/de", &[1, 0]),
            ("/a/bc/d/e", &[3, 1, 0]),
            ("/a/\u{e9}/x", &[1, 0]),
            (&deep, &[2, 1, 0]),
            ("*", &[]),
            ("", &[]),
        ] {
            assert_eq!(found(&paths, path), expected, "{}", &path[..path.len().min(20)]);
        }
        assert!(found(&index(&["\"/a\""]), "/x").is_empty());
    }

    #[test]
    fn exact_paths_patterns_and_prefixes_are_found_in_order() {
        let paths = index(&[
            "{ exact = \"/users/me\" }",
            "\"/users/admin\"",
            "{ pattern = \"/users/{id}/orders\" }",
            "{ pattern = \"/users/{id}\" }",
            "{ pattern = \"/users/{*rest}\" }",
            "\"/users\"",
            "{ pattern = \"/{name}/admin\" }",
            "\"/\"",
        ]);
        for (path, expected) in [
            ("/users/me", &[0, 3, 4, 5, 7][..]),
            ("/users/me/", &[4, 5, 7]),
            ("/users/admin", &[1, 3, 4, 5, 6, 7]),
            ("/users/7/orders", &[2, 4, 5, 7]),
            ("/users/admin/orders", &[1, 2, 4, 5, 7]),
            ("/users/7/orders/8", &[4, 5, 7]),
            ("/users/", &[5, 7]),
            ("/users", &[5, 7]),
            ("/x/admin", &[6, 7]),
            ("/", &[7]),
        ] {
            assert_eq!(found(&paths, path), expected, "{path}");
        }
    }
}
