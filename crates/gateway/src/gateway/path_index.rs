//! Finds the routes of the longest path that matches a request.

use std::{collections::BTreeMap, ops::Range};

/// The positions of the routes of one host, or of all hosts, by path.
#[derive(Default)]
pub(super) struct PathIndex {
    routes: BTreeMap<Box<str>, Range<usize>>,
    /// The length of the longest path, in bytes.
    longest: usize,
}

impl PathIndex {
    /// Adds the route at a position. Routes of the same path have consecutive positions.
    pub(super) fn insert(&mut self, path: &str, at: usize) {
        self.longest = self.longest.max(path.len());
        self.routes.entry(path.into()).or_insert(at..at).end = at + 1;
    }

    /// Returns the routes of the longest path that equals the given one or is above it.
    pub(super) fn find(&self, path: &str) -> Option<Range<usize>> {
        // Bytes beyond the longest path are skipped: a request path may have thousands of segments.
        let end = path.len().min(self.longest);
        let ends = (1..=end).rev().filter(|end| path.as_bytes().get(*end).is_none_or(|byte| *byte == b'/'));
        let found = ends.filter_map(|end| path.get(..end)).find_map(|above| self.routes.get(above));
        found.or_else(|| self.routes.get("/").filter(|_| path.starts_with('/'))).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_path_above_is_found() {
        let mut paths = PathIndex::default();
        for (at, path) in ["/", "/a", "/a/b", "/a/bc/d"].into_iter().enumerate() {
            paths.longest = paths.longest.max(path.len());
            paths.routes.insert(path.into(), at..at + 1);
        }
        let deep = format!("/a/b{}", "/x".repeat(100_000));
        for (path, found) in [
            ("/", Some(0)),
            ("/x", Some(0)),
            ("/ab", Some(0)),
            ("/a", Some(1)),
            ("/a/", Some(1)),
            ("/a/bc", Some(1)),
            ("/a/bc/", Some(1)),
            ("/a/b", Some(2)),
            ("/a/b/c", Some(2)),
            ("/a/bc/d", Some(3)),
            ("/a/bc/de", Some(1)),
            ("/a/bc/d/e", Some(3)),
            ("/a/\u{e9}/x", Some(1)),
            (&deep, Some(2)),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(paths.find(path).map(|range| range.start), found, "{}", &path[..path.len().min(20)]);
        }
        paths.routes.remove("/");
        assert_eq!(paths.find("/x"), None);
    }
}
