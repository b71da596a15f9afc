//! Throttling policies, their bindings to APIs, and excluded configurations.

use std::time::Duration;

use portcullis::model::{Access, Scope, Scopes};
use serde_json::{Value, json};

use super::{APP, Answer, ApigApi, PROJECT, app, refused, see, with};

const PLAIN: &str = "14b399ac967f4115bb62c0346b4537e9";
const NOBODY: &str = "c0a8010100004000800000000000beef";

fn body(name: &str) -> Value {
    json!({ "name": name, "time_unit": "MINUTE", "time_interval": 1, "api_call_limits": 800 })
}

impl ApigApi {
    pub async fn tell(&self, version: u8, method: &str, path: &str, body: &Value) -> Answer {
        self.world.clock.advance(Duration::from_secs(1));
        self.ask(version, method, path, Some(&body.to_string())).await
    }

    pub async fn read(&self, version: u8, path: &str) -> Value {
        let answer = self.ask(version, "GET", path, None).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    async fn throttle(&self, name: &str) -> String {
        let made = self.tell(2, "POST", "/throttles", &body(name)).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["id"].as_str().unwrap().to_owned()
    }

    async fn bind(&self, throttle: &str, apis: &[&str]) -> Answer {
        let body = json!({ "strategy_id": throttle, "publish_ids": apis });
        self.tell(2, "POST", "/throttle-bindings", &body).await
    }
}

/// Returns the names in a list.
fn names<'v>(list: &'v Value, of: &str) -> Vec<&'v str> {
    let rows = list[of].as_array().unwrap();
    assert_eq!(list["size"], rows.len());
    rows.iter().map(|row| row["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn throttling_policy_is_shown_as_documented() {
    let api = ApigApi::new().await;
    let whole = with(
        body("throttle_demo"),
        &json!({
            "user_call_limits": 500, "app_call_limits": 300, "ip_call_limits": 600, "type": 1,
            "remark": "Total: 800", "enable_adaptive_control": "FALSE",
        }),
    );
    let made = api.tell(2, "POST", "/throttles", &whole).await;
    let id = made.json()["id"].as_str().unwrap_or_default().to_owned();
    let document = |id: &str, name: &str, bound: u8, special: u8| {
        format!(
            r#"{{"id":"{id}","name":"{name}","api_call_limits":800,"user_call_limits":500,"app_call_limits":300,"ip_call_limits":600,"time_interval":1,"time_unit":"MINUTE","remark":"Total: 800","create_time":"2026-01-01T00:00:01Z","type":1,"bind_num":{bound},"is_inclu_special_throttle":{special},"enable_adaptive_control":"FALSE"}}"#
        )
    };
    assert_eq!((made.status.as_u16(), made.text), (201, document(&id, "throttle_demo", 0, 2)));
    assert_eq!(id.len(), 32);
    let path = format!("/throttles/{id}");
    assert_eq!(api.ask(2, "GET", &path, None).await.text, document(&id, "throttle_demo", 0, 2));
    let hyphens = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-");
    let first = api.ask(1, "GET", &format!("/throttles/{hyphens}"), None).await;
    assert_eq!(first.text, document(&hyphens, "throttle_demo", 0, 2));

    assert_eq!(api.bind(&id, &["orders", "bills"]).await.status, 201);
    let special = json!({ "object_id": PLAIN, "object_type": "APP", "call_limits": 1 });
    assert_eq!(api.tell(2, "POST", &format!("{path}/throttle-specials"), &special).await.status, 201);
    let changed = api.tell(2, "PUT", &path, &body("renamed")).await;
    assert_eq!(
        (changed.status.as_u16(), changed.text),
        (200, document(&id, "renamed", 2, 1)),
        "the rest stays"
    );
    let narrower = with(body("renamed"), &json!({ "api_call_limits": 200 }));
    refused(
        &api.tell(2, "PUT", &path, &narrower).await,
        400,
        "APIG.2011",
        &see("Invalid parameter value", "user_call_limits"),
    );
}

#[tokio::test]
async fn invalid_throttling_policy_names_its_member() {
    let api = ApigApi::new().await;
    let (invalid, small, large, none) = (
        ("APIG.2011", "Invalid parameter value"),
        ("APIG.2002", "The parameter value is too small"),
        ("APIG.2003", "The parameter value is too large"),
        ("APIG.2004", "The parameter value is outside the allowable range"),
    );
    for (members, (code, what), member) in [
        (json!({ "name": "1st" }), invalid, "name"),
        (json!({ "name": "x".repeat(65) }), invalid, "name"),
        (json!({ "time_unit": "WEEK" }), none, "time_unit"),
        (json!({ "time_unit": "minute" }), none, "time_unit"),
        (json!({ "time_interval": 0 }), small, "time_interval"),
        (json!({ "time_interval": 2_147_483_648_u32 }), large, "time_interval"),
        (json!({ "api_call_limits": -1 }), small, "api_call_limits"),
        (json!({ "api_call_limits": 2_147_483_648_u32 }), large, "api_call_limits"),
        (json!({ "user_call_limits": 801 }), invalid, "user_call_limits"),
        (json!({ "app_call_limits": 801 }), invalid, "app_call_limits"),
        (json!({ "user_call_limits": 5, "app_call_limits": 6 }), invalid, "app_call_limits"),
        (json!({ "ip_call_limits": 801 }), invalid, "ip_call_limits"),
        (json!({ "ip_call_limits": 0 }), small, "ip_call_limits"),
        (json!({ "type": 3 }), none, "type"),
        (json!({ "remark": "<" }), invalid, "remark"),
        (json!({ "remark": "x".repeat(256) }), invalid, "remark"),
        (
            json!({ "enable_adaptive_control": "TRUE" }),
            ("APIG.2012", "Invalid parameter value"),
            "enable_adaptive_control",
        ),
        (json!({ "enable_adaptive_control": "maybe" }), none, "enable_adaptive_control"),
    ] {
        let answer = api.tell(2, "POST", "/throttles", &with(body("throttle"), &members)).await;
        refused(&answer, 400, code, &see(what, member));
    }
    for missing in ["name", "time_unit", "time_interval", "api_call_limits"] {
        for absent in [true, false] {
            let mut body = body("throttle");
            if absent {
                body.as_object_mut().unwrap().remove(missing);
            } else {
                body[missing] = Value::Null;
            }
            let answer = api.tell(1, "POST", "/throttles", &body).await;
            refused(&answer, 400, "APIG.2001", &see("The request parameters must be specified", missing));
        }
    }
    for odd in [
        json!({ "time_interval": "1" }),
        json!({ "api_call_limits": 1.5 }),
        json!({ "api_call_limits": 1e30 }),
        json!({ "user_call_limits": "5" }),
    ] {
        let answer = api.tell(2, "POST", "/throttles", &with(body("throttle"), &odd)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["error_code"].as_str()),
            (400, Some("APIG.2000")),
            "{answer:?}"
        );
    }
    assert_eq!(api.read(2, "/throttles").await["total"], 0);
}

