//! Finds the routes of the hosts that match a request.

use std::{collections::BTreeMap, ops::Range};

use http::{HeaderValue, Uri};

use super::path_index::PathIndex;
use crate::config::{PathMatch, RouteHost};

/// The positions of all routes, by host and path.
#[derive(Default)]
pub(super) struct HostIndex {
    names: BTreeMap<Box<str>, PathIndex>,
    /// The routes of wildcards, by the name behind `*.`.
    wildcards: BTreeMap<Box<str>, PathIndex>,
    of_any_host: PathIndex,
}

impl HostIndex {
    /// Adds the route at a position. Routes of the same host and path have consecutive positions.
    pub(super) fn insert(&mut self, host: Option<&RouteHost>, path: &PathMatch, at: usize) {
        let paths = match host {
            Some(RouteHost::Name(name)) => self.names.entry(name.as_str().into()).or_default(),
            Some(RouteHost::Below(name)) => self.wildcards.entry(name.as_str().into()).or_default(),
            None => &mut self.of_any_host,
        };
        paths.insert(path, at);
    }

    /// Passes the routes of each match to `pick`, the most specific first, until it returns a result. `host` returns the
    /// host of the request. It is called only if a route has a host.
    pub(super) fn find_map<'h, R>(
        &self,
        host: impl FnOnce() -> Option<&'h str>,
        path: &str,
        mut pick: impl FnMut(Range<usize>) -> Option<R>,
    ) -> Option<R> {
        let has_hosts = !(self.names.is_empty() && self.wildcards.is_empty());
        let of_host = has_hosts.then(host).flatten().and_then(|host| {
            // A host name may end with the dot of the root domain.
            let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
            let named = self.names.get(&*host).and_then(|paths| paths.find_map(path, &mut pick));
            named.or_else(|| self.above(&host).find_map(|paths| paths.find_map(path, &mut pick)))
        });
        of_host.or_else(|| self.of_any_host.find_map(path, pick))
    }

    /// Returns the routes of the wildcards that match a host, the longest first.
    fn above(&self, host: &str) -> impl Iterator<Item = &PathIndex> {
        let dots = host.match_indices('.').filter(|(at, _)| *at > 0 && !self.wildcards.is_empty());
        dots.filter_map(|(at, _)| self.wildcards.get(&host[at + 1..]))
    }
}

/// Returns the host of a request: from the target, or else from the `Host` header.
pub(super) fn host_in<'h>(uri: &'h Uri, header: Option<&'h HeaderValue>) -> Option<&'h str> {
    uri.host().or_else(|| Some(host_of(header?.to_str().ok()?)))
}

/// Returns the host of a `Host` header without its port. An IPv6 address keeps its brackets.
fn host_of(value: &str) -> &str {
    match value.rfind(':') {
        Some(at) if !value[at..].contains(']') => &value[..at],
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_header_may_have_a_port() {
        for (value, host) in [
            ("a.example", "a.example"),
            ("a.example:80", "a.example"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(host_of(value), host);
        }
    }

    #[test]
    fn most_specific_host_is_found_first() {
        let mut hosts = HostIndex::default();
        let root = PathMatch::Prefix("/".parse().unwrap());
        let names = ["a.example", "*.b.a.example", "*.a.example", "*.example"];
        for (at, host) in names.iter().enumerate() {
            hosts.insert(Some(&host.parse().unwrap()), &root, at);
        }
        hosts.insert(None, &root, 4);
        for (host, expected) in [
            ("a.example", &[0, 3, 4][..]),
            ("A.Example.:80", &[0, 3, 4]),
            ("b.a.example", &[2, 3, 4]),
            ("c.b.a.example", &[1, 2, 3, 4]),
            ("x.y.example", &[3, 4]),
            ("example", &[4]),
            ("anexample", &[4]),
            (".example", &[4]),
        ] {
            let mut found = Vec::new();
            let none = hosts.find_map(
                || Some(host_of(host)),
                "/",
                |range| {
                    found.push(range.start);
                    None::<()>
                },
            );
            assert_eq!((none, &*found), (None, expected), "{host}");
        }
    }
}
