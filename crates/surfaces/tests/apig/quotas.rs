//! Quotas of apps.

use serde_json::{Value, json};

use super::{APP, ApigApi, app, refused, see, with};

const PLAIN: &str = "14b399ac967f4115bb62c0346b4537e9";
const NOBODY: &str = "c0a8010100004000800000000000beef";

fn body(name: &str) -> Value {
    json!({ "name": name, "call_limits": 1000, "time_unit": "DAY", "time_interval": 1 })
}

impl ApigApi {
    async fn quota(&self, name: &str) -> String {
        let made = self.tell(2, "POST", "/app-quotas", &body(name)).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["app_quota_id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn quota_is_shown_as_documented() {
    let api = ApigApi::new().await;
    let whole =
        with(body("ClientQuota_demo"), &json!({ "reset_time": "2020-09-20 00:00:00", "remark": "remark" }));
    let made = api.tell(2, "POST", "/app-quotas", &whole).await;
    let id = made.json()["app_quota_id"].as_str().unwrap_or_default().to_owned();
    let shown = |name: &str, limit: u32, bound: u32| {
        json!({
            "app_quota_id": id, "name": name, "call_limits": limit, "time_unit": "DAY", "time_interval": 1,
            "remark": "remark", "reset_time": "2020-09-20 00:00:00", "create_time": "2026-01-01T00:00:01Z",
            "bound_app_num": bound,
        })
    };
    assert_eq!((made.status.as_u16(), made.json()), (201, shown("ClientQuota_demo", 1000, 0)));
    let path = format!("/app-quotas/{id}");
    let bound = api.tell(2, "POST", &format!("{path}/binding-apps"), &json!({ "app_ids": [PLAIN] })).await;
    assert_eq!(bound.status, 201);
    let changed = api.tell(2, "PUT", &path, &with(body("renamed"), &json!({ "call_limits": 5 }))).await;
    assert_eq!((changed.status.as_u16(), changed.json()), (200, shown("renamed", 5, 1)), "others stay");
    assert_eq!(api.read(2, &path).await, shown("renamed", 5, 1));
    assert_eq!(api.read(2, &format!("/apps/{PLAIN}/bound-quota")).await, shown("renamed", 5, 1));
    let later = api
        .tell(2, "PUT", &path, &with(body("renamed"), &json!({ "reset_time": "2030-01-02T03:04:05+01:00" })))
        .await;
    assert_eq!(later.json()["reset_time"], "2030-01-02 02:04:05");
    refused(
        &api.ask(1, "GET", "/app-quotas", None).await,
        404,
        "APIG.0101",
        "The API does not exist or has not been published in the environment.",
    );
}

#[tokio::test]
async fn invalid_quota_names_its_member() {
    let api = ApigApi::new().await;
    for (members, code, what, member) in [
        (json!({ "name": "x" }), "APIG.2011", "Invalid parameter value", "name"),
        (json!({ "name": "x".repeat(256) }), "APIG.2011", "Invalid parameter value", "name"),
        (json!({ "call_limits": 0 }), "APIG.2002", "The parameter value is too small", "call_limits"),
        (
            json!({ "call_limits": 2_147_483_648_u32 }),
            "APIG.2003",
            "The parameter value is too large",
            "call_limits",
        ),
        (json!({ "time_unit": "" }), "APIG.2001", "The request parameters must be specified", "time_unit"),
        (
            json!({ "time_unit": "YEAR" }),
            "APIG.2004",
            "The parameter value is outside the allowable range",
            "time_unit",
        ),
        (
            json!({ "time_interval": null }),
            "APIG.2001",
            "The request parameters must be specified",
            "time_interval",
        ),
        (json!({ "reset_time": "tomorrow" }), "APIG.2011", "Invalid parameter value", "reset_time"),
        (
            json!({ "reset_time": "2020-02-30 00:00:00" }),
            "APIG.2011",
            "Invalid parameter value",
            "reset_time",
        ),
        (json!({ "remark": "a>b" }), "APIG.2011", "Invalid parameter value", "remark"),
    ] {
        let answer = api.tell(2, "POST", "/app-quotas", &with(body("quota"), &members)).await;
        refused(&answer, 400, code, &see(what, member));
    }
    assert_eq!(api.tell(2, "POST", "/app-quotas", &body(&"x".repeat(255))).await.status, 201);
    let id = api.quota("another").await;
    refused(
        &api.tell(2, "POST", "/app-quotas", &body("third")).await,
        403,
        "APIG.3100",
        "The number of resources exceeds the maximum allowed limit.",
    );
    let name_exists = "The API quota name already exists";
    refused(
        &api.tell(2, "PUT", &format!("/app-quotas/{id}"), &body(&"x".repeat(255))).await,
        400,
        "APIG.3325",
        name_exists,
    );
    let list = api.read(2, "/app-quotas?name=AN").await;
    assert_eq!(
        (&list["total"], &list["size"], &list["quotas"][0]["name"]),
        (&json!(1), &json!(1), &json!("another"))
    );
    assert_eq!(api.read(2, "/app-quotas?limit=1&offset=1").await["total"], 2);
    assert_eq!(api.ask(2, "DELETE", &format!("/app-quotas/{id}"), None).await.status, 204);
    refused(
        &api.tell(2, "POST", "/app-quotas", &body(&"x".repeat(255))).await,
        400,
        "APIG.3325",
        name_exists,
    );
    for (method, path) in [("GET", ""), ("DELETE", ""), ("GET", "/bound-apps"), ("GET", "/bindable-apps")] {
        let answer = api.ask(2, method, &format!("/app-quotas/{id}{path}"), None).await;
        refused(&answer, 404, "APIG.3093", &format!("App quota {id} does not exist"));
    }
}

#[tokio::test]
async fn app_has_one_quota_until_it_is_unbound() {
    let api = ApigApi::new().await;
    for at in ["one", "two"] {
        api.world.caller("gateway", at, at, app(&api.world, at, at)).await;
    }
    let (first, second) = (api.quota("first").await, api.quota("second").await);
    let bind = async |quota: &str, apps: Value| {
        api.tell(2, "POST", &format!("/app-quotas/{quota}/binding-apps"), &json!({ "app_ids": apps })).await
    };
    let answer = bind(&first, json!([PLAIN, "one", PLAIN])).await;
    let apply =
        |app: &str| json!({ "app_id": app, "app_quota_id": first, "bound_time": "2026-01-01T00:00:03Z" });
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (201, json!({ "applies": [apply(PLAIN), apply("one")] }))
    );
    assert_eq!(
        bind(&first, json!(["one"])).await.json(),
        json!({ "applies": [apply("one")] }),
        "it has it already"
    );
    let names = async |list: &str| {
        let list = api.read(2, &format!("/app-quotas/{first}/{list}")).await;
        let apps = list["apps"].as_array().unwrap().clone();
        assert_eq!(list["size"], apps.len());
        apps.iter().map(|app| app["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("bound-apps").await, ["one", "app_000"]);
    assert_eq!(names("bound-apps?app_name=APP").await, ["app_000"]);
    assert_eq!(names("bindable-apps").await, ["two"]);
    let row = &api.read(2, &format!("/app-quotas/{first}/bound-apps?app_name=app")).await["apps"][0];
    assert_eq!(
        (&row["app_quota_name"], &row["app_quota_id"], &row["status"]),
        (&json!("first"), &json!(first), &json!(1))
    );

    assert_eq!(bind(&second, json!(["one"])).await.status, 201);
    assert_eq!(names("bound-apps").await, ["app_000"]);
    let missing = format!("App {NOBODY} does not exist");
    refused(&bind(&second, json!([PLAIN, NOBODY])).await, 404, "APIG.3004", &missing);
    assert_eq!(names("bound-apps").await, ["app_000"], "all or none");
    refused(
        &bind(&second, json!([])).await,
        400,
        "APIG.2001",
        &see("The request parameters must be specified", "app_ids"),
    );
    refused(
        &bind(NOBODY, json!([PLAIN])).await,
        404,
        "APIG.3093",
        &format!("App quota {NOBODY} does not exist"),
    );

    let unbind = |quota: &str, app: &str| format!("/app-quotas/{quota}/bound-apps/{app}");
    refused(
        &api.ask(2, "DELETE", &unbind(&second, PLAIN), None).await,
        404,
        "APIG.3004",
        &format!("App {PLAIN} does not exist"),
    );
    assert_eq!(api.ask(2, "DELETE", &unbind(&first, PLAIN), None).await.status, 204);
    assert_eq!(api.read(2, &format!("/apps/{PLAIN}/bound-quota")).await, json!({}));
    refused(
        &api.ask(2, "GET", &format!("/apps/{NOBODY}/bound-quota"), None).await,
        404,
        "APIG.3002",
        &format!("App {NOBODY} does not exist"),
    );
    assert!(api.stored("one").await.app().unwrap().quota.is_some());
    assert_eq!(api.ask(2, "DELETE", &format!("/app-quotas/{second}"), None).await.status, 204);
    assert!(api.stored("one").await.app().unwrap().quota.is_none());
    assert!(api.stored(APP).await.app().unwrap().quota.is_none());
}
