//! A small fixture for tests and benchmarks, which uses only the public API: one tenant, callers with keys, plans
//! and locks, applied to a directory like a registry's changes, and a clock that does not advance by itself.

pub mod cases;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use portcullis::{
    clock::{Clock, ManualClock},
    directory::Directory,
    model::{
        Actor, Caller, CallerId, CallerKind, Change, ChangeKind, Credential, CredentialKind, Entity,
        GeneratedKey, KeyPrefix, Limit, Lock, LockId, LockTarget, LockedRequests, Pepper, Peppers, Plan,
        PlanId, Sealer, Secret, Status, SubscriptionStatus, TenantId, WindowGuarantee,
    },
    registry::{NewCredential, NewTenant},
};

/// The reason of `expect` for literals.
const VALID: &str = "a valid literal";

pub struct DirectoryFixture {
    pub directory: Arc<Directory>,
    pub clock: Arc<ManualClock>,
    peppers: Peppers,
    seq: AtomicU64,
}

impl DirectoryFixture {
    /// Creates a fixture with one tenant without callers.
    pub fn new() -> Self {
        let peppers = Peppers::new(Pepper::new(1, &[7; 32]));
        let start = "2026-01-01T00:00:00Z".parse().expect(VALID);
        let world = Self {
            directory: Arc::new(Directory::new(peppers.clone())),
            clock: Arc::new(ManualClock::at(start)),
            peppers,
            seq: AtomicU64::new(0),
        };
        world.tenant_is(SubscriptionStatus::Active);
        world
    }

    /// Sets the state of the tenant's subscription.
    pub fn tenant_is(&self, standing: SubscriptionStatus) {
        let tenant =
            NewTenant { id: tenant(), name: "tenant".into(), gateway: None, standing, max_callers: u32::MAX };
        self.put(Entity::Tenant(tenant.into_tenant(self.now())));
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now().time
    }

    fn put(&self, entity: Entity) {
        self.change(ChangeKind::Created, entity);
    }

    fn change(&self, verb: ChangeKind, entity: Entity) {
        let seq = self.seq.fetch_add(1, Ordering::SeqCst) + 1;
        self.directory.apply(Change { seq, at: self.now(), actor: Actor::system("test"), verb, entity });
    }

    /// Stores a plan of limits, each `(name, quota, window)` with the whole quota as its burst.
    pub fn plan(&self, id: &str, limits: &[(&str, u32, u32)]) -> PlanId {
        let limit = |(name, quota, window): &(&str, u32, u32)| {
            Limit::new(*name, *quota, *window, *quota, WindowGuarantee::Average).expect(VALID)
        };
        let id: PlanId = id.parse().expect(VALID);
        self.put(Entity::Plan(Plan::new(id.clone(), limits.iter().map(limit).collect()).expect(VALID)));
        id
    }

    /// Creates a caller with a random id.
    pub fn caller(&self, edit: impl FnOnce(&mut Caller)) -> CallerId {
        let mut caller = self.new_caller();
        edit(&mut caller);
        let id = caller.id.clone();
        self.put(Entity::Caller(caller));
        id
    }

    pub fn new_caller(&self) -> Caller {
        Caller {
            id: CallerId::random(),
            tenant: tenant(),
            name: "example.com/dev".into(),
            kind: CallerKind::ApiClient,
            status: Status::Enabled,
            plan: None,
            revision: 1,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    /// Creates a key of a new caller without a plan.
    pub fn key(&self) -> String {
        self.key_of(&self.caller(|_| {}), |_| {})
    }

    /// Creates a key of a new caller on a plan.
    pub fn key_on(&self, plan: &PlanId) -> String {
        self.key_of(&self.caller(|caller| caller.plan = Some(plan.clone())), |_| {})
    }

    pub fn key_of(&self, caller: &CallerId, edit: impl FnOnce(&mut Credential)) -> String {
        let (mut credential, key) = self.new_credential(caller);
        edit(&mut credential);
        self.put(Entity::Credential(credential));
        key
    }

    /// Creates a caller that signs requests with this secret. Returns the access key.
    pub fn signing_key(&self, sealer: &Sealer, secret: &str) -> String {
        self.key_of(&self.caller(|_| {}), |credential| {
            let place = [credential.tenant.as_str(), "credential", credential.id.as_str(), "secret"];
            credential.kind = CredentialKind::Signing(sealer.seal(&Secret::from(secret.to_owned()), &place));
        })
    }

    pub fn new_credential(&self, caller: &CallerId) -> (Credential, String) {
        let key = GeneratedKey::generate(&KeyPrefix::default());
        let credential = NewCredential::key(tenant(), caller.clone(), &key, self.peppers.current());
        let credential = NewCredential { name: String::new(), ..credential };
        (credential.into_credential(self.now()), key.expose().to_owned())
    }

    pub fn lock_path(&self, path: &str, covers: LockedRequests, held: Duration) -> Lock {
        self.lock(LockTarget::Resource(path.parse().expect(VALID)), covers, held)
    }

    pub fn lock(&self, target: LockTarget, covers: LockedRequests, held: Duration) -> Lock {
        let lock = Lock {
            id: LockId::random(),
            tenant: None,
            target,
            owner: "night shift".into(),
            holder: None,
            reason: "stocktaking".into(),
            covers,
            acquired_at: self.now(),
            expires_at: self.now() + held,
            fence: 1,
            token: None,
        };
        self.put(Entity::Lock(lock.clone()));
        lock
    }

    pub fn unlock(&self, lock: Lock) {
        self.change(ChangeKind::Deleted, Entity::Lock(lock));
    }
}

fn tenant() -> TenantId {
    "tenant".parse().expect(VALID)
}
