//! Registries of both kinds, and entities to import into them.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use portcullis::{
    clock::Clock,
    model::{
        Access, App, Caller, CallerKind, Creator, Credential, CredentialId, CredentialKind, Entity, Limit,
        Pepper, Peppers, Plan, Role, Scope, Scopes, SealKey, Sealed, Sealer, Secret, Status,
        SubscriptionStatus, Tenant, WindowGuarantee,
    },
    registry::{ImportEntity, NewTenant, Registry, RegistryExt, Snapshot, memory::Memory, sqlite::Sqlite},
};
use portcullis_surfaces::transfer::{Export, Import, ImportError, ImportJob, Imported, SecretFingerprints};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use portcullis_test::fixtures::{actor, clock, gateway, sorted, tenant, the_log_tells_all};

/// A registry with the values that it depends on.
pub struct TestRegistry {
    pub registry: Arc<dyn Registry>,
    sqlite: Option<(Arc<Sqlite>, TempDir)>,
}

impl TestRegistry {
    pub fn memory() -> Self {
        Self { registry: Arc::new(Memory::new(clock())), sqlite: None }
    }

    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Sqlite::open(&folder.path().join("store.db"), clock()).await.unwrap());
        Self { registry: store.clone(), sqlite: Some((store, folder)) }
    }

    /// Creates a registry of each kind.
    pub async fn each() -> [Self; 2] {
        [Self::memory(), Self::sqlite().await]
    }

    pub async fn filled() -> [Self; 2] {
        let each = Self::each().await;
        for one in &each {
            fill(&*one.registry).await;
        }
        each
    }

    /// Checks the invariants of the registry.
    pub async fn is_sound(&self) {
        the_log_tells_all(&*self.registry).await;
        if let Some((store, _)) = &self.sqlite {
            store.verify().await.unwrap();
        }
    }

    pub async fn export(&self) -> Vec<u8> {
        let mut export = Export::begin(&*self.registry, &secrets(), clock().now().time).await.unwrap();
        let mut file = Vec::new();
        while let Some(lines) = export.next().await.unwrap() {
            file.extend(lines);
        }
        assert!(export.next().await.unwrap().is_none(), "the end stays the end");
        file
    }

    pub async fn import(&self, file: &[u8]) -> Result<Imported, ImportError> {
        let mut file = file;
        Import::new(&mut file, secrets()).import_into(&*self.registry, &actor()).await
    }

    pub async fn add(&self, file: &[u8]) -> Result<Imported, ImportError> {
        let mut file = file;
        Import::new(&mut file, secrets()).into_existing(true).import_into(&*self.registry, &actor()).await
    }

    pub async fn content(&self) -> Content {
        content(&*self.registry).await
    }

    /// Asserts that a file is rejected with an error in this line, and that nothing of it was imported.
    pub async fn refuses(&self, file: &[u8], line: u64, member: &str, what: &str) {
        let before = self.content().await;
        let refused = self.add(file).await;
        let about = String::from_utf8_lossy(file).into_owned();
        let Err(ImportError::Mistakes(mistakes)) = refused else { panic!("{refused:?}: {about}") };
        let [mistake] = &*mistakes else { panic!("{mistakes:?}: {about}") };
        assert_eq!((mistake.line, &*mistake.member), (line, member), "{mistake}: {about}");
        assert!(mistake.what.contains(what), "{mistake}: {about}");
        assert_eq!(self.content().await, before, "{mistake}");
    }
}

/// The content of a registry.
#[derive(Debug, PartialEq)]
pub struct Content {
    pub seq: u64,
    pub entities: Vec<Entity>,
    pub uses: BTreeMap<CredentialId, Timestamp>,
}

pub async fn content(registry: &dyn Registry) -> Content {
    let Snapshot { seq, entities } = registry.snapshot().await.unwrap();
    let credential = |entity: &Entity| match entity {
        Entity::Credential(credential) => Some(credential.id.clone()),
        _ => None,
    };
    let ids: Vec<_> = entities.iter().filter_map(credential).collect();
    let uses = registry.last_used(&ids).await.unwrap();
    let uses = ids.into_iter().zip(uses).filter_map(|(id, at)| Some((id, at?))).collect();
    Content { seq, entities: sorted(entities), uses }
}

