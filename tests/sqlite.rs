//! Promises of the registry in a file beyond those of every registry: it persists, shares and protects the file.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis::{
    clock::{ManualClock, SystemClock},
    model::{
        Caller, CallerEdit, CallerId, Entity, EnvironmentId, Grant, GrantId, GrantRole, Lock, LockTarget,
        LockToken, MAX_LOCKS,
    },
    registry::{
        CallerFilter, CreateTenant, NewTenant, Order, Outcome, Registry, RegistryError, RegistryExt,
        Transaction, UnitOfWork, execute,
        sqlite::{Options, Sqlite},
    },
};
use portcullis_test::fixtures::{
    actor, app, client, clock, gateway, key, lock, lock_on, log, plan, tenant, the_log_tells_all, within,
};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, SqliteConnection, sqlite::SqliteConnectOptions,
};
use tempfile::TempDir;

/// Returns a folder, and the path of a store that does not exist yet.
fn new_store() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

/// Returns options with a short timeout.
fn hasty() -> Options {
    Options::default().busy_timeout(Duration::from_millis(100)).poll(Duration::from_millis(20))
}

async fn open(path: &Path) -> Sqlite {
    Sqlite::open_with(path, clock(), hasty()).await.unwrap()
}

async fn reason(path: &Path) -> RegistryError {
    match Sqlite::open_with(path, clock(), hasty()).await {
        Ok(_) => panic!("{} opened", path.display()),
        Err(fault) => fault,
    }
}

/// Opens the file like another program, such as `sqlite3`.
async fn outside(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

/// Returns a command that runs only this test in another process. Pass its task in an environment variable.
fn this_test_again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).stdout(Stdio::piped());
    command
}

/// Creates entities of all kinds and returns a caller.
async fn fill(registry: &dyn Registry) -> Caller {
    let by = &actor();
    registry.create_tenant(tenant("t"), by).await.unwrap();
    registry.put_plan(plan("p", 1), by).await.unwrap();
    registry.create_tenant(gateway("g", "project", "instance"), by).await.unwrap();
    let app = registry.create_caller(app("g", "name", "key"), by).await.unwrap();
    let grant = Grant {
        id: GrantId::random(),
        tenant: app.tenant,
        caller: app.id,
        route: "orders".parse().unwrap(),
        environment: EnvironmentId::release(),
        role: GrantRole::Provider,
        created_at: app.created_at,
    };
    let caller = registry.create_caller(client("t", "name"), by).await.unwrap();
    registry.create_credential(key(&caller, "key"), by).await.unwrap();
    registry.acquire_lock(lock_on(&caller, Duration::from_secs(1)), by).await.unwrap();
    registry.put_grant(grant, by).await.unwrap();
    caller
}

#[tokio::test]
async fn content_survives_reopening() {
    let (_folder, path) = new_store();
    let clock = clock();
    let store = Sqlite::open(&path, clock.clone()).await.unwrap();
    let caller = fill(&store).await;
    let (snapshot, changes) = (store.snapshot().await.unwrap(), log(&store).await);
    assert_eq!(snapshot.entities.len(), 8);
    store.close().await;
    assert!(!path.with_extension("db-wal").exists(), "all of it is in the one file");

    let store = Sqlite::open(&path, clock).await.unwrap();
    assert_eq!(store.snapshot().await.unwrap().entities, snapshot.entities);
    assert_eq!(log(&store).await, changes);
    assert_eq!(store.caller(&caller.tenant, &caller.id).await.unwrap(), caller);
    // The numbering of changes continues.
    store.put_plan(plan("p", 2), &actor()).await.unwrap();
    assert_eq!(store.snapshot().await.unwrap().seq, snapshot.seq + 1);
    the_log_tells_all(&store).await;
}

#[tokio::test]
async fn closed_store_is_unavailable_and_ends_waits() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    let caller = fill(&store).await;
    within(store.close()).await;
    within(store.close()).await;
    let unavailable = |fault| matches!(fault, RegistryError::Unavailable(_));
    assert!(unavailable(store.caller(&caller.tenant, &caller.id).await.unwrap_err()));
    assert!(unavailable(store.snapshot().await.unwrap_err()));
    assert!(unavailable(store.changes(0, 1).await.unwrap_err()));
    assert!(unavailable(store.put_plan(plan("q", 1), &actor()).await.unwrap_err()));
    within(store.wait_for_change(u64::MAX)).await;
}

const WRITE_TO: &str = "PORTCULLIS_TEST_WRITE_TO";
const ACKNOWLEDGED: &str = "acknowledged ";

/// The process to be killed: creates callers, four at a time, and prints each that is acknowledged.
#[tokio::main]
async fn write_for_ever(path: &Path) {
    let store = Arc::new(Sqlite::open(path, Arc::new(SystemClock::new())).await.unwrap());
    let _ = store.create_tenant(NewTenant { max_callers: u32::MAX, ..tenant("t") }, &actor()).await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        all.spawn(async move {
            loop {
                let new = client("t", CallerId::random().as_str());
                let made = store.create_caller(new, &actor()).await.unwrap();
                store.create_credential(key(&made, made.id.as_str()), &actor()).await.unwrap();
                println!("{ACKNOWLEDGED}{}", made.id);
            }
        });
    }
    all.join_next().await.unwrap().unwrap();
}

