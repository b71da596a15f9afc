//! Tests of parsing and checking configurations.

mod routes;

use super::*;

const HEAD: &str =
    "store.path = \"x.db\"\nsecrets.file = \"x.secrets\"\nlisteners = [{ address = \"127.0.0.1:0\" }]\n";

fn error(rest: &str) -> String {
    Config::parse(&format!("{HEAD}{rest}")).expect_err("refused").to_string()
}

#[test]
fn minimal_configuration_has_three_lines() {
    let config = Config::parse(HEAD).unwrap();
    assert_eq!(config.server.caller_id_header.as_str(), "x-caller-id");
    assert!(config.access_log.enabled);
}

#[test]
fn errors_point_at_the_wrong_value() {
    let route = "[[routes]]\npath = \"/a\"\nupstream = \"up\"\n";
    let up = "[upstreams.up]\naddress = \"127.0.0.1:1\"\n";
    for (rest, place, what) in [
        ("[server]\nthread = 1", "5:1", "unknown field `thread`"),
        ("[server]\nthreads = -1", "5:11", "expected a whole number of at least 0, found -1"),
        ("[server]\nshutdown_grace = \"10\"", "5:18", "a duration"),
        (route, "6:12", "the upstream \"up\" is not defined"),
        (&format!("{up}{route}{route}"), "10:8", "the same host, path and method"),
        (&format!("{up}{route}surface = \"discue\""), "9:11", "either an upstream or a surface"),
        ("[[routes]]\npath = \"/a\"\n", "5:8", "either an upstream or a surface"),
        (&format!("{up}{route}policies.rate_limit = true"), "9:23", "add policies.api_key"),
        (&format!("{up}{route}policies.accept = [\"json\"]"), "9:19", "media type"),
        (
            "plans = [{ id = \"p\", limits = [{ name = \"x\", quota = 0, window = 1 }] }]",
            "4:",
            "a quota is at least 1",
        ),
        ("[[routes]]\npath = \"a\"\n", "5:8", "must start with /"),
        (&format!("{up}{route}name = \"a b\"\n"), "9:8", "the name of a route must be"),
        (
            &format!("{up}{route}name = \"route-2\"\n[[routes]]\npath = \"/b\"\nupstream = \"up\"\n"),
            "11:8",
            "the name \"route-2\" is already used",
        ),
    ] {
        let error = error(rest);
        assert!(error.contains(what), "{rest}: {error}");
        assert!(error.contains(place), "{rest}: {error}");
    }
}

#[test]
fn conflicting_settings_are_rejected() {
    let two = HEAD.replace("0\" }]", "1\" }, { address = \"127.0.0.1:1\" }]");
    assert!(Config::parse(&two).unwrap_err().to_string().contains("two listeners"));
    assert!(error("server.caller_id_header = \"Host\"").contains("which has another meaning"));
    let sources = "policies.api_key = { sources = [\"x-api-key\", \"X-API-KEY\"] }";
    let route = "[upstreams.up]\naddress = \"127.0.0.1:1\"\n[[routes]]\npath = \"/\"\nupstream = \"up\"\n";
    assert!(error(&format!("{route}{sources}")).contains("listed twice"));
}

/// The lines of all findings.
fn findings(text: &str) -> Vec<String> {
    Review::of_text(text).findings().iter().map(ToString::to_string).collect()
}

