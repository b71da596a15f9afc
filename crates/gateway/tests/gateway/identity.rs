//! Stores that were replaced, that are older or of a later version, and secrets that do not match the store.

use std::{fs, path::Path, time::Instant};

use reqwest::Response;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::{
    admin::managed,
    process::{Gateway, Installation, Service, TIMEOUT, client, free_address},
};

const KEYS: &str = "/tenants/demo/callers/5bc2be68-7498-4853-aa64-4be0ca62934e/keys";

/// A gateway with its admin API.
pub struct Managed {
    pub installation: Installation,
    pub gateway: Gateway,
    pub admin: String,
    pub token: String,
}

impl Managed {
    pub async fn start() -> Self {
        let (installation, admin, token) = managed("").await;
        Self { gateway: installation.start(), installation, admin: format!("http://{admin}/admin/v1"), token }
    }

    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        let request = client().request(method.parse().unwrap(), format!("{}{path}", self.admin));
        let request = request.bearer_auth(&self.token).header("if-match", "*");
        body.map_or(request.try_clone().unwrap(), |body| request.json(&body)).send().await.unwrap()
    }

    pub async fn status(&self) -> Value {
        self.ask("GET", "/status", None).await.json().await.unwrap()
    }

    /// A key that is accepted, and its id.
    pub async fn key(&self) -> (String, String) {
        let made: Value = self.ask("POST", KEYS, Some(json!({}))).await.json().await.unwrap();
        let key = made["key"].as_str().unwrap().to_owned();
        self.until(&key, 200).await;
        (key, made["id"].as_str().unwrap().to_owned())
    }

    /// Returns when a request with a key is answered so.
    pub async fn until(&self, key: &str, status: u16) {
        let deadline = Instant::now() + TIMEOUT;
        while self.gateway.get("/").header("x-api-key", key).send().await.unwrap().status() != status {
            assert!(Instant::now() < deadline, "not {status}: {:?}", self.own_log());
            tokio::task::yield_now().await;
        }
    }

    /// Returns the log lines that are not of requests.
    pub fn own_log(&self) -> Vec<String> {
        self.gateway.log().into_iter().filter(|line| !line.contains("\"access\"")).collect()
    }

    pub fn logged(&self, words: &str) -> bool {
        self.gateway.log().iter().any(|line| line.contains("ERROR") && line.contains(words))
    }
}

pub async fn outside(store: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}", store.display())).await.unwrap()
}

pub fn said(installation: &Installation, command: &str) -> (Option<i32>, String) {
    let output = installation.command(command).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned())
}

#[tokio::test]
async fn secrets_of_another_installation_are_refused_everywhere() {
    let (service, other) = (Service::echo().await, Installation::new(free_address(), ""));
    let installation = Installation::new(service.address, "api_key = true");
    let (ours, theirs) =
        (installation.store().with_file_name("secrets.toml"), other.store().with_file_name("secrets.toml"));
    let original = fs::read(&ours).unwrap();
    fs::copy(&theirs, &ours).unwrap();
    for command in
        ["serve", "init", "tenant list", "secrets list", "secrets rewrap", "export", "import x.ndjson"]
    {
        fs::write(installation.folder.path().join("x.ndjson"), "").unwrap();
        let (code, said) = said(&installation, command);
        assert_eq!(code, Some(1), "{command}: {said}");
        assert!(said.contains("secrets.toml do not match the store"), "{command}: {said}");
        assert!(said.contains("pepper 1") && said.contains("seal key 1"), "{command}: {said}");
    }
    // A single different pepper is enough.
    let text = String::from_utf8(original.clone()).unwrap();
    let secret = text.split("secret = \"").nth(1).unwrap().split('"').next().unwrap();
    fs::write(&ours, text.replacen(secret, &"0".repeat(64), 1)).unwrap();
    let (code, why) = said(&installation, "serve");
    assert!(code == Some(1) && why.contains("pepper 1") && !why.contains("seal key 1"), "{why}");
    assert!(!why.contains(&"0".repeat(64)), "no secret is shown");

    fs::write(&ours, original).unwrap();
    let gateway = installation.start();
    assert_eq!(
        gateway.get("/").header("x-api-key", &installation.api_key).send().await.unwrap().status(),
        200
    );
    // A running gateway rejects such secrets, too.
    fs::copy(&theirs, &ours).unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while !gateway.log().iter().any(|line| line.contains("the secrets do not match the store")) {
        assert!(Instant::now() < deadline, "{:?}", gateway.log());
        tokio::task::yield_now().await;
    }
    assert_eq!(
        gateway.get("/").header("x-api-key", &installation.api_key).send().await.unwrap().status(),
        200
    );
}

