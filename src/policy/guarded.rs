//! The checks that a face applies before its policies.

use std::sync::Arc;

use super::{ChainOrder, Policy, Stop, StrictHttp};
use crate::{Admission, Head};

/// Returns `true` if the policies of a face do not apply to a request.
pub(crate) type Exemption = Arc<dyn Fn(&Head<'_>) -> bool + Send + Sync>;

/// The policies of a face, behind the checks that a face applies to every request by default.
#[derive(Clone)]
pub(crate) struct Guarded<P> {
    pub(crate) strict: Option<StrictHttp>,
    pub(crate) exemptions: Vec<Exemption>,
    pub(crate) policy: P,
}

impl<P: Policy> Guarded<P> {
    /// Puts the default checks in front of a policy. A policy with [checks of its own](StrictHttp) replaces them.
    pub(crate) fn new(policy: P) -> Self {
        let strict = (!ChainOrder::checks_http(&policy)).then(|| StrictHttp::new().allow_missing_host());
        Self { strict, exemptions: Vec::new(), policy }
    }

    /// Admits the extended CONNECT of HTTP/2 in the default checks, for a face whose service answers it.
    #[cfg(feature = "tower")]
    pub(crate) fn allow_extended_connect(mut self) -> Self {
        self.strict = self.strict.map(StrictHttp::allow_extended_connect);
        self
    }
}

impl<P: Policy> Policy for Guarded<P> {
    #[inline]
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        if let Some(strict) = self.strict {
            admission.run_step(&UnlessChecked(strict), head)?;
        }
        if self.exemptions.iter().any(|is_exempt| is_exempt(head)) {
            return Ok(());
        }
        admission.run_step(&self.policy, head)
    }

    fn steps(&self) -> u32 {
        u32::from(self.strict.is_some()) + self.policy.steps()
    }

    fn check_order(&self, order: &mut ChainOrder) {
        self.policy.check_order(order);
    }
}

/// Checks for ambiguous HTTP, unless an outer layer has checked the request.
struct UnlessChecked(StrictHttp);

impl Policy for UnlessChecked {
    #[inline]
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        if admission.is_strict { Ok(()) } else { self.0.admit(head, admission) }
    }
}
