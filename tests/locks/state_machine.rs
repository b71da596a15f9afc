//! A registry taken through the steps, and compared with the model after each.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use portcullis::{
    Denial,
    clock::{Clock, ManualClock},
    model::{Caller, CallerEdit, Entity, Lease, Lock, LockTarget, LockToken, TenantId},
    registry::{
        BreakLock, Command, NewLock, ProveLock, PutPlan, RefreshLock, Registry, RegistryError, RegistryExt,
        ReleaseLock, UpdateCaller,
    },
};

use crate::{
    model::{Model, Outcome, Place, Proof, Register, Step, TENANTS},
    storage::Storage,
};
use portcullis_test::fixtures::{actor, client, clock, lock, plan, sorted, tenant, the_log_tells_all};

/// A lock as it was granted, with its token.
struct Granted {
    lock: Lock,
    token: LockToken,
}

struct Machine<G> {
    storage: Option<G>,
    clock: Arc<ManualClock>,
    start: Timestamp,
    model: Model,
    callers: Vec<Caller>,
    /// In the order of the model's.
    granted: Vec<Granted>,
    /// The greatest fence that something was written with.
    committed: HashMap<Register, u64>,
    writes: u32,
    /// `true` if the process has crashed since the last grant.
    crashed: bool,
}

/// Takes all steps, on a registry of its own.
pub fn play<G: Storage>(steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut machine = Machine::<G>::new().await;
        for step in steps {
            machine.take(step).await;
        }
        the_log_tells_all(machine.registry()).await;
    });
}

impl<G: Storage> Machine<G> {
    async fn new() -> Self {
        let clock = clock();
        let storage = G::new(clock.clone()).await;
        let mut callers = Vec::new();
        for of in TENANTS {
            storage.registry().create_tenant(tenant(of), &actor()).await.unwrap();
        }
        for name in ["one", "other"] {
            let caller = storage.registry().create_caller(client(TENANTS[0], name), &actor()).await.unwrap();
            callers.push(caller);
        }
        let (model, start) = (Model::default(), clock.now().time);
        let (granted, committed) = (Vec::new(), HashMap::new());
        Self {
            storage: Some(storage),
            clock,
            start,
            model,
            callers,
            granted,
            committed,
            writes: 0,
            crashed: false,
        }
    }

    fn registry(&self) -> &dyn Registry {
        self.storage.as_ref().unwrap().registry()
    }

    fn now(&self) -> Timestamp {
        self.clock.now().time
    }

    async fn seq(&self) -> u64 {
        self.registry().for_each(&mut |_| ()).await.unwrap()
    }

    async fn take(&mut self, step: Step) {
        // Before one is added.
        let number = step.back().and_then(|back| self.model.number(back));
        let (then, expected) = (self.model.now, self.model.take(&step));
        if expected == Outcome::Skipped {
            return;
        }
        self.clock.advance(self.model.now - then);
        let before = self.seq().await;
        match step {
            Step::Wait { .. } | Step::WaitFor { .. } => {}
            Step::Crash => self.crash().await,
            Step::Acquire { place, tenant, owner, lasts } => {
                self.acquire(place, tenant, owner, lasts, &expected).await;
            }
            _ => {
                let commands = self.commands(&step, number);
                let outcome = self.registry().execute(commands.clone(), &actor()).await;
                self.compare(invariant(&step), &step, &expected, outcome.as_ref());
                if let Step::Refresh { .. } | Step::Release { .. } = step {
                    self.again(&step, commands, outcome).await;
                }
                if let (Step::Write { proof, to, .. }, Some(number), Outcome::Done) =
                    (&step, number, &expected)
                {
                    self.commit(number, *proof, self.model.register(number, *to));
                }
            }
        }
        let changes = self.seq().await - before;
        let quiet = matches!(step, Step::Wait { .. } | Step::WaitFor { .. } | Step::Crash);
        assert_eq!(changes > 0, !quiet && expected == Outcome::Done, "{step:?} made {changes} changes");
        self.check(&step).await;
    }

