//! Exports over HTTP.

use portcullis::{
    model::{Pepper, Peppers, SealKey, Sealer},
    registry::{Registry, RegistryError, memory::Memory},
    transfer::{Import, SecretFingerprints},
};
use serde_json::Value;

use super::{Site, refused};
use crate::management::actor;

const LINES: &str = "application/x-ndjson";

fn secrets() -> SecretFingerprints {
    SecretFingerprints::new(&Peppers::new(Pepper::new(1, &[7; 32])), &Sealer::new(SealKey::new(1, &[8; 32])))
}

/// Adds 20 MiB of data: more than fits into the buffers between a server and a client that does not read.
async fn fill(site: &Site) {
    let name = "x".repeat(4 << 20);
    for at in 0..5 {
        let mut tenant = site.world.memory.tenant(&"acme".parse().unwrap()).await.unwrap();
        (tenant.id, tenant.name) = (format!("large-{at}").parse().unwrap(), name.clone());
        site.world.memory.create_tenant(tenant, &actor()).await.unwrap();
    }
    site.world.settle().await;
}

/// Starts an export without reading it.
async fn begin(site: &Site) -> reqwest::Response {
    let url = format!("http://{}/admin/v1/export", site.server.address);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(url).bearer_auth(&site.owner).send().await.unwrap()
}

/// Starts an export as soon as no other is in progress.
async fn begun(site: &Site) -> reqwest::Response {
    loop {
        let answer = begin(site).await;
        if answer.status() != 409 {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn export_is_one_complete_importable_file() {
    let site = Site::new().await;
    let file = site.get("/export").await;
    assert_eq!(file.status, 200, "{file:?}");
    assert_eq!(file.field("content-type"), [LINES]);
    assert_eq!(file.field("cache-control"), ["no-store"]);
    let lines: Vec<Value> = file.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["head"]["seq"], site.world.directory.applied());
    assert_eq!(lines.last().unwrap()["end"]["counts"]["credential"], 4);
    assert!(!file.text.contains(&site.owner), "no key in the clear");

    let other = Memory::new(site.world.clock.clone());
    let imported = Import::new(&mut file.text.as_bytes(), secrets()).run(&other, &actor()).await.unwrap();
    assert_eq!(imported.counts["tenant"], 2);
    let head = site.ask(&site.owner, "HEAD", "/export", &[], None).await;
    assert_eq!((head.status.as_u16(), head.field("content-type")), (200, vec![LINES]));
}

#[tokio::test]
async fn export_requires_owner_and_store_failure_is_503() {
    let site = Site::new().await;
    for token in [&site.operator, &site.reader] {
        refused(&site.ask(token, "GET", "/export", &[], None).await, 403, "insufficient-role", &[]);
    }
    refused(&site.ask("pca_nobody", "GET", "/export", &[], None).await, 401, "credential-malformed", &[]);
    refused(&site.get("/export?a=b").await, 400, "bad-request", &[]);
    let json = [("accept", "application/json")];
    refused(&site.ask(&site.owner, "GET", "/export", &json, None).await, 406, "not-acceptable", &[]);
    let post = site.ask(&site.owner, "POST", "/export", &[], None).await;
    refused(&post, 405, "method-not-allowed", &[]);
    assert_eq!(post.field("allow"), ["GET, HEAD"]);
    refused(&site.get("/exports").await, 404, "not-found", &[]);
    site.world.registry.fail(Some("everything"), || RegistryError::Unavailable("gone".into()));
    refused(&site.get("/export").await, 503, "unavailable", &[]);
    site.world.registry.recover();
    assert_eq!(begun(&site).await.status(), 200, "a place is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_run_one_at_a_time_and_end_with_the_client() {
    let site = Site::new().await;
    fill(&site).await;
    let first = begin(&site).await;
    assert_eq!(first.status(), 200);
    refused(&site.get("/export").await, 409, "conflict", &[]);
    drop(first);
    let next = begun(&site).await;
    assert_eq!(next.status(), 200);
    let whole = next.text().await.unwrap();
    assert!(whole.len() > 20 << 20 && whole.lines().last().unwrap().starts_with(r#"{"end":"#));
    assert_eq!(begun(&site).await.status(), 200);
}
