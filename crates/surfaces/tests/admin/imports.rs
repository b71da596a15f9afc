//! Imports over HTTP: the whole file or nothing.

use portcullis::{
    model::{CallerKind, Role},
    registry::Registry,
};
use portcullis_surfaces::admin::router;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{AdminApi, refused, surface};
use crate::management::{Answer, ManagedRegistry, Server};

const LINES: (&str, &str) = ("content-type", "application/x-ndjson");
const ROWS: (&str, &str) = ("content-type", "text/csv; charset=utf-8");

impl AdminApi {
    /// Starts the API with an owner as its only caller.
    pub async fn bare() -> Self {
        let world = ManagedRegistry::new();
        world.tenant("administration", None, 9).await;
        world.caller("administration", "chief", "chief", CallerKind::Administrator(Role::Owner)).await;
        let owner = world.key("administration", "chief").await;
        let server = Server::start(router(surface(&world))).await;
        Self { world, server, owner, operator: String::new(), reader: String::new() }
    }

    /// Imports a file as the owner.
    async fn import(&self, path: &str, fields: &[(&str, &str)], file: &str) -> Answer {
        self.import_by(&self.owner, path, fields, file).await
    }

    async fn import_by(&self, token: &str, path: &str, fields: &[(&str, &str)], file: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let all: Vec<_> = [("authorization", &*bearer)].iter().chain(fields).copied().collect();
        let answer = self.server.send("POST", &format!("/admin/v1{path}"), &all, Some(file.into())).await;
        self.world.settle().await;
        answer
    }

    async fn changes(&self) -> usize {
        self.world.memory.changes(0, u32::MAX).await.unwrap().len()
    }

    /// Sends the head of a request and one byte less than its body.
    async fn begin(&self, path: &str, content: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.address).await.unwrap();
        let head = format!(
            "POST /admin/v1{path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n{content}",
            self.server.address,
            self.owner,
            content.len() + 1,
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }
}

/// Starts a gateway with entities of each kind and returns its export.
async fn exported() -> (AdminApi, String) {
    let api = AdminApi::new().await;
    api.world.caller("acme", "boss", "boss", CallerKind::Operator).await;
    api.world.signing("acme", "boss", |_| {}).await;
    let uses = ["first", "owners-key"].map(|id| (id.parse().unwrap(), api.world.now()));
    api.world.memory.record_last_used(&uses).await.unwrap();
    let file = api.get("/export").await;
    assert_eq!(file.status, 200);
    (api, file.text)
}

