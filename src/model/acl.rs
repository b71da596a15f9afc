//! Lists of the addresses from which an app may call.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// An error for a text that names no range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address, a range of them such as 192.0.2.1-192.0.2.9, or a block such as 192.0.2.0/24")]
pub struct InvalidRange;

/// An error for an address list that is empty or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("1 to {} addresses, ranges or blocks", Acl::MAX_RANGES)]
pub struct InvalidAcl;

/// A contiguous range of addresses: one address, a range, or a block. It is displayed as it was written.
///
/// An IPv4 address equals the IPv6 address that maps it.
///
/// ```
/// use portcullis::model::AddressRange;
///
/// let range: AddressRange = "192.0.2.100/28".parse().unwrap();
/// assert!(range.contains("192.0.2.96".parse().unwrap()));
/// assert!(!range.contains("192.0.2.112".parse().unwrap()));
/// assert_eq!(range.to_string(), "192.0.2.100/28");
/// assert!("192.0.2.9-192.0.2.1".parse::<AddressRange>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    text: Box<str>,
    /// First and last address, both of one family.
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// Returns `true` if the range contains an address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }
}

impl FromStr for AddressRange {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let address = |text: &str| text.parse::<IpAddr>().map_err(|_| InvalidRange);
        let (first, last) = if let Some((first, last)) = text.split_once('-') {
            (address(first)?.to_canonical(), address(last)?.to_canonical())
        } else if let Some((inside, length)) = text.split_once('/') {
            let (first, last) = block(address(inside)?, number(length)?)?;
            // A block of addresses that all map IPv4 ones is the block of those IPv4 addresses.
            match (first.to_canonical(), last.to_canonical()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => (first.into(), last.into()),
                _ => (first, last),
            }
        } else {
            let one = address(text)?.to_canonical();
            (one, one)
        };
        if first.is_ipv4() != last.is_ipv4() || first > last {
            return Err(InvalidRange);
        }
        Ok(Self { text: text.into(), first, last })
    }
}

/// Parses a decimal number. `str::parse` would accept a sign and leading zeros.
fn number(text: &str) -> Result<u32, InvalidRange> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| InvalidRange) } else { Err(InvalidRange) }
}

/// Returns the first and the last address of a block.
fn block(inside: IpAddr, length: u32) -> Result<(IpAddr, IpAddr), InvalidRange> {
    match inside {
        IpAddr::V4(inside) => {
            let hosts = 32_u32.checked_sub(length).ok_or(InvalidRange)?;
            let hosts = 1_u32.checked_shl(hosts).map_or(u32::MAX, |hosts| hosts - 1);
            let first = inside.to_bits() & !hosts;
            Ok((Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(first | hosts).into()))
        }
        IpAddr::V6(inside) => {
            let hosts = 128_u32.checked_sub(length).ok_or(InvalidRange)?;
            let hosts = 1_u128.checked_shl(hosts).map_or(u128::MAX, |hosts| hosts - 1);
            let first = inside.to_bits() & !hosts;
            Ok((Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(first | hosts).into()))
        }
    }
}

impl TryFrom<String> for AddressRange {
    type Error = InvalidRange;

    fn try_from(text: String) -> Result<Self, InvalidRange> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.text.into()
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AddressRange({})", self.text)
    }
}

/// The effect of an address list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AclKind {
    /// Only the listed addresses are allowed.
    Permit,
    /// All addresses but the listed ones are allowed.
    Deny,
}

impl AclKind {
    /// Returns the kind's name in the store and on the APIG surface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "PERMIT",
            Self::Deny => "DENY",
        }
    }
}

/// The list of addresses from which an app may, or may not, call: 1 to 100 ranges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawAcl")]
pub struct Acl {
    kind: AclKind,
    ranges: Box<[AddressRange]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAcl {
    kind: AclKind,
    ranges: Vec<AddressRange>,
}

impl TryFrom<RawAcl> for Acl {
    type Error = InvalidAcl;

    fn try_from(raw: RawAcl) -> Result<Self, InvalidAcl> {
        Self::new(raw.kind, raw.ranges)
    }
}

impl Acl {
    /// Maximum number of ranges. Each request of the app is compared with every range.
    pub const MAX_RANGES: usize = 100;

    /// Creates a list that permits or denies these ranges.
    ///
    /// # Errors
    /// [`InvalidAcl`] when there are no ranges, or more than [`MAX_RANGES`](Self::MAX_RANGES).
    pub fn new(kind: AclKind, ranges: Vec<AddressRange>) -> Result<Self, InvalidAcl> {
        let fits = (1..=Self::MAX_RANGES).contains(&ranges.len());
        if fits { Ok(Self { kind, ranges: ranges.into() }) } else { Err(InvalidAcl) }
    }