/// Runs this test in another process that writes, and kills it once it has acknowledged `count` callers. Returns all
/// acknowledged callers, including those printed in the meantime.
fn killed_after(path: &Path, count: usize) -> Vec<CallerId> {
    let mut child =
        this_test_again("acknowledged_change_survives_kill_9").env(WRITE_TO, path).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    for line in lines {
        // The test harness may have begun the line.
        if let Some((_, id)) = line.unwrap().split_once(ACKNOWLEDGED) {
            acknowledged.push(id.parse().unwrap());
            if acknowledged.len() == count {
                // SIGKILL; the rest of the pipe is still read.
                child.kill().unwrap();
            }
        }
    }
    assert!(!child.wait().unwrap().success());
    acknowledged
}

#[test]
fn acknowledged_change_survives_kill_9() {
    if let Some(path) = std::env::var_os(WRITE_TO) {
        return write_for_ever(Path::new(&path));
    }
    let (_folder, path) = new_store();
    let mut acknowledged = Vec::new();
    for count in [1, 2, 7, 40, 150, 13, 90] {
        let more = killed_after(&path, count);
        assert!(more.len() >= count, "it was killed while it wrote");
        acknowledged.extend(more);
        in_order_with(&path, &acknowledged);
    }
}

/// Opens the store of a killed process: it is intact and contains everything that was acknowledged.
#[tokio::main]
async fn in_order_with(path: &Path, acknowledged: &[CallerId]) {
    let store = open(path).await;
    the_log_tells_all(&store).await;
    let entities = store.snapshot().await.unwrap().entities;
    for id in acknowledged {
        let has = |entity: &Entity| match entity {
            Entity::Credential(credential) => credential.caller == *id,
            _ => false,
        };
        assert!(store.caller(&"t".parse().unwrap(), id).await.is_ok(), "{id} was acknowledged");
        assert!(entities.iter().any(has), "the credential of {id} was acknowledged");
    }
    let check: String =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut outside(path).await).await.unwrap();
    assert_eq!(check, "ok");
    let dangling = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut outside(path).await).await;
    assert!(dangling.unwrap().is_empty());
    store.close().await;
}

#[tokio::test]
async fn concurrent_writer_makes_changes_unavailable_but_not_reads() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    let caller = fill(&store).await;
    let before = store.snapshot().await.unwrap();

    let mut other = outside(&path).await;
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    for _ in 0..3 {
        let start = Instant::now();
        let refused = store.create_caller(client("t", "new"), &actor()).await;
        assert!(matches!(refused, Err(RegistryError::Unavailable(_))), "{refused:?}");
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(100) && waited < Duration::from_secs(2), "{waited:?}");
    }
    assert_eq!(store.caller(&caller.tenant, &caller.id).await.unwrap(), caller);
    assert!(matches!(reason(&path).await, RegistryError::Unavailable(_)));
    other.execute("ROLLBACK").await.unwrap();

    assert_eq!(store.snapshot().await.unwrap().entities, before.entities);
    store.create_caller(client("t", "new"), &actor()).await.unwrap();
    the_log_tells_all(&store).await;
}

/// On some errors, such as a full disk, SQLite ends the transaction itself, and the driver does not notice. The
/// connection must not be used again.
#[tokio::test]
async fn writer_survives_a_transaction_ended_by_sqlite() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    fill(&store).await;
    let mut other = outside(&path).await;
    other
        .execute("CREATE TRIGGER broken BEFORE INSERT ON change BEGIN SELECT RAISE(ROLLBACK, 'broken'); END")
        .await
        .unwrap();
    let before = store.snapshot().await.unwrap();
    for _ in 0..3 {
        let refused = store.create_caller(client("t", "new"), &actor()).await;
        assert!(
            matches!(&refused, Err(RegistryError::Corrupt(reason)) if reason.contains("broken")),
            "{refused:?}"
        );
    }
    assert_eq!(store.snapshot().await.unwrap().entities, before.entities);
    other.execute("DROP TRIGGER broken").await.unwrap();
    store.create_caller(client("t", "new"), &actor()).await.unwrap();
    the_log_tells_all(&store).await;
}

