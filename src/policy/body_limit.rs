//! The limit on the size of a request body (413).

use http::header;

use super::{Policy, Stop};
use crate::{Admission, Denial, Head};

/// Denies a request whose `Content-Length` exceeds the limit. A body without `Content-Length` is counted as it
/// arrives: the policy leaves the limit in the admission ([`Admission::body_limit`]), and the face enforces it. A Tower
/// layer that [passes bodies through](crate::tower::PortcullisLayer::pass_through), and a Pingora plug without its
/// `request_body_filter`, deny such a request.
///
/// axum's extractors such as `Bytes` and `Json` have a limit of their own, of 2 MB: for a larger body, also add
/// `axum::extract::DefaultBodyLimit::disable()` to the routes.
///
/// ```
/// use portcullis::policy::BodyLimit;
///
/// let policy = BodyLimit::new(10 * 1024 * 1024);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit {
    bytes: u64,
}

impl BodyLimit {
    /// Creates a policy that admits bodies of at most this many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self { bytes }
    }
}

impl Policy for BodyLimit {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        admission.body_limit = Some(self.bytes);
        let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        // An invalid length is not the concern of this policy. A length that exceeds the range of `u64` is too
        // large.
        let digits = announced.filter(|length| length.bytes().all(|digit| digit.is_ascii_digit()));
        let fits = digits.is_none_or(|length| length.parse().is_ok_and(|length: u64| length <= self.bytes));
        if fits { Ok(()) } else { Err(Denial::ContentTooLarge { limit: self.bytes }.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Fixture, code, request};

    #[test]
    fn announced_length_must_fit() {
        let world = Fixture::new();
        for (length, expected) in [
            (None, "admitted"),
            (Some("0"), "admitted"),
            (Some("10"), "admitted"),
            (Some("11"), "content-too-large"),
            (Some("99999999999999999999999"), "content-too-large"),
        ] {
            let fields: Vec<_> = length.map(|length| ("content-length", length)).into_iter().collect();
            let outcome = world.ask(&BodyLimit::new(10), &request("PUT", "/", &fields));
            assert!(outcome.as_ref().is_ok_and(|it| it.body_limit() == Some(10)) || expected != "admitted");
            assert_eq!(code(outcome), expected, "{length:?}");
        }
    }
}
