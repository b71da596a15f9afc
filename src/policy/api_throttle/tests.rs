//! Tests of throttles and quotas.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use super::*;
use crate::{
    limit::LimitExceeded,
    model::{
        self, ApigInstance, Binding, BindingId, BoundQuota, CallLimits, CallerKind, ChangeKind, Creator,
        Entity, OverrideSubject, Period, Quota, QuotaId, SealKey, Sealer, Secret, SpecialId, ThrottleId,
        ThrottleOverride, TimeUnit,
    },
    policy::{ApiKey, RequireUnlocked},
    problem::{Problem, render},
    test_support::{Fixture, code, request},
};

fn some(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn minute() -> Period {
    Period { interval: some(1), unit: TimeUnit::Minute }
}

fn throttle(world: &Fixture, routes: &[&str], api: u32) -> model::Throttle {
    let binding = |route: &&str| Binding {
        id: BindingId::random(),
        route: route.parse().unwrap(),
        created_at: world.now(),
    };
    model::Throttle {
        id: "throttle".parse::<ThrottleId>().unwrap(),
        tenant: "tenant".parse().unwrap(),
        name: "throttle".into(),
        remark: String::new(),
        period: minute(),
        limits: CallLimits { api: some(api), user: None, app: None, ip: None },
        shared: false,
        specials: Vec::new(),
        bindings: routes.iter().map(binding).collect(),
        revision: 1,
        created_at: world.now(),
    }
}

fn put(world: &Fixture, throttle: &model::Throttle) {
    world.change(ChangeKind::Updated, Entity::Throttle(throttle.clone()));
}

fn quota(world: &Fixture, limit: u32, reset_at: Option<&str>) -> Quota {
    Quota {
        id: "quota".parse::<QuotaId>().unwrap(),
        tenant: "tenant".parse().unwrap(),
        name: "quota".into(),
        remark: String::new(),
        limit: some(limit),
        period: minute(),
        reset_at: reset_at.map(|at| at.parse().unwrap()),
        revision: 1,
        created_at: world.now(),
    }
}

/// Makes the caller an app with a quota.
fn bind(world: &Fixture, quota: Option<&str>) {
    let secret = Sealer::new(SealKey::new(1, &[3; 32])).seal(&Secret::from(String::new()), &[]);
    let quota = quota.map(|id| BoundQuota { id: id.parse().unwrap(), bound_at: world.now() });
    let (remark, key) = (String::new(), "key".into());
    let app = model::App { remark, key, secret, creator: Creator::User, acl: None, quota };
    world.edit_caller(|caller| caller.kind = CallerKind::App(app));
}

fn ask(world: &Fixture, key: &str, route: &str, from: Option<&str>) -> &'static str {
    let throttle = ApiThrottle::new(world.directory.clone(), route.parse().unwrap());
    let mut request = request("GET", "/", &[("x-api-key", key)]);
    if let Some(from) = from {
        request.extensions_mut().insert::<IpAddr>(from.parse().unwrap());
    }
    code(world.ask(&(ApiKey::new(world.directory.clone()), throttle), &request))
}

#[test]
fn api_limit_applies_per_period() {
    let world = Fixture::new();
    let key = world.key();
    let ask = |route| ask(&world, &key, route, None);
    (0..5).for_each(|_| assert_eq!(ask("a"), "admitted", "nothing is bound to it"));
    put(&world, &throttle(&world, &["a", "b"], 2));
    assert_eq!(
        [ask("a"), ask("a"), ask("a"), ask("b"), ask("c")],
        ["admitted", "admitted", "throttled", "admitted", "admitted"]
    );
    world.clock.advance(Duration::from_secs(59));
    assert_eq!(ask("a"), "throttled");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!([ask("a"), ask("a"), ask("a")], ["admitted", "admitted", "throttled"]);
    put(&world, &throttle(&world, &["a"], 3));
    assert_eq!([ask("a"), ask("a")], ["admitted", "throttled"], "what was counted stays counted");
    world.change(ChangeKind::Deleted, Entity::Throttle(throttle(&world, &[], 1)));
    assert_eq!(ask("a"), "admitted");
}

#[test]
fn shared_throttle_limits_apis_together() {
    let world = Fixture::new();
    let key = world.key();
    let shared = model::Throttle { shared: true, ..throttle(&world, &["a", "b"], 2) };
    put(&world, &shared);
    let codes = ["a", "b", "a", "b"].map(|route| ask(&world, &key, route, None));
    assert_eq!(codes, ["admitted", "admitted", "throttled", "throttled"]);
    put(&world, &model::Throttle { limits: throttle(&world, &[], 3).limits, ..shared });
    assert_eq!(["b", "a"].map(|route| ask(&world, &key, route, None)), ["admitted", "throttled"]);
}