/// Returns the lines between the first and the last, except those of administrators.
fn inner(file: &str) -> Vec<&str> {
    let lines: Vec<_> = file.lines().collect();
    let ours = |line: &&&str| {
        let theirs = [r#""administration""#, "owners-key"];
        !theirs.iter().any(|text| line.contains(text))
    };
    lines[1..lines.len() - 1].iter().filter(ours).copied().collect()
}

#[tokio::test]
async fn export_is_imported_without_administrators() {
    let ((one, _), other) = (exported().await, AdminApi::bare().await);
    let key = one.world.key("acme", "shop").await;
    let file = one.get("/export").await.text;
    let tried = other.import("/import?dry_run=true", &[LINES], &file).await;
    assert_eq!((tried.status.as_u16(), &tried.json()["dry_run"]), (200, &json!(true)), "{tried:?}");
    let before = other.changes().await;
    assert_eq!(before, 3, "the dry run was rolled back");

    let imported = other.import("/import", &[LINES], &file).await;
    assert_eq!(imported.status, 200, "{imported:?}");
    let report = imported.json();
    assert_eq!((&report["counts"]["tenant"], &report["dry_run"]), (&json!(2), &json!(false)));
    // Left out: a tenant, three callers, three keys and the last use of one of them.
    assert_eq!(
        (&report["skipped"], report["seq"].as_u64()),
        (&json!(8), Some(one.world.directory.applied()))
    );
    let back = other.get("/export").await.text;
    assert!(inner(&file).len() > 6);
    assert_eq!(inner(&back), inner(&file));
    assert!(other.world.directory.find(&key).is_some() && other.world.directory.find(&one.owner).is_none());
    assert_eq!(
        other.get("/tenants/administration/callers").await.json()["items"].as_array().unwrap().len(),
        1
    );
    let actor = &other.world.memory.changes(before as u64, 1).await.unwrap()[0].actor;
    assert_eq!(actor.as_str(), "admin:chief from 127.0.0.1");
}

#[tokio::test]
async fn error_names_its_line_and_nothing_is_imported() {
    let (_, file) = exported().await;
    let lines: Vec<_> = file.lines().collect();
    let at = lines.iter().position(|line| line.starts_with(r#"{"caller""#) && line.contains("shop")).unwrap();
    let joined = |lines: &[&str]| lines.join("\n") + "\n";
    let with = |at: usize, line: &str| {
        let mut lines = lines.clone();
        lines[at] = line;
        joined(&lines)
    };
    let other = AdminApi::bare().await;
    let before = other.changes().await;
    let broken = lines[at].replace(r#""tenant":"acme""#, r#""tenant":"nobody""#);
    let renamed = lines[at].replace("example.com/shop", "example.com/shoq");
    let master = lines[at].replace(r#""api_client""#, r#"{"administrator":"owner"}"#);
    assert!(master.contains("administrator"), "{master}");
    let last = lines.len();
    for (file, line, pointer) in [
        (with(at, &broken), at + 1, "#/caller/tenant"),
        (with(at, &master), at + 1, "#/caller/kind"),
        (with(at, r#"{"caller":{"#), at + 1, "#/caller"),
        (with(at, r#"{"thing":{}}"#), at + 1, "#"),
        (with(at, &renamed), last, "#/end/sha256"),
        (with(0, r#"{"head":{}}"#), 1, "#"),
        (joined(&lines[..last - 1]), last, "#"),
        (file[..file.len() / 2].to_owned(), file[..file.len() / 2].lines().count(), "#"),
        (format!("{file}more\n"), last + 1, "#"),
        (String::new(), 1, "#"),
    ] {
        let answer = other.import("/import", &[LINES], &file).await;
        refused(&answer, 422, "invalid-values", &[pointer]);
        assert_eq!(answer.json()["errors"][0]["line"], line, "{answer:?}");
        assert_eq!(other.changes().await, before);
    }
    assert_eq!(other.import("/import", &[LINES], &file).await.status, 200);
    let again = other.import("/import", &[LINES], &file).await;
    refused(&again, 422, "invalid-values", &["#/tenant/id"]);
}

#[tokio::test]
async fn repeated_import_with_idempotency_key_runs_once() {
    let (_, file) = exported().await;
    let other = AdminApi::bare().await;
    let once = [LINES, ("idempotency-key", "\"1\"")];
    let tried = other.import("/import?dry_run=true", &[LINES, ("idempotency-key", "\"0\"")], &file).await;
    let again = other.import("/import?dry_run=true", &[LINES, ("idempotency-key", "\"0\"")], &file).await;
    assert_eq!((&tried.text, again.field("idempotency-replayed")), (&again.text, vec![]), "it had no effect");
    refused(&other.import("/import", &once, "x").await, 422, "invalid-values", &["#"]);

    let first = other.import("/import", &once, &file).await;
    assert_eq!((first.status.as_u16(), first.field("idempotency-replayed")), (200, vec![]), "{first:?}");
    let changes = other.changes().await;
    let again = other.import("/import", &once, &file).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!(again.field("idempotency-replayed"), ["true"]);
    assert_eq!(other.changes().await, changes);
    refused(&other.import("/import", &once, &format!("{file}\n")).await, 422, "unprocessable", &[]);
}

#[tokio::test]
async fn imports_run_one_at_a_time_and_aborted_ones_leave_nothing() {
    let (_, file) = exported().await;
    let other = AdminApi::bare().await;
    let before = other.changes().await;
    for path in ["/import", "/keys/import"] {
        let half = other.begin(path, &file).await;
        // Other imports are possible until the server has read the head. A dry run writes nothing.
        let busy = loop {
            let answer = other.import("/import?dry_run=true", &[LINES], &file).await;
            if answer.status != 200 {
                break answer;
            }
        };
        refused(&busy, 409, "conflict", &[]);
        let keys = other.import("/keys/import?dry_run=true", &[LINES], "").await;
        refused(&keys, 409, "conflict", &[]);
        drop(half);
        while other.import("/import?dry_run=true", &[LINES], &file).await.status == 409 {}
        assert_eq!(other.changes().await, before, "{path}");
    }
    // A complete upload is processed.
    let mut whole = other.begin("/import", &file).await;
    whole.write_all(b"\n").await.unwrap();
    let mut answer = vec![0; 12];
    whole.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 422", "a byte after the last line");
    assert_eq!(other.changes().await, before);
}

#[tokio::test]
async fn import_requires_owner_type_and_size() {
    let (api, file) = exported().await;
    let row =
        json!({ "tenant": "acme", "caller": "shop", "name": "example.com/x", "digest": "00".repeat(32) })
            .to_string();
    let before = api.changes().await;
    for path in ["/import", "/keys/import"] {
        for token in [&api.operator, &api.reader] {
            for file in [&file, &row] {
                refused(&api.import_by(token, path, &[LINES], file).await, 403, "insufficient-role", &[]);
            }
        }
        let json = ("content-type", "application/json");
        let answer = api.import(path, &[json], &row).await;
        refused(&answer, 415, "unsupported-media-type", &[]);
        assert!(answer.field("accept-post")[0].starts_with("application/x-ndjson"));
        let large = "x".repeat((1 << 20) + 1);
        refused(&api.import(path, &[LINES], &large).await, 413, "content-too-large", &[]);
        refused(&api.import(&format!("{path}?dry_run=1"), &[LINES], &row).await, 400, "bad-request", &[]);
        let stale = [LINES, ("lock-token", "\"x\"")];
        assert!(api.import(path, &stale, &row).await.status.is_client_error());
    }
    refused(&api.import("/import", &[ROWS], &file).await, 415, "unsupported-media-type", &[]);
    assert_eq!(api.changes().await, before);
}

#[tokio::test]
async fn keys_of_another_gateway_are_imported_once() {
    let api = AdminApi::new().await;
    let digest =
        |key: &str| portcullis::signature::Hex::encode(&Sha256::digest(key).into()).as_str().to_owned();
    let line = |caller: &str, key: &str| {
        json!({ "tenant": "acme", "caller": caller, "name": "old", "digest": digest(key) }).to_string()
    };
    let once = [LINES, ("idempotency-key", "\"keys\"")];
    let file = format!("{}\n{}\n", line("shop", "old-key-1"), line("shop", "old-key-2"));
    let first = api.import("/keys/import", &once, &file).await;
    let expected = json!({ "keys": 2, "callers": 0, "dry_run": false });
    assert_eq!((first.status.as_u16(), first.json()), (200, expected), "{first:?}");
    let again = api.import("/keys/import", &once, &file).await;
    assert_eq!((again.text, again.headers["idempotency-replayed"].to_str().unwrap()), (first.text, "true"));
    for key in ["old-key-1", "old-key-2"] {
        assert_eq!(api.world.directory.find(key).unwrap().caller().id.as_str(), "shop");
    }

    let before = api.changes().await;
    let wrong = format!("{}\n\n{}\n{{\n", line("nobody", "a"), line("shop", "old-key-1"));
    let answer = api.import("/keys/import", &[LINES], &wrong).await;
    refused(&answer, 422, "invalid-values", &["#"]);
    assert_eq!(answer.json()["errors"][0]["line"], 4);
    let unfit = format!("{}\n\n{}\n", line("nobody", "a"), line("shop", "old-key-1"));
    let answer = api.import("/keys/import", &[LINES], &unfit).await;
    refused(&answer, 422, "invalid-values", &["#/caller", "#/digest"]);
    let lines: Vec<_> =
        answer.json()["errors"].as_array().unwrap().iter().map(|it| it["line"].clone()).collect();
    assert_eq!(lines, [Value::from(1), Value::from(3)]);
    let boss = format!("tenant,caller,name,digest\nadministration,owner,x,{}\n", digest("boss"));
    let answer = api.import("/keys/import", &[ROWS], &boss).await;
    refused(&answer, 422, "invalid-values", &["#/caller"]);
    let client = format!("tenant,caller,name,digest\nadministration,client,x,{}\n", digest("client"));
    let answer = api.import("/keys/import?create_callers=true", &[ROWS], &client).await;
    refused(&answer, 422, "invalid-values", &["#/tenant"]);
    assert_eq!(api.changes().await, before);

    let rows = format!("tenant,caller,name,digest\nacme,new,x,{}\n", digest("old-key-3"));
    refused(&api.import("/keys/import", &[ROWS], &rows).await, 422, "invalid-values", &["#/caller"]);
    let made = api.import("/keys/import?create_callers=true", &[ROWS], &rows).await;
    assert_eq!(made.json(), json!({ "keys": 1, "callers": 1, "dry_run": false }));
    assert_eq!(api.world.directory.find("old-key-3").unwrap().caller().id.as_str(), "new");
}
