//! Resolves the names of upstreams: by the hosts file, then by DNS, with the TTL of the records.

mod error;
mod follow;
mod hosts;
mod name_servers;
mod records;
mod search_list;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use hickory_resolver::proto::rr::{self, RecordType};
use tokio::time::Instant;

use crate::config;
use error::Failure;
pub(super) use error::ResolveError;
use name_servers::NameServers;
use records::{Addresses, Targets};
use search_list::{Search, SearchList};

/// The configuration of the system's resolver.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The hosts file of the system.
const HOSTS: &str = "/etc/hosts";

/// The time until a name is searched in the hosts file again.
const HOSTS_TTL: Duration = Duration::from_secs(60);

/// The time until a name is looked up again if some of its records could not be found.
const INCOMPLETE_TTL: Duration = Duration::from_secs(10);

/// The maximum number of targets of SRV records that are looked up at once.
const CONCURRENT_TARGETS: usize = 8;

/// The name of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    /// A host name and a port, such as `orders:9000`, for A and AAAA records.
    Host {
        /// The host name; absolute if it ends with a dot.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// The name of SRV records, such as `_http._tcp.orders.example`.
    Service(Arc<str>),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Service(service) => f.write_str(service),
        }
    }
}

/// An address of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ResolvedAddress {
    /// The address and port.
    pub(super) address: SocketAddr,
    /// The share of requests among addresses with the same priority: that of the SRV record, or 1.
    pub(super) weight: u16,
    /// The priority of the SRV record, or 0. Addresses with a higher number are for use when those with a lower number
    /// are not available.
    pub(super) priority: u16,
}

/// The addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    /// The addresses, sorted by priority and address, so that equal sets are equal lists. There is at least one.
    pub(super) addresses: Vec<ResolvedAddress>,
    /// The time until the name must be looked up again.
    pub(super) valid_for: Duration,
}

/// A resolver. Clones share its clients of name servers.
#[derive(Debug, Clone)]
pub(super) struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    servers: NameServers,
    search: SearchList,
    hosts: PathBuf,
    min_ttl: Duration,
    max_ttl: Duration,
    timeout: Duration,
}

impl Resolver {
    /// Creates a resolver from the configuration and `/etc/resolv.conf`. Without name servers, it resolves only
    /// `localhost` and the names in `/etc/hosts`.
    ///
    /// # Errors
    /// If the client of a name server cannot be created.
    pub(super) fn new(config: &config::Dns) -> anyhow::Result<Self> {
        Self::with_files(config, Path::new(RESOLV_CONF), Path::new(HOSTS))
    }

    fn with_files(config: &config::Dns, resolv_conf: &Path, hosts: &Path) -> anyhow::Result<Self> {
        let (system, absence) = match std::fs::read(resolv_conf) {
            Ok(bytes) => {
                let (file, errors) = resolv_conf::Config::parse_with_errors(&bytes);
                for error in errors {
                    tracing::warn!(file = %resolv_conf.display(), %error, "line ignored");
                }
                (file, format!("{} has none", resolv_conf.display()))
            }
            Err(error) => (resolv_conf::Config::default(), format!("{}: {error}", resolv_conf.display())),
        };
        let configured = config.servers.clone();
        let listed = system.nameservers.iter().map(|ip| SocketAddr::new(ip.into(), 53));
        let servers: Vec<_> = if configured.is_empty() { listed.collect() } else { configured };
        let timeout = config.timeout.duration();
        Ok(Self(Arc::new(Inner {
            servers: NameServers::new(&servers, timeout, absence)?,
            search: SearchList::new(&system),
            hosts: hosts.to_owned(),
            min_ttl: config.min_ttl.duration(),
            max_ttl: config.max_ttl.duration(),
            timeout,
        })))
    }

    /// Looks up a name.
    ///
    /// # Errors
    /// If the name has no addresses, or no name server answers in time.
    pub(super) async fn resolve(&self, name: &Name) -> Result<Resolved, ResolveError> {
        let deadline = Instant::now() + self.0.timeout;
        let (text, found) = match name {
            Name::Host { host, port } => (host, self.0.host(host, *port, deadline).await),
            Name::Service(service) => (service, self.0.service(service, deadline).await),
        };
        let (mut addresses, ttl) = found.map_err(|failure| ResolveError { name: text.clone(), failure })?;
        addresses.sort_unstable_by_key(|one| (one.priority, one.address, one.weight));
        addresses.dedup();
        Ok(Resolved { addresses, valid_for: ttl.clamp(self.0.min_ttl, self.0.max_ttl) })
    }
}

