//! Reads the records of answers.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::{
    ResolvedAddress,
    error::{Failure, Negative},
    name_servers::Answer,
};

/// IP addresses and their validity.
pub(super) struct Addresses {
    /// The addresses; at least one.
    pub(super) ips: Vec<IpAddr>,
    /// The lowest TTL of their records.
    pub(super) ttl: Duration,
}

impl Addresses {
    pub(super) fn and(mut self, other: Self) -> Self {
        self.ips.extend(other.ips);
        self.valid_for_at_most(other.ttl)
    }

    pub(super) fn valid_for_at_most(self, ttl: Duration) -> Self {
        Self { ttl: self.ttl.min(ttl), ..self }
    }
}

/// The targets of a service.
pub(super) struct Targets {
    /// The targets; at least one.
    pub(super) list: Vec<Target>,
    /// The lowest TTL of their records.
    pub(super) ttl: Duration,
}

/// The target of an SRV record.
pub(super) struct Target {
    pub(super) host: Name,
    /// The addresses that were sent along with the record.
    pub(super) additional: Option<Addresses>,
    port: u16,
    weight: u16,
    priority: u16,
}

impl Target {
    pub(super) fn at(&self, ip: IpAddr) -> ResolvedAddress {
        let address = SocketAddr::new(ip, self.port);
        ResolvedAddress { address, weight: self.weight, priority: self.priority }
    }
}

/// Returns the lowest TTL of records, or zero.
fn lowest_ttl<'a>(records: impl IntoIterator<Item = &'a Record>) -> Duration {
    Duration::from_secs(records.into_iter().map(|record| record.ttl).min().unwrap_or(0).into())
}

/// Returns the addresses of a name and of its aliases. The TTL of an alias counts, too.
pub(super) fn addresses(answer: &Answer, name: &Name, kind: RecordType) -> Result<Addresses, Failure> {
    let records = answer.lookup.answers();
    let ips: Vec<_> = owned(records, name).filter_map(usable_ip).collect();
    if ips.is_empty() {
        let negative = Negative::new(answer.server, name, kind);
        return Err(Failure::NoRecords(negative));
    }
    Ok(Addresses { ips, ttl: lowest_ttl(records) })
}

/// Returns the targets of the SRV records of a name and of its aliases.
pub(super) fn targets(answer: &Answer, name: &Name) -> Result<Targets, Failure> {
    let records = answer.lookup.answers();
    let target = |record: &Record| match &record.data {
        RData::SRV(srv) if !srv.target.is_root() => Some(Target {
            host: srv.target.clone(),
            additional: additional(answer.lookup.additionals(), &srv.target),
            port: srv.port,
            weight: srv.weight,
            priority: srv.priority,
        }),
        _ => None,
    };
    let list: Vec<_> = owned(records, name).filter_map(target).collect();
    if list.is_empty() {
        return Err(Failure::NotAvailable(answer.server));
    }
    Ok(Targets { list, ttl: lowest_ttl(records) })
}

/// Returns the addresses of a host in additional records; `None` if there are none.
fn additional(records: &[Record], host: &Name) -> Option<Addresses> {
    let records = records.iter().filter(|record| record.name == *host && usable_ip(record).is_some());
    let ips: Vec<_> = records.clone().filter_map(usable_ip).collect();
    (!ips.is_empty()).then(|| Addresses { ips, ttl: lowest_ttl(records) })
}

/// Returns the records that belong to a name or to an alias in the answer. A server may add records of other names.
fn owned<'a>(records: &'a [Record], name: &'a Name) -> impl Iterator<Item = &'a Record> {
    let targets: HashSet<_> = records.iter().filter_map(alias).collect();
    records.iter().filter(move |record| record.name == *name || targets.contains(&record.name))
}

fn alias(record: &Record) -> Option<&Name> {
    match &record.data {
        RData::CNAME(target) => Some(&target.0),
        _ => None,
    }
}

/// Returns the address in a record. Addresses that no server can have, such as 0.0.0.0, are ignored: a connection to
/// 0.0.0.0 would reach this machine.
fn usable_ip(record: &Record) -> Option<IpAddr> {
    record.data.ip_addr().filter(|ip| !ip.is_unspecified() && !ip.is_multicast())
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{A, CNAME};

    use super::*;

    #[test]
    fn records_of_other_names_are_ignored() {
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let address =
            |owner: &str, last| Record::from_rdata(name(owner), 1, RData::A(A::new(10, 0, 0, last)));
        let alias =
            |owner: &str, target: &str| Record::from_rdata(name(owner), 1, RData::CNAME(CNAME(name(target))));
        let records =
            [alias("Orders.", "alias."), address("ALIAS.", 1), address("other.", 2), address("orders.", 3)];
        let orders = name("orders.");
        let found: Vec<_> = owned(&records, &orders).filter_map(usable_ip).collect();
        assert_eq!(found, [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 3])]);
    }
}
