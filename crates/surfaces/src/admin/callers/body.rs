//! The request and response bodies of callers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    admin::response::ErrorResponse,
    json::{FieldErrors, nullable},
    non_null,
    openapi::schemas,
};
use portcullis::{
    model::{
        self, ADMIN_TENANT, CallerEdit, CallerId, CallerKind, Creator, PlanId, Role, Sealer, Secret, Status,
        TenantId, name::is_app_remark,
    },
    registry,
};

/// The kind of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CallerKind)]
pub(in crate::admin) enum Kind {
    /// A discue API client.
    ApiClient,
    /// An APIG app.
    App,
    /// A person or program that manages a gateway's apps.
    Operator,
    /// A person or program that uses this API.
    Administrator,
}

impl Kind {
    /// Returns the name of a kind in the registry's filter.
    pub(super) fn named(text: &str) -> Option<&'static str> {
        ["api_client", "app", "operator", "administrator"].into_iter().find(|name| *name == text)
    }
}

/// The owner of keys: an API client, an app, an operator or an administrator.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Caller {
    /// The unique id; not a secret.
    id: String,
    /// The id of its tenant.
    tenant: String,
    /// The name, unique among callers of this kind in the tenant.
    name: String,
    /// The kind of caller.
    kind: Kind,
    /// The role of an administrator.
    #[schema(value_type = Option<schemas::Role>, required)]
    role: Option<Role>,
    /// The additional properties of an app.
    #[schema(required)]
    app: Option<App>,
    /// The status. The keys of a disabled caller are not accepted.
    #[schema(value_type = schemas::Status)]
    status: Status,
    /// The id of the plan. A caller without a plan has no rate limits.
    #[schema(required)]
    plan: Option<String>,
    /// The revision: the value of the `ETag`, incremented by every change.
    revision: u64,
    /// The time of creation.
    created_at: Timestamp,
    /// The time of the last change.
    updated_at: Timestamp,
}

/// The additional properties of an app.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct App {
    /// A remark, for people.
    remark: String,
    /// The AppKey; not a secret.
    key: String,
    /// The creator of the app.
    #[schema(value_type = schemas::Creator)]
    creator: Creator,
    /// The generated AppSecret. Only the response that creates the app has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
}

/// A new caller.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct NewCaller {
    /// The id. Defaults to a random id.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Id, required = false)]
    id: Option<CallerId>,
    /// The name, unique among callers of this kind in the tenant. For an API client: a domain in lower case,
    /// optionally with a path. For an app: 3 to 64 letters, digits and underscores. Otherwise: 1 to 255 characters.
    #[schema(value_type = schemas::Name)]
    name: String,
    /// The kind of caller.
    kind: Kind,
    /// The role of an administrator. Required for administrators, not allowed for others.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Role>)]
    role: Option<Role>,
    /// The additional properties of an app. Allowed for apps only.
    #[serde(default)]
    app: Option<NewApp>,
    /// The id of the plan.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Id>)]
    plan: Option<PlanId>,
}

/// The additional properties of a new app, or changes to them.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct NewApp {
    /// A remark, for people; at most 255 characters.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Remark, required = false)]
    remark: Option<String>,
    /// The AppKey: 8 to 200 characters of `A-Z a-z 0-9 - _`. Generated for a new app without one.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = String, required = false, pattern = "^[A-Za-z0-9_-]{8,200}$")]
    key: Option<String>,
    /// The AppSecret: 8 to 128 printable ASCII characters without spaces. Generated for a new app without one.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = String, required = false, pattern = "^[!-~]{8,128}$")]
    secret: Option<String>,
}

/// Changes to a caller. Absent members stay unchanged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct CallerPatch {
    /// The new name.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Name, required = false)]
    name: Option<String>,
    /// The new status.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Status, required = false)]
    status: Option<Status>,
    /// The new role. Allowed for administrators only.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = schemas::Role, required = false)]
    role: Option<Role>,
    /// Changes to the properties of an app. Allowed for apps only.
    #[serde(default, deserialize_with = "non_null")]
    #[schema(value_type = NewApp, required = false)]
    app: Option<NewApp>,
    /// The id of the new plan; `null` removes the plan.
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
            app: app.map(|model::App { remark, key, creator, .. }| App {
                remark,
                key,
                creator,
                secret: None,
            }),
            status: caller.status,
            plan: caller.plan.map(|plan| plan.to_string()),
            revision: caller.revision,
            created_at: caller.created_at,
            updated_at: caller.updated_at,
        }
    }
}

impl Caller {
    /// Adds the generated secret, if there is one.
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
            "must be at most 255 characters, without <, > and invisible characters",
        );
        let what = "must be 8 to 200 characters of A-Z a-z 0-9 - _";
        checks.ensure(within(&self.key, is_key), "#/app/key", what);
        let what = "must be 8 to 128 printable ASCII characters without spaces";
        checks.ensure(within(&self.secret, is_secret), "#/app/secret", what);
    }
}

fn seal(sealer: &Sealer, secret: &Secret, tenant: &TenantId, id: &CallerId) -> model::Sealed {
    sealer.seal(secret, &model::App::seal_context(tenant, id))
}

/// Checks that callers of a kind may belong to a tenant.
fn check_place(checks: &mut FieldErrors, tenant: &TenantId, kind: &CallerKind) {
    let reserved = tenant.as_str() == ADMIN_TENANT;
    let administrator = matches!(kind, CallerKind::Administrator(_));
    let what = if reserved {
        "this tenant is for administrators only"
    } else {
        "administrators must be in the tenant administration"
    };
    checks.ensure(reserved == administrator, "#/kind", what);
}

impl NewCaller {
    pub(super) fn has_plan(&self) -> bool {
        self.plan.is_some()
    }

    /// Validates the body. Returns the new caller, and the secret of an app if it was generated.
    pub(super) fn checked(
        self,
        tenant: TenantId,
        sealer: &Sealer,
    ) -> Result<(registry::NewCaller, Option<Secret>), ErrorResponse> {
        let mut checks = FieldErrors::default();
        let administrator = self.kind == Kind::Administrator;
        checks.ensure(!administrator || self.role.is_some(), "#/role", "required for an administrator");
        checks.ensure(administrator || self.role.is_none(), "#/role", "allowed for administrators only");
        checks.ensure(self.kind == Kind::App || self.app.is_none(), "#/app", "allowed for apps only");
        if let Some(app) = &self.app {
            app.check(&mut checks);
        }
        let hex =
            |id: &CallerId| id.as_str().len() == 32 && id.as_str().bytes().all(|b| b.is_ascii_hexdigit());
        let what = "must not be 32 hexadecimal digits for an app: APIG V2 reads them as a UUID with hyphens";
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
    /// Validates the body. Returns the changes to the caller.
    pub(super) fn checked(
        self,
        before: &model::Caller,
        sealer: &Sealer,
    ) -> Result<CallerEdit, ErrorResponse> {
        let mut checks = FieldErrors::default();
        // Earlier versions did not have these rules, so the present name is always allowed.
        let fits = |name: &str| name == before.name || before.kind.accepts_name(name);
        checks.ensure(self.name.as_deref().is_none_or(fits), "#/name", before.kind.name_rule());
        let administrator = matches!(before.kind, CallerKind::Administrator(_));
        checks.ensure(administrator || self.role.is_none(), "#/role", "allowed for administrators only");
        checks.ensure(before.app().is_some() || self.app.is_none(), "#/app", "allowed for apps only");
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
