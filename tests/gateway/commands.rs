//! The command line: what it says, and how it ends.

use std::{fs, net::TcpListener};

use crate::harness::{Site, certificate, free_address, portcullis};

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_says_where_to_start() {
    let output = portcullis(&["--help"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    for word in ["serve", "check", "init", "demo", "config/gateway.toml", "SIGTERM", "RUST_LOG"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(portcullis(&["frobnicate"]).status.code(), Some(2));
}

#[test]
fn the_example_configuration_holds() {
    let output = portcullis(&["check", "--config", "config/gateway.toml"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn check_points_at_what_is_wrong() {
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
fn check_looks_at_certificates() {
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
fn serve_says_why_it_cannot() {
    let site = Site::new(free_address(), "");
    let taken = TcpListener::bind(site.address).unwrap();
    let output = site.command("serve").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("cannot listen on {}", site.address)), "{}", stderr(&output));
    drop(taken);

    fs::remove_file(site.folder.path().join("data/secrets.toml")).unwrap();
    let output = site.command("serve").output().unwrap();
    assert!(stderr(&output).contains("portcullis init makes it"), "{}", stderr(&output));
}

#[test]
fn serve_names_a_store_that_is_none() {
    let site = Site::new(free_address(), "");
    fs::write(site.store(), "this is no database, however long one looks at it ".repeat(100)).unwrap();
    for other in ["data/portcullis.db-wal", "data/portcullis.db-shm"] {
        let _ = fs::remove_file(site.folder.path().join(other));
    }
    let output = site.command("serve").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("store data/portcullis.db"), "{}", stderr(&output));
}

#[cfg(unix)]
#[test]
fn what_init_makes_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let site = Site::new(free_address(), "");
    for file in ["data/secrets.toml", "data/portcullis.db"] {
        let mode = fs::metadata(site.folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert!(site.api_key.starts_with("pcl_") && site.operator_token.starts_with("pco_"));
}
