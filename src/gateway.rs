//! The gateway: the Tower stack, served by hyper on Pingora's server.
//!
//! Pingora gives the server, its signals and its end; hyper gives HTTP on both sides of the hop. Between them stand the layers that a user stacks into axum: [`Strict`](crate::policy::Strict)
//! before everything, then each route's policies, then a service that forwards, or a surface.

mod admin;
mod response_body;
pub mod audit;
mod backend;
mod bootstrap;
mod client_body;
mod closing;
mod connection;
mod demo_upstream;
mod descriptors;
mod connection_limit;
mod field_filter;
mod forward;
mod frame_budget;
mod framing;
mod hop_headers;
mod hosts;
mod listener;
mod lockouts;
mod access_log;
mod log_throttle;
mod log_writer;
mod max_forwards;
mod metrics;
mod client_addr;
mod plans;
mod pool;
mod request_id;
mod routes;
mod secrets_watcher;
mod server;
mod shutdown;
mod client_stream;
pub(crate) mod store;
mod h2_streams;
mod tls;
mod upstream_stream;
mod activity;
mod workers;

pub use admin::admin_api;
pub use bootstrap::{Bootstrap, NAMES, DemoNames, bootstrap};
pub use connection::{ConnectionInfo, ConnectionHandler, Protocol};
pub use demo_upstream::demo;
pub use log_writer::LogWriter;
pub use server::{check, serve};

use std::sync::Arc;

use crate::{
    model::Sealer,
    clock::{Clock, SystemClock},
    config::Config,
    directory::Directory,
    registry::{self, Registry},
};

/// What every part of a running gateway shares.
pub struct GatewayState {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) sealer: Arc<Sealer>,
}

impl GatewayState {
    /// Opens the store, brings the configured plans into it, and fills the directory.
    ///
    /// # Errors
    /// When secrets or store cannot be read, with the file's name.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        use anyhow::Context;

        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (store, secrets) = store::open(config, clock.clone()).await?;
        let registry: Arc<dyn Registry> = Arc::new(store);
        plans::store(config, &*registry).await.context("putting the configured plans")?;
        let directory = Arc::new(Directory::new(secrets.peppers()));
        registry::load(&*registry, &directory).await.context("loading the directory")?;
        Ok(Self { clock, registry, directory, sealer: Arc::new(secrets.sealer()) })
    }
}
