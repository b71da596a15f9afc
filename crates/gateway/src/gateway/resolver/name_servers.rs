//! Queries to name servers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RecordType},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::error::{Failure, ServerFailure};

/// The maximum number of concurrent queries. Each has a socket.
const MAX_QUERIES: usize = 64;

/// The name servers, in the order in which they are asked.
///
/// Each has a client of its own. One client for all would not tell which of them failed, and would take the SERVFAIL of
/// one for the answer of all.
#[derive(Debug)]
pub(super) struct NameServers {
    servers: Vec<NameServer>,
    timeout: Duration,
    permits: Semaphore,
    /// The reason why there are no servers.
    absence: Arc<str>,
}

#[derive(Debug)]
struct NameServer {
    address: SocketAddr,
    client: TokioResolver,
}

/// An answer and the name server that gave it.
pub(super) struct Answer {
    pub(super) server: SocketAddr,
    pub(super) lookup: Lookup,
}

impl NameServers {
    pub(super) fn new(
        addresses: &[SocketAddr],
        timeout: Duration,
        absence: impl Into<Arc<str>>,
    ) -> Result<Self, NetError> {
        let connect =
            |address: &SocketAddr| Ok(NameServer { address: *address, client: client(*address, timeout)? });
        let servers = addresses.iter().map(connect).collect::<Result<_, NetError>>()?;
        Ok(Self { servers, timeout, permits: Semaphore::new(MAX_QUERIES), absence: absence.into() })
    }

    /// Returns records. Asks the first name server, and the next one, too, if there is no answer after a while or the
    /// query fails. Negative answers are answers.
    pub(super) async fn query(
        &self,
        name: &Name,
        kind: RecordType,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        if self.servers.is_empty() {
            return Err(Failure::NoServer(self.absence.clone()));
        }
        let all = || self.servers.iter().map(|server| server.address);
        let Ok(_permit) = timeout_at(deadline, self.permits.acquire()).await else {
            return Err(self.no_response(all(), Vec::new()));
        };
        let mut unasked = self.servers.iter();
        let (mut asked, mut pending, mut failures) = (FuturesUnordered::new(), Vec::new(), Vec::new());
        loop {
            if let Some(server) = unasked.next() {
                asked.push(server.query(name, kind, self.timeout));
                pending.push(server.address);
            }
            let next = Instant::now() + self.timeout / 4;
            let until = if unasked.len() == 0 { deadline } else { deadline.min(next) };
            match timeout_at(until, asked.next()).await {
                Ok(Some((_, Ok(answer)))) => return Ok(answer),
                Ok(Some((server, Err(Failure::Servers(failure))))) => {
                    pending.retain(|address| *address != server);
                    failures.extend(failure);
                }
                Ok(Some((_, Err(negative)))) => return Err(negative),
                Ok(None) => return Err(Failure::Servers(failures)),
                Err(_) if until == deadline => return Err(self.no_response(pending.into_iter(), failures)),
                Err(_) => {}
            }
        }
    }

    fn no_response(
        &self,
        pending: impl Iterator<Item = SocketAddr>,
        mut failures: Vec<(SocketAddr, ServerFailure)>,
    ) -> Failure {
        failures.extend(pending.map(|server| (server, ServerFailure::NoResponse(self.timeout))));
        Failure::Servers(failures)
    }
}

impl NameServer {
    async fn query(
        &self,
        name: &Name,
        kind: RecordType,
        timeout: Duration,
    ) -> (SocketAddr, Result<Answer, Failure>) {
        let found = self.client.lookup(name.clone(), kind).await;
        let result = match found {
            Ok(lookup) => Ok(Answer { server: self.address, lookup }),
            Err(error) => Err(Failure::new(&error, self.address, (name, kind), timeout)),
        };
        (self.address, result)
    }
}

/// Creates a client for one name server. It sends queries over UDP, three times if there is no response, and over TCP if
/// a response was truncated.
fn client(address: SocketAddr, timeout: Duration) -> Result<TokioResolver, NetError> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    let server = NameServerConfig::new(address.ip(), true, connections.into());
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let mut options = ResolverOpts::default();
    options.timeout = timeout;
    options.attempts = 0;
    options.max_active_requests = MAX_QUERIES;
    // The caller waits until the TTL is over and needs fresh records then.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    Resolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()
}
