//! Callers: the owners of credentials.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ADMIN_TENANT, Acl, BoundQuota, CallerId, PlanId, Sealed, TenantId};

/// The status of a caller or a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In use.
    #[default]
    Enabled,
    /// Known, but denied (403).
    Disabled,
}

impl Status {
    /// Returns the status's name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

/// The creator of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Creator {
    /// The tenant itself.
    #[default]
    User,
    /// The marketplace; the tenant cannot delete such an app.
    Market,
}

impl Creator {
    /// Returns the creator's name in the store and on the APIG surface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Market => "MARKET",
        }
    }
}

/// The properties that an APIG app has in addition to those of every caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// At most 255 characters.
    pub remark: String,
    /// The AppKey: unique in the whole registry, not a secret.
    pub key: String,
    /// The AppSecret, sealed with [the app's associated data](Self::seal_context).
    pub secret: Sealed,
    /// The creator of the app.
    pub creator: Creator,
    /// The addresses from which the app may call; `None` allows any address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Acl>,
    /// The app's quota; `None` means no quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<BoundQuota>,
}

impl App {
    /// Returns the associated data with which the secret of a tenant's app is sealed: tenant, row and column. A
    /// sealed secret that is copied to another place cannot be decrypted.
    #[must_use]
    pub fn seal_context<'a>(tenant: &'a TenantId, id: &'a CallerId) -> [&'a str; 4] {
        [tenant.as_str(), "app", id.as_str(), "secret"]
    }
}

/// The role of an administrator. Each role includes the rights of those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Full access, including tenants, plans, other administrators, export and import.
    Owner,
    /// Write access to callers, credentials and locks.
    Operator,
    /// Read access.
    ReadOnly,
}

impl Role {
    /// Returns the role's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Operator => "operator",
            Self::ReadOnly => "read_only",
        }
    }

    /// Returns `true` if the role includes the rights of the needed one.
    #[must_use]
    pub fn allows(self, needed: Self) -> bool {
        self <= needed
    }
}

/// The kind of a caller, with the properties of that kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerKind {
    /// A discue api client.
    ApiClient,
    /// An APIG app.
    App(App),
    /// A person or program that manages a gateway's apps.
    Operator,
    /// A person or program that manages all tenants, on the admin API.
    Administrator(Role),
}

impl CallerKind {
    /// The [name](Self::name) of the kind of apps.
    pub const APP: &'static str = "app";

    /// Returns a short name: `api_client`, `app`, `operator` or `administrator`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ApiClient => "api_client",
            Self::App(_) => Self::APP,
            Self::Operator => "operator",
            Self::Administrator(_) => "administrator",
        }
    }
}

/// A client of the API: an api client, an app, an operator or an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Unique in the registry.
    pub id: CallerId,
    /// The tenant that the caller belongs to.
    pub tenant: TenantId,
    /// Unique in the tenant, among callers of its kind.
    pub name: String,
    /// The kind of caller.
    pub kind: CallerKind,
    /// Decides whether the caller's credentials are accepted.
    pub status: Status,
    /// The plan whose limits apply to the caller; `None` means unlimited.
    pub plan: Option<PlanId>,
    /// Revision number, incremented by every change. Lost updates are detected by it.
    pub revision: u64,
    /// Creation time.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

impl Caller {
    /// Returns `true` if the caller is an enabled administrator with the role of an owner.
    #[must_use]
    pub fn owns_everything(&self) -> bool {
        let owns = self.kind == CallerKind::Administrator(Role::Owner);
        owns && self.status == Status::Enabled && self.tenant.as_str() == ADMIN_TENANT
    }

    /// Returns the properties of the app, if the caller is one.
    #[must_use]
    pub fn app(&self) -> Option<&App> {
        match &self.kind {
            CallerKind::App(app) => Some(app),
            CallerKind::ApiClient | CallerKind::Operator | CallerKind::Administrator(_) => None,
        }
    }

    /// Returns the role, if the caller is an administrator.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        if let CallerKind::Administrator(role) = self.kind { Some(role) } else { None }
    }

    /// Returns a short name of the kind. Names of callers are unique within a kind.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        self.kind.name()
    }

    /// Returns the caller after an edit, or `None` if the edit changes nothing.
    #[must_use]
    pub fn apply(&self, edit: CallerEdit, now: Timestamp) -> Option<Self> {
        let mut after = self.clone();
        if let Some(name) = edit.name {
            after.name = name;
        }
        if let Some(status) = edit.status {
            after.status = status;
        }
        if let Some(plan) = edit.plan {
            after.plan = plan;
        }
        if let CallerKind::App(app) = &mut after.kind {
            app.remark = edit.remark.unwrap_or_else(|| std::mem::take(&mut app.remark));
            app.key = edit.key.unwrap_or_else(|| std::mem::take(&mut app.key));
            app.secret = edit.secret.unwrap_or_else(|| app.secret.clone());
            app.acl = edit.acl.unwrap_or_else(|| app.acl.take());
            app.quota = edit.quota.unwrap_or_else(|| app.quota.take());
        }
        if let (CallerKind::Administrator(role), Some(edited)) = (&mut after.kind, edit.role) {
            *role = edited;
        }
        (after != *self).then(|| Self { revision: self.revision + 1, updated_at: now, ..after })
    }
}

/// Changes to a caller. A field that is `None` stays unchanged.
#[derive(Debug, Clone, Default)]
pub struct CallerEdit {
    /// A new name.
    pub name: Option<String>,
    /// A new status.
    pub status: Option<Status>,
    /// A new plan; `Some(None)` removes it.
    pub plan: Option<Option<PlanId>>,
    /// A new remark. Ignored, like the next four fields, for callers that are no apps.
    pub remark: Option<String>,
    /// A new AppKey.
    pub key: Option<String>,
    /// A new AppSecret.
    pub secret: Option<Sealed>,
    /// A new address list; `Some(None)` removes it.
    pub acl: Option<Option<Acl>>,
    /// A new quota; `Some(None)` removes it.
    pub quota: Option<Option<BoundQuota>>,
    /// A new role; ignored for callers that are no administrators.
    pub role: Option<Role>,
}