    async fn acquire(
        &mut self,
        place: Place,
        tenant: Option<&str>,
        owner: &str,
        lasts: Duration,
        expected: &Outcome,
    ) {
        let token = LockToken::generate();
        let new = NewLock {
            tenant: tenant.map(id),
            owner: owner.to_owned(),
            token: token.digest(),
            ..lock(self.target(place), lasts)
        };
        let outcome = self.registry().acquire_lock(new, &actor()).await;
        self.compare("I1", &place, expected, outcome.as_ref());
        if let Ok(lock) = outcome {
            let last = self.granted.iter().map(|granted| granted.lock.fence).max().unwrap_or(0);
            let invariant = if self.crashed { "I7" } else { "I2" };
            assert!(lock.fence > last, "{invariant}: granted {} after {last}", lock.fence);
            self.crashed = false;
            self.granted.push(Granted { lock, token });
        }
    }

    /// Returns the commands of a step.
    fn commands(&mut self, step: &Step, number: Option<usize>) -> Vec<Command> {
        let Some(number) = number else {
            let Step::WriteFreely { caller } = *step else { unreachable!("{step:?}") };
            let place = Place::Caller(caller);
            return vec![self.write(Register { place, tenant: TENANTS[0] })];
        };
        let Granted { lock, token } = &self.granted[number];
        let token = |own: bool| if own { token.clone() } else { LockToken::generate() };
        let (id, fence) = (lock.id.clone(), lock.fence);
        match *step {
            Step::Refresh { own_token, lasts, .. } => {
                vec![RefreshLock { id, token: token(own_token), lasts: lease(lasts) }.into()]
            }
            Step::Release { own_token, .. } => vec![ReleaseLock { id, token: token(own_token) }.into()],
            Step::Break { .. } => vec![BreakLock(id).into()],
            Step::Write { proof, to, .. } => {
                let token = token(proof != Proof::AnothersToken);
                let hold = ProveLock { id, token, fence: carried(fence, proof) }.into();
                vec![hold, self.write(self.model.register(number, to))]
            }
            _ => unreachable!("{step:?}"),
        }
    }

    /// Something that was not written before.
    fn write(&mut self, Register { place, tenant }: Register) -> Command {
        self.writes += 1;
        match place {
            Place::Caller(caller) => {
                let caller = &self.callers[caller];
                let name = Some(format!("write {}", self.writes));
                UpdateCaller {
                    tenant: caller.tenant.clone(),
                    id: caller.id.clone(),
                    expected: None,
                    edit: CallerEdit { name, ..CallerEdit::default() },
                }
                .into()
            }
            Place::Path(path) => {
                PutPlan(plan(&format!("{tenant}{}", path.replace('/', ".")), self.writes)).into()
            }
        }
    }

    fn commit(&mut self, number: usize, proof: Proof, register: Register) {
        if self.model.grants[number].covers(register) {
            let fence = carried(self.granted[number].lock.fence, proof);
            let last = self.committed.insert(register, fence).unwrap_or(0);
            assert!(fence >= last, "I3: {register:?} was written with {fence} after {last}");
        }
    }

    /// Repeats the commands of a step at the same moment.
    async fn again(&self, step: &Step, commands: Vec<Command>, first: Result<Vec<Entity>, RegistryError>) {
        let before = self.seq().await;
        let again = self.registry().execute(commands, &actor()).await;
        assert_eq!(self.seq().await, before, "I6: {step:?} again changes something");
        let same = match (step, first, &again) {
            // It is gone.
            (Step::Release { .. }, Ok(_), Ok(again)) => again.is_empty(),
            (_, Ok(first), Ok(again)) => first == *again,
            (_, Err(_), Err(RegistryError::LockLost)) => true,
            _ => false,
        };
        assert!(same, "I6: {step:?} again is {again:?}");
    }

    async fn crash(&mut self) {
        let before = self.registry().snapshot().await.unwrap();
        let storage = self.storage.take().unwrap();
        self.storage = Some(storage.crash(self.clock.clone()).await);
        self.crashed = true;
        let after = self.registry().snapshot().await.unwrap();
        assert_eq!(after.seq, before.seq, "I7");
        assert_eq!(sorted(after.entities), sorted(before.entities), "I7");
    }

