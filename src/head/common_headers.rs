//! Where the fields stand that policies ask for most.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::RepeatedHeader;

/// How many they are.
const COUNT: usize = 10;

/// A field's place. A chain over constants: the compiler makes a jump of it, and a loop over a list of
/// names none.
#[allow(clippy::inline_always, reason = "called for every field, and small once it is a jump")]
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

/// The first value of each of them, and which have a second one.
///
/// A look-up in a [`HeaderMap`] hashes the name byte by byte, which takes longer than comparing it with
/// every name of a usual head: most of those are one byte each. So one pass replaces all look-ups.
#[derive(Debug, Clone, Copy)]
pub(super) struct CommonHeaders<'a> {
    first: [Option<&'a HeaderValue>; COUNT],
    /// A bit for each place.
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

    /// `None` when it is none of them.
    #[inline]
    pub(super) fn single(&self, name: &HeaderName) -> Option<Result<Option<&'a HeaderValue>, RepeatedHeader>> {
        let at = index_of(name)?;
        let once = self.repeated & 1 << at == 0;
        Some(if once { Ok(self.first[at]) } else { Err(RepeatedHeader) })
    }
}
