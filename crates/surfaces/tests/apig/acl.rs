//! Address lists of apps.

use std::{net::IpAddr, time::Duration};

use portcullis::model::{Access, LockTarget, LockedRequests, Scope, Scopes};
use serde_json::json;

use super::{APP, Answer, ApigApi, apps::at, refused};

const PLAIN: &str = "14b399ac967f4115bb62c0346b4537e9";
/// The contract's example.
const EXAMPLE: &str = r#"{ "app_acl_type" : "PERMIT",
    "app_acl_values" : [ "192.168.0.1", "192.168.0.5-192.168.0.10", "192.168.0.100/28" ] }"#;
const SHOWN: &str = r#"{"app_id":"14b399ac967f4115bb62c0346b4537e9","app_acl_type":"PERMIT","app_acl_values":["192.168.0.1","192.168.0.5-192.168.0.10","192.168.0.100/28"]}"#;

impl ApigApi {
    async fn acl(&self, method: &str, body: Option<&str>) -> Answer {
        self.ask(2, method, &format!("/apps/{PLAIN}/app-acl"), body).await
    }

    async fn lets(&self, address: &str) -> bool {
        self.world.settle().await;
        let address: IpAddr = address.parse().unwrap();
        self.world.directory.address_allowed(&APP.parse().unwrap(), Some(address))
    }
}

