//! Connections to upstreams. Each worker thread has its own pool, so that no pool is shared.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    request_body::RequestBody,
    stream::{Exchange, UpstreamStream},
};
use crate::{
    config::{self, UpstreamAddress},
    gateway::lazy_deadline::LazyDeadline,
};

/// The interval between two checks of the idle connections.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

thread_local! {
    /// Idle connections, indexed by the number of the upstream.
    static IDLE: RefCell<Vec<Vec<Idle>>> = const { RefCell::new(Vec::new()) };
}

struct Idle {
    upstream: UpstreamConnection,
    /// The number of further checks that the connection is kept for.
    rounds: u64,
}

/// A connection to an upstream.
///
/// The connection has no task of its own: the code that waits for it [drives](Self::drive) it, so that an exchange does
/// not have to wake a second task.
pub(super) struct UpstreamConnection {
    pub(super) sender: SendRequest<RequestBody>,
    /// `None` when the connection is closed.
    connection: Option<Pin<Box<Connection<TokioIo<UpstreamStream>, RequestBody>>>>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) response_timeout: LazyDeadline,
}

impl UpstreamConnection {
    /// Makes progress on the connection, and registers the waker for more. Ready when the connection is closed.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(()) };
        let end = ready!(connection.as_mut().poll(cx));
        self.connection = None;
        if let Err(error) = end {
            tracing::debug!(%error, "upstream connection failed");
        }
        Poll::Ready(())
    }

    /// Returns `true` if another exchange can begin on the connection.
    fn is_free(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop())).is_pending() && self.sender.is_ready()
    }
}

/// The connection pool of an upstream.
#[derive(Debug, Clone)]
pub(super) struct UpstreamPool {
    /// The index into the pool of each thread, unique for each upstream.
    number: usize,
    pub(super) address: UpstreamAddress,
    connections: usize,
    time: Duration,
}

/// The number of the next upstream.
static NEXT: AtomicUsize = AtomicUsize::new(0);

impl UpstreamPool {
    pub(super) fn new(upstream: &config::Upstream) -> Self {
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            address: upstream.address.clone(),
            connections: upstream.idle_connections,
            time: upstream.idle_timeout.duration(),
        }
    }

    /// Takes the idle connection that was used last, if there is one: it is the most likely to be still open.
    pub(super) fn get(&self) -> Option<UpstreamConnection> {
        IDLE.with_borrow_mut(|idle| {
            let stack = idle.get_mut(self.number)?;
            std::iter::from_fn(|| stack.pop()).map(|idle| idle.upstream).find_map(|mut upstream| {
                let free = upstream.is_free();
                free.then_some(upstream)
            })
        })
    }

    /// Returns a connection to the pool after an exchange, unless a part of the request is still to be sent.
    pub(super) fn put(&self, mut upstream: UpstreamConnection) {
        if !upstream.is_free() {
            return;
        }
        let rounds = self.time.as_secs().max(1);
        IDLE.with_borrow_mut(|idle| {
            if idle.len() <= self.number {
                idle.resize_with(self.number + 1, Vec::new);
            }
            let stack = &mut idle[self.number];
            if stack.len() < self.connections {
                stack.push(Idle { upstream, rounds });
            }
        });
    }

    /// Opens a new connection.
    pub(super) async fn connect(&self) -> io::Result<UpstreamConnection> {
        let stream = self.address.connect().await?;
        stream.set_nodelay(true)?;
        let (stream, exchange) = UpstreamStream::new(stream);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        Ok(UpstreamConnection {
            sender,
            connection: Some(Box::pin(connection)),
            exchange,
            response_timeout: LazyDeadline::new(),
        })
    }
}

/// Closes the connections of this thread that the upstream has closed, or that have been idle for too long. Runs as
/// long as the thread.
pub(in crate::gateway) async fn reap_idle() {
    let mut rounds = interval(REAP_INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        IDLE.with_borrow_mut(|idle| {
            for stack in &mut *idle {
                stack.retain_mut(|idle| {
                    idle.rounds = idle.rounds.saturating_sub(1);
                    idle.rounds > 0 && idle.upstream.is_free()
                });
            }
        });
    }
}
