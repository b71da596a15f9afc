//! Pingora's server, with the workers of the gateway.

use std::{sync::Arc, thread::available_parallelism};

use anyhow::Context;
use arc_swap::ArcSwap;
use pingora::server::{RunArgs, Server, configuration::ServerConf};
use tokio::runtime;

use super::{
    GatewayState, admin,
    listeners::{Listeners, Process},
    log_writer::LogWriter,
    reload::Reloader,
    reload_handle::ReloadHandle,
    resolver::Resolver,
    secrets_watcher::SecretsWatcher,
    service_manager,
    shutdown::{self, Signals},
    store,
    store_closing::StoreClosing,
    upstreams::Upstreams,
    workers::Workers,
};
use crate::config::Config;
use portcullis::registry;

/// Runs the gateway until a signal ends the process.
///
/// The directory is loaded before the first listener opens. The registry has a runtime of its own, separate from the
/// workers.
///
/// # Errors
/// Fails if the gateway cannot start, because of its secrets, store, certificates or addresses.
pub fn serve(config: &Config, log: &LogWriter) -> anyhow::Result<()> {
    let served = run(config, log);
    log.flush(shutdown::LAST_LINES);
    served
}

fn run(config: &Config, log: &LogWriter) -> anyhow::Result<()> {
    log_panics();
    let control = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("registry")
        .enable_all()
        .build()
        .context("failed to start the registry runtime")?;
    let inside = control.enter();
    let hangup = shutdown::catch_other_signals().context("failed to install signal handlers")?;
    drop(inside);
    store::ensure_there(config)?;
    let shared = Arc::new(control.block_on(GatewayState::open(config))?);
    control.block_on(admin::check(config, &shared))?;
    let follows = control.spawn(registry::follow(shared.registry.clone(), shared.directory.clone()));
    let (recorder, used, clock) = (shared.registry.clone(), shared.directory.clone(), shared.clock.clone());
    let notes = control.spawn(registry::record_last_used(recorder, used, clock));
    let closing = StoreClosing {
        registry: shared.registry.clone(),
        directory: shared.directory.clone(),
        clock: shared.clock.clone(),
        runtime: control.handle().clone(),
        tasks: vec![follows.abort_handle(), notes.abort_handle()],
    };

    let (directory, sealer) = (shared.directory.clone(), shared.sealer.clone());
    let registry = shared.registry.clone();
    let file = config.secrets.variable().is_none().then(|| config.secrets.file.clone());
    control.spawn(SecretsWatcher { file, directory, sealer, registry }.follow());

    let inside = control.enter();
    let resolver = Resolver::new(&config.dns).context("failed to start the resolver")?;
    let upstreams = Arc::new(ArcSwap::from_pointee(Upstreams::new(config, None)?));
    let threads = match config.server.threads {
        0 => available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let (reload, requests) = ReloadHandle::new();
    let Listeners { groups, reloadable } =
        Listeners::bind(config, &shared, &upstreams, &Process { threads, log, reload: &reload })?;
    drop(inside);
    upstreams.load().start(&resolver, control.handle());
    let connection_limit: Vec<_> = groups.iter().map(|group| group.connection_limit.clone()).collect();
    control.spawn(reloadable.certificates.clone().follow(reloadable.status.clone()));
    let reloader = Reloader {
        started: config.clone(),
        shared: shared.clone(),
        resolver,
        upstreams,
        listeners: reloadable,
    };
    control.spawn(reloader.run(hangup, requests));

    let mut server = Server::new_with_opt_and_conf(None, server_settings(config));
    server.bootstrap();
    server.add_service(Workers { threads, groups });
    tracing::info!(
        listeners = ?config.listeners.iter().map(|listener| listener.address.to_string()).collect::<Vec<_>>(),
        admin = config.admin.as_ref().map(|admin| admin.address.to_string()),
        routes = config.routes.len(),
        keys = shared.directory.key_count(),
        change = shared.directory.applied(),
        "ready"
    );
    service_manager::ready();
    let grace = config.server.shutdown_grace.duration();
    let signals = Signals { connection_limit, grace, log: log.clone(), closing };
    server.run(RunArgs { shutdown_signal: Box::new(signals) });
    Ok(())
}

/// Logs panics like everything else, because writing to standard error could block if it is not read.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let thread = std::thread::current();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(thread = thread.name(), location, "thread panicked: {message}");
    }));
}

fn server_settings(config: &Config) -> ServerConf {
    // Longer than the gateway's own grace period: the process ends itself, see `shutdown`.
    let grace = config.server.shutdown_grace.duration().as_secs() + 60;
    ServerConf {
        grace_period_seconds: Some(grace),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}
