//! What the contract takes for an app, member by member.

use super::{APP, Site, one, refused};

/// Sends a body to create and to modify, and expects the same refusal and no change.
async fn both_refuse(site: &Site, body: &str, code: &str, message: &str) {
    refused(&site.put(APP, body).await, 400, code, message);
    refused(&site.post(body).await, 400, code, message);
    assert_eq!(site.stored(APP).await.revision, 1);
}

#[tokio::test]
async fn a_name_is_mandatory() {
    let site = Site::new().await;
    let message = "The request parameters must be specified,parameterName:name. Please refer to the support documentation";
    for body in ["{}", r#"{"remark":"First app"}"#, r#"{"name":""}"#, r#"{"name":null}"#] {
        both_refuse(&site, body, "APIG.2001", message).await;
    }
}

#[tokio::test]
async fn a_value_that_breaks_its_rule_is_named() {
    let site = Site::new().await;
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
            vec![x(2), x(65), "1pp".into(), "_pp".into(), "app-1".into(), "应用一".into(), "app\0".into()],
        ),
        ("remark", vec![x(256), "é".repeat(256), "a<b".into(), "a>b".into(), "\0".into()]),
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
            both_refuse(&site, &with(member, &value), "APIG.2011", &message).await;
        }
    }
}

#[tokio::test]
async fn values_at_their_limits_are_taken() {
    let site = Site::new().await;
    let (x64, remark, secret) = ("x".repeat(64), "é".repeat(255), "a_-!@#$%".repeat(8));
    let body = format!(r#"{{"name":"{x64}","remark":"{remark}","app_key":"{x64}","app_secret":"{secret}"}}"#);
    let answer = site.put(APP, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let stored = site.stored(APP).await;
    assert_eq!((&stored.name, &stored.app().unwrap().key), (&x64, &x64));
    assert_eq!(site.secret(&stored).expose(), secret);
    let body = r#"{"name":"abc","app_key":"0_-45678","app_secret":"01234567"}"#;
    assert_eq!(site.put(APP, body).await.status, 200);
}

#[tokio::test]
async fn keys_and_secrets_are_not_taken_where_the_gateway_makes_them() {
    let site = Site::with(false, None).await;
    for (member, value) in [
        ("app_key", "app_key_sample"),
        ("app_key", ""),
        ("app_secret", "app_secret_sample"),
        ("app_secret", ""),
    ] {
        let message = format!(
            "Invalid parameter value,parameterName:{member}. Please refer to the support documentation"
        );
        both_refuse(&site, &format!(r#"{{"name":"app_001","{member}":"{value}"}}"#), "APIG.2012", &message)
            .await;
    }
    assert_eq!(site.put(APP, r#"{"name":"app_001","remark":"First app"}"#).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_not_the_documented_object_says_where_and_repeats_nothing() {
    let site = Site::new().await;
    let secret = "s3cret_s3cret";
    let syntax = "not JSON";
    let shape = "not an object of the documented members, each once and of its type";
    let deep = format!(r#"{{"remark":{}"#, "[".repeat(30_000));
    for (body, why) in [
        ("", syntax),
        ("  ", syntax),
        ("s3cret_s3cret", syntax),
        (r#"{"name":"app_001","app_secret":"s3cret_s3cret"#, syntax),
        (r#"{"name":"app_001","app_secret":"s3cret_s3cret"}}"#, syntax),
        (r#"{"name":"app_\ud800"}"#, syntax),
        ("null", shape),
        (r#""s3cret_s3cret""#, shape),
        (r#"["app_001","First app"]"#, shape),
        (r#"{"name":1}"#, shape),
        (r#"{"name":["app_001"]}"#, shape),
        (r#"{"name":"app_001","remark":null}"#, shape),
        (r#"{"name":"app_001","app_key":null}"#, shape),
        (r#"{"name":"app_001","app_secret":null}"#, shape),
        (r#"{"name":"app_001","app_secret":["s3cret_s3cret"]}"#, shape),
        (r#"{"name":"app_001","s3cret_s3cret":1}"#, shape),
        (r#"{"name":"app_001","id":"14b399ac-967f-4115-bb62-c0346b4537e9"}"#, shape),
        (r#"{"name":"app_001","status":1}"#, shape),
        (r#"{"name":"app_001","name":"app_002"}"#, shape),
        (r#"{"name":null,"name":"app_002"}"#, shape),
        (r#"{"name":"app_001","n\u0061me":"app_002"}"#, shape),
        (&deep, shape),
    ] {
        for answer in [site.put(APP, body).await, site.post(body).await] {
            let shown = &body[..body.len().min(60)];
            let message = answer.json()["error_msg"].as_str().unwrap().to_owned();
            refused(&answer, 400, "APIG.2000", &message);
            let start = format!("Parameter error: Serialization error: {why}");
            assert!(message.starts_with(&start) && message.len() < 160, "{shown}: {message}");
            assert!(!message.contains(secret), "{shown}: {message}");
        }
    }
    assert_eq!(site.stored(APP).await.revision, 1);
}

#[tokio::test]
async fn a_body_that_is_not_utf_8_is_not_json() {
    let site = Site::new().await;
    let body = b"{\"name\":\"app_\xff\"}".to_vec();
    let answer = site.server.send("PUT", &one(APP), &[("x-auth-token", &*site.token)], Some(body)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error_code"]), (400, &"APIG.2000".into()));
}

#[tokio::test]
async fn sixty_four_kibibytes_are_taken_and_one_more_is_not() {
    let site = Site::new().await;
    let body = r#"{"name":"app_001"}"#;
    let exactly = format!("{body}{}", " ".repeat(64 * 1024 - body.len()));
    assert_eq!(site.post(&exactly).await.status, 201);
    let message = "Parameter error: Serialization error: at most 65536 bytes are taken";
    for body in [format!("{exactly} "), " ".repeat(10 * 1024 * 1024)] {
        both_refuse(&site, &body, "APIG.2000", message).await;
    }
}
