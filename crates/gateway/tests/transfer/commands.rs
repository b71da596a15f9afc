//! The commands on a store, while a gateway may run on it.

use std::{
    fs,
    io::{BufWriter, Write},
    path::Path,
    process::{Output, Stdio},
    sync::Arc,
};

use portcullis::{
    clock::SystemClock,
    model::{CallerKind, Entity, text::is_displayable},
    registry::{ImportEntity, RegistryExt, memory::Memory, sqlite::Sqlite},
};
use portcullis_gateway::config::SecretsFile;
use portcullis_surfaces::transfer::{Export, SecretFingerprints};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    process::{Installation, Service, free_address},
    test_registry::{Content, caller, content, file, hex, key, lines},
};
use portcullis_test::fixtures::{actor, clock, tenant};

const CONFIG: &str = "store.path = \"data/portcullis.db\"\nsecrets.file = \"data/secrets.toml\"\n\
                      listeners = [{ address = \"127.0.0.1:0\" }]\n";

/// Returns an installation without a store, which has the secrets of another installation.
fn beside(other: &Installation) -> Installation {
    let installation = Installation::uninitialised(CONFIG, free_address());
    fs::create_dir(installation.folder.path().join("data")).unwrap();
    fs::copy(secrets_file(other), secrets_file(&installation)).unwrap();
    installation
}

fn secrets_file(installation: &Installation) -> std::path::PathBuf {
    installation.folder.path().join("data/secrets.toml")
}

fn run(installation: &Installation, words: &str) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = installation.command(words).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

async fn stored(path: &Path) -> Content {
    let store = Sqlite::open(path, Arc::new(SystemClock::new())).await.unwrap();
    store.verify().await.unwrap();
    let content = content(&store).await;
    store.close().await;
    content
}

/// An earlier version accepted such names, and an import restores them. No command writes them to a terminal unescaped.
#[tokio::test]
async fn imported_names_with_invisible_characters_are_escaped() {
    const INVISIBLE: &str = "a\u{1b}[2J\u{202e}\u{200b}";
    let from = Installation::new(free_address(), "");
    let all = lines(run(&from, "export").1.as_bytes());
    let to = beside(&from);
    let import = |edit: &dyn Fn(&mut Value)| {
        let mut all = all.clone();
        all.iter_mut()
            .filter(|line| line["caller"]["kind"] == "api_client")
            .for_each(|line| edit(&mut line["caller"]));
        fs::write(to.folder.path().join("all.ndjson"), file(all)).unwrap();
        run(&to, "import all.ndjson")
    };
    let is_safe = |text: &str| text.chars().all(|c| c == '\n' || is_displayable(c));
    let (code, told, why) = import(&|caller| caller[INVISIBLE] = 1.into());
    assert!(code == Some(1) && why.contains(r"\u{202e}"), "{told}{why}");
    assert!(is_safe(&told) && is_safe(&why), "{why:?}");
    let (code, told, why) = import(&|caller| caller["name"] = INVISIBLE.into());
    assert!(code == Some(0) && is_safe(&told) && is_safe(&why), "{told}{why}");
    let (code, told, why) = run(&to, "app list --tenant demo");
    assert!(code == Some(0) && told.contains(r"\u{202e}") && is_safe(&told), "{told:?}{why}");
    let (code, _, why) = import(&|_| {});
    assert!(code == Some(1) && is_safe(&why), "{why:?}");
}

