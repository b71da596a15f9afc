//! Pingora's server, with the workers of the gateway.

use std::thread::available_parallelism;

use anyhow::Context;
use pingora::server::{RunArgs, Server, configuration::ServerConf};
use tokio::runtime;

use super::{
    GatewayState, admin,
    client_addr::TrustedProxies,
    connection::ConnectionHandler,
    connection_limit::ConnectionLimit,
    descriptors::{self, DescriptorShares},
    listener::Listener,
    log_writer::LogWriter,
    metrics::MetricsEndpoint,
    resolver::Resolver,
    secrets_watcher::SecretsWatcher,
    shutdown::{self, Signals},
    store,
    store_closing::StoreClosing,
    tls,
    upstream::Upstream,
    workers::{ListenerGroup, Workers},
};
use crate::config::{self, Config, Report, Step};
use portcullis::registry;

/// Checks the parts of a configuration that depend on the machine: that certificates can be used.
pub fn check(config: &Config, report: &mut Report) {
    for (at, listener) in config.listeners.iter().enumerate() {
        let place = ["listeners".into(), at.into(), "tls".into()];
        check_certificate(listener.tls.as_ref(), &place, report);
    }
    let admin = config.admin.as_ref().and_then(|admin| admin.tls.as_ref());
    check_certificate(admin, &["admin".into(), "tls".into()], report);
    for (name, upstream) in &config.upstreams {
        let place = ["upstreams".into(), name.as_str().into()];
        if let Err(error) = Upstream::new(name, upstream, config) {
            report.error(&place, format!("{error:#}"));
        }
    }
}

fn check_certificate(tls: Option<&config::Tls>, place: &[Step<'_>], report: &mut Report) {
    if let Some(Err(error)) = tls.map(tls::acceptor) {
        report.error(place, format!("{error:#}"));
    }
}

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
    shutdown::ignore_other_signals().context("failed to install signal handlers")?;
    drop(inside);
    store::ensure_there(config)?;
    let shared = control.block_on(GatewayState::open(config))?;
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
    let handler = ConnectionHandler::new(config, &shared)?;
    let resolver = Resolver::new(&config.dns).context("failed to start the resolver")?;
    for task in handler.upstream_tasks(&resolver) {
        control.spawn(task);
    }
    let threads = match config.server.threads {
        0 => available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let shares = descriptor_shares(config, threads);
    let connection_limit =
        |limits| ConnectionLimit::new(&limits, TrustedProxies::new(&config.server.trusted_proxies));
    let bind = |listeners: &[config::Listener]| {
        listeners.iter().map(Listener::bind).collect::<anyhow::Result<Vec<_>>>()
    };
    // The admin and metrics listeners are bound first: when the public listeners open, all others are open.
    let admin_listeners = match config.admin.as_ref().zip(admin::router(config, &shared)) {
        Some((admin, router)) => Some(ListenerGroup {
            listeners: bind(&[admin.listener()])?,
            handler: handler.with_surface(router, config, &shared),
            connection_limit: connection_limit(shares.management_limits(&config.limits)),
        }),
        None => None,
    };
    let metrics_listeners = match &config.metrics {
        Some(metrics) => Some(bind(&[metrics.listener()]).context("metrics listener")?),
        None => None,
    };
    let public = ListenerGroup {
        listeners: bind(&config.listeners)?,
        handler: handler.clone(),
        connection_limit: connection_limit(shares.public_limits(&config.limits)),
    };
    let mut groups: Vec<_> = [public].into_iter().chain(admin_listeners).collect();
    if let Some(listeners) = metrics_listeners {
        // Connections of the metrics listener are not counted in the metrics.
        let counted: Vec<_> = groups.iter().map(|group| group.connection_limit.clone()).collect();
        let (metrics, directory) = (handler.metrics().clone(), shared.directory.clone());
        let page = MetricsEndpoint { metrics, connection_limit: counted, directory, log: log.clone() };
        groups.push(ListenerGroup {
            listeners,
            handler: handler.uncounted(page.router(), config, &shared),
            connection_limit: connection_limit(shares.management_limits(&config.limits)),
        });
    }
    let connection_limit: Vec<_> = groups.iter().map(|group| group.connection_limit.clone()).collect();
    drop(inside);

    let mut server = Server::new_with_opt_and_conf(None, settings(config));
    server.bootstrap();
    server.add_service(Workers { threads, groups, limits: config.limits.clone() });
    tracing::info!(
        listeners = ?config.listeners.iter().map(|listener| listener.address.to_string()).collect::<Vec<_>>(),
        admin = config.admin.as_ref().map(|admin| admin.address.to_string()),
        routes = config.routes.len(),
        keys = shared.directory.key_count(),
        change = shared.directory.applied(),
        "ready"
    );
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

/// Raises the limit of open files and divides it. Logs a warning if it is too low for the configuration.
fn descriptor_shares(config: &Config, threads: usize) -> DescriptorShares {
    let limit = descriptors::raise_limit();
    let listeners = config.listeners.len() + 2;
    let shares = DescriptorShares::divide(limit, threads as u64, listeners as u64);
    let configured = config.limits.connections.get();
    if shares.public < configured {
        tracing::warn!(
            open_files = limit,
            configured,
            connections = shares.public,
            "limits.connections lowered: raise the limit of open files (ulimit -n, LimitNOFILE)"
        );
    }
    shares
}

fn settings(config: &Config) -> ServerConf {
    // Longer than the gateway's own grace period: the process ends itself, see `shutdown`.
    let grace = config.server.shutdown_grace.duration().as_secs() + 60;
    ServerConf {
        grace_period_seconds: Some(grace),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}