#[tokio::test]
async fn unparsable_record_alone_is_corrupt() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    let caller = fill(&store).await;
    let intact = store.create_caller(client("t", "intact"), &actor()).await.unwrap();
    let id = caller.id.as_str();
    let mut other = outside(&path).await;

    let records = [
        "'hunter2'",
        "''",
        r#"'{"hunter2":1}'"#,
        // Text that is not UTF-8.
        "CAST(x'68756e74657232ff' AS TEXT)",
        // The record of another row.
        "(SELECT record FROM caller WHERE name = 'intact')",
        // A record of the right shape with an invalid value.
        "json_set(record, '$.status', 'hunter2')",
    ];
    for record in records {
        let mut broken = other.begin().await.unwrap();
        let sql = format!("UPDATE caller SET record = {record} WHERE id = '{id}'");
        assert_eq!(broken.execute(AssertSqlSafe(sql)).await.unwrap().rows_affected(), 1);
        broken.commit().await.unwrap();

        let (tenant, by) = (&caller.tenant, &actor());
        let outcomes = [
            store.caller(tenant, &caller.id).await.map(drop),
            store.update_caller(tenant, &caller.id, None, CallerEdit::default(), by).await.map(drop),
            store.delete_caller(tenant, &caller.id, None, by).await,
            store.snapshot().await.map(drop),
        ];
        for outcome in outcomes {
            let Err(RegistryError::Corrupt(reason)) = outcome else { panic!("{record}: {outcome:?}") };
            assert!(reason.contains("caller") && reason.contains(id), "{record}: {reason}");
            assert!(!reason.contains("hunter2"), "{record}: {reason}");
        }
        assert_eq!(store.caller(tenant, &intact.id).await.unwrap(), intact);
    }
    // The log still has the record in its original state.
    let last = log(&store).await.into_iter().rfind(|change| change.entity.id() == id);
    assert_eq!(last.unwrap().entity, Entity::Caller(caller));
}

#[tokio::test]
async fn unparsable_change_is_named_by_its_number() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    fill(&store).await;
    let mut other = outside(&path).await;
    other.execute("DROP TRIGGER change_is_not_updated").await.unwrap();
    for (change, set) in [(7, "record = 'x'"), (6, "kind = 'x'"), (5, "verb = 'x'"), (4, "at = 'x'")] {
        let sql = format!("UPDATE change SET {set} WHERE seq = {change}");
        other.execute(AssertSqlSafe(sql)).await.unwrap();
        let Err(RegistryError::Corrupt(reason)) = store.changes(0, 100).await else { panic!("{set}") };
        assert!(reason.contains(&format!("change {change}")), "{reason}");
        assert!(store.changes(0, change - 1).await.is_ok());
    }
}

#[tokio::test]
async fn schema_protects_the_log_and_tenant_isolation() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    fill(&store).await;
    store.create_tenant(tenant("u"), &actor()).await.unwrap();
    let before = (store.snapshot().await.unwrap().entities, log(&store).await);
    let mut other = outside(&path).await;
    let tampering = [
        "UPDATE change SET actor = 'nobody'",
        "DELETE FROM change WHERE seq = (SELECT max(seq) FROM change)",
        "INSERT INTO change SELECT seq + 2, at, actor, verb, kind, entity_id, record FROM change
         ORDER BY seq DESC LIMIT 1",
        "UPDATE credential SET tenant = 'u'",
        "DELETE FROM caller",
        "DELETE FROM tenant WHERE id = 't'",
        "DELETE FROM tenant",
        "UPDATE fence SET last = last - 1",
        "DELETE FROM fence",
        "INSERT INTO fence (last) VALUES (1)",
    ];
    for sql in tampering {
        assert!(other.execute(sql).await.is_err(), "{sql}");
    }
    assert_eq!((store.snapshot().await.unwrap().entities, log(&store).await), before);
}

#[tokio::test]
async fn store_is_verified_against_an_earlier_head() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    assert_eq!(store.verify().await.unwrap().changes, 0);
    fill(&store).await;
    let verified = store.verify().await.unwrap();
    assert_eq!(verified.changes, log(&store).await.len() as u64);
    assert_eq!(store.hash(verified.changes).await.unwrap(), Some(verified.head));
    assert_eq!(store.hash(verified.changes + 1).await.unwrap(), None);

    store.put_plan(plan("p", 2), &actor()).await.unwrap();
    let other = open(&path).await;
    other.put_plan(plan("p", 3), &actor()).await.unwrap();
    store.put_plan(plan("p", 4), &actor()).await.unwrap();
    let later = other.verify().await.unwrap();
    assert_eq!(later.changes, verified.changes + 3);
    assert_ne!(later.head, verified.head);
    assert_eq!(store.hash(verified.changes).await.unwrap(), Some(verified.head));
}

