//! Client addresses as the unit of per-client limits.

use std::net::{IpAddr, Ipv6Addr};

/// Returns the unit that per-client limits count: an IPv4 address, or the /64 prefix of an IPv6 address, because an
/// IPv6 host can use any address of its /64.
#[must_use]
pub fn client_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}
