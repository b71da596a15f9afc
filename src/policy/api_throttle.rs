//! The throttles of a tenant's routes and the quotas of its apps (429).

use std::sync::Arc;

use super::{ChainOrder, Policy, Stop, recognised};
use crate::{
    Admission, Denial, Head, admission::Permit, denial::Forbidden, directory::Directory, model::RouteName,
};

/// Enforces the [throttle](crate::model::Throttle) that the caller's tenant has bound to a route, and the caller's
/// [quota](crate::model::Quota).
///
/// A request counts against all these limits, or against none if it is denied. The policy follows the one that
/// identifies the caller.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{model::{Pepper, Peppers}, directory::Directory, policy::{ApiKey, ApiThrottle}};
///
/// let directory = Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32]))));
/// let orders = ApiThrottle::new(directory.clone(), "orders".parse().unwrap());
/// let guard = (ApiKey::new(directory), orders);
/// ```
#[derive(Debug, Clone)]
pub struct ApiThrottle {
    directory: Arc<Directory>,
    route: RouteName,
}

impl ApiThrottle {
    /// Creates a policy that reads the throttles of this route, and quotas, from the directory.
    #[must_use]
    pub fn new(directory: Arc<Directory>, route: RouteName) -> Self {
        Self { directory, route }
    }
}

impl Policy for ApiThrottle {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let identity = recognised(admission)?;
        let (key, now) = (identity.key.clone(), head.now.time.as_second());
        let (caller, tenant) = (key.caller(), key.caller().tenant());
        if let Some(throttling) = self.directory.throttle(&tenant.id, &self.route) {
            let project = tenant.gateway.as_ref().map(|gateway| &*gateway.project_id);
            let counted = throttling.count(&caller.id, project, head.peer, now);
            let call = counted.map_err(|mut exhausted| {
                // The time to wait must cover both limits: a client that waits for the throttle must not find the
                // quota used up.
                let quota = self.directory.quota(&caller.id).and_then(|it| it.exhausted(now));
                let longest = quota.map_or(0, |quota| quota.retry_after);
                exhausted.retry_after = exhausted.retry_after.max(longest);
                Denial::Exhausted(exhausted)
            })?;
            admission.permits.push(Permit::Call(call));
        }
        let allowance = self.directory.quota(&caller.id);
        if allowance.is_none() && caller.is_removed() {
            // The quota was removed together with the caller.
            return Err(Denial::Forbidden(Forbidden::CallerDisabled).into());
        }
        if let Some(allowance) = allowance {
            // If the quota denies the request, the throttle's count is refunded with all other permits.
            let spending = allowance.check(now).map_err(Denial::Exhausted)?;
            admission.permits.push(Permit::Quota(spending));
        }
        Ok(())
    }

    fn check_order(&self, order: &mut ChainOrder) {
        order.needs_caller("ApiThrottle");
    }
}

#[cfg(test)]
mod tests;