/// Every manipulation of the file by another program, with the triggers removed.
#[tokio::test]
async fn tampered_row_is_found() {
    let unguarded = "DROP TRIGGER change_is_not_updated; DROP TRIGGER change_is_not_deleted;
        DROP TRIGGER change_hash_is_not_updated; DROP TRIGGER change_hash_is_not_deleted;
        DROP TRIGGER change_has_no_gaps; PRAGMA foreign_keys = OFF;";
    for (tampering, found) in [
        ("UPDATE change SET actor = 'nobody' WHERE seq = 3", "change 3"),
        ("UPDATE change SET at = '2026-01-01T00:00:01Z' WHERE seq = 4", "change 4"),
        ("UPDATE change SET verb = 'updated' WHERE seq = 1", "change 1"),
        ("UPDATE change SET record = json_set(record, '$.name', 'x') WHERE seq = 5", "change 5"),
        // A character moved from one column into the next.
        ("UPDATE change SET actor = 'testcre', verb = 'ated' WHERE seq = 2", "change 2"),
        ("DELETE FROM change_hash WHERE seq = 6; DELETE FROM change WHERE seq = 6", "change 6"),
        ("DELETE FROM change WHERE seq = 8", "changes 8 to 8"),
        ("DELETE FROM change_hash WHERE seq = 8", "change 8"),
        ("UPDATE change_hash SET hash = zeroblob(32) WHERE seq = 2", "change 2"),
        ("UPDATE credential SET record = json_set(record, '$.scopes', 'none')", "credential"),
        ("UPDATE caller SET record = json_set(record, '$.plan', 'p') WHERE tenant = 't'", "caller"),
        ("DELETE FROM lock", "lock"),
        ("DELETE FROM \"grant\"", "grant"),
        ("UPDATE \"grant\" SET record = json_set(record, '$.route', 'bills')", "grant"),
        ("UPDATE tenant SET project_id = 'p', instance_id = 'i' WHERE id = 't'", "tenant \"t\""),
        ("UPDATE caller SET tenant = 'u' WHERE tenant = 't'", "caller"),
        ("UPDATE caller SET status = 'disabled' WHERE tenant = 't'", "caller"),
        ("UPDATE caller SET kind = 'operator' WHERE tenant = 't'", "caller"),
        ("UPDATE credential SET digest = 'x'", "credential"),
        ("UPDATE lock SET path = '/other', caller = NULL", "lock"),
        ("UPDATE \"grant\" SET route = 'bills'", "grant"),
        ("INSERT INTO plan (id, record) VALUES ('free', '{}')", "plan \"free\""),
        ("UPDATE fence SET last = last + 1", "the last fence"),
        ("DROP TRIGGER fence_is_not_deleted; DELETE FROM fence", "the last fence"),
    ] {
        let (_folder, path) = new_store();
        let store = open(&path).await;
        fill(&store).await;
        store.verify().await.unwrap();
        let mut other = outside(&path).await;
        for sql in [unguarded, tampering] {
            other.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
        }
        let outcome = store.verify().await;
        let Err(RegistryError::Corrupt(reason)) = outcome else { panic!("{tampering}: {outcome:?}") };
        assert!(reason.starts_with(found), "{tampering}: {reason}");
    }
}

#[tokio::test]
async fn changes_without_hashes_are_hashed_on_opening() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    fill(&store).await;
    let whole = store.verify().await.unwrap();
    store.close().await;
    let mut other = outside(&path).await;
    other.execute(WITHOUT_HASHES).await.unwrap();
    assert_eq!(open(&path).await.verify().await.unwrap(), whole);
}

/// Turns a store into one from before changes had hashes.
const WITHOUT_HASHES: &str = "DROP TABLE change_hash; DROP INDEX change_entity;
    DELETE FROM _sqlx_migrations WHERE version = 3;";

const FORGED: &str =
    "INSERT INTO change SELECT seq + 1, at, 'nobody', verb, kind, entity_id, record FROM change
    ORDER BY seq DESC LIMIT 1";

#[tokio::test]
async fn appended_change_without_a_hash_is_found_and_gets_none() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    fill(&store).await;
    let forged = store.verify().await.unwrap().changes + 1;
    store.close().await;
    outside(&path).await.execute(FORGED).await.unwrap();
    let found = |outcome| match outcome {
        Err(RegistryError::Corrupt(reason)) => {
            assert!(reason.starts_with(&format!("change {forged} has no hash")), "{reason}");
        }
        outcome => panic!("{outcome:?}"),
    };
    for _ in 0..2 {
        let store = Sqlite::open_to_read(&path, clock()).await.unwrap();
        found(store.verify().await);
        store.close().await;
        // Neither opening the store to write nor a change validates the forged change. Changes remain possible.
        let store = open(&path).await;
        found(store.verify().await);
        store.put_plan(plan("q", u32::try_from(log(&store).await.len()).unwrap()), &actor()).await.unwrap();
        found(store.verify().await);
        assert_eq!(store.hash(forged).await.unwrap(), None);
        store.close().await;
    }
}

#[tokio::test]
async fn read_only_store_is_left_unchanged() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    fill(&store).await;
    store.close().await;
    let bytes = std::fs::read(&path).unwrap();
    let store = Sqlite::open_to_read(&path, clock()).await.unwrap();
    store.verify().await.unwrap();
    assert_eq!(log(&store).await.len(), 8);
    assert!(store.put_plan(plan("q", 1), &actor()).await.is_err());
    store.close().await;
    assert!(std::fs::read(&path).unwrap() == bytes, "it was written to");

    // The store is from an earlier version: a migrated copy of it is verified.
    let mut other = outside(&path).await;
    other.execute(WITHOUT_HASHES).await.unwrap();
    other.close().await.unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let store = Sqlite::open_to_read(&path, clock()).await.unwrap();
    store.verify().await.unwrap();
    store.close().await;
    drop(store);
    assert!(std::fs::read(&path).unwrap() == bytes, "it was written to");
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a copy is left");
    assert!(Sqlite::open_to_read(&path.with_file_name("none.db"), clock()).await.is_err());
    assert!(!path.with_file_name("none.db").exists());
}

