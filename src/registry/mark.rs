//! A position in the history of a store, by which the store is recognised.

use crate::model::Seq;

/// A store's identity and one of its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The random id of the store.
    pub store: String,
    /// The epoch of the store; greater in a copy that was made to be restored.
    pub epoch: u64,
    /// The number of the store's last change.
    pub last: Seq,
    /// The number of the change that was asked about.
    pub at: Seq,
    /// The hash of that change, which covers all changes before it, if the store has hashes.
    pub hash: Option<[u8; 32]>,
}

impl Mark {
    /// Returns `true` if a store with this mark continues the history that `before` describes: both marks are of the
    /// same change, it is the same store or a copy of it, and no change is missing.
    #[must_use]
    pub fn continues(&self, before: &Self) -> bool {
        (&self.store, self.epoch) == (&before.store, before.epoch)
            && self.last >= before.at
            && self.at == before.at
            && self.hash == before.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_of_another_history_does_not_match() {
        let before = Mark { store: "a".into(), epoch: 1, last: 7, at: 5, hash: Some([5; 32]) };
        assert!(before.continues(&before));
        assert!(Mark { last: 9, ..before.clone() }.continues(&before));
        for other in [
            Mark { store: "b".into(), ..before.clone() },
            Mark { epoch: 2, ..before.clone() },
            Mark { last: 4, hash: None, ..before.clone() },
            Mark { hash: Some([6; 32]), ..before.clone() },
        ] {
            assert!(!other.continues(&before), "{other:?}");
        }
    }
}
