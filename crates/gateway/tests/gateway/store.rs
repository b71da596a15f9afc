//! The store as a file: complete after every command, copied while a gateway runs, private, and intact if the reader of
//! the output closes the pipe.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use serde_json::json;

use crate::{
    admin::managed,
    process::{Installation, Service, client, free_address},
};

const CALLER: &str = "5bc2be68-7498-4853-aa64-4be0ca62934e";

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// Runs a command, which must succeed.
fn done(installation: &Installation, command: &str) -> String {
    let output = installation.command(command).output().unwrap();
    assert!(output.status.success(), "{command}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the number and the hash of the last change.
fn head(installation: &Installation) -> String {
    let proven = done(installation, "audit verify");
    proven.lines().find_map(|line| line.strip_prefix("head ")).unwrap().to_owned()
}

fn log_beside(store: &Path) -> PathBuf {
    store.with_extension("db-wal")
}

/// Returns the head of a copy of the database file alone.
fn head_of_file_alone(installation: &Installation) -> String {
    let alone = Installation::uninitialised(
        &fs::read_to_string(installation.folder.path().join("gateway.toml")).unwrap(),
        installation.address,
    );
    let data = alone.folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::copy(installation.store(), alone.store()).unwrap();
    fs::copy(installation.store().with_file_name("secrets.toml"), data.join("secrets.toml")).unwrap();
    head(&alone)
}

#[test]
fn store_file_alone_is_complete_after_every_command() {
    let installation = Installation::new(free_address(), "");
    assert!(!log_beside(&installation.store()).exists(), "after init");
    assert!(head_of_file_alone(&installation).split_once(':').unwrap().0.parse::<u64>().unwrap() > 5);
    for command in [
        "tenant create --id acme --name Acme",
        "audit list",
        "secrets list",
        "secrets add seal-key",
        "secrets rewrap",
        "export --output all.ndjson",
        "import all.ndjson",
        "tenant list",
        "tenant show nobody",
        "audit verify",
    ] {
        installation.command(command).output().unwrap();
        assert!(!log_beside(&installation.store()).exists(), "after {command}");
        assert_eq!(head_of_file_alone(&installation), head(&installation), "after {command}");
    }
}

#[tokio::test]
async fn store_file_alone_is_complete_after_a_signal() {
    for signal in ["-TERM", "-INT"] {
        let service = Service::echo().await;
        let installation = Installation::new(service.address, "api_key = true");
        let before = head(&installation);
        let mut gateway = installation.start();
        assert_eq!(
            gateway.get("/").header("x-api-key", &installation.api_key).send().await.unwrap().status(),
            200
        );
        let put = gateway
            .put(&format!("/v1/api_clients/{CALLER}"))
            .header("x-api-key", &installation.api_key)
            .json(&json!({ "name": "example.com/last" }));
        assert_eq!(put.send().await.unwrap().status(), 200);
        gateway.signal(signal);
        assert!(gateway.wait().success());
        assert!(!log_beside(&installation.store()).exists(), "{signal}");
        assert_eq!(head_of_file_alone(&installation), head(&installation), "{signal}");
        assert_ne!(head(&installation), before, "{signal}");
        assert_eq!(uses_noted(&installation.store()).await, 1, "{signal}: the last use of the key is kept");
    }
}

async fn uses_noted(store: &Path) -> i64 {
    use sqlx::Connection;

    let mut store = sqlx::SqliteConnection::connect(&format!("sqlite://{}", store.display())).await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM credential_use").fetch_one(&mut store).await.unwrap()
}

#[tokio::test]
async fn online_backup_is_complete_private_and_never_overwrites() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "api_key = true");
    let gateway = installation.start();
    let put = gateway
        .put(&format!("/v1/api_clients/{CALLER}"))
        .header("x-api-key", &installation.api_key)
        .json(&json!({ "name": "example.com/saved" }));
    assert_eq!(put.send().await.unwrap().status(), 200);
    let saved = head(&installation);
    let said = done(&installation, "backup saved.db");
    assert!(said.contains(saved.split_once(':').unwrap().0), "{said} {saved}");
    let backup = installation.folder.path().join("saved.db");
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&backup).unwrap();
    let again = installation.command("backup saved.db").output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again).contains("saved.db"), "{}", text(&again));
    assert_eq!(fs::read(&backup).unwrap(), bytes, "what is there stays");
    assert_eq!(installation.command("backup missing/saved.db").output().unwrap().status.code(), Some(1));
    let left: Vec<_> =
        fs::read_dir(installation.folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "nothing is left beside it: {left:?}");
    drop(gateway);

    // Restores the store as documented.
    for file in ["portcullis.db", "portcullis.db-wal", "portcullis.db-shm"] {
        let _ = fs::remove_file(installation.store().with_file_name(file));
    }
    fs::rename(&backup, installation.store()).unwrap();
    assert_eq!(head(&installation), saved);
    let gateway = installation.start();
    assert_eq!(
        gateway.get("/").header("x-api-key", &installation.api_key).send().await.unwrap().status(),
        200
    );
}

