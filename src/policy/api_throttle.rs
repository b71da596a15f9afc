//! How often may the tenant's callers call this API, and this app any (429)?

use std::sync::Arc;

use super::{ChainOrder, Policy, Stop, recognised};
use crate::{
    Admission, Denial, Head, admission::Permit, model::RouteName, denial::Forbidden, directory::Directory,
};

/// Holds callers to the [throttle](crate::app::Throttle) that their tenant has bound to a route, and to their own
/// [quota](crate::app::Quota).
///
/// A request counts against all of their limits, or against none: a refusal costs nothing. It stands behind what
/// recognises the caller.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{app::{Pepper, Peppers}, directory::Directory, policy::{ApiKey, Throttle}};
///
/// let directory = Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32]))));
/// let orders = Throttle::new(directory.clone(), "orders".parse().unwrap());
/// let guard = (ApiKey::new(directory), orders);
/// ```
#[derive(Debug, Clone)]
pub struct ApiThrottle {
    directory: Arc<Directory>,
    route: RouteName,
}

impl ApiThrottle {
    /// Asks this directory for the throttles of the route of this name, and for quotas.
    #[must_use]
    pub fn new(directory: Arc<Directory>, route: RouteName) -> Self {
        Self { directory, route }
    }
}

impl Policy for ApiThrottle {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let identity = recognised(admission)?;
        let (key, now) = (identity.key.clone(), head.now.time.as_second());
        let (caller, tenant) = (key.caller(), key.caller().tenant());
        if let Some(throttling) = self.directory.throttle(&tenant.id, &self.route) {
            let project = tenant.gateway.as_ref().map(|gateway| &*gateway.project_id);
            let counted = throttling.count(&caller.id, project, head.peer, now);
            let call = counted.map_err(|mut exhausted| {
                // Whoever waits for the one must not find the other used up.
                let quota = self.directory.quota(&caller.id).and_then(|it| it.exhausted(now));
                let longest = quota.map_or(0, |quota| quota.retry_after);
                exhausted.retry_after = exhausted.retry_after.max(longest);
                Denial::Exhausted(exhausted)
            })?;
            admission.permits.push(Permit::Call(call));
        }
        let allowance = self.directory.quota(&caller.id);
        if allowance.is_none() && caller.is_removed() {
            // Its quota went with it.
            return Err(Denial::Forbidden(Forbidden::CallerDisabled).into());
        }
        if let Some(allowance) = allowance {
            // What the throttle counted is given back with all that was taken.
            let spending = allowance.check(now).map_err(Denial::Exhausted)?;
            admission.permits.push(Permit::Quota(spending));
        }
        Ok(())
    }

    fn check_order(&self, order: &mut ChainOrder) {
        order.needs_caller("Throttle");
    }
}

#[cfg(test)]
mod tests;
