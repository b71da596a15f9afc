//! A store that is replaced at the moment it is used, and what killed processes leave beside it.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use sqlx::Executor;

use crate::{
    identity::{Managed, outside, said},
    process::{Installation, TIMEOUT, free_address},
};

const MAKE_TENANT: &str = "tenant create --id acme Acme";

/// A process that is killed when this is dropped.
struct Running(Child);

impl Running {
    fn start(installation: &Installation, command: &str) -> Self {
        Self(installation.command(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Says what it printed; it has ended.
    fn output(mut self) -> (bool, String) {
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.0.wait().unwrap().success(), text)
    }

    fn has_open(&self, file: &Path) -> bool {
        let open = fs::read_dir(format!("/proc/{}/fd", self.0.id()));
        open.is_ok_and(|open| open.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|it| it == file)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

/// Returns the names of the files beside the store.
fn beside(installation: &Installation, part: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(installation.store().parent().unwrap()).unwrap();
    let files = files.map(|file| file.unwrap().path());
    files.filter(|file| file.to_string_lossy().contains(part)).collect()
}

/// Says whether the tenant that was made is in the store that is there now, which must be whole.
fn has_tenant(installation: &Installation) -> bool {
    let (code, why) = said(installation, "audit verify");
    assert_eq!(code, Some(0), "{why}");
    said(installation, "tenant show acme").0 == Some(0)
}

#[tokio::test]
async fn command_changes_the_store_replaced_while_opening() {
    let installation = Installation::new(free_address(), "");
    assert_eq!(said(&installation, "backup other.db").0, Some(0));
    // The command waits for this transaction, with the file open.
    let mut store = outside(&installation.store()).await;
    store.execute("BEGIN IMMEDIATE").await.unwrap();
    let mut command = Running::start(&installation, MAKE_TENANT);
    let file = fs::canonicalize(installation.store()).unwrap();
    until("the command does not open the store", || {
        assert!(
            !command.ended(),
            "{:?}",
            std::mem::replace(&mut command, Running::start(&installation, "check")).output()
        );
        command.has_open(&file)
    });
    fs::rename(installation.folder.path().join("other.db"), installation.store()).unwrap();
    store.execute("ROLLBACK").await.unwrap();
    drop(store);
    until("the command does not end", || command.ended());
    let (is_done, said) = command.output();
    assert_eq!(has_tenant(&installation), is_done, "what was said to be done is done: {said}");
}

#[tokio::test]
async fn command_waits_until_the_gateway_opens_the_new_store() {
    let here = Managed::start().await;
    assert_eq!(said(&here.installation, "backup other.db").0, Some(0));
    signal(here.gateway.pid(), "-STOP");
    fs::rename(here.installation.folder.path().join("other.db"), here.installation.store()).unwrap();
    let mut command = Running::start(&here.installation, MAKE_TENANT);
    let begun = Instant::now();
    // Time enough to do it wrong.
    until("", || command.ended() || begun.elapsed() > Duration::from_secs(2));
    signal(here.gateway.pid(), "-CONT");
    until("the command does not end", || command.ended());
    let (is_done, said) = command.output();
    assert!(is_done, "{said}");
    until("the gateway does not load the new store", || here.logged("was rolled back or replaced"));
    assert!(has_tenant(&here.installation));
    assert_eq!(here.ask("GET", "/tenants/acme", None).await.status(), 200);
    drop(here.gateway);
    assert!(has_tenant(&here.installation));
}

#[tokio::test]
async fn copy_of_equal_length_and_time_is_noticed() {
    let here = Managed::start().await;
    let (key, id) = here.key().await;
    let log = here.installation.store().with_extension("db-wal");
    let is_empty = || !log.metadata().is_ok_and(|log| log.len() > 0);
    until("the log is not moved into the file", is_empty);
    let older = here.installation.folder.path().join("older.db");
    fs::copy(here.installation.store(), &older).unwrap();
    let gone = here.ask("DELETE", &format!("/tenants/demo/keys/{id}?wait=60"), None).await;
    assert_eq!(gone.status(), 204);
    here.until(&key, 401).await;
    until("the log is not moved into the file", is_empty);
    let now = fs::metadata(here.installation.store()).unwrap();
    signal(here.gateway.pid(), "-STOP");
    fs::copy(&older, here.installation.store()).unwrap();
    let file = File::options().write(true).open(here.installation.store()).unwrap();
    file.set_modified(now.modified().unwrap()).unwrap();
    assert_eq!(file.metadata().unwrap().len(), now.len());
    signal(here.gateway.pid(), "-CONT");
    // Any change looks at the file first.
    let made = here.ask("POST", "/tenants", Some(json!({ "id": "acme", "name": "Acme" }))).await;
    here.until(&key, 200).await;
    assert!(here.logged("was rolled back or replaced"));
    let found = here.ask("GET", "/tenants/acme", None).await;
    assert_eq!(found.status() == 200, made.status().is_success(), "what was said to be done is done");
}

#[test]
fn copies_of_killed_imports_are_removed_and_others_kept() {
    let installation = Installation::new(free_address(), "");
    let rows: Vec<_> = (0..20_000).map(|at| format!("demo,c,k{at},{at:064x}")).collect();
    fs::write(
        installation.folder.path().join("keys.csv"),
        format!("tenant,caller,name,digest\n{}\n", rows.join("\n")),
    )
    .unwrap();
    let mut import = Running::start(&installation, "import-keys keys.csv --create-callers");
    until("no copy is made", || !beside(&installation, ".import-").is_empty() || import.ended());
    signal(import.0.id(), "-STOP");
    assert!(beside(&installation, ".import-").iter().any(|file| file.extension() == Some("lock".as_ref())));
    assert_eq!(said(&installation, "tenant list").0, Some(0));
    assert!(!beside(&installation, ".import-").is_empty(), "it is in use");
    import.0.kill().unwrap();
    import.0.wait().unwrap();
    assert!(!beside(&installation, ".import-").is_empty(), "it is left behind");
    assert_eq!(said(&installation, "tenant list").0, Some(0));
    assert!(beside(&installation, ".import-").is_empty());
    assert!(beside(&installation, ".in-use-").is_empty());
}

#[test]
fn abandoned_drafts_of_secrets_are_removed() {
    let installation = Installation::new(free_address(), "");
    for command in ["tenant list", "secrets add pepper", "init"] {
        let draft = |name: &str| installation.store().with_file_name(name);
        fs::write(draft(".secrets-left"), "x").unwrap();
        let living = File::create(draft(".secrets-living")).unwrap();
        living.lock().unwrap();
        assert_eq!(said(&installation, command).0, Some(0));
        assert_eq!(beside(&installation, ".secrets-"), [draft(".secrets-living")], "{command}");
    }
}

#[test]
fn abandoned_drafts_of_backups_and_exports_are_removed() {
    let installation = Installation::new(free_address(), "");
    let folder = installation.folder.path();
    for command in ["backup copy.db", "export --output out.ndjson"] {
        let file = |name: &str| folder.join(name);
        for name in ["left", "left.data", "left.data-journal", "living.data"] {
            fs::write(file(&format!(".portcullis-draft-{name}")), "x").unwrap();
        }
        let living = File::create(file(".portcullis-draft-living")).unwrap();
        living.lock().unwrap();
        let (code, said) = said(&installation, command);
        assert_eq!(code, Some(0), "{command}: {said}");
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut drafts: Vec<_> = names.filter(|name| name.starts_with(".portcullis-")).collect();
        drafts.sort_unstable();
        assert_eq!(drafts, [".portcullis-draft-living", ".portcullis-draft-living.data"], "{command}");
    }
}
