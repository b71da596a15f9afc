//! Callers: who a credential belongs to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ADMIN_TENANT, Acl, BoundQuota, CallerId, PlanId, Sealed, TenantId};

/// Whether a caller or a credential is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In use.
    #[default]
    Enabled,
    /// Known, and refused (403).
    Disabled,
}

impl Status {
    /// The status's name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

/// Who made an app.
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
    /// The creator's name in the store, and on the APIG surface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Market => "MARKET",
        }
    }
}

/// What an APIG app has beyond a caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// At most 255 characters.
    pub remark: String,
    /// The AppKey: unique in the whole registry, not a secret.
    pub key: String,
    /// The AppSecret, sealed for [its place](Self::place).
    pub secret: Sealed,
    /// Who made it.
    pub creator: Creator,
    /// From which addresses it may call; without, from any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Acl>,
    /// How often it may call; without, as often as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<BoundQuota>,
}

impl App {
    /// What the secret of a tenant's app is sealed for: its tenant, its row and its column. Wherever else it is put, it
    /// cannot be read.
    #[must_use]
    pub fn seal_context<'a>(tenant: &'a TenantId, id: &'a CallerId) -> [&'a str; 4] {
        [tenant.as_str(), "app", id.as_str(), "secret"]
    }
}

/// What an administrator may do; each may what those after it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything: tenants, plans, other administrators, export and import too.
    Owner,
    /// What changes from day to day: callers, credentials, locks.
    Operator,
    /// Look.
    ReadOnly,
}

impl Role {
    /// The role's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Operator => "operator",
            Self::ReadOnly => "read_only",
        }
    }

    /// Whether who has it may do what needs another one.
    #[must_use]
    pub fn allows(self, needed: Self) -> bool {
        self <= needed
    }
}

/// What kind of caller it is.
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
    /// The [name](Self::name) of apps.
    pub const APP: &'static str = "app";

    /// A short name: `api_client`, `app`, `operator` or `administrator`.
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

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Unique in the registry.
    pub id: CallerId,
    /// Who the caller belongs to.
    pub tenant: TenantId,
    /// Unique in the tenant, among callers of its kind.
    pub name: String,
    /// What kind of caller it is.
    pub kind: CallerKind,
    /// Whether its credentials are accepted.
    pub status: Status,
    /// How much it may; without one it is unlimited.
    pub plan: Option<PlanId>,
    /// Grows by one with every change; what a lost update is told by.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Caller {
    /// Returns `true` if it is an administrator that owns everything, and is enabled.
    #[must_use]
    pub fn owns_everything(&self) -> bool {
        let owns = self.kind == CallerKind::Administrator(Role::Owner);
        owns && self.status == Status::Enabled && self.tenant.as_str() == ADMIN_TENANT
    }

    /// The app's part, when the caller is one.
    #[must_use]
    pub fn app(&self) -> Option<&App> {
        match &self.kind {
            CallerKind::App(app) => Some(app),
            CallerKind::ApiClient | CallerKind::Operator | CallerKind::Administrator(_) => None,
        }
    }

    /// The role, when the caller is an administrator.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        if let CallerKind::Administrator(role) = self.kind { Some(role) } else { None }
    }

    /// A short name of the kind: callers of one kind share a space of names.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        self.kind.name()
    }

    /// The caller as it is after an edit, or `None` when the edit changes nothing.
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

/// What to change of a caller; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct CallerEdit {
    /// A new name.
    pub name: Option<String>,
    /// A new status.
    pub status: Option<Status>,
    /// Another plan, or `Some(None)` for none.
    pub plan: Option<Option<PlanId>>,
    /// A new remark; ignored for callers that are no apps, as are the next four.
    pub remark: Option<String>,
    /// A new AppKey.
    pub key: Option<String>,
    /// A new AppSecret.
    pub secret: Option<Sealed>,
    /// Other addresses, or `Some(None)` for any.
    pub acl: Option<Option<Acl>>,
    /// Another quota, or `Some(None)` for none.
    pub quota: Option<Option<BoundQuota>>,
    /// Another role; ignored for callers that are no administrators.
    pub role: Option<Role>,
}
