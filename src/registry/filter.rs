//! What a listing asks for: a page of entities, in the order of their ids unless it says otherwise.

use std::cmp::Reverse;

use jiff::Timestamp;

use crate::model::{
    Caller, CallerId, Change, Creator, CredentialId, Entity, EnvironmentId, Grant, EntityKind, PlanId, QuotaId,
    RouteName, Seq, SubscriptionStatus, Status, TenantId,
};

/// A page of tenants.
#[derive(Debug, Clone, Default)]
pub struct TenantFilter {
    /// Only those with exactly this name.
    pub name: Option<String>,
    /// Only those of this standing.
    pub standing: Option<SubscriptionStatus>,
    /// Only those behind this one.
    pub after: Option<TenantId>,
    /// At most so many.
    pub limit: u32,
}

/// In which order callers are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// By id.
    #[default]
    Id,
    /// Those made last first; of those made at once, the greater id.
    Newest,
}

/// A page of callers, or, without regard to `offset` and `limit`, all that are counted.
#[derive(Debug, Clone, Default)]
pub struct CallerFilter {
    /// Only those of this tenant.
    pub tenant: Option<TenantId>,
    /// Only those of this kind, by its [name](crate::app::Caller::kind_name).
    pub kind: Option<&'static str>,
    /// Only those with exactly this name.
    pub name: Option<String>,
    /// Only those whose name holds this text; ASCII letters count without their case.
    pub contains: Option<String>,
    /// Only those in this state.
    pub status: Option<Status>,
    /// Only those on this plan.
    pub plan: Option<PlanId>,
    /// Only the app with this AppKey.
    pub app_key: Option<String>,
    /// Only apps made by such.
    pub creator: Option<Creator>,
    /// Only those with grants, or only those without.
    pub granted: Option<bool>,
    /// Only apps with this quota; `Some(None)` is those without any.
    pub quota: Option<Option<QuotaId>>,
    /// Only these.
    pub among: Option<Vec<CallerId>>,
    /// Only those whose id is behind this one.
    pub after: Option<CallerId>,
    /// In which order.
    pub order: Order,
    /// Without the first so many.
    pub offset: u64,
    /// At most so many.
    pub limit: u32,
}

impl CallerFilter {
    /// Whether a caller is one of those that are asked for, on whatever page; of its grants, the caller's
    /// record tells nothing.
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

/// A page of credentials.
#[derive(Debug, Clone, Default)]
pub struct CredentialFilter {
    /// Only those of this tenant.
    pub tenant: Option<TenantId>,
    /// Only those of this caller.
    pub caller: Option<CallerId>,
    /// Only those behind this one.
    pub after: Option<CredentialId>,
    /// At most so many.
    pub limit: u32,
}

/// A page of grants, or, without regard to `offset` and `limit`, all that are counted.
#[derive(Debug, Clone, Default)]
pub struct GrantFilter {
    /// Only those of this tenant.
    pub tenant: Option<TenantId>,
    /// Only those of these callers.
    pub callers: Option<Vec<CallerId>>,
    /// Only those of callers whose name holds this text; ASCII letters count without their case.
    pub caller_contains: Option<String>,
    /// Only those for this route.
    pub route: Option<RouteName>,
    /// Only those for routes whose name holds this text, likewise.
    pub route_contains: Option<String>,
    /// Only those for this environment.
    pub environment: Option<EnvironmentId>,
    /// Without the first so many.
    pub offset: u64,
    /// At most so many.
    pub limit: u32,
}

impl GrantFilter {
    /// Whether a route is one that grants are asked for of.
    #[must_use]
    pub fn matches_route(&self, route: &RouteName) -> bool {
        self.route.as_ref().is_none_or(|asked| route == asked)
            && self.route_contains.as_ref().is_none_or(|text| holds(route.as_str(), text))
    }

    /// Whether a grant is one of those that are asked for, on whatever page; its caller has this name.
    #[must_use]
    pub fn matches(&self, grant: &Grant, caller: &str) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| grant.tenant == *tenant)
            && self.callers.as_ref().is_none_or(|ids| ids.contains(&grant.caller))
            && self.caller_contains.as_ref().is_none_or(|text| holds(caller, text))
            && self.matches_route(&grant.route)
            && self.environment.as_ref().is_none_or(|environment| grant.environment == *environment)
    }
}

/// Those made last first; of those made at once, the greater id.
pub(super) fn newest_first<T, I: Ord>(mut all: Vec<T>, made: impl Fn(&T) -> (Timestamp, I)) -> Vec<T> {
    all.sort_by_cached_key(|it| Reverse(made(it)));
    all
}

/// Whether a name holds a text; ASCII letters count without their case.
fn holds(name: &str, text: &str) -> bool {
    name.to_ascii_lowercase().contains(&text.to_ascii_lowercase())
}

/// How many changes are looked through for one page, unless it is asked for those of one entity: somebody who
/// changed nothing would otherwise be looked for in all of the log.
pub(super) const LOOKED_THROUGH: u64 = 100_000;

/// A page of the change log, in its order.
#[derive(Debug, Clone, Default)]
pub struct ChangeFilter {
    /// Only those of entities of this kind.
    pub kind: Option<EntityKind>,
    /// Only those of entities with this id.
    pub id: Option<String>,
    /// Only those made by [who](crate::app::Actor::who) this is.
    pub actor: Option<String>,
    /// Only those after this one.
    pub after: Seq,
    /// At most so many.
    pub limit: u32,
}

impl ChangeFilter {
    /// The last change to look at, of so many.
    pub(super) fn until(&self, last: Seq) -> Seq {
        if self.id.is_some() { last } else { last.min(self.after.saturating_add(LOOKED_THROUGH)) }
    }

    /// Where to go on, when so many were found, up to a number.
    pub(super) fn next(&self, found: &[ChangeWithPrevious], last: Seq) -> Option<Seq> {
        let end = match found.last() {
            Some(past) if found.len() >= self.limit as usize => past.change.seq,
            _ => self.until(last),
        };
        (end < last && self.limit > 0).then_some(end)
    }
}

/// A change, and what there was before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeWithPrevious {
    /// The change.
    pub change: Change,
    /// The entity as it was before, when it was there.
    pub before: Option<Entity>,
    /// What chains it to the changes before, when the registry chains them.
    pub hash: Option<[u8; 32]>,
}

/// A page of the change log, and where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// What was found: not always as many as were asked for, even when there are more.
    pub changes: Vec<ChangeWithPrevious>,
    /// After which change to go on; `None` at the end of the log.
    pub next: Option<Seq>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_looks_through_so_many_changes_and_no_more() {
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
