//! A model of the locks: a list of all grants, and the time.

use std::time::Duration;

use proptest::{prelude::*, sample::select};

/// The target of a lock. The callers belong to the first tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    Caller(usize),
    Path(&'static str),
}

const PLACES: &[Place] = &[
    Place::Path("/a"),
    Place::Path("/a/b"),
    Place::Path("/a/b/c"),
    Place::Path("/ab"),
    Place::Caller(0),
    Place::Caller(1),
];

pub const TENANTS: [&str; 2] = ["t", "u"];

impl Place {
    /// Whether one is the other, or above it.
    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Path(one), Self::Path(other)) => one.split('/').zip(other.split('/')).all(|(a, b)| a == b),
            _ => self == other,
        }
    }
}

/// The target of a write: a caller, or a tenant's resource at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Register {
    pub place: Place,
    pub tenant: &'static str,
}

/// A lock that was granted. Its number is its place in the list.
#[derive(Debug, Clone)]
pub struct Grant {
    pub place: Place,
    pub tenant: Option<&'static str>,
    /// The time of expiry, since the start.
    pub expires: Duration,
    /// Released or broken.
    ended: bool,
}

impl Grant {
    /// Whether a write to a register is the holder's alone.
    pub fn covers(&self, register: Register) -> bool {
        let above = match (self.place, register.place) {
            (Place::Path(one), Place::Path(other)) => one.len() <= other.len(),
            _ => true,
        };
        above && self.place.meets(register.place) && self.tenant.is_none_or(|it| it == register.tenant)
    }
}

/// The token and the fence that a step presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    Own,
    AnothersToken,
    EarlierFence,
    LaterFence,
}

/// Grants are named by how many were made since: 0 is the last.
#[derive(Debug, Clone)]
pub enum Step {
    Acquire {
        place: Place,
        tenant: Option<&'static str>,
        owner: &'static str,
        lasts: Duration,
    },
    Refresh {
        back: usize,
        own_token: bool,
        lasts: Duration,
    },
    Release {
        back: usize,
        own_token: bool,
    },
    Break {
        back: usize,
    },
    /// A write to the target of the lock, or to something else.
    Write {
        back: usize,
        proof: Proof,
        to: Option<Register>,
    },
    /// A write by a caller that knows of no lock.
    WriteFreely {
        caller: usize,
    },
    Wait {
        time: Duration,
    },
    /// Until a lock expires, or the nanosecond before.
    WaitFor {
        back: usize,
        just_short: bool,
    },
    Crash,
}

impl Step {
    /// The grant that something is asked of.
    pub fn back(&self) -> Option<usize> {
        match *self {
            Self::Refresh { back, .. }
            | Self::Release { back, .. }
            | Self::Break { back }
            | Self::Write { back, .. } => Some(back),
            Self::Acquire { .. }
            | Self::WriteFreely { .. }
            | Self::Wait { .. }
            | Self::WaitFor { .. }
            | Self::Crash => None,
        }
    }
}

/// The expected outcome of a step. A refused step changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is no such grant (yet): nothing is tried.
    Skipped,
    Done,
    /// Success without a change.
    Unchanged,
    /// By these grants.
    Locked(Vec<usize>),
    LockLost,
    NotFound,
}

#[derive(Debug, Default)]
pub struct Model {
    pub now: Duration,
    pub grants: Vec<Grant>,
}

impl Model {
    pub fn number(&self, back: usize) -> Option<usize> {
        self.grants.len().checked_sub(back + 1)
    }

    pub fn holds(&self, number: usize) -> bool {
        !self.grants[number].ended && self.now < self.grants[number].expires
    }

    pub fn held(&self) -> Vec<usize> {
        (0..self.grants.len()).filter(|number| self.holds(*number)).collect()
    }

