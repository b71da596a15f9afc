//! AppCodes of an app.

use portcullis::{
    model::{Access, AppCode, CredentialKind, Scope, Scopes},
    registry::{CredentialFilter, Registry, RegistryError},
};

use super::{APP, Answer, ApigApi, app, apps::at, refused};

const PLAIN: &str = "14b399ac967f4115bb62c0346b4537e9";
/// The AppCode of the contract's example.
const CODE: &str = "GjOD3g80AABuuFeEJpVQADBlAjBh3UzC7W+gr4VJBB5BtJ4fdVOQoSvoji3gFxUDb5pWBz9wUcw9+8/bFZ1B/4pq29wCMQC0pQWX6zTndljDEl99As1pw+WntAU9xcq+ffagoH6zDpKUvdxV6Ezj8LcCcPZN6BU=";
const DONE: &str = "The operation has already been performed.";

impl ApigApi {
    async fn code(&self, method: &str, rest: &str, body: Option<&str>) -> Answer {
        self.ask(2, method, &format!("/apps/{PLAIN}/app-codes{rest}"), body).await
    }

    async fn choose(&self, code: &str) -> Answer {
        self.code("POST", "", Some(&format!(r#"{{"app_code":"{code}"}}"#))).await
    }
}

fn id(answer: &Answer) -> String {
    format!("/{}", answer.json()["id"].as_str().unwrap())
}

#[tokio::test]
async fn chosen_and_generated_app_codes_are_created_and_deleted() {
    let api = ApigApi::new().await;
    let chosen = api.choose(CODE).await;
    assert_eq!((chosen.status.as_u16(), chosen.field("cache-control")), (201, vec!["no-store"]));
    let plain = id(&chosen)[1..].to_owned();
    assert_eq!(
        chosen.text,
        format!(
            r#"{{"app_code":"{CODE}","id":"{plain}","app_id":"{PLAIN}","create_time":"2026-01-01T00:00:00Z"}}"#
        )
    );
    assert!(plain.len() == 32 && !plain.contains('-'));
    api.world.clock.advance(std::time::Duration::from_secs(1));
    let generated = api.code("PUT", "", None).await;
    assert_eq!(generated.status, 201);
    let code = generated.json()["app_code"].as_str().unwrap().to_owned();
    assert!(code.len() == 64 && AppCode::parse(&code).is_ok());

    let list = api.code("GET", "", None).await;
    let expected = format!(r#"{{"total":2,"size":2,"app_codes":[{},{}]}}"#, generated.text, chosen.text);
    assert_eq!((list.status.as_u16(), list.text), (200, expected));
    let page = api.code("GET", "?offset=1&limit=1", None).await;
    assert_eq!(page.text, format!(r#"{{"total":2,"size":1,"app_codes":[{}]}}"#, chosen.text));
    let read = api.code("GET", &id(&chosen), None).await;
    assert_eq!((read.status.as_u16(), &read.text), (200, &chosen.text));

    api.world.settle().await;
    let found = api.world.directory.find(CODE).unwrap();
    assert_eq!(found.caller().id.as_str(), APP);
    let gone = api.code("DELETE", &id(&chosen), None).await;
    assert_eq!((gone.status.as_u16(), &*gone.text), (204, ""));
    api.world.settle().await;
    assert!(api.world.directory.find(CODE).is_none() && api.world.directory.find(&code).is_some());
    for method in ["GET", "DELETE"] {
        let message = format!("AppCode {plain} does not exist");
        refused(&api.code(method, &id(&chosen), None).await, 404, "APIG.3082", &message);
    }
    assert_eq!(api.choose(CODE).await.status, 201, "the AppCode is free again");
}

#[tokio::test]
async fn app_code_is_not_stored_in_clear_text() {
    let api = ApigApi::new().await;
    api.choose(CODE).await;
    let filter = CredentialFilter { limit: 10, ..CredentialFilter::default() };
    let stored = api.world.memory.credentials(&filter).await.unwrap();
    let code = stored.iter().find(|one| matches!(one.kind, CredentialKind::AppCode(_))).unwrap();
    assert_eq!(code.hint, CODE[..4]);
    let changes = api.world.memory.changes(0, 100).await.unwrap();
    assert!(!serde_json::to_string(&changes).unwrap().contains(&CODE[4..]));
}

#[tokio::test]
async fn invalid_app_code_is_rejected() {
    let api = ApigApi::new().await;
    let absent = "The request parameters must be specified,parameterName:app_code. Please refer to the support documentation";
    for body in ["{}", r#"{"app_code":null}"#, r#"{"app_code":""}"#] {
        refused(&api.code("POST", "", Some(body)).await, 400, "APIG.2001", absent);
    }
    let invalid = "Invalid parameter value,parameterName:app_code. Please refer to the support documentation";
    for code in
        ["x".repeat(63), "x".repeat(181), format!("_{CODE}"), format!("{CODE}&"), format!("{CODE}\\u0000")]
    {
        refused(&api.choose(&code).await, 400, "APIG.2011", invalid);
    }
    let deep = format!(r#"{{"app_code":{}"#, "[".repeat(30_000));
    let long = format!(r#"{{"app_code":"{}"}}"#, "x".repeat(10 * 1024 * 1024));
    let twice = format!(r#"{{"app_code":"{CODE}","app_code":"{CODE}"}}"#);
    for body in ["", "null", "[]", r#"{"app_code":1}"#, r#"{"app_code":"\ud800"}"#, &deep, &long, &twice] {
        let answer = api.code("POST", "", Some(body)).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error_code"]), (400, &"APIG.2000".into()));
    }
    assert_eq!(api.code("GET", "", None).await.json()["total"], 0);
    for rest in ["?offset=x", "?limit=x"] {
        assert_eq!(api.code("GET", rest, None).await.json()["error_code"], "APIG.2012");
    }
}

#[tokio::test]
async fn app_code_authenticates_one_app_only() {
    let api = ApigApi::new().await;
    let other = "c0a80101-0000-4000-8000-000000000001";
    api.world.caller("gateway", other, "other", app(&api.world, other, "other_key")).await;
    assert_eq!(api.choose(CODE).await.status, 201);
    let theirs = format!(r#"{{"app_code":"{CODE}"}}"#);
    for app in [PLAIN, other] {
        let answer = api.ask(2, "POST", &format!("/apps/{app}/app-codes"), Some(&theirs)).await;
        refused(&answer, 400, "APIG.3309", DONE);
    }
    // An AppCode must not equal an existing key either.
    let code = AppCode::generate();
    api.world
        .key_with("gateway", APP, |key| {
            key.digest = api.world.directory.peppers().current().digest(code.expose());
        })
        .await;
    refused(&api.choose(code.expose()).await, 400, "APIG.3309", DONE);

    let mine = api.code("PUT", "", None).await;
    let path = format!("/apps/{other}/app-codes{}", id(&mine));
    let missing = format!("AppCode {} does not exist", &id(&mine)[1..]);
    for method in ["GET", "DELETE"] {
        refused(&api.ask(2, method, &path, None).await, 404, "APIG.3082", &missing);
    }
    let key = api
        .world
        .memory
        .credentials(&CredentialFilter { limit: 100, ..CredentialFilter::default() })
        .await
        .unwrap();
    let key = key.iter().find(|one| one.kind == CredentialKind::Key && one.caller.as_str() == APP).unwrap();
    let answer = api.code("DELETE", &format!("/{}", key.id), None).await;
    assert_eq!(answer.json()["error_code"], "APIG.3082", "a key is not an AppCode");
}

#[tokio::test(flavor = "multi_thread")]
async fn app_has_at_most_five_app_codes() {
    let api = ApigApi::new().await;
    api.world.key("gateway", APP).await;
    let (a, b) = tokio::join!(api.choose(CODE), api.choose(CODE));
    let (made, other) = if a.status == 201 { (a, b) } else { (b, a) };
    assert_eq!(made.status, 201);
    refused(&other, 400, "APIG.3309", DONE);
    let all = futures_util::future::join_all((0..10).map(|_| api.code("PUT", "", None))).await;
    let full = "The number of AppCodes exceeds the maximum allowed limit.";
    let (made, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(made.len(), 4);
    for answer in others {
        refused(&answer, 403, "APIG.3131", full);
    }
    api.code("DELETE", &id(&made[0]), None).await;
    assert_eq!(api.code("PUT", "", None).await.status, 201);
}

#[tokio::test]
async fn app_codes_require_app_scope() {
    let api = ApigApi::new().await;
    let made = api.choose(CODE).await;
    let scopes = |access, targets: Option<&str>| {
        let targets = targets.map(|id| vec![id.into()]);
        Scopes::Listed(vec![Scope { resource: "apps".into(), access, targets }])
    };
    let elsewhere = scopes(Access::Write, Some("c0a80101-0000-4000-8000-000000000001"));
    let elsewhere = api.world.key_with("gateway", "operator", |key| key.scopes = elsewhere).await;
    let reader =
        api.world.key_with("gateway", "operator", |key| key.scopes = scopes(Access::Read, None)).await;
    let path = format!("/apps/{PLAIN}/app-codes");
    let ask = async |token: &str, method: &str, rest: &str| {
        let target = at(2, &format!("{path}{rest}"));
        api.server.send(method, &target, &[("x-auth-token", token)], None).await
    };
    let denied = "No permissions to request this method";
    for (token, method, rest) in [
        (&elsewhere, "GET", String::new()),
        (&elsewhere, "GET", id(&made)),
        (&elsewhere, "PUT", String::new()),
        (&elsewhere, "DELETE", id(&made)),
        (&reader, "POST", String::new()),
        (&reader, "PUT", String::new()),
        (&reader, "DELETE", id(&made)),
    ] {
        refused(&ask(token, method, &rest).await, 403, "APIG.1005", denied);
    }
    assert_eq!(ask(&reader, "GET", &id(&made)).await.json()["app_code"], "******");
    assert_eq!(ask(&reader, "GET", "").await.json()["app_codes"][0]["app_code"], "******");

    let missing = "c0a80101000040008000000000000009";
    let message = format!("App {missing} does not exist");
    for method in ["GET", "PUT", "POST"] {
        let answer = api.ask(2, method, &format!("/apps/{missing}/app-codes"), Some("{}")).await;
        refused(&answer, 404, "APIG.3004", &message);
    }
    let unknown = "The API does not exist or has not been published in the environment.";
    refused(&api.ask(1, "PUT", &format!("/apps/{APP}/app-codes"), None).await, 404, "APIG.0101", unknown);
    api.world.lapse("gateway").await;
    refused(&api.code("PUT", "", None).await, 403, "APIG.1005", denied);
    assert_eq!(api.code("GET", "", None).await.status, 200);
    assert_eq!(api.code("DELETE", &id(&made), None).await.status, 204);
    api.world.registry.fail(Some("credentials"), || RegistryError::Unavailable("gone".into()));
    refused(&api.code("GET", "", None).await, 500, "APIG.9999", "System error.");
}
