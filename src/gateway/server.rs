//! Pingora's server, with our workers in it.

use std::thread::available_parallelism;

use anyhow::Context;
use pingora::server::{RunArgs, Server, configuration::ServerConf};
use tokio::{net::TcpListener, runtime};

use super::{
    Shared, admin,
    closing::Closing,
    connection::Front,
    doors::Doors,
    listener::{self, Listener},
    metrics::Page,
    origin::Proxies,
    secrets::Secrets,
    shutdown::Signals,
    tls,
    workers::{House, Workers},
};
use crate::{
    config::{self, Config},
    registry,
};

/// Checks what only the machine can tell: that certificates can be used.
///
/// # Errors
/// The first thing that would keep the gateway from starting.
pub fn check(config: &Config) -> anyhow::Result<()> {
    let admin = config.admin.iter().filter_map(|admin| admin.tls.as_ref());
    let listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    listeners.chain(admin).try_for_each(|tls| tls::acceptor(tls).map(drop))
}

/// Runs the gateway until a signal ends the process.
///
/// The directory is loaded before the first listener opens. The registry lives on a runtime of its own,
/// apart from the workers.
///
/// # Errors
/// When it cannot start: secrets, store, certificates, addresses, an admin API that nobody could use.
pub fn serve(config: &Config) -> anyhow::Result<()> {
    check(config)?;
    let control = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("registry")
        .enable_all()
        .build()
        .context("starting the registry's runtime")?;
    let shared = control.block_on(Shared::open(config))?;
    control.block_on(admin::check(config, &shared))?;
    let follows = control.spawn(registry::follow(shared.registry.clone(), shared.directory.clone()));
    let (noting, used, clock) = (shared.registry.clone(), shared.directory.clone(), shared.clock.clone());
    let notes = control.spawn(registry::note_uses(noting, used, clock));
    let closing = Closing {
        registry: shared.registry.clone(),
        directory: shared.directory.clone(),
        clock: shared.clock.clone(),
        runtime: control.handle().clone(),
        tasks: vec![follows.abort_handle(), notes.abort_handle()],
    };

    if config.secrets.variable().is_none() {
        let (directory, sealer) = (shared.directory.clone(), shared.sealer.clone());
        control.spawn(Secrets { file: config.secrets.file.clone(), directory, sealer }.follow());
    }

    let inside = control.enter();
    let front = Front::new(config, &shared);
    let doors = || Doors::new(&config.limits, Proxies::new(&config.server.trusted_proxies));
    let bind = |listeners: &[config::Listener]| {
        listeners.iter().map(Listener::bind).collect::<anyhow::Result<Vec<_>>>()
    };
    // Who manages and who watches come in first: once the front door opens, everything is open.
    let manages = match config.admin.as_ref().zip(admin::router(config, &shared)) {
        Some((admin, router)) => Some(House {
            listeners: bind(&[admin.listener()])?,
            front: front.with_only(router, config, &shared),
            doors: doors(),
        }),
        None => None,
    };
    let watched = match &config.metrics {
        Some(told) => {
            let place = || format!("cannot tell metrics on {}", told.address);
            Some(listener::bind(told.address).and_then(TcpListener::from_std).with_context(place)?)
        }
        None => None,
    };
    let public = House { listeners: bind(&config.listeners)?, front: front.clone(), doors: doors() };
    let houses: Vec<_> = [public].into_iter().chain(manages).collect();
    let doors: Vec<_> = houses.iter().map(|house| house.doors.clone()).collect();
    if let Some(socket) = watched {
        let (metrics, directory) = (front.metrics().clone(), shared.directory.clone());
        control.spawn(Page { metrics, doors: doors.clone(), directory }.serve(socket));
    }
    drop(inside);

    let mut server = Server::new_with_opt_and_conf(None, settings(config));
    server.bootstrap();
    server.add_service(Workers {
        threads: match config.server.threads {
            0 => available_parallelism().map_or(1, usize::from),
            threads => threads,
        },
        houses,
        limits: config.limits.clone(),
    });
    tracing::info!(
        listeners = ?config.listeners.iter().map(|listener| listener.address.to_string()).collect::<Vec<_>>(),
        admin = config.admin.as_ref().map(|admin| admin.listen.to_string()),
        routes = config.routes.len(),
        keys = shared.directory.keys(),
        change = shared.directory.applied(),
        "ready"
    );
    let grace = config.server.shutdown_grace.duration();
    server.run(RunArgs { shutdown_signal: Box::new(Signals { doors, grace, closing }) });
    Ok(())
}

fn settings(config: &Config) -> ServerConf {
    // Longer than ours: the process ends by itself, see `shutdown`.
    let grace = config.server.shutdown_grace.duration().as_secs() + 60;
    ServerConf {
        grace_period_seconds: Some(grace),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}
