//! Throttling policies and quotas of APIG, applied to API calls.

use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::{Value, json};

use crate::process::{Gateway, Installation, Service, client};

const BASE: &str = "/v2/demo-project/apigw/instances/demo-instance";
const APP: &str = "14b399ac967f4115bb62c0346b4537e9";

struct Setup {
    gateway: Gateway,
    token: String,
    code: String,
    _installation: Installation,
}

impl Setup {
    async fn new() -> Self {
        let service = Service::echo().await;
        let installation = Installation::with_granted_routes(service.address, &["orders", "bills"]);
        let gateway = installation.start();
        let token = installation.operator_token.clone();
        let mut setup = Self { gateway, token, code: String::new(), _installation: installation };
        let code = setup.manage("PUT", &format!("/apps/{APP}/app-codes"), None, 201).await;
        code["app_code"].as_str().unwrap().clone_into(&mut setup.code);
        let auths = json!({ "env_id": "DEFAULT_ENVIRONMENT_RELEASE_ID", "app_ids": [APP], "api_ids": ["orders", "bills"] });
        setup.manage("POST", "/app-auths", Some(auths), 201).await;
        setup.becomes("/bills", 200).await;
        setup
    }

    async fn manage(&self, method: &str, path: &str, body: Option<Value>, expected: u16) -> Value {
        let url = self.gateway.url(&format!("{BASE}{path}"));
        let mut request = client().request(method.parse().unwrap(), url).header("x-auth-token", &self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert_eq!(status, expected, "{path}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn call(&self, path: &str) -> Response {
        self.gateway.get(path).header("x-apig-appcode", &self.code).send().await.unwrap()
    }

    async fn status(&self, path: &str) -> u16 {
        self.call(path).await.status().as_u16()
    }

    /// Waits for a change, which takes effect soon but not at once.
    async fn becomes(&self, path: &str, expected: u16) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.status(path).await != expected {
            assert!(Instant::now() < deadline, "{path} does not become {expected}");
        }
    }
}

#[tokio::test]
async fn throttling_policy_limits_its_api() {
    let setup = Setup::new().await;
    let throttle = |limit: u32| json!({ "name": "throttle", "time_unit": "DAY", "time_interval": 1, "api_call_limits": limit });
    let made = setup.manage("POST", "/throttles", Some(throttle(3)), 201).await;
    let id = made["id"].as_str().unwrap();
    let bind = json!({ "strategy_id": id, "publish_ids": ["orders"] });
    let bound = setup.manage("POST", "/throttle-bindings", Some(bind), 201).await;
    setup.becomes("/orders", 429).await;
    assert_eq!(setup.status("/bills").await, 200, "another API has no policy");
    let refused = setup.call("/orders").await;
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((86_000..=86_400).contains(&wait), "{wait}");
    let body: Value = refused.json().await.unwrap();
    assert_eq!((&body["code"], &body["violated-policies"]), (&json!("throttled"), &json!(["api"])));
    let detail = format!("The limit of this API is used up (3 calls in 1 day). Retry in {wait} s.");
    assert_eq!(body["detail"], detail);

    // Three requests were counted: with a limit of five, two more are allowed.
    setup.manage("PUT", &format!("/throttles/{id}"), Some(throttle(5)), 200).await;
    setup.becomes("/orders", 200).await;
    assert_eq!([setup.status("/orders").await, setup.status("/orders").await], [200, 429]);

    let id = bound["throttle_applys"][0]["id"].as_str().unwrap();
    setup.manage("DELETE", &format!("/throttle-bindings/{id}"), None, 204).await;
    setup.becomes("/orders", 200).await;
}

#[tokio::test]
async fn app_quota_covers_all_routes() {
    let setup = Setup::new().await;
    let quota = json!({ "name": "quota", "time_unit": "DAY", "time_interval": 1, "call_limits": 4 });
    let made = setup.manage("POST", "/app-quotas", Some(quota), 201).await;
    let id = made["app_quota_id"].as_str().unwrap();
    let bind = json!({ "app_ids": [APP] });
    setup.manage("POST", &format!("/app-quotas/{id}/binding-apps"), Some(bind), 201).await;
    setup.becomes("/orders", 429).await;
    let refused = setup.call("/bills").await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    let body: Value = refused.json().await.unwrap();
    assert_eq!((&body["code"], &body["violated-policies"]), (&json!("quota-exhausted"), &json!(["quota"])));
    setup.manage("DELETE", &format!("/app-quotas/{id}"), None, 204).await;
    setup.becomes("/orders", 200).await;
}
