//! Pages of entities.

use std::{sync::Arc, time::Duration};

use portcullis::{
    clock::ManualClock,
    model::{CallerEdit, Creator, Status, SubscriptionStatus},
    registry::{CallerFilter, CredentialFilter, NewCaller, Order, Registry, RegistryExt, TenantFilter},
};

use super::{Promise, promises};
use crate::fixtures::{actor, app, client, key, lock_on, plan, tenant};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] = promises![
    pages_follow_each_other_without_gap_or_overlap,
    listing_matches_its_filter,
    callers_are_listed_newest_first_and_counted,
];

/// Creates two tenants. The first has many callers, two of them apps, each with a key.
async fn fill(registry: &dyn Registry) {
    for id in ["t", "u"] {
        registry.create_tenant(tenant(id), &actor()).await.unwrap();
        registry.put_plan(plan(id, 1), &actor()).await.unwrap();
    }
    let mut callers: Vec<_> = (0..7).map(|at| client("t", &format!("client {at}"))).collect();
    callers.extend([app("t", "client 0", "one"), app("t", "app", "two"), client("u", "client 0")]);
    for (at, caller) in callers.into_iter().enumerate() {
        let caller = registry.create_caller(caller, &actor()).await.unwrap();
        registry.create_credential(key(&caller, &format!("key {at}")), &actor()).await.unwrap();
        registry.acquire_lock(lock_on(&caller, Duration::from_secs(1)), &actor()).await.unwrap();
    }
}

async fn pages_follow_each_other_without_gap_or_overlap(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    fill(&*registry).await;
    /// Reads all pages of the given size and checks their order.
    macro_rules! pages {
        ($id:ident, |$after:ident, $limit:ident| $page:expr) => {{
            let mut lists = Vec::new();
            for $limit in [1, 3, 100] {
                let (mut list, mut $after) = (Vec::new(), None);
                loop {
                    let page = $page.await.unwrap();
                    assert!(page.len() <= $limit as usize);
                    let Some(last) = page.last() else { break };
                    $after = Some(last.$id.clone());
                    list.extend(page);
                }
                assert!(list.is_sorted_by(|a, b| a.$id < b.$id));
                lists.push(list);
            }
            assert_eq!(lists[0], lists[2]);
            assert_eq!(lists[1], lists[2]);
            lists.pop().unwrap().len()
        }};
    }
    let tenants = pages!(id, |after, limit| {
        let filter = TenantFilter { after: after.clone(), limit, ..TenantFilter::default() };
        let registry = registry.clone();
        async move { registry.tenants(&filter).await }
    });
    assert_eq!(tenants, 2);
    assert_eq!(pages!(id, |after, limit| registry.locks(after.as_ref(), limit)), 10);
    let callers = pages!(id, |after, limit| {
        let filter = CallerFilter { after: after.clone(), limit, ..CallerFilter::default() };
        let registry = registry.clone();
        async move { registry.callers(&filter).await }
    });
    assert_eq!(callers, 10);
    let credentials = pages!(id, |after, limit| {
        let filter = CredentialFilter { after: after.clone(), limit, ..CredentialFilter::default() };
        let registry = registry.clone();
        async move { registry.credentials(&filter).await }
    });
    assert_eq!(credentials, 10);
    assert_eq!(registry.plans(None, 1).await.unwrap(), [plan("t", 1)]);
    assert_eq!(registry.plans(Some(&"t".parse().unwrap()), 9).await.unwrap(), [plan("u", 1)]);
    assert_eq!(registry.plans(None, 0).await.unwrap(), []);
}

