//! The part of a request that policies see.

mod common_headers;

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use crate::clock::Moment;
use common_headers::CommonHeaders;

/// The part of a request that a policy may read: borrowed, without a body, with the moment of arrival.
///
/// The constructors scan all headers once and remember the positions of those that policies read most, so that
/// [`single`](Self::single) is cheap for these.
///
/// ```
/// use portcullis::{clock::{Clock, SystemClock}, Head};
///
/// let (parts, ()) = http::Request::get("/orders").body(()).unwrap().into_parts();
/// let head = Head::from_parts(&parts, None, false, SystemClock::new().now());
/// assert_eq!(head.uri.path(), "/orders");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target that the inner service receives.
    pub uri: &'a Uri,
    /// The request target that the client sent; see [`with_original_uri`](Self::with_original_uri).
    pub original: &'a Uri,
    /// The HTTP version.
    pub version: Version,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The client's address, if the face knows it.
    pub peer: Option<IpAddr>,
    /// Whether a body follows, according to the framing of the message.
    pub content: bool,
    /// The moment of arrival: the only clock reading of the decision.
    pub now: Moment,
    known: CommonHeaders<'a>,
}

impl<'a> Head<'a> {
    /// Creates the head from the parts of a request.
    #[must_use]
    pub fn from_parts(
        parts: &'a http::request::Parts,
        peer: Option<IpAddr>,
        content: bool,
        now: Moment,
    ) -> Self {
        let http::request::Parts { method, uri, version, headers, .. } = parts;
        let known = CommonHeaders::from_headers(headers);
        Self { method, uri, original: uri, version: *version, headers, peer, content, now, known }
    }

    /// Creates the head of a whole request.
    #[must_use]
    pub fn from_request<B>(
        request: &'a http::Request<B>,
        peer: Option<IpAddr>,
        content: bool,
        now: Moment,
    ) -> Self {
        let headers = request.headers();
        Self {
            method: request.method(),
            uri: request.uri(),
            original: request.uri(),
            version: request.version(),
            headers,
            peer,
            content,
            now,
            known: CommonHeaders::from_headers(headers),
        }
    }

    /// Sets the target that the client sent, for a router that strips a prefix from the path before the inner
    /// service, like axum's `nest`. Policies decide on this target: a lock, for example, applies to the path that
    /// clients see.
    #[must_use]
    pub fn with_original_uri(mut self, original: &'a Uri) -> Self {
        self.original = original;
        self
    }

    /// Returns the value of a header that must not be repeated.
    ///
    /// # Errors
    /// [`RepeatedHeader`] if the header is repeated: which value counts would be a guess.
    #[inline]
    pub fn single(&self, name: &HeaderName) -> Result<Option<&'a HeaderValue>, RepeatedHeader> {
        if let Some(known) = self.known.single(name) {
            return known;
        }
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(RepeatedHeader),
        }
    }

    /// Returns `true` if the method is safe (RFC 9110, section 9.2.1), that is, if it only reads.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.method.is_safe()
    }
}

/// A header that must not be repeated is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepeatedHeader;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    #[test]
    fn header_is_found_once_twice_or_not_at_all() {
        let known = "host accept content-type content-length authorization connection transfer-encoding \
            content-encoding x-api-key idempotency-key";
        for name in known.split(' ').chain(["x-own"]).map(HeaderName::from_static) {
            let fields = [("x-other", "2"), (name.as_str(), "1"), ("te", "a"), (name.as_str(), "3")];
            for (count, expected) in [(1, Ok(None)), (3, Ok(Some("1"))), (4, Err(RepeatedHeader))] {
                let request = test_support::request("GET", "/", &fields[..count]);
                let found = test_support::head(&request).single(&name);
                assert_eq!(
                    found.map(|value| value.map(|it| it.to_str().unwrap())),
                    expected,
                    "{name} {count}"
                );
            }
        }
    }
}