    /// Whether two grants would stop the same requests.
    pub fn exclude(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.grants[one], &self.grants[other]);
        one.place.meets(other.place) && alike(one.tenant, other.tenant)
    }

    /// Returns the target of a write that names none.
    pub fn register(&self, number: usize, to: Option<Register>) -> Register {
        let Grant { place, tenant, .. } = self.grants[number];
        let theirs = if matches!(place, Place::Caller(_)) { None } else { tenant };
        to.unwrap_or(Register { place, tenant: theirs.unwrap_or(TENANTS[0]) })
    }

    pub fn take(&mut self, step: &Step) -> Outcome {
        self.outcome_of(step).unwrap_or(Outcome::Skipped)
    }

    fn outcome_of(&mut self, step: &Step) -> Option<Outcome> {
        let outcome = match *step {
            Step::Acquire { place, tenant, lasts, .. } => {
                let in_the_way = self.held().into_iter().filter(|number| {
                    let held = &self.grants[*number];
                    held.place.meets(place) && alike(held.tenant, tenant)
                });
                let in_the_way: Vec<_> = in_the_way.collect();
                if in_the_way.is_empty() {
                    self.grants.push(Grant { place, tenant, expires: self.now + lasts, ended: false });
                    Outcome::Done
                } else {
                    Outcome::Locked(in_the_way)
                }
            }
            Step::Refresh { back, own_token, lasts } => {
                let number = self.number(back)?;
                if !self.holds(number) || !own_token {
                    return Some(Outcome::LockLost);
                }
                let (grant, expires) = (&mut self.grants[number], self.now + lasts);
                if expires <= grant.expires {
                    return Some(Outcome::Unchanged);
                }
                grant.expires = expires;
                Outcome::Done
            }
            Step::Release { back, own_token } => {
                let number = self.number(back)?;
                match (self.holds(number), own_token) {
                    (false, _) => Outcome::Unchanged,
                    (true, false) => Outcome::LockLost,
                    (true, true) => self.end(number),
                }
            }
            Step::Break { back } => {
                let number = self.number(back)?;
                if self.holds(number) { self.end(number) } else { Outcome::NotFound }
            }
            Step::Write { back, proof, to } => {
                let number = self.number(back)?;
                if !self.holds(number) || proof != Proof::Own {
                    return Some(Outcome::LockLost);
                }
                self.written(self.register(number, to), Some(number))
            }
            Step::WriteFreely { caller } => {
                self.written(Register { place: Place::Caller(caller), tenant: TENANTS[0] }, None)
            }
            Step::Wait { time } => {
                self.now += time;
                Outcome::Done
            }
            Step::WaitFor { back, just_short } => {
                let expires = self.grants[self.number(back)?].expires;
                let until = expires - Duration::from_nanos(just_short.into());
                self.now = Some(until).filter(|until| *until > self.now)?;
                Outcome::Done
            }
            Step::Crash => Outcome::Done,
        };
        Some(outcome)
    }

    fn end(&mut self, number: usize) -> Outcome {
        self.grants[number].ended = true;
        Outcome::Done
    }

    /// The registry itself guards callers; paths are guarded by the policies before a service.
    fn written(&self, register: Register, holder: Option<usize>) -> Outcome {
        let guarded = matches!(register.place, Place::Caller(_));
        let others = self.held().into_iter().filter(|number| Some(*number) != holder);
        let in_the_way: Vec<_> = others.filter(|number| self.grants[*number].covers(register)).collect();
        if guarded && !in_the_way.is_empty() { Outcome::Locked(in_the_way) } else { Outcome::Done }
    }
}

/// Whether two concern the same tenant.
fn alike(one: Option<&str>, other: Option<&str>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// Any step; the last grants are the most likely to be meant.
pub fn step() -> impl Strategy<Value = Step> {
    let back = || prop_oneof![4 => Just(0_usize), 3 => 1..4_usize, 1 => 4..9_usize];
    let nanos = |range: std::ops::RangeInclusive<u64>| range.prop_map(Duration::from_nanos);
    let lasts = move || nanos(1_000_000_000..=5_000_000_000);
    let tenant = prop_oneof![3 => Just(None), 2 => Just(Some(TENANTS[0])), 1 => Just(Some(TENANTS[1]))];
    let own = || prop::bool::weighted(0.8);
    let proof = prop_oneof![
        6 => Just(Proof::Own),
        1 => Just(Proof::AnothersToken),
        1 => Just(Proof::EarlierFence),
        1 => Just(Proof::LaterFence),
    ];
    let register = (select(PLACES), select(&TENANTS[..])).prop_map(|(place, tenant)| {
        let tenant = if matches!(place, Place::Caller(_)) { TENANTS[0] } else { tenant };
        Register { place, tenant }
    });
    let to = prop::option::weighted(0.3, register);
    prop_oneof![
        8 => (select(PLACES), tenant, select(&["one", "two", "three"][..]), lasts())
            .prop_map(|(place, tenant, owner, lasts)| Step::Acquire { place, tenant, owner, lasts }),
        4 => (back(), own(), lasts())
            .prop_map(|(back, own_token, lasts)| Step::Refresh { back, own_token, lasts }),
        3 => (back(), own()).prop_map(|(back, own_token)| Step::Release { back, own_token }),
        1 => back().prop_map(|back| Step::Break { back }),
        8 => (back(), proof, to).prop_map(|(back, proof, to)| Step::Write { back, proof, to }),
        2 => (0..2_usize).prop_map(|caller| Step::WriteFreely { caller }),
        3 => nanos(1..=3_000_000_000).prop_map(|time| Step::Wait { time }),
        3 => (back(), any::<bool>()).prop_map(|(back, just_short)| Step::WaitFor { back, just_short }),
        1 => Just(Step::Crash),
    ]
}
