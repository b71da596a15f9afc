//! I2 and I7 for a process that is killed amid acquiring and releasing.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use portcullis::{
    clock::SystemClock,
    model::{LockId, LockTarget, LockToken},
    registry::{NewLock, ProveLock, Registry, RegistryError, RegistryExt, sqlite::Sqlite},
};

use portcullis_test::fixtures::{actor, lock, the_log_tells_all};

const ACQUIRE_IN: &str = "PORTCULLIS_TEST_ACQUIRE_IN";
const THIS_TEST: &str = "crash::fence_never_decreases_across_kill_9";
const GRANTED: &str = "granted ";

async fn open(path: &Path) -> Sqlite {
    Sqlite::open(path, Arc::new(SystemClock::new())).await.unwrap()
}

fn new(path: &str, token: &LockToken) -> NewLock {
    let target = LockTarget::Resource(path.parse().unwrap());
    NewLock { token: token.digest(), ..lock(target, Duration::from_secs(24 * 60 * 60)) }
}

/// The process to be killed: says of each lock that it was granted, and gives it up again.
#[tokio::main]
async fn acquire_for_ever(path: &Path) {
    let store = open(path).await;
    loop {
        let token = LockToken::generate();
        let lock = store.acquire_lock(new("/a", &token), &actor()).await.unwrap();
        println!("{GRANTED}{} {} {}", lock.fence, lock.id, token.expose());
        store.release_lock(&lock.id, &token, &actor()).await.unwrap();
    }
}

/// A grant that was acknowledged.
struct Granted {
    fence: u64,
    id: LockId,
    token: LockToken,
}

/// Starts this test as a process that acquires locks, and kills it after `count` grants. Returns all grants, including
/// those that the process still printed before its end.
fn killed_after(path: &Path, count: usize) -> Vec<Granted> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", THIS_TEST, "--nocapture"]).stdout(Stdio::piped()).env(ACQUIRE_IN, path);
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut granted = Vec::new();
    for line in lines {
        // The test harness may have begun the line.
        let line = line.unwrap();
        let Some((_, grant)) = line.split_once(GRANTED) else { continue };
        let [fence, id, token] = grant.split(' ').collect::<Vec<_>>()[..] else { panic!("{grant}") };
        let (fence, id, token) = (fence.parse().unwrap(), id.parse().unwrap(), token.parse().unwrap());
        granted.push(Granted { fence, id, token });
        if granted.len() == count {
            // SIGKILL; what is still in the pipe is read on.
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success());
    granted
}

#[test]
fn fence_never_decreases_across_kill_9() {
    if let Some(path) = std::env::var_os(ACQUIRE_IN) {
        return acquire_for_ever(Path::new(&path));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut last = 0;
    for count in [1, 2, 7, 40, 13] {
        let granted = killed_after(&path, count);
        for granted in &granted {
            assert!(granted.fence > last, "I7: granted {} after {last}", granted.fence);
            last = granted.fence;
        }
        last = after(&path, granted.last().unwrap());
    }
}

/// Checks the state that the next process finds: at most one lock, the last that was acknowledged or one after it,
/// still its holder's. Returns the fence of the next grant.
#[tokio::main]
async fn after(path: &Path, last: &Granted) -> u64 {
    let store = open(path).await;
    let there = store.locks(None, 10).await.unwrap();
    assert!(there.len() <= 1, "I1: {there:?}");
    let token = LockToken::generate();
    let next = store.acquire_lock(new("/b", &token), &actor()).await.unwrap();
    assert!(next.fence > last.fence, "I7: granted {} after {}", next.fence, last.fence);

    let proof = ProveLock { id: last.id.clone(), token: last.token.clone(), fence: last.fence }.into();
    let proven = store.execute(vec![proof], &actor()).await;
    if let Some(lock) = there.first() {
        assert!(lock.fence >= last.fence, "I7: {lock:?} after {}", last.fence);
        assert_eq!(lock.fence == last.fence, proven.is_ok(), "I7: {lock:?} {proven:?}");
        let refused = store.acquire_lock(new("/a", &token), &actor()).await;
        assert!(matches!(refused, Err(RegistryError::Locked(_))), "I1: {refused:?}");
        store.break_lock(&lock.id, &actor()).await.unwrap();
    } else {
        assert!(matches!(proven, Err(RegistryError::LockLost)), "I7: {proven:?}");
    }
    store.release_lock(&next.id, &token, &actor()).await.unwrap();
    the_log_tells_all(&store).await;
    store.close().await;
    next.fence
}