    /// Returns the effect of the list.
    #[must_use]
    pub fn kind(&self) -> AclKind {
        self.kind
    }

    /// Returns the ranges as they were given.
    #[must_use]
    pub fn ranges(&self) -> &[AddressRange] {
        &self.ranges
    }

    /// Returns `true` if a client at this address may call. A client of unknown address may not.
    #[must_use]
    pub fn allows(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| {
            let listed = self.ranges.iter().any(|range| range.contains(address));
            listed == (self.kind == AclKind::Permit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_contains_its_ends_and_everything_between() {
        for (range, inside, outside) in [
            ("192.0.2.1", &["192.0.2.1", "::ffff:192.0.2.1"][..], &["192.0.2.2", "::192.0.2.1", "::1"][..]),
            ("192.0.2.5-192.0.2.10", &["192.0.2.5", "192.0.2.7", "192.0.2.10"], &["192.0.2.4", "192.0.2.11"]),
            ("192.0.2.100/28", &["192.0.2.96", "192.0.2.111"], &["192.0.2.95", "192.0.2.112"]),
            ("192.0.2.1/32", &["192.0.2.1"], &["192.0.2.0", "192.0.2.2"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::1"]),
            ("::/0", &["::1", "ffff::"], &["192.0.2.1"]),
            ("2001:db8::/32", &["2001:db8::", "2001:db8:ffff::1"], &["2001:db7:ffff::", "2001:db9::"]),
            ("2001:db8::1-2001:db8::ff", &["2001:db8::1", "2001:DB8::fF"], &["2001:db8::", "2001:db8::100"]),
            ("::ffff:192.0.2.0/120", &["192.0.2.0", "192.0.2.255"], &["192.0.3.0"]),
            ("::ffff:192.0.2.1-192.0.2.2", &["192.0.2.1", "192.0.2.2"], &["192.0.2.3"]),
        ] {
            let parsed: AddressRange = range.parse().unwrap();
            assert_eq!(parsed.to_string(), range);
            let holds = |text: &&str| parsed.contains(text.parse().unwrap());
            assert!(inside.iter().all(holds), "{range}");
            assert!(!outside.iter().any(holds), "{range}");
        }
    }

    #[test]
    fn invalid_range_is_rejected() {
        for text in [
            "",
            "localhost",
            "192.0.2",
            "192.0.2.256",
            "192.0.2.01",
            " 192.0.2.1",
            "192.0.2.1-",
            "192.0.2.1-192.0.2.2-192.0.2.3",
            "192.0.2.2-192.0.2.1",
            "192.0.2.1-::1",
            "192.0.2.0/33",
            "192.0.2.0/",
            "192.0.2.0/+8",
            "192.0.2.0/08",
            "192.0.2.0/255.255.255.0",
            "2001:db8::/129",
            "fe80::1%eth0",
            "[::1]",
            "192.0.2.1:80",
        ] {
            assert_eq!(text.parse::<AddressRange>(), Err(InvalidRange), "{text:?}");
        }
    }

    #[test]
    fn list_allows_or_denies() {
        let ranges = || vec!["192.0.2.1".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let (permit, deny) = (Acl::new(AclKind::Permit, ranges()), Acl::new(AclKind::Deny, ranges()));
        for (address, listed) in [("192.0.2.1", true), ("2001:db8::9", true), ("192.0.2.2", false)] {
            let address = Some(address.parse().unwrap());
            assert_eq!(
                (permit.as_ref().unwrap().allows(address), deny.as_ref().unwrap().allows(address)),
                (listed, !listed)
            );
        }
        assert!(!permit.as_ref().unwrap().allows(None) && !deny.unwrap().allows(None));
        assert_eq!(Acl::new(AclKind::Deny, vec![]), Err(InvalidAcl));
        assert!(Acl::new(AclKind::Deny, vec!["::1".parse().unwrap(); Acl::MAX_RANGES]).is_ok());
        assert_eq!(
            Acl::new(AclKind::Deny, vec!["::1".parse().unwrap(); Acl::MAX_RANGES + 1]),
            Err(InvalidAcl)
        );
        let text = serde_json::to_string(&permit.unwrap()).unwrap();
        assert_eq!(text, r#"{"kind":"PERMIT","ranges":["192.0.2.1","2001:db8::/32"]}"#);
        assert!(serde_json::from_str::<Acl>(&text).is_ok());
        assert!(serde_json::from_str::<Acl>(r#"{"kind":"PERMIT","ranges":[]}"#).is_err());
    }
}
