//! Identifiers. Each kind of entity has its own type, so that an id cannot be passed for one of another kind.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// An error for a text that is no identifier: it is empty, longer than 64 bytes, or contains something other than
/// letters, digits, `-`, `_` and `.`; or it is `.` or `..`, which are removed from paths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is 1 to 64 characters of A-Z a-z 0-9 - _ ., and neither . nor ..")]
pub struct InvalidId;

fn checked(text: &str) -> Result<Arc<str>, InvalidId> {
    let fits = (1..=64).contains(&text.len()) && !matches!(text, "." | "..");
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fits && plain { Ok(text.into()) } else { Err(InvalidId) }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 64 characters of `A-Z a-z 0-9 - _ .`, neither `.` nor `..`. Cloning copies a pointer.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Creates a random identifier: a version-4 UUID with hyphens.
            #[must_use]
            pub fn random() -> Self {
                Self(uuid::Uuid::new_v4().to_string().into())
            }

            /// Returns the identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                checked(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id! {
    /// Names a [`Tenant`](super::Tenant).
    TenantId
}
id! {
    /// Names a [`Caller`](super::Caller) within its tenant.
    CallerId
}
id! {
    /// Names a [`Credential`](super::Credential). Not a secret.
    CredentialId
}
id! {
    /// Names a [`Plan`](super::Plan).
    PlanId
}
id! {
    /// Names a [`Lock`](super::Lock).
    LockId
}
id! {
    /// Names a [`Grant`](super::Grant).
    GrantId
}
id! {
    /// Names a [`Throttle`](super::Throttle).
    ThrottleId
}
id! {
    /// Names a [`ThrottleOverride`](super::ThrottleOverride) of a throttle.
    SpecialId
}
id! {
    /// Names a [`Binding`](super::Binding) of a throttle.
    BindingId
}
id! {
    /// Names a [`Quota`](super::Quota).
    QuotaId
}
id! {
    /// Names a route of a gateway's configuration.
    RouteName
}
id! {
    /// Names an environment in which APIs are published.
    EnvironmentId
}

impl EnvironmentId {
    /// The id of the environment that every gateway has.
    pub const RELEASE: &'static str = "DEFAULT_ENVIRONMENT_RELEASE_ID";

    /// Returns the id of the environment that every gateway has.
    #[must_use]
    pub fn release() -> Self {
        Self(Self::RELEASE.into())
    }
}

/// Converts the id of an app to that of its own signing credential, which has no other id.
impl From<&CallerId> for CredentialId {
    fn from(id: &CallerId) -> Self {
        Self(id.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_short_and_plain() {
        assert!("5bc2be68-7498-4853-aa64-4be0ca62934e".parse::<CallerId>().is_ok());
        assert!("MbCS6UB_m7NdvyDOE8stT".parse::<CallerId>().is_ok());
        for bad in ["", ".", "..", "a b", "a/b", "é", &"x".repeat(65)] {
            assert_eq!(bad.parse::<CallerId>(), Err(InvalidId), "{bad:?}");
        }
        assert_eq!(CallerId::random().as_str().len(), 36);
    }
}
