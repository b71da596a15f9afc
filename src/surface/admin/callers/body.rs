//! Callers, as they are sent and shown.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FieldErrors, ErrorResponse, check_place};
use crate::{
    model::{
        self, CallerEdit, CallerId, CallerKind, Creator, PlanId, Role, Sealer, Secret, Status, TenantId,
        name::is_app_remark,
    },
    registry,
    surface::{json::nullable, non_null, openapi::schemas},
};

/// What kind of caller it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CallerKind)]
pub(in super::super) enum Kind {
    /// A discue api client.
    ApiClient,
    /// An APIG app.
    App,
    /// A person or program that manages a gateway's apps.
    Operator,
    /// A person or program that uses this API.
    Administrator,
}

impl Kind {
    /// The name that the registry lists callers of a kind by.
    pub(super) fn named(text: &str) -> Option<&'static str> {
        ["api_client", "app", "operator", "administrator"].into_iter().find(|name| *name == text)
    }
}

/// Who a key belongs to.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct Caller {
    /// Unique; not a secret.
    id: String,
    /// Whose it is.
    tenant: String,
    /// Unique in the tenant, among callers of its kind.
    name: String,
    /// What kind of caller it is.
    kind: Kind,
    /// What it may do here, when it is an administrator.
    #[schema(value_type = Option<schemas::Role>, required)]
    role: Option<Role>,
    /// What it has beyond a caller, when it is an app.
    #[schema(required)]
    app: Option<App>,
    /// Whether its keys are accepted.
    #[schema(value_type = schemas::Status)]
    status: Status,
    /// The plan that it is on; without one it is unlimited.
    #[schema(required)]
    plan: Option<String>,
    /// Grows by one with every change; the `ETag`.
    revision: u64,
    /// When it was made.
    created_at: Timestamp,
    /// When it last changed.
    updated_at: Timestamp,
}

/// What an app has beyond a caller.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct App {
    /// For people.
    remark: String,
    /// The AppKey; not a secret.
    key: String,
    /// Who made it.
    #[schema(value_type = schemas::Creator)]
    creator: Creator,
    /// The AppSecret, if it was generated, in the answer that tells of it and nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
}

/// A caller to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct NewCaller {
    /// Its id; without one it gets a random one.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Id, required = false)]
    id: Option<CallerId>,
    /// Unique in the tenant, among callers of its kind, which has a rule for it: of an api client a domain in lower case,
    /// optionally with a path, of an app 3 to 64 letters, digits and underscores, of others 1 to 255 characters.
    #[schema(value_type = schemas::Name)]
    name: String,
    /// What kind of caller it is to be.
    kind: Kind,
    /// What it may do here: of an administrator, and only of one.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Role>)]
    role: Option<Role>,
    /// What an app has beyond a caller: only of one.
    #[serde(default)]
    app: Option<NewApp>,
    /// The plan that it is to be on.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Id>)]
    plan: Option<PlanId>,
}

/// What an app is to have beyond a caller.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct NewApp {
    /// For people; at most 255 characters.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Remark, required = false)]
    remark: Option<String>,
    /// The AppKey: 8 to 200 of `A-Z a-z 0-9 - _`; generated, unless it is said.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = String, required = false, pattern = "^[A-Za-z0-9_-]{8,200}$")]
    key: Option<String>,
    /// The AppSecret: 8 to 128 printable characters without blanks; generated, unless it is said.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = String, required = false, pattern = "^[!-~]{8,128}$")]
    secret: Option<String>,
}

/// What to change of a caller; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct CallerPatch {
    /// A new name.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Name, required = false)]
    name: Option<String>,
    /// A new status.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Status, required = false)]
    status: Option<Status>,
    /// Another role, of an administrator.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Role, required = false)]
    role: Option<Role>,
    /// What to change of an app.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = NewApp, required = false)]
    app: Option<NewApp>,
    /// Another plan; `null` for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<schemas::Id>)]
    plan: Option<Option<PlanId>>,
}

impl From<model::Caller> for Caller {
    fn from(caller: model::Caller) -> Self {
        let (kind, role, app) = match caller.kind {
            CallerKind::ApiClient => (Kind::ApiClient, None, None),
            CallerKind::App(app) => (Kind::App, None, Some(app)),
            CallerKind::Operator => (Kind::Operator, None, None),
            CallerKind::Administrator(role) => (Kind::Administrator, Some(role), None),
        };
        Self {
            id: caller.id.to_string(),
            tenant: caller.tenant.to_string(),
            name: caller.name,
            kind,
            role,
            app: app.map(|model::App { remark, key, creator, .. }| App { remark, key, creator, secret: None }),
            status: caller.status,
            plan: caller.plan.map(|plan| plan.to_string()),
            revision: caller.revision,
            created_at: caller.created_at,
            updated_at: caller.updated_at,
        }
    }
}

