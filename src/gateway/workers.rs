//! The workers: threads that share nothing on a request's way.

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
    listener::{Listener, Acceptor},
    pool,
};
use crate::config::Limits;

/// What is served on some listeners, and who is let in there: nobody who comes in elsewhere takes a place.
pub(super) struct ListenerGroup {
    pub(super) listeners: Vec<Listener>,
    pub(super) front: ConnectionHandler,
    pub(super) doors: Arc<ConnectionLimit>,
}

/// A service of Pingora's server: its start and its end are the server's, its threads are its own.
///
/// Each worker is a thread with a runtime of its own and accepts from every listener. A connection stays on
/// its thread, and so do the connections to the services behind it. Pingora's own listening service would
/// put its buffered stream around each connection, whose cost is a sixth of a proxied request's.
pub(super) struct Workers {
    pub(super) threads: usize,
    pub(super) houses: Vec<ListenerGroup>,
    pub(super) limits: Limits,
}

impl Workers {
    fn start(&self, down: &ShutdownWatch, number: usize) -> io::Result<()> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let mut open = Vec::new();
        for house in &self.houses {
            let reception = Acceptor {
                front: house.front.for_worker(),
                doors: house.doors.clone(),
                handshake: self.limits.head_timeout.duration(),
                down: down.clone(),
            };
            for listener in &house.listeners {
                open.push((reception.clone(), listener.try_clone()?));
            }
        }
        let work = async move {
            tokio::spawn(pool::reap_idle());
            let all = open.into_iter().map(|(reception, listener)| reception.run(listener));
            if let Err(error) = try_join_all(all).await {
                tracing::error!(%error, "a worker cannot listen");
            }
            // What is being served goes on; the process ends when it is through.
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
                tracing::error!(%error, number, "a worker cannot start");
            }
        }
        // From here on the sockets are the workers' alone: they close when the last of them lets go.
        self.houses.clear();
        let _ = down.wait_for(|down| *down).await;
    }

    fn name(&self) -> &'static str {
        "workers"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}
