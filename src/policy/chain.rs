//! Evaluation of a chain of policies, and the types that compose policies.

use std::sync::Arc;

use super::{ChainOrder, Policy, Stop};
use crate::{Admission, Head};

impl Admission {
    /// Evaluates a policy, or a chain of policies, for a request.
    ///
    /// After a [`Stop::Wait`] or a [`Stop::NeedsBody`], evaluate the policy again with this admission: the chain
    /// resumes at the policy that waited. After a denial, all permits have been refunded.
    ///
    /// # Errors
    /// The denial, or the future to wait for.
    pub fn evaluate(&mut self, policy: &(impl Policy + ?Sized), head: &Head<'_>) -> Result<(), Stop> {
        self.cursor.at = 0;
        if self.cursor.passed == 0 {
            // Another layer computed these, perhaps for another target.
            (self.path, self.is_normal) = (None, false);
        }
        self.peer = head.peer;
        self.permits.set_now(head.now);
        let outcome = self.run_step(policy, head);
        match &outcome {
            Ok(()) => self.cursor.passed = 0,
            Err(Stop::Wait(_) | Stop::NeedsBody(_)) => self.cursor.passed = self.cursor.at,
            Err(Stop::Deny(_)) => self.refund(),
        }
        outcome
    }

    /// Runs one part of a composed policy, unless an earlier evaluation passed it. For policies that consist of other
    /// policies.
    ///
    /// # Errors
    /// The result of the part.
    pub fn run_step(&mut self, policy: &(impl Policy + ?Sized), head: &Head<'_>) -> Result<(), Stop> {
        let start = self.cursor.at;
        let end = start + policy.steps();
        if end <= self.cursor.passed {
            self.cursor.at = end;
            return Ok(());
        }
        let outcome = policy.admit(head, self);
        match &outcome {
            Ok(()) => self.cursor.at = end,
            // The parts counted more steps than the whole has: resume at the beginning of the whole, not after it.
            Err(_) if self.cursor.at >= end => self.cursor.at = start,
            Err(_) => {}
        }
        outcome
    }
}

impl Policy for () {
    fn admit(&self, _: &Head<'_>, _: &mut Admission) -> Result<(), Stop> {
        Ok(())
    }

    fn steps(&self) -> u32 {
        0
    }
}

macro_rules! tuple {
    ($($part:ident)+) => {
        impl<$($part: Policy),+> Policy for ($($part,)+) {
            #[allow(non_snake_case, reason = "the type parameters name the parts too")]
            fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
                let ($($part,)+) = self;
                $(admission.run_step($part, head)?;)+
                Ok(())
            }

            #[allow(non_snake_case, reason = "the type parameters name the parts too")]
            fn steps(&self) -> u32 {
                let ($($part,)+) = self;
                0 $(+ $part.steps())+
            }

            #[allow(non_snake_case, reason = "the type parameters name the parts too")]
            fn check_order(&self, order: &mut ChainOrder) {
                let ($($part,)+) = self;
                $($part.check_order(order);)+
            }
        }
    };
}
tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D E);
tuple!(A B C D E F);
tuple!(A B C D E F G);
tuple!(A B C D E F G H);

impl<P: Policy> Policy for Option<P> {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        self.as_ref().map_or(Ok(()), |policy| admission.run_step(policy, head))
    }

    fn steps(&self) -> u32 {
        self.as_ref().map_or(0, Policy::steps)
    }

    fn check_order(&self, order: &mut ChainOrder) {
        if let Some(policy) = self {
            policy.check_order(order);
        }
    }
}

impl<P: Policy> Policy for Vec<P> {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        self.iter().try_for_each(|policy| admission.run_step(policy, head))
    }

    fn steps(&self) -> u32 {
        self.iter().map(Policy::steps).sum()
    }

    fn check_order(&self, order: &mut ChainOrder) {
        for policy in self {
            policy.check_order(order);
        }
    }
}

