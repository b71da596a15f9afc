//! Configuration files as the commands read them: errors, warnings, and the meaning of paths.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::{
    admin::managed,
    process::{Installation, Service, free_address},
};

const CLIENT: &str = "5bc2be68-7498-4853-aa64-4be0ca62934e";

/// Returns the exit status, the standard output and the standard error of a command.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command
        .env_remove("PORTCULLIS_URL")
        .env_remove("PORTCULLIS_TOKEN")
        .env_remove("PORTCULLIS_CONFIG")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn in_folder(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    run(Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).current_dir(folder))
}

/// Returns the smallest configuration with one guarded route.
fn minimal(more: &str) -> String {
    format!(
        "store.path = \"data/portcullis.db\"\nsecrets.file = \"data/secrets.toml\"\n\
         listeners = [{{ address = \"{}\" }}]\n{more}",
        free_address()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn guarded_route_covers_every_spelling_of_its_path() {
    let (service, address) = (Service::echo().await, free_address());
    let up = service.address;
    let text = format!(
        "store.path = \"data/portcullis.db\"\nsecrets.file = \"data/secrets.toml\"\n\
         listeners = [{{ address = \"{address}\" }}]\nupstreams.up.address = \"{up}\"\n\
         [[routes]]\npath = \"/\"\nupstream = \"up\"\n\
         [[routes]]\npath = \"/caf\u{e9}\"\nupstream = \"up\"\npolicies.api_key = true\n\
         [[routes]]\npath = \"/%7Eadmin/a b\"\nupstream = \"up\"\npolicies.api_key = true\n\
         [[routes]]\npath = \"/a:b@(c)\"\nupstream = \"up\"\npolicies.api_key = true\n\
         [[routes]]\npath = \"/a%2Bb\"\nupstream = \"up\"\npolicies.api_key = true\n\
         [[routes]]\nhost = \"B\u{fc}cher.example.\"\npath = \"/\"\nupstream = \"up\"\npolicies.api_key = true\n"
    );
    let installation = Installation::from_text(&text, address);
    let gateway = installation.start();
    let status = |path: &str, host: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = gateway.raw(head.as_bytes());
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    for (path, host, expected) in [
        ("/", "a.example", "200"),
        ("/cafe", "a.example", "200"),
        ("/caf%C3%A9", "a.example", "401"),
        ("/caf%c3%a9/menu", "a.example", "401"),
        ("/%63af%c3%a9", "a.example", "401"),
        ("/~admin/a%20b", "a.example", "401"),
        ("/%7eadmin/a%20b/x", "a.example", "401"),
        ("/a:b@(c)", "a.example", "401"),
        ("/a%3Ab%40%28c%29", "a.example", "401"),
        ("/a+b", "a.example", "401"),
        ("/a%2bb/c", "a.example", "401"),
        ("/", "xn--bcher-kva.example", "401"),
        ("/", "XN--BCHER-KVA.example.", "401"),
    ] {
        assert_eq!(status(path, host), expected, "{host}{path}");
    }
}

#[test]
fn every_command_reports_all_configuration_errors() {
    let installation = Installation::uninitialised(
        &minimal(
            "[server]\nthreads = \"many\"\n[upstreams.up]\naddress = \"${SERVICE}:80\"\n\
             [[routes]]\npath = \"/w/*\"\nupstream = \"up\"\n[[routes]]\npath = \"/a\"\nupstream = \"gone\"\n",
        ),
        free_address(),
    );
    for command in ["check", "serve", "init", "tenant list"] {
        let (code, out, error) = run(&mut installation.command(command));
        assert_eq!((code, &*out), (Some(1), ""), "{command}");
        let lines: Vec<_> = error.lines().filter(|line| !line.contains(": warning: ")).collect();
        let expected = [
            ("gateway.toml:5:11: ", "expected a whole number of at least 0"),
            ("gateway.toml:7:11: ", "${SERVICE} is not expanded"),
            ("gateway.toml:9:8: ", "`*` is not supported"),
            ("gateway.toml:13:12: ", "the upstream \"gone\" is not defined"),
        ];
        assert_eq!(lines.len(), expected.len(), "{command}: {error}");
        for (line, (place, what)) in lines.iter().zip(expected) {
            assert!(line.starts_with(place) && line.contains(what), "{command}: {line}");
        }
        assert!(!installation.folder.path().join("data").exists(), "{command} made something");
    }
}

#[test]
fn warnings_fail_a_strict_check_only() {
    let more = "upstreams.idle.address = \"127.0.0.1:9\"\n[[routes]]\npath = \"/docs\"\nsurface = \"docs\"\n";
    let installation = Installation::uninitialised(&minimal(more), free_address());
    installation.init();
    let (code, out, error) = run(&mut installation.command("check"));
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("1 route, 1 upstream,") && out.trim_end().ends_with(": 1 warning"), "{out}");
    assert_eq!(error.lines().count(), 1);
    assert!(error.starts_with("gateway.toml:4:11: warning: no route uses the upstream \"idle\""), "{error}");
    let (code, out, error) = run(&mut installation.command("check --strict"));
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(error.contains("no route uses the upstream \"idle\""), "{error}");
}

#[test]
fn check_reports_missing_secrets_and_a_missing_store() {
    let routes = "[[routes]]\npath = \"/docs\"\nsurface = \"docs\"\n";
    let mut installation = Installation::uninitialised(&minimal(routes), free_address());
    let (code, _, error) = run(&mut installation.command("check"));
    assert_eq!(code, Some(0));
    assert!(error.contains("gateway.toml:1:14: warning: the folder data does not exist yet"), "{error}");
    assert!(error.contains("gateway.toml:2:16: warning: data/secrets.toml does not exist yet"), "{error}");
    assert_eq!(run(&mut installation.command("check --strict")).0, Some(1));

    installation.init();
    assert_eq!(run(&mut installation.command("check --strict")).0, Some(0));
    fs::remove_file(installation.folder.path().join("data/secrets.toml")).unwrap();
    let (code, _, error) = run(&mut installation.command("check"));
    assert_eq!(code, Some(1));
    assert!(error.contains("gateway.toml:2:16: data/secrets.toml does not exist"), "{error}");

    installation.rewrite(|text| {
        text.replace("data/portcullis.db", "gateway.toml/x.db").replace("data/secrets", "~/secrets")
    });
    let (code, _, error) = run(&mut installation.command("check"));
    assert_eq!(code, Some(1));
    assert!(error.contains("gateway.toml:1:14: gateway.toml/x.db cannot be created"), "{error}");
    assert!(error.contains("gateway.toml:2:16: ~ is not expanded"), "{error}");
}

#[test]
fn relative_paths_are_relative_to_the_file_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    // A separate folder for each level that a path of the file could lead to.
    let root = folder.path().join("root");
    let etc = root.join("etc");
    fs::create_dir_all(&etc).unwrap();
    let text = minimal("[[routes]]\npath = \"/docs\"\nsurface = \"docs\"\n");
    fs::write(etc.join("gateway.toml"), text.replace("\"data/", "\"../data/")).unwrap();
    let (code, _, error) = in_folder(&root, &["init", "--config", "etc/gateway.toml"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(root.join("data/portcullis.db").exists() && root.join("data/secrets.toml").exists());
    // Another working directory, but the same installation.
    let (code, out, error) = in_folder(&etc, &["init", "--config", "gateway.toml"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("nothing was created"), "{out}");
    let (code, out, error) = in_folder(
        Path::new("/"),
        &["tenant", "list", "--config", etc.join("gateway.toml").to_str().unwrap()],
    );
    assert!(code == Some(0) && out.contains("demo"), "{error}");
    assert!(!etc.join("data").exists());
}

#[test]
fn installation_in_the_working_directory_is_not_ignored() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("etc")).unwrap();
    let text = minimal("[[routes]]\npath = \"/docs\"\nsurface = \"docs\"\n");
    fs::write(folder.path().join("gateway.toml"), &text).unwrap();
    fs::write(folder.path().join("etc/gateway.toml"), &text).unwrap();
    assert_eq!(in_folder(folder.path(), &["init", "--config", "gateway.toml"]).0, Some(0));
    for command in ["check", "serve", "init"] {
        let (code, _, error) = in_folder(folder.path(), &[command, "--config", "etc/gateway.toml"]);
        assert_eq!(code, Some(1), "{command}");
        for what in [
            "etc/gateway.toml:1:14: ",
            "etc/data/portcullis.db",
            "etc/data/secrets.toml",
            "; data/portcullis.db exists",
        ] {
            assert!(error.contains(what), "{command}: {what}: {error}");
        }
        assert!(!folder.path().join("etc/data").exists(), "{command} made a second installation");
    }
}

#[tokio::test]
async fn configured_plan_is_read_only() {
    let (mut installation, admin, token) = managed("").await;
    let set = "plan set demo --limit name=hour,quota=5,window=3600";
    for words in [set, "plan delete demo"] {
        let (code, _, error) = run(&mut installation.command(words));
        assert_eq!(code, Some(3), "{error}");
        assert!(
            error.contains("409 Conflict") && error.contains("the configuration file gateway.toml"),
            "{error}"
        );
    }
    let gateway = installation.start();
    let url = format!("http://{admin}/admin/v1/plans/demo");
    let put = crate::process::client().put(url).bearer_auth(&token).header("if-match", "*");
    let answer = put.json(&serde_json::json!({ "limits": [] })).send().await.unwrap();
    assert_eq!(answer.status(), 409);
    let problem: Value = answer.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("gateway.toml"), "{problem}");
    gateway.end();

    // An edited file overrides the store, and the change is logged.
    installation.rewrite(|text| text.replace("quota = 20000", "quota = 7"));
    let lines = installation.start().end();
    let replaced = lines.iter().find(|line| line.contains("plan replaced")).unwrap();
    assert!(replaced.contains("20000 per 3600 s") && replaced.contains("hour: 7 per 3600 s"), "{replaced}");
    let lines = installation.start().end();
    assert!(!lines.iter().any(|line| line.contains("plan replaced")), "{lines:?}");

    // A plan that the file no longer defines stays, and can be changed like any other plan.
    installation.rewrite(|text| {
        let (head, rest) = text.split_once("[[plans]]").unwrap();
        format!("{head}{}", &rest[rest.find("[upstreams.up]").unwrap()..])
    });
    let (code, _, error) = run(&mut installation.command(set));
    assert_eq!(code, Some(0), "{error}");
    installation.start().end();
    assert!(run(&mut installation.command("plan show demo --json")).1.contains("\"quota\":5"));
}

