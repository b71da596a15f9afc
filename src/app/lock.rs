//! Locks: a caller or a resource that is held just now.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Caller, CallerId, InvalidId, LockId, TenantId};

/// Which requests a lock stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Covers {
    /// Those that may change something; GET, HEAD, OPTIONS and TRACE pass.
    #[default]
    Writes,
    /// Every request.
    All,
}

/// A path that a lock stands on: itself and all below it.
///
/// Starts with `/`, has no empty, `.` or `..` segment, no trailing `/`, at most 1024 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ResourcePath(Box<str>);

impl ResourcePath {
    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ResourcePath {
    type Err = InvalidId;

    fn from_str(path: &str) -> Result<Self, InvalidId> {
        let segments = path.strip_prefix('/').ok_or(InvalidId)?.split('/');
        let plain = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains(['?', '#']);
        if path.len() <= 1024 && segments.into_iter().all(plain) {
            Ok(Self(path.into()))
        } else {
            Err(InvalidId)
        }
    }
}

impl TryFrom<String> for ResourcePath {
    type Error = InvalidId;

    fn try_from(path: String) -> Result<Self, InvalidId> {
        path.parse()
    }
}

/// What a lock stands on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A caller: what it sends, and what others would change of it.
    Caller(CallerId),
    /// A path and all below it.
    Resource(ResourcePath),
}

/// A lock: held by an owner, for a reason, until a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Unique in the registry.
    pub id: LockId,
    /// Whose requests it stops; `None` is everybody's.
    pub tenant: Option<TenantId>,
    /// What it stands on.
    pub target: Target,
    /// Who holds it; shown to who is refused.
    pub owner: String,
    /// Why; shown to who is refused.
    pub reason: String,
    /// Which requests it stops.
    pub covers: Covers,
    /// When it was taken.
    pub acquired_at: Timestamp,
    /// The first moment at which it no longer holds.
    pub expires_at: Timestamp,
}

impl Lock {
    /// Whether it holds at a moment.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// Whether a caller must not be changed at a moment because of it: it stands on the caller, holds, and
    /// is not of another tenant, whose lock is nothing to this one's.
    #[must_use]
    pub fn holds_caller(&self, caller: &Caller, now: Timestamp) -> bool {
        let on_it = matches!(&self.target, Target::Caller(id) if *id == caller.id);
        let ours = self.tenant.as_ref().is_none_or(|tenant| *tenant == caller.tenant);
        on_it && ours && self.holds(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_path_has_one_spelling() {
        assert!("/orders/7".parse::<ResourcePath>().is_ok());
        for bad in ["", "/", "orders", "/orders/", "//orders", "/a/../b", "/a/./b", "/a?b"] {
            assert!(bad.parse::<ResourcePath>().is_err(), "{bad:?}");
        }
    }
}