impl Inner {
    async fn host(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<(Vec<ResolvedAddress>, Duration), Failure> {
        let found = match self.local(host).await {
            Some(found) => found,
            None => self.search_addresses(host, deadline).await?,
        };
        let address = |ip| ResolvedAddress { address: SocketAddr::new(ip, port), weight: 1, priority: 0 };
        Ok((found.ips.into_iter().map(address).collect(), found.ttl))
    }

    /// Returns the addresses of a name that needs no name server: one in the hosts file, or `localhost` (RFC 6761,
    /// section 6.3).
    async fn local(&self, host: &str) -> Option<Addresses> {
        let mut ips = hosts::find(&self.hosts, host).await;
        let relative = host.strip_suffix('.').unwrap_or(host);
        let last = relative.rsplit('.').next().unwrap_or_default();
        if ips.is_empty() && last.eq_ignore_ascii_case("localhost") {
            ips = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        (!ips.is_empty()).then_some(Addresses { ips, ttl: HOSTS_TTL })
    }

    async fn search_addresses(&self, host: &str, deadline: Instant) -> Result<Addresses, Failure> {
        let mut search = Search::default();
        for name in self.search.candidates(host) {
            if let Some(result) = search.step(self.addresses(&name, deadline).await) {
                return result;
            }
        }
        Err(search.failure())
    }

    /// Looks up A and AAAA records at once. If only one of the queries fails, the records of the other are used.
    async fn addresses(&self, name: &rr::Name, deadline: Instant) -> Result<Addresses, Failure> {
        let (v4, v6) = (RecordType::A, RecordType::AAAA);
        match tokio::join!(self.records(name, v4, deadline), self.records(name, v6, deadline)) {
            (Ok(v4), Ok(v6)) => Ok(v4.and(v6)),
            (Ok(found), Err(failure)) | (Err(failure), Ok(found)) if failure.is_negative() => Ok(found),
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found.valid_for_at_most(INCOMPLETE_TTL)),
            (Err(v4), Err(v6)) => Err(v4.and(v6)),
        }
    }

    async fn records(
        &self,
        name: &rr::Name,
        kind: RecordType,
        deadline: Instant,
    ) -> Result<Addresses, Failure> {
        records::addresses(&self.servers.query(name, kind, deadline).await?, name, kind)
    }

    async fn service(
        &self,
        service: &str,
        deadline: Instant,
    ) -> Result<(Vec<ResolvedAddress>, Duration), Failure> {
        let mut search = Search::default();
        for name in self.search.candidates(service) {
            if let Some(result) = search.step(self.targets(&name, deadline).await) {
                return self.target_addresses(result?, deadline).await;
            }
        }
        Err(search.failure())
    }

    async fn targets(&self, name: &rr::Name, deadline: Instant) -> Result<Targets, Failure> {
        records::targets(&self.servers.query(name, RecordType::SRV, deadline).await?, name)
    }

    /// Looks up the addresses of targets. Targets without addresses are left out, unless no target has addresses.
    async fn target_addresses(
        &self,
        targets: Targets,
        deadline: Instant,
    ) -> Result<(Vec<ResolvedAddress>, Duration), Failure> {
        let look_ups = targets.list.into_iter().map(async |mut target| {
            let found = match target.additional.take() {
                Some(found) => Ok(found),
                None => self.target(&target.host, deadline).await,
            };
            (target, found)
        });
        let mut found = stream::iter(look_ups).buffer_unordered(CONCURRENT_TARGETS);
        let (mut addresses, mut ttl, mut failed) = (Vec::new(), targets.ttl, None);
        while let Some((target, result)) = found.next().await {
            match result {
                Ok(found) => {
                    ttl = ttl.min(found.ttl);
                    addresses.extend(found.ips.into_iter().map(|ip| target.at(ip)));
                }
                Err(failure) => failed = Some(failure),
            }
        }
        match failed {
            Some(failure) if addresses.is_empty() => Err(failure),
            Some(_) => Ok((addresses, ttl.min(INCOMPLETE_TTL))),
            None => Ok((addresses, ttl)),
        }
    }

    /// Looks up the addresses of the target of an SRV record, which is an absolute name.
    async fn target(&self, host: &rr::Name, deadline: Instant) -> Result<Addresses, Failure> {
        match self.local(&host.to_ascii()).await {
            Some(found) => Ok(found),
            None => self.addresses(host, deadline).await,
        }
    }
}
