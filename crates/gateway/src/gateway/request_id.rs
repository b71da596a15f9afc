//! The id of a request that the gateway answers itself: sent in `X-Request-Id` and written to the access log.

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use portcullis::problem::DenialCode;

static FIELD: HeaderName = HeaderName::from_static("x-request-id");

/// The maximum length of an id from a trusted proxy, in bytes.
const LONGEST: usize = 128;

/// A request id: 32 hexadecimal digits, or the id that a trusted proxy has set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId(HeaderValue);

/// Marks a response that was made by a surface of the gateway (response extension).
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnAnswer;

impl RequestId {
    /// Returns a new, unique id.
    pub(super) fn generate() -> Self {
        // Random instead of a counter: an id must not reveal how many other requests are denied.
        let id = HeaderValue::try_from(uuid::Uuid::new_v4().simple().to_string());
        Self(id.expect("hexadecimal digits are a valid header value"))
    }

    /// Returns the id that a trusted proxy has set, if there is exactly one, of 1 to 128 visible ASCII characters.
    pub(super) fn of_proxy(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(&FIELD).iter();
        let (first, second) = (values.next()?, values.next());
        let is_id = |id: &[u8]| (1..=LONGEST).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
        (second.is_none() && is_id(first.as_bytes())).then(|| Self(first.clone()))
    }

    /// Returns the id as text.
    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// Adds the id to a response: as a header for the client, and as an extension for the log.
    pub(super) fn put<B>(self, answer: &mut Response<B>) {
        answer.headers_mut().insert(FIELD.clone(), self.0.clone());
        answer.extensions_mut().insert(self);
    }
}

/// Returns `true` if the gateway made this response and no upstream did.
pub(super) fn is_own<B>(answer: &Response<B>) -> bool {
    let extensions = answer.extensions();
    extensions.get::<DenialCode>().is_some() || extensions.get::<OwnAnswer>().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique() {
        let ids: std::collections::HashSet<_> =
            (0..100).map(|_| RequestId::generate().as_str().to_owned()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    }

    #[test]
    fn proxy_id_is_accepted_if_single_short_and_visible() {
        let id = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&FIELD, HeaderValue::from_bytes(value).unwrap());
            }
            RequestId::of_proxy(&headers).map(|id| id.as_str().to_owned())
        };
        assert_eq!(id(&[b"0f3d-{7}"]), Some("0f3d-{7}".into()));
        assert!(id(&[&[b'a'; 128]]).is_some());
        let refused: [&[&[u8]]; 7] =
            [&[], &[b""], &[b"a b"], &[b"a\tb"], &[b"\xe9"], &[&[b'a'; 129]], &[b"a", b"a"]];
        for refused in refused {
            assert_eq!(id(refused), None, "{refused:?}");
        }
    }
}
