//! The kinds of callers that a policy admits.

use crate::directory::CallerEntry;

/// A set of kinds of callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallerKinds(u8);

/// Names of the kinds, in the order of the bits of [`CallerEntry::kind_bit`].
const NAMES: [&str; 4] = ["api_client", "app", "operator", "administrator"];

impl CallerKinds {
    /// The kinds that call APIs. Operators and administrators manage them, with keys that have many more rights.
    pub(super) const CALLERS: Self = Self(0b11);

    /// Returns the kinds with these names. Unknown names are ignored.
    pub(super) fn from_names(names: &[&str]) -> Self {
        let bit = |name: &&str| NAMES.iter().position(|known| known == name).map_or(0, |at| 1 << at);
        Self(names.iter().fold(0, |bits, name| bits | bit(name)))
    }

    pub(super) fn contains(self, caller: &CallerEntry) -> bool {
        self.0 & caller.kind_bit() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{CallerKind, Role},
        test_support::Fixture,
    };

    #[test]
    fn kinds_are_parsed_by_name() {
        let world = Fixture::new();
        let key = world.key();
        for (kind, is_caller) in [
            (CallerKind::ApiClient, true),
            (CallerKind::Operator, false),
            (CallerKind::Administrator(Role::Owner), false),
        ] {
            world.edit_caller(|caller| caller.kind = kind);
            let found = world.directory.find(&key).unwrap();
            let caller = found.caller();
            assert!(CallerKinds::from_names(&[caller.kind()]).contains(caller));
            assert!(!CallerKinds::from_names(&["app", "somebody"]).contains(caller));
            assert_eq!(CallerKinds::CALLERS.contains(caller), is_caller);
        }
        assert_eq!(CallerKinds::from_names(&["api_client", "app"]), CallerKinds::CALLERS);
    }
}
