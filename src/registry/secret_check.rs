//! Fingerprints of the secrets that a store is used with. They distinguish secrets and reveal nothing.

use crate::model::{Peppers, Sealer};

/// The fingerprint of one version of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretCheck {
    /// `pepper` or `seal key`.
    pub kind: &'static str,
    /// The version of the secret.
    pub version: u32,
    /// A value that distinguishes the secret from another one with the same version.
    pub value: String,
}

/// The kind of the secrets that key the digests of credentials.
pub(crate) const PEPPER: &str = "pepper";
/// The kind of the secrets that seal readable secrets.
pub(crate) const SEAL_KEY: &str = "seal key";

impl SecretCheck {
    /// The kind of a secret that keys the digests of credentials.
    pub const PEPPER: &'static str = PEPPER;
    /// The kind of a secret that seals secrets that must be readable again.
    pub const SEAL_KEY: &'static str = SEAL_KEY;

    /// Returns the fingerprints of all secrets at hand.
    #[must_use]
    pub fn all(peppers: &Peppers, sealer: &Sealer) -> Vec<Self> {
        let peppers = peppers.all().map(|one| (PEPPER, one.version(), one.fingerprint()));
        let keys = sealer.keys().into_iter().map(|one| (SEAL_KEY, one.version(), one.fingerprint()));
        peppers.chain(keys).map(|(kind, version, value)| Self { kind, version, value }).collect()
    }

    /// Returns a sentence for each secret at hand that differs from the secrets that a store was used with before,
    /// which are given as kind, version and value. Returns nothing if all secrets match.
    ///
    /// A version that the store knows must be the same secret. A version that it does not know is new, unless no known
    /// secret of its kind is at hand: then the secrets belong to another store.
    #[must_use]
    pub fn mismatches(known: &[(String, u32, String)], at_hand: &[Self]) -> Vec<String> {
        let mut mismatches = Vec::new();
        for kind in [PEPPER, SEAL_KEY] {
            let known: Vec<_> = known.iter().filter(|one| one.0 == kind).collect();
            let mut fits = known.is_empty();
            let mut others = false;
            for check in at_hand.iter().filter(|check| check.kind == kind) {
                match known.iter().find(|one| one.1 == check.version) {
                    Some((.., value)) if *value == check.value => fits = true,
                    Some(_) => {
                        others = true;
                        let version = check.version;
                        mismatches.push(format!(
                            "{kind} {version} is not the one that the store was used with before"
                        ));
                    }
                    None => {}
                }
            }
            if !fits && !others {
                mismatches.push(format!("none of the {kind}s was used with the store before"));
            }
        }
        mismatches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &'static str, version: u32, value: &str) -> SecretCheck {
        SecretCheck { kind, version, value: value.into() }
    }

    #[test]
    fn secrets_match_a_store_used_with_one_of_each_kind() {
        let known = |all: &[(&str, u32, &str)]| -> Vec<(String, u32, String)> {
            all.iter().map(|(kind, version, value)| ((*kind).into(), *version, (*value).into())).collect()
        };
        let before = known(&[(PEPPER, 1, "a"), (PEPPER, 2, "b"), (SEAL_KEY, 1, "c")]);
        for (at_hand, misfit) in [
            (vec![check(PEPPER, 1, "a"), check(SEAL_KEY, 1, "c")], None),
            (vec![check(PEPPER, 2, "b"), check(PEPPER, 3, "d"), check(SEAL_KEY, 1, "c")], None),
            (vec![check(PEPPER, 1, "x"), check(SEAL_KEY, 1, "c")], Some("pepper 1 is not the one")),
            (vec![check(PEPPER, 1, "x"), check(PEPPER, 2, "b"), check(SEAL_KEY, 1, "c")], Some("pepper 1")),
            (vec![check(PEPPER, 3, "x"), check(SEAL_KEY, 1, "c")], Some("none of the peppers")),
            (vec![check(PEPPER, 1, "a"), check(SEAL_KEY, 1, "x")], Some("seal key 1 is not the one")),
        ] {
            let found = SecretCheck::mismatches(&before, &at_hand);
            assert_eq!(found.len(), usize::from(misfit.is_some()), "{at_hand:?}: {found:?}");
            assert!(misfit.is_none_or(|misfit| found[0].starts_with(misfit)), "{at_hand:?}: {found:?}");
        }
        assert!(
            SecretCheck::mismatches(&[], &[check(PEPPER, 1, "a")]).is_empty(),
            "a store without recorded secrets"
        );
    }
}
