//! Tests of the APIG management API over a real socket: every response of the published contract.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../management/mod.rs"]
mod management;

mod acl;
mod apps;
mod auths;
mod bodies;
mod codes;
mod openapi;
mod quotas;
mod refusals;
mod revoked;
mod signed;
mod throttles;

use std::time::Duration;

use management::{Answer, ManagedRegistry, Server};
use portcullis::{
    model::{ApigInstance, App, Caller, CallerKind, ChangeKind, Creator, PlanId, Secret},
    policy::Lockout,
    registry::{Registry, RegistryExt},
};
use portcullis_surfaces::apig::{Apig, router};
use serde_json::Value;

const PROJECT: &str = "e3a1b9b0d3f94b0d9e1b2a3c4d5e6f70";
const INSTANCE: &str = "eddc4d25480b4cd6b512f270a1b8b341";
/// The app of the contract's example.
const APP: &str = "14b399ac-967f-4115-bb62-c0346b4537e9";
const KEY: &str = "d49b1cbf-cc81-4a5f-b2a0-61b568e376eb";

const FIVE_MINUTES: Duration = Duration::from_secs(300);
/// Disables the lockout, because most tests send invalid credentials from one address.
const NEVER: u32 = u32::MAX;

/// A server of the API with one gateway, its operator and one app.
struct ApigApi {
    world: ManagedRegistry,
    server: Server,
    token: String,
}

impl ApigApi {
    /// A gateway that allows operators to choose keys and secrets.
    async fn new() -> Self {
        Self::with(true, None).await
    }

    async fn with(custom_keys: bool, quota: Option<u32>) -> Self {
        Self::of(custom_keys, quota, 4, NEVER).await
    }

    /// A gateway with this maximum number of apps.
    async fn with_room(most: u32) -> Self {
        Self::of(true, None, most, NEVER).await
    }

    /// A gateway that locks out an address after this many invalid credentials, for the time in the contract.
    async fn locking_out_after(attempts: u32) -> Self {
        Self::of(true, None, 4, attempts).await
    }

    async fn of(custom_keys: bool, quota: Option<u32>, most: u32, attempts: u32) -> Self {
        let world = ManagedRegistry::new();
        world.tenant("gateway", Some(gateway(PROJECT, INSTANCE, custom_keys)), most).await;
        let plan: Option<PlanId> = match quota {
            Some(quota) => Some(world.plan("plan", quota, 60).await),
            None => None,
        };
        world.caller_on("gateway", "operator", "operator", CallerKind::Operator, plan).await;
        world.caller("gateway", APP, "app_000", app(&world, APP, KEY)).await;
        let token = world.key("gateway", "operator").await;
        let surface = Apig {
            registry: world.registry.clone(),
            directory: world.directory.clone(),
            clock: world.clock.clone(),
            sealer: world.sealer.clone(),
            app_codes: 5,
            throttles: 3,
            quotas: 2,
            lockout: Lockout::new(attempts, FIVE_MINUTES, FIVE_MINUTES).into(),
            apis: ["orders", "bills", "old_orders"].map(|name| name.parse().unwrap()).into(),
            peer: Server::peer,
        };
        Self { server: Server::start(router(surface)).await, world, token }
    }

    async fn send(&self, method: &str, target: &str, body: Option<&str>) -> Answer {
        let fields = [("x-auth-token", &*self.token), ("content-type", "application/json")];
        self.server.send(method, target, &fields, body.map(|body| body.as_bytes().to_vec())).await
    }

    async fn get(&self, id: &str) -> Answer {
        self.send("GET", &one(id), None).await
    }

    async fn put(&self, id: &str, body: &str) -> Answer {
        self.send("PUT", &one(id), Some(body)).await
    }

    async fn post(&self, body: &str) -> Answer {
        self.send("POST", &all(), Some(body)).await
    }

    async fn stored(&self, id: &str) -> Caller {
        self.world.stored("gateway", id).await
    }

    fn secret(&self, caller: &Caller) -> Secret {
        let place = ["gateway", "app", caller.id.as_str(), "secret"];
        self.world.sealer.unseal(&caller.app().unwrap().secret, &place).unwrap()
    }
}

fn gateway(project: &str, instance: &str, custom_keys: bool) -> ApigInstance {
    ApigInstance { project_id: project.into(), instance_id: instance.into(), custom_keys }
}

fn app(world: &ManagedRegistry, id: &str, key: &str) -> CallerKind {
    let secret = Secret::from("the first secret".to_owned());
    CallerKind::App(App {
        remark: "Zeroth app".into(),
        key: key.into(),
        secret: world.sealer.seal(&secret, &["gateway", "app", id, "secret"]),
        creator: Creator::User,
        acl: None,
        quota: None,
    })
}