/// Every way to replace the file of a store that is in use.
#[tokio::test]
async fn replaced_store_is_noticed_and_written_in_place() {
    type Replace = fn(&Path, &Path);
    let renamed: Replace = |from, to| std::fs::rename(from, to).unwrap();
    let removed_first: Replace = |from, to| {
        for beside in ["db", "db-wal", "db-shm"] {
            let _ = std::fs::remove_file(to.with_extension(beside));
        }
        std::fs::copy(from, to).unwrap();
    };
    let written_over: Replace = |from, to| {
        std::fs::copy(from, to).unwrap();
    };
    for (how, replace) in
        [("renamed", renamed), ("removed first", removed_first), ("written over", written_over)]
    {
        let (folder, path) = new_store();
        let store = open(&path).await;
        let caller = fill(&store).await;
        store.close().await;
        let older = folder.path().join("older.db");
        std::fs::copy(&path, &older).unwrap();

        let store = open(&path).await;
        let mark = store.mark(0).await.unwrap().unwrap();
        for n in 0..50 {
            store.create_caller(client("t", &format!("lost {n}")), &actor()).await.unwrap();
        }
        let last = log(&store).await.last().unwrap().seq;
        // Changes that are not checkpointed yet are in the log, and would be mixed with the copied file.
        while path.with_extension("db-wal").metadata().unwrap().len() > 0 {
            let _ = tokio::time::timeout(Duration::from_millis(60), store.wait_for_change(last)).await;
        }
        replace(&older, &path);
        // The write goes to the new file at once.
        store.create_caller(client("t", "kept"), &actor()).await.unwrap();
        within(store.wait_for_change(last)).await;
        let log = log(&store).await;
        assert_eq!(log.len() as u64, mark.last + 1, "{how}");
        assert!(store.caller(&caller.tenant, &caller.id).await.is_ok(), "{how}");
        store.verify().await.unwrap();
        store.close().await;
        let again = open(&path).await;
        assert_eq!(again.verify().await.unwrap().changes, mark.last + 1, "{how}");
        let check: String =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut outside(&path).await).await.unwrap();
        assert_eq!(check, "ok", "{how}");
    }
}

#[tokio::test]
async fn store_without_its_file_rejects_changes_until_it_is_back() {
    let (folder, path) = new_store();
    let store = open(&path).await;
    fill(&store).await;
    let aside = folder.path().join("aside.db");
    std::fs::rename(&path, &aside).unwrap();
    let refused = store.put_plan(plan("q", 1), &actor()).await;
    assert!(matches!(refused, Err(RegistryError::Unavailable(_))), "{refused:?}");
    assert!(!path.exists(), "none is made in its place");
    std::fs::write(&path, "").unwrap();
    let refused = store.put_plan(plan("q", 1), &actor()).await;
    assert!(matches!(refused, Err(RegistryError::Unavailable(_))), "{refused:?}");
    std::fs::rename(&aside, &path).unwrap();
    store.put_plan(plan("q", 1), &actor()).await.unwrap();
    store.verify().await.unwrap();
}

/// Another client may create entities of the file while the import reads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn import_conflicting_with_a_concurrent_change_is_rejected() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    fill(&store).await;
    /// Creates a tenant while another client creates one.
    struct Making<'a>(&'a Path, &'a str);
    #[async_trait::async_trait]
    impl UnitOfWork for Making<'_> {
        async fn perform(&mut self, tx: &mut dyn Transaction) -> Result<Outcome, RegistryError> {
            let made = [tenant("first"), tenant("second")].map(|it| CreateTenant(it).into());
            execute(tx, made.into()).await?;
            open(self.0).await.create_tenant(tenant(self.1), &actor()).await?;
            Ok(Outcome::Commit)
        }
    }
    let refused = store.transact_bulk(&mut Making(&path, "second"), &actor()).await;
    assert!(matches!(refused, Err(RegistryError::Conflict)), "{refused:?}");
    assert!(store.tenant(&"first".parse().unwrap()).await.is_err());
    store.delete_tenant(&"second".parse().unwrap(), None, &actor()).await.unwrap();
    store.transact_bulk(&mut Making(&path, "third"), &actor()).await.unwrap();
    assert!(store.tenant(&"first".parse().unwrap()).await.is_ok());
    store.verify().await.unwrap();
    the_log_tells_all(&store).await;
}

#[tokio::test]
async fn bulk_work_leaves_no_write_ahead_log() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    for n in 0..20 {
        store.put_plan(plan("q", n + 1), &actor()).await.unwrap();
    }
    let log = path.with_extension("db-wal");
    assert!(log.metadata().unwrap().len() > 0);
    while log.metadata().unwrap().len() > 0 {
        let _ = tokio::time::timeout(Duration::from_millis(60), store.wait_for_change(20)).await;
    }
    store.verify().await.unwrap();
}