    fn compare<T: std::fmt::Debug>(
        &self,
        invariant: &str,
        about: &dyn std::fmt::Debug,
        expected: &Outcome,
        outcome: Result<&T, &RegistryError>,
    ) {
        match (expected, outcome) {
            (Outcome::Done | Outcome::Unchanged, Ok(_))
            | (Outcome::LockLost, Err(RegistryError::LockLost))
            | (Outcome::NotFound, Err(RegistryError::NotFound)) => {}
            (Outcome::Locked(by), Err(RegistryError::Locked(shown))) => self.check_denial(by, shown),
            (_, outcome) => panic!("{invariant}: {about:?} is to be {expected:?}, and is {outcome:?}"),
        }
    }

    /// Checks the times of a 423: when all conflicting locks have expired, to the second.
    fn check_denial(&self, by: &[usize], shown: &Lock) {
        let now = self.now();
        let last = by.iter().map(|number| self.model.grants[*number].expires).max().unwrap();
        let remaining = last - self.model.now;
        let denial = Denial::Locked { lock: Arc::new(shown.clone()), now };
        let retry_after =
            Duration::from_secs(denial.retry_after().expect("I8: a 423 tells when to come back"));
        assert!(retry_after >= remaining, "I8: back after {retry_after:?}, and locked for {remaining:?}");
        assert!(retry_after < remaining + Duration::from_secs(1), "I8: {retry_after:?} for {remaining:?}");
        assert!(by.iter().any(|number| self.granted[*number].lock.id == shown.id), "I8: by {shown:?}");
    }

    /// Checks the invariants after every step.
    async fn check(&self, step: &Step) {
        let now = self.now();
        let there = self.registry().locks(None, 1_000).await.unwrap();
        let held: Vec<_> = there.into_iter().filter(|lock| lock.is_active(now)).collect();
        let number =
            |lock: &Lock| self.granted.iter().position(|granted| granted.lock.id == lock.id).unwrap();
        for (at, one) in held.iter().enumerate() {
            for other in &held[at + 1..] {
                let both = self.model.exclude(number(one), number(other));
                assert!(!both, "I1: after {step:?}, both hold: {one:?} {other:?}");
            }
        }
        let mut expected: Vec<_> = self
            .model
            .held()
            .into_iter()
            .map(|number| {
                // Only its end ever changes.
                let expires_at = self.start + self.model.grants[number].expires;
                Lock { expires_at, ..self.granted[number].lock.clone() }
            })
            .collect();
        expected.sort_by(|one, other| one.id.cmp(&other.id));
        assert_eq!(held, expected, "{}: after {step:?}", invariant(step));
    }

    fn target(&self, place: Place) -> LockTarget {
        match place {
            Place::Caller(caller) => LockTarget::Caller(self.callers[caller].id.clone()),
            Place::Path(path) => LockTarget::Resource(path.parse().unwrap()),
        }
    }
}

/// Returns the invariant that a step violates if its outcome is wrong.
fn invariant(step: &Step) -> &'static str {
    match step {
        Step::Acquire { .. } | Step::Break { .. } | Step::WriteFreely { .. } => "I1",
        Step::Write { proof: Proof::EarlierFence | Proof::LaterFence, .. } => "I3",
        Step::Write { .. } | Step::Wait { .. } | Step::WaitFor { .. } => "I4",
        Step::Refresh { .. } => "I5",
        Step::Release { .. } => "I6",
        Step::Crash => "I7",
    }
}

/// The fence that is presented.
fn carried(fence: u64, proof: Proof) -> u64 {
    match proof {
        Proof::Own | Proof::AnothersToken => fence,
        Proof::EarlierFence => fence - 1,
        Proof::LaterFence => fence + 1,
    }
}

fn lease(length: Duration) -> Lease {
    length.try_into().unwrap()
}

fn id(tenant: &str) -> TenantId {
    tenant.parse().unwrap()
}