impl Caller {
    /// The same with the secret that was generated for it, if there was one.
    pub(super) fn showing(mut self, secret: Option<Secret>) -> Self {
        if let (Some(app), Some(secret)) = (&mut self.app, secret) {
            app.secret = Some(secret.expose().to_owned());
        }
        self
    }
}

impl NewApp {
    fn check(&self, checks: &mut FieldErrors) {
        let within = |text: &Option<String>, fits: fn(&str) -> bool| text.as_deref().is_none_or(fits);
        let is_key = |text: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            (8..=200).contains(&text.len()) && text.bytes().all(plain)
        };
        let is_secret =
            |text: &str| (8..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        checks.ensure(
            within(&self.remark, is_app_remark),
            "#/app/remark",
            "a remark is at most 255 characters, none of them < or > or invisible",
        );
        let what = "an AppKey is 8 to 200 characters of A-Z a-z 0-9 - _";
        checks.ensure(within(&self.key, is_key), "#/app/key", what);
        let what = "an AppSecret is 8 to 128 printable characters without blanks";
        checks.ensure(within(&self.secret, is_secret), "#/app/secret", what);
    }
}

fn seal(sealer: &Sealer, secret: &Secret, tenant: &TenantId, id: &CallerId) -> model::Sealed {
    sealer.seal(secret, &model::App::seal_context(tenant, id))
}

impl NewCaller {
    pub(super) fn has_plan(&self) -> bool {
        self.plan.is_some()
    }

    /// The caller to be made, and the secret of an app when it was generated.
    pub(super) fn checked(
        self,
        tenant: TenantId,
        sealer: &Sealer,
    ) -> Result<(registry::NewCaller, Option<Secret>), ErrorResponse> {
        let mut checks = FieldErrors::default();
        let administrator = self.kind == Kind::Administrator;
        checks.ensure(!administrator || self.role.is_some(), "#/role", "an administrator has one");
        checks.ensure(administrator || self.role.is_none(), "#/role", "only an administrator has one");
        checks.ensure(self.kind == Kind::App || self.app.is_none(), "#/app", "only an app has it");
        if let Some(app) = &self.app {
            app.check(&mut checks);
        }
        let hex =
            |id: &CallerId| id.as_str().len() == 32 && id.as_str().bytes().all(|b| b.is_ascii_hexdigit());
        let what = "an app's is not 32 hexadecimal digits: APIG's V2 shows a UUID so, and reads it as one with hyphens";
        checks.ensure(self.kind != Kind::App || !self.id.as_ref().is_some_and(hex), "#/id", what);
        let (id, mut generated) = (self.id.unwrap_or_else(CallerId::random), None);
        let kind = match (self.kind, self.role) {
            (Kind::ApiClient, _) => CallerKind::ApiClient,
            (Kind::Operator, _) => CallerKind::Operator,
            (Kind::Administrator, role) => CallerKind::Administrator(role.unwrap_or(Role::ReadOnly)),
            (Kind::App, _) => {
                let NewApp { remark, key, secret } = self.app.unwrap_or_default();
                let secret = secret.map_or_else(
                    || {
                        let secret = Secret::from(uuid::Uuid::new_v4().simple().to_string());
                        generated.insert(secret).clone()
                    },
                    Secret::from,
                );
                CallerKind::App(model::App {
                    remark: remark.unwrap_or_default(),
                    key: key.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
                    secret: seal(sealer, &secret, &tenant, &id),
                    creator: Creator::User,
                    acl: None,
                    quota: None,
                })
            }
        };
        checks.ensure(kind.accepts_name(&self.name), "#/name", kind.name_rule());
        check_place(&mut checks, &tenant, &kind);
        checks.finish()?;
        let caller = registry::NewCaller { id, tenant, name: self.name, kind, plan: self.plan };
        Ok((caller, generated))
    }
}

impl CallerPatch {
    /// What to change of a caller.
    pub(super) fn checked(self, before: &model::Caller, sealer: &Sealer) -> Result<CallerEdit, ErrorResponse> {
        let mut checks = FieldErrors::default();
        // A name of an earlier version, which had no such rules, may stay.
        let fits = |name: &str| name == before.name || before.kind.accepts_name(name);
        checks.ensure(self.name.as_deref().is_none_or(fits), "#/name", before.kind.name_rule());
        let administrator = matches!(before.kind, CallerKind::Administrator(_));
        checks.ensure(administrator || self.role.is_none(), "#/role", "only an administrator has one");
        checks.ensure(before.app().is_some() || self.app.is_none(), "#/app", "only an app has it");
        if let Some(app) = &self.app {
            app.check(&mut checks);
        }
        checks.finish()?;
        let NewApp { remark, key, secret } = self.app.unwrap_or_default();
        Ok(CallerEdit {
            name: self.name,
            status: self.status,
            plan: self.plan,
            remark,
            key,
            secret: secret.map(|secret| seal(sealer, &Secret::from(secret), &before.tenant, &before.id)),
            role: self.role,
            acl: None,
            quota: None,
        })
    }
}
