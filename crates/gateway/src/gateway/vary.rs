//! The header `Vary`.

use http::{HeaderMap, HeaderValue, header};

/// Adds a header name to `Vary`, unless the name or `*` is already there.
pub(super) fn add_vary(headers: &mut HeaderMap, name: &HeaderValue) {
    let is_listed = |value: &HeaderValue| {
        let mut names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|other| other == b"*" || other.eq_ignore_ascii_case(name.as_bytes()))
    };
    if !headers.get_all(header::VARY).iter().any(is_listed) {
        headers.append(header::VARY, name.clone());
    }
}
