//! Acknowledged changes survive a crash.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use crate::{
    admin::managed,
    process::{Installation, Service, TIMEOUT, client},
};

const CLIENT: &str = "/v1/api_clients/5bc2be68-7498-4853-aa64-4be0ca62934e";

#[tokio::test]
async fn both_published_puts_work_as_shown_by_init() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "");
    let gateway = installation.start();
    let body = json!({ "id": "5bc2be68-7498-4853-aa64-4be0ca62934e", "name": "example.com/dev" });
    let response =
        gateway.put(CLIENT).header("x-api-key", &installation.api_key).json(&body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({
            "api_client": body,
            "_links": { "self": { "href": "https://api.discue.io/api_clients/5bc2be68-7498-4853-aa64-4be0ca62934e" } },
        })
    );

    let app = "/v1/demo-project/apigw/instances/demo-instance/apps/14b399ac-967f-4115-bb62-c0346b4537e9";
    let body = json!({ "name": "app_001", "remark": "First app" });
    let response = gateway
        .put(app)
        .header("x-auth-token", &installation.operator_token)
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let app: Value = response.json().await.unwrap();
    assert_eq!(
        (&app["name"], &app["app_secret"], &app["status"]),
        (&"app_001".into(), &"******".into(), &1.into())
    );
    assert_eq!(app.as_object().unwrap().len(), 10);
}

