//! Prerendered problems: denials often come in floods.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    Denial,
    denial::{Forbidden, Unauthenticated},
};

/// One cell for each denial whose body is always identical.
static FIXED: [OnceLock<&'static [u8]>; 8] = [const { OnceLock::new() }; 8];

/// Returns the problem of a denial; calls `render` if no body is prepared.
pub(super) fn body(denial: &Denial, render: impl FnOnce(&Denial) -> Bytes) -> Bytes {
    match (fixed(denial), denial) {
        // Leaked on purpose, so that clones need no reference count; there are only eight.
        (Some(place), _) => Bytes::from_static(FIXED[place].get_or_init(|| render(denial).to_vec().leak())),
        (None, Denial::RateLimited { violated, retry_after }) => {
            rate_limited(violated, *retry_after).unwrap_or_else(|| render(denial))
        }
        (None, _) => render(denial),
    }
}

fn fixed(denial: &Denial) -> Option<usize> {
    match denial {
        Denial::Unauthenticated { cause, .. } => match cause {
            Unauthenticated::Missing => Some(0),
            Unauthenticated::Malformed => Some(1),
            Unauthenticated::Unknown => Some(2),
            Unauthenticated::Expired => Some(3),
            Unauthenticated::Signature(_) => None,
        },
        Denial::Forbidden(Forbidden::CredentialDisabled) => Some(4),
        Denial::Forbidden(Forbidden::CallerDisabled) => Some(5),
        Denial::Forbidden(Forbidden::WrongCallerKind) => Some(6),
        Denial::NotFound => Some(7),
        _ => None,
    }
}

const HEAD: &[u8] = br#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too Many Requests","status":429,"detail":"Rate limit exceeded: "#;

/// Renders a rate-limit problem, in which only names and seconds vary. Returns `None` for names that JSON would have
/// to escape, and for no names at all: no plan has such limits.
fn rate_limited(violated: &[Arc<str>], retry_after: u64) -> Option<Bytes> {
    let plain =
        |name: &Arc<str>| name.bytes().all(|b| (b' '..=b'~').contains(&b) && !matches!(b, b'"' | b'\\'));
    if violated.is_empty() || !violated.iter().all(plain) {
        return None;
    }
    let mut digits = itoa::Buffer::new();
    let seconds = digits.format(retry_after).as_bytes();
    let mut text = SmallVec::<[u8; 512]>::from_slice(HEAD);
    list(&mut text, violated, b", ");
    text.extend_from_slice(b". Retry in ");
    text.extend_from_slice(seconds);
    text.extend_from_slice(br#" s.","code":"rate-limited","retry-after":"#);
    text.extend_from_slice(seconds);
    text.extend_from_slice(br#","violated-policies":[""#);
    list(&mut text, violated, br#"",""#);
    text.extend_from_slice(br#""]}"#);
    Some(Bytes::copy_from_slice(&text))
}

fn list(text: &mut SmallVec<[u8; 512]>, names: &[Arc<str>], between: &[u8]) {
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            text.extend_from_slice(between);
        }
        text.extend_from_slice(name.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::problem::problem;

    #[test]
    fn prerendered_body_equals_rendered_body() {
        let challenge = HeaderValue::from_static("ApiKey");
        let causes = [
            Unauthenticated::Missing,
            Unauthenticated::Malformed,
            Unauthenticated::Unknown,
            Unauthenticated::Expired,
        ];
        let unauthenticated =
            causes.map(|cause| Denial::Unauthenticated { cause, challenge: challenge.clone() });
        let forbidden =
            [Forbidden::CredentialDisabled, Forbidden::CallerDisabled, Forbidden::WrongCallerKind];
        let limited =
            [(&["a"][..], 1), (&["a", "b.c-D_9"], 999), (&["x"; 8], u64::MAX), (&["\"", "é\n"], 7), (&[], 7)]
                .map(|(names, retry_after)| Denial::RateLimited {
                    violated: names.iter().map(|name| Arc::from(*name)).collect(),
                    retry_after,
                });
        let unproved = Denial::content_mismatch();
        let all = unauthenticated.into_iter().chain(forbidden.map(Denial::Forbidden)).chain(limited);
        for denial in all.chain([Denial::NotFound, Denial::RequestTimeout, unproved]) {
            // The second time, the body comes from the cache.
            for _ in 0..2 {
                assert_eq!(body(&denial, problem), problem(&denial), "{denial:?}");
            }
        }
    }
}
