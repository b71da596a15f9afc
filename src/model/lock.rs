//! Locks: temporary holds on a caller or a resource.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::normalize_path;

use super::{Caller, CallerId, Lease, LockId, LockToken, TenantId, TokenDigest};

/// Maximum number of locks that an owner holds at a time.
pub const MAX_LOCKS: u32 = 64;

/// The requests that a lock denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockedRequests {
    /// Requests that may change something. GET, HEAD, OPTIONS and TRACE are allowed.
    #[default]
    Writes,
    /// Every request.
    All,
}

/// The path of a lock, which includes all paths below it, in the [normal form](crate::normalize_path) that request paths
/// are compared with.
///
/// Parsing percent-encodes characters that a path cannot contain, such as spaces: `/a b` becomes `/a%20b`, and
/// `/%61` becomes `/a`. A path starts with `/`, has no empty, `.` or `..` segment and no trailing `/`, and is at
/// most 1024 bytes long. A path without a normal form is rejected, because a lock on it would match no request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ResourcePath(Box<str>);

/// An error for a text that is no path of a lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a path has the form /orders/7: no empty, . or .. segment, no / at its end, no ? or #, no control character, \
     % only before two hexadecimal digits, at most 1024 bytes"
)]
pub struct InvalidPath;

impl ResourcePath {
    /// Returns the path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns an iterator over the path and every path above it: `/a`, `/a/b` and `/a/b/c` of `/a/b/c`.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        let ends = self.0.match_indices('/').map(|(slash, _)| slash).skip(1);
        ends.chain([self.0.len()]).map(|end| &self.0[..end])
    }
}

impl FromStr for ResourcePath {
    type Err = InvalidPath;

    fn from_str(path: &str) -> Result<Self, InvalidPath> {
        if !is_resource(path) {
            return Err(InvalidPath);
        }
        let encoded = normalize_path::encode(path);
        let normal = normalize_path::normalize(&encoded).map_err(|_| InvalidPath)?.comparable();
        // Decoding and encoding change the length.
        if is_resource(&normal) { Ok(Self(normal.into())) } else { Err(InvalidPath) }
    }
}

fn is_resource(path: &str) -> bool {
    let plain = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains(['?', '#']);
    path.len() <= 1024 && path.strip_prefix('/').is_some_and(|path| path.split('/').all(plain))
}

/// Reads a stored path. Earlier versions stored paths as they were given: those are normalised here. A path without
/// a normal form stays unchanged, because a store must remain readable.
impl TryFrom<String> for ResourcePath {
    type Error = InvalidPath;

    fn try_from(path: String) -> Result<Self, InvalidPath> {
        path.parse().or_else(|invalid| if is_resource(&path) { Ok(Self(path.into())) } else { Err(invalid) })
    }
}

/// The target of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockTarget {
    /// A caller: its requests, and changes to it by others.
    Caller(CallerId),
    /// A path and all paths below it.
    Resource(ResourcePath),
}

impl LockTarget {
    /// Returns `true` if the targets overlap: they are equal, or one is a path above the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Caller(one), Self::Caller(other)) => one == other,
            (Self::Resource(one), Self::Resource(other)) => {
                one.ancestors().any(|path| path == other.as_str())
                    || other.ancestors().any(|path| path == one.as_str())
            }
            (Self::Caller(_), Self::Resource(_)) | (Self::Resource(_), Self::Caller(_)) => false,
        }
    }
}

/// A lock: held by an owner, for a reason, until a moment.
///
/// While it is active, no other lock that would deny the same requests can be acquired: one on its target or a path
/// above or below, for its tenant or for all tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Unique in the registry.
    pub id: LockId,
    /// The tenant whose requests it denies; `None` means all tenants.
    pub tenant: Option<TenantId>,
    /// The target of the lock.
    pub target: LockTarget,
    /// The name of the owner, which denied clients can read.
    pub owner: String,
    /// The caller that holds it, independent of its present name; `None` if the owner is no caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<CallerId>,
    /// The reason, which denied clients can read.
    pub reason: String,
    /// The requests that it denies.
    pub covers: LockedRequests,
    /// The time at which it was acquired.
    pub acquired_at: Timestamp,
    /// The first moment at which it is no longer active.
    pub expires_at: Timestamp,
    /// The fencing token: greater than that of every lock that the registry granted before, and than those of the
    /// registry that it was restored or moved from. A service that stores the greatest fence that it has seen can
    /// reject a holder whose lock expired. Locks of versions without fencing tokens have 0.
    #[serde(default)]
    pub fence: u64,
    /// The digest of its token. Locks of versions without tokens have `None`: they expire, or are broken.
    #[serde(default)]
    pub token: Option<TokenDigest>,
}

impl Lock {
    /// Returns `true` if the lock is active at this moment.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// Returns the key by which locks of an owner are counted: the id of the caller, or the owner's name if it is
    /// no caller.
    #[must_use]
    pub fn holder(&self) -> &str {
        self.holder.as_ref().map_or(&*self.owner, CallerId::as_str)
    }

    /// Returns `true` if the token belongs to this lock.
    #[must_use]
    pub fn matches(&self, token: &LockToken) -> bool {
        self.token.is_some_and(|digest| digest == token.digest())
    }

    /// Returns `true` if the lock would deny requests of this tenant; `None` means any tenant.
    #[must_use]
    pub fn applies_to(&self, tenant: Option<&TenantId>) -> bool {
        self.tenant.is_none() || tenant.is_none() || self.tenant.as_ref() == tenant
    }

