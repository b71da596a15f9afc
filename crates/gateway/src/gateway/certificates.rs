//! The certificates of the listeners. They are loaded again when their files change, and by a reload.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    reload_status::{ReloadStatus, Reloaded},
    tls::{self, ListenerTls},
};
use crate::{
    config::{Admin, Config, Listener, Tls},
    file_state::FileState,
};

/// The interval between two checks of the files.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The certificates of the listeners that have TLS.
#[derive(Default)]
pub(super) struct Certificates(Mutex<Vec<Certificate>>);

struct Certificate {
    address: SocketAddr,
    files: Tls,
    /// The state of the files when they were loaded, whether or not they could be used.
    seen: Option<FileStates>,
    tls: ListenerTls,
}

type FileStates = [Option<FileState>; 2];

fn states(files: &Tls) -> FileStates {
    [&*files.certificate, &*files.key].map(FileState::of)
}

/// A certificate that was loaded and is not in use yet.
pub(super) struct LoadedCertificate {
    address: SocketAddr,
    files: Tls,
    seen: FileStates,
    settings: Arc<ServerConfig>,
}

impl Certificates {
    /// Adds the certificate of a listener.
    pub(super) fn add(&self, listener: &Listener, tls: &ListenerTls) {
        let Some(files) = listener.tls.clone() else { return };
        // The files may have changed since they were loaded, so their state is not known.
        let certificate = Certificate { address: listener.address, files, seen: None, tls: tls.clone() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(certificate);
    }

    /// Loads the certificates of a configuration for the listeners that there are.
    ///
    /// # Errors
    /// If a certificate cannot be used.
    pub(super) fn load(&self, config: &Config) -> anyhow::Result<Vec<LoadedCertificate>> {
        let admin = config.admin.as_ref().map(Admin::listener);
        let listeners: Vec<_> = config.listeners.iter().chain(&admin).collect();
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().filter_map(|certificate| {
            let listener = listeners.iter().find(|listener| listener.address == certificate.address)?;
            listener.tls.clone().map(|files| (certificate.address, files))
        });
        known
            .map(|(address, files)| {
                let seen = states(&files);
                Ok(LoadedCertificate { address, settings: tls::load(&files)?, files, seen })
            })
            .collect()
    }

    /// Uses loaded certificates for further connections.
    pub(super) fn replace(&self, loaded: Vec<LoadedCertificate>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for LoadedCertificate { address, files, seen, settings } in loaded {
            if let Some(certificate) = all.iter_mut().find(|one| one.address == address) {
                certificate.tls.replace(settings);
                (certificate.files, certificate.seen) = (files, Some(seen));
            }
        }
    }

    /// Loads certificates again whenever their files have changed, for ever. While the files cannot be used, the previous
    /// certificate stays in use.
    pub(super) async fn follow(self: Arc<Self>, status: Arc<ReloadStatus>) {
        loop {
            sleep(POLL_INTERVAL).await;
            let (this, status) = (self.clone(), status.clone());
            // Files may be on a file system that does not respond.
            let _ = spawn_blocking(move || this.update(&status)).await;
        }
    }

    fn update(&self, status: &ReloadStatus) {
        for certificate in &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let now = states(&certificate.files);
            if certificate.seen.as_ref() == Some(&now) {
                continue;
            }
            let is_first = certificate.seen.replace(now).is_none();
            let (address, file) = (certificate.address, certificate.files.certificate.display());
            match tls::load(&certificate.files) {
                Ok(settings) => {
                    certificate.tls.replace(settings);
                    if !is_first {
                        status.record_certificate(Reloaded::Applied);
                        tracing::info!(%address, %file, "certificate reloaded");
                    }
                }
                Err(error) => {
                    status.record_certificate(Reloaded::Rejected);
                    let error = format!("{error:#}");
                    tracing::error!(%address, error, "changed certificate rejected, previous one stays in use");
                }
            }
        }
    }
}
