//! The first start: creates secrets, a tenant for each surface, an app, an administrator and keys.

use anyhow::Context;

use super::{GatewayState, admin};
use crate::config::{Config, SecretsFile};
use portcullis::{
    model::{
        Actor, ApigInstance, App, CallerEdit, CallerKind, Creator, Credential, Entity, GeneratedKey,
        KeyPrefix, Peppers, PlanId, Role, Secret, Status, SubscriptionStatus, TenantId,
    },
    registry::{CredentialFilter, NewCaller, NewCredential, NewTenant, RegistryError, RegistryExt},
};
use portcullis_surfaces::admin::ADMIN_TENANT;

/// The result of a first start that is not stored yet. The keys exist only here: show them, then [`store`](Self::store)
/// them.
pub struct Bootstrap {
    shared: GatewayState,
    peppers: Peppers,
    actor: Actor,
    /// Set if the keys of an earlier start are replaced.
    new_keys: bool,
    /// The key of the API client, unless an earlier start has shown one.
    pub api_key: Option<GeneratedKey>,
    /// The token of the operator, unless an earlier start has shown one.
    pub operator_token: Option<GeneratedKey>,
    /// The token of the administrator with the role owner, if the admin API is configured and no owner has a valid key.
    pub owner_token: Option<GeneratedKey>,
}

/// The project and the instance that are created.
const PROJECT: &str = "demo-project";
const INSTANCE: &str = "demo-instance";
const ORGANIZATION: &str = "demo";
const GATEWAY: &str = "demo-gateway";
const OPERATOR: &str = "demo-operator";
const OWNER: &str = "portcullis-owner";
/// The name of the created keys.
const FIRST: &str = "first";
/// The ids that the two published API documents use in their examples.
const API_CLIENT: &str = "5bc2be68-7498-4853-aa64-4be0ca62934e";
const APP: &str = "14b399ac-967f-4115-bb62-c0346b4537e9";

/// The names of the created objects, used to print examples.
pub struct DemoNames {
    /// The id of the API client.
    pub api_client: &'static str,
    /// The project of the gateway that the app belongs to.
    pub project: &'static str,
    /// The instance of the gateway that the app belongs to.
    pub instance: &'static str,
    /// The id of the app.
    pub app: &'static str,
}

/// The names of the objects that a first start creates.
pub const NAMES: DemoNames =
    DemoNames { api_client: API_CLIENT, project: PROJECT, instance: INSTANCE, app: APP };

/// Creates all objects that a first try needs: secrets, a tenant for each surface, an API client, an app and an
/// operator; and an administrator with the role owner if the admin API is configured. Existing objects are kept, and a
/// start that was interrupted is continued. If the registry holds tenants that `init` did not create, only the
/// administrator is created, and only if no owner has a valid key: a user who can run this command may restore their
/// own access. Returns `None` if there is nothing to create.
///
/// The API client gets the plan `demo` if the configuration has one.
///
/// With `new_keys`, the keys that an earlier start has shown are deleted and replaced by new ones.
///
/// # Errors
/// Fails if the secrets or the store cannot be created, read or written, or if the store exists without its secrets.
pub async fn bootstrap(config: &Config, new_keys: bool) -> anyhow::Result<Option<Bootstrap>> {
    if config.secrets.variable().is_none() && !config.secrets.file.exists() {
        if config.store.path.exists() {
            // The secrets of a store cannot be replaced: this reports the missing file.
            config.secrets.load()?;
        } else {
            SecretsFile::create(&config.secrets.file)?;
        }
    }
    let shared = GatewayState::open(config).await?;
    let registry = shared.registry.clone();
    let start = begin(config, shared, new_keys).await;
    if !matches!(start, Ok(Some(_))) {
        registry.close().await;
    }
    start
}

async fn begin(config: &Config, shared: GatewayState, new_keys: bool) -> anyhow::Result<Option<Bootstrap>> {
    let peppers = config.secrets.load()?.peppers();
    let known = shared.registry.snapshot().await.context("failed to read the registry")?.entities;
    let is_ours = |id: &TenantId| [ORGANIZATION, GATEWAY, ADMIN_TENANT].contains(&id.as_str());
    let has_other_tenants =
        known.iter().any(|entity| matches!(entity, Entity::Tenant(tenant) if !is_ours(&tenant.id)));
    // A credential is stored only after it was shown: the holder of a stored credential has it.
    let has_key = |caller: &str| {
        known.iter().any(|entity| matches!(entity, Entity::Credential(key) if key.caller.as_str() == caller))
    };
    let key = |needed: bool, prefix: &str| {
        let prefix = prefix.parse::<KeyPrefix>();
        prefix.map(|prefix| needed.then(|| GeneratedKey::generate(&prefix)))
    };
    let now = shared.clock.now().time;
    let managed = admin::is_managed(&*shared.registry, now).await.context("administrator lookup failed")?;
    let start = Bootstrap {
        actor: Actor::system("init"),
        new_keys,
        api_key: key(!has_other_tenants && (new_keys || !has_key(API_CLIENT)), "pcl")?,
        operator_token: key(!has_other_tenants && (new_keys || !has_key(OPERATOR)), "pco")?,
        owner_token: key(config.admin.is_some() && (new_keys || !managed), "pca")?,
        shared,
        peppers,
    };
    if start.api_key.is_some() || start.operator_token.is_some() {
        start.people(config).await?;
    } else if start.owner_token.is_none() {
        return Ok(None);
    }
    if start.owner_token.is_some() {
        start.owner().await?;
    }
    Ok(Some(start))
}

