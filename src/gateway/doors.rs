//! How many connections may be open: in all, and from one address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// Counts open connections, and turns away those beyond the limits.
#[derive(Debug)]
pub(super) struct Doors {
    most: u32,
    most_of_one: u32,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: u32,
    /// Only addresses that have a connection: never more entries than connections.
    by_address: HashMap<IpAddr, u32>,
}

impl Doors {
    pub(super) fn new(most: u32, most_of_one: u32) -> Arc<Self> {
        Arc::new(Self { most, most_of_one, open: Mutex::default() })
    }

    /// A place for a connection, unless there is none left.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let address = neighbourhood(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.most {
            return None;
        }
        let of_one = open.by_address.entry(address).or_default();
        if *of_one >= self.most_of_one {
            return None;
        }
        *of_one += 1;
        open.all += 1;
        Some(Seat { doors: self.clone(), address })
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> u32 {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).all
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

/// What counts as one address: an IPv6 host has a whole /64 to choose from.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let doors = Doors::new(3, 2);
        let seats: Vec<_> = (0..2).map(|_| doors.enter(address("192.0.2.1")).unwrap()).collect();
        assert!(doors.enter(address("192.0.2.1")).is_none());
        assert!(doors.enter(address("::ffff:192.0.2.1")).is_none(), "the same address, written otherwise");
        let other = doors.enter(address("192.0.2.2")).unwrap();
        assert!(doors.enter(address("192.0.2.3")).is_none(), "no place is left at all");
        drop(other);
        drop(seats);
        assert_eq!(doors.open(), 0);
        assert!(doors.open.lock().unwrap().by_address.is_empty());
    }

    #[test]
    fn a_host_of_ipv6_is_its_network() {
        let doors = Doors::new(10, 1);
        let _seat = doors.enter(address("2001:db8:1:2::1")).unwrap();
        assert!(doors.enter(address("2001:db8:1:2:ffff::9")).is_none());
        assert!(doors.enter(address("2001:db8:1:3::1")).is_some());
    }
}
