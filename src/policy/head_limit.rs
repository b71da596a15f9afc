//! Limits on the size of a request's head (414, 431).

use super::{Policy, Stop};
use crate::{Admission, Denial, Head};

/// Denies a request whose target (414) or head (431) exceeds the limit.
///
/// A server that parses heads has its own limit, which must be higher for these responses to be sent; that of the
/// gateway is. The size of a head is counted as in HTTP/1.1: method, target, and for each header its name, its
/// value and four bytes.
///
/// ```
/// use portcullis::policy::HeadLimit;
///
/// let policy = HeadLimit::new(32 * 1024).target(8 * 1024);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct HeadLimit {
    bytes: usize,
    target: usize,
    fields: usize,
}

impl HeadLimit {
    /// Creates a policy that admits heads of at most this many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { bytes, target: bytes, fields: usize::MAX }
    }

    /// Admits heads of at most this many headers.
    #[must_use]
    pub fn fields(mut self, number: usize) -> Self {
        self.fields = number;
        self
    }

    /// Admits targets of at most this many bytes, including the query.
    #[must_use]
    pub fn target(mut self, bytes: usize) -> Self {
        self.target = bytes;
        self
    }
}

impl Policy for HeadLimit {
    fn admit(&self, head: &Head<'_>, _: &mut Admission) -> Result<(), Stop> {
        let authority = head.original.authority().map_or(0, |authority| authority.as_str().len());
        let target = authority + head.original.path_and_query().map_or(0, |path| path.as_str().len());
        if target > self.target {
            return Err(Denial::TargetTooLong { limit: self.target }.into());
        }
        let field =
            |(name, value): (&http::HeaderName, &http::HeaderValue)| name.as_str().len() + value.len() + 4;
        let bytes = head.method.as_str().len() + target + head.headers.iter().map(field).sum::<usize>();
        if bytes > self.bytes || head.headers.len() > self.fields {
            Err(Denial::HeadTooLarge { limit: self.bytes }.into())
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Fixture, code, request};

    #[test]
    fn target_and_head_sizes_are_limited() {
        let world = Fixture::new();
        for (target, value, expected) in [
            ("/123456789", "", "admitted"),
            ("/1234?6789", "", "admitted"),
            ("/1234567890", "", "target-too-long"),
            ("/1234?67890", "", "target-too-long"),
            ("http://a.b/1234567", "", "target-too-long"),
            // GET, and 1 + 3 + 4 bytes of the header.
            ("/", "12", "admitted"),
            ("/", "1234567890123", "admitted"),
            ("/", "12345678901234", "head-too-large"),
        ] {
            let request = request("GET", target, &[("x-a", value)]);
            let policy = HeadLimit::new(24).target(10);
            assert_eq!(code(world.ask(&policy, &request)), expected, "{target} {value}");
        }
        for (fields, expected) in [(1, "admitted"), (2, "head-too-large")] {
            let policy = HeadLimit::new(100).fields(1);
            let fields = vec![("x-a", "1"); fields];
            assert_eq!(code(world.ask(&policy, &request("GET", "/", &fields))), expected, "{fields:?}");
        }
    }
}