#[tokio::test]
async fn acknowledged_puts_survive_kill_9() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "");
    let mut gateway = installation.start();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (url, key, acknowledged) =
                (gateway.url(CLIENT), installation.api_key.clone(), acknowledged.clone());
            tokio::spawn(async move {
                let client = client();
                for at in 0.. {
                    let name = format!("example.com/w{writer}-{at}");
                    let put = client.put(&url).header("x-api-key", &key).json(&json!({ "name": name }));
                    match put.send().await {
                        Ok(answer) if answer.status() == 200 => acknowledged.lock().unwrap().push(name),
                        // Another writer was first: the update was rejected, to prevent a lost update.
                        Ok(answer) if answer.status() == 409 => {}
                        Ok(answer) => panic!("{}", answer.status()),
                        Err(_) => return,
                    }
                }
            })
        })
        .collect();
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    while acknowledged.lock().unwrap().len() < 100 {
        assert!(tokio::time::Instant::now() < deadline, "too few were acknowledged");
        tokio::task::yield_now().await;
    }
    gateway.signal("-KILL");
    gateway.wait();
    for writer in writers {
        writer.await.unwrap();
    }

    let gateway = installation.start();
    let response = gateway.get(CLIENT).header("x-api-key", &installation.api_key).send().await.unwrap();
    let now = response.json::<Value>().await.unwrap()["api_client"]["name"].as_str().unwrap().to_owned();
    let logged = logged_names(&installation).await;
    assert_eq!(logged.last(), Some(&now));
    let acknowledged = acknowledged.lock().unwrap();
    let lost: Vec<_> = acknowledged.iter().filter(|name| !logged.contains(name)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// A client that gets no response repeats the request with the same `Idempotency-Key`.
#[tokio::test]
async fn thousand_keys_across_kill_9_are_stored_exactly_once() {
    const OWNERS: usize = 10;
    const EACH: usize = 100;
    let (installation, admin, token) = managed("").await;
    let mut gateway = installation.start();
    let url = |path: &str| format!("http://{admin}/admin/v1/tenants/demo{path}");
    for owner in 0..OWNERS {
        let body = json!({ "id": format!("owner-{owner}"), "name": format!("example.com/{owner}"), "kind": "api_client" });
        let made = client().post(url("/callers")).bearer_auth(&token).json(&body).send().await.unwrap();
        assert_eq!(made.status(), 201);
    }
    let made = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..OWNERS)
        .map(|owner| {
            let (url, token, made) =
                (url(&format!("/callers/owner-{owner}/keys")), token.clone(), made.clone());
            tokio::spawn(async move {
                let client = client();
                for at in 0..EACH {
                    let once = format!("\"{owner}-{at}\"");
                    let body = json!({ "name": format!("key {at}") });
                    let deadline = tokio::time::Instant::now() + 4 * TIMEOUT;
                    loop {
                        let post = client
                            .post(&url)
                            .bearer_auth(&token)
                            .header("idempotency-key", &once)
                            .json(&body);
                        match post.send().await.map(|answer| answer.status().as_u16()) {
                            Ok(201) => break,
                            // The store is busy, or the first request with this key is still running.
                            Ok(409 | 503) | Err(_) => {}
                            Ok(status) => panic!("{status}"),
                        }
                        assert!(tokio::time::Instant::now() < deadline, "it does not come back");
                        tokio::task::yield_now().await;
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for part in [300, 600] {
        while made.load(Ordering::Relaxed) < part {
            tokio::task::yield_now().await;
        }
        gateway.signal("-KILL");
        gateway.wait();
        gateway = installation.start();
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for owner in 0..OWNERS {
        let page = client().get(url(&format!("/callers/owner-{owner}/keys?limit=500"))).bearer_auth(&token);
        let page: Value = page.send().await.unwrap().json().await.unwrap();
        let keys = page["items"].as_array().unwrap();
        let names: BTreeSet<_> = keys.iter().map(|key| key["name"].as_str().unwrap()).collect();
        assert_eq!((keys.len(), names.len()), (EACH, EACH));
    }
    assert!(installation.command("audit verify").status().unwrap().success());
}

/// Returns the names of the API client in the change log, in order.
async fn logged_names(installation: &Installation) -> Vec<String> {
    use sqlx::Connection;

    let mut store = sqlx::SqliteConnection::connect(&format!("sqlite://{}", installation.store().display()))
        .await
        .unwrap();
    let check: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut store).await.unwrap();
    assert_eq!(check, "ok");
    let records: Vec<String> =
        sqlx::query_scalar("SELECT record FROM change WHERE kind = 'caller' ORDER BY seq")
            .fetch_all(&mut store)
            .await
            .unwrap();
    let callers = records.iter().map(|record| serde_json::from_str::<Value>(record).unwrap());
    callers.filter_map(|caller| find_name(&caller).filter(|name| name.starts_with("example.com/"))).collect()
}

fn find_name(value: &Value) -> Option<String> {
    let object = value.as_object()?;
    object
        .get("name")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .or_else(|| object.values().find_map(find_name))
}

#[tokio::test]
async fn second_start_creates_nothing() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "api_key = true");
    for _ in 0..2 {
        let mut gateway = installation.start();
        assert_eq!(
            gateway.get("/").header("x-api-key", &installation.api_key).send().await.unwrap().status(),
            200
        );
        gateway.signal("-TERM");
        assert!(gateway.wait().success());
        assert!(installation.init().contains("nothing was created"));
    }
}

#[tokio::test]
async fn unresponsive_store_is_503_on_a_surface_only() {
    use sqlx::Connection;

    let service = Service::echo().await;
    let installation = Installation::new(service.address, "api_key = true");
    let gateway = installation.start();
    let mut store = sqlx::SqliteConnection::connect(&format!("sqlite://{}", installation.store().display()))
        .await
        .unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut store).await.unwrap();
    let put = gateway
        .put(CLIENT)
        .header("x-api-key", &installation.api_key)
        .json(&json!({ "name": "example.com/late" }));
    let response = put.send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({ "title": "Service Unavailable", "status": 503 })
    );
    assert_eq!(
        gateway.get("/").header("x-api-key", &installation.api_key).send().await.unwrap().status(),
        200
    );
    sqlx::query("ROLLBACK").execute(&mut store).await.unwrap();
    let put = gateway
        .put(CLIENT)
        .header("x-api-key", &installation.api_key)
        .json(&json!({ "name": "example.com/late" }));
    assert_eq!(put.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn corrupt_row_is_500_and_is_not_shown() {
    use sqlx::Connection;

    let service = Service::echo().await;
    let installation = Installation::new(service.address, "api_key = true");
    let gateway = installation.start();
    let mut store = sqlx::SqliteConnection::connect(&format!("sqlite://{}", installation.store().display()))
        .await
        .unwrap();
    sqlx::query("UPDATE caller SET record = '{\"gibberish\":1}' WHERE id LIKE '5bc2%'")
        .execute(&mut store)
        .await
        .unwrap();
    let response = gateway.get(CLIENT).header("x-api-key", &installation.api_key).send().await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({ "title": "Internal Server Error", "status": 500 })
    );
    assert!(!gateway.log().concat().contains("gibberish"));
}
