//! The admin API, over a real socket.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../management/mod.rs"]
mod management;

mod callers;
mod changes;
mod content;
mod idempotency;
mod imports;
mod keys;
mod locks;
mod openapi;
mod pages;
mod plans;
mod refusals;
mod revoked;
mod roles;
mod signing;
mod tenants;
mod transfers;

use std::time::Duration;

use management::{Answer, ManagedRegistry, Server};
use portcullis::{
    model::{CallerKind, LockTarget, LockToken, LockedRequests, Role},
    registry::{NewLock, RegistryExt},
};
use portcullis_surfaces::admin::{
    Admin, DefinedPlans, ImportOptions, InProgress, ReloadConfiguration, ReloadError, Reloaded, Route, router,
};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const ANY: (&str, &str) = ("if-match", "*");

/// The API with an administrator of each role, and a tenant with a caller that has a key.
struct AdminApi {
    world: ManagedRegistry,
    server: Server,
    owner: String,
    operator: String,
    reader: String,
}

impl AdminApi {
    async fn new() -> Self {
        let world = ManagedRegistry::new();
        world.tenant("administration", None, 9).await;
        for (id, role) in [("owner", Role::Owner), ("operator", Role::Operator), ("reader", Role::ReadOnly)] {
            world.caller("administration", id, id, CallerKind::Administrator(role)).await;
        }
        world.tenant("acme", None, 9).await;
        world.plan("demo", 1_000, 60).await;
        world.caller("acme", "shop", "example.com/shop", CallerKind::ApiClient).await;
        world.key_with("acme", "shop", |key| key.id = "first".parse().unwrap()).await;
        let lock = NewLock {
            id: "held".parse().unwrap(),
            tenant: None,
            target: LockTarget::Resource("/held".parse().unwrap()),
            owner: "night shift".into(),
            holder: None,
            reason: "stocktaking".into(),
            covers: LockedRequests::Writes,
            lasts: Duration::from_secs(60).try_into().unwrap(),
            token: LockToken::generate().digest(),
        };
        world.memory.acquire_lock(lock, &management::actor()).await.unwrap();
        let tokens = [
            world.key_with("administration", "owner", |key| key.id = "owners-key".parse().unwrap()).await,
            world.key("administration", "operator").await,
            world.key("administration", "reader").await,
        ];
        let server = Server::start(router(surface(&world))).await;
        let [owner, operator, reader] = tokens;
        Self { world, server, owner, operator, reader }
    }

    /// Sends a request with a key and headers.
    async fn ask(
        &self,
        token: &str,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut all = vec![("authorization", &*bearer)];
        all.extend(fields);
        if body.is_some() && !fields.iter().any(|(name, _)| *name == "content-type") {
            all.push(JSON);
        }
        let body = body.map(|body| serde_json::to_vec(body).unwrap());
        let answer = self.server.send(method, &format!("/admin/v1{path}"), &all, body).await;
        self.world.settle().await;
        answer
    }

    /// Sends a request as the owner.
    async fn send(&self, method: &str, path: &str, fields: &[(&str, &str)], body: Value) -> Answer {
        self.ask(&self.owner, method, path, fields, Some(&body)).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&self.owner, "GET", path, &[], None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &[], body).await
    }

    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, &[ANY], body).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.ask(&self.owner, "DELETE", path, &[ANY], None).await
    }
}

/// A configuration that is reloaded without effect.
struct Unchanged;

#[async_trait::async_trait]
impl ReloadConfiguration for Unchanged {
    async fn reload(&self) -> Result<Reloaded, ReloadError> {
        Ok(Reloaded { warnings: Vec::new(), restart_required: Vec::new() })
    }
}

fn surface(world: &ManagedRegistry) -> Admin {
    let route = |name: &str, upstream: Option<&str>| Route {
        name: name.into(),
        host: None,
        path: format!("/{name}"),
        methods: vec!["GET".into()],
        upstream: upstream.map(str::to_owned),
        surface: upstream.is_none().then(|| "discue".into()),
        policies: if upstream.is_some() { vec!["api_key".into(), "lock".into()] } else { Vec::new() },
        callers: if upstream.is_some() { vec!["api_client".into(), "app".into()] } else { Vec::new() },
    };
    Admin {
        registry: world.registry.clone(),
        directory: world.directory.clone(),
        clock: world.clock.clone(),
        sealer: world.sealer.clone(),
        peer: Server::peer,
        lockout: std::sync::Arc::default(),
        local_admin: None,
        routes: vec![route("orders", Some("up")), route("api", None)],
        defined_plans: DefinedPlans {
            ids: ["configured".parse().unwrap()].into(),
            place: "the configuration file gateway.toml".into(),
        },
        imports: ImportOptions { max_bytes: 1 << 20, ..ImportOptions::default() },
        in_progress: InProgress::default(),
        configuration: Some(std::sync::Arc::new(Unchanged)),
    }
}

/// Asserts that the response is a problem (RFC 9457) with this status, this code and errors at these places.
#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str, places: &[&str]) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.field("content-type"), ["application/problem+json"]);
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["code"], code, "{problem}");
    let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(
        errors.iter().map(|error| error["pointer"].as_str().unwrap()).eq(places.iter().copied()),
        "{problem}"
    );
    assert!(errors.iter().all(|error| error["detail"].as_str().is_some_and(|detail| !detail.is_empty())));
    assert!(answer.field("etag").is_empty());
}

/// Asserts that the response has this document and revision.
#[track_caller]
fn shown(answer: &Answer, status: u16, revision: u64, document: &Value) {
    assert_eq!((answer.status.as_u16(), &answer.json()), (status, document), "{answer:?}");
    assert_eq!(answer.field("content-type"), ["application/json"]);
    assert_eq!(answer.field("etag"), [format!("\"{revision}\"")]);
}

/// Returns the values of a member of all listed items.
#[track_caller]
fn listed<'a>(answer: &'a Value, member: &str) -> Vec<&'a str> {
    answer["items"].as_array().unwrap().iter().map(|item| item[member].as_str().unwrap()).collect()
}

fn start() -> Value {
    json!("2026-01-01T00:00:00Z")
}
