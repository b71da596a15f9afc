//! Entity tags, and the precondition of changes.

use http::{HeaderMap, header};

use portcullis::Denial;

/// Returns the strong entity tag of an entity at a revision.
pub(super) fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

/// Checks that `If-Match` allows a change to an entity at a revision.
///
/// # Errors
/// 409 if `If-Match` names another revision.
pub(super) fn check_if_match(headers: &HeaderMap, revision: u64) -> Result<(), Denial> {
    if matches(headers, &etag(revision)) {
        return Ok(());
    }
    Err(Denial::Conflict { detail: "If-Match names another revision.".into() })
}

/// Returns `true` if `If-Match` is absent or names this entity tag (RFC 9110, section 13.1.1).
fn matches(headers: &HeaderMap, etag: &str) -> bool {
    let mut tags = headers.get_all(header::IF_MATCH).iter().peekable();
    let names = |value: &str| value.split(',').map(str::trim).any(|tag| tag == etag || tag == "*");
    tags.peek().is_none() || tags.any(|value| value.to_str().is_ok_and(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_is_compared_strongly() {
        for (fields, expected) in [
            (&[][..], true),
            (&["*"], true),
            (&["\"7\""], true),
            (&["\"6\" , \"7\""], true),
            (&["\"6\"", "\"7\""], true),
            (&["\"6\""], false),
            (&["W/\"7\""], false),
            (&["7"], false),
            (&[""], false),
            (&["\"77\""], false),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::IF_MATCH, field.parse().unwrap());
            }
            assert_eq!(matches(&headers, "\"7\""), expected, "{fields:?}");
        }
    }
}
