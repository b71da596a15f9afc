//! Interning: values that many entries have in common are stored once.

use std::{collections::HashSet, hash::Hash, sync::Arc};

/// The interned values: those in use, and some that are no longer used.
#[derive(Debug)]
pub(super) struct Interner<T: ?Sized> {
    all: HashSet<Arc<T>>,
    /// The number of values at which unused ones are removed.
    sweep_at: usize,
}

impl<T: ?Sized> Default for Interner<T> {
    fn default() -> Self {
        Self { all: HashSet::new(), sweep_at: 0 }
    }
}

impl<T: Eq + Hash + ?Sized> Interner<T> {
    /// Returns the interned value, which is created if it does not exist.
    pub(super) fn intern(&mut self, value: &T, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        if let Some(shared) = self.all.get(value) {
            return shared.clone();
        }
        if self.all.len() >= self.sweep_at {
            self.all.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = 2 * self.all.len().max(32);
        }
        let shared = make();
        self.all.insert(shared.clone());
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_shared_and_unused_ones_dropped() {
        let mut all = Interner::<str>::default();
        let mut of = |text: &str| all.intern(text, || text.into());
        let interned = of("kept");
        assert!(Arc::ptr_eq(&interned, &of("kept")));
        (0..1_000).for_each(|at| drop(of(&at.to_string())));
        assert!(Arc::ptr_eq(&interned, &of("kept")));
        assert!(all.all.len() <= 64, "{}", all.all.len());
    }
}
