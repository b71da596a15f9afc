//! Reloads of the configuration and of certificates while the gateway serves requests.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use axum::{Router, routing::get};
use portcullis_test::dns::{DnsRecord, DnsReply, DnsServer};
use reqwest::Client;

use crate::{
    admin::managed,
    process::{Gateway, Installation, Service, TIMEOUT, certificate, client, free_address, provider},
    targets,
};

/// Waits until the log has this number of lines with a text.
async fn wait_for_lines(gateway: &Gateway, text: &str, count: usize) {
    let deadline = Instant::now() + TIMEOUT;
    while gateway.log().iter().filter(|line| line.contains(text)).count() < count {
        assert!(Instant::now() < deadline, "{count} of {text}: {:#?}", gateway.log());
        tokio::task::yield_now().await;
    }
}

/// Reloads the configuration, and waits until it is applied for the `count`th time.
pub async fn reload(gateway: &Gateway, count: usize) {
    gateway.signal("-HUP");
    wait_for_lines(gateway, "configuration reloaded", count).await;
}

fn add_route(installation: &mut Installation, path: &str) {
    let route = format!("[[routes]]\npath = \"{path}\"\nrespond = {{ status = 204 }}\nunguarded = true\n");
    installation.rewrite(|text| text + &route);
}

async fn status(client: &Client, gateway: &Gateway, path: &str) -> u16 {
    client.get(gateway.url(path)).send().await.unwrap().status().as_u16()
}