#[tokio::test]
async fn throttling_policies_are_listed_newest_first_in_pages() {
    let api = ApigApi::new().await;
    for name in ["first", "Second", "third"] {
        api.throttle(name).await;
    }
    refused(
        &api.tell(2, "POST", "/throttles", &body("fourth")).await,
        403,
        "APIG.3107",
        "The number of request throttling policies exceeds the maximum allowed limit.",
    );
    for (version, query, total, found) in [
        (2, "", 3, vec!["third", "Second", "first"]),
        (2, "?limit=1&offset=1", 3, vec!["Second"]),
        (1, "?page_size=2&page_no=2", 3, vec!["first"]),
        (2, "?offset=9", 3, vec![]),
        (2, "?name=IR", 2, vec!["third", "first"]),
        (2, "?name=second&precise_search=name", 0, vec![]),
        (2, "?name=Second&precise_search=name", 1, vec!["Second"]),
    ] {
        let list = api.read(version, &format!("/throttles{query}")).await;
        assert_eq!((list["total"].as_u64(), names(&list, "throttles")), (Some(total), found), "{query}");
    }
    let id = api.read(2, "/throttles?name=first").await["throttles"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(names(&api.read(2, &format!("/throttles?id={id}")).await, "throttles"), ["first"]);
    let answer = api.ask(2, "GET", "/throttles?precise_search=id", None).await;
    refused(&answer, 400, "APIG.2012", &see("Invalid parameter value", "precise_search"));
    refused(
        &api.tell(2, "PUT", &format!("/throttles/{id}"), &body("third")).await,
        400,
        "APIG.3204",
        "The request throttling policy name already exists.",
    );
    assert_eq!(api.ask(2, "DELETE", &format!("/throttles/{id}"), None).await.status, 204);
    for (method, body) in [("GET", None), ("PUT", Some(body("x_x").to_string())), ("DELETE", None)] {
        let answer = api.ask(2, method, &format!("/throttles/{id}"), body.as_deref()).await;
        refused(&answer, 404, "APIG.3005", &format!("Request throttling policy {id} does not exist"));
    }
}

#[tokio::test]
async fn api_has_the_policy_bound_last() {
    let api = ApigApi::new().await;
    let (first, second) = (api.throttle("first").await, api.throttle("second").await);
    let answer = api.bind(&first, &["orders", "bills", "orders"]).await;
    assert_eq!(answer.status, 201);
    let applied = answer.json();
    let rows = applied["throttle_applys"].as_array().unwrap();
    let id = rows[0]["id"].as_str().unwrap();
    assert_eq!(
        rows[0],
        json!({ "publish_id": "orders", "scope": 1, "strategy_id": first, "apply_time": "2026-01-01T00:00:03Z", "id": id })
    );
    assert_eq!((rows.len(), &rows[2]), (3, &rows[0]));
    let again = api.bind(&first, &["orders"]).await.json();
    assert_eq!(again["throttle_applys"][0], rows[0], "already bound");

    assert_eq!(api.bind(&second, &["bills"]).await.status, 201);
    let bound = |throttle: &str| format!("/throttle-bindings/binded-apis?throttle_id={throttle}");
    assert_eq!(names(&api.read(2, &bound(&first)).await, "apis"), ["orders"]);
    let one = &api.read(2, &bound(&first)).await["apis"][0];
    assert_eq!(
        (&one["throttle_apply_id"], &one["throttle_name"], &one["run_env_name"], &one["auth_type"]),
        (&json!(id), &json!("first"), &json!("RELEASE"), &json!("APP"))
    );
    let others = format!("/throttle-bindings/unbinded-apis?throttle_id={first}");
    assert_eq!(names(&api.read(2, &others).await, "apis"), ["bills", "old_orders"]);
    assert_eq!(names(&api.read(2, &format!("{others}&api_name=ORD")).await, "apis"), ["old_orders"]);
    assert_eq!(names(&api.read(2, &format!("{others}&env_id=other")).await, "apis"), [""; 0]);
    let of_api = api.read(2, "/throttle-bindings/binded-throttles?api_id=bills").await;
    assert_eq!(names(&of_api, "throttles"), ["second"]);
    assert_eq!(of_api["throttles"][0]["env_name"], "RELEASE");
    let none = api.read(2, "/throttle-bindings/binded-throttles?api_id=old_orders").await;
    assert_eq!(none, json!({ "total": 0, "size": 0, "throttles": [] }));

    let path = format!("/throttles/{first}");
    refused(
        &api.ask(2, "DELETE", &path, None).await,
        403,
        "APIG.3451",
        "The request throttling policy cannot be deleted because it has been bound to APIs.",
    );
    assert_eq!(api.ask(2, "DELETE", &format!("/throttle-bindings/{id}"), None).await.status, 204);
    let gone = "The request throttling policy binding record does not exist.";
    refused(&api.ask(2, "DELETE", &format!("/throttle-bindings/{id}"), None).await, 404, "APIG.3012", gone);
    assert_eq!(api.ask(2, "DELETE", &path, None).await.status, 204);

    let last = of_api["throttles"][0]["bind_id"].as_str().unwrap();
    let many = json!({ "throttle_bindings": [last, NOBODY, last] });
    let answer = api.tell(2, "PUT", "/throttle-bindings?action=delete", &many).await;
    let failure = |id: &str| {
        json!({ "bind_id": id, "error_code": "APIG.3012",
                "error_msg": "The request throttling policy binding record does not exist" })
    };
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (200, json!({ "success_count": 1, "failure": [failure(NOBODY), failure(last)] }))
    );
    refused(
        &api.tell(2, "PUT", "/throttle-bindings?action=add", &many).await,
        400,
        "APIG.2011",
        &see("Invalid parameter value", "action"),
    );
}