#[tokio::test]
async fn lock_that_no_route_enforces_is_rejected_or_warned_about() {
    let (mut installation, _, _) = managed("").await;
    let on_path = "lock acquire --path /orders/7 --reason counting";
    let on_caller = format!("lock acquire --caller {CLIENT} --reason moving --json");
    let (code, _, error) = run(&mut installation.command(on_path));
    assert_eq!(code, Some(0), "{error}");
    let (code, _, error) =
        run(&mut installation.command("lock acquire --path /v1/api_keys --reason counting"));
    assert_eq!(code, Some(3), "a surface looks at no locks on paths: {error}");

    installation.rewrite(|text| text.replace("lock = true", "lock = false"));
    let (code, out, error) =
        run(&mut installation.command("lock acquire --path /invoices --reason counting"));
    assert_eq!((code, &*out), (Some(3), ""));
    assert!(error.contains("no route there looks at locks"), "{error}");
    let (code, out, error) = run(&mut installation.command(&on_caller));
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("warning: No route has the policy `lock`"), "{error}");
    let lock: Value = serde_json::from_str(&out).unwrap();
    assert!(lock["token"].is_string() && lock["warnings"][0].is_string(), "{lock}");
}

#[tokio::test]
async fn lock_warning_names_routes_that_cannot_enforce_it() {
    let (mut installation, _, _) = managed("").await;
    installation.rewrite(|text| {
        format!(
            "{text}\n[[routes]]\nname = \"anonymous\"\npath = \"/open\"\nupstream = \"up\"\npolicies.lock = true\n\
             [[routes]]\nname = \"reading\"\npath = \"/read\"\nmethods = [\"GET\"]\nupstream = \"up\"\n\
             policies = {{ api_key = true, lock = true }}\n\
             [[routes]]\nname = \"apps\"\npath = \"/apps\"\nupstream = \"up\"\n\
             policies = {{ api_key = {{ caller_kinds = [\"app\"] }} }}\n\
             [[routes]]\nname = \"elsewhere\"\nhost = \"h.example\"\npath = \"/orders\"\nupstream = \"up\"\n"
        )
    });
    for (target, warning) in [
        ("--path /open/7", ""),
        (
            "--path /open/8 --tenant demo",
            "recognise no caller (policies `api_key` and `signature`): `anonymous`",
        ),
        ("--path /read/7", "The lock stops no requests"),
        ("--path /read/8 --deny all", ""),
        ("--path /orders/7", "without the policy `lock`: `elsewhere`"),
        ("--caller 5bc2be68-7498-4853-aa64-4be0ca62934e", ""),
        ("--caller 14b399ac-967f-4115-bb62-c0346b4537e9", "without the policy `lock`: `apps`"),
        ("--caller demo-operator", "no route admits callers of the kind operator"),
    ] {
        let (code, _, error) = run(&mut installation.command(&format!("lock acquire {target} --reason x")));
        assert_eq!(code, Some(0), "{target}: {error}");
        assert_eq!(error.contains("warning"), !warning.is_empty(), "{target}: {error}");
        assert!(error.contains(warning), "{target}: {error}");
    }
}

