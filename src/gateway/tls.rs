//! Certificates, looked at before Pingora does: it panics over a bad file.

use std::path::Path;

use anyhow::{Context, bail};
use pingora::listeners::tls::TlsSettings;
use rustls::{crypto::ring, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::config::Tls;

/// Settings for HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3.
///
/// # Errors
/// When a file cannot be read, holds no certificate or key, or they do not belong together.
pub(super) fn settings(tls: &Tls) -> anyhow::Result<TlsSettings> {
    check(tls)?;
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path is not UTF-8");
    let mut settings = TlsSettings::intermediate(&text(&tls.certificate)?, &text(&tls.key)?)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    settings.enable_h2();
    Ok(settings)
}

/// Whether certificate and key can be used.
///
/// # Errors
/// As [`settings`].
pub(crate) fn check(tls: &Tls) -> anyhow::Result<()> {
    let place = || format!("certificate {}", tls.certificate.display());
    let certificates = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(place)?;
    if certificates.is_empty() {
        bail!("{}: holds no certificate", place());
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key).with_context(|| format!("key {}", tls.key.display()))?;
    CertifiedKey::from_der(certificates, key, &ring::default_provider()).with_context(|| {
        format!("certificate {} and key {}", tls.certificate.display(), tls.key.display())
    })?;
    Ok(())
}
