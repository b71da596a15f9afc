//! What a policy may see of a request.

mod common_headers;

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use crate::clock::Moment;
use common_headers::CommonHeaders;

/// The part of a request a policy may read: borrowed, without a body, with the moment of arrival.
///
/// Making one looks through all fields once and notes where those stand that policies ask for most, so
/// that [`only`](Self::only) costs them next to nothing.
///
/// ```
/// use portcullis::{clock::{Clock, SystemClock}, Head};
///
/// let (parts, ()) = http::Request::get("/orders").body(()).unwrap().into_parts();
/// let head = Head::of(&parts, None, false, SystemClock::new().now());
/// assert_eq!(head.uri.path(), "/orders");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target, as the service behind is given it.
    pub uri: &'a Uri,
    /// The request target, as the client sent it; see [`originally`](Self::originally).
    pub original: &'a Uri,
    /// The protocol's version.
    pub version: Version,
    /// All fields.
    pub headers: &'a HeaderMap,
    /// The address the request came from, when the face knows it.
    pub peer: Option<IpAddr>,
    /// Whether content follows, as the message's framing says.
    pub content: bool,
    /// When the request arrived: the one clock reading of its decision.
    pub now: Moment,
    known: CommonHeaders<'a>,
}

impl<'a> Head<'a> {
    /// The head of a request that was taken apart.
    #[must_use]
    pub fn from_parts(parts: &'a http::request::Parts, peer: Option<IpAddr>, content: bool, now: Moment) -> Self {
        let http::request::Parts { method, uri, version, headers, .. } = parts;
        let known = CommonHeaders::from_headers(headers);
        Self { method, uri, original: uri, version: *version, headers, peer, content, now, known }
    }

    /// The head of a request that is still whole.
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

    /// Sets the target that the client sent, for a router that takes a prefix off the path of what it passes on,
    /// as axum's `nest` does. Policies decide on this one: a lock, for example, is on the path that clients see.
    #[must_use]
    pub fn with_original_uri(mut self, original: &'a Uri) -> Self {
        self.original = original;
        self
    }

    /// The one value of a field that may stand once.
    ///
    /// # Errors
    /// [`Repeated`] when it stands more than once: which one counts would be a guess.
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

    /// Whether the method is safe (RFC 9110, section 9.2.1): it only reads.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.method.is_safe()
    }
}

/// A field that may stand once stands twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepeatedHeader;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_field_is_found_once_twice_or_not_at_all() {
        let known = "host accept content-type content-length authorization connection transfer-encoding \
            content-encoding x-api-key idempotency-key";
        for name in known.split(' ').chain(["x-own"]).map(HeaderName::from_static) {
            let fields = [("x-other", "2"), (name.as_str(), "1"), ("te", "a"), (name.as_str(), "3")];
            for (count, expected) in [(1, Ok(None)), (3, Ok(Some("1"))), (4, Err(RepeatedHeader))] {
                let request = testing::request("GET", "/", &fields[..count]);
                let found = testing::head(&request).single(&name);
                assert_eq!(
                    found.map(|value| value.map(|it| it.to_str().unwrap())),
                    expected,
                    "{name} {count}"
                );
            }
        }
    }
}
