//! TLS for clients, with certificates that can be replaced.

use std::sync::Arc;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// The TLS settings of a listener. Clones share the certificate.
#[derive(Clone)]
pub(super) struct ListenerTls(Arc<ArcSwap<ServerConfig>>);

impl ListenerTls {
    pub(super) fn new(settings: Arc<ServerConfig>) -> Self {
        Self(Arc::new(ArcSwap::new(settings)))
    }

    /// Replaces the certificate for further connections.
    pub(super) fn replace(&self, settings: Arc<ServerConfig>) {
        self.0.store(settings);
    }

    /// Returns an acceptor with the current certificate.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

/// Loads the files of a listener: for TLS 1.2 and 1.3, with HTTP/2 or HTTP/1.1.
///
/// # Errors
/// Fails if a file cannot be read or holds no certificate or key, or if the certificate and the key do not match.
pub(super) fn load(tls: &Tls) -> anyhow::Result<Arc<ServerConfig>> {
    let place = || format!("certificate {}", tls.certificate.display());
    let certificates = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(place)?;
    if certificates.is_empty() {
        bail!("{}: holds no certificate", place());
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key).with_context(|| format!("key {}", tls.key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .with_context(|| {
            format!("certificate {} and key {}", tls.certificate.display(), tls.key.display())
        })?;
    config.alpn_protocols = [H2, b"http/1.1"].map(Into::into).into();
    Ok(Arc::new(config))
}

/// The ALPN name of HTTP/2.
pub(super) const H2: &[u8] = b"h2";
