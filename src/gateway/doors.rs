//! How many connections may be open: in all, and from one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{metrics::Fate, origin::Proxies};
use crate::{address::neighbourhood, config::Limits};

/// How often the log tells of connections that are turned away: a flood is no flood of lines.
const TELLING: Duration = Duration::from_secs(1);

/// Counts open connections, and turns away those beyond the limits.
#[derive(Debug)]
pub(super) struct Doors {
    most: u32,
    most_of_one: u32,
    /// Many stand behind one of these.
    proxies: Proxies,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: u32,
    /// Only addresses that have a connection: never more entries than connections.
    by_address: HashMap<IpAddr, u32>,
    /// How many were turned away since the log told of it, and when that was.
    untold: u64,
    told: Option<Instant>,
}

/// Why a connection is turned away.
#[derive(Debug)]
pub(super) struct TurnedAway {
    pub(super) fate: Fate,
    /// How many there were since this was last told, when it is time to tell it.
    pub(super) tell: Option<u64>,
}

impl Doors {
    pub(super) fn new(limits: &Limits, proxies: Proxies) -> Arc<Self> {
        Arc::new(Self {
            most: limits.connections.get(),
            most_of_one: limits.connections_per_address.get(),
            proxies,
            open: Mutex::default(),
        })
    }

    /// A place for a connection.
    ///
    /// # Errors
    /// When there is none left.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Seat, TurnedAway> {
        let trusted = self.proxies.trusts(address.to_canonical());
        let address = neighbourhood(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.most {
            return Err(open.turned_away(Fate::NoPlace));
        }
        let of_one = open.by_address.entry(address).or_default();
        if *of_one >= self.most_of_one && !trusted {
            return Err(open.turned_away(Fate::NoPlaceForAddress));
        }
        *of_one += 1;
        open.all += 1;
        Ok(Seat { doors: self.clone(), address })
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> u32 {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

/// How many connections are open, through all doors there are.
pub(super) fn all_open(doors: &[Arc<Doors>]) -> u32 {
    doors.iter().map(|doors| doors.open()).sum()
}

impl Open {
    fn turned_away(&mut self, fate: Fate) -> TurnedAway {
        self.untold += 1;
        let now = Instant::now();
        if self.told.is_some_and(|told| now.duration_since(told) < TELLING) {
            return TurnedAway { fate, tell: None };
        }
        self.told = Some(now);
        TurnedAway { fate, tell: Some(std::mem::take(&mut self.untold)) }
    }
}

/// The place of an open connection.
#[derive(Debug)]
pub(super) struct Seat {
    doors: Arc<Doors>,
    address: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.doors.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        if let Some(of_one) = open.by_address.get_mut(&self.address) {
            *of_one = of_one.saturating_sub(1);
            if *of_one == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn doors(most: u32, most_of_one: u32) -> Arc<Doors> {
        let limits = Limits {
            connections: most.try_into().unwrap(),
            connections_per_address: most_of_one.try_into().unwrap(),
            ..Limits::default()
        };
        Doors::new(&limits, Proxies::new(&["198.51.100.0/24".parse().unwrap()]))
    }

    fn turned_away(entered: Result<Seat, TurnedAway>) -> Fate {
        entered.unwrap_err().fate
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let doors = doors(3, 2);
        let seats: Vec<_> = (0..2).map(|_| doors.enter(address("192.0.2.1")).unwrap()).collect();
        assert_eq!(turned_away(doors.enter(address("192.0.2.1"))), Fate::NoPlaceForAddress);
        let written_otherwise = doors.enter(address("::ffff:192.0.2.1"));
        assert_eq!(turned_away(written_otherwise), Fate::NoPlaceForAddress);
        let other = doors.enter(address("192.0.2.2")).unwrap();
        assert_eq!(turned_away(doors.enter(address("192.0.2.3"))), Fate::NoPlace);
        drop(other);
        drop(seats);
        assert_eq!(doors.open(), 0);
        assert!(doors.open.lock().unwrap().by_address.is_empty());
    }

    #[test]
    fn behind_a_trusted_proxy_stand_many() {
        let doors = doors(3, 1);
        let _seats: Vec<_> = (0..3).map(|_| doors.enter(address("198.51.100.1")).unwrap()).collect();
        assert_eq!(turned_away(doors.enter(address("198.51.100.1"))), Fate::NoPlace);
    }

    #[test]
    fn a_host_of_ipv6_is_its_network() {
        let doors = doors(10, 1);
        let _seat = doors.enter(address("2001:db8:1:2::1")).unwrap();
        let neighbour = doors.enter(address("2001:db8:1:2:ffff::9"));
        assert_eq!(turned_away(neighbour), Fate::NoPlaceForAddress);
        assert!(doors.enter(address("2001:db8:1:3::1")).is_ok());
    }

    #[test]
    fn a_flood_is_told_of_now_and_then() {
        let doors = doors(1, 1);
        let _seat = doors.enter(address("192.0.2.1")).unwrap();
        let flood = (0..100).filter_map(|_| doors.enter(address("192.0.2.1")).unwrap_err().tell);
        assert_eq!(flood.collect::<Vec<_>>(), [1]);
        doors.open.lock().unwrap().told = Instant::now().checked_sub(TELLING);
        assert_eq!(doors.enter(address("192.0.2.1")).unwrap_err().tell, Some(100));
    }
}
