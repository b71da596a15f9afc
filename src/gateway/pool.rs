//! Connections to the services behind: a pool for each worker thread, so that none is shared.

use std::{
    cell::RefCell,
    io,
    net::SocketAddr,
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
use tokio::{
    net::TcpStream,
    time::{Instant, MissedTickBehavior, Sleep, interval, sleep_until},
};

use super::{
    forward::RequestBody,
    upstream_stream::{Exchange, UpstreamStream},
};
use crate::config;

/// How often idle connections are looked after.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

thread_local! {
    /// By the service's number.
    static IDLE: RefCell<Vec<Vec<Idle>>> = const { RefCell::new(Vec::new()) };
}

struct Idle {
    link: UpstreamConnection,
    /// How many more rounds it is kept.
    rounds: u64,
}

/// A connection to a service behind.
///
/// It has no task of its own: whoever waits for something on it [drives](Self::drive) it, so that no second
/// task has to be woken for an exchange.
pub(super) struct UpstreamConnection {
    pub(super) sender: SendRequest<RequestBody>,
    /// Until it is over.
    connection: Option<Pin<Box<Connection<TokioIo<UpstreamStream>, RequestBody>>>>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) patience: LazyDeadline,
}

impl UpstreamConnection {
    /// Moves what can be moved; woken when there is more. Ready when the connection is over.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(()) };
        let end = ready!(connection.as_mut().poll(cx));
        self.connection = None;
        if let Err(error) = end {
            tracing::debug!(%error, "a connection to a service behind ended");
        }
        Poll::Ready(())
    }

    /// Whether another exchange can begin on it.
    fn is_free(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop())).is_pending() && self.sender.is_ready()
    }
}

/// A deadline that moves with every exchange, on a timer that is set anew only when it rings: the deadline
/// moves often, and it is rarely reached.
#[derive(Debug)]
pub(super) struct LazyDeadline {
    timer: Pin<Box<Sleep>>,
    deadline: Instant,
}

impl LazyDeadline {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { timer: Box::pin(sleep_until(now)), deadline: now }
    }

    pub(super) fn set(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.timer.deadline() >= self.deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.deadline);
        }
    }
}

/// How a service's connections are kept.
#[derive(Debug, Clone)]
pub(super) struct UpstreamPool {
    /// A place in every thread's pool, of which no two services have the same.
    number: usize,
    pub(super) address: SocketAddr,
    connections: usize,
    time: Duration,
}

/// The next service's number.
static NEXT: AtomicUsize = AtomicUsize::new(0);

impl UpstreamPool {
    pub(super) fn new(upstream: &config::Upstream) -> Self {
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            address: upstream.address,
            connections: upstream.idle_connections,
            time: upstream.idle_timeout.duration(),
        }
    }

    /// The connection used last, if one is idle: it is the likeliest to be open still.
    pub(super) fn get(&self) -> Option<UpstreamConnection> {
        IDLE.with_borrow_mut(|idle| {
            let stack = idle.get_mut(self.number)?;
            std::iter::from_fn(|| stack.pop()).map(|idle| idle.link).find_map(|mut link| {
                let free = link.is_free();
                free.then_some(link)
            })
        })
    }

    /// Keeps a connection whose exchange is over, unless something of it is still to send.
    pub(super) fn put(&self, mut link: UpstreamConnection) {
        if !link.is_free() {
            return;
        }
        let rounds = self.time.as_secs().max(1);
        IDLE.with_borrow_mut(|idle| {
            if idle.len() <= self.number {
                idle.resize_with(self.number + 1, Vec::new);
            }
            let stack = &mut idle[self.number];
            if stack.len() < self.connections {
                stack.push(Idle { link, rounds });
            }
        });
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> io::Result<UpstreamConnection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (stream, exchange) = UpstreamStream::new(stream);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        Ok(UpstreamConnection { sender, connection: Some(Box::pin(connection)), exchange, patience: LazyDeadline::new() })
    }
}

/// Closes this thread's connections that the other side has closed, or that have been idle for too long; as
/// long as the thread lives.
pub(super) async fn reap_idle() {
    let mut rounds = interval(REAP_INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        IDLE.with_borrow_mut(|idle| {
            for stack in &mut *idle {
                stack.retain_mut(|idle| {
                    idle.rounds = idle.rounds.saturating_sub(1);
                    idle.rounds > 0 && idle.link.is_free()
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moves_is_the_last_one_said() {
        let mut patience = LazyDeadline::new();
        let start = Instant::now();
        let seconds = Duration::from_secs;
        patience.set(start + seconds(1));
        patience.set(start + seconds(5));
        std::future::poll_fn(|cx| patience.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 5);
        patience.set(start + seconds(60));
        let _ = tokio::time::timeout(seconds(1), std::future::poll_fn(|cx| patience.poll(cx))).await;
        patience.set(start + seconds(10));
        std::future::poll_fn(|cx| patience.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 10, "an earlier one too");
    }
}
