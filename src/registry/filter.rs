//! Filters of listings. A listing is a page of entities, ordered by id unless stated otherwise.

use std::cmp::Reverse;

use jiff::Timestamp;

use crate::model::{
    Caller, CallerId, Change, Creator, CredentialId, Entity, EntityKind, EnvironmentId, Grant, PlanId,
    QuotaId, RouteName, Seq, Status, SubscriptionStatus, TenantId,
};

/// A filter for a page of tenants.
#[derive(Debug, Clone, Default)]
pub struct TenantFilter {
    /// Only tenants with exactly this name.
    pub name: Option<String>,
    /// Only tenants with this subscription status.
    pub standing: Option<SubscriptionStatus>,
    /// Only tenants after this id.
    pub after: Option<TenantId>,
    /// The maximum number of tenants.
    pub limit: u32,
}

/// The order in which callers are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Ascending by id.
    #[default]
    Id,
    /// The newest first. Callers of the same time are ordered by descending id.
    Newest,
}

/// A filter for a page of callers. Counts ignore `offset` and `limit`.
#[derive(Debug, Clone, Default)]
pub struct CallerFilter {
    /// Only callers of this tenant.
    pub tenant: Option<TenantId>,
    /// Only callers of this kind, by its [name](crate::model::Caller::kind_name).
    pub kind: Option<&'static str>,
    /// Only callers with exactly this name.
    pub name: Option<String>,
    /// Only callers whose name contains this text; the case of ASCII letters is ignored.
    pub contains: Option<String>,
    /// Only callers in this state.
    pub status: Option<Status>,
    /// Only callers with this plan.
    pub plan: Option<PlanId>,
    /// Only the app with this AppKey.
    pub app_key: Option<String>,
    /// Only apps with this creator.
    pub creator: Option<Creator>,
    /// Only callers with grants (`true`), or only callers without (`false`).
    pub granted: Option<bool>,
    /// Only apps with this quota; `Some(None)` selects apps without one.
    pub quota: Option<Option<QuotaId>>,
    /// Only the callers with these ids.
    pub among: Option<Vec<CallerId>>,
    /// Only callers after this id.
    pub after: Option<CallerId>,
    /// The order of the callers.
    pub order: Order,
    /// The number of callers to skip.
    pub offset: u64,
    /// The maximum number of callers.
    pub limit: u32,
}

impl CallerFilter {
    /// Returns `true` if a caller matches the filter, on any page. The record of a caller does not contain its grants,
    /// so `granted` is not checked.
    #[must_use]
    pub fn matches(&self, caller: &Caller) -> bool {
        let app = caller.app();
        self.tenant.as_ref().is_none_or(|tenant| caller.tenant == *tenant)
            && self.kind.is_none_or(|kind| caller.kind_name() == kind)
            && self.name.as_ref().is_none_or(|name| caller.name == *name)
            && self.contains.as_ref().is_none_or(|text| holds(&caller.name, text))
            && self.status.is_none_or(|status| caller.status == status)
            && self.plan.as_ref().is_none_or(|plan| caller.plan.as_ref() == Some(plan))
            && self.app_key.as_ref().is_none_or(|key| app.is_some_and(|app| app.key == *key))
            && self.creator.is_none_or(|creator| app.is_some_and(|app| app.creator == creator))
            && self.quota.as_ref().is_none_or(|quota| {
                app.and_then(|app| app.quota.as_ref()).map(|bound| &bound.id) == quota.as_ref()
            })
            && self.among.as_ref().is_none_or(|ids| ids.contains(&caller.id))
            && self.after.as_ref().is_none_or(|after| caller.id > *after)
    }
}

/// A filter for a page of credentials.
#[derive(Debug, Clone, Default)]
pub struct CredentialFilter {
    /// Only credentials of this tenant.
    pub tenant: Option<TenantId>,
    /// Only credentials of this caller.
    pub caller: Option<CallerId>,
    /// Only credentials after this id.
    pub after: Option<CredentialId>,
    /// The maximum number of credentials.
    pub limit: u32,
}

/// A filter for a page of grants. Counts ignore `offset` and `limit`.
#[derive(Debug, Clone, Default)]
pub struct GrantFilter {
    /// Only grants of this tenant.
    pub tenant: Option<TenantId>,
    /// Only grants of these callers.
    pub callers: Option<Vec<CallerId>>,
    /// Only grants of callers whose name contains this text; the case of ASCII letters is ignored.
    pub caller_contains: Option<String>,
    /// Only grants for this route.
    pub route: Option<RouteName>,
    /// Only grants for routes whose name contains this text; the case of ASCII letters is ignored.
    pub route_contains: Option<String>,
    /// Only grants for this environment.
    pub environment: Option<EnvironmentId>,
    /// The number of grants to skip.
    pub offset: u64,
    /// The maximum number of grants.
    pub limit: u32,
}

