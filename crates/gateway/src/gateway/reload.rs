//! Reloads the configuration: reads the file, checks it as a whole, and replaces the settings of all listeners at once.
//!
//! A file with an error changes nothing. Connections, the budgets of callers, lockouts, and the upstreams whose settings
//! have not changed are kept.

use std::{path::Path, sync::Arc, time::Duration};

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
    certificates::{Certificates, LoadedCertificate},
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
use portcullis_surfaces::admin::ReloadError;

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
            let request = tokio::select! {
                Some(()) = hangups.recv() => {
                    tracing::info!("SIGHUP received, reloading the configuration");
                    None
                }
                Some(request) = requests.recv() => Some(request),
                _ = ticks.tick(), if self.started.server.reload_on_change => {
                    if self.file_state() == seen {
                        continue;
                    }
                    None
                }
                else => return,
            };
            seen = self.file_state();
            // The result is logged.
            let reloaded = self.reload().await;
            if let Some(request) = request {
                // The client may have disconnected.
                let _ = request.send(reloaded);
            }
        }
    }

    fn file_state(&self) -> Option<FileState> {
        self.started.file.as_deref().and_then(FileState::of)
    }

    /// Reloads the configuration, and logs the result.
    ///
    /// # Errors
    /// If the configuration cannot be used or applied.
    async fn reload(&mut self) -> Result<ReloadReport, ReloadError> {
        service_manager::reloading();
        let reloaded = self.apply().await;
        service_manager::ready();
        let result = if reloaded.is_ok() { Reloaded::Applied } else { Reloaded::Rejected };
        self.listeners.status.record_configuration(result);
        match &reloaded {
            Ok(report) => {
                for warning in &report.warnings {
                    tracing::warn!(finding = %warning, "configuration");
                }
                if !report.restart_required.is_empty() {
                    let settings = report.restart_required.join(", ");
                    tracing::warn!(settings, "changed settings take effect only after a restart");
                }
                tracing::info!("configuration reloaded");
            }
            Err(ReloadError::Invalid(errors)) => {
                for finding in errors {
                    tracing::error!(finding, "configuration");
                }
                tracing::error!("configuration rejected, previous configuration stays in use");
            }
            Err(ReloadError::Unavailable(reason)) => {
                tracing::error!(reason, "configuration not applied, previous configuration stays in use");
            }
        }
        reloaded
    }

    async fn apply(&mut self) -> Result<ReloadReport, ReloadError> {
        let Some(file) = self.started.file.clone() else {
            return Err(ReloadError::Invalid(vec!["the configuration was not read from a file".into()]));
        };
        let (before, certificates) = (self.upstreams.load_full(), self.listeners.certificates.clone());
        // Files may be on a file system that does not respond.
        let read = spawn_blocking(move || read(&file, &before, &certificates)).await;
        let read = read.map_err(|error| ReloadError::Unavailable(error.to_string()))?;
        let Candidate { config, warnings, upstreams, certificates } = read.map_err(|error| {
            ReloadError::Invalid(format!("{error:#}").lines().map(str::to_owned).collect())
        })?;
        let shared = &*self.shared;
        let routes = Routes::new(&config, shared, &upstreams);
        let stored = plans::store(&config, &*shared.registry).await;
        stored.map_err(|fault| {
            ReloadError::Unavailable(format!("failed to store the configured plans: {fault}"))
        })?;

        // From here on, nothing fails.
        self.listeners.replace(&config, shared, routes, certificates);
        upstreams.start(&self.resolver, &Handle::current());
        self.upstreams.store(Arc::new(upstreams));
        Ok(ReloadReport { warnings, restart_required: self.started.restart_required(&config) })
    }
}

/// A configuration that was read and checked, and is not in use yet.
struct Candidate {
    config: Config,
    warnings: Vec<String>,
    upstreams: Upstreams,
    certificates: Vec<LoadedCertificate>,
}

/// Reads a configuration and the files that it names.
fn read(file: &Path, before: &Upstreams, certificates: &Certificates) -> anyhow::Result<Candidate> {
    let (config, warnings) = reviewed(file)?.finish()?;
    let upstreams = Upstreams::new(&config, Some(before))?;
    let certificates = certificates.load(&config)?;
    let warnings = warnings.iter().map(ToString::to_string).collect();
    Ok(Candidate { config, warnings, upstreams, certificates })
}
