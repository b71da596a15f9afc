//! Idle connections to the services behind: a pool for each worker thread, so that none is shared.

use std::{cell::RefCell, collections::HashMap, io, net::SocketAddr, time::Duration};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::Instant};

use super::forward::RequestBody;

pub(super) type Sender = SendRequest<RequestBody>;

thread_local! {
    static IDLE: RefCell<HashMap<SocketAddr, Vec<Idle>>> = RefCell::default();
}

struct Idle {
    sender: Sender,
    since: Instant,
}

/// How a service's connections are kept.
#[derive(Debug, Clone)]
pub(super) struct Keep {
    pub(super) address: SocketAddr,
    pub(super) connections: usize,
    pub(super) time: Duration,
}

impl Keep {
    /// The connection used last, if one is idle: it is the likeliest to be open still.
    pub(super) fn take(&self) -> Option<Sender> {
        IDLE.with_borrow_mut(|idle| {
            let stack = idle.get_mut(&self.address)?;
            self.prune(stack);
            std::iter::from_fn(|| stack.pop()).map(|idle| idle.sender).find(|sender| !sender.is_closed())
        })
    }

    /// Keeps a connection whose exchange is over.
    pub(super) fn put(&self, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        IDLE.with_borrow_mut(|idle| {
            let stack = idle.entry(self.address).or_default();
            self.prune(stack);
            if stack.len() < self.connections {
                stack.push(Idle { sender, since: Instant::now() });
            }
        });
    }

    /// Closes what has been idle for too long: the oldest lie at the bottom.
    fn prune(&self, stack: &mut Vec<Idle>) {
        let old = stack.iter().take_while(|idle| idle.since.elapsed() >= self.time).count();
        stack.drain(..old);
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> io::Result<Sender> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a service behind ended");
            }
        });
        Ok(sender)
    }
}