#[test]
fn errors_of_every_kind_are_reported_together() {
    let text = "store.path = 5
secrets.file = \"x.secrets\"
[server]
threads = -1
unknown = true
[limits]
head_bytes = 0
[[listeners]]
address = \"localhost:80\"
[[listeners]]
address = \"${HOST}:8080\"
[[listeners]]
address = \"127.0.0.1:8080\"
h2c = 1
[upstreams.good]
address = \"127.0.0.1:1\"
[upstreams.bad]
address = \"127.0.0.1\"
[[routes]]
host = \"a:80\"
methods = [\"get\"]
path = \"/w/*\"
upstream = \"bad\"
[[routes]]
upstream = \"good\"
[[routes]]
path = \"/\"
upstream = \"none\"
[[routes]]
path = \"/\"
upstream = \"good\"
policies.rate_limit = true
";
    let found = findings(text);
    let expected = [
        ("1:14: ", "expected a path in quotes, found 5"),
        ("4:11: ", "expected a whole number of at least 0, found -1"),
        ("5:1: ", "unknown field `unknown`"),
        ("7:14: ", "expected a whole number from 1 to 4294967295, found 0"),
        ("9:11: ", "host names are not resolved"),
        ("11:11: ", "${HOST} is not expanded"),
        ("14:7: ", "expected true or false, found 1"),
        ("18:11: ", "\"127.0.0.1\" is not a URL or a host and a port"),
        ("20:8: ", "without its port"),
        ("21:11: ", "is not a method"),
        ("22:8: ", "`*` is not supported"),
        ("24:1: ", "`path` is missing"),
        ("28:12: ", "the upstream \"none\" is not defined"),
        ("30:8: ", "the same host, path and method: the route \"route-3\" (line 27)"),
        ("32:23: ", "add policies.api_key"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, (place, what)) in found.iter().zip(expected) {
        assert!(line.starts_with(place) && line.contains(what), "{place}{what}: {line}");
    }
}

#[test]
fn missing_table_does_not_hide_other_errors() {
    let found = findings("[server]\nthreads = -1\n");
    for what in [
        "`store` is missing",
        "`secrets` is missing",
        "`listeners` is missing",
        "2:11: expected a whole number",
    ] {
        assert!(found.iter().any(|line| line.contains(what)), "{what}: {found:?}");
    }
}

#[test]
fn unquoted_value_is_explained() {
    for text in ["listeners = [{ address = 127.0.0.1:80 }]", "store.path = data/x.db", "a = 10s"] {
        assert!(findings(text)[0].contains("text must be in quotes"), "{text}: {:?}", findings(text));
    }
}

#[test]
fn unreachable_route_is_rejected() {
    let up = "[upstreams.up]\naddress = \"127.0.0.1:1\"\n";
    let route = |rest: &str| format!("[[routes]]\nupstream = \"up\"\n{rest}\n");
    let plain = route("path = \"/a\"");
    for (routes, what) in [
        (route("path = \"/w/*\""), "`*` is not supported"),
        (route("path = \"/w/{id}\""), "write path = { pattern"),
        (route("path = \"/a//b\""), "relax_path_rules = [\"empty_segments\"]"),
        (route("path = \"/a;b\""), "relax_path_rules = [\"parameters\"]"),
        (route("path = \"/a\"\nmethods = [\"CONNECT\"]"), "CONNECT is "),
        (route("path = \"/a\"\nmethods = [\"GET\", \"GET\"]"), "GET is listed twice"),
        (route("path = \"/a\"\nhost = \"a..b\""), "a host must be a name"),
        (route("path = \"/a\"\nhost = \"a.*.example\""), "stands only for the first labels"),
        (route(&format!("path = \"/{}\"", "a".repeat(9000))), "limits.target_bytes"),
        (format!("{plain}{}", route("path = \"/%61\"")), "the same host, path and method"),
        (
            format!("{}{}", route("path = \"/\u{e9}\""), route("path = \"/%c3%a9\"")),
            "the same host, path and method",
        ),
        (
            format!(
                "{}{}",
                route("path = \"/\"\nhost = \"A.example.\""),
                route("path = \"/\"\nhost = \"a.example\"")
            ),
            "the same host, path and method",
        ),
        (
            format!(
                "{}{}",
                route("path = \"/\"\nhost = \"b\u{fc}cher.example\""),
                route("path = \"/\"\nhost = \"xn--bcher-kva.example\"")
            ),
            "the same host, path and method",
        ),
        (
            format!(
                "{}{}",
                route("path = \"/a\"\nmethods = [\"GET\"]"),
                route("path = \"/a\"\nmethods = [\"HEAD\"]")
            ),
            "method (HEAD)",
        ),
    ] {
        let error = error(&format!("{up}{routes}"));
        assert!(error.contains(what), "{routes}: {error}");
    }
    let fine = format!(
        "{up}{}{}{}{}",
        route("path = \"/a;b\"\nrelax_path_rules = [\"parameters\"]"),
        route("path = \"/a\"\nmethods = [\"HEAD\"]"),
        route("path = \"/a\"\nmethods = [\"GET\", \"HEAD\", \"POST\"]").replace("\"HEAD\", ", ""),
        route("path = \"/a\""),
    );
    Config::parse(&format!("{HEAD}{fine}")).unwrap();
}

#[test]
fn setting_without_effect_is_reported() {
    let up = "[upstreams.up]\naddress = \"127.0.0.1:1\"\n";
    let route = "[[routes]]\npath = \"/\"\nupstream = \"up\"\n";
    let docs = "[[routes]]\npath = \"/docs\"\nsurface = \"docs\"\n";
    for (rest, what) in [
        (up.to_owned(), "warning: no route uses the upstream \"up\""),
        (String::new(), "warning: there is no route"),
        (format!("{docs}body_bytes = 5"), "a surface has its own limit"),
        (format!("{docs}policies.lock = true"), "a surface has the policies of its contract"),
        ("[[routes]]\npath = \"/manage\"\nsurface = \"discue\"".to_owned(), "below /v1/api_clients"),
        (format!("surfaces.apig.app_codes = 3\n{up}{route}"), "warning: no route uses the surface apig"),
        ("surfaces.discue.base_url = \"api.discue.io\"".to_owned(), "an absolute URL"),
        ("server.trusted_proxies = [\"10.0.0.0/8\", \"0.0.0.0/0\"]".to_owned(), "5:0"),
        ("server.threads = 100000".to_owned(), "worker threads"),
        ("server.shutdown_grace = \"1ms\"".to_owned(), "warning: below 100ms"),
        (
            "limits.connections_per_address = 20000".to_owned(),
            "warning: connections_per_address is greater than connections",
        ),
        (format!("{up}{route}policies = {{ api_key = true, scope = \"\" }}"), "a scope must name a kind"),
        (format!("{up}{route}policies.api_key.sources = [\"Host\"]"), "cannot carry a credential"),
        (format!("{up}{route}policies.api_key.sources = [\"x-caller-id\"]"), "is server.caller_id_header"),
        ("upstreams.up.address = \"127.0.0.1:0\"".to_owned(), "port 0"),
        ("upstreams.up.address = \"localhost:0\"".to_owned(), "port 0"),
        ("upstreams.up.address = \"localhost\"".to_owned(), "is not a URL or a host and a port"),
        ("upstreams.up.address = \"http://orders:80/v1\"".to_owned(), "write \"http://orders:80\""),
        ("metrics.address = \"127.0.0.1:9001\"\n[admin]".to_owned(), "metrics and admin both use"),
        ("admin.import_bytes = 0".to_owned(), "nothing can be imported"),
        (
            format!("{up}{route}[[plans]]\nid = \"p\"\nlimits = []"),
            "warning: no route has policies.rate_limit",
        ),
        (
            format!(
                "{up}{route}policies.api_key = true\n[[routes]]\nhost = \"a.example\"\npath = \"/\"\nupstream = \"up\""
            ),
            "requests for the host a.example do not reach this route",
        ),
    ] {
        let found = findings(&format!("{HEAD}{rest}"));
        let what = if what == "5:0" { "4:41: warning: 0.0.0.0/0 contains every address" } else { what };
        assert!(found.iter().any(|line| line.contains(what)), "{rest}: {found:?}");
    }
}

#[test]
fn conflicting_sockets_are_rejected() {
    let at = |one: &str, other: &str| {
        let text = HEAD.replace("[{ address = \"127.0.0.1:0\" }]", "LISTENERS");
        let list = format!("[{{ address = \"{one}\" }}, {{ address = \"{other}\" }}]");
        Config::parse(&text.replace("LISTENERS", &list)).is_ok()
    };
    assert!(!at("127.0.0.1:1", "127.0.0.1:1"));
    assert!(!at("0.0.0.0:1", "127.0.0.1:1"));
    assert!(!at("127.0.0.1:1", "[::]:1"));
    assert!(!at("[::]:1", "[::1]:1"));
    assert!(at("127.0.0.1:1", "127.0.0.2:1"));
    assert!(at("127.0.0.1:1", "[::1]:1"));
    assert!(at("127.0.0.1:0", "127.0.0.1:0"));
    let loops = "[upstreams.up]\naddress = \"127.0.0.1:7\"\n[[routes]]\npath = \"/\"\nupstream = \"up\"\n";
    let text = HEAD.replace("127.0.0.1:0", "0.0.0.0:7");
    for loops in
        [loops.to_owned(), loops.replace("127.0.0.1", "localhost"), loops.replace("127.0.0.1", "LOCALHOST")]
    {
        let error = Config::parse(&format!("{text}{loops}")).unwrap_err().to_string();
        assert!(error.contains("of this gateway uses this address"), "{error}");
    }
}

#[test]
fn plain_text_admin_listener_requires_opt_in() {
    let admin = |text: &str| Config::parse(&format!("{HEAD}{text}")).map(|config| config.admin);
    assert!(admin("").unwrap().is_none());
    assert_eq!(admin("[admin]").unwrap().unwrap().address.to_string(), "127.0.0.1:9001");
    let tls = "tls = { certificate = \"a\", key = \"b\" }";
    for (text, what) in [
        ("address = \"[::1]:1\"", None),
        ("address = \"127.9.9.9:1\"\nplaintext = true", None),
        ("address = \"192.0.2.1:1\"", Some("add [admin.tls]")),
        ("address = \"0.0.0.0:1\"", Some("admin.plaintext = true")),
        ("address = \"[::]:1\"", Some("without TLS")),
        ("address = \"0.0.0.0:1\"\nplaintext = true", None),
        (&format!("address = \"0.0.0.0:1\"\n{tls}"), None),
        (&format!("{tls}\nplaintext = true"), Some("both tls and plaintext")),
        ("h2c = true", Some("unknown field")),
    ] {
        let outcome = admin(&format!("[admin]\n{text}")).map_err(|error| error.to_string());
        match (outcome, what) {
            (Ok(Some(_)), None) => {}
            (Err(error), Some(what)) => assert!(error.contains(what), "{text}: {error}"),
            (outcome, _) => panic!("{text}: {outcome:?}"),
        }
    }
    let both = HEAD.replace("127.0.0.1:0", "127.0.0.1:9001");
    let error = Config::parse(&format!("{both}[admin]")).unwrap_err().to_string();
    assert!(error.contains("admin and a listener both use 127.0.0.1:9001"), "{error}");
}

#[test]
fn listener_is_required() {
    let error = Config::parse("store.path = \"x\"\nsecrets.file = \"x\"\nlisteners = []").unwrap_err();
    assert!(error.to_string().contains("no listener"));
}
