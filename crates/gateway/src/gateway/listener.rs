//! Accepts TCP connections. Connections over the limit are closed before anything is read.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    connection::{ConnectionHandler, ConnectionInfo, Protocol},
    connection_limit::{ConnectionLimit, Rejected},
    connection_outcome::ConnectionOutcome,
    tls::{self, ListenerTls},
};
use crate::config;

/// The number of connections that the kernel queues until a worker accepts them. The kernel does not answer more.
const BACKLOG: u32 = 4096;

/// The number of attempts to bind an address that is in use, and the pause between two attempts: two seconds in total,
/// as in nginx.
const BIND_ATTEMPTS: u32 = 5;
const BIND_PAUSE: Duration = Duration::from_millis(500);

/// The pause before the next accept when the machine is out of file descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The transport of a listener.
#[derive(Clone)]
enum Transport {
    /// TLS, with the protocol that ALPN selects.
    Tls(ListenerTls),
    /// Plain text: HTTP/1.1, or the protocol that the client begins with.
    Plain(Protocol),
}

/// A listening socket shared by all workers. The kernel hands each connection to an idle worker.
pub(super) struct Listener {
    socket: std::net::TcpListener,
    transport: Transport,
}

impl Listener {
    /// Binds an address. Must be called inside a runtime.
    ///
    /// # Errors
    /// Fails if the address cannot be bound or its certificate cannot be used.
    pub(super) fn bind(listener: &config::Listener) -> anyhow::Result<Self> {
        let transport = match &listener.tls {
            Some(tls) => Transport::Tls(ListenerTls::new(tls::load(tls)?)),
            None if listener.h2c => Transport::Plain(Protocol::Auto),
            None => Transport::Plain(Protocol::Http1),
        };
        let socket =
            bind(listener.address).with_context(|| format!("cannot listen on {}", listener.address))?;
        Ok(Self { socket, transport })
    }

    /// Returns the TLS settings, if the listener has TLS.
    pub(super) fn tls(&self) -> Option<&ListenerTls> {
        match &self.transport {
            Transport::Tls(tls) => Some(tls),
            Transport::Plain(_) => None,
        }
    }

    /// Duplicates the socket for another worker.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, transport: self.transport.clone() })
    }
}

/// Binds a listening socket. If another process has the address, retries for a moment: a process that is being replaced
/// was told to stop and will close it soon. Must be called inside a runtime.
#[allow(clippy::disallowed_methods, reason = "nothing is served yet")]
fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    for _ in 1..BIND_ATTEMPTS {
        match try_bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tracing::warn!(%address, "address in use, retrying");
                std::thread::sleep(BIND_PAUSE);
            }
            bound => return bound,
        }
    }
    try_bind(address)
}

fn try_bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Accepts connections, applies the connection limit and serves them.
#[derive(Clone)]
pub(super) struct Acceptor {
    pub(super) handler: ConnectionHandler,
    pub(super) connection_limit: Arc<ConnectionLimit>,
    pub(super) down: watch::Receiver<bool>,
}

impl Acceptor {
    /// Accepts connections until the server shuts down. Connections that are queued by then are still accepted.
    pub(super) async fn run(mut self, listener: Listener) -> io::Result<()> {
        let socket = TcpListener::from_std(listener.socket)?;
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                // If the sender is dropped, the server has stopped, too.
                _ = self.down.wait_for(|down| *down) => break,
            };
            match accepted {
                Ok((stream, address)) => self.spawn(stream, address.ip(), &listener.transport),
                // The client closed the connection before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if let Some(failures) = self.connection_limit.accept_failed() {
                        tracing::error!(%error, failures, "accepting connections failed, retrying");
                    }
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        let socket = socket.into_std()?;
        for _ in 0..BACKLOG {
            match socket.accept() {
                Ok((stream, address)) => {
                    stream.set_nonblocking(true)?;
                    self.spawn(TcpStream::from_std(stream)?, address.ip(), &listener.transport);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Returns the timeout of a TLS handshake.
    fn handshake(&self) -> Duration {
        self.handler.settings().limits.head_timeout.duration()
    }

    fn spawn(&self, stream: TcpStream, peer: IpAddr, transport: &Transport) {
        let counts = self.handler.counts();
        let permit = match self.connection_limit.try_acquire(peer) {
            Ok(permit) => permit,
            Err(Rejected { outcome, suppressed }) => {
                counts.connection(outcome);
                if let Some(rejected) = suppressed {
                    let (open, why) = (self.connection_limit.open(), outcome.name());
                    tracing::warn!(%peer, open, why, rejected, "connections rejected, limit reached");
                }
                return;
            }
        };
        // Responses are written whole. Nagle's algorithm would only delay their last segment.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %peer, "connection closed before it was served");
            return;
        }
        let (acceptor, transport) = (self.clone(), transport.clone());
        tokio::spawn(async move {
            acceptor.serve(stream, peer, transport).await;
            drop(permit);
        });
    }

    async fn serve(self, stream: TcpStream, peer: IpAddr, transport: Transport) {
        let counts = self.handler.counts();
        match transport {
            Transport::Plain(protocol) => {
                counts.connection(ConnectionOutcome::Served);
                self.handler.serve(stream, ConnectionInfo { peer, secure: false, protocol }, self.down).await;
            }
            Transport::Tls(tls) => match timeout(self.handshake(), tls.acceptor().accept(stream)).await {
                Ok(Ok(stream)) => {
                    counts.connection(ConnectionOutcome::Served);
                    let agreed = stream.get_ref().1.alpn_protocol();
                    let protocol = if agreed == Some(tls::H2) { Protocol::Http2 } else { Protocol::Http1 };
                    self.handler
                        .serve(stream, ConnectionInfo { peer, secure: true, protocol }, self.down)
                        .await;
                }
                Ok(Err(error)) => {
                    counts.connection(ConnectionOutcome::TlsError);
                    tracing::debug!(%error, %peer, "TLS handshake failed");
                }
                Err(_) => {
                    counts.connection(ConnectionOutcome::TlsError);
                    tracing::debug!(%peer, "TLS handshake timed out");
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        config::Limits,
        gateway::{client_addr::TrustedProxies, test_support::handler},
    };

    #[tokio::test]
    async fn connections_accepted_before_shutdown_are_served() {
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut waiting = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let (_server, down) = watch::channel(true);
        let acceptor = Acceptor {
            handler: handler(""),
            connection_limit: ConnectionLimit::new(&Limits::default(), TrustedProxies::new(&[])),
            down,
        };
        acceptor.run(Listener { socket, transport: Transport::Plain(Protocol::Http1) }).await.unwrap();
        waiting.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        waiting.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
}
