//! Pingora's server, with our connections on it.

use std::{net::TcpListener, sync::Arc, thread::available_parallelism};

use anyhow::Context;
use pingora::{
    server::{RunArgs, Server, configuration::ServerConf},
    services::listening::Service,
};
use tokio::runtime;

use super::{
    Shared,
    connection::Front,
    doors::Doors,
    listener::{Connections, Speaks},
    shutdown::Signals,
    tls,
};
use crate::{
    config::{Config, Listener},
    registry,
};

/// Checks what only the machine can tell: that certificates can be used.
///
/// # Errors
/// The first thing that would keep the gateway from starting.
pub fn check(config: &Config) -> anyhow::Result<()> {
    config.listeners.iter().filter_map(|listener| listener.tls.as_ref()).try_for_each(tls::check)
}

/// Runs the gateway until a signal ends the process.
///
/// The directory is loaded before the first listener opens. The registry lives on a runtime of its own,
/// apart from the workers.
///
/// # Errors
/// When it cannot start: secrets, store, certificates, addresses.
pub fn serve(config: &Config) -> anyhow::Result<()> {
    check(config)?;
    let control = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("registry")
        .enable_all()
        .build()
        .context("starting the registry's runtime")?;
    let shared = control.block_on(Shared::open(config))?;
    control.spawn(registry::follow(shared.registry.clone(), shared.directory.clone()));

    let mut server = Server::new_with_opt_and_conf(None, settings(config));
    server.bootstrap();
    let limits = &config.limits;
    let doors = Doors::new(limits.connections.get(), limits.connections_per_address.get());
    let front = Front::new(config, &shared);
    for listener in &config.listeners {
        server.add_service(service(listener, &front, &doors)?);
    }
    tracing::info!(
        listeners = ?config.listeners.iter().map(|listener| listener.address.to_string()).collect::<Vec<_>>(),
        routes = config.routes.len(),
        keys = shared.directory.keys(),
        change = shared.directory.applied(),
        "ready"
    );
    let grace = config.server.shutdown_grace.duration();
    server.run(RunArgs { shutdown_signal: Box::new(Signals { doors, grace }) });
    Ok(())
}

fn settings(config: &Config) -> ServerConf {
    let threads = match config.server.threads {
        0 => available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    // Longer than ours: the process ends by itself, see `shutdown`.
    let grace = config.server.shutdown_grace.duration().as_secs() + 60;
    ServerConf {
        threads,
        // A connection stays on its thread, and so do the connections behind it.
        work_stealing: false,
        grace_period_seconds: Some(grace),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}

fn service(listener: &Listener, front: &Front, doors: &Arc<Doors>) -> anyhow::Result<Service<Connections>> {
    let address = listener.address.to_string();
    // Pingora panics on a worker thread over an address it cannot have.
    drop(TcpListener::bind(listener.address).with_context(|| format!("cannot listen on {address}"))?);
    let speaks = match (&listener.tls, listener.h2c) {
        (Some(_), _) => Speaks::Tls,
        (None, true) => Speaks::Http1OrH2c,
        (None, false) => Speaks::Http1,
    };
    let connections = Connections { front: front.clone(), speaks, doors: doors.clone() };
    let mut service = Service::new(address.clone(), connections);
    match &listener.tls {
        Some(tls) => service.add_tls_with_settings(&address, None, tls::settings(tls)?),
        None => service.add_tcp(&address),
    }
    Ok(service)
}
