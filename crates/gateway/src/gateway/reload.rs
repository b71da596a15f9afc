//! Reloads the configuration: reads the file, checks it as a whole, and replaces the settings of all listeners at once.
//!
//! A file with an error changes nothing. Connections, the budgets of callers, lockouts, and the upstreams whose settings
//! have not changed are kept.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::{
    runtime::Handle,
    signal::unix::Signal,
    sync::mpsc,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{
    GatewayState,
    listeners::ReloadableListeners,
    plans,
    reload_handle::{ReloadReport, ReloadRequest},
    reload_status::Reloaded,
    resolver::Resolver,
    review::reviewed,
    router::Routes,
    service_manager,
    upstreams::Upstreams,
};
use crate::{config::Config, file_state::FileState};

/// The interval between two checks of the configuration file, if it is reloaded when it changes.
///
/// The file is checked at intervals, because a file that is mounted into a container changes with a link to its folder,
/// which notifications of the system do not report.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Reloads the configuration of a running gateway.
pub(super) struct Reloader {
    /// The configuration that the gateway was started with.
    pub(super) started: Config,
    pub(super) shared: Arc<GatewayState>,
    pub(super) resolver: Resolver,
    pub(super) upstreams: Arc<ArcSwap<Upstreams>>,
    pub(super) listeners: ReloadableListeners,
}

impl Reloader {
    /// Reloads the configuration at each signal, at each request and, if configured, whenever its file has changed.
    pub(super) async fn run(mut self, mut hangups: Signal, mut requests: mpsc::Receiver<ReloadRequest>) {
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.started.file_state.clone();
        loop {
            tokio::select! {
                Some(()) = hangups.recv() => {
                    tracing::info!("SIGHUP received, reloading the configuration");
                    // The result is logged.
                    let _ = self.reload().await;
                }
                Some(request) = requests.recv() => {
                    // The client may have disconnected.
                    let _ = request.send(self.reload().await);
                }
                _ = ticks.tick(), if self.started.server.reload_on_change => {
                    let now = self.file_state();
                    if now != seen {
                        seen = now;
                        let _ = self.reload().await;
                    }
                }
                else => return,
            }
        }
    }

    fn file_state(&self) -> Option<FileState> {
        self.started.file.as_deref().and_then(FileState::of)
    }

    /// Reloads the configuration, and logs the result.
    ///
    /// # Errors
    /// If the configuration cannot be used. Nothing has changed then.
    async fn reload(&mut self) -> anyhow::Result<ReloadReport> {
        service_manager::reloading();
        let reloaded = self.apply().await;
        service_manager::ready();
        match &reloaded {
            Ok(report) => {
                self.listeners.status.record_configuration(Reloaded::Applied);
                for warning in &report.warnings {
                    tracing::warn!(finding = %warning, "configuration");
                }
                if !report.restart_required.is_empty() {
                    let settings = report.restart_required.join(", ");
                    tracing::warn!(settings, "changed settings take effect only after a restart");
                }
                tracing::info!("configuration reloaded");
            }
            Err(error) => {
                self.listeners.status.record_configuration(Reloaded::Rejected);
                for finding in format!("{error:#}").lines() {
                    tracing::error!(finding, "configuration");
                }
                tracing::error!("configuration rejected, previous configuration stays in use");
            }
        }
        reloaded
    }

    async fn apply(&mut self) -> anyhow::Result<ReloadReport> {
        let file = self.started.file.clone().context("the configuration was not read from a file")?;
        let reviewed = spawn_blocking(move || reviewed(&file)?.finish()).await;
        let (config, warnings) = reviewed.context("failed to read the configuration")??;
        let shared = &*self.shared;
        let upstreams = Upstreams::new(&config, Some(&self.upstreams.load()))?;
        let routes = Routes::new(&config, shared, &upstreams);
        let certificates = self.listeners.certificates.load(&config)?;
        plans::store(&config, &*shared.registry).await.context("failed to store the configured plans")?;

        // From here on, nothing fails.
        self.listeners.replace(&config, shared, routes, certificates);
        upstreams.start(&self.resolver, &Handle::current());
        self.upstreams.store(Arc::new(upstreams));
        Ok(ReloadReport {
            warnings: warnings.iter().map(ToString::to_string).collect(),
            restart_required: self.started.restart_required(&config),
        })
    }
}
