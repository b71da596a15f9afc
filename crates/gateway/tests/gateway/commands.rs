//! The command line: its output and its exit status.

use std::{fs, net::TcpListener};

use serde_json::Value;

use crate::process::{Installation, certificate, free_address, portcullis};

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_names_the_first_steps() {
    let output = portcullis(&["--help"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    for word in ["serve", "check", "init", "audit", "demo", "config/gateway.toml", "SIGTERM", "RUST_LOG"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(portcullis(&["frobnicate"]).status.code(), Some(2));
}

#[test]
fn example_configuration_is_valid() {
    let output = portcullis(&["check", "--config", "../../config/gateway.toml"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn check_points_at_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g.toml");
    let config = file.to_str().unwrap();
    for (text, what) in [
        ("listeners = [", "g.toml:1:"),
        ("stroe.path = \"x\"", "g.toml:1:1: unknown field `stroe`"),
        ("store.path = \"x\"\nlisteners = []\nsecrets.file = \"x\"", "no listener"),
    ] {
        fs::write(&file, text).unwrap();
        let output = portcullis(&["check", "--config", config]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(what), "{text}: {}", stderr(&output));
    }
    let output = portcullis(&["check", "--config", "missing.toml"]);
    assert!(stderr(&output).contains("missing.toml: cannot be read"), "{}", stderr(&output));
}

#[test]
fn check_reads_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key, _) = certificate(folder.path());
    let (_, other_key, _) = {
        fs::create_dir(folder.path().join("other")).unwrap();
        certificate(&folder.path().join("other"))
    };
    let file = folder.path().join("g.toml");
    for (chain, key, what) in [
        (&chain, &key, ""),
        (&chain, &folder.path().join("none.pem"), "none.pem"),
        (&key, &key, "holds no certificate"),
        (&chain, &other_key, "key.pem"),
    ] {
        let text = format!(
            "store.path = \"x\"\nsecrets.file = \"x\"\n\
             listeners = [{{ address = \"127.0.0.1:0\", tls = {{ certificate = {chain:?}, key = {key:?} }} }}]"
        );
        fs::write(&file, text).unwrap();
        let output = portcullis(&["check", "--config", file.to_str().unwrap()]);
        assert_eq!(output.status.success(), what.is_empty(), "{}", stderr(&output));
        assert!(stderr(&output).contains(what), "{}", stderr(&output));
    }
}

#[test]
fn serve_reports_startup_failures() {
    let installation = Installation::new(free_address(), "");
    let listener = TcpListener::bind(installation.address).unwrap();
    let output = installation.command("serve").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains(&format!("cannot listen on {}", installation.address)),
        "{}",
        stderr(&output)
    );
    drop(listener);

    fs::remove_file(installation.folder.path().join("data/secrets.toml")).unwrap();
    let output = installation.command("serve").output().unwrap();
    assert!(stderr(&output).contains("data/secrets.toml does not exist"), "{}", stderr(&output));
}

#[test]
fn serve_names_an_invalid_store() {
    let installation = Installation::new(free_address(), "");
    fs::write(installation.store(), "this is no database, however long one looks at it ".repeat(100))
        .unwrap();
    for other in ["data/portcullis.db-wal", "data/portcullis.db-shm"] {
        let _ = fs::remove_file(installation.folder.path().join(other));
    }
    let output = installation.command("serve").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("store data/portcullis.db"), "{}", stderr(&output));
}

#[test]
fn audit_verifies_the_store_and_lists_changes() {
    let installation = Installation::new(free_address(), "");
    let run = |words: &str| {
        let output = installation.command(words).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output))
    };
    let (code, proven, _) = run("audit verify");
    assert_eq!(code, Some(0));
    let head = proven.lines().last().and_then(|line| line.strip_prefix("head ")).unwrap();
    assert_eq!(run(&format!("audit verify --head {head}")).0, Some(0));
    let (number, hash) = head.split_once(':').unwrap();
    for (head, what) in [
        (format!("{number}:{}", hash.chars().rev().collect::<String>()), "the log was rewritten"),
        (format!("{}:{hash}", number.parse::<u64>().unwrap() + 1), "the log was truncated"),
    ] {
        let (code, _, why) = run(&format!("audit verify --head {head}"));
        assert_eq!(code, Some(1));
        assert!(why.contains(what), "{why}");
    }
    assert_eq!(run("audit verify --head x").0, Some(2));
    // The head of an empty change log.
    assert_eq!(run(&format!("audit verify --head 0:{}", "0".repeat(64))).0, Some(0));

    let (code, list, _) = run("audit list --json");
    assert_eq!(code, Some(0));
    let changes: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(changes.len(), number.parse::<usize>().unwrap());
    assert!(changes.iter().any(|change| change["kind"] == "credential" && change["before"].is_null()));
    let app = changes.iter().find(|change| change["after"]["kind"]["app"].is_object()).unwrap();
    assert!(
        app["after"]["kind"]["app"]["secret"].is_null() && app["after"]["kind"]["app"]["key"].is_string()
    );
    assert!(!list.contains("digest"), "{list}");
    let (_, page, _) = run("audit list --after 1 --limit 2");
    assert_eq!(page.lines().count(), 2);
    assert!(page.lines().next().unwrap().trim_start().starts_with("2 "), "{page}");

    fs::remove_dir_all(installation.folder.path().join("data")).unwrap();
    let (code, _, why) = run("audit verify");
    assert_eq!(code, Some(1));
    assert!(why.contains("store data/portcullis.db does not exist"), "{why}");
    assert!(!installation.store().exists());
}

#[test]
fn init_does_not_replace_secrets_that_the_store_needs() {
    let installation = Installation::new(free_address(), "");
    let secrets = installation.folder.path().join("data/secrets.toml");
    fs::remove_file(&secrets).unwrap();
    let output = installation.command("init").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("does not exist"), "{}", stderr(&output));
    assert!(!secrets.exists());
}

/// An interrupted first start can be continued, whenever it was killed: in the end, there is a key that was printed.
#[tokio::test]
async fn interrupted_first_start_is_resumed() {
    for millis in (0..60).step_by(4) {
        let address = free_address();
        let text = format!(
            "store.path = \"data/portcullis.db\"\nsecrets.file = \"data/secrets.toml\"\n\
             listeners = [{{ address = \"{address}\" }}]\n[[routes]]\npath = \"/\"\nsurface = \"discue\"\n"
        );
        let installation = Installation::uninitialised(&text, address);
        let mut first = installation.command("init").stdout(std::process::Stdio::piped()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(millis));
        let _ = first.kill();
        let shown = String::from_utf8(first.wait_with_output().unwrap().stdout).unwrap();
        let again = installation.init();
        let keys: Vec<&str> = shown
            .split_whitespace()
            .chain(again.split_whitespace())
            .filter(|word| word.starts_with("pcl_"))
            .collect();
        let gateway = installation.start();
        let mut accepted = 0;
        for key in &keys {
            let status =
                gateway.get("/api_clients/x").header("x-api-key", *key).send().await.unwrap().status();
            accepted += usize::from(status == 404);
        }
        assert!(accepted >= 1, "after {millis} ms: {shown} {again}");
    }
}

#[cfg(unix)]
#[test]
fn files_of_init_are_private() {
    use std::os::unix::fs::PermissionsExt;

    let installation = Installation::new(free_address(), "");
    for file in ["data/secrets.toml", "data/portcullis.db"] {
        let mode = fs::metadata(installation.folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert!(installation.api_key.starts_with("pcl_") && installation.operator_token.starts_with("pco_"));
}