/// A failure in the last transaction does not undo the earlier ones.
#[tokio::test]
async fn uses_of_many_credentials_take_many_transactions() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    let caller = fill(&store).await;
    let mut made = Vec::new();
    for name in ["first", "middle", "last"] {
        made.push(store.create_credential(key(&caller, name), &actor()).await.unwrap().id);
    }
    let at = caller.created_at;
    let mut uses: Vec<_> = (0..1_200).map(|_| (portcullis::model::CredentialId::random(), at)).collect();
    uses.insert(0, (made[0].clone(), at));
    uses.insert(600, (made[1].clone(), at));
    uses.push((made[2].clone(), at));
    let fails = format!(
        "CREATE TRIGGER fails BEFORE INSERT ON credential_use WHEN NEW.credential = '{}'
         BEGIN SELECT RAISE(ABORT, 'no'); END",
        made[2]
    );
    let mut other = outside(&path).await;
    other.execute(AssertSqlSafe(fails)).await.unwrap();
    store.record_last_used(&uses).await.unwrap_err();
    let used = async || {
        let used = store.last_used(&made).await.unwrap();
        used.into_iter().map(|at| at.map(jiff::Timestamp::as_second)).collect::<Vec<_>>()
    };
    let second = Some(at.as_second());
    assert_eq!(used().await, [second, second, None]);
    other.execute("DROP TRIGGER fails").await.unwrap();
    store.record_last_used(&uses).await.unwrap();
    assert_eq!(used().await, [second; 3]);
}

/// A file from before locks had fences and tokens.
#[tokio::test]
async fn lock_without_a_fence_stays_active_and_can_be_broken() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    let caller = fill(&store).await;
    let minute = Duration::from_secs(60);
    let on = |path: &str| lock(LockTarget::Resource(path.parse().unwrap()), minute);
    let old = store.acquire_lock(on("/a/b"), &actor()).await.unwrap();
    store.close().await;
    let mut other = outside(&path).await;
    other
        .execute(
            "DROP TABLE fence; DROP INDEX lock_path; DROP INDEX lock_owner;
             ALTER TABLE lock DROP COLUMN path; ALTER TABLE lock DROP COLUMN owner;
             DELETE FROM _sqlx_migrations WHERE version = 4;
             DROP TRIGGER change_is_not_updated;
             UPDATE lock SET record = json_remove(record, '$.fence', '$.token');
             UPDATE change SET record = json_remove(record, '$.fence', '$.token') WHERE kind = 'lock';",
        )
        .await
        .unwrap();
    other.execute(WITHOUT_HASHES).await.unwrap();

    let store = open(&path).await;
    store.verify().await.unwrap();
    let before = store.lock(&old.id).await.unwrap();
    assert_eq!(before, Lock { fence: 0, token: None, ..old.clone() });
    for path in ["/a", "/a/b", "/a/b/c"] {
        let refused = store.acquire_lock(on(path), &actor()).await;
        assert!(matches!(&refused, Err(RegistryError::Locked(shown)) if **shown == before), "{refused:?}");
    }
    let refused = store.delete_caller(&caller.tenant, &caller.id, None, &actor()).await;
    assert!(matches!(refused, Err(RegistryError::Locked(_))), "{refused:?}");
    let token = LockToken::generate();
    let unproven = store.release_lock(&old.id, &token, &actor()).await;
    assert!(matches!(unproven, Err(RegistryError::LockLost)), "{unproven:?}");
    // The lock counts for its owner.
    for n in 2..MAX_LOCKS {
        store.acquire_lock(on(&format!("/{n}")), &actor()).await.unwrap();
    }
    let full = store.acquire_lock(on("/x"), &actor()).await;
    assert!(matches!(full, Err(RegistryError::LimitReached(MAX_LOCKS))), "{full:?}");
    store.break_lock(&old.id, &actor()).await.unwrap();
    assert!(store.acquire_lock(on("/a"), &actor()).await.unwrap().fence > old.fence);
    store.verify().await.unwrap();
    the_log_tells_all(&store).await;
}

