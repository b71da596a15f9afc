//! Throttles by the routes that they apply to, and quotas by the apps that have them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use papaya::HashMap as Shared;

use crate::{
    limit::{QuotaCounter, ThrottleCounter, ThrottleCounts},
    model::{CallerId, Quota, QuotaId, RouteName, TenantId, Throttle, ThrottleId},
};

/// The counters that decisions use.
#[derive(Debug, Default)]
pub(super) struct Throttles {
    routes: Shared<TenantId, Arc<ByRoute>>,
    allowances: Shared<CallerId, Arc<QuotaCounter>>,
}

type ByRoute = HashMap<RouteName, Arc<ThrottleCounter>>;

/// The additional state that only writers need.
#[derive(Debug, Default)]
pub(super) struct ThrottleIndex {
    throttles: BTreeMap<ThrottleId, Arc<Throttle>>,
    quotas: HashMap<QuotaId, Arc<Quota>>,
    apps: HashMap<QuotaId, HashSet<CallerId>>,
}

impl Throttles {
    pub(super) fn for_route(&self, tenant: &TenantId, route: &RouteName) -> Option<Arc<ThrottleCounter>> {
        self.routes.pin().get(tenant)?.get(route).cloned()
    }

    pub(super) fn for_caller(&self, caller: &CallerId) -> Option<Arc<QuotaCounter>> {
        self.allowances.pin().get(caller).cloned()
    }

    pub(super) fn put_throttle(&self, rules: &mut ThrottleIndex, throttle: Throttle) {
        let tenant = throttle.tenant.clone();
        rules.throttles.insert(throttle.id.clone(), throttle.into());
        self.show(rules, &tenant);
    }

    pub(super) fn remove_throttle(&self, rules: &mut ThrottleIndex, throttle: &Throttle) {
        rules.throttles.remove(&throttle.id);
        self.show(rules, &throttle.tenant);
    }

    /// Publishes the present throttles of a tenant. The counts of a throttle are preserved wherever it still
    /// applies.
    fn show(&self, rules: &ThrottleIndex, tenant: &TenantId) {
        let routes = self.routes.pin();
        let before = routes.get(tenant);
        let was = |throttle: &Throttle, route: Option<&RouteName>| -> Option<Arc<ThrottleCounts>> {
            let counting = |known: &&Arc<ThrottleCounter>| {
                let known = known.throttle();
                known.id == throttle.id && known.shared == throttle.shared
            };
            let found = match route {
                Some(route) => before?.get(route).filter(counting),
                None => before?.values().find(counting),
            };
            found.map(|known| known.counts().clone())
        };
        let mut after = ByRoute::new();
        for throttle in rules.throttles.values().filter(|throttle| throttle.tenant == *tenant) {
            let all: Option<Arc<ThrottleCounts>> =
                throttle.shared.then(|| was(throttle, None).unwrap_or_default());
            for binding in &throttle.bindings {
                let own = || was(throttle, Some(&binding.route)).unwrap_or_default();
                let counts = all.clone().unwrap_or_else(own);
                after.insert(binding.route.clone(), ThrottleCounter::new(throttle.clone(), counts).into());
            }
        }
        if after.is_empty() {
            routes.remove(tenant);
        } else {
            routes.insert(tenant.clone(), after.into());
        }
    }

    pub(super) fn put_quota(&self, rules: &mut ThrottleIndex, quota: Quota) {
        let quota = Arc::new(quota);
        rules.quotas.insert(quota.id.clone(), quota.clone());
        let allowances = self.allowances.pin();
        for app in rules.apps.get(&quota.id).into_iter().flatten() {
            let before = allowances.get(app).cloned();
            let after =
                before.map_or_else(|| QuotaCounter::new(quota.clone()), |it| it.with_quota(quota.clone()));
            allowances.insert(app.clone(), after.into());
        }
    }

    /// Removes a quota from all apps that have it.
    pub(super) fn remove_quota(&self, rules: &mut ThrottleIndex, quota: &Quota) {
        rules.quotas.remove(&quota.id);
        let allowances = self.allowances.pin();
        for app in rules.apps.remove(&quota.id).into_iter().flatten() {
            allowances.remove(&app);
        }
    }

    /// Removes all quotas and throttles but these.
    pub(super) fn retain(
        &self,
        rules: &mut ThrottleIndex,
        quotas: &HashSet<QuotaId>,
        throttles: &HashSet<String>,
    ) {
        let gone: Vec<_> = rules.quotas.values().filter(|it| !quotas.contains(&it.id)).cloned().collect();
        for quota in &gone {
            self.remove_quota(rules, quota);
        }
        let gone = rules.throttles.values().filter(|it| !throttles.contains(it.id.as_str()));
        let gone: Vec<_> = gone.cloned().collect();
        for throttle in &gone {
            self.remove_throttle(rules, throttle);
        }
    }

    /// Binds a caller to its quota, or to none. If it already has this quota, the used calls are preserved. Returns
    /// `false` if the quota does not exist.
    pub(super) fn bind(&self, rules: &mut ThrottleIndex, caller: &CallerId, quota: Option<&QuotaId>) -> bool {
        let allowances = self.allowances.pin();
        let before = allowances.get(caller).map(|allowance| allowance.quota().id.clone());
        if before.as_ref() == quota {
            return true;
        }
        if let Some(apps) = before.and_then(|before| rules.apps.get_mut(&before)) {
            apps.remove(caller);
        }
        let Some(id) = quota else {
            allowances.remove(caller);
            return true;
        };
        let Some(quota) = rules.quotas.get(id).cloned() else { return false };
        rules.apps.entry(id.clone()).or_default().insert(caller.clone());
        allowances.insert(caller.clone(), QuotaCounter::new(quota).into());
        true
    }
}
