//! The query parameter `pretty`, which asks for an indented response.

use http::Uri;

use portcullis::Denial;

/// Returns `true` if the query of a request asks for an indented response (`pretty=true`).
#[must_use]
pub fn is_pretty(uri: &Uri) -> bool {
    pretty(uri.query().unwrap_or_default()).unwrap_or(false)
}

/// Parses `pretty`, `pretty=true` or `pretty=false`, at most once.
pub(super) fn pretty(query: &str) -> Result<bool, Denial> {
    let of = |parameter: &str| match parameter.split_once('=').unwrap_or((parameter, "true")) {
        ("pretty", "true") => Some(Ok(true)),
        ("pretty", "false") => Some(Ok(false)),
        ("pretty", _) => Some(Err(Denial::bad_request("The query parameter pretty must be true or false."))),
        _ => None,
    };
    let mut given = query.split('&').filter_map(of);
    match (given.next(), given.next()) {
        (None, _) => Ok(false),
        (Some(pretty), None) => pretty,
        (Some(_), Some(_)) => Err(Denial::bad_request("The query parameter pretty is repeated.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_is_a_boolean() {
        for (query, expected) in [
            ("", Some(false)),
            ("x=1&y", Some(false)),
            ("pretty", Some(true)),
            ("pretty=true", Some(true)),
            ("x=1&pretty=false", Some(false)),
            ("pretty=", None),
            ("pretty=1", None),
            ("pretty=TRUE", None),
            ("pretty&pretty", None),
            ("pretty=true&pretty=no", None),
        ] {
            assert_eq!(pretty(query).ok(), expected, "{query}");
        }
    }
}