#[test]
fn denial_names_the_limit() {
    let refused = |world: &Fixture, key: &str, from: Option<&str>| {
        let throttle = ApiThrottle::new(world.directory.clone(), "a".parse().unwrap());
        let mut request = request("GET", "/", &[("x-api-key", key)]);
        if let Some(from) = from {
            request.extensions_mut().insert::<IpAddr>(from.parse().unwrap());
        }
        let chain = (ApiKey::new(world.directory.clone()), throttle);
        let (denial, admission) = world.deny(&chain, &request);
        let answer = render(&denial, &Problem, &admission);
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (429, &"60".parse().unwrap())
        );
        let Denial::Exhausted(LimitExceeded { by, limit, period, .. }) = denial else { panic!("{denial}") };
        format!("{},limit:{limit},time:{period}", by.as_str())
    };
    let limits = CallLimits { api: some(9), user: Some(some(8)), app: Some(some(5)), ip: Some(some(2)) };
    for (limit, passes, from, specials) in [
        ("ip,limit:2", 2, Some("2001:db8::1"), vec![]),
        ("app,limit:5", 5, None, vec![]),
        ("user,limit:8", 8, None, vec![(OverrideSubject::App("caller".parse().unwrap()), 20)]),
        ("app,limit:1", 1, None, vec![(OverrideSubject::App("caller".parse().unwrap()), 1)]),
        (
            "api,limit:9",
            9,
            None,
            vec![
                (OverrideSubject::App("caller".parse().unwrap()), 20),
                (OverrideSubject::User("project".into()), 20),
            ],
        ),
        ("app,limit:5", 5, None, vec![(OverrideSubject::App("other".parse().unwrap()), 1)]),
    ] {
        let world = Fixture::new();
        world.edit_tenant(|tenant| {
            let (project_id, instance_id) = ("project".into(), "instance".into());
            tenant.gateway = Some(ApigInstance { project_id, instance_id, custom_keys: false });
        });
        let key = world.key();
        let special = |(of, limit)| ThrottleOverride {
            id: SpecialId::random(),
            of,
            limit: some(limit),
            created_at: world.now(),
        };
        let specials = specials.into_iter().map(special).collect();
        put(&world, &model::Throttle { limits, specials, ..throttle(&world, &["a"], 1) });
        for at in 0..passes {
            // Addresses of one network count as one.
            let from = from.map(|_| format!("2001:db8::{at}"));
            // Without a fixed address, each call comes from another network.
            let from = from.unwrap_or_else(|| format!("192.0.2.{at}"));
            assert_eq!(ask(&world, &key, "a", Some(&from)), "admitted", "{limit}");
        }
        let text = refused(&world, &key, Some(from.unwrap_or("198.51.100.1")));
        assert_eq!(text, format!("{limit},time:1 minute"));
    }
}

#[test]
fn app_quota_covers_all_routes() {
    let world = Fixture::new();
    world.change(ChangeKind::Created, Entity::Quota(quota(&world, 2, None)));
    bind(&world, Some("quota"));
    let key = world.key();
    assert_eq!(
        ["a", "b", "c"].map(|route| ask(&world, &key, route, None)),
        ["admitted", "admitted", "quota-exhausted"]
    );
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(
        ["a", "b", "c"].map(|route| ask(&world, &key, route, None)),
        ["admitted", "admitted", "quota-exhausted"]
    );
    world.change(ChangeKind::Updated, Entity::Quota(quota(&world, 3, None)));
    assert_eq!(["a", "b"].map(|route| ask(&world, &key, route, None)), ["admitted", "quota-exhausted"]);
    world.edit_caller(|caller| caller.name = "another".into());
    assert_eq!(ask(&world, &key, "a", None), "admitted", "it is no app any more");
    bind(&world, Some("quota"));
    world.change(ChangeKind::Deleted, Entity::Quota(quota(&world, 3, None)));
    (0..9).for_each(|_| assert_eq!(ask(&world, &key, "a", None), "admitted"));
}

#[test]
fn quota_restarts_at_its_reset_time() {
    let world = Fixture::new();
    world.change(ChangeKind::Created, Entity::Quota(quota(&world, 1, Some("2030-01-01T00:00:20Z"))));
    bind(&world, Some("quota"));
    let key = world.key();
    let ask = || ask(&world, &key, "a", None);
    assert_eq!([ask(), ask()], ["admitted", "quota-exhausted"]);
    world.clock.advance(Duration::from_secs(19));
    assert_eq!(ask(), "quota-exhausted");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!([ask(), ask()], ["admitted", "quota-exhausted"]);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!([ask(), ask()], ["admitted", "quota-exhausted"]);
}