#[tokio::test]
async fn invalid_binding_is_rejected() {
    let api = ApigApi::new().await;
    let id = api.throttle("throttle").await;
    let missing = "The request parameters must be specified";
    for (body, status, code, text) in [
        (json!({ "publish_ids": ["orders"] }), 400, "APIG.2001", see(missing, "strategy_id")),
        (json!({ "strategy_id": id }), 400, "APIG.2001", see(missing, "publish_ids")),
        (json!({ "strategy_id": id, "publish_ids": [] }), 400, "APIG.2001", see(missing, "publish_ids")),
        (
            json!({ "strategy_id": id, "publish_ids": vec!["orders"; 501] }),
            400,
            "APIG.2011",
            see("Invalid parameter value", "publish_ids"),
        ),
        (
            json!({ "strategy_id": id, "publish_ids": ["orders", "none"] }),
            404,
            "APIG.3002",
            "API none does not exist".into(),
        ),
        (
            json!({ "strategy_id": NOBODY, "publish_ids": ["orders"] }),
            404,
            "APIG.3005",
            format!("Request throttling policy {NOBODY} does not exist"),
        ),
    ] {
        refused(&api.tell(2, "POST", "/throttle-bindings", &body).await, status, code, &text);
    }
    assert_eq!(api.read(2, &format!("/throttles/{id}")).await["bind_num"], 0);
    for (list, query, member) in [
        ("binded-apis", "", "throttle_id"),
        ("unbinded-apis", "", "throttle_id"),
        ("binded-throttles", "", "api_id"),
    ] {
        let answer = api.ask(2, "GET", &format!("/throttle-bindings/{list}{query}"), None).await;
        refused(&answer, 400, "APIG.2001", &see(missing, member));
    }
}