pub fn peppers() -> Peppers {
    Peppers::new(Pepper::new(2, &[2; 32])).with_previous(Pepper::new(1, &[1; 32]))
}

pub fn sealer() -> Sealer {
    Sealer::new(SealKey::new(5, &[5; 32])).with_previous(SealKey::new(4, &[4; 32]))
}

pub fn secrets() -> SecretFingerprints {
    SecretFingerprints::new(&peppers(), &sealer())
}

/// Returns a time that differs from the registry's clock.
fn then() -> Timestamp {
    "2020-02-02T02:02:02.000000002Z".parse().unwrap()
}

pub fn sealed(secret: &str, place: &[&str]) -> Sealed {
    sealer().seal(&Secret::from(secret.to_owned()), place)
}

pub fn caller(tenant: &str, id: &str, kind: CallerKind) -> Caller {
    Caller {
        id: id.parse().unwrap(),
        tenant: tenant.parse().unwrap(),
        name: format!("«{id}» \u{1F511} \"'\\\n"),
        kind,
        status: Status::Enabled,
        plan: None,
        revision: 9,
        created_at: then(),
        updated_at: then(),
    }
}

/// Returns a credential whose key is its id.
pub fn key(caller: &Caller, id: &str) -> Credential {
    Credential {
        id: id.parse().unwrap(),
        tenant: caller.tenant.clone(),
        caller: caller.id.clone(),
        kind: CredentialKind::Key,
        name: format!("the key {id}"),
        digest: peppers().current().digest(id),
        pepper: 2,
        hint: "pcl_abcd".into(),
        status: Status::Enabled,
        scopes: Scopes::All,
        not_after: None,
        deprecated_at: None,
        replaced_by: None,
        revision: 3,
        created_at: then(),
        updated_at: then(),
    }
}