#[tokio::test]
async fn store_moves_to_another_site_with_its_secrets() {
    let from = Installation::new(free_address(), "");
    let before = stored(&from.store()).await;
    let (code, _, output) = run(&from, "export --output all.ndjson");
    assert_eq!(code, Some(0), "{output}");
    let file = from.folder.path().join("all.ndjson");
    let bytes = fs::read(&file).unwrap();
    assert_eq!(output, format!("exported {} bytes\n", bytes.len()));
    assert_eq!(lines(&bytes).len(), before.entities.len() + 2);
    let (code, text, _) = run(&from, "export");
    assert_eq!((code, text.lines().count()), (Some(0), before.entities.len() + 2));
    let (_, text, _) = run(&from, "export --output -");
    assert_eq!(text.lines().count(), before.entities.len() + 2);

    let to = beside(&from);
    let name = file.display();
    let (code, output, _) = run(&to, &format!("import {name} --dry-run"));
    assert_eq!(code, Some(0));
    assert!(output.starts_with("would import: ") && output.ends_with("; nothing was changed\n"), "{output}");
    assert_eq!(stored(&to.store()).await.entities, []);
    let (code, output, why) = run(&to, &format!("import {name}"));
    assert_eq!((code, &*output), (Some(0), "imported: caller 3, credential 2, plan 1, tenant 2\n"), "{why}");
    assert_eq!(stored(&to.store()).await.entities, before.entities);
    assert_eq!(run(&to, "audit verify").0, Some(0));

    let (code, _, why) = run(&to, &format!("import {name}"));
    assert_eq!(code, Some(1));
    assert!(
        why.contains(
            "data/portcullis.db: the store is not empty; to add the entries of the file, pass --add"
        ),
        "{why}"
    );
    let (code, _, why) = run(&to, &format!("import {name} --add"));
    assert_eq!(code, Some(1));
    assert!(why.contains("all.ndjson: line 2: tenant.id: is taken"), "{why}");
    assert_eq!(stored(&to.store()).await.entities, before.entities);
}

#[tokio::test]
async fn failure_is_reported_with_exit_status_1() {
    let installation = Installation::new(free_address(), "");
    let keys = installation.folder.path().join("keys.csv");
    fs::write(&keys, "tenant,caller,name,digest\ndemo,nobody,n,x\n,b,n,y\n").unwrap();
    fs::write(installation.folder.path().join("all.ndjson"), "").unwrap();
    let bare = Installation::uninitialised(CONFIG, free_address());
    let (stranger, apart) = (Installation::new(free_address(), ""), beside(&installation));
    let exported = stranger.folder.path().join("all.ndjson");
    run(&stranger, "export --output all.ndjson");
    for (installation, words, what) in [
        (&installation, "export --output all.ndjson", "all.ndjson: entity already exists"),
        (&installation, "export --output no/such/folder/all.ndjson", "no/such/folder/all.ndjson: "),
        (&installation, "import missing.ndjson", "missing.ndjson: cannot be read: "),
        (&installation, "import all.ndjson --add", "all.ndjson: line 1: is incomplete"),
        (
            &apart,
            &format!("import {}", exported.display()),
            "caller.kind.app.secret: needs another seal key 1 than this installation has",
        ),
        (&installation, "import-keys missing.csv", "missing.csv: cannot be read: "),
        (&installation, "import-keys keys.csv", "nothing was imported:\n  line 2: digest: is not 32 bytes"),
        (&installation, "import-keys keys.csv", "\n  line 3: tenant: is missing\n  line 3: digest: "),
        (&installation, "import-keys keys.csv --format ndjson", "line 1: is not a JSON object"),
        (&bare, "export", "store data/portcullis.db does not exist"),
        (&bare, "import-keys keys.csv", "keys.csv: cannot be read"),
        (
            &bare,
            &format!("import {}", exported.display()),
            "an import needs the secrets file of the installation that exported",
        ),
    ] {
        let (code, _, why) = run(installation, words);
        assert_eq!(code, Some(1), "{words}: {why}");
        assert!(why.contains(what), "{words}: {why}");
    }
    assert!(!bare.store().exists());
    assert_eq!(run(&installation, "import").0, Some(2));
    assert_eq!(run(&installation, "import-keys keys.csv --format xml").0, Some(2));
    let left: Vec<_> =
        installation.folder.path().read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("draft")), "{left:?}");
}

#[cfg(unix)]
#[test]
fn export_file_is_private() {
    use std::os::unix::fs::PermissionsExt;

    let installation = Installation::new(free_address(), "");
    assert_eq!(run(&installation, "export --output all.ndjson").0, Some(0));
    let file = installation.folder.path().join("all.ndjson");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let left = fs::read_dir(installation.folder.path()).unwrap().count();
    assert_eq!(left, 3, "nothing is left beside it");
}

