//! Imports beside other changes of the same store.

use std::{
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use portcullis::{
    clock::Clock,
    registry::{
        Registry, RegistryExt,
        sqlite::{Options, Sqlite},
    },
};
use portcullis_surfaces::transfer::{Export, Import, ImportJob, SecretFingerprint, SecretFingerprints};
use portcullis_test::fixtures::{actor, client, clock, key, log, tenant, the_log_tells_all, within};
use tempfile::TempDir;

/// Returns a folder, and the path of a store that does not exist yet.
fn new_store() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

async fn open(path: &Path) -> Sqlite {
    let hasty = Options::default().busy_timeout(Duration::from_millis(100)).poll(Duration::from_millis(20));
    Sqlite::open_with(path, clock(), hasty).await.unwrap()
}

/// A file whose second part is delivered on request. It notifies when a reader waits for that part.
struct Slow {
    first: std::io::Cursor<Vec<u8>>,
    rest: Option<std::sync::mpsc::Receiver<Vec<u8>>>,
    waits: Option<tokio::sync::oneshot::Sender<()>>,
}

impl std::io::Read for Slow {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self.first.read(into)? {
            0 => {
                let Some(rest) = self.rest.take() else { return Ok(0) };
                self.waits.take().unwrap().send(()).unwrap();
                self.first = std::io::Cursor::new(rest.recv().unwrap());
                self.first.read(into)
            }
            read => Ok(read),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn revocation_does_not_wait_for_an_import() {
    for dry_run in [true, false] {
        let (_folder, from) = new_store();
        let elsewhere = open(&from).await;
        elsewhere.create_tenant(tenant("imported"), &actor()).await.unwrap();
        let moved = elsewhere.create_caller(client("imported", "moved"), &actor()).await.unwrap();
        for n in 0..1_500 {
            elsewhere.create_credential(key(&moved, &format!("imported {n}")), &actor()).await.unwrap();
        }
        let secrets = || SecretFingerprints {
            peppers: vec![SecretFingerprint { version: 1, check: "x".into() }],
            seal_keys: vec![],
        };
        let mut export = Export::begin(&elsewhere, &secrets(), clock().now().time).await.unwrap();
        let mut file = Vec::new();
        while let Some(lines) = export.next().await.unwrap() {
            file.extend(lines);
        }
        let (_folder, path) = new_store();
        let store = Arc::new(open(&path).await);
        store.create_tenant(tenant("t"), &actor()).await.unwrap();
        let caller = store.create_caller(client("t", "name"), &actor()).await.unwrap();
        let revoked = store.create_credential(key(&caller, "revoked"), &actor()).await.unwrap();
        let before = log(&*store).await.len();

        let rest = file.split_off(file.len() / 2);
        let ((let_through, waited), (waits, waiting)) =
            (std::sync::mpsc::channel(), tokio::sync::oneshot::channel());
        let slow = Slow { first: std::io::Cursor::new(file), rest: Some(waited), waits: Some(waits) };
        let import = tokio::spawn({
            let store = store.clone();
            async move {
                let mut file = BufReader::new(slow);
                let import = Import::new(&mut file, secrets()).into_existing(true).dry_run(dry_run);
                import.import_into(&*store, &actor()).await
            }
        });
        within(waiting).await.unwrap();
        // The import has read half of its file and is blocked until this is done.
        within(store.delete_credential(&caller.tenant, &revoked.id, None, &actor())).await.unwrap();
        assert!(!import.is_finished());
        let_through.send(rest).unwrap();
        let imported = within(import).await.unwrap().unwrap();
        assert_eq!(imported.counts["credential"], 1_500);
        let made = if dry_run { 0 } else { 1_502 };
        let after = log(&*store).await;
        assert_eq!(after.len(), before + 1 + made, "dry run: {dry_run}");
        assert!(store.credential(&caller.tenant, &revoked.id).await.is_err());
        store.verify().await.unwrap();
        the_log_tells_all(&*store).await;
        assert_eq!(store.caller(&moved.tenant, &moved.id).await.is_ok(), !dry_run);
        let left: Vec<_> =
            std::fs::read_dir(path.parent().unwrap()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert!(
            left.iter().all(|name| name.to_string_lossy().starts_with("store.db")
                && !name.to_string_lossy().contains("import")),
            "{left:?}"
        );
    }
}
