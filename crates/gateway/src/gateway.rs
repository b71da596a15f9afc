//! The gateway: the Tower stack, served by hyper on Pingora's server.
//!
//! Pingora provides the server, its signals and its shutdown. hyper provides HTTP on both sides, to clients and to
//! upstreams. Between them run the layers that a user adds to an axum application: [`StrictHttp`](portcullis::policy::StrictHttp)
//! first, then the policies of the route, then a service that forwards the request, or a surface.

mod access_log;
mod activity;
mod admin;
pub mod audit;
mod backend;
mod bootstrap;
mod buffering;
mod caching;
mod certificates;
mod client_addr;
mod client_body;
mod client_stream;
mod compression;
mod connection;
mod connection_limit;
mod connection_outcome;
mod cors;
mod demo_upstream;
mod descriptors;
mod dispatch;
mod frame_budget;
mod health;
mod host_index;
mod hosts;
mod lazy_deadline;
mod listener;
mod listeners;
mod local_response;
mod lockouts;
mod log_throttle;
mod log_writer;
mod maintenance;
mod max_forwards;
mod metrics;
mod path_index;
mod path_rewrite;
mod plans;
mod reload;
mod reload_handle;
mod reload_status;
mod request_id;
mod resolver;
mod response_body;
mod response_headers;
mod review;
mod rewrite;
mod route_policies;
mod route_renderer;
mod route_response;
mod router;
mod secrets_watcher;
mod security_headers;
mod server;
mod service_manager;
mod shutdown;
pub(crate) mod store;
mod store_closing;
#[cfg(test)]
mod test_support;
mod tls;
mod tracked_response;
mod tunnel;
mod upstream;
mod upstreams;
mod vary;
mod workers;
mod write_timeout;

pub use admin::admin_api;
pub use bootstrap::{Bootstrap, DemoNames, NAMES, bootstrap};
pub use connection::{ConnectionHandler, ConnectionInfo, Protocol};
pub use demo_upstream::demo;
pub use log_writer::LogWriter;
pub use review::reviewed;
pub use server::serve;

use std::sync::Arc;

use crate::config::Config;
use buffering::SharedBuffering;
use lockouts::Lockouts;
use portcullis::{
    clock::{Clock, SystemClock},
    directory::Directory,
    model::Sealer,
    registry::{self, Registry},
};
use portcullis_surfaces::admin::InProgress;
use upstream::UpgradeCounts;

/// State shared by all parts of a running gateway. A reload of the configuration keeps it.
pub struct GatewayState {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) sealer: Arc<Sealer>,
    lockouts: Lockouts,
    admin_lockouts: Lockouts,
    buffering: SharedBuffering,
    admin_requests: InProgress,
    upgrades: UpgradeCounts,
}

impl GatewayState {
    /// Opens the store, writes the configured plans to it, and loads the directory.
    ///
    /// # Errors
    /// Fails if the secrets or the store cannot be read. The error names the file.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        use anyhow::Context;

        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (store, secrets) = store::open(config, clock.clone()).await?;
        let registry: Arc<dyn Registry> = Arc::new(store);
        plans::store(config, &*registry).await.context("failed to store the configured plans")?;
        let directory = Arc::new(Directory::new(secrets.peppers()));
        registry::load(&*registry, &directory).await.context("failed to load the directory")?;
        Ok(Self::new(clock, registry, directory, Arc::new(secrets.sealer())))
    }

    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        registry: Arc<dyn Registry>,
        directory: Arc<Directory>,
        sealer: Arc<Sealer>,
    ) -> Self {
        let (lockouts, admin_lockouts) = (Lockouts::default(), Lockouts::default());
        let (buffering, admin_requests) = (SharedBuffering::default(), InProgress::default());
        Self {
            clock,
            registry,
            directory,
            sealer,
            lockouts,
            admin_lockouts,
            buffering,
            admin_requests,
            upgrades: UpgradeCounts::default(),
        }
    }
}
