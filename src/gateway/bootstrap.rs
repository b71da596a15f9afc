//! The first start: secrets, a tenant on each surface, an app, keys.

use anyhow::Context;
use jiff::Timestamp;

use super::Shared;
use crate::{
    app::{
        Actor, ApiKey, App, Caller, CallerKind, Creator, Credential, CredentialId, Entity, Gateway,
        KeyPrefix, Peppers, PlanId, Scopes, Secret, Standing, Status, Tenant,
    },
    config::{Config, SecretsFile},
    registry::NewCaller,
};

/// What a first start made. The keys are here and nowhere else.
#[derive(Debug)]
pub struct Bootstrapped {
    /// The key of the api client.
    pub api_key: ApiKey,
    /// The token of the operator.
    pub operator_token: ApiKey,
    /// The api client.
    pub api_client: String,
    /// The project and the instance of the gateway that the app belongs to.
    pub project: &'static str,
    /// See `project`.
    pub instance: &'static str,
    /// The app.
    pub app: String,
}

/// The project and instance that are made.
const PROJECT: &str = "demo-project";
const INSTANCE: &str = "demo-instance";
/// The ids that the two published documents use in their examples.
const API_CLIENT: &str = "5bc2be68-7498-4853-aa64-4be0ca62934e";
const APP: &str = "14b399ac-967f-4115-bb62-c0346b4537e9";

/// Makes what a first try needs, unless the registry holds a tenant already: then nothing, and `None`.
///
/// The api client is on the plan `demo` when the configuration has one.
///
/// # Errors
/// When secrets or store cannot be made, read or written.
pub async fn bootstrap(config: &Config) -> anyhow::Result<Option<Bootstrapped>> {
    if !config.secrets.file.exists() {
        SecretsFile::create(&config.secrets.file)?;
    }
    let shared = Shared::open(config).await?;
    let peppers = SecretsFile::load(&config.secrets.file)?.peppers();
    let known = shared.registry.snapshot().await.context("reading the registry")?.entities;
    if known.iter().any(|entity| matches!(entity, Entity::Tenant(_))) {
        return Ok(None);
    }
    let maker = Maker { shared: &shared, peppers, actor: Actor("init".into()), now: shared.clock.now().time };
    let has_plan = config.plans.iter().any(|plan| plan.get_ref().id().as_str() == "demo");
    let plan: Option<PlanId> = if has_plan { Some("demo".parse()?) } else { None };

    maker.tenant("demo", "Demo organization", None).await?;
    let client = maker.caller("demo", API_CLIENT, "example.com/dev", CallerKind::ApiClient, plan).await?;
    let api_key = maker.key(&client, "pcl").await?;

    let gateway = Gateway { project_id: PROJECT.into(), instance_id: INSTANCE.into(), custom_keys: true };
    maker.tenant("demo-gateway", "Demo gateway", Some(gateway)).await?;
    let operator =
        maker.caller("demo-gateway", "demo-operator", "operator", CallerKind::Operator, None).await?;
    let operator_token = maker.key(&operator, "pco").await?;
    let secret = Secret::from(uuid::Uuid::new_v4().simple().to_string());
    let app = CallerKind::App(App {
        remark: "First app".into(),
        key: uuid::Uuid::new_v4().to_string(),
        secret: shared.sealer.seal(&secret, &["app", APP, "secret"]),
        creator: Creator::User,
    });
    maker.caller("demo-gateway", APP, "app_000", app, None).await?;

    Ok(Some(Bootstrapped {
        api_key,
        operator_token,
        api_client: API_CLIENT.into(),
        project: PROJECT,
        instance: INSTANCE,
        app: APP.into(),
    }))
}

struct Maker<'a> {
    shared: &'a Shared,
    peppers: Peppers,
    actor: Actor,
    now: Timestamp,
}

impl Maker<'_> {
    async fn tenant(&self, id: &str, name: &str, gateway: Option<Gateway>) -> anyhow::Result<()> {
        let tenant = Tenant {
            id: id.parse()?,
            name: name.into(),
            gateway,
            standing: Standing::Active,
            max_callers: 50,
            revision: 1,
            created_at: self.now,
            updated_at: self.now,
        };
        self.shared.registry.create_tenant(tenant, &self.actor).await?;
        Ok(())
    }

    async fn caller(
        &self,
        tenant: &str,
        id: &str,
        name: &str,
        kind: CallerKind,
        plan: Option<PlanId>,
    ) -> anyhow::Result<Caller> {
        let caller = NewCaller { id: id.parse()?, tenant: tenant.parse()?, name: name.into(), kind, plan };
        Ok(self.shared.registry.create_caller(caller, &self.actor).await?)
    }

    async fn key(&self, caller: &Caller, prefix: &str) -> anyhow::Result<ApiKey> {
        let prefix: KeyPrefix = prefix.parse()?;
        let key = ApiKey::generate(&prefix);
        let pepper = self.peppers.current();
        let credential = Credential {
            id: CredentialId::random(),
            tenant: caller.tenant.clone(),
            caller: caller.id.clone(),
            name: "first".into(),
            digest: pepper.digest(key.expose()),
            pepper: pepper.version(),
            hint: key.hint().into(),
            status: Status::Enabled,
            scopes: Scopes::All,
            not_after: None,
            revision: 1,
            created_at: self.now,
            updated_at: self.now,
        };
        self.shared.registry.create_credential(credential, &self.actor).await?;
        Ok(key)
    }
}
