//! The worker threads. Workers share no memory while they handle a request.

use std::{io, sync::Arc, thread};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use pingora::{
    server::{ListenFds, ShutdownWatch},
    services::Service,
};
use tokio::runtime;

use super::{
    connection::ConnectionHandler,
    connection_limit::ConnectionLimit,
    listener::{Acceptor, Listener},
    upstream,
};

/// A group of listeners with their connection handler and connection limit. Connections of other groups do not count
/// towards the limit.
pub(super) struct ListenerGroup {
    pub(super) listeners: Vec<Listener>,
    pub(super) handler: ConnectionHandler,
    pub(super) connection_limit: Arc<ConnectionLimit>,
}

/// A service of Pingora's server. The server starts and stops it; its threads are its own.
///
/// Each worker is a thread with a runtime of its own and accepts from every listener. A connection stays on its thread,
/// and so do the connections to upstreams. Pingora's own listening service would wrap each connection into its buffered
/// stream, which costs a sixth of a proxied request.
pub(super) struct Workers {
    pub(super) threads: usize,
    pub(super) groups: Vec<ListenerGroup>,
}

impl Workers {
    fn start(&self, down: &ShutdownWatch, number: usize) -> io::Result<()> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let mut open = Vec::new();
        for group in &self.groups {
            let acceptor = Acceptor {
                handler: group.handler.for_worker(),
                connection_limit: group.connection_limit.clone(),
                down: down.clone(),
            };
            for listener in &group.listeners {
                open.push((acceptor.clone(), listener.try_clone()?));
            }
        }
        let work = async move {
            tokio::spawn(upstream::reap_idle());
            let all = open.into_iter().map(|(acceptor, listener)| acceptor.run(listener));
            if let Err(error) = try_join_all(all).await {
                tracing::error!(%error, "worker failed to listen");
            }
            // Open connections are still served. The process ends when they are closed.
            std::future::pending::<()>().await;
        };
        thread::Builder::new().name(format!("worker-{number}")).spawn(move || runtime.block_on(work))?;
        Ok(())
    }
}

#[async_trait]
impl Service for Workers {
    async fn start_service(&mut self, _: Option<ListenFds>, mut down: ShutdownWatch, _: usize) {
        for number in 0..self.threads {
            if let Err(error) = self.start(&down, number) {
                tracing::error!(%error, number, "worker failed to start");
            }
        }
        // From here on, only the workers own the sockets. A socket closes when the last worker drops it.
        self.groups.clear();
        let _ = down.wait_for(|down| *down).await;
    }

    fn name(&self) -> &'static str {
        "workers"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}