const MAKE_KEY: &str = "key create --tenant demo 5bc2be68-7498-4853-aa64-4be0ca62934e";

#[tokio::test]
async fn older_copy_of_the_secrets_is_refused_everywhere() {
    for kind in ["pepper", "seal-key"] {
        let service = Service::echo().await;
        let installation = Installation::new(service.address, "api_key = true");
        let file = installation.store().with_file_name("secrets.toml");
        let older = fs::read(&file).unwrap();
        let last = if kind == "pepper" { MAKE_KEY } else { "secrets rewrap" };
        for command in [&format!("secrets add {kind}"), &format!("secrets use {kind} 2"), last] {
            let (code, said) = said(&installation, command);
            assert_eq!(code, Some(0), "{command}: {said}");
        }
        let newest = fs::read(&file).unwrap();
        let gateway = installation.start();
        fs::write(&file, &older).unwrap();
        let missing = format!("{} 2 is missing", kind.replace('-', " "));
        let deadline = Instant::now() + TIMEOUT;
        while !gateway.log().iter().any(|line| line.contains(&missing)) {
            assert!(Instant::now() < deadline, "{:?}", gateway.log());
            tokio::task::yield_now().await;
        }
        assert!(gateway.log().iter().any(|line| line.contains("previous secrets stay in use")));
        gateway.end();
        let (add, promote) = (format!("secrets add {kind}"), format!("secrets use {kind} 1"));
        for command in
            ["serve", "init", "tenant list", "secrets list", "secrets rewrap", &add, &promote, "export"]
        {
            let (code, said) = said(&installation, command);
            assert_eq!(code, Some(1), "{command}: {said}");
            assert!(
                said.contains(&missing) && said.contains("Restore the secrets file"),
                "{command}: {said}"
            );
        }
        assert_eq!(fs::read(&file).unwrap(), older, "no version is made anew");

        fs::write(&file, &newest).unwrap();
        drop(installation.start());
        // It is lost.
        fs::write(&file, &older).unwrap();
        let drop_it = format!("secrets drop {kind} 2");
        assert_eq!(said(&installation, &drop_it).0, Some(1), "something needs it");
        let (code, why) = said(&installation, &format!("{drop_it} --force"));
        assert_eq!(code, Some(0), "{why}");
        let gateway = installation.start();
        let status =
            gateway.get("/").header("x-api-key", &installation.api_key).send().await.unwrap().status();
        assert_eq!(status, 200);
    }
}

#[test]
fn version_missing_in_an_older_copy_is_not_reused() {
    let installation = Installation::new(free_address(), "");
    let file = installation.store().with_file_name("secrets.toml");
    let older = fs::read(&file).unwrap();
    let (code, made) = said(&installation, "secrets add pepper");
    assert!(code == Some(0) && made.contains("pepper 2"), "{made}");
    fs::write(&file, older).unwrap();
    let (code, made) = said(&installation, "secrets add pepper");
    assert!(code == Some(0) && made.contains("pepper 3"), "nothing needs version 2: {made}");
}