/// Treats an object that exists already as created.
fn unless_there<T>(made: Result<T, RegistryError>) -> anyhow::Result<()> {
    match made {
        Ok(_) | Err(RegistryError::Conflict | RegistryError::NameTaken) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

impl Bootstrap {
    /// Stores the digests of the keys that were shown, and closes the store.
    ///
    /// # Errors
    /// Fails if the store cannot be written. The keys that were shown are then invalid.
    pub async fn store(self) -> anyhow::Result<()> {
        let stored = self.store_keys().await;
        self.shared.registry.close().await;
        stored
    }

    /// Closes the store without storing the keys.
    pub async fn abandon(self) {
        self.shared.registry.close().await;
    }

    async fn store_keys(&self) -> anyhow::Result<()> {
        for (tenant, caller, key) in [
            (ORGANIZATION, API_CLIENT, self.api_key.as_ref()),
            (GATEWAY, OPERATOR, self.operator_token.as_ref()),
            (ADMIN_TENANT, OWNER, self.owner_token.as_ref()),
        ] {
            if let Some(key) = key {
                let before = if self.new_keys { self.shown_before(caller).await? } else { Vec::new() };
                self.credential(tenant, caller, key).await?;
                for Credential { tenant, id, .. } in before {
                    self.shared.registry.delete_credential(&tenant, &id, None, &self.actor).await?;
                }
            }
        }
        Ok(())
    }

    /// Returns the keys of a caller that an earlier start has shown.
    async fn shown_before(&self, caller: &str) -> anyhow::Result<Vec<Credential>> {
        let filter = CredentialFilter {
            caller: Some(caller.parse()?),
            limit: u32::MAX,
            ..CredentialFilter::default()
        };
        let mut keys = self.shared.registry.credentials(&filter).await?;
        keys.retain(|key| key.name == FIRST);
        Ok(keys)
    }

    async fn people(&self, config: &Config) -> anyhow::Result<()> {
        let has_plan = config.plans.iter().any(|plan| plan.get_ref().id().as_str() == "demo");
        let plan: Option<PlanId> = if has_plan { Some("demo".parse()?) } else { None };
        self.tenant(ORGANIZATION, "Demo organization", None).await?;
        self.caller(ORGANIZATION, API_CLIENT, "example.com/dev", CallerKind::ApiClient, plan).await?;

        let gateway =
            ApigInstance { project_id: PROJECT.into(), instance_id: INSTANCE.into(), custom_keys: true };
        self.tenant(GATEWAY, "Demo gateway", Some(gateway)).await?;
        self.caller(GATEWAY, OPERATOR, "operator", CallerKind::Operator, None).await?;
        let secret = Secret::from(uuid::Uuid::new_v4().simple().to_string());
        let (tenant, id) = (GATEWAY.parse()?, APP.parse()?);
        let app = CallerKind::App(App {
            remark: "First app".into(),
            key: uuid::Uuid::new_v4().to_string(),
            secret: self.shared.sealer.seal(&secret, &App::seal_context(&tenant, &id)),
            creator: Creator::User,
            acl: None,
            quota: None,
        });
        self.caller(GATEWAY, APP, "app_000", app, None).await
    }

    /// Creates an administrator with the role owner. If it exists, but was disabled or demoted, it is enabled and
    /// promoted again.
    async fn owner(&self) -> anyhow::Result<()> {
        self.tenant(ADMIN_TENANT, "Administration", None).await?;
        let kind = CallerKind::Administrator(Role::Owner);
        self.caller(ADMIN_TENANT, OWNER, "owner", kind, None).await?;
        let (tenant, id) = (ADMIN_TENANT.parse()?, OWNER.parse()?);
        let edit =
            CallerEdit { status: Some(Status::Enabled), role: Some(Role::Owner), ..CallerEdit::default() };
        self.shared.registry.update_caller(&tenant, &id, None, edit, &self.actor).await?;
        Ok(())
    }

    async fn tenant(&self, id: &str, name: &str, gateway: Option<ApigInstance>) -> anyhow::Result<()> {
        let tenant = NewTenant {
            id: id.parse()?,
            name: name.into(),
            gateway,
            standing: SubscriptionStatus::Active,
            max_callers: 50,
        };
        unless_there(self.shared.registry.create_tenant(tenant, &self.actor).await)
    }

    async fn caller(
        &self,
        tenant: &str,
        id: &str,
        name: &str,
        kind: CallerKind,
        plan: Option<PlanId>,
    ) -> anyhow::Result<()> {
        let caller = NewCaller { id: id.parse()?, tenant: tenant.parse()?, name: name.into(), kind, plan };
        unless_there(self.shared.registry.create_caller(caller, &self.actor).await)
    }

    async fn credential(&self, tenant: &str, caller: &str, key: &GeneratedKey) -> anyhow::Result<()> {
        let (tenant, caller) = (tenant.parse()?, caller.parse()?);
        let new = NewCredential::key(tenant, caller, key, self.peppers.current());
        let credential = NewCredential { name: FIRST.into(), ..new };
        self.shared.registry.create_credential(credential, &self.actor).await?;
        Ok(())
    }
}
