//! TLS to the targets of an upstream.

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tokio_rustls::TlsConnector;

use crate::{config, gateway::tls::H2};

/// The ALPN name of HTTP/1.1.
const HTTP1: &[u8] = b"http/1.1";

/// The connectors of an upstream: one for all HTTP versions, and one that offers only HTTP/1.1.
#[derive(Clone)]
pub(super) struct UpstreamTls {
    pub(super) all: TlsConnector,
    pub(super) http1: TlsConnector,
}

/// Creates the connectors, for TLS 1.2 and 1.3.
///
/// # Errors
/// If a file cannot be read or has no certificate or key, the certificate and the key do not match, or the platform has
/// no certificates of authorities.
pub(super) fn connectors(tls: &config::UpstreamTls) -> anyhow::Result<UpstreamTls> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = if tls.verify {
        let roots = match &tls.ca {
            Some(file) => roots_of(file)?,
            None => platform_roots()?,
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        builder.with_webpki_verifier(verifier)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification(provider)))
    };
    let mut config = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let private =
                PrivateKeyDer::from_pem_file(key).with_context(|| format!("key {}", key.display()))?;
            builder
                .with_client_auth_cert(chain, private)
                .with_context(|| format!("certificate {} and key {}", certificate.display(), key.display()))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => bail!("tls.certificate and tls.key are needed together"),
    };
    config.alpn_protocols = vec![HTTP1.to_vec()];
    let http1 = TlsConnector::from(Arc::new(config.clone()));
    if !tls.http2 {
        return Ok(UpstreamTls { all: http1.clone(), http1 });
    }
    config.alpn_protocols.insert(0, H2.to_vec());
    Ok(UpstreamTls { all: TlsConnector::from(Arc::new(config)), http1 })
}

/// Parses the name for SNI and for the verification of the certificate: a DNS name or an IP address.
///
/// # Errors
/// If the text is neither.
pub(super) fn server_name(text: &str) -> anyhow::Result<ServerName<'static>> {
    ServerName::try_from(text.to_owned())
        .with_context(|| format!("\"{text}\" is neither a DNS name nor an IP address; set tls.server_name"))
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let place = || format!("certificate {}", file.display());
    let chain = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(place)?;
    if chain.is_empty() {
        bail!("{}: the file has no certificate", place());
    }
    Ok(chain)
}

fn roots_of(file: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).with_context(|| format!("certificate {}", file.display()))?;
    }
    Ok(roots)
}

fn platform_roots() -> anyhow::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some platforms have certificates that rustls does not read.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        bail!(
            "the platform has no certificates of authorities: install them (Debian: ca-certificates) or set tls.ca"
        );
    }
    Ok(roots)
}

/// Accepts every certificate, for `tls.verify = false`. Signatures are verified: the server has the key of its
/// certificate.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