#[tokio::test]
async fn fence_does_not_decrease_with_the_clock() {
    let (_folder, path) = new_store();
    let on = |path: &str| lock(LockTarget::Resource(path.parse().unwrap()), Duration::from_secs(1));
    let mut last = 0;
    for time in
        ["2026-01-01T00:00:01Z", "2030-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "1969-01-01T00:00:00Z"]
    {
        let clock = Arc::new(ManualClock::at(time.parse().unwrap()));
        let store = Sqlite::open(&path, clock).await.unwrap();
        for _ in 0..3 {
            let lock = store.acquire_lock(on("/a"), &actor()).await.unwrap();
            assert!(lock.fence > last, "{} after {last} at {time}", lock.fence);
            last = lock.fence;
            store.break_lock(&lock.id, &actor()).await.unwrap();
        }
        store.verify().await.unwrap();
        store.close().await;
    }
}

#[tokio::test]
async fn two_handles_on_one_file_see_each_others_changes() {
    let (_folder, path) = new_store();
    let (one, two) = (open(&path).await, open(&path).await);
    one.create_tenant(tenant("t"), &actor()).await.unwrap();
    for (seq, (writes, reads)) in (1..).zip([(&one, &two), (&two, &one), (&one, &two), (&two, &one)]) {
        // One waits first, and is not notified by the writer.
        let caller = async {
            tokio::task::yield_now().await;
            writes.create_caller(client("t", &format!("name {seq}")), &actor()).await.unwrap()
        };
        let ((), made) = within(async { tokio::join!(biased; reads.wait_for_change(seq), caller) }).await;
        let changes = reads.changes(seq, 10).await.unwrap();
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].seq, &changes[0].entity), (seq + 1, &Entity::Caller(made.clone())));
        assert_eq!(reads.caller(&made.tenant, &made.id).await.unwrap(), made);
        // An existing change is returned without waiting.
        within(reads.wait_for_change(seq)).await;
    }
    the_log_tells_all(&one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_file_may_be_opened_concurrently() {
    for _ in 0..5 {
        let (_folder, path) = new_store();
        let mut all = tokio::task::JoinSet::new();
        for n in 0..8 {
            let path = path.clone();
            all.spawn(async move {
                let store = Sqlite::open(&path, clock()).await.unwrap();
                store.create_tenant(tenant(&format!("t{n}")), &actor()).await.unwrap();
                store
            });
        }
        let stores = within(all.join_all()).await;
        for store in &stores {
            assert_eq!(store.snapshot().await.unwrap().seq, 8);
        }
        the_log_tells_all(&stores[0]).await;
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{collections::BTreeSet, os::unix::fs::MetadataExt};

    use super::*;

    /// POSIX drops all locks of a process on a file when the process closes any descriptor of the file. The next
    /// process that closes the store would consider itself the last one, and remove the write-ahead log while another
    /// process still writes to it. (SQLite 3.51 detects this; older versions lose changes.)
    #[tokio::test]
    async fn second_opening_keeps_the_file_locks_of_the_first() {
        let (_folder, path) = new_store();
        let first = open(&path).await;
        let (device, inode) = (path.metadata().unwrap().dev(), path.metadata().unwrap().ino());
        // Read the descriptors of this file: /proc/locks lists an entry twice or not at all while other locks change.
        let locks = || {
            let mut found = BTreeSet::new();
            for descriptor in std::fs::read_dir("/proc/self/fd").unwrap().map(|it| it.unwrap()) {
                let ours = std::fs::metadata(descriptor.path())
                    .is_ok_and(|file| (file.dev(), file.ino()) == (device, inode));
                if !ours {
                    continue;
                }
                let info = Path::new("/proc/self/fdinfo").join(descriptor.file_name());
                let info = std::fs::read_to_string(info).unwrap_or_default();
                let locks = info.lines().filter_map(|line| line.strip_prefix("lock:"));
                found.extend(locks.map(|lock| lock.split_once(": ").unwrap().1.to_owned()));
            }
            found.len()
        };
        assert_eq!(locks(), 1);
        let second = open(&path).await;
        assert_eq!(locks(), 1);
        second.close().await;
        assert_eq!(locks(), 1);
        first.close().await;
        assert_eq!(locks(), 0);
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn new_store_and_its_folder_are_private() {
        let (folder, _) = new_store();
        let inner = folder.path().join("not/there");
        let store = open(&inner.join("store.db")).await;
        store.create_tenant(tenant("t"), &actor()).await.unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&inner), 0o700);
        let files: Vec<_> = inner.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 4, "the file, its log, the log's index and the mark of its use: {files:?}");
        assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    }
}

#[tokio::test]
async fn file_that_is_no_store_is_rejected_and_unchanged() {
    let (folder, path) = new_store();
    let mut lookalike = [0xA5; 4_096];
    lookalike[..16].copy_from_slice(b"SQLite format 3\0");
    for garbage in [&b"x"[..], &[0xA5; 100], &[b'x'; 5_000], &[0; 8_192], &lookalike] {
        std::fs::write(&path, garbage).unwrap();
        let fault = reason(&path).await;
        assert!(matches!(fault, RegistryError::Corrupt(_)), "{} bytes: {fault:?}", garbage.len());
        assert_eq!(std::fs::read(&path).unwrap(), garbage);
    }
    assert!(matches!(reason(folder.path()).await, RegistryError::Unavailable(_)), "a folder");
    assert!(matches!(reason(&path.join("store.db")).await, RegistryError::Unavailable(_)), "below a file");
    assert!(matches!(reason(Path::new("")).await, RegistryError::Unavailable(_)), "nothing");
}

#[tokio::test]
async fn store_of_a_later_version_is_rejected_and_unchanged() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    fill(&store).await;
    store.close().await;
    let mut other = outside(&path).await;
    other
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'later', TRUE, x'00', 0)",
        )
        .await
        .unwrap();
    assert!(matches!(reason(&path).await, RegistryError::Corrupt(reason) if reason.contains("9999")));
    other.execute("DELETE FROM _sqlx_migrations WHERE version = 9999").await.unwrap();
    the_log_tells_all(&open(&path).await).await;
}

const OPEN_HERE: &str = "PORTCULLIS_TEST_OPEN_HERE";

