//! The secrets that a file needs, and their comparison with the secrets at hand.

use serde::{Deserialize, Serialize};

use portcullis::model::{Entity, Peppers, SealKey, Sealed, Sealer};

/// The fingerprint of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretFingerprint {
    /// The version of the secret.
    pub version: u32,
    /// A value that distinguishes the secret from another one with the same version.
    pub check: String,
}

/// The fingerprints of the secrets at hand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretFingerprints {
    /// The peppers, which key the digests of keys.
    pub peppers: Vec<SecretFingerprint>,
    /// The keys that seal app secrets.
    pub seal_keys: Vec<SecretFingerprint>,
}

impl SecretFingerprints {
    /// Returns the fingerprints of these secrets.
    #[must_use]
    pub fn new(peppers: &Peppers, sealer: &Sealer) -> Self {
        let pepper =
            peppers.all().map(|one| SecretFingerprint { version: one.version(), check: one.fingerprint() });
        let key = |one: SealKey| SecretFingerprint { version: one.version(), check: one.fingerprint() };
        Self { peppers: pepper.collect(), seal_keys: sealer.keys().into_iter().map(key).collect() }
    }
}

/// A secret that an entity needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretRequirement {
    Pepper(u32),
    SealKey(u32),
}

impl SecretRequirement {
    /// Returns the reason for which the secret is not among those at hand. `made_with` has the fingerprints of the
    /// file.
    pub(super) fn check(
        self,
        made_with: &SecretFingerprints,
        at_hand: &SecretFingerprints,
    ) -> Option<String> {
        let (name, version, theirs, ours) = match self {
            Self::Pepper(version) => ("pepper", version, &made_with.peppers, &at_hand.peppers),
            Self::SealKey(version) => ("seal key", version, &made_with.seal_keys, &at_hand.seal_keys),
        };
        let of = |list: &[SecretFingerprint]| {
            list.iter().find(|one| one.version == version).map(|one| one.check.clone())
        };
        match (of(theirs), of(ours)) {
            (_, None) => Some(format!("needs {name} {version}, which is missing here")),
            (Some(theirs), Some(ours)) if theirs != ours => {
                Some(format!("needs another {name} {version} than this installation has"))
            }
            (_, Some(_)) => None,
        }
    }
}

/// Returns the secrets that an entity needs, each with the path of the member that needs it.
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