async fn listing_matches_its_filter(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    fill(&*registry).await;
    let all = CallerFilter { limit: 100, ..CallerFilter::default() };
    let (t, named) = (Some("t".parse().unwrap()), Some("client 0".to_owned()));
    for (filter, count) in [
        (CallerFilter { tenant: t.clone(), ..all.clone() }, 9),
        (CallerFilter { kind: Some("app"), ..all.clone() }, 2),
        (CallerFilter { kind: Some("operator"), ..all.clone() }, 0),
        (CallerFilter { name: named.clone(), ..all.clone() }, 3),
        (CallerFilter { tenant: t.clone(), kind: Some("api_client"), name: named.clone(), ..all.clone() }, 1),
        (CallerFilter { name: Some("client".into()), ..all.clone() }, 0),
        (CallerFilter { status: Some(Status::Disabled), ..all.clone() }, 0),
        (CallerFilter { status: Some(Status::Enabled), ..all.clone() }, 10),
    ] {
        assert_eq!(registry.callers(&filter).await.unwrap().len(), count, "{filter:?}");
    }
    let theirs = CallerFilter { tenant: Some("u".parse().unwrap()), ..all.clone() };
    let caller = registry.callers(&theirs).await.unwrap().pop().unwrap();
    clock.advance(Duration::from_secs(1));
    let edit = CallerEdit { status: Some(Status::Disabled), ..CallerEdit::default() };
    let caller = registry.update_caller(&caller.tenant, &caller.id, None, edit, &actor()).await.unwrap();
    let disabled = CallerFilter { status: Some(Status::Disabled), ..all };
    assert_eq!(registry.callers(&disabled).await.unwrap(), std::slice::from_ref(&caller));

    let on_plan = NewCaller { plan: Some("u".parse().unwrap()), ..client("u", "on a plan") };
    let on_plan = registry.create_caller(on_plan, &actor()).await.unwrap();
    let of_plan =
        |plan: &str| CallerFilter { plan: Some(plan.parse().unwrap()), limit: 9, ..CallerFilter::default() };
    assert_eq!(registry.callers(&of_plan("u")).await.unwrap(), [on_plan]);
    assert_eq!(registry.callers(&of_plan("t")).await.unwrap(), []);

    registry.set_standing(&"u".parse().unwrap(), SubscriptionStatus::Lapsed, &actor()).await.unwrap();
    let (lapsed, active) = (Some(SubscriptionStatus::Lapsed), Some(SubscriptionStatus::Active));
    for (name, standing, found) in [
        (None, None, &["t", "u"][..]),
        (Some("the tenant t"), None, &["t"]),
        (Some("the tenant"), None, &[]),
        (None, lapsed, &["u"]),
        (None, active, &["t"]),
        (Some("the tenant t"), lapsed, &[]),
    ] {
        let filter = TenantFilter { name: name.map(str::to_owned), standing, after: None, limit: 9 };
        let tenants = registry.tenants(&filter).await.unwrap();
        assert!(tenants.iter().map(|tenant| tenant.id.as_str()).eq(found.iter().copied()), "{filter:?}");
    }

    let all = CredentialFilter { limit: 100, ..CredentialFilter::default() };
    let of_caller = CredentialFilter { caller: Some(caller.id.clone()), ..all.clone() };
    let of_tenant = CredentialFilter { tenant: Some(caller.tenant.clone()), ..all.clone() };
    let elsewhere = CredentialFilter { tenant: t.clone(), ..of_caller.clone() };
    let found = registry.credentials(&of_caller).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].caller, caller.id);
    assert_eq!(registry.credentials(&of_tenant).await.unwrap(), found);
    assert_eq!(registry.credentials(&elsewhere).await.unwrap(), []);
    assert_eq!(registry.credentials(&CredentialFilter { tenant: t, ..all }).await.unwrap().len(), 9);
}

async fn callers_are_listed_newest_first_and_counted(registry: Arc<dyn Registry>, clock: Arc<ManualClock>) {
    registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    let mut made = Vec::new();
    // Times whose fractions have different numbers of digits, and two equal times.
    for (at, nanos) in [1_000_000_000, 1, 10, 500_000_000, 0, 499_999_989].into_iter().enumerate() {
        clock.advance(Duration::from_nanos(nanos));
        let app = app("t", &format!("App_{at}"), &format!("key {at}"));
        made.push(registry.create_caller(app, &actor()).await.unwrap());
    }
    made.sort_by_key(|caller| std::cmp::Reverse((caller.created_at, caller.id.clone())));
    let ids: Vec<_> = made.iter().map(|caller| caller.id.clone()).collect();
    let newest = CallerFilter { order: Order::Newest, limit: 100, ..CallerFilter::default() };
    let listed = async |filter: &CallerFilter| -> Vec<_> {
        registry.callers(filter).await.unwrap().into_iter().map(|caller| caller.id).collect()
    };
    assert_eq!(listed(&newest).await, ids);
    for (offset, limit) in [(0, 2), (2, 2), (4, 100), (6, 1), (u64::MAX, u32::MAX), (0, 0)] {
        let page = CallerFilter { offset, limit, ..newest.clone() };
        let from = usize::try_from(offset).unwrap().min(6);
        let expected = &ids[from..6.min(from.saturating_add(limit as usize))];
        assert_eq!(listed(&page).await, expected, "{offset} {limit}");
        assert_eq!(registry.count_callers(&page).await.unwrap(), 6, "a count is of all pages");
        let by_id = CallerFilter { order: Order::Id, ..page };
        assert_eq!(listed(&by_id).await.len(), expected.len(), "{offset} {limit}");
    }

    let some = [ids[3].clone(), ids[1].clone(), "nobody".parse().unwrap()];
    for (filter, expected) in [
        (CallerFilter { contains: Some("aPP_".into()), ..newest.clone() }, 6),
        (CallerFilter { contains: Some("_3".into()), ..newest.clone() }, 1),
        (CallerFilter { contains: Some("%".into()), ..newest.clone() }, 0),
        (CallerFilter { app_key: Some("key 3".into()), ..newest.clone() }, 1),
        (CallerFilter { app_key: Some("key".into()), ..newest.clone() }, 0),
        (CallerFilter { creator: Some(Creator::Market), ..newest.clone() }, 6),
        (CallerFilter { creator: Some(Creator::User), ..newest.clone() }, 0),
        (CallerFilter { among: Some(some.to_vec()), ..newest.clone() }, 2),
        (CallerFilter { among: Some(vec![]), ..newest.clone() }, 0),
        (CallerFilter { tenant: Some("u".parse().unwrap()), ..newest.clone() }, 0),
    ] {
        assert_eq!(registry.callers(&filter).await.unwrap().len(), expected, "{filter:?}");
        assert_eq!(registry.count_callers(&filter).await.unwrap(), expected as u64, "{filter:?}");
    }
    let picked = CallerFilter { among: Some(some.to_vec()), ..newest };
    assert_eq!(listed(&picked).await, [ids[1].clone(), ids[3].clone()], "in the order of the list");
}
