//! The commands on running gateways, through the admin API.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Instant,
};

use portcullis::{
    clock::SystemClock,
    registry::{RegistryExt, sqlite::Sqlite},
};
use sha2::{Digest, Sha256};

use crate::{
    process::{Gateway, Installation, TIMEOUT, free_address},
    test_registry::hex,
};
use portcullis_test::fixtures::{actor, tenant};

/// A running gateway with its admin API.
struct Served {
    installation: Installation,
    admin: SocketAddr,
    token: String,
    gateway: Gateway,
}

impl Served {
    /// Starts a gateway with the data that `init` creates.
    fn demo() -> Self {
        let (mut installation, admin) = (Installation::new(free_address(), ""), free_address());
        installation.rewrite(|text| format!("{text}\n[admin]\naddress = \"{admin}\"\n"));
        Self::start(installation, admin)
    }

    /// Starts a gateway with one tenant and an administrator, which has the secrets of another installation.
    async fn beside(other: &Installation) -> Self {
        let (address, admin) = (free_address(), free_address());
        let text = format!(
            "store.path = \"data/portcullis.db\"\nsecrets.file = \"data/secrets.toml\"\n\
             listeners = [{{ address = \"{address}\" }}]\n[admin]\naddress = \"{admin}\"\n\
             [[routes]]\npath = \"/\"\nsurface = \"discue\"\n"
        );
        let installation = Installation::uninitialised(&text, address);
        fs::create_dir(installation.folder.path().join("data")).unwrap();
        let secrets = |installation: &Installation| installation.folder.path().join("data/secrets.toml");
        fs::copy(secrets(other), secrets(&installation)).unwrap();
        let store = Sqlite::open(&installation.store(), Arc::new(SystemClock::new())).await.unwrap();
        store.create_tenant(tenant("own"), &actor()).await.unwrap();
        store.close().await;
        Self::start(installation, admin)
    }

    fn start(installation: Installation, admin: SocketAddr) -> Self {
        let made = installation.init();
        let token = made.split_whitespace().find(|word| word.starts_with("pca_")).unwrap();
        let token = token.trim_matches('\'').to_owned();
        let gateway = installation.start();
        Self { installation, admin, token, gateway }
    }

    fn run(&self, words: &str) -> (Option<i32>, String, String) {
        self.run_with(words, &self.token)
    }

    fn run_with(&self, words: &str, token: &str) -> (Option<i32>, String, String) {
        let mut command = self.installation.command(&format!("{words} --url http://{}", self.admin));
        let output = command.env("PORTCULLIS_TOKEN", token).env_remove("PORTCULLIS_URL").output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Returns the entities of an export of the store. Last uses are left out: the running gateway records them later.
    fn lines(&self) -> Vec<String> {
        let (code, text, why) = self.run("export");
        assert_eq!(code, Some(0), "{why}");
        let lines: Vec<_> = text.lines().collect();
        let entities = lines[1..lines.len() - 1].iter().filter(|line| !line.starts_with("{\"use\""));
        entities.map(|line| (*line).to_owned()).collect()
    }
}

#[tokio::test]
async fn running_gateway_moves_to_another_running_one() {
    let from = Served::demo();
    let to = Served::beside(&from.installation).await;
    let file = from.installation.folder.path().join("all.ndjson");
    let (code, _, output) = from.run("export --output all.ndjson");
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(output, format!("exported {} bytes\n", fs::read(&file).unwrap().len()));

    let (own, name) = (to.lines(), file.display());
    let (code, output, why) = to.run(&format!("import {name} --dry-run"));
    assert_eq!(code, Some(0), "{why}");
    assert!(output.starts_with("would import: caller 4, credential 3, "), "{output}");
    assert_eq!(to.lines(), own);
    let (code, output, why) = to.run(&format!("import {name}"));
    assert_eq!(code, Some(0), "{why}");
    assert!(output.ends_with("; skipped 3 lines about administrators\n"), "{output}");
    let theirs = from.lines().into_iter().filter(|line| !line.contains("\"administration\""));
    let (mut expected, mut found) = (own.into_iter().chain(theirs).collect::<Vec<_>>(), to.lines());
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    let (code, _, why) = to.run(&format!("import {name}"));
    assert!(code == Some(3) && why.contains("  line 2: #/tenant/id: is taken"), "{code:?} {why}");

    let keys = to.installation.folder.path().join("keys.csv");
    let digest = hex(&Sha256::digest("old key"));
    fs::write(&keys, format!("tenant,caller,name,digest\nown,new,old,{digest}\n")).unwrap();
    let (code, _, why) = to.run("import-keys keys.csv");
    assert!(code == Some(3) && why.contains("line 2: #/caller: does not exist"), "{code:?} {why}");
    let (code, output, why) = to.run("import-keys keys.csv --create-callers");
    assert_eq!((code, &*output), (Some(0), "imported: keys 1, callers 1\n"), "{why}");
    assert!(to.lines().iter().any(|line| line.contains("\"sha256_key\"")));
    let verified = to.installation.command("audit verify").output().unwrap();
    assert!(verified.status.success());
    drop((from.gateway, to.gateway));
}

#[tokio::test]
async fn cut_connection_leaves_nothing_and_frees_its_slot() {
    let from = Served::demo();
    let to = Served::beside(&from.installation).await;
    let (_, file, _) = from.run("export");
    fs::write(to.installation.folder.path().join("all.ndjson"), &file).unwrap();
    let before = to.lines();
    let mut cut = TcpStream::connect(to.admin).unwrap();
    let head = format!(
        "POST /admin/v1/import HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n{}",
        to.admin,
        to.token,
        file.len(),
        &file[..file.len() - 1],
    );
    cut.write_all(head.as_bytes()).unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while to.run("import all.ndjson --dry-run").0 == Some(0) {
        assert!(Instant::now() < deadline, "nobody hears of it");
    }
    let (code, _, why) = to.run("import all.ndjson --dry-run");
    assert!(code == Some(3) && why.contains("409 Conflict: An import is in progress"), "{why}");
    drop(cut);
    while to.run("import all.ndjson --dry-run").0 != Some(0) {
        assert!(Instant::now() < deadline, "the place is not given back");
    }
    assert_eq!(to.lines(), before);
    assert_eq!(to.run("import all.ndjson").0, Some(0));
}

#[test]
fn remote_failure_has_exit_status_3_and_leaves_no_file() {
    let served = Served::demo();
    let file = served.installation.folder.path().join("all.ndjson");
    let (code, _, why) = served.run_with("export --output all.ndjson", "pca_nobody");
    assert!(code == Some(3) && why.contains("401 Unauthorized"), "{why}");
    fs::write(served.installation.folder.path().join("large.ndjson"), "x".repeat(32 << 20)).unwrap();
    let (code, _, why) = served.run_with("import large.ndjson", "pca_nobody");
    // The client may read the response or notice the closed connection first.
    assert!(matches!(code, Some(1 | 3)), "{why}");
    let (code, _, why) = served.run("import large.ndjson");
    assert!(code == Some(3) && why.contains("line 1: "), "{why}");
    let output = served.installation.command("export --output all.ndjson --url http://127.0.0.1:1");
    let output = { output }.env("PORTCULLIS_TOKEN", "x").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!file.exists() && !file.with_extension("ndjson.draft").exists());
    assert_eq!(fs::read_dir(served.installation.store().parent().unwrap()).unwrap().count(), {
        // The store, its two files beside it, the mark of its use, and the secrets: nothing of what was taken in.
        5
    });
}