#[tokio::test]
async fn running_gateway_accepts_keys_imported_beside_it() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "api_key = true");
    let gateway = installation.start();
    let foreign = "c2stbGl2ZS1rZXktZnJvbS1lbHNld2hlcmU=";
    let ask = async |key: &str| gateway.get("/x").header("x-api-key", key).send().await.unwrap().status();
    assert_eq!(ask(foreign).await, 401);
    let digest = hex(&Sha256::digest(foreign));
    let rows = format!("tenant,caller,name,digest\ndemo,their-client,n,{digest}\n");
    fs::write(installation.folder.path().join("keys.csv"), rows).unwrap();
    let (code, _, why) = run(&installation, "import-keys keys.csv");
    assert_eq!(code, Some(1));
    assert!(why.contains("line 2: caller: does not exist"), "{why}");
    let (_, output, _) = run(&installation, "import-keys keys.csv --create-callers --dry-run");
    assert_eq!(output, "would import: keys 1, callers 1; nothing was changed\n");
    let (code, output, why) = run(&installation, "import-keys keys.csv --create-callers");
    assert_eq!((code, &*output), (Some(0), "imported: keys 1, callers 1\n"), "{why}");
    let deadline = std::time::Instant::now() + crate::process::TIMEOUT;
    while ask(foreign).await != 200 {
        assert!(std::time::Instant::now() < deadline, "the gateway does not follow");
    }
    assert_eq!(ask(&digest).await, 401);
    assert_eq!(ask(&installation.api_key).await, 200);
    // An export during the import is complete.
    let (code, text, _) = run(&installation, "export");
    assert_eq!(code, Some(0));
    assert!(lines(text.as_bytes()).last().unwrap()["end"]["counts"]["credential"] == 3);
}

/// Returns a file with many entities, sealed with an installation's secrets.
async fn large(installation: &Installation) -> Vec<u8> {
    let secrets = SecretsFile::load(&secrets_file(installation)).unwrap();
    let mut all = vec![Entity::Tenant(tenant("t").into_tenant(jiff::Timestamp::UNIX_EPOCH))];
    let peppers = secrets.peppers();
    let mut keys = Vec::new();
    for at in 0..600 {
        let caller = caller("t", &format!("caller-{at}"), CallerKind::ApiClient);
        let mut key = key(&caller, &format!("key-{at}"));
        (key.digest, key.pepper) = (peppers.current().digest(&key.name), peppers.current().version());
        keys.push(Entity::Credential(key));
        all.push(Entity::Caller(caller));
    }
    all.extend(keys);
    let memory = Memory::new(clock());
    memory.execute(all.into_iter().map(|it| ImportEntity(it).into()).collect(), &actor()).await.unwrap();
    let known = SecretFingerprints::new(&peppers, &secrets.sealer());
    let mut export = Export::begin(&memory, &known, jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    let mut file = Vec::new();
    while let Some(lines) = export.next().await.unwrap() {
        file.extend(lines);
    }
    file
}

/// Kills an import after it has received `read` bytes of the file and, if `ends`, the end of its input.
async fn killed_with(from: &Installation, file: &[u8], read: usize, ends: bool) -> usize {
    let to = beside(from);
    let mut child = to.command("import -").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut input = BufWriter::new(child.stdin.take().unwrap());
    input.write_all(&file[..read]).unwrap();
    input.flush().unwrap();
    if ends {
        drop(input);
        child.kill().unwrap();
    } else {
        child.kill().unwrap();
        drop(input);
    }
    child.wait().unwrap();
    stored(&to.store()).await.entities.len()
}

#[tokio::test]
async fn killed_import_leaves_nothing_or_everything() {
    let from = Installation::new(free_address(), "");
    let file = large(&from).await;
    let whole = 1_201;
    // More than a pipe holds: the rest of the written data was read.
    assert!(file.len() / 4 > 65_536 + 8_192, "{}", file.len());
    for part in 1..=4 {
        assert_eq!(killed_with(&from, &file, file.len() * part / 4, false).await, 0, "part {part}");
    }
    for _ in 0..4 {
        let there = killed_with(&from, &file, file.len(), true).await;
        assert!(there == 0 || there == whole, "{there}");
    }
    let to = beside(&from);
    let mut child = to.command("import -").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&file).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(stored(&to.store()).await.entities.len(), whole);
}
