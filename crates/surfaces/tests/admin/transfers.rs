//! Exports over HTTP.

use portcullis::{
    model::{Pepper, Peppers, SealKey, Sealer},
    registry::{Registry, RegistryError, RegistryExt, memory::Memory},
};
use portcullis_surfaces::transfer::{Import, ImportJob, SecretFingerprints};
use serde_json::Value;

use super::{AdminApi, refused};
use crate::management::actor;

const LINES: &str = "application/x-ndjson";

fn secrets() -> SecretFingerprints {
    SecretFingerprints::new(&Peppers::new(Pepper::new(1, &[7; 32])), &Sealer::new(SealKey::new(1, &[8; 32])))
}

/// Adds 20 MiB of data: more than fits into the buffers between a server and a client that does not read.
async fn fill(api: &AdminApi) {
    let name = "x".repeat(4 << 20);
    for at in 0..5 {
        let mut tenant = api.world.memory.tenant(&"acme".parse().unwrap()).await.unwrap();
        (tenant.id, tenant.name) = (format!("large-{at}").parse().unwrap(), name.clone());
        api.world.memory.create_tenant(tenant.into(), &actor()).await.unwrap();
    }
    api.world.settle().await;
}

/// Starts an export without reading it.
async fn begin(api: &AdminApi) -> reqwest::Response {
    let url = format!("http://{}/admin/v1/export", api.server.address);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(url).bearer_auth(&api.owner).send().await.unwrap()
}

/// Starts an export as soon as no other is in progress.
async fn begun(api: &AdminApi) -> reqwest::Response {
    loop {
        let answer = begin(api).await;
        if answer.status() != 409 {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn export_is_one_complete_importable_file() {
    let api = AdminApi::new().await;
    let file = api.get("/export").await;
    assert_eq!(file.status, 200, "{file:?}");
    assert_eq!(file.field("content-type"), [LINES]);
    assert_eq!(file.field("cache-control"), ["no-store"]);
    let lines: Vec<Value> = file.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["head"]["seq"], api.world.directory.applied());
    assert_eq!(lines.last().unwrap()["end"]["counts"]["credential"], 4);
    assert!(!file.text.contains(&api.owner), "no key in the clear");

    let other = Memory::new(api.world.clock.clone());
    let imported =
        Import::new(&mut file.text.as_bytes(), secrets()).import_into(&other, &actor()).await.unwrap();
    assert_eq!(imported.counts["tenant"], 2);
    let head = api.ask(&api.owner, "HEAD", "/export", &[], None).await;
    assert_eq!((head.status.as_u16(), head.field("content-type")), (200, vec![LINES]));
}

#[tokio::test]
async fn export_requires_owner_and_store_failure_is_503() {
    let api = AdminApi::new().await;
    for token in [&api.operator, &api.reader] {
        refused(&api.ask(token, "GET", "/export", &[], None).await, 403, "insufficient-role", &[]);
    }
    refused(&api.ask("pca_nobody", "GET", "/export", &[], None).await, 401, "credential-malformed", &[]);
    refused(&api.get("/export?a=b").await, 400, "bad-request", &[]);
    let json = [("accept", "application/json")];
    refused(&api.ask(&api.owner, "GET", "/export", &json, None).await, 406, "not-acceptable", &[]);
    let post = api.ask(&api.owner, "POST", "/export", &[], None).await;
    refused(&post, 405, "method-not-allowed", &[]);
    assert_eq!(post.field("allow"), ["GET, HEAD"]);
    refused(&api.get("/exports").await, 404, "not-found", &[]);
    api.world.registry.fail(Some("everything"), || RegistryError::Unavailable("gone".into()));
    refused(&api.get("/export").await, 503, "unavailable", &[]);
    api.world.registry.recover();
    assert_eq!(begun(&api).await.status(), 200, "a place is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_run_one_at_a_time_and_end_with_the_client() {
    let api = AdminApi::new().await;
    fill(&api).await;
    let first = begin(&api).await;
    assert_eq!(first.status(), 200);
    refused(&api.get("/export").await, 409, "conflict", &[]);
    drop(first);
    let next = begun(&api).await;
    assert_eq!(next.status(), 200);
    let whole = next.text().await.unwrap();
    assert!(whole.len() > 20 << 20 && whole.lines().last().unwrap().starts_with(r#"{"end":"#));
    assert_eq!(begun(&api).await.status(), 200);
}