#[tokio::test]
async fn running_gateway_accepts_replaced_secrets_and_store() {
    for secrets_first in [false, true] {
        let (here, other) = (Managed::start().await, managed("").await);
        let (other_installation, _, other_token) = other;
        let (key, _) = here.key().await;
        let secrets = here.installation.store().with_file_name("secrets.toml");
        let put_secrets =
            || fs::copy(other_installation.store().with_file_name("secrets.toml"), &secrets).unwrap();
        let wait = async |line: &str| {
            let deadline = Instant::now() + TIMEOUT;
            while !here.logged(line) {
                assert!(Instant::now() < deadline, "no {line}: {:?}", here.own_log());
                tokio::task::yield_now().await;
            }
        };
        if secrets_first {
            put_secrets();
            wait("previous secrets stay in use").await;
            here.until(&key, 200).await;
        }
        fs::rename(other_installation.store(), here.installation.store()).unwrap();
        if !secrets_first {
            here.until(&key, 503).await;
            wait("the secrets in use do not match the store").await;
            here.until(&other_installation.api_key, 503).await;
            put_secrets();
        }
        here.until(&other_installation.api_key, 200).await;
        here.until(&key, 401).await;
        let deadline = Instant::now() + TIMEOUT;
        let status = async || -> Value {
            let url = format!("{}/status", here.admin);
            client().get(url).bearer_auth(&other_token).send().await.unwrap().json().await.unwrap()
        };
        while status().await["ready"] != json!(true) {
            assert!(Instant::now() < deadline, "{}", status().await);
        }
        assert_eq!(status().await["replication"], "current");
    }
}

#[tokio::test]
async fn gateway_with_mismatching_secrets_is_not_ready() {
    let (installation, admin, token) = managed("").await;
    let [newer, older] = ["newer.db", "older.db"].map(|name| installation.folder.path().join(name));
    let file = installation.store().with_file_name("secrets.toml");
    let before = fs::read(&file).unwrap();
    let mut newer_key = String::new();
    for command in
        ["backup older.db", "secrets add pepper", "secrets use pepper 2", MAKE_KEY, "backup newer.db"]
    {
        let (code, said) = said(&installation, command);
        assert_eq!(code, Some(0), "{command}: {said}");
        if command == MAKE_KEY {
            let words = said.split_whitespace().filter(|word| word.starts_with("pcl_"));
            let key = words.max_by_key(|word| word.len());
            key.expect(&said).clone_into(&mut newer_key);
        }
    }
    let newest = fs::read(&file).unwrap();
    // The gateway runs on the older pair; the newer store comes back without its secrets.
    fs::write(&file, &before).unwrap();
    fs::rename(&older, installation.store()).unwrap();
    let here = Managed {
        gateway: installation.start(),
        installation,
        admin: format!("http://{admin}/admin/v1"),
        token,
    };
    assert_eq!(here.status().await["ready"], json!(true));
    let deadline = Instant::now() + TIMEOUT;
    fs::rename(&newer, here.installation.store()).unwrap();
    while here.status().await["replication"] != "mismatched" {
        assert!(Instant::now() < deadline, "{:?}", here.own_log());
    }
    assert_eq!(here.status().await["ready"], json!(false));
    // A key that only the missing secrets find is not called unknown. Others are served.
    here.until(&newer_key, 503).await;
    here.until(&here.installation.api_key, 200).await;
    while !here.logged("pepper 2 is missing") {
        assert!(Instant::now() < deadline, "{:?}", here.own_log());
    }
    fs::write(&file, &newest).unwrap();
    while here.status().await["ready"] != json!(true) {
        assert!(Instant::now() < deadline, "{:?}", here.own_log());
    }
    here.until(&newer_key, 200).await;
}

#[tokio::test]
async fn status_of_a_corrupt_store_is_503() {
    for damage in [
        "ALTER TABLE identity RENAME TO lost",
        "UPDATE caller SET record = '{}' WHERE tenant = 'administration'",
    ] {
        let here = Managed::start().await;
        assert_eq!(here.ask("GET", "/status", None).await.status(), 200);
        outside(&here.installation.store()).await.execute(damage).await.unwrap();
        let answer = here.ask("GET", "/status", None).await;
        assert_eq!(answer.status(), 503, "{damage}");
        assert!(answer.headers().contains_key("retry-after"));
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains("store"), "{problem}");
    }
}

#[tokio::test]
async fn removed_version_can_be_created_again() {
    let installation = Installation::new(free_address(), "");
    for command in
        ["secrets add pepper", "secrets list", "secrets drop pepper 2", "secrets add pepper", "secrets list"]
    {
        let (code, said) = said(&installation, command);
        assert_eq!(code, Some(0), "{command}: {said}");
    }
}

