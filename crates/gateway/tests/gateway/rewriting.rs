//! Rewriting, redirects, fixed responses and maintenance.

use reqwest::{Client, redirect::Policy};
use serde_json::Value;

use crate::{
    process::{Installation, client, free_address, http2_client, values},
    routing::gateway,
};

/// Returns a route to the upstream with a prefix.
fn route(path: &str, rest: &str) -> String {
    format!("[[routes]]\nupstream = \"up\"\npath = {path}\n{rest}\n")
}

/// Creates a client that reports redirects.
fn without_redirects() -> Client {
    crate::process::provider();
    Client::builder().no_proxy().redirect(Policy::none()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_receives_the_rewritten_target() {
    let routes = [
        route("\"/api\"", "rewrite.strip_prefix = true"),
        route("{ pattern = \"/users/{id}/{*rest}\" }", "rewrite.path = \"/v2/{rest}/of/{id}\""),
        route("\"/old\"", "rewrite.regex = { pattern = \"^/old/([a-z]+)\", replacement = \"/new-$1\" }"),
        route("\"/plain\"", ""),
    ];
    let (_installation, gateway) = gateway(&routes.concat()).await;
    for (path, target, prefix) in [
        ("/api/x%3A1/?a=%2B&b", "/x%3A1/?a=%2B&b", Some("/api")),
        ("/api", "/", Some("/api")),
        ("/users/7/a/b?q", "/v2/a/b/of/7?q", None),
        ("/old/abc/d?q=1", "/new-abc/d?q=1", None),
        ("/plain/%3A", "/plain/%3A", None),
    ] {
        for client in [client(), http2_client()] {
            let request = client.get(gateway.url(path)).header("x-forwarded-prefix", "/evil");
            let echo: Value = request.send().await.unwrap().json().await.unwrap();
            assert_eq!(echo["target"], target, "{path}");
            assert_eq!(values(&echo, "x-forwarded-prefix"), prefix.into_iter().collect::<Vec<_>>(), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn path_that_cannot_be_rewritten_is_400() {
    let relaxed = "relax_path_rules = [\"empty_segments\"]\nrewrite.strip_prefix = true";
    let (_installation, gateway) = gateway(&route("\"/api\"", relaxed)).await;
    assert_eq!(gateway.get("/api//evil.example/x").send().await.unwrap().status(), 400);
    let echo: Value = gateway.get("/api/a//b").send().await.unwrap().json().await.unwrap();
    assert_eq!(echo["target"], "/a//b");
}

#[tokio::test(flavor = "multi_thread")]
async fn host_and_headers_are_rewritten() {
    let headers = "rewrite.request_headers = { set = { x-real-ip = \"192.0.2.1\", X-A = \"set\" }, add = { x-b = \"2\" }, \
                   remove = [\"user-agent\"] }\n\
                   rewrite.response_headers = { set = { x-frame-options = \"DENY\" }, remove = [\"content-type\"] }";
    let routes = [
        route("\"/headers\"", headers),
        route("\"/name\"", "rewrite.host = \"internal.example:81\""),
        route("\"/upstream\"", "rewrite.host = \"upstream\""),
    ];
    let (_installation, gateway) = gateway(&routes.concat()).await;
    let request =
        gateway.get("/headers").header("x-a", "1").header("x-b", "1").header("x-real-ip", "203.0.113.9");
    let answer = request.header("user-agent", "me").send().await.unwrap();
    assert_eq!(answer.headers()["x-frame-options"], "DENY");
    assert!(!answer.headers().contains_key("content-type"));
    let echo: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    for (name, expected) in
        [("x-a", &["set"][..]), ("x-b", &["1", "2"]), ("x-real-ip", &["192.0.2.1"]), ("user-agent", &[])]
    {
        assert_eq!(values(&echo, name), expected, "{name}");
    }
    let sent = gateway.address.to_string();
    let host = async |path: &str| -> Value { gateway.get(path).send().await.unwrap().json().await.unwrap() };
    let echo = host("/name").await;
    assert_eq!(
        (values(&echo, "host"), values(&echo, "x-forwarded-host")),
        (vec!["internal.example:81"], vec![&*sent])
    );
    let echo = host("/upstream").await;
    assert!(values(&echo, "host")[0].starts_with("127.0.0.1:") && values(&echo, "host")[0] != sent, "{echo}");
}

#[tokio::test]
async fn lock_and_scope_apply_to_the_path_of_the_client() {
    let rest = "rewrite.strip_prefix = true\n\
                policies = { api_key = true, lock = true, scope = \"orders\", scope_target_segment = 2 }";
    let (mut installation, gateway) = gateway(&route("\"/orders\"", rest)).await;
    gateway.end();
    installation.rewrite(|text| format!("{text}[admin]\naddress = \"{}\"\n", free_address()));
    let run = |words: &str| installation.command(words).output().unwrap();
    let scope = "key create --tenant demo 5bc2be68-7498-4853-aa64-4be0ca62934e --name second --scope orders:write:7 --json";
    let made = run(scope);
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success(), "{text} {}", String::from_utf8_lossy(&made.stderr));
    let shown: Value = serde_json::from_str(&text).unwrap();
    let key = shown["key"].as_str().unwrap_or_else(|| panic!("{shown}")).to_owned();
    assert!(run("lock acquire --path /orders/7/items --reason counting").status.success());
    let gateway = installation.start();
    for (path, status) in [("/orders/7", 200), ("/orders/8", 403), ("/orders/7/items/1", 423), ("/7", 404)] {
        let answer = gateway.put(path).header("x-api-key", &key).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirect_names_the_changed_parts() {
    let redirect = |path: &str, rest: &str| format!("[[routes]]\npath = {path}\nredirect = {{ {rest} }}\n");
    let routes = [
        redirect("\"/\"", "scheme = \"https\", status = 308"),
        redirect("\"/host\"", "host = \"www.example.com:8443\""),
        redirect("\"/old\"", "strip_prefix = true, add_prefix = \"/new\", status = 301"),
        redirect("{ pattern = \"/u/{id}\" }", "path = \"/users/{id}\", keep_query = false, status = 303"),
        redirect("\"/loop\"", "scheme = \"http\""),
    ];
    let (_installation, gateway) = gateway(&routes.concat()).await;
    for (path, status, location) in [
        ("/a?b=1", 308, Some("https://shop.example/a?b=1")),
        ("/host/x", 307, Some("http://www.example.com:8443/host/x")),
        ("/old/x?q", 301, Some("/new/x?q")),
        ("/u/7?q", 303, Some("/users/7")),
        ("/loop", 404, None),
    ] {
        let request = without_redirects().get(gateway.url(path)).header("host", "shop.example:80");
        let answer = request.send().await.unwrap();
        let found = answer.headers().get("location").map(|value| value.to_str().unwrap());
        assert_eq!((answer.status().as_u16(), found), (status, location), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fixed_response_needs_no_service() {
    let routes = "[[routes]]\npath = { exact = \"/health\" }\nmethods = [\"GET\"]\nrespond = { body = \"ok\" }\n\
                  [[routes]]\npath = \"/gone\"\nrespond = { status = 410, content_type = \"application/json\", body = \"{}\" }\n\
                  [[routes]]\npath = \"/closed\"\npolicies.api_key = true\nrespond.status = 204\n";
    let (installation, gateway) = gateway(routes).await;
    for client in [client(), http2_client()] {
        let answer = client.get(gateway.url("/health")).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!((answer.status().as_u16(), &*answer.text().await.unwrap()), (200, "ok"));
        let answer = client.head(gateway.url("/health")).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-length"]),
            (200, &"2".parse().unwrap())
        );
        let answer = client.post(gateway.url("/gone")).body("x").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &*answer.text().await.unwrap()), (410, "{}"));
    }
    assert_eq!(gateway.get("/closed").send().await.unwrap().status(), 401);
    let keyed = gateway.get("/closed").header("x-api-key", &installation.api_key);
    assert_eq!(keyed.send().await.unwrap().status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_denies_before_the_key_is_checked() {
    let guarded = |rest: &str| format!("policies.api_key = true\n{rest}");
    let routes = [
        route("\"/always\"", &guarded("maintenance = true")),
        route("\"/off\"", "maintenance = false"),
        route("\"/past\"", "maintenance.windows = [{ until = 2020-01-01T00:00:00Z }]"),
        route(
            "\"/now\"",
            "maintenance = { status = 423, message = \"Moving.\", windows = [{ from = 2020-01-01T00:00:00Z }] }",
        ),
        route("\"/exempt\"", "maintenance.exempt_addresses = [\"127.0.0.0/8\"]"),
    ];
    let (_installation, gateway) = gateway(&routes.concat()).await;
    for (path, status) in [("/always", 503), ("/off", 200), ("/past", 200), ("/now", 423), ("/exempt", 200)] {
        assert_eq!(gateway.get(path).send().await.unwrap().status(), status, "{path}");
    }
    let answer = gateway.get("/now").send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "300");
    let problem: Value = answer.json().await.unwrap();
    assert_eq!((&problem["code"], &problem["detail"]), (&"maintenance".into(), &"Moving.".into()));
    let call = http2_client().post(gateway.url("/always")).header("content-type", "application/grpc");
    let answer = call.header("te", "trailers").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["grpc-status"]), (200, &"14".parse().unwrap()));
}

#[test]
fn check_reports_rewrites_with_line_and_column() {
    // The path is in line 7, and the setting in line 8.
    for (path, setting, place, why) in [
        ("\"/a\"", "rewrite = { strip_prefix = \"/b\" }", "8:28", "does not begin with this prefix"),
        ("\"/\"", "rewrite.strip_prefix = true", "8:24", "has no effect"),
        ("{ pattern = \"/a/{b}\" }", "rewrite.strip_prefix = true", "8:24", "write the prefix"),
        ("\"/a\"", "rewrite.path = \"/{id}\"", "8:16", "no parameter {id}"),
        ("\"/a\"", "rewrite.path = \"/../x\"", "8:16", "dot segment"),
        ("\"/a\"", "rewrite = { add_prefix = \"/x\", path = \"/y\" }", "8:39", "in one way"),
        ("\"/a\"", "rewrite.regex = { pattern = \"(\", replacement = \"\" }", "8:29", "unclosed group"),
        ("\"/a\"", "rewrite.regex = { pattern = \"(a)\", replacement = \"$2\" }", "8:50", "no group ${2}"),
        ("\"/a\"", "rewrite.regex = { pattern = \"a\", replacement = \"?\" }", "8:48", "cannot contain `?`"),
        (
            "\"/a\"",
            "rewrite.regex = { pattern = \"(\\\\w{1000}){1000}\", replacement = \"\" }",
            "8:29",
            "size limit",
        ),
        ("\"/a\"", "rewrite.host = \"a b\"", "8:16", "optional port"),
        ("\"/a\"", "rewrite.request_headers.set = { Host = \"a\" }", "8:31", "set by rewrite.host"),
        ("\"/a\"", "rewrite.request_headers.set = { X_Caller_Id = \"a\" }", "8:31", "only the gateway sets"),
        ("\"/a\"", "rewrite.request_headers.remove = [\"x-forwarded-for\"]", "8:34", "only the gateway sets"),
        ("\"/a\"", "rewrite.response_headers.add = { transfer-encoding = \"a\" }", "8:32", "framing"),
        ("\"/a\"", "redirect = { status = 300 }", "8:23", "the status of a redirect"),
        ("\"/a\"", "redirect.scheme = \"https\"", "8:1", "only one of them"),
        ("\"/a\"", "respond.status = 304", "8:18", "the status of a fixed response"),
        ("\"/a\"", "maintenance.status = 500", "8:22", "503 or 423"),
        ("\"/a\"", "maintenance.windows = [{ from = 2027-01-01 }]", "8:33", "RFC 3339"),
        ("\"/a\"", "maintenance.windows = [{}]", "8:23", "from or until"),
    ] {
        let text = format!(
            "store.path = \"data/p.db\"\nsecrets.file = \"data/s.toml\"\nlisteners = [{{ address = \"127.0.0.1:0\" }}]\n\
             upstreams.up.address = \"127.0.0.1:1\"\n[[routes]]\nupstream = \"up\"\npath = {path}\n{setting}\n"
        );
        let installation = Installation::uninitialised(&text, free_address());
        let error = String::from_utf8(installation.command("check").output().unwrap().stderr).unwrap();
        let found = error
            .lines()
            .any(|line| line.starts_with(&format!("gateway.toml:{place}: ")) && line.contains(why));
        assert!(found, "{setting}: {error}");
    }
}

#[test]
fn response_without_effect_is_rejected() {
    for (rest, why) in [
        ("redirect = {}", "its own URL"),
        ("respond = { status = 204, body = \"x\" }", "has no body"),
        ("respond = {}\nredirect.scheme = \"https\"", "only one of them"),
        ("respond = {}\nbody_bytes = 5", "has no effect"),
        ("respond = {}\nrewrite.add_prefix = \"/a\"", "has no effect"),
    ] {
        let text = format!(
            "store.path = \"data/p.db\"\nsecrets.file = \"data/s.toml\"\nlisteners = [{{ address = \"127.0.0.1:0\" }}]\n\
             [[routes]]\npath = \"/\"\n{rest}\n"
        );
        let installation = Installation::uninitialised(&text, free_address());
        let error = String::from_utf8(installation.command("check").output().unwrap().stderr).unwrap();
        assert!(error.contains(why), "{rest}: {error}");
    }
}
