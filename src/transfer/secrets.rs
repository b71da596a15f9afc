//! Which secrets a file needs, and whether they are those at hand.

use serde::{Deserialize, Serialize};

use crate::model::{Entity, Peppers, SealKey, Sealed, Sealer};

/// A secret by what may be known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretFingerprint {
    /// Its version.
    pub version: u32,
    /// What tells it from another of its version.
    pub check: String,
}

/// The secrets at hand, by what may be known of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretFingerprints {
    /// What keys are digested with.
    pub peppers: Vec<SecretFingerprint>,
    /// What seals app secrets.
    pub seal_keys: Vec<SecretFingerprint>,
}

impl SecretFingerprints {
    /// What may be known of these.
    #[must_use]
    pub fn new(peppers: &Peppers, sealer: &Sealer) -> Self {
        let pepper = peppers.all().map(|one| SecretFingerprint { version: one.version(), check: one.fingerprint() });
        let key = |one: SealKey| SecretFingerprint { version: one.version(), check: one.fingerprint() };
        Self { peppers: pepper.collect(), seal_keys: sealer.keys().into_iter().map(key).collect() }
    }
}

/// A secret that something needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretRequirement {
    Pepper(u32),
    SealKey(u32),
}

impl SecretRequirement {
    /// Why it cannot be used with the secrets at hand, where it was made with others of these checks.
    pub(super) fn check(self, made_with: &SecretFingerprints, at_hand: &SecretFingerprints) -> Option<String> {
        let (name, version, theirs, ours) = match self {
            Self::Pepper(version) => ("pepper", version, &made_with.peppers, &at_hand.peppers),
            Self::SealKey(version) => ("seal key", version, &made_with.seal_keys, &at_hand.seal_keys),
        };
        let of = |list: &[SecretFingerprint]| list.iter().find(|one| one.version == version).map(|one| one.check.clone());
        match (of(theirs), of(ours)) {
            (_, None) => Some(format!("needs {name} {version}, which is not at hand")),
            (Some(theirs), Some(ours)) if theirs != ours => {
                Some(format!("needs another {name} {version} than the one at hand"))
            }
            (_, Some(_)) => None,
        }
    }
}

/// What an entity needs, with the path of the member that needs it.
pub(super) fn needs(entity: &Entity) -> impl Iterator<Item = (SecretRequirement, &'static str)> {
    let seal_key = |sealed: &Sealed| SecretRequirement::SealKey(sealed.key());
    let (pepper, sealed) = match entity {
        Entity::Tenant(_)
        | Entity::Plan(_)
        | Entity::Lock(_)
        | Entity::Grant(_)
        | Entity::Quota(_)
        | Entity::Throttle(_) => (None, None),
        Entity::Caller(it) => (None, it.app().map(|app| (seal_key(&app.secret), "caller.kind.app.secret"))),
        Entity::Credential(it) => (
            Some((SecretRequirement::Pepper(it.pepper), "credential.pepper")),
            it.kind.sealed().map(|sealed| (seal_key(sealed), "credential.kind")),
        ),
    };
    pepper.into_iter().chain(sealed)
}
