//! CORS: preflight requests, and the headers of responses and denials.

use axum::{Router, http::HeaderName, response::AppendHeaders, routing};
use reqwest::{Client, Method, RequestBuilder, Response};

use crate::process::{Gateway, Installation, Service, client, echo, free_address, http2_client};

const APP: &str = "https://app.example.com";

/// A gateway with HTTP/1.1 and HTTP/2 on its listener, in front of a service that has CORS headers of its own.
struct Setup {
    installation: Installation,
    gateway: Gateway,
    service: Service,
}

async fn setup() -> Setup {
    let own = || async {
        let allow = HeaderName::from_static("access-control-allow-origin");
        let headers = [
            (allow.clone(), "*"),
            (allow, "https://other.example"),
            (HeaderName::from_static("access-control-allow-private-network"), "true"),
            (HeaderName::from_static("access-control-expose-headers"), "x-own"),
            (HeaderName::from_static("vary"), "Accept-Language"),
        ];
        (AppendHeaders(headers), "own")
    };
    let service = Service::start(Router::new().route("/api/own", routing::get(own)).fallback(echo)).await;
    let address = free_address();
    let cors = format!(
        "cors = {{ origins = [\"{APP}\", \"https://*.example.org\"], credentials = true, max_age = \"10m\" }}"
    );
    let text = format!(
        r#"
store.path = "data/portcullis.db"
secrets.file = "data/secrets.toml"
listeners = [{{ address = "{address}", h2c = true }}]
plans = [{{ id = "demo", limits = [{{ name = "hour", quota = 3, window = 3600 }}] }}]
upstreams.up.address = "{upstream}"
upstreams.down.address = "{down}"
[[routes]]
path = "/api"
upstream = "up"
body_bytes = 8
{cors}
policies = {{ api_key = {{ sources = ["X-Key", "Authorization: Bearer"] }}, rate_limit = true }}
[[routes]]
path = "/down"
upstream = "down"
{cors}
[[routes]]
path = "/read"
methods = ["GET"]
upstream = "up"
{cors}
[[routes]]
path = "/read"
methods = ["PUT"]
upstream = "up"
policies.api_key = true
[[routes]]
path = "/any"
upstream = "up"
cors = {{ origins = ["*"], methods = ["GET", "PUT"], headers = ["*"], expose_headers = ["X-Sum"] }}
[[routes]]
path = "/any/inner"
methods = ["GET", "DELETE"]
upstream = "up"
[[routes]]
path = "/plain"
upstream = "up"
[[routes]]
path = "/guarded"
upstream = "up"
policies.api_key = true
[[routes]]
path = "/v1/api_clients"
surface = "discue"
{cors}
"#,
        upstream = service.address,
        down = free_address(),
    );
    let installation = Installation::from_text(&text, address);
    let gateway = installation.start();
    Setup { installation, gateway, service }
}

impl Setup {
    fn preflight(&self, client: &Client, path: &str, origin: &str, method: &str) -> RequestBuilder {
        client
            .request(Method::OPTIONS, self.gateway.url(path))
            .header("origin", origin)
            .header("access-control-request-method", method)
    }

    fn get(&self, client: &Client, path: &str) -> RequestBuilder {
        client.get(self.gateway.url(path)).header("origin", APP)
    }
}

/// Returns the values of a header, separated by `|`.
fn header(response: &Response, name: &str) -> String {
    let values = response.headers().get_all(name).iter();
    values.map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join("|")
}