/// Runs in a process with its own working directory, because only relative names are special.
#[tokio::test]
async fn file_names_special_to_sqlite_are_ordinary_files() {
    if let Some(name) = std::env::var_os(OPEN_HERE) {
        let store = open(Path::new(&name)).await;
        store.create_tenant(tenant("t"), &actor()).await.unwrap();
        return store.close().await;
    }
    let (folder, _) = new_store();
    for name in [":memory:", "file:x?mode=memory", "with space & %41?x=1#y"] {
        let mut again = this_test_again("file_names_special_to_sqlite_are_ordinary_files");
        assert!(again.env(OPEN_HERE, name).current_dir(folder.path()).status().unwrap().success());
        let store = open(&folder.path().join(name)).await;
        assert!(store.tenant(&"t".parse().unwrap()).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn apps_of_an_earlier_version_are_listed_by_their_records() {
    let (_folder, path) = new_store();
    let store = open(&path).await;
    fill(&store).await;
    store.close().await;
    let back = "DELETE FROM _sqlx_migrations WHERE version = 6; DROP INDEX caller_created;
                ALTER TABLE caller DROP COLUMN created_at; ALTER TABLE caller DROP COLUMN status;
                ALTER TABLE caller DROP COLUMN creator;";
    outside(&path).await.execute(back).await.unwrap();
    let store = open(&path).await;
    let creator = Some(portcullis::model::Creator::Market);
    let status = Some(portcullis::model::Status::Enabled);
    let filter = CallerFilter { creator, status, order: Order::Newest, limit: 9, ..CallerFilter::default() };
    assert_eq!(store.callers(&filter).await.unwrap().len(), 1);
    assert_eq!(store.count_callers(&CallerFilter { creator: None, ..filter }).await.unwrap(), 2);
    let when: Vec<String> = sqlx::query_scalar("SELECT created_at FROM caller ORDER BY created_at")
        .fetch_all(&mut outside(&path).await)
        .await
        .unwrap();
    assert_eq!(when, ["2026-01-01T00:00:00.000000007", "2026-01-01T00:00:00.000000007"]);
}

/// The number of apps of the listed gateway.
const APPS: u64 = 30_000;

/// Run with `PORTCULLIS_TEST_APPS=1000000 … --nocapture` to print the time of a page of that many apps.
#[tokio::test]
async fn page_of_apps_is_read_without_reading_the_others() {
    let count = std::env::var("PORTCULLIS_TEST_APPS").map_or(APPS, |text| text.parse().unwrap());
    let (_folder, path) = new_store();
    let store = open(&path).await;
    store.create_tenant(gateway("g", "project", "instance"), &actor()).await.unwrap();
    let made = store.create_caller(app("g", "app_000000", "key_000000"), &actor()).await.unwrap();
    // Single creations would each be a synced transaction: another connection writes the other apps in the same format.
    let mut outside = outside(&path).await;
    let like = format!(
        "INSERT INTO caller (id, record, revision, tenant, kind, name, app_key, created_at, status, creator)
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count}),
         new (i, at) AS (SELECT i, printf('2026-01-02T%02d:%02d:%02d.%03d', i / 3600000 % 24, i / 60000 % 60,
         i / 1000 % 60, i % 1000) FROM n)
         SELECT printf('app-%06d', i), replace(replace(replace(replace(record, id, printf('app-%06d', i)),
         'app_000000', printf('app_%06d', i)), 'key_000000', printf('key_%06d', i)), created_at, at), 1, tenant,
         kind, printf('app_%06d', i), printf('key_%06d', i), at, status, creator FROM caller, new"
    );
    outside.execute(AssertSqlSafe(like)).await.unwrap();

    let newest = CallerFilter {
        tenant: Some(made.tenant.clone()),
        kind: Some("app"),
        order: Order::Newest,
        limit: 500,
        ..CallerFilter::default()
    };
    let (start, memory) = (Instant::now(), resident());
    let mut last = start;
    for (what, filter, total) in [
        ("the first page", newest.clone(), count),
        ("the last page", CallerFilter { offset: count - 500, ..newest.clone() }, count),
        ("by key", CallerFilter { app_key: Some("key_000777".into()), ..newest.clone() }, 1),
        ("by part of the name", CallerFilter { contains: Some("000777".into()), ..newest.clone() }, 1),
        ("none", CallerFilter { status: Some(portcullis::model::Status::Disabled), ..newest.clone() }, 0),
    ] {
        let page = store.callers(&filter).await.unwrap();
        assert_eq!(store.count_callers(&filter).await.unwrap(), total, "{what}");
        assert_eq!(page.len() as u64, total.min(500), "{what}");
        assert!(page.is_sorted_by(|one, other| one.created_at > other.created_at), "{what}");
        let now = Instant::now();
        println!("{what} of {count} and the total: {:?}", now - std::mem::replace(&mut last, now));
    }
    let oldest = CallerFilter { offset: count - 1, ..newest.clone() };
    assert_eq!(store.callers(&oldest).await.unwrap(), [made]);
    println!("resident before {memory} KiB, at most {} KiB", resident());
}

/// Returns the maximum resident memory of this process so far, if the system reports it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn foreign_database_is_rejected_and_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("CREATE TABLE theirs (a)").execute(&pool).await.unwrap();
    let opened = Sqlite::open(&path, Arc::new(SystemClock::new())).await;
    assert!(matches!(opened.err(), Some(RegistryError::Corrupt(_))));
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&pool).await.unwrap();
    assert_eq!(tables, 1);
}
