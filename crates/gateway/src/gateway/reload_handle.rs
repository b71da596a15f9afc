//! Requests for a reload of the configuration, such as from the admin API.

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use portcullis_surfaces::admin::{ReloadConfiguration, ReloadError, Reloaded};

/// The number of requests that wait for one in progress.
const WAITING: usize = 16;

/// The result of a reload that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReloadReport {
    /// The warnings about the configuration.
    pub(super) warnings: Vec<String>,
    /// The settings that have changed and take effect only when the gateway is started again.
    pub(super) restart_required: Vec<&'static str>,
}

/// A request for a reload: the receiver of its result.
pub(super) type ReloadRequest = oneshot::Sender<Result<ReloadReport, ReloadError>>;

/// Requests reloads of the configuration.
#[derive(Debug, Clone)]
pub(super) struct ReloadHandle(mpsc::Sender<ReloadRequest>);

impl ReloadHandle {
    /// Creates a handle, and the receiver of its requests.
    pub(super) fn new() -> (Self, mpsc::Receiver<ReloadRequest>) {
        let (requests, received) = mpsc::channel(WAITING);
        (Self(requests), received)
    }

    async fn request(&self) -> Result<ReloadReport, ReloadError> {
        let (request, result) = oneshot::channel();
        let ends = || ReloadError::Unavailable("the gateway is shutting down".into());
        self.0.send(request).await.map_err(|_| ends())?;
        result.await.map_err(|_| ends())?
    }
}

#[async_trait]
impl ReloadConfiguration for ReloadHandle {
    async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let ReloadReport { warnings, restart_required } = self.request().await?;
        let restart_required = restart_required.into_iter().map(str::to_owned).collect();
        Ok(Reloaded { warnings, restart_required })
    }
}
