//! Locks: a caller or a resource that is held just now.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::normalize_path;

use super::{Caller, CallerId, Lease, LockId, LockToken, TenantId, TokenDigest};

/// The most locks that one owner holds at a time.
pub const MAX_LOCKS: u32 = 64;

/// Which requests a lock stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockedRequests {
    /// Those that may change something; GET, HEAD, OPTIONS and TRACE pass.
    #[default]
    Writes,
    /// Every request.
    All,
}

/// The path that a lock is on, with all below it, in the [normal form](crate::target) in which requests' paths are
/// compared with it.
///
/// Parsing it percent-encodes what no path has unencoded, such as spaces: `/a b` is `/a%20b`, and `/%61` is `/a`. A path
/// starts with `/`, has no empty, `.` or `..` segment and no trailing `/`, and is at most 1024 bytes long. One that has
/// no normal form is refused, because no request could be stopped by a lock on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ResourcePath(Box<str>);

/// Why a text is no path that a lock may stand on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a path is as /orders/7: no empty, . or .. segment, no / at its end, no ? or #, no control character, % only before \
     two hexadecimal digits, at most 1024 bytes"
)]
pub struct InvalidPath;

impl ResourcePath {
    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// It and every path above it: `/a`, `/a/b` and `/a/b/c` of `/a/b/c`.
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
        // What was decoded or encoded changes the length.
        if is_resource(&normal) { Ok(Self(normal.into())) } else { Err(InvalidPath) }
    }
}

fn is_resource(path: &str) -> bool {
    let plain = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains(['?', '#']);
    path.len() <= 1024 && path.strip_prefix('/').is_some_and(|path| path.split('/').all(plain))
}

/// Reads what a registry keeps. Earlier versions kept paths as they were given: those get their normal form here, and
/// one that has none stays as it is, because a store must remain readable.
impl TryFrom<String> for ResourcePath {
    type Error = InvalidPath;

    fn try_from(path: String) -> Result<Self, InvalidPath> {
        path.parse().or_else(|invalid| if is_resource(&path) { Ok(Self(path.into())) } else { Err(invalid) })
    }
}

/// What a lock stands on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockTarget {
    /// A caller: what it sends, and what others would change of it.
    Caller(CallerId),
    /// A path and all below it.
    Resource(ResourcePath),
}

impl LockTarget {
    /// Whether something is on both: they are the same, or one is a path above the other.
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
/// While it holds, nobody acquires another that would stop the same requests: on its target, or a path above
/// or below, and of its tenant or everybody's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Unique in the registry.
    pub id: LockId,
    /// Whose requests it stops; `None` is everybody's.
    pub tenant: Option<TenantId>,
    /// What it stands on.
    pub target: LockTarget,
    /// Who holds it; shown to who is refused.
    pub owner: String,
    /// The caller that holds it, whatever its name is by now; `None` where the owner is no caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<CallerId>,
    /// Why; shown to who is refused.
    pub reason: String,
    /// Which requests it stops.
    pub covers: LockedRequests,
    /// When it was taken.
    pub acquired_at: Timestamp,
    /// The first moment at which it no longer holds.
    pub expires_at: Timestamp,
    /// The fencing token: greater than that of every lock that the registry granted before, and than those of
    /// the registry that it was restored or moved from. Whoever keeps the greatest that it has seen can tell a
    /// holder that came too late. 0: of a time before there were any.
    #[serde(default)]
    pub fence: u64,
    /// What its token is known by. `None`: of a time before there were any; it ends by itself, or is broken.
    #[serde(default)]
    pub token: Option<TokenDigest>,
}

impl Lock {
    /// Whether it holds at a moment.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// The key by which its owner's locks are counted: the id of the caller, or the owner's name where that is no caller.
    #[must_use]
    pub fn holder(&self) -> &str {
        self.holder.as_ref().map_or(&*self.owner, CallerId::as_str)
    }

    /// Whether a token is its own.
    #[must_use]
    pub fn matches(&self, token: &LockToken) -> bool {
        self.token.is_some_and(|digest| digest == token.digest())
    }

    /// Whether it would stop requests of a tenant; `None` is everybody's.
    #[must_use]
    pub fn applies_to(&self, tenant: Option<&TenantId>) -> bool {
        self.tenant.is_none() || tenant.is_none() || self.tenant.as_ref() == tenant
    }

    /// The lock as it is when a lease starts anew, or `None` when that changes nothing. Never does it hold
    /// shorter: a message that came late would take away what its holder relies on.
    #[must_use]
    pub fn refreshed(&self, lasts: Lease, now: Timestamp) -> Option<Self> {
        let expires_at = lasts.expires_at(now);
        (expires_at > self.expires_at).then(|| Self { expires_at, ..self.clone() })
    }

    /// Whether a caller must not be changed at a moment because of it: it stands on the caller, holds, and
    /// is not of another tenant, whose lock is nothing to this one's.
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
    fn a_resource_path_has_one_spelling() {
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
    fn resource_path_without_normal_form_is_refused_and_read_from_old_stores() {
        let long = format!("/{}", "\u{e9}".repeat(500));
        for path in ["/a%", "/a%zz", "/a\n", "/a%00", "/%2e%2e/a", "/a/%2e", "/a\\b", "/a%2f..", &long] {
            assert!(path.parse::<ResourcePath>().is_err(), "{path:?}");
            let kept: ResourcePath = serde_json::from_value(path.into()).unwrap();
            assert_eq!(kept.as_str(), path);
        }
        let kept: ResourcePath = serde_json::from_value("/demo/%61bc".into()).unwrap();
        assert_eq!(kept.as_str(), "/demo/abc");
    }

    #[test]
    fn a_path_meets_itself_and_what_is_above_and_below() {
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

    /// As the registry kept it when it had neither fences nor tokens.
    const OLD: &str = r#"{"id":"l","tenant":null,"target":{"resource":"/a"},"owner":"o","reason":"r",
        "covers":"writes","acquired_at":"2026-01-01T00:00:00Z","expires_at":"2026-01-02T00:00:00Z"}"#;

    #[test]
    fn a_lock_of_a_time_before_fences_is_read_and_proven_by_no_token() {
        let lock: Lock = serde_json::from_str(OLD).unwrap();
        assert_eq!((lock.fence, lock.token), (0, None));
        assert!(!lock.matches(&LockToken::generate()));
    }

    #[test]
    fn a_lock_is_shown_without_its_tokens_digest() {
        let old: Lock = serde_json::from_str(OLD).unwrap();
        let token = LockToken::generate();
        let lock = Lock { fence: 7, token: Some(token.digest()), ..old };
        assert!(lock.matches(&token));
        let kept: Lock = serde_json::from_str(&serde_json::to_string(&lock).unwrap()).unwrap();
        assert_eq!(kept, lock);
        let shown = Entity::Lock(lock).redacted();
        assert_eq!((&shown["fence"], &shown["owner"]), (&7.into(), &"o".into()));
        assert!(!shown.to_string().contains(&String::from(token.digest())), "{shown}");
    }

    #[test]
    fn a_lock_is_never_refreshed_to_hold_shorter() {
        let lock: Lock = serde_json::from_str(OLD).unwrap();
        let hour = Lease::try_from(std::time::Duration::from_hours(1)).unwrap();
        assert_eq!(lock.refreshed(hour, "2026-01-01T23:00:00Z".parse().unwrap()), None);
        let later = lock.refreshed(hour, "2026-01-01T23:00:01Z".parse().unwrap()).unwrap();
        assert_eq!(later, Lock { expires_at: "2026-01-02T00:00:01Z".parse().unwrap(), ..lock });
    }
}
