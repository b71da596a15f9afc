//! Validation of request bodies, member by member.

use portcullis::registry::Registry;

use super::{APP, ApigApi, one, refused};

/// Sends a body to create and to modify an app, and expects one error from both and no change.
async fn both_refuse(api: &ApigApi, body: &str, code: &str, message: &str) {
    refused(&api.put(APP, body).await, 400, code, message);
    refused(&api.post(body).await, 400, code, message);
    assert_eq!(api.stored(APP).await.revision, 1);
}

#[tokio::test]
async fn name_is_mandatory() {
    let api = ApigApi::new().await;
    let message = "The request parameters must be specified,parameterName:name. Please refer to the support documentation";
    for body in ["{}", r#"{"remark":"First app"}"#, r#"{"name":""}"#, r#"{"name":null}"#] {
        both_refuse(&api, body, "APIG.2001", message).await;
    }
}

#[tokio::test]
async fn invalid_value_is_named() {
    let api = ApigApi::new().await;
    let with = |member: &str, value: &str| {
        let value = serde_json::to_string(value).unwrap();
        if member == "name" {
            format!(r#"{{"name":{value}}}"#)
        } else {
            format!(r#"{{"name":"app_001","{member}":{value}}}"#)
        }
    };
    let x = |count| "x".repeat(count);
    for (member, values) in [
        (
            "name",
            vec![
                x(2),
                x(65),
                "1pp".into(),
                "_pp".into(),
                "app-1".into(),
                "应用一".into(),
                "app\0".into(),
                "ab\u{202e}".into(),
            ],
        ),
        (
            "remark",
            vec![
                x(256),
                "é".repeat(256),
                "a<b".into(),
                "a>b".into(),
                "\0".into(),
                "a\u{200b}".into(),
                "\u{2028}".into(),
            ],
        ),
        (
            "app_key",
            vec![String::new(), x(7), x(65), "_1234567".into(), "1234567!".into(), "1234567\0".into()],
        ),
        ("app_secret", vec![String::new(), x(7), x(65), "!1234567".into(), "1234567&".into()]),
    ] {
        let message = format!(
            "Invalid parameter value,parameterName:{member}. Please refer to the support documentation"
        );
        for value in values {
            both_refuse(&api, &with(member, &value), "APIG.2011", &message).await;
        }
    }
}

#[tokio::test]
async fn values_at_their_limits_are_accepted() {
    let api = ApigApi::new().await;
    let (x64, remark, secret) = ("x".repeat(64), "é".repeat(255), "a_-!@#$%".repeat(8));
    let body = format!(r#"{{"name":"{x64}","remark":"{remark}","app_key":"{x64}","app_secret":"{secret}"}}"#);
    let answer = api.put(APP, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let stored = api.stored(APP).await;
    assert_eq!((&stored.name, &stored.app().unwrap().key), (&x64, &x64));
    assert_eq!(api.secret(&stored).expose(), secret);
    let body = r#"{"name":"abc","app_key":"0_-45678","app_secret":"01234567"}"#;
    assert_eq!(api.put(APP, body).await.status, 200);
}

#[tokio::test]
async fn keys_and_secrets_are_rejected_where_generated() {
    let api = ApigApi::with(false, None).await;
    for (member, value) in [
        ("app_key", "app_key_sample"),
        ("app_key", ""),
        ("app_secret", "app_secret_sample"),
        ("app_secret", ""),
    ] {
        let message = format!(
            "Invalid parameter value,parameterName:{member}. Please refer to the support documentation"
        );
        both_refuse(&api, &format!(r#"{{"name":"app_001","{member}":"{value}"}}"#), "APIG.2012", &message)
            .await;
    }
    assert_eq!(api.put(APP, r#"{"name":"app_001","remark":"First app"}"#).await.status, 200);
}

#[tokio::test]
async fn malformed_body_names_the_member_and_quotes_nothing() {
    let api = ApigApi::new().await;
    let secret = "s3cret_s3cret";
    let syntax = "the body is not valid JSON at line 1";
    let object = "expected an object, got ";
    let deep = format!(r#"{{"remark":{}"#, "[".repeat(30_000));
    for (body, why) in [
        ("", syntax),
        ("  ", syntax),
        ("s3cret_s3cret", syntax),
        (r#"{"name":"app_001","app_secret":"s3cret_s3cret"#, syntax),
        (r#"{"name":"app_001","app_secret":"s3cret_s3cret"}}"#, syntax),
        (r#"{"name":"app_\ud800"}"#, syntax),
        ("null", object),
        (r#""s3cret_s3cret""#, object),
        (r#"["app_001","First app"]"#, object),
        (r#"{"name":1}"#, "name: expected a string, got a number"),
        (r#"{"name":["app_001"]}"#, "name: expected a string, got an array"),
        (r#"{"name":"app_001","remark":true}"#, "remark: expected a string, got a boolean"),
        (
            r#"{"name":"app_001","app_secret":["s3cret_s3cret"]}"#,
            "app_secret: expected a string, got an array",
        ),
        (r#"{"name":"app_001","name":"app_002"}"#, "name: the member is repeated"),
        (r#"{"name":null,"name":"app_002"}"#, "name: the member is repeated"),
        (r#"{"name":"app_001","n\u0061me":"app_002"}"#, "name: the member is repeated"),
        (&deep, "arrays and objects are nested more than 16 levels deep"),
    ] {
        for answer in [api.put(APP, body).await, api.post(body).await] {
            let shown = &body[..body.len().min(60)];
            let message = answer.json()["error_msg"].as_str().unwrap().to_owned();
            refused(&answer, 400, "APIG.2000", &message);
            let start = format!("Parameter error: Serialization error: {why}");
            assert!(message.starts_with(&start) && message.len() < 160, "{shown}: {message}");
            assert!(!message.contains(secret), "{shown}: {message}");
        }
    }
    assert_eq!(api.stored(APP).await.revision, 1);
}

#[tokio::test]
async fn body_that_is_not_utf_8_is_rejected() {
    let api = ApigApi::new().await;
    let body = b"{\"name\":\"app_\xff\"}".to_vec();
    let answer = api.server.send("PUT", &one(APP), &[("x-auth-token", &*api.token)], Some(body)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error_code"]), (400, &"APIG.2000".into()));
}

#[tokio::test]
async fn body_of_64_kibibytes_is_the_maximum() {
    let api = ApigApi::new().await;
    let body = r#"{"name":"app_001"}"#;
    let exactly = format!("{body}{}", " ".repeat(64 * 1024 - body.len()));
    assert_eq!(api.post(&exactly).await.status, 201);
    let message = "Parameter error: Serialization error: the body is larger than 65536 bytes";
    for body in [format!("{exactly} "), " ".repeat(10 * 1024 * 1024)] {
        both_refuse(&api, &body, "APIG.2000", message).await;
    }
}

/// Every operation that reads a body, in each version that has it, with a valid body.
fn all_that_read(throttle: &str, quota: &str) -> Vec<(&'static [u8], &'static str, String, String)> {
    let period = r#""time_unit":"DAY","time_interval":1"#;
    let auths =
        format!(r#"{{"env_id":"DEFAULT_ENVIRONMENT_RELEASE_ID","app_ids":["{APP}"],"api_ids":["orders"]}}"#);
    let new_throttle = format!(r#"{{"name":"one",{period},"api_call_limits":5}}"#);
    let new_quota = format!(r#"{{"name":"one",{period},"call_limits":5}}"#);
    let bind = format!(r#"{{"strategy_id":"{throttle}","publish_ids":["orders"]}}"#);
    let special = format!(r#"{{"object_id":"{APP}","object_type":"APP","call_limits":5}}"#);
    let first = format!(
        r#"{{"instance_id":"{APP}","instance_type":"APP","strategy_id":"{throttle}","call_limits":5}}"#
    );
    let code = format!(r#"{{"app_code":"{}"}}"#, "a".repeat(64));
    let (both, two, one): (&[u8], &[u8], &[u8]) = (&[1, 2], &[2], &[1]);
    let at = String::from;
    vec![
        (both, "POST", at("/apps"), at(r#"{"name":"app_001"}"#)),
        (both, "PUT", format!("/apps/{APP}"), at(r#"{"name":"app_001"}"#)),
        (both, "PUT", format!("/apps/secret/{APP}"), at(r#"{"app_secret":"abcdefgh"}"#)),
        (both, "POST", at("/app-auths"), auths),
        (two, "POST", format!("/apps/{APP}/app-codes"), code),
        (
            two,
            "PUT",
            format!("/apps/{APP}/app-acl"),
            at(r#"{"app_acl_type":"DENY","app_acl_values":["192.0.2.1"]}"#),
        ),
        (both, "POST", at("/throttles"), new_throttle.clone()),
        (both, "PUT", format!("/throttles/{throttle}"), new_throttle),
        (both, "POST", at("/throttle-bindings"), bind),
        (both, "PUT", at("/throttle-bindings?action=delete"), at(r#"{"throttle_bindings":[]}"#)),
        (two, "POST", format!("/throttles/{throttle}/throttle-specials"), special),
        (one, "POST", at("/throttle-specials"), first),
        (two, "PUT", format!("/throttles/{throttle}/throttle-specials/none"), at(r#"{"call_limits":5}"#)),
        (two, "POST", at("/app-quotas"), new_quota.clone()),
        (two, "PUT", format!("/app-quotas/{quota}"), new_quota),
        (two, "POST", format!("/app-quotas/{quota}/binding-apps"), format!(r#"{{"app_ids":["{APP}"]}}"#)),
    ]
}

/// Creates a throttling policy and a quota, and returns their ids, the former with hyphens.
async fn throttle_and_quota(api: &ApigApi) -> (String, String) {
    let made = api
        .ask(
            2,
            "POST",
            "/throttles",
            Some(r#"{"name":"throttle","time_unit":"DAY","time_interval":1,"api_call_limits":5}"#),
        )
        .await;
    let throttle = made.json()["id"].as_str().unwrap().to_owned();
    let made = api
        .ask(
            2,
            "POST",
            "/app-quotas",
            Some(r#"{"name":"quota","time_unit":"DAY","time_interval":1,"call_limits":5}"#),
        )
        .await;
    let quota = made.json()["app_quota_id"].as_str().unwrap().to_owned();
    let hyphens =
        [&throttle[..8], &throttle[8..12], &throttle[12..16], &throttle[16..20], &throttle[20..]].join("-");
    (hyphens, quota)
}

#[tokio::test]
async fn operations_reject_malformed_bodies_without_effect() {
    let api = ApigApi::new().await;
    let (throttle, quota) = throttle_and_quota(&api).await;
    let before = api.world.registry.changes(0, 1_000).await.unwrap().len();
    for (versions, method, path, good) in all_that_read(&throttle, &quota) {
        let inside = &good[1..good.len() - 1];
        let (name, _) = inside.split_once(':').unwrap();
        let large = format!(r#"{{{inside},"remark":"{}"}}"#, "x".repeat(10 << 20));
        let deep = format!(r#"{{{inside},"deep":{}1{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
        for (body, what) in [
            (large.as_str(), "10 MiB"),
            (&deep, "deep"),
            (&format!("[{good}]"), "an array"),
            (&format!("{good}{good}"), "two objects"),
            (&good[..good.len() - 1], "half an object"),
            (&format!("{{{inside},{inside}}}"), "each member twice"),
            (&format!(r#"{{{inside},"remark":"\ud800"}}"#), "half a character"),
            (&format!("{{{name}:{{}}}}"), "a member of another type"),
            ("\u{feff}{}", "a byte order mark"),
        ] {
            for version in versions {
                let answer = api.ask(*version, method, &path, Some(body)).await;
                let got = answer.json();
                assert_eq!(
                    (answer.status.as_u16(), got["error_code"].as_str()),
                    (400, Some("APIG.2000")),
                    "v{version} {method} {path}, {what}: {}",
                    answer.text
                );
            }
        }
    }
    assert_eq!(api.world.registry.changes(0, 1_000).await.unwrap().len(), before, "nothing is written");
}

#[tokio::test]
async fn operations_ignore_undocumented_members_and_parameters() {
    let plain = ApigApi::new().await;
    let with_more = ApigApi::new().await;
    let (throttle, quota) = throttle_and_quota(&plain).await;
    let other = throttle_and_quota(&with_more).await;
    let more = concat!(
        r#""app_type":"apig","related_domain_id":"8a1","gateway_id":{"a":[null]},"status":1,"id":"1","unknown":null,"#,
        r#""unknown":2,"#
    );
    let operations = all_that_read(&throttle, &quota).into_iter().zip(all_that_read(&other.0, &other.1));
    for ((versions, method, path, body), (_, _, path_with_more, body_with_more)) in operations {
        let body_with_more = format!("{{{more}{}", &body_with_more[1..]);
        let separator = if path_with_more.contains('?') { '&' } else { '?' };
        let path_with_more = format!("{path_with_more}{separator}unknown=1&unknown=2&%E5%BA%94");
        for version in versions {
            let expected = plain.ask(*version, method, &path, Some(&body)).await;
            let answer = with_more.ask(*version, method, &path_with_more, Some(&body_with_more)).await;
            let (expected, code) = (expected.status, expected.json()["error_code"].clone());
            assert_eq!(
                (answer.status, &answer.json()["error_code"]),
                (expected, &code),
                "v{version} {method} {path}"
            );
            assert_ne!(code, "APIG.2000", "v{version} {method} {path}");
        }
    }
}

#[tokio::test]
async fn optional_member_may_be_null() {
    let api = ApigApi::new().await;
    let (throttle, quota) = throttle_and_quota(&api).await;
    let period = r#""time_unit":"DAY","time_interval":1"#;
    for (versions, method, path, body, status) in [
        (
            &[1, 2][..],
            "PUT",
            format!("/apps/{APP}"),
            r#"{"name":"app","remark":null,"app_key":null}"#.into(),
            200,
        ),
        (
            &[1, 2],
            "PUT",
            format!("/apps/{APP}"),
            r#"{"name":"app","app_secret":null,"app_type":null}"#.into(),
            200,
        ),
        (&[1, 2], "PUT", format!("/apps/secret/{APP}"), r#"{"app_secret":null}"#.into(), 200),
        (
            &[1, 2],
            "PUT",
            format!("/throttles/{throttle}"),
            format!(
                r#"{{"name":"one",{period},"api_call_limits":5,"user_call_limits":null,"app_call_limits":null,
                "ip_call_limits":null,"type":null,"remark":null,"enable_adaptive_control":null}}"#
            ),
            200,
        ),
        (
            &[1, 2],
            "PUT",
            "/throttle-bindings?action=delete".into(),
            r#"{"throttle_bindings":null}"#.into(),
            200,
        ),
        (
            &[2],
            "PUT",
            format!("/app-quotas/{quota}"),
            format!(r#"{{"name":"one",{period},"call_limits":5,"reset_time":null,"remark":null}}"#),
            200,
        ),
    ] {
        for version in versions {
            let answer = api.ask(*version, method, &path, Some(&body)).await;
            assert_eq!(answer.status, status, "v{version} {method} {path}: {}", answer.text);
        }
    }
    assert_eq!(api.stored(APP).await.app().unwrap().remark, "Zeroth app", "null changes nothing");
}

#[tokio::test]
async fn v2_accepts_chinese_names_and_v1_keeps_them() {
    let api = ApigApi::new().await;
    let body = r#"{"name":"应用程序_1","remark":"第一个应用"}"#;
    assert_eq!(api.post(body).await.json()["error_code"], "APIG.2011");
    let made = api.ask(2, "POST", "/apps", Some(body)).await;
    assert_eq!((made.status.as_u16(), &made.json()["name"]), (201, &"应用程序_1".into()), "{}", made.text);
    assert_eq!(made.json()["remark"], "第一个应用");
    let escaped = api.ask(2, "PUT", &format!("/apps/{APP}"), Some(r#"{"name":"\u5e94\u7528\u4e00"}"#)).await;
    assert_eq!((escaped.status.as_u16(), &escaped.json()["name"]), (200, &"应用一".into()));
    let again = api.put(APP, r#"{"name":"应用一","remark":"First app"}"#).await;
    assert_eq!((again.status.as_u16(), &again.json()["remark"]), (200, &"First app".into()));
    assert_eq!(api.put(APP, r#"{"name":"应用二"}"#).await.json()["error_code"], "APIG.2011");
    let found = api.ask(2, "GET", "/apps?name=%E7%A8%8B%E5%BA%8F", None).await;
    assert_eq!(found.json()["total"], 1, "{}", found.text);

    let period = r#""time_unit":"DAY","time_interval":1"#;
    let throttle = format!(r#"{{"name":"限流策略",{period},"api_call_limits":5}}"#);
    let quota = format!(r#"{{"name":"配额策略",{period},"call_limits":5}}"#);
    assert_eq!(api.ask(1, "POST", "/throttles", Some(&throttle)).await.json()["error_code"], "APIG.2011");
    let made = api.ask(2, "POST", "/throttles", Some(&throttle)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(api.ask(2, "POST", "/app-quotas", Some(&quota)).await.status, 201);
}

#[tokio::test]
async fn responses_must_not_be_cached() {
    let api = ApigApi::new().await;
    for (version, method, path, body) in [
        (1, "GET", format!("/apps/{APP}"), None),
        (1, "GET", "/apps/none".into(), None),
        (1, "PUT", format!("/apps/{APP}"), Some("{}")),
        (2, "GET", "/throttles".into(), None),
        (2, "PATCH", "/apps".into(), None),
        (2, "GET", "/nothing".into(), None),
    ] {
        let answer = api.ask(version, method, &path, body).await;
        assert_eq!(answer.field("cache-control"), ["no-store"], "v{version} {method} {path}");
    }
    let stranger = api.server.send("GET", &one(APP), &[], None).await;
    assert_eq!((stranger.status.as_u16(), stranger.field("cache-control")), (401, vec!["no-store"]));
}
