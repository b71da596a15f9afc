//! The native admin API as the gateway serves it: its listener and its first administrator.

use std::{
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use portcullis::{
    clock::SystemClock,
    model::{Actor, CallerEdit, Status},
    registry::{Registry, RegistryExt, sqlite::Sqlite},
};
use reqwest::{Certificate, Client, Response};
use serde_json::{Value, json};

use crate::process::{Installation, Service, TIMEOUT, certificate, client, free_address, provider};

/// Creates an installation with the admin API. Returns the token that `init` printed, too.
pub async fn managed(more: &str) -> (Installation, SocketAddr, String) {
    let (service, admin) = (Service::echo().await, free_address());
    let mut installation = Installation::with(service.address, "api_key = true\nlock = true", "", more);
    installation.rewrite(|text| format!("{text}\n[admin]\naddress = \"{admin}\"\n"));
    let token = shown(&installation.init());
    (installation, admin, token)
}

fn shown(text: &str) -> String {
    text.split_whitespace()
        .find(|word| word.starts_with("pca_"))
        .unwrap_or_default()
        .trim_matches('\'')
        .to_owned()
}

async fn ask(admin: SocketAddr, token: &str, method: &str, path: &str, body: Option<Value>) -> Response {
    let url = format!("http://{admin}/admin/v1{path}");
    let request = client().request(method.parse().unwrap(), url).bearer_auth(token).header("if-match", "*");
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    request.send().await.unwrap()
}

#[tokio::test]
async fn admin_api_is_served_on_its_own_listener_only() {
    let (installation, admin, token) = managed("").await;
    let gateway = installation.start();
    let status = ask(admin, &token, "GET", "/status", None).await;
    assert_eq!(status.status(), 200);
    let status: Value = status.json().await.unwrap();
    assert_eq!((&status["caller"]["role"], &status["store"]), (&json!("owner"), &json!("available")));
    let elsewhere = gateway.get("/admin/v1/status").bearer_auth(&token).send().await.unwrap();
    assert!(!elsewhere.text().await.unwrap().contains("\"store\""));
    let here = reqwest::get(format!("http://{admin}/v1/api_clients")).await.unwrap();
    assert_eq!(here.status(), 401, "a stranger learns nothing");

    let routes: Value = ask(admin, &token, "GET", "/routes", None).await.json().await.unwrap();
    let route = json!({
        "name": "route-1", "host": null, "path": "/", "methods": [], "upstream": "up", "surface": null,
        "policies": ["api_key", "lock"],
    });
    assert_eq!(routes["items"][0], route);
    assert_eq!(routes["items"][1]["surface"], "discue");
    // The key of an administrator is not the key of a caller.
    assert_eq!(gateway.access("/admin/v1/status")["status"], 403);
    assert!(gateway.end().iter().all(|line| !line.contains(&token)), "no key is logged");
}

#[tokio::test]
async fn key_is_denied_after_an_awaited_deletion() {
    let (installation, admin, token) = managed("").await;
    let gateway = installation.start();
    let keys = "/tenants/demo/callers/5bc2be68-7498-4853-aa64-4be0ca62934e/keys";
    for _ in 0..20 {
        let made: Value = ask(admin, &token, "POST", keys, Some(json!({}))).await.json().await.unwrap();
        let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
        let status = async || gateway.get("/x").header("x-api-key", key).send().await.unwrap().status();
        while status().await != 200 {}
        let path = format!("/tenants/demo/keys/{id}");
        let read: Value = ask(admin, &token, "GET", &path, None).await.json().await.unwrap();
        assert!(read["last_used_at"].is_string(), "{read}");
        let gone = ask(admin, &token, "DELETE", &format!("{path}?wait=60"), None).await;
        assert_eq!((gone.status().as_u16(), status().await.as_u16()), (204, 401));
    }
    let changes = "/changes?actor=init&limit=1";
    let page: Value = ask(admin, &token, "GET", changes, None).await.json().await.unwrap();
    assert_eq!(page["items"][0]["hash"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn full_public_listener_leaves_the_admin_listener_free() {
    let (installation, admin, token) = managed("limits.connections = 2").await;
    let gateway = installation.start();
    let _held: Vec<_> = (0..2).map(|_| TcpStream::connect(gateway.address).unwrap()).collect();
    while client().get(gateway.url("/x")).send().await.is_ok() {}
    assert_eq!(ask(admin, &token, "GET", "/status", None).await.status(), 200);
}

#[tokio::test]
async fn gateway_without_administrators_serves_and_warns() {
    let service = Service::echo().await;
    let mut installation = Installation::new(service.address, "");
    let admin = free_address();
    installation.rewrite(|text| format!("{text}\n[admin]\naddress = \"{admin}\"\n"));
    let unmanaged = async |installation: &Installation| {
        let gateway = installation.start();
        let stranger = ask(admin, "pca_nobody", "GET", "/status", None).await;
        assert_eq!(stranger.status(), 401);
        assert_eq!(gateway.get("/").send().await.unwrap().status(), 200, "traffic does not depend on it");
        let log = gateway.end();
        assert!(log.iter().any(|line| line.contains("ERROR") && line.contains("portcullis init")), "{log:?}");
    };
    unmanaged(&installation).await;

    // The store has tenants already: only an administrator is created.
    let made = installation.init();
    let token = shown(&made);
    assert!(token.starts_with("pca_") && !made.contains("API key") && !made.contains("API client"), "{made}");
    assert!(shown(&installation.init()).is_empty(), "there is one");
    let gateway = installation.start();
    assert_eq!(ask(admin, &token, "GET", "/status", None).await.status(), 200);
    drop(gateway);

    // A user who can run `init` can restore the access of the owner.
    let store = Sqlite::open(&installation.store(), Arc::new(SystemClock::new())).await.unwrap();
    let (tenant, id) = ("administration".parse().unwrap(), "portcullis-owner".parse().unwrap());
    let edit = CallerEdit { status: Some(Status::Disabled), ..CallerEdit::default() };
    store.update_caller(&tenant, &id, None, edit, &Actor::system("test")).await.unwrap();
    store.close().await;
    unmanaged(&installation).await;
    let again = shown(&installation.init());
    let _gateway = installation.start();
    for token in [&token, &again] {
        assert_eq!(ask(admin, token, "GET", "/status", None).await.status(), 200);
    }
}

#[tokio::test]
async fn init_adds_only_an_administrator_key_to_an_existing_store() {
    let (installation, admin, token) = managed("").await;
    let gateway = installation.start();
    let own = json!({ "id": "own", "name": "Own" });
    assert_eq!(ask(admin, &token, "POST", "/tenants", Some(own)).await.status(), 201);
    let status: Value = ask(admin, &token, "GET", "/status", None).await.json().await.unwrap();
    let key = status["caller"]["key"].as_str().unwrap().to_owned();
    drop(gateway);
    let store = Sqlite::open(&installation.store(), Arc::new(SystemClock::new())).await.unwrap();
    let tenant = "administration".parse().unwrap();
    store.delete_credential(&tenant, &key.parse().unwrap(), None, &Actor::system("test")).await.unwrap();
    let before = store.changes(0, u32::MAX).await.unwrap().len() as u64;
    store.close().await;
    let made = installation.init();
    assert!(!shown(&made).is_empty() && !made.contains("API key"), "{made}");
    let store = Sqlite::open(&installation.store(), Arc::new(SystemClock::new())).await.unwrap();
    let changes = store.changes(before, u32::MAX).await.unwrap();
    assert_eq!(changes.len(), 1, "only its key: {changes:?}");
}

#[tokio::test]
async fn admin_api_is_served_over_tls() {
    let (mut installation, admin, token) = managed("").await;
    let (chain, key, pem) = certificate(installation.folder.path());
    installation.rewrite(|text| format!("{text}tls = {{ certificate = {chain:?}, key = {key:?} }}\n"));
    let _gateway = installation.start();
    provider();
    let root = Certificate::from_pem(pem.as_bytes()).unwrap();
    let client =
        Client::builder().no_proxy().timeout(TIMEOUT).tls_certs_only([root]).resolve("localhost", admin);
    let url = format!("https://localhost:{}/admin/v1/status", admin.port());
    let response = client.build().unwrap().get(url).bearer_auth(&token).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, reqwest::Version::HTTP_2));
}
