//! The request id, which identifies a request to the client and in the access log.

use reqwest::Response;
use serde_json::Value;

use crate::process::{Gateway, Installation, Service, client, free_address, raw};

fn id(answer: &Response) -> Option<String> {
    answer.headers().get("x-request-id").map(|id| id.to_str().unwrap().to_owned())
}

fn is_generated(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Returns the status and the id of a request, and checks that the log has the same id.
async fn logged(gateway: &Gateway, path: &str) -> (u16, String) {
    let answer = gateway.get(path).header("x-request-id", "of-a-client").send().await.unwrap();
    let id = id(&answer).unwrap_or_else(|| panic!("no id: {answer:?}"));
    let line = gateway.access(path);
    assert_eq!(line["request_id"], *id, "{line}");
    (answer.status().as_u16(), id)
}

#[tokio::test]
async fn gateway_responses_have_the_request_id_of_the_log() {
    let service = Service::echo().await;
    let mut installation = Installation::new(service.address, "api_key = true");
    let (admin, unused) = (free_address(), free_address());
    installation.rewrite(|text| {
        format!(
            "{text}\n[[routes]]\npath = \"/docs\"\nsurface = \"docs\"\n[[routes]]\npath = \"/down\"\nupstream = \"down\"\n\
             [upstreams.down]\naddress = \"{unused}\"\n[admin]\naddress = \"{admin}\"\n"
        )
    });
    installation.init();
    let gateway = installation.start();
    let mut ids = Vec::new();
    for (path, expected) in [
        ("/refused", 401),
        ("/a%00b", 400),
        ("/down", 502),
        ("/docs/", 200),
        ("/v1/api_clients", 401),
        ("/v1/demo-project/apigw/instances/demo-instance/apps", 401),
        ("/v2/unknown", 401),
    ] {
        let (status, id) = logged(&gateway, path).await;
        assert!(status == expected && is_generated(&id), "{path}: {status}, {id}");
        ids.push(id);
    }
    let stranger = client().get(format!("http://{admin}/admin/v1/status")).send().await.unwrap();
    ids.push(id(&stranger).unwrap());
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "no two are the same");
    // A response from an upstream gets no id.
    let forwarded = gateway.get("/x").header("x-api-key", &installation.api_key).send().await.unwrap();
    assert_eq!((forwarded.status().as_u16(), id(&forwarded)), (200, None));
}

#[tokio::test]
async fn request_id_is_accepted_from_trusted_proxies_only() {
    let service = Service::echo().await;
    let trusting = "server.trusted_proxies = [\"127.0.0.0/8\"]";
    let installation = Installation::with(service.address, "api_key = true", "", trusting);
    let gateway = installation.start();
    let long = "a".repeat(129);
    for (sent, accepted) in [("of-a-proxy/1", true), ("a b", false), (&long, false)] {
        let answer = gateway.get("/refused").header("x-request-id", sent).send().await.unwrap();
        let id = id(&answer).unwrap();
        assert_eq!(id == sent, accepted, "{sent}: {id}");
        assert!(accepted || is_generated(&id), "{sent}: {id}");
    }
}

#[tokio::test]
async fn late_head_is_answered_with_a_request_id() {
    let service = Service::echo().await;
    let installation = Installation::with(service.address, "", "", "limits.head_timeout = \"300ms\"");
    let gateway = installation.start();
    let answer = raw(gateway.address, b"GET / HTTP/1.1\r\nHost");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap().to_owned();
    let log = gateway.end();
    let lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ids: Vec<_> =
        lines.filter(|line| line["status"] == 408).map(|line| line["request_id"].clone()).collect();
    assert_eq!(ids, [id]);
}
