//! The listeners of a gateway, with their handlers and connection limits: public, admin and metrics.

use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use axum::Router;

use super::{
    GatewayState, admin,
    certificates::{Certificates, LoadedCertificate},
    client_addr::TrustedProxies,
    connection::{ConnectionHandler, HandlerSettings},
    connection_limit::ConnectionLimit,
    descriptors::{self, DescriptorShares},
    health::Health,
    listener::Listener,
    log_writer::LogWriter,
    metrics::{Metrics, MetricsEndpoint},
    reload_handle::ReloadHandle,
    reload_status::ReloadStatus,
    router::Routes,
    upstreams::Upstreams,
    workers::ListenerGroup,
};
use crate::config::{self, Config, Limits};

/// The properties of the process that listeners depend on.
pub(super) struct Process<'a> {
    pub(super) threads: usize,
    pub(super) log: &'a LogWriter,
    pub(super) reload: &'a ReloadHandle,
}

/// The bound listeners, and their parts that a reload replaces.
pub(super) struct Listeners {
    pub(super) groups: Vec<ListenerGroup>,
    pub(super) reloadable: ReloadableListeners,
}

/// The parts of the listeners that a reload replaces.
pub(super) struct ReloadableListeners {
    public: ReloadableGroup,
    admin: Option<ReloadableGroup>,
    metrics: Option<(ReloadableGroup, Router)>,
    shares: DescriptorShares,
    reload: ReloadHandle,
    pub(super) certificates: Arc<Certificates>,
    pub(super) status: Arc<ReloadStatus>,
}

struct ReloadableGroup {
    handler: ConnectionHandler,
    connection_limit: Arc<ConnectionLimit>,
}

impl ReloadableGroup {
    fn new(group: &ListenerGroup) -> Self {
        Self { handler: group.handler.clone(), connection_limit: group.connection_limit.clone() }
    }

    fn replace(&self, config: &Config, limits: &Limits, settings: HandlerSettings) {
        self.connection_limit.set(limits, TrustedProxies::new(&config.server.trusted_proxies));
        self.handler.replace(settings);
    }
}

impl Listeners {
    /// Binds the listeners of a configuration. Must be called inside a runtime.
    ///
    /// The admin and metrics listeners are bound first: when the public listeners open, all others are open.
    ///
    /// # Errors
    /// If an address cannot be bound, or a certificate cannot be used.
    pub(super) fn bind(
        config: &Config,
        shared: &GatewayState,
        upstreams: &Arc<ArcSwap<Upstreams>>,
        process: &Process<'_>,
    ) -> anyhow::Result<Self> {
        let certificates = Certificates::default();
        let bind = |listeners: &[config::Listener]| {
            let bind = |listener: &config::Listener| {
                let bound = Listener::bind(listener)?;
                if let Some(tls) = bound.tls() {
                    certificates.add(listener, tls);
                }
                Ok(bound)
            };
            listeners.iter().map(bind).collect::<anyhow::Result<Vec<_>>>()
        };
        let shares = descriptor_shares(config, process.threads);
        let management = shares.management_limits(&config.limits);
        let group = |listeners, settings, metrics, limits: &Limits| ListenerGroup {
            listeners,
            handler: ConnectionHandler::with_settings(settings, metrics),
            connection_limit: ConnectionLimit::new(
                limits,
                TrustedProxies::new(&config.server.trusted_proxies),
            ),
        };
        let metrics = Metrics::default();
        let admin = match config.admin.as_ref().zip(admin::router(config, shared, process.reload)) {
            Some((admin, router)) => {
                let settings = HandlerSettings::of_surface(config, shared, router);
                Some(group(bind(&[admin.listener()])?, settings, metrics.clone(), &management))
            }
            None => None,
        };
        let metrics_listeners = match &config.metrics {
            Some(metrics) => Some(bind(&[metrics.listener()]).context("metrics listener")?),
            None => None,
        };
        let settings = HandlerSettings::new(config, shared, Routes::new(config, shared, &upstreams.load()));
        let limits = shares.public_limits(&config.limits);
        let public = group(bind(&config.listeners)?, settings, metrics.clone(), &limits);
        let status = Arc::new(ReloadStatus::default());
        let counted = [Some(&public), admin.as_ref()].into_iter().flatten();
        let page = MetricsEndpoint {
            metrics,
            // Connections of the metrics listener are not counted in the metrics.
            connection_limit: counted.map(|group| group.connection_limit.clone()).collect(),
            directory: shared.directory.clone(),
            log: process.log.clone(),
            reloads: status.clone(),
        };
        let health = Health { directory: shared.directory.clone(), upstreams: upstreams.clone() };
        let page = page.router().merge(health.router());
        let metrics = metrics_listeners.map(|listeners| {
            let settings = HandlerSettings::of_surface(config, shared, page.clone()).without_log();
            // Requests of this listener are not counted either.
            (group(listeners, settings, Metrics::default(), &management), page)
        });
        let reloadable = ReloadableListeners {
            public: ReloadableGroup::new(&public),
            admin: admin.as_ref().map(ReloadableGroup::new),
            metrics: metrics.as_ref().map(|(group, page)| (ReloadableGroup::new(group), page.clone())),
            shares,
            reload: process.reload.clone(),
            certificates: Arc::new(certificates),
            status,
        };
        let others = admin.into_iter().chain(metrics.map(|(group, _)| group));
        Ok(Self { groups: [public].into_iter().chain(others).collect(), reloadable })
    }
}

impl ReloadableListeners {
    /// Replaces the settings of all listeners, also for open connections.
    pub(super) fn replace(
        &self,
        config: &Config,
        shared: &GatewayState,
        routes: Routes,
        certificates: Vec<LoadedCertificate>,
    ) {
        let limits = self.shares.public_limits(&config.limits);
        self.public.replace(config, &limits, HandlerSettings::new(config, shared, routes));
        let limits = self.shares.management_limits(&config.limits);
        if let Some((admin, router)) = self.admin.as_ref().zip(admin::router(config, shared, &self.reload)) {
            admin.replace(config, &limits, HandlerSettings::of_surface(config, shared, router));
        }
        if let Some((metrics, page)) = &self.metrics {
            let settings = HandlerSettings::of_surface(config, shared, page.clone());
            metrics.replace(config, &limits, settings.without_log());
        }
        self.certificates.replace(certificates);
    }
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