#[tokio::test]
async fn app_and_user_have_limits_of_their_own() {
    let api = ApigApi::new().await;
    let id = api.throttle("throttle").await;
    let path = format!("/throttles/{id}/throttle-specials");
    let special = |of: &str, kind: &str| json!({ "object_id": of, "object_type": kind, "call_limits": 150 });
    let made = api.tell(2, "POST", &path, &special(PLAIN, "APP")).await;
    let own = made.json()["id"].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (made.status.as_u16(), made.json()),
        (
            201,
            json!({
                "id": own, "call_limits": 150, "apply_time": "2026-01-01T00:00:02Z", "app_id": PLAIN,
                "app_name": "app_000", "object_name": "app_000", "object_id": PLAIN, "object_type": "APP",
                "throttle_id": id,
            })
        )
    );
    refused(
        &api.tell(2, "POST", &path, &special(PLAIN, "APP")).await,
        400,
        "APIG.3308",
        "The excluded request throttling configuration already exists.",
    );
    let user = api.tell(2, "POST", &path, &special(PROJECT, "USER")).await;
    assert_eq!((user.status.as_u16(), user.json()["object_name"].as_str()), (201, Some(PROJECT)));
    for (body, status, code, text) in [
        (special(NOBODY, "APP"), 404, "APIG.3004", format!("App {NOBODY} does not exist")),
        (special("somebody", "USER"), 400, "APIG.2012", see("Invalid parameter value", "object_id")),
        (
            special(PLAIN, "TEAM"),
            400,
            "APIG.2004",
            see("The parameter value is outside the allowable range", "object_type"),
        ),
        (
            json!({ "object_id": PLAIN, "object_type": "APP" }),
            400,
            "APIG.2001",
            see("The request parameters must be specified", "call_limits"),
        ),
        (
            json!({ "object_id": PLAIN, "object_type": "APP", "call_limits": 4_294_967_296_u64 }),
            400,
            "APIG.2003",
            see("The parameter value is too large", "call_limits"),
        ),
    ] {
        refused(&api.tell(2, "POST", &path, &body).await, status, code, &text);
    }
    let kinds = |list: &Value| -> Vec<String> {
        let rows = list["throttle_specials"].as_array().unwrap();
        rows.iter().map(|row| row["object_type"].as_str().unwrap().to_owned()).collect()
    };
    for (query, expected) in [
        ("", &["USER", "APP"][..]),
        ("?object_type=APP", &["APP"]),
        // A parameter of the other version is unknown and ignored.
        ("?object_type=APP&instance_type=NONE", &["APP"]),
        ("?app_name=none", &[]),
        ("?limit=1&offset=1", &["APP"]),
    ] {
        assert_eq!(kinds(&api.read(2, &format!("{path}{query}")).await), expected, "{query}");
    }
    // V1 has other names for the members, and names the policy in the body.
    let hyphens = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-");
    let first = api.read(1, &format!("/throttle-specials/{hyphens}")).await;
    for (version, path, member) in
        [(1, format!("/throttle-specials/{hyphens}"), "instance_type"), (2, path.clone(), "object_type")]
    {
        let answer = api.ask(version, "GET", &format!("{path}?{member}=NONE"), None).await;
        refused(&answer, 400, "APIG.2012", &see("Invalid parameter value", member));
    }
    let row = &first["throttle_specials"][1];
    assert_eq!(
        (&row["instance_id"], &row["instance_type"], &row["strategy_id"]),
        (&json!(APP), &json!("APP"), &json!(hyphens))
    );
    assert!(row.get("object_id").is_none() && row.get("throttle_id").is_none());

    let one = format!("{path}/{own}");
    let after = api.tell(2, "PUT", &one, &json!({ "call_limits": 200 })).await;
    assert_eq!((after.status.as_u16(), after.json()["call_limits"].as_u64()), (200, Some(200)));
    assert_eq!(api.ask(2, "DELETE", &one, None).await.status, 204);
    let gone = "The excluded request throttling configuration does not exist.";
    refused(&api.ask(2, "DELETE", &one, None).await, 404, "APIG.3013", gone);
    refused(&api.tell(2, "PUT", &one, &json!({ "call_limits": 1 })).await, 404, "APIG.3013", gone);
    let of_first =
        json!({ "instance_id": APP, "instance_type": "APP", "strategy_id": hyphens, "call_limits": 5 });
    assert_eq!(api.tell(1, "POST", "/throttle-specials", &of_first).await.status, 201);
    let mixed = api.tell(2, "POST", &path, &of_first).await;
    // Members of the other version are unknown and ignored.
    refused(&mixed, 400, "APIG.2001", &see("The request parameters must be specified", "object_id"));

    // Deleting an app deletes its excluded configurations.
    assert_eq!(api.ask(2, "DELETE", &format!("/apps/{PLAIN}"), None).await.status, 204);
    assert_eq!(kinds(&api.read(2, &path).await), ["USER"]);
}