#[tokio::test]
async fn acl_is_set_shown_and_deleted() {
    let api = ApigApi::new().await;
    let none = r#"{"app_id":"14b399ac967f4115bb62c0346b4537e9","app_acl_type":"","app_acl_values":[]}"#;
    let before = api.acl("GET", None).await;
    assert_eq!((before.status.as_u16(), &*before.text), (200, none));
    let set = api.acl("PUT", Some(EXAMPLE)).await;
    assert_eq!((set.status.as_u16(), &*set.text), (201, SHOWN));
    let read = api.acl("GET", None).await;
    assert_eq!((read.status.as_u16(), &*read.text), (200, SHOWN));
    assert!(api.lets("192.168.0.7").await && !api.lets("192.168.0.4").await);

    // Other changes to the app leave the list unchanged.
    assert_eq!(api.put(APP, r#"{"name":"app_001"}"#).await.status, 200);
    let deny = r#"{"app_acl_type":"DENY","app_acl_values":["2001:db8::/32"]}"#;
    assert!(!api.lets("2001:db8::1").await);
    assert_eq!(api.acl("PUT", Some(deny)).await.json()["app_acl_type"], "DENY");
    assert!(api.lets("192.168.0.4").await && !api.lets("2001:db8::1").await);
    assert_eq!(api.ask(2, "GET", "/apps", None).await.json()["apps"][0]["app_acl_type"], json!(null));

    for _ in 0..2 {
        let gone = api.acl("DELETE", None).await;
        assert_eq!((gone.status.as_u16(), &*gone.text), (204, ""));
        assert_eq!(api.acl("GET", None).await.text, none);
        assert!(api.lets("2001:db8::1").await);
    }
}

#[tokio::test]
async fn acl_with_invalid_addresses_is_rejected() {
    let api = ApigApi::new().await;
    let see = |what: &str, name: &str| {
        format!("{what},parameterName:{name}. Please refer to the support documentation")
    };
    let absent = |name| see("The request parameters must be specified", name);
    let invalid = |name| see("Invalid parameter value", name);
    for (body, name) in [
        ("{}", "app_acl_type"),
        (r#"{"app_acl_type":null,"app_acl_values":["::1"]}"#, "app_acl_type"),
        (r#"{"app_acl_type":"PERMIT"}"#, "app_acl_values"),
        (r#"{"app_acl_type":"PERMIT","app_acl_values":[]}"#, "app_acl_values"),
        (r#"{"app_acl_type":"PERMIT","app_acl_values":null}"#, "app_acl_values"),
    ] {
        refused(&api.acl("PUT", Some(body)).await, 400, "APIG.2001", &absent(name));
    }
    let many = json!({ "app_acl_type": "DENY", "app_acl_values": vec!["::1"; 101] }).to_string();
    for (body, name) in [
        (r#"{"app_acl_type":"permit","app_acl_values":["::1"]}"#, "app_acl_type"),
        (r#"{"app_acl_type":"DENY","app_acl_values":["::1","here"]}"#, "app_acl_values"),
        (r#"{"app_acl_type":"DENY","app_acl_values":["192.0.2.2-192.0.2.1"]}"#, "app_acl_values"),
        (r#"{"app_acl_type":"DENY","app_acl_values":["192.0.2.0/33"]}"#, "app_acl_values"),
        (r#"{"app_acl_type":"DENY","app_acl_values":[""]}"#, "app_acl_values"),
        (&many, "app_acl_values"),
    ] {
        refused(&api.acl("PUT", Some(body)).await, 400, "APIG.2011", &invalid(name));
    }
    let deep = format!(r#"{{"app_acl_values":{}"#, "[".repeat(30_000));
    let long = format!(r#"{{"app_acl_type":"{}"}}"#, "x".repeat(10 * 1024 * 1024));
    for body in [
        "",
        "[]",
        r#"{"app_acl_type":1}"#,
        r#"{"app_acl_values":"::1"}"#,
        r#"{"app_acl_values":[null]}"#,
        r#"{"app_acl_type":"DENY","app_acl_type":"DENY"}"#,
        r#"{"app_acl_type":"\udfff"}"#,
        &deep,
        &long,
    ] {
        let answer = api.acl("PUT", Some(body)).await;
        let shown = &body[..body.len().min(40)];
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error_code"]),
            (400, &"APIG.2000".into()),
            "{shown}"
        );
    }
    assert_eq!(api.stored(APP).await.revision, 1);
}

#[tokio::test]
async fn acl_requires_app_scope() {
    let api = ApigApi::new().await;
    let scopes = |access, targets: Option<&str>| {
        let targets = targets.map(|id| vec![id.into()]);
        Scopes::Listed(vec![Scope { resource: "apps".into(), access, targets }])
    };
    let elsewhere = scopes(Access::Write, Some("c0a80101-0000-4000-8000-000000000001"));
    let elsewhere = api.world.key_with("gateway", "operator", |key| key.scopes = elsewhere).await;
    let reader =
        api.world.key_with("gateway", "operator", |key| key.scopes = scopes(Access::Read, None)).await;
    let path = format!("/apps/{PLAIN}/app-acl");
    let ask = async |token: &str, method: &str| {
        api.server.send(method, &at(2, &path), &[("x-auth-token", token)], Some(EXAMPLE.into())).await
    };
    let denied = "No permissions to request this method";
    for (token, method) in [
        (&elsewhere, "GET"),
        (&elsewhere, "PUT"),
        (&elsewhere, "DELETE"),
        (&reader, "PUT"),
        (&reader, "DELETE"),
    ] {
        refused(&ask(token, method).await, 403, "APIG.1005", denied);
    }
    assert_eq!(ask(&reader, "GET").await.status, 200);
    for method in ["GET", "PUT", "DELETE"] {
        let answer = api.ask(2, method, "/apps/none/app-acl", Some(EXAMPLE)).await;
        refused(&answer, 404, "APIG.3004", "App none does not exist");
    }
    let unknown = "The API does not exist or has not been published in the environment.";
    refused(&api.ask(1, "GET", &format!("/apps/{APP}/app-acl"), None).await, 404, "APIG.0101", unknown);
    api.world
        .lock(LockTarget::Caller(APP.parse().unwrap()), LockedRequests::Writes, Duration::from_secs(60))
        .await;
    let locked = "A lock held by migration blocks changes (being moved). Retry later.";
    refused(&api.acl("PUT", Some(EXAMPLE)).await, 403, "APIG.1104", locked);
    refused(&api.acl("DELETE", None).await, 403, "APIG.1104", locked);
    api.world.lapse("gateway").await;
    refused(&api.acl("PUT", Some(EXAMPLE)).await, 403, "APIG.1005", denied);
}