/// Returns the names of the CORS headers of a response.
fn cors_headers(response: &Response) -> Vec<&str> {
    let names = response.headers().keys().map(HeaderName::as_str);
    names.filter(|name| name.starts_with("access-control-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_is_answered_without_a_key() {
    let setup = setup().await;
    for client in [client(), http2_client()] {
        let request = setup
            .preflight(&client, "/api/x", APP, "PUT")
            .header("access-control-request-headers", "x-key,x-other")
            .header("access-control-request-private-network", "true");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 204);
        for (name, value) in [
            ("access-control-allow-origin", APP),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "PUT"),
            (
                "access-control-allow-headers",
                "accept, accept-language, authorization, content-language, content-type, if-match, \
                 if-none-match, range, x-key",
            ),
            ("access-control-max-age", "600"),
            ("access-control-allow-private-network", ""),
            ("vary", "origin, access-control-request-method"),
            ("content-length", ""),
        ] {
            assert_eq!(header(&response, name), value, "{name}");
        }
        let subdomain = setup.preflight(&client, "/api", "https://a.b.example.org", "GET");
        let response = subdomain.send().await.unwrap();
        assert_eq!(header(&response, "access-control-allow-origin"), "https://a.b.example.org");
    }
    assert_eq!(setup.service.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_of_another_origin_or_method_has_no_cors_headers() {
    let setup = setup().await;
    for (path, origin, method) in [
        ("/api", "https://example.org", "GET"),
        ("/api", "https://app.example.com:8443", "GET"),
        ("/api", "http://app.example.com", "GET"),
        ("/api", "null", "GET"),
        ("/api", APP, "TRACE"),
        ("/api", APP, "CUSTOM"),
        ("/api", APP, "get"),
        ("/api", APP, "G T"),
        ("/read", APP, "DELETE"),
        ("/any", APP, "DELETE"),
    ] {
        let response = setup.preflight(&client(), path, origin, method).send().await.unwrap();
        assert_eq!(response.status(), 204, "{path} {origin} {method}");
        assert_eq!(cors_headers(&response), <[&str; 0]>::default(), "{path} {origin} {method}");
        assert_eq!(header(&response, "vary"), "origin, access-control-request-method");
    }
    assert_eq!(setup.service.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_of_a_route_without_cors_is_a_request_like_others() {
    let setup = setup().await;
    for (path, method, status) in [
        ("/guarded", "GET", 401),
        // The route that accepts PUT has no CORS, and the route with CORS does not accept OPTIONS.
        ("/read", "PUT", 405),
        ("/plain", "GET", 200),
        ("/nowhere", "GET", 404),
    ] {
        let response = setup.preflight(&client(), path, APP, method).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
    assert_eq!(setup.service.connections(), 1);
}

/// Only the three headers together make a preflight request; others need a key.
#[tokio::test(flavor = "multi_thread")]
async fn options_request_that_is_no_preflight_needs_a_key() {
    let setup = setup().await;
    let url = setup.gateway.url("/api");
    for (method, headers) in [
        (Method::OPTIONS, &[][..]),
        (Method::OPTIONS, &[("origin", APP)]),
        (Method::OPTIONS, &[("access-control-request-method", "GET")]),
        (Method::GET, &[("origin", APP), ("access-control-request-method", "GET")]),
    ] {
        let request = client().request(method, &url);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        assert_eq!(request.send().await.unwrap().status(), 401, "{headers:?}");
    }
    assert_eq!(setup.service.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_and_denials_have_cors_headers() {
    let setup = setup().await;
    let key = &setup.installation.api_key;
    let exposed = "deprecation, ratelimit, ratelimit-policy, retry-after, sunset, x-request-id";
    for client in [client(), http2_client()] {
        let keyed = |request: RequestBuilder| request.header("x-key", key);
        let post = |path: &str| client.post(setup.gateway.url(path)).header("origin", APP);
        for (request, status, exposed) in [
            (setup.get(&client, "/api"), 401, exposed),
            (keyed(setup.get(&client, "/api")), 200, exposed),
            (keyed(post("/api")).body("more than 8"), 413, exposed),
            (setup.get(&client, "/down"), 502, "retry-after, x-request-id"),
            (post("/read"), 405, "retry-after, x-request-id"),
            (
                setup.get(&client, "/v1/api_clients/none"),
                401,
                "retry-after, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, x-request-id",
            ),
        ] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(header(&response, "access-control-allow-origin"), APP, "{status}");
            assert_eq!(header(&response, "access-control-allow-credentials"), "true", "{status}");
            assert_eq!(header(&response, "access-control-expose-headers"), exposed, "{status}");
            assert!(header(&response, "vary").split('|').any(|name| name == "origin"), "{status}");
        }
    }
    // One request of the quota is left.
    let last = setup.get(&client(), "/api").header("x-key", key);
    assert_eq!(last.send().await.unwrap().status(), 200);
    let denied = setup.get(&client(), "/api").header("x-key", key).send().await.unwrap();
    assert_eq!((denied.status().as_u16(), header(&denied, "access-control-allow-origin")), (429, APP.into()));
    assert!(!header(&denied, "retry-after").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn response_to_another_origin_varies_and_has_no_cors_headers() {
    let setup = setup().await;
    for origin in [Some("https://other.example"), None] {
        let request = client().get(setup.gateway.url("/api"));
        let request = origin.iter().fold(request, |request, origin| request.header("origin", *origin));
        let response = request.send().await.unwrap();
        assert_eq!(cors_headers(&response), <[&str; 0]>::default());
        assert_eq!(header(&response, "vary"), "origin");
    }
}

/// A browser remembers what the response to a preflight request allows, for all later requests to the same URL.
#[tokio::test(flavor = "multi_thread")]
async fn preflight_is_not_answered_by_a_route_above_the_path() {
    let setup = setup().await;
    for method in ["PUT", "DELETE", "GET"] {
        let response = setup.preflight(&client(), "/any/inner/x", APP, method).send().await.unwrap();
        assert_eq!(cors_headers(&response), <[&str; 0]>::default(), "{method}");
        assert_ne!(response.status(), 204, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cors_headers_of_the_upstream_are_replaced() {
    let setup = setup().await;
    let key = &setup.installation.api_key;
    let response = setup.get(&client(), "/api/own").header("x-key", key).send().await.unwrap();
    assert_eq!(header(&response, "access-control-allow-origin"), APP);
    assert_eq!(header(&response, "access-control-allow-private-network"), "");
    assert!(!header(&response, "access-control-expose-headers").contains("x-own"));
    assert_eq!(header(&response, "vary"), "Accept-Language|origin");
    let other = client().get(setup.gateway.url("/api/own")).header("x-key", key).send().await.unwrap();
    assert_eq!(cors_headers(&other), <[&str; 0]>::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_origin_gets_one_response() {
    let setup = setup().await;
    let preflight = setup.preflight(&client(), "/any", APP, "PUT").send().await.unwrap();
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", ""),
        ("access-control-allow-methods", "PUT"),
        ("access-control-allow-headers", "*, authorization"),
        ("access-control-max-age", ""),
    ] {
        assert_eq!(header(&preflight, name), value, "{name}");
    }
    for request in [client().get(setup.gateway.url("/any")), setup.get(&client(), "/any")] {
        let response = request.send().await.unwrap();
        assert_eq!(header(&response, "access-control-allow-origin"), "*");
        assert_eq!(header(&response, "access-control-expose-headers"), "x-sum");
        assert_eq!(header(&response, "vary"), "");
    }
}