macro_rules! pointer {
    ($($pointer:ident)+) => {$(
        impl<P: Policy + ?Sized> Policy for $pointer<P> {
            fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
                (**self).admit(head, admission)
            }

            fn steps(&self) -> u32 {
                (**self).steps()
            }

            fn check_order(&self, order: &mut ChainOrder) {
                (**self).check_order(order);
            }
        }
    )+};
}
pointer!(Arc Box);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::{Denial, test_support};

    /// Admits and counts its evaluations. It waits at evaluation `waits_at`.
    #[derive(Default)]
    struct Counting {
        asked: AtomicU32,
        waits_at: Option<u32>,
        denies: bool,
    }

    impl Policy for Counting {
        fn admit(&self, _: &Head<'_>, _: &mut Admission) -> Result<(), Stop> {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            if self.waits_at == Some(asked) {
                return Err(Stop::Wait(Box::pin(async {})));
            }
            if self.denies { Err(Denial::unavailable("test", 1).into()) } else { Ok(()) }
        }
    }

    impl Counting {
        fn waits() -> Arc<Self> {
            Arc::new(Self { waits_at: Some(0), ..Self::default() })
        }
        fn asked(&self) -> u32 {
            self.asked.load(Ordering::Relaxed)
        }
    }

    fn ask(policy: &impl Policy, admission: &mut Admission) -> Result<(), Stop> {
        let request = test_support::get("/");
        admission.evaluate(policy, &test_support::head(&request))
    }

    #[test]
    fn chain_runs_in_order_and_stops_at_the_first_denial() {
        let [first, last] = [(); 2].map(|()| Arc::new(Counting::default()));
        let denies = Arc::new(Counting { denies: true, ..Counting::default() });
        let chain = (first.clone(), Some(denies.clone()), vec![last.clone()]);
        assert!(matches!(ask(&chain, &mut Admission::default()), Err(Stop::Deny(_))));
        assert_eq!((first.asked(), denies.asked(), last.asked()), (1, 1, 0));
    }

    #[test]
    fn chain_resumes_at_the_policy_that_waited() {
        let [a, c, e] = [(); 3].map(|()| Arc::new(Counting::default()));
        let (b, d) = (Counting::waits(), Counting::waits());
        let chain = (a.clone(), (Some(b.clone()), None::<()>, (c.clone(),)), vec![d.clone()], e.clone());
        let mut admission = Admission::default();
        assert!(matches!(ask(&chain, &mut admission), Err(Stop::Wait(_))));
        assert!(matches!(ask(&chain, &mut admission), Err(Stop::Wait(_))));
        assert!(ask(&chain, &mut admission).is_ok());
        let asked = [&a, &b, &c, &d, &e].map(|policy| policy.asked());
        assert_eq!(asked, [1, 2, 1, 2, 1]);
    }

    /// Without a correct `steps`, parts of a composition may be evaluated twice, but none is skipped.
    #[test]
    fn composition_that_miscounts_its_steps_admits_nothing() {
        struct Miscounting(Arc<Counting>, Arc<Counting>, Arc<Counting>);
        impl Policy for Miscounting {
            fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
                admission.run_step(&(self.0.clone(), self.1.clone()), head)?;
                admission.run_step(&self.2, head)
            }
        }
        let last = Arc::new(Counting { denies: true, waits_at: Some(0), ..Counting::default() });
        let chain = (Miscounting(Arc::default(), Arc::default(), last.clone()), Counting::default());
        let mut admission = Admission::default();
        assert!(matches!(ask(&chain, &mut admission), Err(Stop::Wait(_))));
        assert!(matches!(ask(&chain, &mut admission), Err(Stop::Deny(_))));
        assert_eq!(last.asked(), 2);
    }

    #[test]
    fn one_admission_serves_several_chains() {
        let [a, b] = [(); 2].map(|()| Arc::new(Counting::default()));
        let mut admission = Admission::default();
        assert!(ask(&a, &mut admission).is_ok());
        assert!(ask(&(b.clone(), a.clone()), &mut admission).is_ok());
        assert_eq!((a.asked(), b.asked()), (2, 1));
    }
}
