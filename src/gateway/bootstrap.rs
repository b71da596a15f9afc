//! The first start: secrets, a tenant on each surface, an app, an administrator, keys.

use anyhow::{Context, bail};
use jiff::Timestamp;

use super::{GatewayState, admin};
use crate::{
    model::{
        Actor, GeneratedKey, App, CallerEdit, CallerKind, Creator, Credential, CredentialId, CredentialKind,
        Entity, ApigInstance, KeyPrefix, Peppers, PlanId, Role, Scopes, Secret, SubscriptionStatus, Status, Tenant,
        TenantId,
    },
    config::{Config, SecretsFile},
    registry::{CredentialFilter, RegistryError, NewCaller},
    surface::admin::ADMIN_TENANT,
};

/// What a first start is about to make. Its keys are here and nowhere else: show them, then
/// [`store`](Self::store) them.
pub struct Bootstrap {
    shared: GatewayState,
    peppers: Peppers,
    actor: Actor,
    now: Timestamp,
    /// Set if keys that were shown before are replaced.
    new_keys: bool,
    /// The key of the api client, unless one was shown before.
    pub api_key: Option<GeneratedKey>,
    /// The token of the operator, unless one was shown before.
    pub operator_token: Option<GeneratedKey>,
    /// The token of the administrator that owns everything, if the admin API is configured and nobody could use it.
    pub owner_token: Option<GeneratedKey>,
}

/// The project and instance that are made.
const PROJECT: &str = "demo-project";
const INSTANCE: &str = "demo-instance";
const ORGANIZATION: &str = "demo";
const GATEWAY: &str = "demo-gateway";
const OPERATOR: &str = "demo-operator";
const OWNER: &str = "portcullis-owner";
/// The name of the keys that are shown.
const FIRST: &str = "first";
/// The ids that the two published documents use in their examples.
const API_CLIENT: &str = "5bc2be68-7498-4853-aa64-4be0ca62934e";
const APP: &str = "14b399ac-967f-4115-bb62-c0346b4537e9";

/// The names of what is made, for showing how to use it.
pub struct DemoNames {
    /// The api client.
    pub api_client: &'static str,
    /// The project and the instance of the gateway that the app belongs to.
    pub project: &'static str,
    /// See `project`.
    pub instance: &'static str,
    /// The app.
    pub app: &'static str,
}

/// What a first start makes.
pub const NAMES: DemoNames = DemoNames { api_client: API_CLIENT, project: PROJECT, instance: INSTANCE, app: APP };

/// Makes what a first try needs: secrets, a tenant on each surface, an api client, an app, an operator; and, when
/// the admin API is configured, an administrator that owns everything. What is there already stays; a start that
/// was interrupted is taken up again. In a registry that holds tenants of somebody's own, only the administrator is
/// made, and only if none could use the admin API: who can run this can also let itself in again. `None` when
/// nothing is left to make.
///
/// The api client is on the plan `demo` when the configuration has one.
///
/// With `new_keys`, what an earlier start showed is refused from then on, and others are made in its place.
///
/// # Errors
/// When secrets or store cannot be made, read or written; when the secrets are gone and the store is not.
pub async fn bootstrap(config: &Config, new_keys: bool) -> anyhow::Result<Option<Bootstrap>> {
    if config.secrets.variable().is_none() && !config.secrets.file.exists() {
        if config.store.path.exists() {
            bail!(
                "{} is gone, and without it nothing in {} can be used: put it back",
                config.secrets.file.display(),
                config.store.path.display()
            );
        }
        SecretsFile::create(&config.secrets.file)?;
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
    let known = shared.registry.snapshot().await.context("reading the registry")?.entities;
    let is_ours = |id: &TenantId| [ORGANIZATION, GATEWAY, ADMIN_TENANT].contains(&id.as_str());
    let somebodys =
        known.iter().any(|entity| matches!(entity, Entity::Tenant(tenant) if !is_ours(&tenant.id)));
    // A credential is stored after it was shown: one that is there is one that somebody has.
    let has_key = |caller: &str| {
        known.iter().any(|entity| matches!(entity, Entity::Credential(key) if key.caller.as_str() == caller))
    };
    let key = |needed: bool, prefix: &str| {
        let prefix = prefix.parse::<KeyPrefix>();
        prefix.map(|prefix| needed.then(|| GeneratedKey::generate(&prefix)))
    };
    let now = shared.clock.now().time;
    let managed = admin::is_managed(&*shared.registry, now).await.context("looking for an administrator")?;
    let start = Bootstrap {
        now,
        actor: Actor::system("init"),
        new_keys,
        api_key: key(!somebodys && (new_keys || !has_key(API_CLIENT)), "pcl")?,
        operator_token: key(!somebodys && (new_keys || !has_key(OPERATOR)), "pco")?,
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

/// What is there already is what was to be made.
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
    /// When the store cannot be written: then what was shown is worth nothing.
    pub async fn store(self) -> anyhow::Result<()> {
        let stored = self.store_keys().await;
        self.shared.registry.close().await;
        stored
    }

    /// Stores none of the keys, and closes the store.
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

    /// The keys of a caller that an earlier start showed.
    async fn shown_before(&self, caller: &str) -> anyhow::Result<Vec<Credential>> {
        let which = CredentialFilter { caller: Some(caller.parse()?), limit: u32::MAX, ..CredentialFilter::default() };
        let mut keys = self.shared.registry.credentials(&which).await?;
        keys.retain(|key| key.name == FIRST);
        Ok(keys)
    }

    async fn people(&self, config: &Config) -> anyhow::Result<()> {
        let has_plan = config.plans.iter().any(|plan| plan.get_ref().id().as_str() == "demo");
        let plan: Option<PlanId> = if has_plan { Some("demo".parse()?) } else { None };
        self.tenant(ORGANIZATION, "Demo organization", None).await?;
        self.caller(ORGANIZATION, API_CLIENT, "example.com/dev", CallerKind::ApiClient, plan).await?;

        let gateway = ApigInstance { project_id: PROJECT.into(), instance_id: INSTANCE.into(), custom_keys: true };
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

    /// An administrator that owns everything. One that is there, and was disabled or demoted, is one again.
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
        let tenant = Tenant {
            id: id.parse()?,
            name: name.into(),
            gateway,
            standing: SubscriptionStatus::Active,
            max_callers: 50,
            revision: 1,
            created_at: self.now,
            updated_at: self.now,
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
        let pepper = self.peppers.current();
        let credential = Credential {
            id: CredentialId::random(),
            tenant: tenant.parse()?,
            caller: caller.parse()?,
            name: FIRST.into(),
            digest: pepper.digest(key.expose()),
            pepper: pepper.version(),
            kind: CredentialKind::Key,
            hint: key.hint().into(),
            status: Status::Enabled,
            scopes: Scopes::All,
            not_after: None,
            deprecated_at: None,
            replaced_by: None,
            revision: 1,
            created_at: self.now,
            updated_at: self.now,
        };
        self.shared.registry.create_credential(credential, &self.actor).await?;
        Ok(())
    }
}