#[test]
fn empty_lists_of_methods_sources_and_kinds_are_errors() {
    for lists in [
        "methods = []",
        "policies.api_key = { sources = [] }",
        "policies.api_key = { caller_kinds = [] }",
        "policies.signature = { caller_kinds = [] }",
    ] {
        let installation = Installation::uninitialised(
            &minimal(&format!(
                "upstreams.up.address = \"127.0.0.1:9\"\n[[routes]]\npath = \"/\"\nupstream = \"up\"\n{lists}\n"
            )),
            free_address(),
        );
        let (code, out, error) = run(&mut installation.command("check"));
        assert_eq!(code, Some(1), "{lists}: {out} {error}");
        assert!(format!("{out}{error}").contains("an empty list names nothing"), "{lists}: {out} {error}");
    }
}

#[test]
fn init_shows_requests_for_configured_routes() {
    let none = Installation::uninitialised(
        &minimal("[[routes]]\npath = \"/docs\"\nsurface = \"docs\"\n"),
        free_address(),
    );
    let shown = none.init();
    assert!(shown.contains("API key") && shown.contains("shown only once"), "{shown}");
    assert!(shown.contains("portcullis serve --config gateway.toml"), "{shown}");
    assert!(!shown.contains("curl"), "{shown}");

    let some = Installation::uninitialised(
        &minimal(
            "upstreams.up.address = \"127.0.0.1:9\"\n[[routes]]\npath = \"/open\"\nupstream = \"up\"\n\
             [[routes]]\npath = \"/orders\"\nhost = \"a.example\"\nupstream = \"up\"\n\
             policies.api_key = { sources = [\"Authorization: Key\"] }\n\
             [[routes]]\npath = \"/api_clients\"\nsurface = \"discue\"\n[[routes]]\npath = \"/v2\"\nsurface = \"apig\"\n",
        ),
        free_address(),
    );
    let shown = some.init();
    assert!(shown.contains("/orders/hello' -H 'Host: a.example' -H 'Authorization: Key pcl_"), "{shown}");
    assert!(shown.contains("/api_clients/5bc2be68") && !shown.contains("/v1/api_clients"), "{shown}");
    assert!(shown.contains("/v2/demo-project/apigw") && !shown.contains("/demo/hello"), "{shown}");
}