#[test]
fn denied_request_counts_nowhere() {
    let world = Fixture::new();
    world.change(ChangeKind::Created, Entity::Quota(quota(&world, 1, None)));
    bind(&world, Some("quota"));
    let limits = CallLimits { app: Some(some(2)), ip: Some(some(2)), ..throttle(&world, &[], 2).limits };
    put(&world, &model::Throttle { limits, ..throttle(&world, &["a"], 2) });
    let key = world.key();
    let throttle = || ApiThrottle::new(world.directory.clone(), "a".parse().unwrap());
    let chain =
        (ApiKey::new(world.directory.clone()), throttle(), RequireUnlocked::new(world.directory.clone()));
    let request = request("PUT", "/x", &[("x-api-key", &key)]);
    let on = model::LockTarget::Resource("/x".parse().unwrap());
    let lock = world.lock(on, model::LockedRequests::All, Duration::from_secs(30));
    (0..5).for_each(|_| assert_eq!(code(world.ask(&chain, &request)), "locked"));
    world.unlock(lock);
    assert_eq!(code(world.ask(&chain, &request)), "admitted");
    (0..5).for_each(|_| assert_eq!(code(world.ask(&chain, &request)), "quota-exhausted"));
    bind(&world, None);
    assert_eq!(code(world.ask(&chain, &request)), "admitted");
    assert_eq!(code(world.ask(&chain, &request)), "throttled");
}

#[test]
fn exhausted_quota_is_429() {
    let world = Fixture::new();
    world.change(ChangeKind::Created, Entity::Quota(quota(&world, 1, None)));
    bind(&world, Some("quota"));
    let key = world.key();
    assert_eq!(ask(&world, &key, "a", None), "admitted");
    let throttle = ApiThrottle::new(world.directory.clone(), "a".parse().unwrap());
    let chain = (ApiKey::new(world.directory.clone()), throttle);
    let (denial, admission) = world.deny(&chain, &request("GET", "/", &[("x-api-key", &key)]));
    let problem = render(&denial, &Problem, &admission);
    assert_eq!((problem.status().as_u16(), &problem.headers()["retry-after"]), (429, &"60".parse().unwrap()));
    let body: serde_json::Value = serde_json::from_slice(problem.body()).unwrap();
    assert_eq!(
        (&body["code"], &body["violated-policies"]),
        (&"quota-exhausted".into(), &serde_json::json!(["quota"]))
    );
}

#[test]
fn clock_set_back_does_not_block_for_long() {
    let world = Fixture::new();
    let key = world.key();
    put(&world, &throttle(&world, &["a"], 1));
    world.clock.advance(Duration::from_secs(86_400));
    assert_eq!(ask(&world, &key, "a", None), "admitted");
    let counted = world.directory.throttle(&"tenant".parse().unwrap(), &"a".parse().unwrap()).unwrap();
    let at = |seconds: i64| {
        let now = world.now().as_second() + seconds;
        counted.count(&"caller".parse().unwrap(), None, None, now).is_ok()
    };
    assert!(!at(0) && !at(-1), "a call that was overtaken");
    assert!(at(-3_600) && !at(-3_600));
}

#[test]
fn request_without_a_caller_is_denied() {
    let world = Fixture::new();
    let policy = ApiThrottle::new(world.directory.clone(), "a".parse().unwrap());
    assert_eq!(code(world.ask(&policy, &request("GET", "/", &[]))), "credential-missing");
}

#[test]
fn retry_after_covers_throttle_and_quota() {
    let world = Fixture::new();
    let key = world.key();
    put(&world, &throttle(&world, &["a"], 1));
    let day = Period { interval: some(1), unit: TimeUnit::Day };
    world.change(ChangeKind::Updated, Entity::Quota(Quota { period: day, ..quota(&world, 1, None) }));
    bind(&world, Some("quota"));
    assert_eq!(ask(&world, &key, "a", None), "admitted");
    let chain = (
        ApiKey::new(world.directory.clone()),
        ApiThrottle::new(world.directory.clone(), "a".parse().unwrap()),
    );
    let refused = || world.deny(&chain, &request("GET", "/", &[("x-api-key", &key)])).0;
    assert_eq!((refused().code(), refused().retry_after()), ("throttled", Some(86_400)));
    world.clock.advance(Duration::from_secs(60));
    assert_eq!((refused().code(), refused().retry_after()), ("quota-exhausted", Some(86_340)));
    world.clock.advance(Duration::from_secs(86_340));
    assert_eq!(ask(&world, &key, "a", None), "admitted");
}

/// Deletes the caller between the policy that identifies it and the one that enforces its quota.
struct Deletes<'a>(&'a Fixture);

impl Policy for Deletes<'_> {
    fn admit(&self, _: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let caller = admission.caller().map(|caller| caller.id.clone()).unwrap();
        self.0.delete_caller(&caller);
        Ok(())
    }
}

#[test]
fn caller_deleted_during_admission_stays_under_its_quota() {
    let world = Fixture::new();
    let key = world.key();
    world.change(ChangeKind::Updated, Entity::Quota(quota(&world, 1, None)));
    bind(&world, Some("quota"));
    assert_eq!(ask(&world, &key, "a", None), "admitted");
    assert_eq!(ask(&world, &key, "a", None), "quota-exhausted");
    let throttle = ApiThrottle::new(world.directory.clone(), "a".parse().unwrap());
    let chain = (ApiKey::new(world.directory.clone()), Deletes(&world), throttle);
    assert_eq!(code(world.ask(&chain, &request("GET", "/", &[("x-api-key", &key)]))), "caller-disabled");
}
