//! What a configuration may say.

use super::*;

const HEAD: &str =
    "store.path = \"x.db\"\nsecrets.file = \"x.secrets\"\nlisteners = [{ address = \"127.0.0.1:0\" }]\n";

fn error(rest: &str) -> String {
    Config::parse(&format!("{HEAD}{rest}")).expect_err("refused").to_string()
}

#[test]
fn the_least_configuration_is_three_lines() {
    let config = Config::parse(HEAD).unwrap();
    assert_eq!(config.server.identity_field.as_str(), "x-caller-id");
    assert!(config.access_log.enabled);
}

#[test]
fn what_is_wrong_is_pointed_at() {
    let route = "[[routes]]\npath = \"/a\"\nupstream = \"up\"\n";
    let up = "[upstreams.up]\naddress = \"127.0.0.1:1\"\n";
    for (rest, place, what) in [
        ("[server]\nthread = 1", "5:1", "unknown field `thread`"),
        ("[server]\nthreads = -1", "5:11", "invalid value"),
        ("[server]\nshutdown_grace = \"10\"", "5:18", "a duration"),
        (route, "6:12", "no upstream is named \"up\""),
        (&format!("{up}{route}{route}"), "10:8", "the same host, path and method"),
        (&format!("{up}{route}surface = \"discue\""), "7:8", "either an upstream or a surface"),
        ("[[routes]]\npath = \"/a\"\n", "5:8", "either an upstream or a surface"),
        (&format!("{up}{route}policies.rate_limit = true"), "7:8", "needs policies.api_key"),
        (&format!("{up}{route}policies.accept = [\"json\"]"), "9:19", "media type"),
        (
            "plans = [{ id = \"p\", limits = [{ name = \"x\", quota = 0, window = 1 }] }]",
            "4:",
            "a quota is at least 1",
        ),
        ("[[routes]]\npath = \"a\"\n", "5:8", "starts with /"),
        (&format!("{up}{route}name = \"a b\"\n"), "9:8", "a route's name is"),
        (
            &format!("{up}{route}name = \"route-2\"\n[[routes]]\npath = \"/b\"\nupstream = \"up\"\n"),
            "11:8",
            "another route is named \"route-2\"",
        ),
    ] {
        let error = error(rest);
        assert!(error.contains(what), "{rest}: {error}");
        assert!(error.contains(place), "{rest}: {error}");
    }
}

#[test]
fn what_cannot_be_together_is_refused() {
    let two = HEAD.replace("0\" }]", "1\" }, { address = \"127.0.0.1:1\" }]");
    assert!(Config::parse(&two).unwrap_err().to_string().contains("two listeners"));
    assert!(error("server.identity_field = \"Host\"").contains("it has a meaning"));
    let sources = "policies.api_key = { sources = [\"x-api-key\", \"X-API-KEY\"] }";
    let route = "[upstreams.up]\naddress = \"127.0.0.1:1\"\n[[routes]]\npath = \"/\"\nupstream = \"up\"\n";
    assert!(error(&format!("{route}{sources}")).contains("named twice"));
}

#[test]
fn administrators_keys_do_not_travel_in_the_clear_unless_it_is_said() {
    let admin = |text: &str| Config::parse(&format!("{HEAD}{text}")).map(|config| config.admin);
    assert!(admin("").unwrap().is_none());
    assert_eq!(admin("[admin]").unwrap().unwrap().listen.to_string(), "127.0.0.1:9001");
    let tls = "tls = { certificate = \"a\", key = \"b\" }";
    for (text, what) in [
        ("listen = \"[::1]:1\"", None),
        ("listen = \"127.9.9.9:1\"\nplaintext = true", None),
        ("listen = \"192.0.2.1:1\"", Some("add [admin.tls]")),
        ("listen = \"0.0.0.0:1\"", Some("admin.plaintext = true")),
        ("listen = \"[::]:1\"", Some("in the clear")),
        ("listen = \"0.0.0.0:1\"\nplaintext = true", None),
        (&format!("listen = \"0.0.0.0:1\"\n{tls}"), None),
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
    assert!(error.contains("admin and a listener are both on 127.0.0.1:9001"), "{error}");
}

#[test]
fn a_listener_is_needed() {
    let error = Config::parse("store.path = \"x\"\nsecrets.file = \"x\"\nlisteners = []").unwrap_err();
    assert!(error.to_string().contains("no listener"));
}
