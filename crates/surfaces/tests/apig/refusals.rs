//! Every other error of the contract, each caused by a request.

use std::time::Duration;

use portcullis::{
    model::{Access, CallerKind, LockTarget, LockedRequests, Scope, Scopes, Status},
    registry::{RegistryError, RegistryExt},
};

use super::{APP, ApigApi, INSTANCE, KEY, PROJECT, all, app, document, gateway, one, refused, succeeded};
use crate::management::{actor, fault_injection::Failure};

const BODY: &str = r#"{"name":"app_001"}"#;
const NOT_PERMITTED: &str = "No permissions to request this method";

#[tokio::test]
async fn missing_wrong_or_expired_token_is_401() {
    let api = ApigApi::new().await;
    let expired =
        api.world.key_with("gateway", "operator", |key| key.not_after = Some(api.world.now())).await;
    let foreign = portcullis::model::GeneratedKey::generate(&portcullis::model::KeyPrefix::default());
    let (missing, wrong) =
        ("Token missing. Log in again or try again later.", "Incorrect token or token resolution failed.");
    for (fields, code, message) in [
        (&[][..], "APIG.1000", missing),
        (&[("x-api-key", &*api.token)], "APIG.1000", missing),
        (&[("x-auth-token", "MIIDkgYJKoZI")], "APIG.1002", wrong),
        (&[("x-auth-token", foreign.expose())], "APIG.1002", wrong),
        (&[("x-auth-token", &expired)], "APIG.1001", "Session expired. Please try again later."),
    ] {
        for target in [one(APP), one("none"), "/nothing/here".into()] {
            let answer = api.server.send("GET", &target, fields, None).await;
            refused(&answer, 401, code, message);
            assert_eq!(
                answer.field("www-authenticate"),
                [r#"ApiKey realm="apig", header="x-auth-token", SDK-HMAC-SHA256 realm="apig""#]
            );
        }
    }
}

#[tokio::test]
async fn two_tokens_are_400() {
    let api = ApigApi::new().await;
    let fields = [("x-auth-token", &*api.token), ("x-auth-token", &*api.token)];
    let message = "Parameter error: Header x-auth-token is repeated. Send it once.";
    refused(&api.server.send("GET", &one(APP), &fields, None).await, 400, "APIG.2000", message);
}

#[tokio::test]
async fn token_without_a_project_is_401() {
    let api = ApigApi::new().await;
    api.world.tenant("org", None, 4).await;
    api.world.caller("org", "nobody", "nobody", CallerKind::Operator).await;
    let token = api.world.key("org", "nobody").await;
    let answer = api.server.send("GET", &one(APP), &[("x-auth-token", &*token)], None).await;
    refused(&answer, 401, "APIG.1003", "Token contains no project information.");
}

#[tokio::test]
async fn operator_without_permission_is_403() {
    let api = ApigApi::new().await;
    let world = &api.world;
    let listed = |resource: &str, access, targets: Option<&str>| {
        let targets = targets.map(|id| vec![id.into()]);
        Scopes::Listed(vec![Scope { resource: resource.into(), access, targets }])
    };
    let disabled = world.key_with("gateway", "operator", |key| key.status = Status::Disabled).await;
    let of_app = world.key("gateway", APP).await;
    let apis = listed("apis", Access::Write, None);
    let elsewhere = world.key_with("gateway", "operator", |key| key.scopes = apis).await;
    let another = listed("apps", Access::Write, Some("c0a80101-0000-4000-8000-000000000001"));
    let confined = world.key_with("gateway", "operator", |key| key.scopes = another).await;
    let reader = listed("apps", Access::Read, None);
    let reader = world.key_with("gateway", "operator", |key| key.scopes = reader).await;
    world.tenant("foreign", Some(gateway("another_project", INSTANCE, true)), 4).await;
    world.caller("foreign", "stranger", "stranger", CallerKind::Operator).await;
    let stranger = world.key("foreign", "stranger").await;
    let send = async |token: &str, method: &str, target: String| {
        api.server.send(method, &target, &[("x-auth-token", token)], Some(BODY.into())).await
    };
    for token in [&disabled, &of_app, &elsewhere, &confined, &stranger] {
        refused(&send(token, "GET", one(APP)).await, 403, "APIG.1005", NOT_PERMITTED);
    }
    for token in [&disabled, &of_app, &elsewhere, &confined, &stranger, &reader] {
        refused(&send(token, "PUT", one(APP)).await, 403, "APIG.1005", NOT_PERMITTED);
        refused(&send(token, "POST", all()).await, 403, "APIG.1005", NOT_PERMITTED);
    }
    assert_eq!(send(&reader, "GET", one(APP)).await.status, 200);
    assert_eq!(api.stored(APP).await.revision, 1);
}

#[tokio::test]
async fn instance_outside_the_project_is_404() {
    let api = ApigApi::new().await;
    api.world.tenant("foreign", Some(gateway("another_project", "another_instance", true)), 4).await;
    for instance in ["another_instance", "none", "%65ddc4d25480b4cd6b512f270a1b8b341"] {
        let target = format!("/v1/{PROJECT}/apigw/instances/{instance}/apps");
        let message = format!("The instance does not exist;id:{instance}");
        refused(&api.send("POST", &target, Some(BODY)).await, 404, "APIG.3030", &message);
        for method in ["GET", "PUT"] {
            let answer = api.send(method, &format!("{target}/{APP}"), Some(BODY)).await;
            refused(&answer, 404, "APIG.3030", &message);
        }
    }
}

#[tokio::test]
async fn missing_and_foreign_apps_look_the_same() {
    let api = ApigApi::new().await;
    let theirs = "c0a80101-0000-4000-8000-000000000002";
    api.world.tenant("second", Some(gateway(PROJECT, "second", true)), 4).await;
    api.world.caller("second", theirs, "app_000", app(&api.world, theirs, "their_key")).await;
    let encoded = format!("%31{}", &APP[1..]);
    for id in ["c0a80101-0000-4000-8000-000000000003", theirs, "operator", "none", &encoded] {
        let message = format!("App {id} does not exist");
        refused(&api.get(id).await, 404, "APIG.3002", &message);
        refused(&api.put(id, BODY).await, 404, "APIG.3002", &message);
    }
    let message = format!("App {} does not exist", "x".repeat(64));
    refused(&api.get(&"x".repeat(5_000)).await, 404, "APIG.3002", &message);
    assert_eq!(api.stored("operator").await.name, "operator");
}

#[tokio::test]
async fn duplicate_name_or_key_is_400() {
    let api = ApigApi::new().await;
    let theirs = "c0a80101-0000-4000-8000-000000000002";
    api.world.tenant("second", Some(gateway("another_project", "second", true)), 4).await;
    api.world.caller("second", theirs, "app_009", app(&api.world, theirs, "their_key")).await;
    let made = api.post(BODY).await.json()["id"].as_str().unwrap().to_owned();
    let duplicate = r#"{"name":"app_000"}"#;
    for answer in [api.post(duplicate).await, api.put(&made, duplicate).await] {
        refused(&answer, 400, "APIG.3203", "The app name already exists.");
    }
    for key in [KEY, "their_key"] {
        let body = format!(r#"{{"name":"app_003","app_key":"{key}"}}"#);
        for answer in [api.post(&body).await, api.put(&made, &body).await] {
            refused(&answer, 400, "APIG.3310", "The AppKey already exists.");
        }
    }
    assert_eq!(api.post(r#"{"name":"app_009"}"#).await.status, 201);
}

#[tokio::test]
async fn app_over_the_instance_limit_is_403() {
    let api = ApigApi::new().await;
    for n in 1..4 {
        assert_eq!(api.post(&format!(r#"{{"name":"app_00{n}"}}"#)).await.status, 201);
    }
    let answer = api.post(r#"{"name":"app_004"}"#).await;
    refused(&answer, 403, "APIG.3103", "The number of apps exceeds the maximum allowed limit.");
}

#[tokio::test]
async fn locked_app_is_403_until_the_lock_ends() {
    let api = ApigApi::new().await;
    let caller = |id: &str| LockTarget::Caller(id.parse().unwrap());
    for target in [caller(APP), caller("operator"), LockTarget::Resource(all().parse().unwrap())] {
        let lock = api.world.lock(target, LockedRequests::Writes, Duration::from_millis(59_500)).await;
        assert_eq!(api.get(APP).await.status, 200);
        let answer = api.put(APP, BODY).await;
        let locked = "A lock held by migration blocks changes (being moved). Retry later.";
        refused(&answer, 403, "APIG.1104", locked);
        assert_eq!(answer.field("retry-after"), ["60"]);
        api.world.memory.break_lock(&lock, &actor()).await.unwrap();
        api.world.settle().await;
    }
    assert_eq!(api.put(APP, BODY).await.status, 200);
}

#[tokio::test]
async fn lapsed_subscription_is_read_only() {
    let api = ApigApi::new().await;
    api.world.lapse("gateway").await;
    let expected = document(APP, "app_000", KEY, "Zeroth app", "2026-01-01T00:00:00Z");
    succeeded(&api.get(APP).await, 200, &expected);
    refused(&api.put(APP, BODY).await, 403, "APIG.1005", NOT_PERMITTED);
    refused(&api.post(BODY).await, 403, "APIG.1005", NOT_PERMITTED);
}

#[tokio::test]
async fn request_over_the_limit_is_500_with_retry_after() {
    let api = ApigApi::with(true, Some(2)).await;
    for _ in 0..2 {
        let expected = document(APP, "app_000", KEY, "Zeroth app", "2026-01-01T00:00:00Z");
        succeeded(&api.get(APP).await, 200, &expected);
    }
    let answer = api.put(APP, BODY).await;
    refused(&answer, 500, "APIG.9008", "Too many requests. Try again later.");
    assert_eq!(answer.field("retry-after"), ["30"]);
    assert!(
        ["x-ratelimit-limit", "ratelimit", "ratelimit-policy"]
            .iter()
            .all(|name| answer.field(name).is_empty())
    );
    api.world.clock.advance(Duration::from_secs(30));
    assert_eq!(api.put(APP, BODY).await.status, 200);
}

#[tokio::test]
async fn store_failure_is_500_and_if_temporary_has_retry_after() {
    let api = ApigApi::new().await;
    let faults: [(Failure, &[&str]); 2] = [
        (|| RegistryError::Unavailable("connection refused".into()), &["5"]),
        (|| RegistryError::Corrupt("row 7 of table callers".into()), &[]),
    ];
    for (fault, retry_after) in faults {
        for method in ["gateway", "caller", "update_caller"] {
            api.world.registry.fail(Some(method), fault);
            let answer = api.put(APP, BODY).await;
            refused(&answer, 500, "APIG.9999", "System error.");
            assert_eq!(answer.field("retry-after"), retry_after);
        }
        api.world.registry.fail(None, fault);
        for answer in [api.get(APP).await, api.post(BODY).await] {
            refused(&answer, 500, "APIG.9999", "System error.");
            assert_eq!(answer.field("retry-after"), retry_after);
        }
    }
    // A collision of random ids is not an error of the operator.
    api.world.registry.fail(Some("create_caller"), || RegistryError::Conflict);
    refused(&api.post(BODY).await, 500, "APIG.9999", "System error.");
    api.world.registry.recover();
    assert_eq!(api.put(APP, BODY).await.status, 200);
}