fn all() -> String {
    format!("/v1/{PROJECT}/apigw/instances/{INSTANCE}/apps")
}

fn one(id: &str) -> String {
    format!("{}/{id}", all())
}

/// Returns the response for an app, with the members in the contract's order.
fn document(id: &str, name: &str, key: &str, remark: &str, updated: &str) -> String {
    format!(
        r#"{{"id":"{id}","name":"{name}","status":1,"app_key":"{key}","app_secret":"******","creator":"USER","remark":"{remark}","register_time":"2026-01-01T00:00:00Z","update_time":"{updated}","app_type":"apig"}}"#
    )
}

#[track_caller]
fn succeeded(answer: &Answer, status: u16, document: &str) {
    assert_eq!((answer.status.as_u16(), &*answer.text), (status, document));
    assert_eq!(answer.field("content-type"), ["application/json"]);
    let others = ["etag", "vary", "x-ratelimit-limit", "ratelimit", "ratelimit-policy"];
    assert!(others.iter().all(|name| answer.field(name).is_empty()), "{answer:?}");
}

/// Checks an error response: exactly the two members of the contract.
#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str, message: &str) {
    let expected = format!(
        r#"{{"error_code":{},"error_msg":{}}}"#,
        serde_json::to_string(code).unwrap(),
        serde_json::to_string(message).unwrap()
    );
    assert_eq!((answer.status.as_u16(), &*answer.text), (status, &*expected));
    assert_eq!(answer.field("content-type"), ["application/json"]);
    assert_eq!(answer.field("content-length"), [answer.text.len().to_string()]);
}

const SEED_BODY: &str = r#"{
"name": "app_001",
"remark": "First app",
"app_key": "app_key_sample",
"app_secret": "app_secret_sample"
}"#;

#[tokio::test]
async fn contract_example_gets_its_response() {
    let api = ApigApi::new().await;
    api.world.clock.advance(Duration::from_nanos(100_296_618_200));
    let answer = api.put(APP, SEED_BODY).await;
    let updated = "2026-01-01T00:01:40.2966182Z";
    succeeded(&answer, 200, &document(APP, "app_001", "app_key_sample", "First app", updated));
    let stored = api.stored(APP).await;
    assert_eq!(api.secret(&stored).expose(), "app_secret_sample");
    assert!(!format!("{:?}", api.world.memory.changes(0, 100).await).contains("app_secret_sample"));
}