    /// Returns the lock with a new lease, or `None` if that changes nothing. A refresh never shortens a lock: a
    /// delayed message would take away time that the holder relies on.
    #[must_use]
    pub fn refreshed(&self, lasts: Lease, now: Timestamp) -> Option<Self> {
        let expires_at = lasts.expires_at(now);
        (expires_at > self.expires_at).then(|| Self { expires_at, ..self.clone() })
    }

    /// Returns `true` if the lock forbids to change this caller now: it is active, its target is the caller, and it
    /// is not a lock of another tenant.
    #[must_use]
    pub fn holds_caller(&self, caller: &Caller, now: Timestamp) -> bool {
        let on_it = matches!(&self.target, LockTarget::Caller(id) if *id == caller.id);
        let ours = self.tenant.as_ref().is_none_or(|tenant| *tenant == caller.tenant);
        on_it && ours && self.is_active(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Entity;

    #[test]
    fn resource_path_has_one_spelling() {
        assert!("/orders/7".parse::<ResourcePath>().is_ok());
        for bad in ["", "/", "orders", "/orders/", "//orders", "/a/../b", "/a/./b", "/a?b"] {
            assert!(bad.parse::<ResourcePath>().is_err(), "{bad:?}");
        }
        for (spelled, normal) in [
            ("/demo/%61bc", "/demo/abc"),
            ("/demo/a b", "/demo/a%20b"),
            ("/demo/a%20b", "/demo/a%20b"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a/b%2fc", "/a/b%2Fc"),
        ] {
            assert_eq!(spelled.parse::<ResourcePath>().unwrap().as_str(), normal, "{spelled}");
        }
    }

    #[test]
    fn resource_path_without_normal_form_is_only_read_from_stores() {
        let long = format!("/{}", "\u{e9}".repeat(500));
        for path in ["/a%", "/a%zz", "/a\n", "/a%00", "/%2e%2e/a", "/a/%2e", "/a\\b", "/a%2f..", &long] {
            assert!(path.parse::<ResourcePath>().is_err(), "{path:?}");
            let stored: ResourcePath = serde_json::from_value(path.into()).unwrap();
            assert_eq!(stored.as_str(), path);
        }
        let stored: ResourcePath = serde_json::from_value("/demo/%61bc".into()).unwrap();
        assert_eq!(stored.as_str(), "/demo/abc");
    }

    #[test]
    fn path_overlaps_itself_ancestors_and_descendants() {
        let on = |path: &str| LockTarget::Resource(path.parse().unwrap());
        let caller = |id: &str| LockTarget::Caller(id.parse().unwrap());
        for (one, other, meet) in [
            (on("/a/b"), on("/a/b"), true),
            (on("/a/b"), on("/a"), true),
            (on("/a"), on("/a/b/c"), true),
            (on("/a/b"), on("/a/bc"), false),
            (on("/a/b"), on("/a/c"), false),
            (on("/a/b"), on("/b"), false),
            (caller("a"), caller("a"), true),
            (caller("a"), caller("b"), false),
            (caller("a"), on("/a"), false),
        ] {
            assert_eq!(one.overlaps(&other), meet, "{one:?} {other:?}");
            assert_eq!(other.overlaps(&one), meet, "{other:?} {one:?}");
        }
        let deep: ResourcePath = "/a/bc/d".parse().unwrap();
        assert_eq!(deep.ancestors().collect::<Vec<_>>(), ["/a", "/a/bc", "/a/bc/d"]);
    }

    /// A lock as versions without fences and tokens stored it.
    const OLD: &str = r#"{"id":"l","tenant":null,"target":{"resource":"/a"},"owner":"o","reason":"r",
        "covers":"writes","acquired_at":"2026-01-01T00:00:00Z","expires_at":"2026-01-02T00:00:00Z"}"#;

    #[test]
    fn lock_without_a_fence_is_read_and_matches_no_token() {
        let lock: Lock = serde_json::from_str(OLD).unwrap();
        assert_eq!((lock.fence, lock.token), (0, None));
        assert!(!lock.matches(&LockToken::generate()));
    }

    #[test]
    fn lock_is_printed_without_its_token_digest() {
        let old: Lock = serde_json::from_str(OLD).unwrap();
        let token = LockToken::generate();
        let lock = Lock { fence: 7, token: Some(token.digest()), ..old };
        assert!(lock.matches(&token));
        let stored: Lock = serde_json::from_str(&serde_json::to_string(&lock).unwrap()).unwrap();
        assert_eq!(stored, lock);
        let shown = Entity::Lock(lock).redacted();
        assert_eq!((&shown["fence"], &shown["owner"]), (&7.into(), &"o".into()));
        assert!(!shown.to_string().contains(&String::from(token.digest())), "{shown}");
    }

    #[test]
    fn refresh_never_shortens_a_lock() {
        let lock: Lock = serde_json::from_str(OLD).unwrap();
        let hour = Lease::try_from(std::time::Duration::from_secs(60 * 60)).unwrap();
        assert_eq!(lock.refreshed(hour, "2026-01-01T23:00:00Z".parse().unwrap()), None);
        let later = lock.refreshed(hour, "2026-01-01T23:00:01Z".parse().unwrap()).unwrap();
        assert_eq!(later, Lock { expires_at: "2026-01-02T00:00:01Z".parse().unwrap(), ..lock });
    }
}