#[test]
fn serve_refuses_a_store_that_is_missing_or_has_no_tables() {
    let installation = Installation::new(free_address(), "");
    let aside = installation.folder.path().join("aside.db");
    fs::rename(installation.store(), &aside).unwrap();
    let (code, why) = said(&installation, "serve");
    assert!(code == Some(1) && why.contains("does not exist: restore it"), "{why}");
    assert!(!installation.store().exists(), "none is made");
    fs::write(installation.store(), "").unwrap();
    let (code, why) = said(&installation, "serve");
    assert!(code == Some(1) && why.contains("has no tables"), "{why}");
}

#[tokio::test]
async fn running_gateway_reloads_an_older_copy_of_the_store() {
    type Replace = fn(&Path, &Path);
    let renamed: Replace = |from, to| fs::rename(from, to).unwrap();
    let written_over: Replace = |from, to| {
        fs::copy(from, to).unwrap();
    };
    for (how, replace) in [("renamed", renamed), ("written over", written_over)] {
        for backup in [true, false] {
            let here = Managed::start().await;
            let (old, id) = here.key().await;
            let older = here.installation.folder.path().join("older.db");
            let log = here.installation.store().with_extension("db-wal");
            let empty = async || {
                let deadline = Instant::now() + TIMEOUT;
                while log.metadata().is_ok_and(|log| log.len() > 0) {
                    assert!(Instant::now() < deadline, "the log is not moved into the file");
                    tokio::task::yield_now().await;
                }
            };
            empty().await;
            if backup {
                assert_eq!(said(&here.installation, "backup older.db").0, Some(0));
            } else {
                fs::copy(here.installation.store(), &older).unwrap();
            }
            let (lost, _) = here.key().await;
            assert_eq!(
                here.ask("DELETE", &format!("/tenants/demo/keys/{id}?wait=60"), None).await.status(),
                204
            );
            here.until(&old, 401).await;
            empty().await;
            replace(&older, &here.installation.store());
            here.until(&lost, 401).await;
            here.until(&old, 200).await;
            assert!(here.logged("was rolled back or replaced"), "{how}: {:?}", here.gateway.log());
            let deadline = Instant::now() + TIMEOUT;
            // Once the secrets are known to be those of the copy.
            while here.status().await["ready"] != json!(true) {
                assert!(Instant::now() < deadline, "{how}: {:?}", here.own_log());
            }
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
            let installation = here.installation;
            drop(here.gateway);
            assert_eq!(said(&installation, "audit verify").0, Some(0), "{how}");
        }
    }
}

#[tokio::test]
async fn running_gateway_reloads_another_store() {
    let (here, other) = (Managed::start().await, Installation::new(free_address(), ""));
    let (key, _) = here.key().await;
    fs::rename(other.store(), here.installation.store()).unwrap();
    here.until(&key, 503).await;
    here.until(&here.installation.api_key, 503).await;
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
async fn revocations_apply_after_an_unreadable_change() {
    for row in [LATER, LATER_VERB, LATER_RECORD] {
        let here = Managed::start().await;
        let ((first, first_id), (second, second_id)) = (here.key().await, here.key().await);
        outside(&here.installation.store()).await.execute(row).await.unwrap();
        for (key, id) in [(first, first_id), (second, second_id)] {
            let gone = here.ask("DELETE", &format!("/tenants/demo/keys/{id}?wait=60"), None).await;
            assert_eq!(gone.status(), 204, "{row}");
            here.until(&key, 401).await;
        }
        let (made, _) = here.key().await;
        here.until(&made, 200).await;
        let status = here.status().await;
        assert_eq!(
            (&status["replication"], &status["ready"]),
            (&json!("incomplete"), &json!(false)),
            "{status}"
        );
        assert!(here.logged("cannot read a change"), "{row}");
    }
}

#[tokio::test]
async fn key_with_an_unreadable_record_is_denied_and_others_work() {
    let here = Managed::start().await;
    let ((broken, id), (sound, _)) = (here.key().await, here.key().await);
    let mut store = outside(&here.installation.store()).await;
    sqlx::query("UPDATE credential SET record = '{\"later\":1}' WHERE id = $1")
        .bind(&id)
        .execute(&mut store)
        .await
        .unwrap();
    store.execute(LATER).await.unwrap();
    here.until(&broken, 401).await;
    here.until(&sound, 200).await;
    assert_eq!(here.status().await["replication"], "incomplete");
}
