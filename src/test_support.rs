//! Fixture for the crate's unit tests: one tenant, one caller and a manual clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Request;
use jiff::Timestamp;

use crate::{
    Admission, Denial, Head, Policy, Stop,
    clock::{Clock, ManualClock, Moment},
    directory::Directory,
    model::{
        Actor, Caller, CallerId, CallerKind, Change, ChangeKind, Credential, Entity, GeneratedKey, KeyPrefix,
        Limit, Lock, LockId, LockTarget, LockedRequests, Pepper, Peppers, Plan, Status, SubscriptionStatus,
        Tenant,
    },
    registry::{NewCredential, NewTenant},
};

/// Builds a request; its extension [`Content`] determines whether a body follows.
pub(crate) fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request.body(()).unwrap()
}

pub(crate) fn get(uri: &str) -> Request<()> {
    request("GET", uri, &[])
}

#[derive(Clone)]
struct Content;

pub(crate) fn with_content(mut request: Request<()>) -> Request<()> {
    request.extensions_mut().insert(Content);
    request
}

pub(crate) fn head(request: &Request<()>) -> Head<'_> {
    at(request, ManualClock::at(Timestamp::UNIX_EPOCH).now())
}

fn at(request: &Request<()>, now: Moment) -> Head<'_> {
    let (peer, content) = (request.extensions().get().copied(), request.extensions().get::<Content>());
    Head::from_request(request, peer, content.is_some(), now)
}

/// Returns `admitted`, or the denial's code.
pub(crate) fn code(outcome: Result<Admission, Denial>) -> &'static str {
    outcome.map_or_else(|denial| denial.code(), |_| "admitted")
}

pub(crate) struct Fixture {
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: ManualClock,
    peppers: Peppers,
    seq: AtomicU64,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let peppers = Peppers::new(Pepper::new(1, &[7; 32]));
        let world = Self {
            directory: Arc::new(Directory::new(peppers.clone())),
            clock: ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()),
            peppers,
            seq: AtomicU64::new(0),
        };
        let tenant = NewTenant {
            id: "tenant".parse().unwrap(),
            name: "tenant".into(),
            gateway: None,
            standing: SubscriptionStatus::Active,
            max_callers: 10,
        };
        world.change(ChangeKind::Created, Entity::Tenant(tenant.into_tenant(world.now())));
        world.edit_caller(|_| {});
        world
    }

    /// Puts the caller on a plan with these limits.
    pub(crate) fn with_plan(limits: Vec<Limit>) -> Self {
        let world = Self::new();
        world.put_plan(limits);
        world.edit_caller(|caller| caller.plan = Some("plan".parse().unwrap()));
        world
    }

    pub(crate) fn put_plan(&self, limits: Vec<Limit>) {
        self.change(ChangeKind::Updated, Entity::Plan(Plan::new("plan".parse().unwrap(), limits).unwrap()));
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now().time
    }

    pub(crate) fn change(&self, verb: ChangeKind, entity: Entity) {
        let seq = self.seq.fetch_add(1, Ordering::SeqCst) + 1;
        self.directory.apply(Change { seq, at: self.now(), actor: Actor::system("test"), verb, entity });
    }

    pub(crate) fn edit_tenant(&self, edit: impl FnOnce(&mut Tenant)) {
        let mut tenant = Tenant::clone(&self.directory.tenant(&"tenant".parse().unwrap()).unwrap());
        edit(&mut tenant);
        self.change(ChangeKind::Updated, Entity::Tenant(tenant));
    }

    pub(crate) fn edit_caller(&self, edit: impl FnOnce(&mut Caller)) {
        let mut caller = self.new_caller();
        edit(&mut caller);
        self.change(ChangeKind::Updated, Entity::Caller(caller));
    }

    fn new_caller(&self) -> Caller {
        Caller {
            id: "caller".parse().unwrap(),
            tenant: "tenant".parse().unwrap(),
            name: "example.com/dev".into(),
            kind: CallerKind::ApiClient,
            status: Status::Enabled,
            plan: None,
            revision: 1,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    /// Deletes a caller; only its id matters.
    pub(crate) fn delete_caller(&self, id: &CallerId) {
        self.change(ChangeKind::Deleted, Entity::Caller(Caller { id: id.clone(), ..self.new_caller() }));
    }

    /// Creates a key of the caller.
    pub(crate) fn key(&self) -> String {
        self.key_with(|_| {})
    }

    pub(crate) fn key_with(&self, edit: impl FnOnce(&mut Credential)) -> String {
        let key = GeneratedKey::generate(&KeyPrefix::default());
        let (tenant, caller) = ("tenant".parse().unwrap(), "caller".parse().unwrap());
        let credential = NewCredential::key(tenant, caller, &key, self.peppers.current());
        let credential = NewCredential { name: String::new(), ..credential };
        let mut credential = credential.into_credential(self.now());
        edit(&mut credential);
        self.change(ChangeKind::Created, Entity::Credential(credential));
        key.expose().to_owned()
    }

    pub(crate) fn lock(&self, target: LockTarget, covers: LockedRequests, held: Duration) -> Lock {
        self.lock_with(target, |lock| {
            lock.covers = covers;
            lock.expires_at = self.now() + held;
        })
    }

    pub(crate) fn lock_with(&self, target: LockTarget, edit: impl FnOnce(&mut Lock)) -> Lock {
        let mut lock = Lock {
            id: LockId::random(),
            tenant: None,
            target,
            owner: "owner".into(),
            holder: None,
            reason: "reason".into(),
            covers: LockedRequests::All,
            acquired_at: self.now(),
            expires_at: self.now() + Duration::from_secs(60),
            fence: 1,
            token: None,
        };
        edit(&mut lock);
        self.change(ChangeKind::Created, Entity::Lock(lock.clone()));
        lock
    }

    pub(crate) fn unlock(&self, lock: Lock) {
        self.change(ChangeKind::Deleted, Entity::Lock(lock));
    }

    pub(crate) fn ask(&self, policy: &impl Policy, request: &Request<()>) -> Result<Admission, Denial> {
        let (outcome, admission) = self.decide(policy, request);
        outcome?;
        let mut admission = admission;
        drop(admission.take_permits().commit());
        Ok(admission)
    }

    /// Returns a denial, with its admission.
    pub(crate) fn deny(&self, policy: &impl Policy, request: &Request<()>) -> (Denial, Admission) {
        let (outcome, admission) = self.decide(policy, request);
        (outcome.expect_err("denied"), admission)
    }

    fn decide(&self, policy: &impl Policy, request: &Request<()>) -> (Result<(), Denial>, Admission) {
        let mut admission = Admission::default();
        let head = at(request, self.clock.now());
        let outcome = match admission.evaluate(policy, &head) {
            Ok(()) => Ok(()),
            Err(Stop::Deny(denial)) => Err(denial),
            Err(Stop::Wait(_) | Stop::NeedsBody(_)) => panic!("no policy here waits"),
        };
        (outcome, admission)
    }
}
