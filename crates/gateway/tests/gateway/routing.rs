//! The matching of routes: hosts, paths, conditions and methods, and their precedence.

use serde_json::Value;

use crate::process::{Gateway, Installation, Service, free_address, http2_client, values};

/// Starts a gateway with routes to an upstream that echoes requests.
pub async fn gateway(routes: &str) -> (Installation, Gateway) {
    let (service, address) = (Service::echo().await, free_address());
    let text = format!(
        "store.path = \"data/p.db\"\nsecrets.file = \"data/s.toml\"\n\
         listeners = [{{ address = \"{address}\", h2c = true }}]\nupstreams.up.address = \"{}\"\n{routes}",
        service.address
    );
    let installation = Installation::from_text(&text, address);
    let gateway = installation.start();
    (installation, gateway)
}

/// Returns the name of the route that takes a request, which the upstream learns from a header, or else the status.
fn taker(gateway: &Gateway, request: &str) -> String {
    let mut parts = request.split(' ');
    let (method, host, path) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let mut lines = vec![format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close")];
    lines.extend(parts.map(|field| field.replace(':', ": ")));
    let head = format!("{}\r\n\r\n", lines.join("\r\n"));
    let answer = gateway.raw(head.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    match serde_json::from_str::<Value>(body) {
        Ok(echo) if echo["fields"].is_array() => values(&echo, "x-media").concat(),
        _ => head.split(' ').nth(1).unwrap().to_owned(),
    }
}

/// Returns a route that the upstream can recognise: by the media type that its policy chooses.
fn named(name: &str, rest: &str) -> String {
    let match_ = rest.replace("; ", "\n");
    format!("[[routes]]\nupstream = \"up\"\n{match_}\npolicies.accept = [\"x/{name}\"]\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn most_specific_route_takes_the_request() {
    let routes: String = [
        ("root", "path = \"/\""),
        ("users", "path = \"/users\""),
        ("me", "path = { exact = \"/users/me\" }"),
        ("user", "path = { pattern = \"/users/{id}\" }"),
        ("orders", "path = { pattern = \"/users/{id}/orders\" }; methods = [\"GET\"]"),
        ("rest", "path = { pattern = \"/files/{*rest}\" }"),
        ("beta", "path = \"/users\"; headers = { x-beta = true }"),
        ("beta-2", "path = \"/users\"; headers = { x-beta = \"2\" }"),
        ("both", "path = \"/users\"; headers = { x-beta = true }; query = { debug = \"1\" }"),
        ("a", "path = \"/\"; host = \"a.example\""),
        ("below", "path = \"/x\"; host = \"*.example\""),
        ("below-b", "path = \"/x\"; host = \"*.b.example\""),
    ]
    .map(|(name, rest)| named(name, rest))
    .concat();
    let (_installation, gateway) =
        gateway(&format!("server.media_type_header = \"x-media\"\n{routes}")).await;
    for (request, expected) in [
        ("GET h /", "root"),
        ("GET h /users", "users"),
        ("GET h /users/", "users"),
        ("GET h /users/me", "me"),
        ("GET h /users/%6de", "me"),
        ("GET h /users/me/", "users"),
        ("GET h /users/7", "user"),
        ("GET h /users/7/", "users"),
        ("GET h /users/7/orders", "orders"),
        ("HEAD h /users/7/orders", "200"),
        ("POST h /users/7/orders", "405"),
        ("GET h /users/7/orders/8", "users"),
        ("GET h /files", "root"),
        ("GET h /files/a/b", "rest"),
        ("GET h /users X-Beta:1", "beta"),
        ("GET h /users X-Beta:2", "beta-2"),
        ("GET h /users?debug=1", "users"),
        ("GET h /users?a=2&d%65bug=1 X-Beta:2", "both"),
        ("GET h /users/7 X-Beta:2", "user"),
        ("GET a.example /users", "a"),
        ("GET A.Example.:80 /x", "a"),
        ("GET b.example /x", "below"),
        ("GET c.d.example /x", "below"),
        ("GET c.b.example /x", "below-b"),
        ("GET example /x", "root"),
        ("GET b.example /users", "users"),
    ] {
        let name = taker(&gateway, request);
        assert_eq!(name.strip_prefix("x/").unwrap_or(&name), expected, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn method_not_allowed_lists_routes_with_satisfied_conditions() {
    let route = |rest: &str| format!("[[routes]]\nupstream = \"up\"\npath = \"/a\"\n{rest}\n");
    let routes = [
        route("methods = [\"GET\"]"),
        route("methods = [\"PUT\"]\nheaders = { x-a = true }"),
        route("methods = [\"PATCH\"]\nquery = { a = true }"),
    ];
    let (_installation, gateway) = gateway(&routes.concat()).await;
    for (headers, path, allow) in
        [(false, "/a", "GET"), (true, "/a", "GET, PUT"), (true, "/a?a", "GET, PATCH, PUT")]
    {
        let mut request = gateway.post(path);
        if headers {
            request = request.header("x-a", "1");
        }
        let answer = request.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()),
            (405, allow),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guarded_pattern_covers_every_spelling_over_http2() {
    let routes = "[[routes]]\nupstream = \"up\"\npath = \"/\"\nunguarded = true\n\
                  [[routes]]\nupstream = \"up\"\npath = { pattern = \"/a:b/{id}/caf\u{e9}\" }\npolicies.api_key = true\n";
    let (_installation, gateway) = gateway(routes).await;
    for (path, status) in [
        ("/a:b/7/caf%C3%A9", 401),
        ("/a%3Ab/7/%63af%c3%a9", 401),
        ("/%61:b/%2E7/caf%C3%A9", 401),
        ("/a:b/7/cafe", 200),
    ] {
        let answer = http2_client().get(gateway.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
}

#[test]
fn check_reports_routes_with_line_and_column() {
    let text = "store.path = \"data/p.db\"\nsecrets.file = \"data/s.toml\"\nlisteners = [{ address = \"127.0.0.1:0\" }]\n\
                upstreams.up.address = \"127.0.0.1:1\"\n\
                [[routes]]\nupstream = \"up\"\npath = { pattern = \"/a/{id\" }\n\
                [[routes]]\nupstream = \"up\"\npath = \"/b\"\npolicies.api_key = true\n\
                [[routes]]\nupstream = \"up\"\npath = \"/b\"\nquery.debug = true\n\
                [[routes]]\nupstream = \"up\"\nhost = \"*.a.*\"\npath = \"/c\"\n";
    let installation = Installation::uninitialised(text, free_address());
    let output = installation.command("check").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = error.lines().filter(|line| !line.contains(": warning: ")).collect();
    for (line, (place, what)) in lines.iter().zip([
        ("7:8", "a parameter must be a whole segment"),
        ("10:8", "requests with the conditions of the route \"route-3\" (line 14) do not reach this route"),
        ("18:8", "stands only for the first labels"),
    ]) {
        assert!(line.starts_with(&format!("gateway.toml:{place}: ")) && line.contains(what), "{error}");
    }
    assert_eq!(lines.len(), 3, "{error}");
}
