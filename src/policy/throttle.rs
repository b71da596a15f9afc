//! How often may the tenant's callers call this API, and this app any (429)?

use std::sync::Arc;

use super::{Policy, Stop};
use crate::{Admission, Denial, Head, admission::Permit, app::RouteName, directory::Directory};

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
pub struct Throttle {
    directory: Arc<Directory>,
    route: RouteName,
}

impl Throttle {
    /// Asks this directory for the throttles of the route of this name, and for quotas.
    #[must_use]
    pub fn new(directory: Arc<Directory>, route: RouteName) -> Self {
        Self { directory, route }
    }
}

impl Policy for Throttle {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let Some(identity) = admission.identity() else {
            return Err(
                Denial::internal("a throttle stands before any policy that recognises a caller").into()
            );
        };
        let (key, now) = (identity.key.clone(), head.now.time.as_second());
        let (caller, tenant) = (key.caller(), key.caller().tenant());
        if let Some(throttling) = self.directory.throttling(&tenant.id, &self.route) {
            let project = tenant.gateway.as_ref().map(|gateway| &*gateway.project_id);
            let call = throttling.count(&caller.id, project, head.peer, now).map_err(Denial::Exhausted)?;
            admission.permits.take(Permit::Call(call));
        }
        if let Some(allowance) = self.directory.allowance(&caller.id) {
            // What the throttle counted is given back with all that was taken.
            let spending = allowance.spend(now).map_err(Denial::Exhausted)?;
            admission.permits.take(Permit::Quota(spending));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
