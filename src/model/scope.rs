//! Scopes: the permissions of a credential.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The access to a resource that a request needs. Write access includes read access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read.
    Read,
    /// Read and write.
    Write,
}

/// The name of a kind of resource, such as `api_clients`: 1 to 64 characters of `a-z 0-9 _`.
pub type Resource = Box<str>;

/// A permission: the kind of resource, the access, and the resources it is limited to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The kind of resource.
    pub resource: Resource,
    /// The access.
    pub access: Access,
    /// The ids that the scope is limited to; `None` means all.
    pub targets: Option<Vec<Box<str>>>,
}

/// An error for a text that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a scope has the form RESOURCE:ACCESS, such as orders:read, or RESOURCE:ACCESS:ID,ID; the access is read or write, \
     the resource 1 to 64 characters of a-z 0-9 _"
)]
pub struct InvalidScope;

/// Parses `RESOURCE:ACCESS` or `RESOURCE:ACCESS:ID,ID`.
///
/// ```
/// use portcullis::model::{Access, Scope};
///
/// let scope: Scope = "orders:read:7,8".parse().unwrap();
/// assert_eq!((&*scope.resource, scope.access, scope.targets.unwrap().len()), ("orders", Access::Read, 2));
/// assert!("orders".parse::<Scope>().is_err());
/// ```
impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let mut parts = text.splitn(3, ':');
        let (resource, access, targets) = (parts.next(), parts.next(), parts.next());
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let resource = resource
            .filter(|it| (1..=64).contains(&it.len()) && it.bytes().all(is_plain))
            .ok_or(InvalidScope)?;
        let access = match access {
            Some("read") => Access::Read,
            Some("write") => Access::Write,
            _ => return Err(InvalidScope),
        };
        let targets: Option<Vec<Box<str>>> = targets.map(|ids| ids.split(',').map(Into::into).collect());
        if targets.iter().flatten().any(|id| id.is_empty()) {
            return Err(InvalidScope);
        }
        Ok(Self { resource: resource.into(), access, targets })
    }
}

/// The scopes of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scopes {
    /// All rights of its caller.
    #[default]
    All,
    /// Only the listed scopes.
    Listed(Vec<Scope>),
}

impl Scopes {
    /// Returns `true` if the scopes allow the access to this kind of resource, and to the target if one is given.
    ///
    /// ```
    /// use portcullis::model::{Access, Scope, Scopes};
    ///
    /// let read = Scope { resource: "queues".into(), access: Access::Read, targets: None };
    /// let scopes = Scopes::Listed(vec![read]);
    /// assert!(scopes.allow("queues", Access::Read, Some("q1")));
    /// assert!(!scopes.allow("queues", Access::Write, Some("q1")));
    /// ```
    #[must_use]
    pub fn allow(&self, resource: &str, access: Access, target: Option<&str>) -> bool {
        self.any(resource, access, |scope| match (&scope.targets, target) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ids), Some(id)) => ids.iter().any(|one| &**one == id),
        })
    }

    /// Returns `true` if the scopes allow the access to at least one resource of this kind.
    #[must_use]
    pub fn allow_any(&self, resource: &str, access: Access) -> bool {
        self.any(resource, access, |_| true)
    }

    fn any(&self, resource: &str, access: Access, reaches: impl Fn(&Scope) -> bool) -> bool {
        let fits = |scope: &Scope| &*scope.resource == resource && scope.access >= access && reaches(scope);
        match self {
            Self::All => true,
            Self::Listed(list) => list.iter().any(fits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_text_is_parsed_or_rejected() {
        let scope = |access, targets: Option<&[&str]>| Scope {
            resource: "orders".into(),
            access,
            targets: targets.map(|ids| ids.iter().map(|id| (*id).into()).collect()),
        };
        assert_eq!("orders:read".parse(), Ok(scope(Access::Read, None)));
        assert_eq!("orders:write:7,a:b".parse(), Ok(scope(Access::Write, Some(&["7", "a:b"]))));
        for bad in
            ["", "orders", "orders:", "orders:all", "Orders:read", ":read", "orders:read:", "orders:read:7,"]
        {
            assert_eq!(bad.parse::<Scope>(), Err(InvalidScope), "{bad}");
        }
    }

    #[test]
    fn scopes_allow_only_their_list() {
        let scope = |access, targets: Option<&[&str]>| Scope {
            resource: "queues".into(),
            access,
            targets: targets.map(|ids| ids.iter().map(|id| (*id).into()).collect()),
        };
        let table = [
            (Scopes::All, Access::Write, None, true),
            (Scopes::Listed(vec![]), Access::Read, None, false),
            (Scopes::Listed(vec![scope(Access::Write, None)]), Access::Read, Some("q"), true),
            (Scopes::Listed(vec![scope(Access::Read, None)]), Access::Write, Some("q"), false),
            (Scopes::Listed(vec![scope(Access::Read, Some(&["q"]))]), Access::Read, Some("q"), true),
            (Scopes::Listed(vec![scope(Access::Read, Some(&["q"]))]), Access::Read, Some("r"), false),
            (Scopes::Listed(vec![scope(Access::Read, Some(&["q"]))]), Access::Read, None, false),
        ];
        for (scopes, access, target, covered) in table {
            assert_eq!(scopes.allow("queues", access, target), covered, "{scopes:?} {access:?} {target:?}");
            assert!(scopes == Scopes::All || !scopes.allow("events", access, target));
        }
    }
}
