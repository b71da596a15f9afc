//! What a policy may see of a request.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use crate::clock::Moment;

/// The part of a request a policy may read: borrowed, without a body, with the moment of arrival.
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
    /// The request target.
    pub uri: &'a Uri,
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
}

impl<'a> Head<'a> {
    /// The head of a request.
    #[must_use]
    pub fn of(parts: &'a http::request::Parts, peer: Option<IpAddr>, content: bool, now: Moment) -> Self {
        let http::request::Parts { method, uri, version, headers, .. } = parts;
        Self { method, uri, version: *version, headers, peer, content, now }
    }

    /// The one value of a field that may stand once.
    ///
    /// # Errors
    /// [`Repeated`] when it stands more than once: which one counts would be a guess.
    pub fn only(&self, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Repeated> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Repeated),
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
pub struct Repeated;
