//! Policies: rules over a [`Head`], and their composition.
//!
//! A policy is synchronous, does no I/O, reads no clock and allocates nothing when it admits a request. Policies
//! compose without further types: a tuple runs its parts in order, `Option` can disable one, `Arc` shares one, and
//! `Box<dyn Policy>` and `Vec` build a chain at run time.

mod accept;
mod api_key;
mod api_throttle;
mod body_buffering;
mod body_limit;
mod caller_kinds;
mod content_type;
mod grant;
mod head_limit;
mod ip_acl;
mod lock;
mod lockout;
mod order;
mod rate_limit;
mod scope;
mod signature;
mod strict_http;

pub use accept::Accept;
pub use api_key::{ApiKey, KeySource};
pub use api_throttle::ApiThrottle;
pub use body_buffering::{BodyBuffering, BufferedBody};
pub use body_limit::BodyLimit;
pub use content_type::ContentType;
pub use grant::RequireGrant;
pub use head_limit::HeadLimit;
pub use ip_acl::IpAcl;
pub use lock::RequireUnlocked;
pub use lockout::Lockout;
pub use order::{ChainOrder, Misplaced};
pub use rate_limit::{RateLimit, RateLimitFields};
pub use scope::RequireScope;
pub use signature::{Signature, SignatureOr};
pub use strict_http::StrictHttp;

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use http::HeaderValue;

use crate::{Admission, Denial, Head, admission::Identity, denial::Unauthenticated};

/// A future that resolves when the policy should be evaluated again.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The reason why a policy did not admit a request.
pub enum Stop {
    /// The request is denied.
    Deny(Denial),
    /// The decision needs an answer from elsewhere. Await the future, then evaluate again.
    Wait(Wait),
    /// The decision needs the request body. Buffer it, pass its SHA-256 to [`Admission::set_content_sha256`], and evaluate
    /// again. The request then continues with the buffered body.
    NeedsBody(BodyBuffering),
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deny(denial) => f.debug_tuple("Deny").field(denial).finish(),
            Self::Wait(_) => f.write_str("Wait(..)"),
            Self::NeedsBody(intake) => f.debug_tuple("Content").field(intake).finish(),
        }
    }
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Deny(denial)
    }
}

/// A rule that admits or denies a request by its head.
///
/// ```
/// use portcullis::{Admission, Denial, Head, Policy, Stop};
///
/// /// Denies all requests on Sundays.
/// struct NotOnSundays;
///
/// impl Policy for NotOnSundays {
///     fn admit(&self, head: Head<'_>, _: &mut Admission) -> Result<(), Stop> {
///         let day = head.now.time.to_zoned(jiff::tz::TimeZone::UTC).weekday();
///         if day == jiff::civil::Weekday::Sunday {
///             return Err(Denial::unavailable("closed on Sundays", 3600).into());
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Policy: Send + Sync {
    /// Decides about a request. The policy stores what it learned, and the permits that it took, in the admission.
    ///
    /// Faces call [`Admission::evaluate`], which calls this method.
    ///
    /// # Errors
    /// [`Stop`] with the [`Denial`] of the request, or with what to wait for. Later policies do not run.
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop>;

    /// Returns the number of single policies in this one. A chain that waited resumes at the policy that waited.
    /// Only compositions return a number other than 1; the number never changes.
    fn steps(&self) -> u32 {
        1
    }

    /// Reports the policy's relation to the caller, so that a face can reject a chain in an impossible order when
    /// it is built. A policy that neither identifies a caller nor needs one reports nothing. A composition calls
    /// this method on its parts, in order.
    fn check_order(&self, _: &mut ChainOrder) {}
}

/// Returns the caller that a policy decides about. A layer checks when it is built that an earlier policy
/// identifies the caller. An inner layer may have no such layer around it: then the request has no proven caller,
/// and is denied like one without a credential.
fn recognised(admission: &Admission) -> Result<&Identity, Denial> {
    admission.identity().ok_or_else(|| Denial::Unauthenticated {
        cause: Unauthenticated::Missing,
        challenge: HeaderValue::from_static("ApiKey realm=\"portcullis\""),
    })
}

impl Policy for () {
    fn admit(&self, _: Head<'_>, _: &mut Admission) -> Result<(), Stop> {
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
            fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
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
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
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
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
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
            fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
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
    use crate::testing;

    /// Admits and counts its evaluations. It waits at evaluation `waits_at`.
    #[derive(Default)]
    struct Counting {
        asked: AtomicU32,
        waits_at: Option<u32>,
        denies: bool,
    }

    impl Policy for Counting {
        fn admit(&self, _: Head<'_>, _: &mut Admission) -> Result<(), Stop> {
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
        let request = testing::get("/");
        admission.evaluate(policy, testing::head(&request))
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
            fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
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
