//! The request fields that do not reach a service behind.

use http::{HeaderName, header};
use smallvec::SmallVec;

use crate::{
    config::{RemovedFields, Server},
    header_value::eq_ignore_case,
};

/// The request fields that are removed before a request is forwarded, whatever belongs to its connection apart.
#[derive(Debug, Clone)]
pub(super) struct FieldFilter {
    removed: RemovedFields,
    /// The names of fields that only the gateway sets.
    own: SmallVec<[HeaderName; 2]>,
}

impl FieldFilter {
    pub(super) fn new(server: &Server) -> Self {
        let own = [Some(&server.identity_field), server.media_type_field.as_ref()];
        let own = own.into_iter().flatten().map(|field| field.name().clone()).collect();
        Self { removed: server.removed_fields.clone(), own }
    }

    /// Returns `true` if a client's field of this name is removed.
    ///
    /// Names of anything else than letters, digits and hyphens are: CGI and its descendants fold such signs to
    /// the one that hyphens become, so that `X_Caller_Id` or `X.Forwarded.For` would be taken for a field of ours.
    /// nginx ignores them, too (`ignore_invalid_headers`, `underscores_in_headers`).
    pub(super) fn removes(&self, name: &HeaderName) -> bool {
        let text = name.as_str();
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !is_plain
            // The server has already answered it with 100.
            || *name == header::EXPECT
            // Trailers are not forwarded: no policy saw them, and a service that reads them as fields of the head
            // would take an identity from them.
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
    fn every_spelling_of_a_field_of_ours_is_removed() {
        for settings in ["", "identity_field = \"x.caller_id\"", "media_type_field = \"x_caller_id\""] {
            let filter = filter(settings);
            for name in
                ["X-Caller-Id", "X_Caller_Id", "x.caller.id", "X-Caller_Id", "x~caller-id", "x!caller'id"]
            {
                assert!(removes(&filter, name), "{settings} {name}");
            }
        }
        assert!(removes(&filter("identity_field = \"x.user\""), "x-user"));
        assert!(!removes(&filter(""), "x-user"));
    }

    #[test]
    fn a_claim_of_ours_is_removed_in_every_spelling() {
        let filter = filter("removed_fields = []");
        for name in ["x_forwarded_for", "x.real.ip", "expect", "trailer"] {
            assert!(removes(&filter, name), "{name}");
        }
        assert!(!removes(&filter, "x-real-ip"));
    }
}