#[tokio::test]
async fn update_keeps_unnamed_members() {
    let api = ApigApi::new().await;
    let before = api.stored(APP).await;
    for (body, name, remark, updated) in [
        (r#"{"name":"app_000"}"#, "app_000", "Zeroth app", "00"),
        (r#"{"name":"app_001"}"#, "app_001", "Zeroth app", "02"),
        (r#"{"name":"app_001","remark":""}"#, "app_001", "Zeroth app", "02"),
        (r#"{"remark":"Ein \"anderer\" \u2603","name":"app_001"}"#, "app_001", r#"Ein \"anderer\" ☃"#, "04"),
    ] {
        api.world.clock.advance(Duration::from_secs(1));
        let updated = format!("2026-01-01T00:00:{updated}Z");
        succeeded(&api.put(APP, body).await, 200, &document(APP, name, KEY, remark, &updated));
    }
    let after = api.stored(APP).await;
    assert_eq!(after.app().unwrap().key, before.app().unwrap().key);
    assert_eq!(api.secret(&after), api.secret(&before));
    assert_eq!(after.revision, 3);
}

#[tokio::test]
async fn app_is_read_with_get_and_head() {
    let api = ApigApi::new().await;
    let expected = document(APP, "app_000", KEY, "Zeroth app", "2026-01-01T00:00:00Z");
    succeeded(&api.get(APP).await, 200, &expected);
    let head = api.send("HEAD", &one(APP), None).await;
    assert_eq!((head.status.as_u16(), &*head.text), (200, ""));
    assert_eq!(head.field("content-length"), [expected.len().to_string()]);
}

#[tokio::test]
async fn disabled_and_marketplace_apps_are_marked() {
    let api = ApigApi::new().await;
    let edit = portcullis::model::CallerEdit {
        status: Some(portcullis::model::Status::Disabled),
        ..Default::default()
    };
    let (tenant, id) = ("gateway".parse().unwrap(), APP.parse().unwrap());
    api.world.memory.update_caller(&tenant, &id, None, edit, &management::actor()).await.unwrap();
    assert_eq!(api.get(APP).await.json()["status"], 2);
    let market = "c0a80101-0000-4000-8000-000000000001";
    let CallerKind::App(app) = app(&api.world, market, "market_key") else { unreachable!() };
    let kind = CallerKind::App(App { creator: Creator::Market, ..app });
    api.world.caller("gateway", market, "market", kind).await;
    assert_eq!(api.get(market).await.json()["creator"], "MARKET");
}

#[tokio::test]
async fn new_app_gets_id_key_and_secret() {
    for custom_keys in [true, false] {
        let api = ApigApi::with(custom_keys, None).await;
        let answer = api.post(r#"{"name":"app_001"}"#).await;
        let (id, key) = (answer.json()["id"].clone(), answer.json()["app_key"].clone());
        let (id, key) = (id.as_str().unwrap(), key.as_str().unwrap());
        assert!(is_uuid_v4(id) && is_uuid_v4(key) && id != key, "{id} {key}");
        succeeded(&answer, 201, &document(id, "app_001", key, "", "2026-01-01T00:00:00Z"));
        succeeded(&api.get(id).await, 200, &answer.text);
        let secret = api.secret(&api.stored(id).await);
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        assert!(secret.expose().len() == 32 && secret.expose().bytes().all(hex));
    }
}

#[tokio::test]
async fn new_app_may_set_key_and_secret_if_allowed() {
    let api = ApigApi::new().await;
    let answer = api.post(SEED_BODY).await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let expected = document(&id, "app_001", "app_key_sample", "First app", "2026-01-01T00:00:00Z");
    succeeded(&answer, 201, &expected);
    assert_eq!(api.secret(&api.stored(&id).await).expose(), "app_secret_sample");
}

#[tokio::test]
async fn operator_reaches_every_instance_of_its_project() {
    let api = ApigApi::new().await;
    let other = "f00d4d25480b4cd6b512f270a1b8b341";
    api.world.tenant("second", Some(gateway(PROJECT, other, false)), 4).await;
    let target = format!("/v1/{PROJECT}/apigw/instances/{other}/apps");
    let answer = api.send("POST", &target, Some(r#"{"name":"app_000"}"#)).await;
    assert_eq!(answer.status, 201);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(api.world.stored("second", &id).await.tenant.as_str(), "second");
    let message = format!("App {id} does not exist");
    refused(&api.get(&id).await, 404, "APIG.3002", &message);
}

#[tokio::test]
async fn later_of_two_concurrent_updates_wins_completely() {
    let api = ApigApi::new().await;
    let theirs = portcullis::model::CallerEdit {
        name: Some("theirs".into()),
        remark: Some("Theirs".into()),
        ..Default::default()
    };
    api.world.registry.meanwhile(theirs);
    let answer = api.put(APP, r#"{"name":"ours","remark":"Ours"}"#).await;
    succeeded(&answer, 200, &document(APP, "ours", KEY, "Ours", "2026-01-01T00:00:00Z"));
    assert_eq!(api.stored(APP).await.revision, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_new_apps_of_one_name_is_created() {
    for _ in 0..20 {
        let api = ApigApi::new().await;
        let (one, two) = tokio::join!(api.post(r#"{"name":"same"}"#), api.post(r#"{"name":"same"}"#));
        let (made, other) = if one.status == 201 { (one, two) } else { (two, one) };
        assert_eq!(made.status, 201);
        refused(&other, 400, "APIG.3203", "The app name already exists.");
    }
}

#[tokio::test]
async fn change_log_names_operator_action_and_address() {
    let api = ApigApi::new().await;
    let seq = api.world.directory.applied();
    api.put(APP, r#"{"name":"app_001"}"#).await;
    api.post(r#"{"name":"app_002"}"#).await;
    let changes = api.world.memory.changes(seq, 10).await.unwrap();
    let said: Vec<_> = changes.iter().map(|change| (change.actor.as_str(), change.verb)).collect();
    assert_eq!(
        said,
        [
            ("apig:operator from 127.0.0.1", ChangeKind::Updated),
            ("apig:operator from 127.0.0.1", ChangeKind::Created)
        ]
    );
}

/// Returns `true` for a version-4 UUID in lower case with hyphens.
fn is_uuid_v4(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').map(str::len).collect();
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-';
    groups == [8, 4, 4, 4, 12] && text.bytes().all(hex) && &text[14..15] == "4"
}

/// Returns the error text about a member.
fn see(what: &str, member: &str) -> String {
    format!("{what},parameterName:{member}. Please refer to the support documentation")
}

/// Returns a body with some members replaced or added.
fn with(mut body: Value, members: &Value) -> Value {
    for (member, value) in members.as_object().unwrap() {
        body[member] = value.clone();
    }
    body
}