/// Returns entities of all kinds and variants.
pub fn entities() -> Vec<Entity> {
    let lapsed = NewTenant { standing: SubscriptionStatus::Lapsed, max_callers: 1, ..tenant("t") };
    let tenants = [lapsed, gateway("g", "project", "instance"), tenant("administration")];
    let mut tenants = tenants.map(|it| Tenant { revision: 77, ..it.into_tenant(Timestamp::UNIX_EPOCH) });
    tenants[0].revision = 4;
    let limit = |name, promise| Limit::new(name, 100, 60, 20, promise).unwrap();
    let limits = vec![limit("a", WindowGuarantee::Average), limit("b", WindowGuarantee::Ceiling)];
    let plans = [("p", limits), ("free", vec![])].map(|(id, limits)| Plan::new(id.parse().unwrap(), limits));

    let mut client = caller("t", "client", CallerKind::ApiClient);
    client.plan = Some("p".parse().unwrap());
    let disabled = Caller { status: Status::Disabled, ..caller("t", "disabled", CallerKind::ApiClient) };
    let secret = sealed("the app's secret", &["g", "app", "app", "secret"]);
    let parts = App {
        remark: "remark".into(),
        key: "app-key-1".into(),
        secret,
        creator: Creator::Market,
        acl: None,
        quota: Some(serde_json::from_value(json!({ "id": "quota", "bound_at": then() })).unwrap()),
    };
    let app = caller("g", "app", CallerKind::App(parts));
    let operator = caller("g", "operator", CallerKind::Operator);
    let owner = caller("administration", "owner", CallerKind::Administrator(Role::Owner));

    let targets = Some(vec!["q/1".into(), "ключ".into()]);
    let scope = Scope { resource: "queues".into(), access: Access::Write, targets };
    let mut old = key(&client, "old");
    (old.digest, old.pepper) = (peppers().all().last().unwrap().digest("old"), 1);
    (old.deprecated_at, old.replaced_by) = (Some(then()), Some("plain".parse().unwrap()));
    (old.not_after, old.status) = (Some(then()), Status::Disabled);
    let mut theirs = key(&client, "theirs");
    theirs.kind = CredentialKind::Sha256Key;
    theirs.digest = peppers().current().digest_of_sha256(&Sha256::digest("theirs").into());
    let sealed_for = |id| sealed("the code", &["g", "credential", id, "secret"]);
    let code = Credential { kind: CredentialKind::AppCode(sealed_for("code")), ..key(&app, "code") };
    let signing = Credential { kind: CredentialKind::Signing(sealed_for("sign")), ..key(&app, "sign") };
    let scoped = Credential { scopes: Scopes::Listed(vec![scope]), ..key(&operator, "scoped") };
    let credentials = [
        old,
        key(&client, "plain"),
        theirs,
        code,
        signing,
        scoped,
        key(&disabled, "late"),
        key(&owner, "own"),
    ];

    let lock = |id: &str, tenant: Option<&str>, target: Value, until: &str| {
        json!({
            "id": id, "tenant": tenant, "target": target, "owner": "night shift", "reason": "stocktaking",
            "covers": "all", "acquired_at": then(), "expires_at": until,
        })
    };
    let locks = [
        lock("held", None, json!({ "caller": "client" }), "2126-01-01T00:00:00.5Z"),
        lock("expired", Some("t"), json!({ "resource": "/orders/7" }), "2020-03-01T00:00:00Z"),
    ];
    let locks = locks.map(|lock| Entity::Lock(serde_json::from_value(lock).unwrap()));
    let period = json!({ "interval": 5, "unit": "MINUTE" });
    let quota = json!({
        "id": "quota", "tenant": "g", "name": "quota", "remark": "remark", "limit": 7, "period": period,
        "reset_at": then(), "revision": 3, "created_at": then(),
    });
    let grant = json!({
        "id": "grant", "tenant": "g", "caller": "app", "route": "orders", "role": "PROVIDER",
        "environment": "DEFAULT_ENVIRONMENT_RELEASE_ID", "created_at": then(),
    });
    let special = |of: Value| json!({ "id": "special", "of": of, "limit": 2, "created_at": then() });
    let throttle = json!({
        "id": "throttle", "tenant": "g", "name": "throttle", "remark": "", "period": period, "shared": true,
        "limits": { "api": 9, "user": 8, "ip": 3 }, "revision": 4, "created_at": then(),
        "specials": [special(json!({ "APP": "app" })), special(json!({ "USER": "project" }))],
        "bindings": [{ "id": "binding", "route": "orders", "created_at": then() }],
    });
    let mut all: Vec<Entity> = tenants.map(Entity::Tenant).into();
    all.extend(plans.map(|plan| Entity::Plan(plan.unwrap())));
    all.push(Entity::Quota(serde_json::from_value(quota).unwrap()));
    all.extend([client, disabled, app, operator, owner].map(Entity::Caller));
    all.extend(credentials.map(Entity::Credential));
    all.extend(locks);
    all.push(Entity::Grant(serde_json::from_value(grant).unwrap()));
    all.push(Entity::Throttle(serde_json::from_value(throttle).unwrap()));
    all
}

pub async fn fill(registry: &dyn Registry) {
    let commands = entities().into_iter().map(|it| ImportEntity(it).into()).collect();
    registry.execute(commands, &actor()).await.unwrap();
    let uses = ["plain", "old"].map(|id| (id.parse().unwrap(), then()));
    registry.record_last_used(&uses).await.unwrap();
    registry.delete_plan(&"free".parse().unwrap(), &actor()).await.unwrap();
}

/// Parses the lines of a file.
pub fn lines(file: &[u8]) -> Vec<Value> {
    let text = str::from_utf8(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns a file of these lines with a matching trailer.
pub fn file(mut lines: Vec<Value>) -> Vec<u8> {
    let mut end = lines.pop().unwrap();
    let mut counts = BTreeMap::new();
    for line in &lines[1..] {
        let Some(tag) = line.as_object().and_then(|line| line.keys().next()) else { continue };
        *counts.entry(tag.clone()).or_insert(0) += 1;
    }
    end["end"]["counts"] = json!(counts);
    let mut text = written(&lines);
    let sha256 = Sha256::digest(&text);
    end["end"]["sha256"] = hex(&sha256).into();
    text.extend(written(&[end]));
    text
}

/// Serializes lines as in a file.
pub fn written(lines: &[Value]) -> Vec<u8> {
    lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    let digit =
        |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
    bytes.iter().flat_map(digit).collect()
}
