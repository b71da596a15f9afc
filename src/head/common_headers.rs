//! Positions of the headers that policies read most.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::RepeatedHeader;

/// The number of these headers.
const COUNT: usize = 10;

/// Returns the index of a header. The compiler turns this chain of comparisons with constants into a jump, but not a
/// loop over a list of names.
#[allow(clippy::inline_always, reason = "called for every header, and small once it is a jump")]
#[inline(always)]
fn index_of(name: &HeaderName) -> Option<usize> {
    if *name == header::HOST {
        Some(0)
    } else if *name == header::ACCEPT {
        Some(1)
    } else if *name == header::CONTENT_TYPE {
        Some(2)
    } else if *name == header::CONTENT_LENGTH {
        Some(3)
    } else if *name == header::AUTHORIZATION {
        Some(4)
    } else if *name == header::CONNECTION {
        Some(5)
    } else if *name == header::TRANSFER_ENCODING {
        Some(6)
    } else if *name == header::CONTENT_ENCODING {
        Some(7)
    } else {
        match name.as_str() {
            "x-api-key" => Some(8),
            "idempotency-key" => Some(9),
            _ => None,
        }
    }
}

/// The first value of each of these headers, and a bit for each that is repeated.
///
/// A lookup in a [`HeaderMap`] hashes the name byte by byte, which takes longer than a comparison with every name of
/// a usual head, most of which are a single byte each. One pass therefore replaces all lookups.
#[derive(Debug, Clone, Copy)]
pub(super) struct CommonHeaders<'a> {
    first: [Option<&'a HeaderValue>; COUNT],
    /// One bit for each index.
    repeated: u16,
}

impl<'a> CommonHeaders<'a> {
    pub(super) fn from_headers(headers: &'a HeaderMap) -> Self {
        let mut known = Self { first: [None; COUNT], repeated: 0 };
        for (name, value) in headers {
            let Some(at) = index_of(name) else { continue };
            match &mut known.first[at] {
                Some(_) => known.repeated |= 1 << at,
                free => *free = Some(value),
            }
        }
        known
    }

    /// Returns `None` if the header is not one of these.
    #[inline]
    pub(super) fn single(
        &self,
        name: &HeaderName,
    ) -> Option<Result<Option<&'a HeaderValue>, RepeatedHeader>> {
        let at = index_of(name)?;
        let once = self.repeated & 1 << at == 0;
        Some(if once { Ok(self.first[at]) } else { Err(RepeatedHeader) })
    }
}
