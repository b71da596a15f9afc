//! Stores that were replaced, that are older or of a later version, and secrets that do not match the store.

use std::{fs, path::Path, time::Instant};

use reqwest::Response;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::{
    admin::managed,
    harness::{Gateway, PATIENCE, Service, Site, client, free_address},
};

const KEYS: &str = "/tenants/demo/callers/5bc2be68-7498-4853-aa64-4be0ca62934e/keys";

/// A gateway with its admin API.
struct Managed {
    site: Site,
    gateway: Gateway,
    admin: String,
    token: String,
}

impl Managed {
    async fn start() -> Self {
        let (site, admin, token) = managed("").await;
        Self { gateway: site.start(), site, admin: format!("http://{admin}/admin/v1"), token }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        let request = client().request(method.parse().unwrap(), format!("{}{path}", self.admin));
        let request = request.bearer_auth(&self.token).header("if-match", "*");
        body.map_or(request.try_clone().unwrap(), |body| request.json(&body)).send().await.unwrap()
    }

    async fn status(&self) -> Value {
        self.ask("GET", "/status", None).await.json().await.unwrap()
    }

    /// Creates a valid key. Returns the key and its id.
    async fn key(&self) -> (String, String) {
        let made: Value = self.ask("POST", KEYS, Some(json!({}))).await.json().await.unwrap();
        let key = made["key"].as_str().unwrap().to_owned();
        self.until(&key, 200).await;
        (key, made["id"].as_str().unwrap().to_owned())
    }

    /// Waits until a request with the key has the given status.
    async fn until(&self, key: &str, status: u16) {
        let deadline = Instant::now() + PATIENCE;
        while self.gateway.get("/").header("x-api-key", key).send().await.unwrap().status() != status {
            assert!(Instant::now() < deadline, "not {status}: {:?}", self.told());
            tokio::task::yield_now().await;
        }
    }

    /// Returns the log without its access lines.
    fn told(&self) -> Vec<String> {
        self.gateway.log().into_iter().filter(|line| !line.contains("\"access\"")).collect()
    }

    fn logged(&self, words: &str) -> bool {
        self.gateway.log().iter().any(|line| line.contains("ERROR") && line.contains(words))
    }
}

async fn outside(store: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}", store.display())).await.unwrap()
}

fn said(site: &Site, command: &str) -> (Option<i32>, String) {
    let output = site.command(command).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned())
}

