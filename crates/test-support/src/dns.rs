//! A DNS server for tests, on a free port of 127.0.0.1, over UDP and TCP.
//!
//! Tests set the replies and change them while the server runs. Names without a reply do not exist (NXDOMAIN).
//!
//! ```
//! use portcullis_test::dns::{DnsRecord, DnsReply, DnsServer};
//!
//! # async fn example() {
//! let server = DnsServer::start().await;
//! server.set("orders.example", [DnsRecord::ip(1, "10.0.0.1"), DnsRecord::ip(1, "2001:db8::1")]);
//! // Start what is tested with the name server `server.address()`.
//! server.wait_for_queries("orders.example", 2).await;
//! server.reply("orders.example", DnsReply::ServerFailure);
//! # }
//! ```

mod message;
mod server;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hickory_proto::rr::{
    Name, RData,
    rdata::{CNAME, SRV},
};
use tokio::{sync::watch, task::JoinHandle};

pub use hickory_proto::rr::RecordType;

/// A DNS server. It stops when it is dropped.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    zone: Arc<Zone>,
    tasks: [JoinHandle<()>; 2],
}

/// A record of a name.
#[derive(Debug, Clone)]
pub struct DnsRecord {
    ttl: u32,
    data: RData,
}

/// A reply to queries for a name.
#[derive(Debug, Clone)]
pub enum DnsReply {
    /// The records that the query asks for among these. Aliases are followed. Over UDP, a reply that is larger than the
    /// client allows is truncated.
    Records(Vec<DnsRecord>),
    /// A truncated reply over UDP, and these records over TCP.
    TruncatedOverUdp(Vec<DnsRecord>),
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The server failed (SERVFAIL).
    ServerFailure,
    /// No reply.
    Silence,
    /// A message with the id of the query, followed by these bytes.
    Raw(Vec<u8>),
}

/// The state of the server, which its tasks share.
#[derive(Debug, Default)]
struct Zone {
    content: Mutex<Content>,
    /// Changes with each query.
    queries: watch::Sender<u64>,
    /// Changes when the TCP connections must be closed.
    closed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Content {
    /// Replies by name, and by record type if only queries for one type get the reply.
    replies: HashMap<(Name, Option<RecordType>), DnsReply>,
    queries: HashMap<Name, Queries>,
    additionals: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Queries {
    all: usize,
    tcp: usize,
}

impl DnsServer {
    /// Starts a server.
    pub async fn start() -> Self {
        let zone = Arc::new(Zone::default());
        let (udp, tcp) = server::bind().await;
        let address = udp.local_addr().expect("a bound socket has an address");
        let tasks = [
            tokio::spawn(server::serve_udp(udp, zone.clone())),
            tokio::spawn(server::serve_tcp(tcp, zone.clone())),
        ];
        Self { address, zone, tasks }
    }

    /// Returns the address of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the records of a name.
    pub fn set(&self, name: &str, records: impl IntoIterator<Item = DnsRecord>) {
        self.reply(name, DnsReply::Records(records.into_iter().collect()));
    }

    /// Sets the reply to all queries for a name.
    pub fn reply(&self, name: &str, reply: DnsReply) {
        let mut content = self.zone.lock();
        let name = absolute(name);
        content.replies.retain(|(other, _), _| *other != name);
        content.replies.insert((name, None), reply);
    }

    /// Sets the reply to queries for a name and a record type. Queries for other types get their reply as before.
    pub fn reply_to(&self, name: &str, kind: RecordType, reply: DnsReply) {
        self.zone.lock().replies.insert((absolute(name), Some(kind)), reply);
    }

    /// Sets whether the addresses of the targets of SRV records are sent along with them. Default: no.
    pub fn send_additionals(&self, send: bool) {
        self.zone.lock().additionals = send;
    }

    /// Closes the TCP connections of clients, as servers do with idle ones.
    pub fn close_connections(&self) {
        self.zone.closed.send_modify(|count| *count += 1);
    }

    /// Returns the number of queries for a name so far, over UDP and TCP and for all record types.
    pub fn queries(&self, name: &str) -> usize {
        self.zone.lock().queries.get(&absolute(name)).map_or(0, |queries| queries.all)
    }

    /// Returns the number of queries for a name over TCP so far.
    pub fn tcp_queries(&self, name: &str) -> usize {
        self.zone.lock().queries.get(&absolute(name)).map_or(0, |queries| queries.tcp)
    }

    /// Waits until there have been this many queries for a name.
    pub async fn wait_for_queries(&self, name: &str, count: usize) {
        let mut changed = self.zone.queries.subscribe();
        while self.queries(name) < count {
            changed.changed().await.expect("the sender lives as long as the server");
        }
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl DnsRecord {
    /// An A or AAAA record.
    pub fn ip(ttl: u32, address: &str) -> Self {
        let address: IpAddr = address.parse().expect("an IP address");
        Self { ttl, data: address.into() }
    }

    /// A CNAME record.
    pub fn alias(ttl: u32, name: &str) -> Self {
        Self { ttl, data: RData::CNAME(CNAME(absolute(name))) }
    }

    /// An SRV record.
    pub fn service(ttl: u32, (priority, weight): (u16, u16), port: u16, target: &str) -> Self {
        Self { ttl, data: RData::SRV(SRV::new(priority, weight, port, absolute(target))) }
    }
}

impl Zone {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn absolute(name: &str) -> Name {
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    name.to_lowercase()
}