#[test]
fn init_creates_a_private_folder() {
    let installation = Installation::new(free_address(), "");
    let folder = installation.store().parent().unwrap().to_owned();
    assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
}

/// Creates a pipe whose reader is closed.
fn closed_pipe() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
}

#[tokio::test]
async fn commands_do_not_panic_on_a_closed_pipe() {
    let (installation, _, _) = managed("").await;
    for command in [
        "check",
        "init",
        "audit verify",
        "audit list",
        "audit list --json",
        "tenant list",
        "tenant show demo",
        "tenant show nobody",
        "app list --tenant demo",
        "plan list",
        "route list",
        "completions bash",
        "secrets list",
        "secrets add pepper",
        "export",
        "backup saved.db",
        "serve --help",
        "frobnicate",
        "sign --help",
    ] {
        let mut silent = installation.command(command);
        let output = silent.stdout(closed_pipe()).stderr(Stdio::piped()).output().unwrap();
        assert!(!text(&output).contains("panicked"), "{command}: {}", text(&output));
        assert_ne!(output.status.code(), Some(101), "{command}");
        let mut deaf = installation.command(command);
        let status = deaf.stdout(closed_pipe()).stderr(closed_pipe()).status().unwrap();
        assert!(status.code().is_some_and(|code| code != 101), "{command}: {status}");
        assert!(!log_beside(&installation.store()).exists(), "after {command}");
    }
}

#[tokio::test]
async fn secret_that_could_not_be_printed_is_reported() {
    let (installation, _, _) = managed("").await;
    let client = "5bc2be68-7498-4853-aa64-4be0ca62934e";
    for command in [
        format!("key create --tenant demo {client}"),
        format!("lock acquire --caller {client} --reason moved"),
    ] {
        let output =
            installation.command(&command).stdout(closed_pipe()).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}: {}", text(&output));
        assert!(text(&output).contains("shown only once"), "{command}: {}", text(&output));
    }
}

#[tokio::test]
async fn init_stores_no_key_that_could_not_be_printed() {
    let service = Service::echo().await;
    let configured = Installation::new(service.address, "api_key = true");
    let config = fs::read_to_string(configured.folder.path().join("gateway.toml")).unwrap();
    let mut installation = Installation::uninitialised(&config, configured.address);
    let output = installation.command("init").stdout(closed_pipe()).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("Run `portcullis init` again"), "{}", text(&output));
    let shown = installation.init();
    installation.api_key = shown.split_whitespace().find(|word| word.starts_with("pcl_")).unwrap().to_owned();
    assert!(shown.contains("pco_"), "{shown}");
    let gateway = installation.start();
    assert_eq!(
        gateway.get("/").header("x-api-key", &installation.api_key).send().await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn init_replaces_lost_keys() {
    let (installation, admin, owner) = managed("").await;
    let shown = done(&installation, "init --new-keys");
    let key = |prefix: &str| {
        let mut words = shown.split_whitespace();
        words.find(|word| word.starts_with(prefix)).unwrap().trim_matches('\'').to_owned()
    };
    assert!(shown.contains("pco_"), "{shown}");
    let gateway = installation.start();
    let status =
        async |key: &str| gateway.get("/").header("x-api-key", key).send().await.unwrap().status().as_u16();
    assert_eq!((status(&key("pcl_")).await, status(&installation.api_key).await), (200, 401));
    let url = format!("http://{admin}/admin/v1/status");
    let asked =
        async |token: &str| client().get(&url).bearer_auth(token).send().await.unwrap().status().as_u16();
    assert_eq!((asked(&key("pca_")).await, asked(&owner).await), (200, 401));
}

#[test]
fn secrets_added_concurrently_are_all_stored() {
    const AT_ONCE: usize = 8;
    let installation = Installation::new(free_address(), "");
    let running: Vec<_> = (0..AT_ONCE)
        .map(|_| installation.command("secrets add pepper").stdout(Stdio::null()).spawn().unwrap())
        .collect();
    for mut command in running {
        assert!(command.wait().unwrap().success());
    }
    let listed = done(&installation, "secrets list");
    assert_eq!(listed.lines().filter(|line| line.starts_with("pepper ")).count(), 1 + AT_ONCE, "{listed}");
}
