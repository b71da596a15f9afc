//! How much may a request's content be (413)?

use http::header;

use super::{Policy, Stop};
use crate::{Admission, Denial, Head};

/// Refuses a request whose head announces more content than is taken, and leaves the limit in the
/// admission for content whose length is not announced, which is counted as it arrives
/// ([`Admission::body_limit`]). The gateway counts it, a Tower layer that is
/// [checking content](crate::tower::PortcullisLayer::checking_content), and the Pingora plug from its
/// `request_body_filter`; a layer or plug that is not checking content refuses it.
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
    /// Takes this many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self { bytes }
    }
}

impl Policy for BodyLimit {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        admission.body_limit = Some(self.bytes);
        let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        // A length that is no number is not for this policy to refuse; one too large for a number is.
        let digits = announced.filter(|length| length.bytes().all(|digit| digit.is_ascii_digit()));
        let fits = digits.is_none_or(|length| length.parse().is_ok_and(|length: u64| length <= self.bytes));
        if fits { Ok(()) } else { Err(Denial::ContentTooLarge { limit: self.bytes }.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, code, request};

    #[test]
    fn what_is_announced_must_fit() {
        let world = World::new();
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
