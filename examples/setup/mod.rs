//! Set-up of both examples: an in-memory registry with one tenant, one plan, one caller and its key, and the
//! directory that policies read.
//!
//! A real service uses a registry with a persistent store, and `registry::follow` applies every later change to the
//! directory.

use std::{error::Error, sync::Arc};

use portcullis::{
    clock::SystemClock,
    directory::Directory,
    model::{
        Actor, CallerKind, GeneratedKey, KeyPrefix, Limit, Pepper, Peppers, Plan, SubscriptionStatus,
        WindowGuarantee,
    },
    registry::{self, NewCaller, NewCredential, NewTenant, RegistryExt, memory::Memory},
};

/// Returns the directory, and the key of its only caller.
pub async fn directory() -> Result<(Arc<Directory>, GeneratedKey), Box<dyn Error>> {
    // This registry and its pepper end with the process. A persistent registry needs a persistent pepper.
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let peppers = Peppers::new(Pepper::new(1, &secret));
    let registry = Memory::new(Arc::new(SystemClock::new()));
    let key = fill(&registry, peppers.current()).await?;
    let directory = Arc::new(Directory::new(peppers));
    registry::load(&registry, &directory).await?;
    Ok((directory, key))
}

async fn fill(registry: &Memory, pepper: &Pepper) -> Result<GeneratedKey, Box<dyn Error>> {
    let actor = Actor::system("example");
    let tenant = NewTenant {
        id: "acme".parse()?,
        name: "Acme".into(),
        gateway: None,
        standing: SubscriptionStatus::Active,
        max_callers: 10,
    };
    let tenant = registry.create_tenant(tenant, &actor).await?;
    let limits = vec![Limit::new("minute", 5, 60, 5, WindowGuarantee::Average)?];
    registry.put_plan(Plan::new("free".parse()?, limits)?, &actor).await?;
    let caller = NewCaller {
        id: "shop".parse()?,
        tenant: tenant.id.clone(),
        name: "the shop".into(),
        kind: CallerKind::ApiClient,
        plan: Some("free".parse()?),
    };
    let caller = registry.create_caller(caller, &actor).await?;
    let key = GeneratedKey::generate(&KeyPrefix::default());
    let credential = NewCredential::key(tenant.id, caller.id, &key, pepper);
    let credential = NewCredential { name: "first".into(), ..credential };
    registry.create_credential(credential, &actor).await?;
    Ok(key)
}