#[tokio::test]
async fn secrets_of_another_installation_are_refused_by_serve_and_by_commands() {
    let (service, other) = (Service::echo().await, Site::new(free_address(), ""));
    let site = Site::new(service.address, "api_key = true");
    let (ours, theirs) =
        (site.store().with_file_name("secrets.toml"), other.store().with_file_name("secrets.toml"));
    let kept = fs::read(&ours).unwrap();
    fs::copy(&theirs, &ours).unwrap();
    for command in
        ["serve", "init", "tenant list", "secrets list", "secrets rewrap", "export", "import x.ndjson"]
    {
        fs::write(site.folder.path().join("x.ndjson"), "").unwrap();
        let (code, said) = said(&site, command);
        assert_eq!(code, Some(1), "{command}: {said}");
        assert!(said.contains("secrets.toml do not match the store"), "{command}: {said}");
        assert!(said.contains("pepper 1") && said.contains("seal key 1"), "{command}: {said}");
    }
    // A single different pepper is enough.
    let text = String::from_utf8(kept.clone()).unwrap();
    let secret = text.split("secret = \"").nth(1).unwrap().split('"').next().unwrap();
    fs::write(&ours, text.replacen(secret, &"0".repeat(64), 1)).unwrap();
    let (code, why) = said(&site, "serve");
    assert!(code == Some(1) && why.contains("pepper 1") && !why.contains("seal key 1"), "{why}");
    assert!(!why.contains(&"0".repeat(64)), "no secret is shown");

    fs::write(&ours, kept).unwrap();
    let gateway = site.start();
    assert_eq!(gateway.get("/").header("x-api-key", &site.api_key).send().await.unwrap().status(), 200);
    // A running gateway rejects such secrets, too.
    fs::copy(&theirs, &ours).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !gateway.log().iter().any(|line| line.contains("the secrets do not match the store")) {
        assert!(Instant::now() < deadline, "{:?}", gateway.log());
        tokio::task::yield_now().await;
    }
    assert_eq!(gateway.get("/").header("x-api-key", &site.api_key).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_version_that_was_dropped_may_be_made_anew() {
    let site = Site::new(free_address(), "");
    for command in
        ["secrets add pepper", "secrets list", "secrets drop pepper 2", "secrets add pepper", "secrets list"]
    {
        let (code, said) = said(&site, command);
        assert_eq!(code, Some(0), "{command}: {said}");
    }
}

#[test]
fn serve_refuses_a_store_that_is_missing_or_has_no_tables() {
    let site = Site::new(free_address(), "");
    let aside = site.folder.path().join("aside.db");
    fs::rename(site.store(), &aside).unwrap();
    let (code, why) = said(&site, "serve");
    assert!(code == Some(1) && why.contains("does not exist: restore it"), "{why}");
    assert!(!site.store().exists(), "none is made");
    fs::write(site.store(), "").unwrap();
    let (code, why) = said(&site, "serve");
    assert!(code == Some(1) && why.contains("has no tables"), "{why}");
}

#[tokio::test]
async fn an_older_copy_under_a_running_gateway_is_loaded_anew() {
    type Replace = fn(&Path, &Path);
    let renamed: Replace = |from, to| fs::rename(from, to).unwrap();
    let written_over: Replace = |from, to| {
        fs::copy(from, to).unwrap();
    };
    for (how, replace) in [("renamed", renamed), ("written over", written_over)] {
        for backup in [true, false] {
            let here = Managed::start().await;
            let (old, id) = here.key().await;
            let older = here.site.folder.path().join("older.db");
            let log = here.site.store().with_extension("db-wal");
            let empty = async || {
                let deadline = Instant::now() + PATIENCE;
                while log.metadata().is_ok_and(|log| log.len() > 0) {
                    assert!(Instant::now() < deadline, "the log is not moved into the file");
                    tokio::task::yield_now().await;
                }
            };
            empty().await;
            if backup {
                assert_eq!(said(&here.site, "backup older.db").0, Some(0));
            } else {
                fs::copy(here.site.store(), &older).unwrap();
            }
            let (lost, _) = here.key().await;
            assert_eq!(
                here.ask("DELETE", &format!("/tenants/demo/keys/{id}?wait=60"), None).await.status(),
                204
            );
            here.until(&old, 401).await;
            empty().await;
            replace(&older, &here.site.store());
            here.until(&lost, 401).await;
            here.until(&old, 200).await;
            assert!(here.logged("was rolled back or replaced"), "{how}: {:?}", here.gateway.log());
            let status = here.status().await;
            assert_eq!(
                (&status["regressions"], &status["ready"]),
                (&json!(1), &json!(true)),
                "{how}: {status}"
            );
            assert_eq!(status["epoch"], if backup { 2 } else { 1 }, "{how}");
            // Revocations apply to the current store, wherever it came from.
            let revoked = here.ask("DELETE", &format!("/tenants/demo/keys/{id}?wait=60"), None).await;
            assert_eq!(revoked.status(), 204, "{how}");
            here.until(&old, 401).await;
            let (key, _) = here.key().await;
            here.until(&key, 200).await;
            let site = here.site;
            drop(here.gateway);
            assert_eq!(said(&site, "audit verify").0, Some(0), "{how}");
        }
    }
}

#[tokio::test]
async fn another_store_under_a_running_gateway_is_loaded_anew() {
    let (here, other) = (Managed::start().await, Site::new(free_address(), ""));
    let (key, _) = here.key().await;
    fs::rename(other.store(), here.site.store()).unwrap();
    here.until(&key, 401).await;
    here.until(&here.site.api_key, 401).await;
    assert!(here.logged("was rolled back or replaced"));
}

/// Changes that a later version writes during a rolling upgrade.
const LATER: &str = "INSERT INTO change (seq, at, actor, verb, kind, entity_id, record)
    SELECT seq + 1, at, 'later', 'created', 'ban', 'x', '{}' FROM change ORDER BY seq DESC LIMIT 1";
const LATER_VERB: &str = "INSERT INTO change (seq, at, actor, verb, kind, entity_id, record)
    SELECT seq + 1, at, 'later', 'archived', kind, entity_id, record FROM change ORDER BY seq DESC LIMIT 1";
const LATER_RECORD: &str = "INSERT INTO change (seq, at, actor, verb, kind, entity_id, record)
    SELECT seq + 1, at, 'later', 'updated', 'caller', 'x', '{\"later\":1}' FROM change ORDER BY seq DESC LIMIT 1";

#[tokio::test]
async fn revocations_are_applied_behind_a_change_that_this_version_cannot_read() {
    for row in [LATER, LATER_VERB, LATER_RECORD] {
        let here = Managed::start().await;
        let ((first, first_id), (second, second_id)) = (here.key().await, here.key().await);
        outside(&here.site.store()).await.execute(row).await.unwrap();
        for (key, id) in [(first, first_id), (second, second_id)] {
            let gone = here.ask("DELETE", &format!("/tenants/demo/keys/{id}?wait=60"), None).await;
            assert_eq!(gone.status(), 204, "{row}");
            here.until(&key, 401).await;
        }
        let (made, _) = here.key().await;
        here.until(&made, 200).await;
        let status = here.status().await;
        assert_eq!(
            (&status["following"], &status["ready"]),
            (&json!("incomplete"), &json!(false)),
            "{status}"
        );
        assert!(here.logged("cannot read a change"), "{row}");
    }
}

#[tokio::test]
async fn a_key_whose_record_cannot_be_read_is_refused_and_the_others_are_not() {
    let here = Managed::start().await;
    let ((broken, id), (sound, _)) = (here.key().await, here.key().await);
    let mut store = outside(&here.site.store()).await;
    sqlx::query("UPDATE credential SET record = '{\"later\":1}' WHERE id = $1")
        .bind(&id)
        .execute(&mut store)
        .await
        .unwrap();
    store.execute(LATER).await.unwrap();
    here.until(&broken, 401).await;
    here.until(&sound, 200).await;
    assert_eq!(here.status().await["following"], "incomplete");
}