async fn metric(address: std::net::SocketAddr, line: &str) -> String {
    let text = client().get(format!("http://{address}/metrics")).send().await.unwrap().text().await.unwrap();
    text.lines().find_map(|found| found.strip_prefix(line)).unwrap_or_default().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_changes_routes_on_open_connections() {
    let service = Service::echo().await;
    let mut installation = Installation::new(service.address, "");
    let gateway = installation.start();
    // All requests use one connection.
    let client = client();
    assert_eq!(status(&client, &gateway, "/new").await, 200);
    add_route(&mut installation, "/new");
    reload(&gateway, 1).await;
    assert_eq!(status(&client, &gateway, "/new").await, 204);
    assert_eq!(status(&client, &gateway, "/other").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_file_changes_nothing_and_is_reported() {
    let (service, metrics) = (Service::echo().await, free_address());
    let file = format!("metrics = {{ address = \"{metrics}\" }}");
    let mut installation = Installation::with(service.address, "", "", &file);
    let gateway = installation.start();
    assert_eq!(metric(metrics, "portcullis_config_current").await, "1");
    add_route(&mut installation, "/new");
    installation.rewrite(|text| text + "[[routes]]\npath = \"/broken\"\nupstream = \"nowhere\"\n");
    gateway.signal("-HUP");
    wait_for_lines(&gateway, "previous configuration stays in use", 1).await;
    wait_for_lines(&gateway, "nowhere", 1).await;
    assert_eq!(gateway.get("/new").send().await.unwrap().status(), 200, "the old route");
    assert_eq!(metric(metrics, "portcullis_config_current").await, "0");
    assert_eq!(metric(metrics, "portcullis_config_reloads_total{result=\"rejected\"}").await, "1");
    // A file that is gone is an error like any other.
    let file = installation.folder.path().join("gateway.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    gateway.signal("-HUP");
    wait_for_lines(&gateway, "previous configuration stays in use", 2).await;
    fs::write(&file, text.split("[[routes]]\npath = \"/broken\"").next().unwrap()).unwrap();
    reload(&gateway, 1).await;
    assert_eq!(gateway.get("/new").send().await.unwrap().status(), 204);
    assert_eq!(metric(metrics, "portcullis_config_current").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_and_lockouts_survive_a_reload() {
    let service = Service::echo().await;
    let lockout = "{ attempts = 2, window = \"1h\", duration = \"1h\" }";
    let policies = format!("api_key = {{ lockout = {lockout} }}\nrate_limit = true");
    let mut installation = Installation::new(service.address, &policies);
    installation.rewrite(|text| text.replace("quota = 20000", "quota = 2"));
    let gateway = installation.start();
    let call =
        async |key: &str| gateway.get("/").header("x-api-key", key).send().await.unwrap().status().as_u16();
    for expected in [200, 200, 429] {
        assert_eq!(call(&installation.api_key).await, expected);
    }
    add_route(&mut installation, "/new");
    reload(&gateway, 1).await;
    assert_eq!(call(&installation.api_key).await, 429, "the budget is used up");
    assert_eq!([call("wrong").await, call("wrong").await], [401, 401]);
    reload(&gateway, 2).await;
    assert_eq!(call("wrong").await, 403, "the address is locked out");
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_of_the_file_changes_with_a_reload() {
    let service = Service::echo().await;
    let mut installation = Installation::new(service.address, "api_key = true\nrate_limit = true");
    let gateway = installation.start();
    let key = installation.api_key.clone();
    let left = async || {
        let request = gateway.get("/").header("x-api-key", &key);
        let response = request.send().await.unwrap();
        response.headers()["ratelimit-policy"].to_str().unwrap().to_owned()
    };
    assert!(left().await.contains("q=20000;"));
    installation.rewrite(|text| text.replace("quota = 20000", "quota = 10"));
    reload(&gateway, 1).await;
    // The change arrives by way of the store.
    let deadline = Instant::now() + TIMEOUT;
    while !left().await.contains("q=10;") {
        assert!(Instant::now() < deadline, "{}", left().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_unchanged_upstreams_are_kept() {
    let service = Service::echo().await;
    let mut installation = Installation::with(service.address, "", "", "server.threads = 1");
    let gateway = installation.start();
    for _ in 0..3 {
        assert_eq!(gateway.get("/").send().await.unwrap().status(), 200);
    }
    add_route(&mut installation, "/new");
    reload(&gateway, 1).await;
    assert_eq!(gateway.get("/").send().await.unwrap().status(), 200);
    assert_eq!(service.connections(), 1);
    installation.rewrite(|text| text.replace("[upstreams.up]\n", "[upstreams.up]\nread_timeout = \"7s\"\n"));
    reload(&gateway, 2).await;
    assert_eq!(gateway.get("/").send().await.unwrap().status(), 200);
    assert_eq!(service.connections(), 2, "the settings of the upstream have changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_require_a_restart_are_reported() {
    let service = Service::echo().await;
    let mut installation = Installation::new(service.address, "");
    let gateway = installation.start();
    let (old, new) = (installation.address.to_string(), free_address().to_string());
    installation.rewrite(|text| format!("server.threads = 3\n{}", text.replace(&old, &new)));
    reload(&gateway, 1).await;
    wait_for_lines(&gateway, "server.threads, listeners", 1).await;
    assert_eq!(gateway.get("/").send().await.unwrap().status(), 200, "the address is still the old one");
}

/// Clients send requests, on kept and on new connections, while the configuration changes all the time.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_the_configuration_is_reloaded() {
    const RELOADS: usize = 40;
    let service = Service::start(Router::new().route("/{*path}", get(|| async { "ok" }))).await;
    let mut installation = Installation::new(service.address, "");
    let gateway = installation.start();
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (url, done) = (gateway.url("/stays"), done.clone());
            tokio::spawn(async move {
                let kept = client();
                let mut count = 0;
                while !done.load(Ordering::Relaxed) {
                    let one = if number % 2 == 0 { kept.clone() } else { client() };
                    let response = one.get(&url).send().await.unwrap();
                    assert_eq!(response.status(), 200);
                    assert_eq!(response.text().await.unwrap(), "ok");
                    count += 1;
                }
                count
            })
        })
        .collect();
    for round in 1..=RELOADS {
        // Every second time, the upstream changes, too.
        installation.rewrite(|text| {
            let text = text.split("# round").next().unwrap().to_owned();
            let settings = format!("[upstreams.up]\nread_timeout = \"{}s\"\n", 60 + round / 2);
            let (head, rest) = text.split_once("[upstreams.up]\n").unwrap();
            let rest: String = rest
                .lines()
                .filter(|line| !line.starts_with("read_timeout"))
                .fold(String::new(), |all, line| all + line + "\n");
            format!("{head}{settings}{rest}# round {round}\n")
        });
        reload(&gateway, round).await;
    }
    done.store(true, Ordering::Relaxed);
    let mut requests = 0;
    for client in clients {
        requests += client.await.unwrap();
    }
    assert!(requests >= RELOADS, "{requests}");
}

async fn served_certificate(gateway: &Gateway, pem: &str) -> bool {
    provider();
    let root = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    let client = Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    let url = format!("https://localhost:{}/", gateway.address.port());
    client.get(url).send().await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_is_reloaded_when_its_files_change() {
    let (service, metrics) = (Service::echo().await, free_address());
    let file = format!("metrics = {{ address = \"{metrics}\" }}");
    let mut installation = Installation::with(service.address, "", "", &file);
    let (chain, key, first) = certificate(installation.folder.path());
    installation.rewrite(|text| {
        let tls = "tls = { certificate = \"chain.pem\", key = \"key.pem\" }\n[[plans]]";
        text.replacen("[[plans]]", tls, 1)
    });
    let gateway = installation.start();
    assert!(served_certificate(&gateway, &first).await);
    // A certificate without its key changes nothing.
    let other = installation.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    let (other_chain, other_key, second) = certificate(&other);
    fs::rename(other_chain, chain).unwrap();
    wait_for_lines(&gateway, "changed certificate rejected", 1).await;
    assert!(served_certificate(&gateway, &first).await);
    let rejected = metric(metrics, "portcullis_certificate_reloads_total{result=\"rejected\"}").await;
    assert!(rejected.parse::<u32>().unwrap() >= 1, "{rejected}");
    fs::rename(other_key, key).unwrap();
    wait_for_lines(&gateway, "certificate reloaded", 1).await;
    assert!(served_certificate(&gateway, &second).await && !served_certificate(&gateway, &first).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_file_is_reloaded_if_configured() {
    let service = Service::echo().await;
    let mut installation = Installation::with(service.address, "", "", "server.reload_on_change = true");
    let gateway = installation.start();
    add_route(&mut installation, "/new");
    wait_for_lines(&gateway, "configuration reloaded", 1).await;
    assert_eq!(gateway.get("/new").send().await.unwrap().status(), 204);
}

/// Runs `portcullis reload` with the key of an owner. Returns the exit status and both outputs.
fn reload_command(
    installation: &Installation,
    arguments: &str,
    token: &str,
) -> (Option<i32>, String, String) {
    let mut command = installation.command(&format!("reload{arguments}"));
    let output = command.env_remove("PORTCULLIS_URL").env("PORTCULLIS_TOKEN", token).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn command_reloads_the_configuration_and_prints_errors() {
    let (mut installation, admin, token) = managed("").await;
    let gateway = installation.start();
    let url = format!(" --url http://{admin}");
    add_route(&mut installation, "/new");
    installation.rewrite(|text| format!("server.threads = 3\n{text}"));
    let (status, out, error) = reload_command(&installation, &url, &token);
    assert_eq!((status, error.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("restart: server.threads\n") && out.ends_with("configuration reloaded\n"), "{out}");
    assert_eq!(gateway.get("/new").send().await.unwrap().status(), 204);
    let (status, out, _) = reload_command(&installation, &format!("{url} --json"), &token);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &report["restart_required"]), (Some(0), &serde_json::json!(["server.threads"])));

    let (status, _, error) = reload_command(&installation, "", &token);
    assert_eq!(status, Some(1));
    assert!(error.contains("pass --url, or send SIGHUP"), "{error}");

    installation.rewrite(|text| {
        text + "[[routes]]\npath = \"/a\"\nupstream = \"nowhere\"\n[[routes]]\npath = \"/b\"\n"
    });
    let (status, out, error) = reload_command(&installation, &url, &token);
    assert_eq!((status, out.as_str()), (Some(3), ""), "{error}");
    assert!(error.contains("nowhere") && error.matches("\n  gateway.toml:").count() == 2, "{error}");
    assert!(
        error.starts_with(
            "portcullis: the configuration has errors, and nothing has changed\n  gateway.toml:"
        )
    );
    let call = gateway.get("/a").header("x-api-key", &installation.api_key);
    assert_eq!(call.send().await.unwrap().status(), 200, "the old route");
}

/// The admin API itself is a part of what a reload replaces.
#[tokio::test(flavor = "multi_thread")]
async fn admin_api_shows_the_reloaded_routes() {
    let (mut installation, admin, token) = managed("").await;
    let _gateway = installation.start();
    add_route(&mut installation, "/new");
    let (status, _, error) = reload_command(&installation, &format!(" --url http://{admin}"), &token);
    assert_eq!(status, Some(0), "{error}");
    let url = format!("http://{admin}/admin/v1/routes");
    let routes: serde_json::Value =
        client().get(url).bearer_auth(&token).send().await.unwrap().json().await.unwrap();
    assert!(routes["items"].as_array().unwrap().iter().any(|route| route["path"] == "/new"), "{routes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_upstream_keeps_its_addresses_while_dns_fails() {
    let (service, dns) = (Service::echo().await, DnsServer::start().await);
    dns.set("orders.test.", [DnsRecord::ip(60, "127.0.0.1")]);
    let target = format!("http://orders.test.:{}", service.address.port());
    let file = format!("dns = {{ servers = [\"{}\"], timeout = \"300ms\" }}", dns.address());
    let mut installation = targets::installation(&[target], "connect_timeout = \"300ms\"", &file);
    let gateway = installation.start();
    let deadline = Instant::now() + TIMEOUT;
    while gateway.get("/").send().await.unwrap().status() != 200 {
        assert!(Instant::now() < deadline, "{:?}", gateway.log());
    }
    dns.reply("orders.test.", DnsReply::ServerFailure);
    installation.rewrite(|text| text.replace("connect_timeout = \"300ms\"", "connect_timeout = \"400ms\""));
    reload(&gateway, 1).await;
    assert_eq!(gateway.get("/").send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_without_the_store_changes_nothing() {
    let (mut installation, admin, token) = managed("").await;
    let gateway = installation.start();
    add_route(&mut installation, "/new");
    installation.rewrite(|text| text.replace("quota = 20000", "quota = 10"));
    let (store, away) = (installation.store(), installation.folder.path().join("away"));
    fs::rename(&store, &away).unwrap();
    fs::create_dir(&store).unwrap();
    gateway.signal("-HUP");
    wait_for_lines(&gateway, "previous configuration stays in use", 1).await;
    assert_eq!(gateway.get("/new").send().await.unwrap().status(), 401, "the old route");
    fs::remove_dir(&store).unwrap();
    fs::rename(&away, &store).unwrap();
    let deadline = Instant::now() + TIMEOUT;
    let url = format!(" --url http://{admin}");
    while reload_command(&installation, &url, &token).0 != Some(0) {
        assert!(Instant::now() < deadline, "{:?}", gateway.log());
    }
    assert_eq!(gateway.get("/new").send().await.unwrap().status(), 204);
}
