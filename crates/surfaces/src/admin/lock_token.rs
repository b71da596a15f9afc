//! The `Lock-Token` header, which proves that a lock is held.

use std::fmt;

use http::{HeaderMap, HeaderName};

use portcullis::{
    Denial,
    model::{Lock, LockId, LockToken},
    registry::ProveLock,
};

pub(super) static FIELD: HeaderName = HeaderName::from_static("lock-token");

/// The value of `Lock-Token`, as the response that acquired the lock shows it: the id of the lock, the fence of its
/// grant and its token, separated by colons.
pub(super) struct LockTokenHeader {
    pub(super) lock: LockId,
    fence: u64,
    pub(super) token: LockToken,
}

impl LockTokenHeader {
    /// Creates the proof for an acquired lock.
    pub(super) fn new(lock: &Lock, token: LockToken) -> Self {
        Self { lock: lock.id.clone(), fence: lock.fence, token }
    }

    /// Parses the header of a request, if there is one.
    ///
    /// # Errors
    /// 400 for an invalid or repeated header.
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, Denial> {
        let mut values = headers.get_all(&FIELD).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            (Some(value), None) => value.to_str().unwrap_or_default(),
            (Some(_), Some(_)) => "",
        };
        let parsed = |text: &str| {
            let (lock, rest) = text.split_once(':')?;
            let (fence, token) = rest.split_once(':')?;
            Some(Self { lock: lock.parse().ok()?, fence: fence.parse().ok()?, token: token.parse().ok()? })
        };
        let wrong = || Denial::bad_request("Lock-Token must be exactly one token of an acquired lock.");
        parsed(value.trim()).map(Some).ok_or_else(wrong)
    }

    /// Returns the operation that checks the lock. It goes before the operations that require the lock.
    pub(super) fn to_operation(&self) -> ProveLock {
        ProveLock { id: self.lock.clone(), token: self.token.clone(), fence: self.fence }
    }
}

impl fmt::Display for LockTokenHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.lock, self.fence, self.token.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_has_three_parts() {
        let token = format!("pcl_lock_{}", "0".repeat(32));
        let good = format!("a-1:7:{token}");
        for (values, expected) in [
            (&[][..], Ok(None)),
            (&[&*good], Ok(Some(&*good))),
            (&[&good, &good], Err(())),
            (&[""], Err(())),
            (&[&token], Err(())),
            (&[&format!("a-1:{token}")], Err(())),
            (&[&format!("a-1:x:{token}")], Err(())),
            (&[&format!("a-1:-7:{token}")], Err(())),
            (&[&format!(":7:{token}")], Err(())),
            (&[&good[..good.len() - 1]], Err(())),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&FIELD, value.parse().unwrap());
            }
            let found =
                LockTokenHeader::from_headers(&headers).map(|proof| proof.map(|proof| proof.to_string()));
            assert_eq!(found.as_ref().map(Option::as_deref).map_err(|_| ()), expected, "{values:?}");
        }
    }
}
