//! Security headers, and `Cache-Control` of responses to authenticated callers.

use axum::{Router, routing};
use reqwest::Response;

use crate::process::{
    Gateway, Installation, Service, certificate, client, free_address, http2_client, provider,
};

const ALL: [&str; 4] =
    ["x-content-type-options", "x-frame-options", "referrer-policy", "strict-transport-security"];

/// Starts a service with security headers on `/framed`, and caching headers on `/cached` and `/expiring`.
async fn service() -> Service {
    let framed = || async { [("x-frame-options", "DENY"), ("referrer-policy", "origin")] };
    let router = Router::new()
        .route("/framed", routing::get(framed))
        .route("/cached", routing::get(|| async { [("cache-control", "max-age=60")] }))
        .route("/expiring", routing::get(|| async { [("expires", "Thu, 01 Jan 2043 00:00:00 GMT")] }))
        .fallback(|| async { "ok" });
    Service::start(router).await
}

fn gateway(service: &Service, routes: &str) -> (Installation, Gateway) {
    let address = free_address();
    let text = format!(
        "store.path = \"data/p.db\"\nsecrets.file = \"data/s.toml\"\n\
         listeners = [{{ address = \"{address}\", h2c = true }}]\nserver.trusted_proxies = [\"127.0.0.2/32\"]\n\
         [upstreams.up]\naddress = \"{}\"\n{routes}",
        service.address
    );
    let installation = Installation::from_text(&text, address);
    let gateway = installation.start();
    (installation, gateway)
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    let mut values = response.headers().get_all(name).iter();
    let value = values.next().map_or("", |value| value.to_str().unwrap());
    assert!(values.next().is_none(), "{name} is repeated");
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn security_headers_are_added_unless_the_upstream_sends_them() {
    let service = service().await;
    let routes = "[[routes]]\npath = \"/\"\nupstream = \"up\"\nsecurity_headers = true\n\
        [[routes]]\npath = \"/keyed\"\nupstream = \"up\"\nsecurity_headers = true\npolicies.api_key = true\n\
        [[routes]]\npath = \"/plain\"\nupstream = \"up\"\n\
        [[routes]]\npath = \"/own\"\nupstream = \"up\"\nsecurity_headers = { nosniff = false, frame_options = \"DENY\", \
        referrer_policy = \"off\" }\n\
        [[routes]]\npath = \"/docs\"\nsurface = \"docs\"\nsecurity_headers = true\n";
    let (_installation, gateway) = gateway(&service, routes);
    for (path, status, values) in [
        ("/", 200, ["nosniff", "SAMEORIGIN", "same-origin", ""]),
        ("/framed", 200, ["nosniff", "DENY", "origin", ""]),
        ("/keyed", 401, ["nosniff", "SAMEORIGIN", "same-origin", ""]),
        ("/own", 200, ["", "DENY", "", ""]),
        ("/plain", 200, ["", "", "", ""]),
    ] {
        for client in [client(), http2_client()] {
            let response = client.get(gateway.url(path)).send().await.unwrap();
            assert_eq!(response.status(), status, "{path}");
            assert_eq!(ALL.map(|name| header(&response, name)), values, "{path}");
        }
    }
    let documentation = gateway.get("/docs/").send().await.unwrap();
    assert_eq!(
        (documentation.status().as_u16(), header(&documentation, "x-frame-options")),
        (200, "SAMEORIGIN")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hsts_is_sent_with_tls_only() {
    let service = service().await;
    let routes = "[[routes]]\npath = \"/\"\nupstream = \"up\"\nsecurity_headers = { hsts_days = 2 }\n\
        [[routes]]\npath = \"/sub\"\nupstream = \"up\"\nsecurity_headers = { hsts_subdomains = true }\n\
        [[routes]]\npath = \"/none\"\nupstream = \"up\"\nsecurity_headers = { hsts_days = 0 }\n";
    let address = free_address();
    let text = format!(
        "store.path = \"data/p.db\"\nsecrets.file = \"data/s.toml\"\nserver.trusted_proxies = [\"127.0.0.0/8\"]\n\
         [upstreams.up]\naddress = \"{}\"\n{routes}",
        service.address
    );
    let plain = free_address();
    let mut installation = Installation::uninitialised(&text, address);
    let (_, _, root) = certificate(installation.folder.path());
    installation.rewrite(|text| {
        format!(
            "{text}[[listeners]]\naddress = \"{address}\"\ntls = {{ certificate = \"chain.pem\", key = \"key.pem\" }}\n\
             [[listeners]]\naddress = \"{plain}\"\n"
        )
    });
    installation.init();
    let _gateway = installation.start();
    provider();
    let root = reqwest::Certificate::from_pem(root.as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([root])
        .resolve("localhost", address)
        .build()
        .unwrap();
    let secure = format!("https://localhost:{}", address.port());
    let plain = format!("http://{plain}");
    for (base, path, scheme, value) in [
        (&secure, "/", "", "max-age=172800"),
        (&secure, "/sub", "", "max-age=31536000; includeSubDomains"),
        (&secure, "/none", "", ""),
        (&plain, "/", "", ""),
        // A trusted proxy that terminates TLS.
        (&plain, "/", "https", "max-age=172800"),
        (&plain, "/", "http", ""),
    ] {
        let request = client.get(format!("{base}{path}")).header("x-forwarded-for", "192.0.2.1");
        let request = if scheme.is_empty() { request } else { request.header("x-forwarded-proto", scheme) };
        let response = request.send().await.unwrap();
        assert_eq!(header(&response, "strict-transport-security"), value, "{base}{path} {scheme}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_to_a_caller_is_private_unless_the_route_keeps_caching_headers() {
    let service = service().await;
    let route = |path: &str, rest: &str| {
        format!("[[routes]]\npath = \"{path}\"\nupstream = \"up\"\n{rest}\npolicies.api_key = true\n")
    };
    let private = gateway(&service, &route("/", ""));
    let kept = gateway(&service, &route("/", "cache_control = \"keep\""));
    for ((installation, gateway), path, cache_control, vary) in [
        (&private, "/", "private", ""),
        (&private, "/cached", "max-age=60", "x-api-key"),
        (&private, "/expiring", "", "x-api-key"),
        (&kept, "/", "", ""),
        (&kept, "/cached", "max-age=60", ""),
        (&kept, "/expiring", "", ""),
    ] {
        let response = gateway.get(path).header("x-api-key", &installation.api_key).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "cache-control"), cache_control, "{path}");
        assert_eq!(header(&response, "vary"), vary, "{path}");
        // Without a caller, nothing is added.
        let denied = gateway.get(path).send().await.unwrap();
        assert_eq!(header(&denied, "vary"), "", "{path}");
    }
}
