//! Removes request headers that must not reach an upstream.

use http::{HeaderName, header};
use smallvec::SmallVec;

use crate::config::{RemovedHeaders, Server};
use portcullis::header_value::eq_ignore_case;

/// The request headers that are removed before a request is forwarded, in addition to hop-by-hop headers.
#[derive(Debug, Clone)]
pub(super) struct FieldFilter {
    removed: RemovedHeaders,
    /// The names of the headers that only the gateway sets.
    own: SmallVec<[HeaderName; 2]>,
}

impl FieldFilter {
    pub(super) fn new(server: &Server) -> Self {
        let own = [Some(&server.caller_id_header), server.media_type_header.as_ref()];
        let own = own.into_iter().flatten().map(|field| field.name().clone()).collect();
        Self { removed: server.removed_headers.clone(), own }
    }

    /// Returns `true` if a client's header of this name is removed.
    ///
    /// Names with other characters than letters, digits and hyphens are always removed: CGI and its descendants replace
    /// such characters and hyphens by the same character, so that `X_Caller_Id` or `X.Forwarded.For` would be read as a
    /// header of the gateway. nginx ignores such headers, too (`ignore_invalid_headers`, `underscores_in_headers`).
    pub(super) fn removes(&self, name: &HeaderName) -> bool {
        let text = name.as_str();
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !is_plain
            // The server has already answered `Expect` with 100.
            || *name == header::EXPECT
            // Trailers are not forwarded: no policy has checked them, and an upstream that merges them into the headers
            // could read an identity from them.
            || *name == header::TRAILER
            || self.own.iter().any(|own| eq_ignore_case(text, own.as_str()))
            || self.removed.contains(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(settings: &str) -> FieldFilter {
        FieldFilter::new(&toml::from_str(settings).unwrap())
    }

    fn removes(filter: &FieldFilter, name: &str) -> bool {
        filter.removes(&name.parse().unwrap())
    }

    #[test]
    fn gateway_headers_are_removed_in_every_spelling() {
        for settings in ["", "caller_id_header = \"x.caller_id\"", "media_type_header = \"x_caller_id\""] {
            let filter = filter(settings);
            for name in
                ["X-Caller-Id", "X_Caller_Id", "x.caller.id", "X-Caller_Id", "x~caller-id", "x!caller'id"]
            {
                assert!(removes(&filter, name), "{settings} {name}");
            }
        }
        assert!(removes(&filter("caller_id_header = \"x.user\""), "x-user"));
        assert!(!removes(&filter(""), "x-user"));
    }

    #[test]
    fn protected_headers_are_removed_in_every_spelling() {
        let filter = filter("removed_headers = []");
        for name in ["x_forwarded_for", "x.real.ip", "expect", "trailer"] {
            assert!(removes(&filter, name), "{name}");
        }
        assert!(!removes(&filter, "x-real-ip"));
    }
}
