//! Entity tags and the preconditions of requests (RFC 9110, section 13).

use std::fmt;

use http::{HeaderMap, HeaderName, header};
use serde::Serialize;
use sha2::{Digest, Sha256};

use portcullis::{Denial, model::hex::encode};

/// A strong entity tag.
#[derive(Debug, PartialEq)]
pub(super) struct ETag(String);

impl ETag {
    /// Returns the tag of a resource with a revision.
    pub(super) fn revision(revision: u64) -> Self {
        Self(format!("\"{revision}\""))
    }

    /// Returns the tag of a resource without a revision: a hash of its content.
    pub(super) fn content(document: &impl Serialize) -> Self {
        let hash: [u8; 32] = Sha256::digest(serde_json::to_vec(document).unwrap_or_default()).into();
        Self(format!("\"{}\"", encode(&hash[..16])))
    }

    /// Checks that the request may change the resource with this tag.
    ///
    /// # Errors
    /// 428 without `If-Match`; 412 if it names other tags only.
    pub(super) fn check_if_match(&self, headers: &HeaderMap) -> Result<(), Denial> {
        if self.matches(headers)? { Ok(()) } else { Err(precondition_required()) }
    }

    /// Checks a request that may also change the resource without `If-Match`. Returns `true` if it has that header.
    ///
    /// # Errors
    /// 412 if the header names other tags only.
    pub(super) fn matches(&self, headers: &HeaderMap) -> Result<bool, Denial> {
        if !headers.contains_key(header::IF_MATCH) {
            return Ok(false);
        }
        let ours = tags(headers, &header::IF_MATCH).any(|tag| tag == self.0 || tag == "*");
        if ours { Ok(true) } else { Err(precondition_failed()) }
    }

    /// Returns `true` if `If-None-Match` names this tag, which means that the client has the resource already. The
    /// comparison is weak.
    pub(super) fn matches_if_none_match(&self, headers: &HeaderMap) -> bool {
        let same = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == self.0 || tag == "*";
        tags(headers, &header::IF_NONE_MATCH).any(same)
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the tags in all headers of a name. Tags of this API do not contain commas.
fn tags<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lists = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    lists.flat_map(|list| list.split(',').map(str::trim))
}

/// Returns `true` if `If-None-Match: *` forbids replacing a resource.
pub(super) fn if_none_match_any(headers: &HeaderMap) -> bool {
    tags(headers, &header::IF_NONE_MATCH).any(|tag| tag == "*")
}

/// Returns the 428 response to a change without `If-Match`.
pub(super) fn precondition_required() -> Denial {
    let detail = "The request needs the header If-Match with the ETag of the resource.";
    Denial::PreconditionRequired { detail: detail.into() }
}

/// Returns the 412 response to a change whose `If-Match` does not name the current tag.
pub(super) fn precondition_failed() -> Denial {
    Denial::PreconditionFailed { detail: "If-Match does not match the current ETag.".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn change_requires_the_current_etag() {
        for (values, status) in [
            (&[][..], 428),
            (&["*"], 200),
            (&["\"7\""], 200),
            (&["\"6\" , \"7\""], 200),
            (&["\"6\"", "\"7\""], 200),
            (&["\"6\""], 412),
            (&["W/\"7\""], 412),
            (&["7"], 412),
            (&[""], 412),
            (&["\"77\""], 412),
        ] {
            let outcome = ETag::revision(7).check_if_match(&fields(&header::IF_MATCH, values));
            assert_eq!(
                outcome.map_or_else(|denial| denial.status().as_u16(), |()| 200),
                status,
                "{values:?}"
            );
        }
    }

    #[test]
    fn current_etag_yields_not_modified() {
        for (values, known) in [
            (&[][..], false),
            (&["*"], true),
            (&["\"7\""], true),
            (&["W/\"7\""], true),
            (&["\"1\", W/\"7\""], true),
            (&["\"77\""], false),
            (&["7"], false),
        ] {
            let headers = fields(&header::IF_NONE_MATCH, values);
            assert_eq!(ETag::revision(7).matches_if_none_match(&headers), known, "{values:?}");
            assert_eq!(if_none_match_any(&headers), values == ["*"], "{values:?}");
        }
    }

    #[test]
    fn entity_without_revision_has_an_etag_of_its_content() {
        assert_eq!(ETag::content(&[1]), ETag::content(&[1]));
        assert_ne!(ETag::content(&[1]), ETag::content(&[2]));
        assert_eq!(ETag::content(&[1]).to_string().len(), 34);
    }
}