impl GrantFilter {
    /// Returns `true` if a route matches the filter.
    #[must_use]
    pub fn matches_route(&self, route: &RouteName) -> bool {
        self.route.as_ref().is_none_or(|asked| route == asked)
            && self.route_contains.as_ref().is_none_or(|text| holds(route.as_str(), text))
    }

    /// Returns `true` if a grant, whose caller has this name, matches the filter, on any page.
    #[must_use]
    pub fn matches(&self, grant: &Grant, caller: &str) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| grant.tenant == *tenant)
            && self.callers.as_ref().is_none_or(|ids| ids.contains(&grant.caller))
            && self.caller_contains.as_ref().is_none_or(|text| holds(caller, text))
            && self.matches_route(&grant.route)
            && self.environment.as_ref().is_none_or(|environment| grant.environment == *environment)
    }
}

/// Sorts the newest first. Items of the same time are ordered by descending id.
pub(super) fn newest_first<T, I: Ord>(mut all: Vec<T>, made: impl Fn(&T) -> (Timestamp, I)) -> Vec<T> {
    all.sort_by_cached_key(|it| Reverse(made(it)));
    all
}

/// Returns `true` if a name contains a text; the case of ASCII letters is ignored.
fn holds(name: &str, text: &str) -> bool {
    name.to_ascii_lowercase().contains(&text.to_ascii_lowercase())
}

/// The maximum number of changes that are examined for one page, unless the page is of one entity. Without it, a search
/// for an actor without changes would read the whole log.
pub(super) const LOOKED_THROUGH: u64 = 100_000;

/// A filter for a page of the change log, in its order.
#[derive(Debug, Clone, Default)]
pub struct ChangeFilter {
    /// Only changes of entities of this kind.
    pub kind: Option<EntityKind>,
    /// Only changes of entities with this id.
    pub id: Option<String>,
    /// Only changes by this [actor](crate::model::Actor::name).
    pub actor: Option<String>,
    /// Only changes after this number.
    pub after: Seq,
    /// The maximum number of changes.
    pub limit: u32,
}

impl ChangeFilter {
    /// Returns the last change to examine, given the number of the last change of the log.
    pub(super) fn until(&self, last: Seq) -> Seq {
        if self.id.is_some() { last } else { last.min(self.after.saturating_add(LOOKED_THROUGH)) }
    }

    /// Returns the change after which the next page begins, given the changes that were found and the last change of
    /// the log.
    pub(super) fn next(&self, found: &[ChangeWithPrevious], last: Seq) -> Option<Seq> {
        let end = match found.last() {
            Some(past) if found.len() >= self.limit as usize => past.change.seq,
            _ => self.until(last),
        };
        (end < last && self.limit > 0).then_some(end)
    }
}

/// A change with the previous state of its entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeWithPrevious {
    /// The change.
    pub change: Change,
    /// The entity before the change, if it existed.
    pub before: Option<Entity>,
    /// The hash of the change in the hash chain, if the registry has one.
    pub hash: Option<[u8; 32]>,
}

/// A page of the change log with the position of the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The changes that were found. There may be fewer than the limit even when more follow.
    pub changes: Vec<ChangeWithPrevious>,
    /// The change after which to continue; `None` at the end of the log.
    pub next: Option<Seq>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_scans_a_limited_number_of_changes() {
        let all = ChangeFilter { after: 7, limit: 10, ..ChangeFilter::default() };
        assert_eq!((all.until(100), all.next(&[], 100)), (100, None));
        let last = 2 * LOOKED_THROUGH;
        assert_eq!((all.until(last), all.next(&[], last)), (LOOKED_THROUGH + 7, Some(LOOKED_THROUGH + 7)));
        let of_one = ChangeFilter { id: Some("t".into()), ..all };
        assert_eq!((of_one.until(last), of_one.next(&[], last)), (last, None));
        let beyond = ChangeFilter { after: u64::MAX, limit: 1, ..ChangeFilter::default() };
        assert_eq!((beyond.until(last), beyond.next(&[], last)), (last, None));
    }
}
