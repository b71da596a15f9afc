//! Sealing secrets again with another key.

use std::{sync::Arc, time::Duration};

use portcullis::{
    clock::ManualClock,
    model::{ChangeKind, Credential, CredentialKind, SealKey, Sealer, Secret},
    registry::{Registry, RegistryError, RegistryExt, Reseal, SecretRef, reseal},
};

use super::{Promise, promises};
use crate::fixtures::{actor, app, client, key, lock_on, log, tenant};

/// The promises of this module.
pub(super) const PROMISES: &[Promise] =
    promises![resealing_ignores_locks_and_changes_secrets_only, concurrently_changed_secret_is_not_resealed,];

fn seal_key(version: u32) -> SealKey {
    SealKey::new(version, &[u8::try_from(version).unwrap(); 32])
}

async fn resealing_ignores_locks_and_changes_secrets_only(
    registry: Arc<dyn Registry>,
    clock: Arc<ManualClock>,
) {
    let (old, new) = (Sealer::new(seal_key(1)), Sealer::new(seal_key(2)).with_previous(seal_key(1)));
    registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    let mut wanted = app("t", "app", "key");
    let secret =
        old.seal(&Secret::from("app secret".to_owned()), &["t", "app", wanted.id.as_str(), "secret"]);
    let portcullis::model::CallerKind::App(it) = &mut wanted.kind else { unreachable!() };
    it.secret = secret;
    let before = registry.create_caller(wanted, &actor()).await.unwrap();
    let mut code = key(&before, "code");
    let secret = old.seal(&Secret::from("code".to_owned()), &["t", "credential", code.id.as_str(), "secret"]);
    code.kind = CredentialKind::AppCode(secret);
    let code = registry.create_credential(code, &actor()).await.unwrap();
    let plain = registry.create_credential(key(&before, "plain"), &actor()).await.unwrap();
    registry.create_caller(client("t", "client"), &actor()).await.unwrap();
    registry.acquire_lock(lock_on(&before, Duration::from_secs(60)), &actor()).await.unwrap();
    let seq = log(&*registry).await.len();
    clock.advance(Duration::from_secs(1));

    let report = reseal(&*registry, &new, &actor()).await.unwrap();
    assert_eq!((report.resealed, report.up_to_date, report.unreadable.len()), (2, 0, 0));
    let after = registry.caller(&before.tenant, &before.id).await.unwrap();
    let sealed = after.app().unwrap().secret.clone();
    assert_eq!(sealed.key(), 2);
    assert_eq!(
        new.unseal(&sealed, &["t", "app", after.id.as_str(), "secret"]).unwrap().expose(),
        "app secret"
    );
    assert_eq!(
        (after.revision, after.updated_at, &after.name),
        (before.revision, before.updated_at, &before.name)
    );
    let now = registry.credential(&code.tenant, &code.id).await.unwrap();
    let place = ["t", "credential", code.id.as_str(), "secret"];
    assert_eq!(new.unseal(now.kind.sealed().unwrap(), &place).unwrap().expose(), "code");
    assert_eq!(Credential { kind: code.kind.clone(), ..now }, code);
    assert_eq!(registry.credential(&plain.tenant, &plain.id).await.unwrap(), plain);
    let changes = log(&*registry).await;
    assert_eq!(changes[seq..].iter().map(|change| change.verb).collect::<Vec<_>>(), [ChangeKind::Updated; 2]);

    let report = reseal(&*registry, &new, &actor()).await.unwrap();
    assert_eq!((report.resealed, report.up_to_date), (0, 2));
    let none = reseal(&*registry, &Sealer::new(seal_key(3)), &actor()).await.unwrap();
    assert_eq!((none.resealed, none.unreadable.len()), (0, 2), "what it cannot read stays");
    assert_eq!(registry.caller(&before.tenant, &before.id).await.unwrap(), after);
}

async fn concurrently_changed_secret_is_not_resealed(registry: Arc<dyn Registry>, _: Arc<ManualClock>) {
    registry.create_tenant(tenant("t"), &actor()).await.unwrap();
    let caller = registry.create_caller(app("t", "app", "key"), &actor()).await.unwrap();
    let sealed = caller.app().unwrap().secret.clone();
    let command = |secret, expected| {
        Reseal { tenant: caller.tenant.clone(), secret, expected, sealed: sealed.clone() }.into()
    };
    let it = SecretRef::App(caller.id.clone());
    refused!(
        registry,
        RegistryError::Conflict,
        registry.execute(vec![command(it, caller.revision + 1)], &actor())
    );
    let client = registry.create_caller(client("t", "client"), &actor()).await.unwrap();
    let it = SecretRef::App(client.id.clone());
    refused!(registry, RegistryError::NotFound, registry.execute(vec![command(it, 1)], &actor()));
    let plain = registry.create_credential(key(&client, "plain"), &actor()).await.unwrap();
    let it = SecretRef::Credential(plain.id.clone());
    refused!(registry, RegistryError::NotFound, registry.execute(vec![command(it, 1)], &actor()));
}
