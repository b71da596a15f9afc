//! Buffer space shared by requests that are not admitted yet.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::{client_prefix::client_prefix, sync};

/// The divisor of the space that one address, or one credential, may fill: a quarter.
const SHARE: u64 = 4;

/// Space for request bodies, in bytes.
#[derive(Debug)]
pub(super) struct SharedSpace {
    most: u64,
    share: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: u64,
    /// A counter of progress: the holder with the smallest number has been idle longest.
    turn: u64,
    next: u64,
    holders: HashMap<u64, Reservation>,
    /// Bytes by address and by credential. Sums of zero are removed.
    by_address: HashMap<Option<IpAddr>, u64>,
    by_credential: HashMap<Arc<str>, u64>,
}

#[derive(Debug)]
struct Reservation {
    peer: Option<IpAddr>,
    credential: Arc<str>,
    bytes: u64,
    moved: u64,
    /// Dropped with the holder, which notifies the owner of the body.
    _evicts: oneshot::Sender<()>,
}

impl SharedSpace {
    /// Creates a space of `most` bytes, of which one request may fill `of_one`.
    pub(super) fn new(most: u64, of_one: u64) -> Self {
        let share = (most / SHARE).max(of_one).min(most);
        Self { most, share, state: Mutex::default() }
    }

    /// Registers a body that holds no bytes yet.
    pub(super) fn reserve(self: &Arc<Self>, peer: Option<IpAddr>, credential: &str) -> ReservationGuard {
        let (evicts, evicted) = oneshot::channel();
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.turn += 1;
        let moved = state.turn;
        let peer = peer.map(client_prefix);
        let holder = Reservation { peer, credential: credential.into(), bytes: 0, moved, _evicts: evicts };
        state.holders.insert(id, holder);
        drop(state);
        ReservationGuard { room: self.clone(), id, evicted }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> u64 {
        self.state().held
    }
}

/// The group of holders from which one is evicted.
#[derive(Clone, Copy)]
enum Group {
    Address,
    Credential,
    All,
}

impl State {
    /// Returns the group that would exceed its part if a holder got this many more bytes.
    fn crowded(&self, room: &SharedSpace, id: u64, bytes: u64) -> Option<Group> {
        let of = self.holders.get(&id)?;
        let over = |held: u64, most| held.saturating_add(bytes) > most;
        let of_address = self.by_address.get(&of.peer).copied().unwrap_or_default();
        let of_credential = self.by_credential.get(&of.credential).copied().unwrap_or_default();
        if over(of_address, room.share) {
            Some(Group::Address)
        } else if over(of_credential, room.share) {
            Some(Group::Credential)
        } else {
            over(self.held, room.most).then_some(Group::All)
        }
    }

    /// Returns the holder to evict in favour of another: of the address that holds most, the one that has been idle
    /// longest.
    fn victim(&self, id: u64, among: Group) -> Option<u64> {
        let of = self.holders.get(&id)?;
        let others = self.holders.iter().filter(|(other, _)| **other != id);
        let candidates = others.filter(|(_, holder)| holder.bytes > 0 && among.has(of, holder));
        let of_address =
            |holder: &Reservation| self.by_address.get(&holder.peer).copied().unwrap_or_default();
        candidates.max_by_key(|(_, holder)| (of_address(holder), u64::MAX - holder.moved)).map(|it| *it.0)
    }

    fn add(&mut self, id: u64, bytes: u64) -> bool {
        self.turn += 1;
        let Some(holder) = self.holders.get_mut(&id) else { return false };
        holder.bytes = holder.bytes.saturating_add(bytes);
        holder.moved = self.turn;
        *self.by_address.entry(holder.peer).or_default() += bytes;
        *self.by_credential.entry(holder.credential.clone()).or_default() += bytes;
        self.held = self.held.saturating_add(bytes);
        true
    }

    fn remove(&mut self, id: u64) {
        let Some(holder) = self.holders.remove(&id) else { return };
        self.held = self.held.saturating_sub(holder.bytes);
        subtract(&mut self.by_address, &holder.peer, holder.bytes);
        subtract(&mut self.by_credential, &holder.credential, holder.bytes);
    }
}

/// Subtracts bytes from a sum, and removes the sum when it is zero.
fn subtract<K: Eq + Hash>(sums: &mut HashMap<K, u64>, key: &K, bytes: u64) {
    if let Some(sum) = sums.get_mut(key) {
        *sum = sum.saturating_sub(bytes);
        if *sum == 0 {
            sums.remove(key);
        }
    }
}

impl Group {
    fn has(self, of: &Reservation, other: &Reservation) -> bool {
        match self {
            Self::Address => of.peer == other.peer,
            Self::Credential => of.credential == other.credential,
            Self::All => true,
        }
    }
}

/// A part of the space, which is released when this is dropped.
#[derive(Debug)]
pub(super) struct ReservationGuard {
    room: Arc<SharedSpace>,
    id: u64,
    evicted: oneshot::Receiver<()>,
}

impl ReservationGuard {
    /// Takes this many more bytes, and evicts others if necessary. Returns `false` if there is no space.
    pub(super) fn grow(&mut self, bytes: u64) -> bool {
        let mut state = self.room.state();
        while let Some(among) = state.crowded(&self.room, self.id, bytes) {
            let Some(victim) = state.victim(self.id, among) else { return false };
            state.remove(victim);
        }
        state.add(self.id, bytes)
    }

    /// Resolves when the bytes are evicted in favour of others.
    pub(super) fn poll_evicted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.evicted).poll(cx).map(drop)
    }
}

impl Drop for ReservationGuard {
    fn drop(&mut self) {
        self.room.state().remove(self.id);
    }
}
