//! Headers that prevent shared caches from serving the response of one caller to another.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Admission, ResponseInfo};

static PRIVATE: HeaderValue = HeaderValue::from_static("private");

impl Admission {
    /// Leaves the caching headers of the response to the inner service, for resources that are the same for all callers.
    /// Without this, a response to a recognised caller gets `Cache-Control: private` if it has no caching headers of
    /// its own, and varies by the header of the credential if it may be stored by shared caches.
    pub fn keep_caching_headers(&mut self) {
        self.response.keeps_caching = true;
    }
}

impl ResponseInfo {
    /// Prevents shared caches from serving the response of one caller to another.
    ///
    /// Shared caches do not store responses to requests with `Authorization` (RFC 9111, section 3.5), but they know
    /// no other header for a credential. An upstream that does not see the credential may set a freshness lifetime,
    /// as if all callers got the same response: such a response varies by the header of the credential.
    pub(super) fn restrict_caching(&self, headers: &mut HeaderMap) {
        let Caching { is_decided, is_targeted } = Caching::from_headers(headers);
        if !is_decided {
            headers.append(header::CACHE_CONTROL, PRIVATE.clone());
        }
        let is_shared = is_decided && !is_unshared(headers);
        if let Some(name) = &self.credential
            && (is_targeted || is_shared && *name != header::AUTHORIZATION)
        {
            vary(headers, &HeaderValue::from(name.clone()));
        }
    }
}

/// The statements of a response about its caching.
#[derive(Default)]
struct Caching {
    /// Whether headers determine how long, or for whom, the response may be stored.
    is_decided: bool,
    /// Whether headers replace `Cache-Control` for one kind of cache (RFC 9213).
    is_targeted: bool,
}

impl Caching {
    /// Reads all headers once: look-ups of several names take longer.
    fn from_headers(headers: &HeaderMap) -> Self {
        let mut caching = Self::default();
        for (name, value) in headers {
            if *name == header::CACHE_CONTROL {
                caching.is_decided |= value.to_str().is_ok_and(decides_caching);
            } else if *name == header::EXPIRES {
                caching.is_decided = true;
            } else {
                caching.is_targeted |= is_targeted_caching(name);
            }
        }
        caching
    }
}

/// Returns `true` if a value of `Cache-Control` determines how long, or for whom, the response may be stored.
fn decides_caching(value: &str) -> bool {
    const DECIDING: [&str; 8] = [
        "public",
        "private",
        "no-store",
        "no-cache",
        "max-age",
        "s-maxage",
        "must-revalidate",
        "proxy-revalidate",
    ];
    value.split(',').any(|directive| {
        let name = directive.split('=').next().unwrap_or_default().trim();
        DECIDING.iter().any(|deciding| name.eq_ignore_ascii_case(deciding))
    })
}

/// Returns `true` for headers that replace `Cache-Control` for one kind of cache (RFC 9213).
fn is_targeted_caching(name: &HeaderName) -> bool {
    name.as_str()
        .strip_suffix("-control")
        .is_some_and(|rest| rest.ends_with("-cache") || matches!(rest, "surrogate" | "edge"))
}

/// Returns `true` if shared caches must not store the response, or must revalidate it before they reuse it.
fn is_unshared(headers: &HeaderMap) -> bool {
    let directives = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut directives = directives.flat_map(|value| value.split(',')).map(str::trim);
    let unshared = ["private", "no-store", "no-cache"];
    directives.any(|one| unshared.iter().any(|directive| one.eq_ignore_ascii_case(directive)))
}

/// Adds a header name to `Vary`, unless the name or `*` is already there.
pub(super) fn vary(headers: &mut HeaderMap, name: &HeaderValue) {
    let listed = |value: &HeaderValue| {
        let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.into_iter().any(|other| other == b"*" || other.eq_ignore_ascii_case(name.as_bytes()))
    };
    if !headers.get_all(header::VARY).iter().any(listed) {
        headers.append(header::VARY, name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vary_is_written_once() {
        let mut headers = HeaderMap::new();
        let mut admission = Admission::default();
        admission.response.varies = true;
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        admission.add_response_headers(&mut headers);
        admission.add_response_headers(&mut headers);
        let values: Vec<_> = headers.get_all(header::VARY).iter().collect();
        assert_eq!(values, ["Accept-Encoding", "accept"]);
        headers.insert(header::VARY, HeaderValue::from_static("*"));
        admission.add_response_headers(&mut headers);
        assert_eq!(headers.get_all(header::VARY).iter().count(), 1);
    }
}
