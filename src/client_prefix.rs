//! Network addresses as far as they tell who is who.

use std::net::{IpAddr, Ipv6Addr};

/// What counts as one address: an IPv6 host has a whole /64 to choose from.
pub(crate) fn client_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}