#[tokio::test]
async fn at_most_thirty_apps_have_limits_of_their_own() {
    let api = ApigApi::with_room(100).await;
    let id = api.throttle("throttle").await;
    let path = format!("/throttles/{id}/throttle-specials");
    for at in 0..31 {
        let of = format!("app-{at}");
        api.world.caller("gateway", &of, &of, app(&api.world, &of, &of)).await;
        let body = json!({ "object_id": of, "object_type": "APP", "call_limits": 1 });
        let answer = api.tell(2, "POST", &path, &body).await;
        match at {
            0..30 => assert_eq!(answer.status, 201, "{answer:?}"),
            _ => refused(
                &answer,
                403,
                "APIG.3100",
                "The number of resources exceeds the maximum allowed limit.",
            ),
        }
    }
}

#[tokio::test]
async fn throttling_policies_require_access_to_all_apps() {
    let mut api = ApigApi::new().await;
    let id = api.throttle("throttle").await;
    let scope = |access, targets| Scope { resource: "apps".into(), access, targets };
    let confined = Scopes::Listed(vec![scope(Access::Write, Some(vec![APP.into()]))]);
    api.token = api.world.key_with("gateway", "operator", |key| key.scopes = confined).await;
    let denied = "No permissions to request this method";
    for (method, path, body) in [
        ("GET", "/throttles".to_owned(), None),
        ("GET", format!("/throttles/{id}"), None),
        ("POST", "/throttles".to_owned(), Some(body("another"))),
        ("DELETE", format!("/throttles/{id}"), None),
        ("GET", "/app-quotas".to_owned(), None),
    ] {
        let answer = api.ask(2, method, &path, body.map(|body| body.to_string()).as_deref()).await;
        refused(&answer, 403, "APIG.1005", denied);
    }
    assert_eq!(api.ask(2, "GET", &format!("/apps/{PLAIN}/bound-quota"), None).await.status, 200);
    let reads = Scopes::Listed(vec![scope(Access::Read, None)]);
    api.token = api.world.key_with("gateway", "operator", |key| key.scopes = reads).await;
    assert_eq!(api.ask(2, "GET", "/throttles", None).await.status, 200);
    refused(&api.tell(2, "POST", "/throttles", &body("another")).await, 403, "APIG.1005", denied);
}

#[tokio::test]
async fn concurrent_changes_are_not_lost() {
    let api = ApigApi::with_room(100).await;
    let id = api.throttle("throttle").await;
    let path = format!("/throttles/{id}/throttle-specials");
    let mut bodies = Vec::new();
    for at in 0..8 {
        let of = format!("app-{at}");
        api.world.caller("gateway", &of, &of, app(&api.world, &of, &of)).await;
        bodies.push(json!({ "object_id": of, "object_type": "APP", "call_limits": 1 }).to_string());
    }
    let answers =
        futures_util::future::join_all(bodies.iter().map(|body| api.ask(2, "POST", &path, Some(body)))).await;
    assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
    assert_eq!(api.read(2, &path).await["total"], 8);
}
