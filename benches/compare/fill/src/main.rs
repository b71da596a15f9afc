//! `fill FOLDER KEYS`: creates a store with that many callers, each with a key, through the public registry API, and
//! writes the keys to files: `keys.txt` has these keys, `strangers.txt` has as many well-formed keys, at most 1000,
//! that the store does not know.
//!
//! Each tenant and its callers are created in one synced transaction. A folder in memory (`/dev/shm`) is even faster;
//! move it afterwards.

use std::{
    error::Error,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
};

use portcullis::{
    clock::SystemClock,
    model::{
        Actor, CallerId, CallerKind, GeneratedKey, KeyPrefix, Pepper, Plan, PlanId, SubscriptionStatus,
        TenantId,
    },
    registry::{
        Command, CreateCaller, CreateCredential, CreateTenant, NewCaller, NewCredential, NewTenant,
        RegistryExt, sqlite::Sqlite,
    },
};
use portcullis_gateway::config::SecretsFile;

/// Callers of one tenant. Few, because creating one counts all callers of its tenant.
const TOGETHER: u32 = 100;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let mut words = std::env::args().skip(1);
    let (Some(folder), Some(keys)) = (words.next(), words.next()) else {
        return Err("usage: fill FOLDER KEYS".into());
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(fill(Path::new(&folder), keys.parse()?))
}

async fn fill(folder: &Path, keys: u32) -> Outcome {
    std::fs::create_dir_all(folder)?;
    let secrets = SecretsFile::create(&folder.join("secrets.toml"))?.peppers();
    let store = Store {
        registry: Sqlite::open(&folder.join("store.db"), Arc::new(SystemClock::new())).await?,
        actor: Actor::system("fill"),
        plan: "fill".parse()?,
    };
    // The gateway's configuration sets its limits.
    store.registry.put_plan(Plan::new(store.plan.clone(), Vec::new())?, &store.actor).await?;

    let mut known = BufWriter::new(File::create(folder.join("keys.txt"))?);
    for first in (0..keys).step_by(TOGETHER as usize) {
        let mut commands = Vec::new();
        let tenant = store.tenant(first / TOGETHER, &mut commands)?;
        for at in first..keys.min(first + TOGETHER) {
            let key = store.caller(&tenant, at, secrets.current(), &mut commands);
            writeln!(known, "{}", key.expose())?;
        }
        store.registry.execute(commands, &store.actor).await?;
    }
    known.flush()?;
    let mut strangers = BufWriter::new(File::create(folder.join("strangers.txt"))?);
    for _ in 0..keys.min(1000) {
        writeln!(strangers, "{}", GeneratedKey::generate(&KeyPrefix::default()).expose())?;
    }
    strangers.flush()?;
    store.registry.close().await;
    Ok(())
}

struct Store {
    registry: Sqlite,
    actor: Actor,
    plan: PlanId,
}

impl Store {
    fn tenant(&self, at: u32, commands: &mut Vec<Command>) -> Outcome<TenantId> {
        let id: TenantId = format!("tenant-{at}").parse()?;
        let tenant = NewTenant {
            id: id.clone(),
            name: format!("Tenant {at}"),
            gateway: None,
            standing: SubscriptionStatus::Active,
            max_callers: TOGETHER,
        };
        commands.push(CreateTenant(tenant).into());
        Ok(id)
    }

    fn caller(
        &self,
        tenant: &TenantId,
        at: u32,
        pepper: &Pepper,
        commands: &mut Vec<Command>,
    ) -> GeneratedKey {
        let id = CallerId::random();
        let caller = NewCaller {
            id: id.clone(),
            tenant: tenant.clone(),
            name: format!("caller-{at}"),
            kind: CallerKind::ApiClient,
            plan: Some(self.plan.clone()),
        };
        commands.push(CreateCaller(caller).into());
        let key = GeneratedKey::generate(&KeyPrefix::default());
        let credential = NewCredential::key(tenant.clone(), id, &key, pepper);
        let credential = NewCredential { name: "first".into(), ..credential };
        commands.push(CreateCredential { credential, most: None }.into());
        key
    }
}
