//! What policies take while they admit, and how it is kept or given back.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::directory::CallerEntry;

/// What a policy took.
#[derive(Debug)]
pub(crate) enum Permit {
    /// One request from every budget of a caller.
    Budget(Arc<CallerEntry>),
}

impl Permit {
    fn give_back(self) {
        match self {
            Self::Budget(caller) => caller.budgets.iter().for_each(crate::limit::Budgets::give_back),
        }
    }
}

/// What was taken for a request that is not decided yet. Dropped, everything is given back: a chain
/// that denies, or a client that leaves while it waits, costs nobody anything.
#[derive(Debug, Default)]
pub struct Permits(SmallVec<[Permit; 2]>);

impl Permits {
    pub(crate) fn take(&mut self, permit: Permit) {
        self.0.push(permit);
    }

    /// Gives everything back.
    pub fn give_back(&mut self) {
        self.0.drain(..).for_each(Permit::give_back);
    }

    /// The request is being served: from now on what was taken is kept.
    #[must_use]
    pub fn serve(mut self) -> Served {
        Served(std::mem::take(&mut self.0))
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// What was taken for a request that is being served. Dropped, budgets stay spent.
#[derive(Debug)]
pub struct Served(SmallVec<[Permit; 2]>);

impl Served {
    /// The service behind turned out to be guarded too, and refused: everything is given back.
    pub fn refuse(mut self) {
        self.0.drain(..).for_each(Permit::give_back);
    }
}
