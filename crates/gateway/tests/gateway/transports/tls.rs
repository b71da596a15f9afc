//! TLS to targets.

use std::path::Path;

use axum::{Router, extract::Request};

use crate::{
    process::Gateway,
    targets::{installation, logged, text},
    transports::tls_service::{Authority, Handshake, TlsService},
};

/// Returns a router that responds with the HTTP version and the authority of a request.
fn version() -> Router {
    Router::new().fallback(async |request: Request| {
        let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
        let host = host.or_else(|| request.uri().authority().map(ToString::to_string));
        format!("{:?} {}", request.version(), host.unwrap_or_default())
    })
}

/// Starts a gateway in front of one target.
fn start(target: &str, settings: &str) -> (crate::process::Installation, Gateway) {
    let installation = installation(&[target], settings, "");
    let gateway = installation.start();
    (installation, gateway)
}

fn trusting(folder: &Path, authority: &Authority) -> String {
    format!("tls.ca = \"{}\"\n", authority.write(folder).display())
}

async fn get(gateway: &Gateway) -> String {
    text(gateway.get("/").header("host", "orders.example:8443")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn alpn_selects_the_http_version() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let issued = authority.issue("localhost");
    let ca = trusting(folder.path(), &authority);
    for (offered, settings, http2) in [
        (true, "", true),
        (true, "tls.http2 = false", false),
        (false, "", false),
        (false, "tls.http2 = true", false),
    ] {
        let service = TlsService::start_with(&issued, None, offered, version()).await;
        let (_installation, gateway) = start(&service.url("localhost"), &format!("{ca}{settings}"));
        let expected = if http2 { "HTTP/2.0 orders.example:8443" } else { "HTTP/1.1 orders.example:8443" };
        for _ in 0..5 {
            assert_eq!(get(&gateway).await, expected, "{offered} {settings}");
        }
        let handshake = Handshake { server_name: Some("localhost".into()), http2 };
        assert_eq!(service.handshakes(), [handshake], "the connection is used again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_of_an_ip_address_is_verified_without_a_server_name() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let service = TlsService::start(&authority.issue("127.0.0.1"), version()).await;
    let (_installation, gateway) = start(&service.url("127.0.0.1"), &trusting(folder.path(), &authority));
    assert_eq!(get(&gateway).await, "HTTP/2.0 orders.example:8443");
    assert_eq!(service.handshakes()[0].server_name, None, "SNI has no IP addresses (RFC 6066, section 3)");
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_name_is_sent_and_verified() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let service = TlsService::start(&authority.issue("orders.internal"), version()).await;
    let settings = trusting(folder.path(), &authority) + "tls.server_name = \"orders.internal\"";
    let (_installation, gateway) = start(&service.url("127.0.0.1"), &settings);
    assert_eq!(get(&gateway).await, "HTTP/2.0 orders.example:8443");
    assert_eq!(service.handshakes()[0].server_name.as_deref(), Some("orders.internal"));
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_certificate_is_502_with_the_reason_in_the_log() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let ca = trusting(folder.path(), &authority);
    for (issued, reason) in [
        (authority.issue("other.example"), "certificate not valid for name"),
        (authority.issue_expired("localhost"), "certificate expired"),
        (Authority::named("another").issue("localhost"), "UnknownIssuer"),
    ] {
        let service = TlsService::start(&issued, version()).await;
        let (_installation, gateway) = start(&service.url("localhost"), &ca);
        assert_eq!(gateway.get("/").send().await.unwrap().status(), 502, "{reason}");
        let place = format!("upstream up (localhost:{0}, 127.0.0.1:{0}): ", service.address.port());
        logged(&gateway, &format!("{place}TLS handshake: invalid peer certificate: {reason}")).await;
        assert!(service.handshakes().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_of_the_platform_are_trusted_by_default() {
    let service = TlsService::start(&Authority::named("another").issue("localhost"), version()).await;
    // Some machines have no authorities, and then the gateway does not start.
    let (folder, other) = (tempfile::tempdir().unwrap(), Authority::new());
    let installation = installation(&[service.url("localhost")], "", "");
    let mut command = installation.command("serve");
    command.env("SSL_CERT_FILE", other.write(folder.path())).env_remove("SSL_CERT_DIR");
    let gateway = installation.start_by(command);
    assert_eq!(gateway.get("/").send().await.unwrap().status(), 502);
    logged(&gateway, "UnknownIssuer").await;
    drop(gateway);

    let service = TlsService::start(&other.issue("localhost"), version()).await;
    let installation = crate::targets::installation(&[service.url("localhost")], "", "");
    let mut command = installation.command("serve");
    command.env("SSL_CERT_FILE", other.write(folder.path())).env_remove("SSL_CERT_DIR");
    assert_eq!(get(&installation.start_by(command)).await, "HTTP/2.0 orders.example:8443");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificate_is_sent_if_configured() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let issued = authority.issue("localhost");
    let service = TlsService::start_with(&issued, Some(&authority), true, version()).await;
    let ca = trusting(folder.path(), &authority);
    let (certificate, key) = authority.issue("gateway").write(folder.path());
    let (_installation, gateway) = start(
        &service.url("localhost"),
        &format!("{ca}tls.certificate = {certificate:?}\ntls.key = {key:?}"),
    );
    assert_eq!(get(&gateway).await, "HTTP/2.0 orders.example:8443");
    assert_eq!(service.handshakes().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_client_certificate_is_502() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let issued = authority.issue("localhost");
    let ca = trusting(folder.path(), &authority);
    for http2 in [true, false] {
        let service = TlsService::start_with(&issued, Some(&authority), http2, version()).await;
        let (_installation, gateway) = start(&service.url("localhost"), &ca);
        assert_eq!(gateway.get("/").send().await.unwrap().status(), 502);
        // With TLS 1.3, the alert arrives after the handshake, and may be lost when the connection is closed.
        logged(&gateway, &format!("upstream up (localhost:{0}, 127.0.0.1:{0}): ", service.address.port()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_is_not_verified_if_so_configured() {
    for issued in [Authority::new().issue("other.example"), Authority::new().issue_expired("localhost")] {
        let service = TlsService::start(&issued, version()).await;
        let (_installation, gateway) = start(&service.url("localhost"), "tls.verify = false");
        assert_eq!(get(&gateway).await, "HTTP/2.0 orders.example:8443");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn target_without_tls_is_502() {
    let service = crate::process::Service::echo().await;
    let target = format!("https://localhost:{}", service.address.port());
    let (_installation, gateway) = start(&target, "tls.verify = false");
    assert_eq!(gateway.get("/").send().await.unwrap().status(), 502);
    logged(&gateway, "TLS handshake: received corrupt message").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_use_tls() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let service = TlsService::start(&authority.issue("localhost"), version()).await;
    let other = TlsService::start(&Authority::new().issue("localhost"), version()).await;
    let settings = trusting(folder.path(), &authority)
        + "ejection.enabled = false\nretries.attempts = 0\n\
           health_check = { path = \"/\", interval = \"50ms\", unhealthy_after = 2, timeout = \"5s\" }";
    let installation = installation(&[service.url("localhost"), other.url("localhost")], &settings, "");
    let gateway = installation.start();
    logged(&gateway, "target is unhealthy").await;
    for _ in 0..20 {
        assert_eq!(get(&gateway).await, "HTTP/2.0 orders.example:8443");
    }
}
