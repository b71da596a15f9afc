//! The lines of the access log.

use serde_json::{Value, json};

use crate::{
    process::{Installation, Service},
    scripted::{Reaction, Scripted},
    targets,
};

#[tokio::test]
async fn access_log_has_caller_request_and_outcome() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "api_key = true");
    let gateway = installation.start();
    let get = gateway.get("/who?token=s3cret").header("x-api-key", &installation.api_key);
    let length = get.send().await.unwrap().bytes().await.unwrap().len();
    let line = gateway.access("/who");
    assert_eq!(line["caller"], "5bc2be68-7498-4853-aa64-4be0ca62934e");
    assert_eq!(
        (&line["status"], &line["method"], &line["peer"]),
        (&200.into(), &"GET".into(), &"127.0.0.1".into())
    );
    assert_eq!((&line["bytes"], &line["complete"]), (&length.into(), &true.into()));
    assert_eq!(gateway.get("/refused").send().await.unwrap().status(), 401);
    assert_eq!(gateway.access("/refused")["code"], "credential-missing");
    // A line break in a path must not begin another log line.
    gateway.raw(b"GET /a%0d%0a%22%7b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(gateway.access("/a%0d%0a%22%7b")["status"], 400);
    let log = gateway.log();
    assert!(log.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert!(!log.concat().contains("s3cret") && !log.concat().contains(&installation.api_key));
}

#[tokio::test]
async fn access_log_names_route_caller_and_target() {
    let service = Service::echo().await;
    let mut installation = Installation::new(service.address, "api_key = true\nrate_limit = true");
    installation.rewrite(|text| {
        let text = text.replacen("path = \"/\"\n", "path = \"/\"\nname = \"orders\"\n", 1);
        text.replace("quota = 20000", "quota = 1")
    });
    let gateway = installation.start();
    let get = |path| gateway.get(path).header("x-api-key", &installation.api_key).send();
    assert_eq!(get("/served").await.unwrap().status(), 200);
    let line = gateway.access("/served");
    for (name, expected) in [
        ("route", json!("orders")),
        ("tenant", json!("demo")),
        ("plan", json!("demo")),
        ("upstream", json!("up")),
        ("target_address", json!(service.address.to_string())),
        ("attempts", json!(1)),
        ("limits", Value::Null),
        ("error", Value::Null),
    ] {
        assert_eq!(line[name], expected, "{name}: {line}");
    }
    assert!(line["key"].as_str().is_some_and(|key| !installation.api_key.contains(key)), "{line}");
    assert!(line["upstream_micros"].as_u64().unwrap() <= line["micros"].as_u64().unwrap(), "{line}");

    assert_eq!(get("/denied").await.unwrap().status(), 429);
    let line = gateway.access("/denied");
    assert_eq!((&line["limits"], &line["route"]), (&json!("hour"), &json!("orders")), "{line}");
    assert_eq!((&line["upstream"], &line["upstream_micros"]), (&Value::Null, &Value::Null), "{line}");
    assert_eq!(gateway.get("/unknown").send().await.unwrap().status(), 401);
    let line = gateway.access("/unknown");
    assert_eq!(
        (&line["route"], &line["tenant"], &line["key"]),
        (&json!("orders"), &Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn access_log_names_the_lock() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "lock = true");
    let gateway = installation.start();
    let mut acquire = installation.command("lock acquire --path /held --deny all --reason moving --json");
    let output = acquire.env_remove("PORTCULLIS_URL").output().unwrap();
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The gateway follows its store with a delay.
    while gateway.get("/held").send().await.unwrap().status() != 423 {
        tokio::task::yield_now().await;
    }
    let mut line = Value::Null;
    while line["code"] != "locked" {
        line = gateway.access("/held");
    }
    assert_eq!(line["lock"], made["id"], "{line}");
}

#[tokio::test]
async fn access_log_has_the_end_of_a_truncated_response() {
    let service = Scripted::start(|request| match request.path() {
        "/cut" => Reaction::SendAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello".to_vec()),
        _ => Reaction::Close,
    });
    let installation = targets::installation(&[service.address], "", "");
    let gateway = installation.start();
    assert!(gateway.raw(b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n").ends_with("hello"));
    let line = gateway.access("/cut");
    assert_eq!((&line["status"], &line["complete"]), (&json!(200), &json!(false)), "{line}");
    assert!(line["error"].as_str().is_some_and(|error| !error.is_empty()), "{line}");

    assert_eq!(gateway.get("/closed").send().await.unwrap().status(), 502);
    let line = gateway.access("/closed");
    assert_eq!((&line["upstream"], &line["attempts"]), (&json!("up"), &json!(1)), "{line}");
    assert_eq!(line["target_address"], Value::Null, "no target responded: {line}");
}
