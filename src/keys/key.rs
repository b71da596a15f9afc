//! The properties of a key.

use std::{any::Any, fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;

use super::{KeyDigest, KeyError};
use crate::{
    directory::{CallerEntry, KeyEntry, Metadata, TenantSlot},
    limit::PlanRules,
    model::{
        Caller, CallerId, CallerKind, Credential, CredentialId, CredentialKind, Digest, InvalidId, Limit,
        Plan, Scope, Scopes, Status, SubscriptionStatus, Tenant,
    },
};

const DEFAULT_TENANT: &str = "default";

/// The properties of a key and its caller.
///
/// Ids are 1 to 64 characters of `A-Z a-z 0-9 - _ .`. An invalid value is an error when the key is added to a
/// [list](super::Keys), and a fault of the [store](super::KeyStore) that returned it.
///
/// ```
/// use portcullis::{keys::Key, model::Limit};
///
/// let key = Key::new("shop").tenant("acme").scopes(["orders:read"]).limit(Limit::per_minute(600).burst(50));
/// ```
#[derive(Clone)]
pub struct Key {
    pub(super) caller: String,
    id: Option<String>,
    name: Option<String>,
    tenant: String,
    plan: Option<String>,
    limits: Vec<Limit>,
    scopes: Option<Vec<String>>,
    status: Status,
    not_after: Option<Timestamp>,
    metadata: Option<Metadata>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("caller", &self.caller).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Key {
    /// Creates a key of the caller with this id, with all rights and without limits. All keys of a caller share its
    /// limits.
    #[must_use]
    pub fn new(caller: impl Into<String>) -> Self {
        Self {
            caller: caller.into(),
            id: None,
            name: None,
            tenant: DEFAULT_TENANT.into(),
            plan: None,
            limits: Vec::new(),
            scopes: None,
            status: Status::Enabled,
            not_after: None,
            metadata: None,
        }
    }

    /// Sets the id of the key, which is not a secret. The default is the first 16 digits of the SHA-256.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the name of the caller. The default is its id.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the tenant of the caller. The default is `default`. Ids of callers are unique over all tenants.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// Adds a limit of the caller.
    #[must_use]
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    /// Sets the name and the limits of the caller's plan. Without limits, the caller is unlimited.
    #[must_use]
    pub fn plan(mut self, name: impl Into<String>, limits: impl IntoIterator<Item = Limit>) -> Self {
        self.plan = Some(name.into());
        self.limits = limits.into_iter().collect();
        self
    }

    /// Sets the scopes, such as `orders:read` or `orders:write:7`, see [`Scope`]. The default is all rights; an empty
    /// list is none.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the first moment at which the key is no longer accepted.
    #[must_use]
    pub fn not_after(mut self, end: Timestamp) -> Self {
        self.not_after = Some(end);
        self
    }

    /// Disables the key: requests with it are denied with 403.
    #[must_use]
    pub fn disabled(mut self) -> Self {
        self.status = Status::Disabled;
        self
    }

    /// Sets the application's own data, which [`Caller::metadata`](crate::Caller::metadata) returns.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Any + Send + Sync) -> Self {
        self.metadata = Some(Arc::new(metadata));
        self
    }

    /// Returns `true` if the key brings a plan or limits of its own.
    pub(super) fn has_plan(&self) -> bool {
        self.plan.is_some() || !self.limits.is_empty()
    }

    /// Returns `true` if the caller has the same properties in both keys.
    pub(super) fn describes_the_caller_of(&self, other: &Self) -> bool {
        let caller =
            |key: &Self| (key.caller.clone(), key.name.clone(), key.tenant.clone(), key.plan.clone());
        caller(self) == caller(other) && self.limits == other.limits
    }

    /// Checks the key and converts it to an entry. `before` is the present entry of the caller, if there is one: its
    /// buckets are preserved.
    pub(super) fn into_entry(
        self,
        digest: KeyDigest,
        before: Option<&Arc<CallerEntry>>,
    ) -> Result<KeyEntry, KeyError> {
        let caller: CallerId = parse("caller", &self.caller)?;
        let tenant = parse("tenant", &self.tenant)?;
        let id: CredentialId = match &self.id {
            Some(id) => parse("key", id)?,
            None => parse("key", &digest.to_string()[..16])?,
        };
        let scopes = match &self.scopes {
            None => Scopes::All,
            Some(list) => Scopes::Listed(list.iter().map(|text| scope(text)).collect::<Result<_, _>>()?),
        };
        let plan = self.has_plan().then(|| self.parse_plan()).transpose()?;
        let before = before.filter(|before| before.id == caller);
        if before.is_some_and(|before| before.tenant().id != tenant) {
            return Err(KeyError::Conflict { caller: self.caller });
        }
        let now = Timestamp::UNIX_EPOCH;
        let name = self.name.unwrap_or_else(|| self.caller.clone());
        let credential = Credential {
            id,
            tenant,
            caller,
            kind: CredentialKind::Sha256Key,
            name: name.clone(),
            digest: Digest::from_sha256(*digest.as_bytes()),
            pepper: 0,
            hint: String::new(),
            status: self.status,
            scopes: Scopes::All,
            not_after: self.not_after,
            deprecated_at: None,
            replaced_by: None,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let caller = match before.filter(|before| *before.name == *name && before.plan() == plan.as_ref()) {
            Some(unchanged) => unchanged.clone(),
            None => Arc::new(caller_entry(&credential, name, plan, before)),
        };
        Ok(KeyEntry::with_metadata(&credential, Arc::new(scopes), caller, self.metadata))
    }

    fn parse_plan(&self) -> Result<Plan, KeyError> {
        let id = parse("plan", self.plan.as_ref().unwrap_or(&self.caller))?;
        Plan::new(id, self.limits.clone())
            .map_err(|source| KeyError::Plan { caller: self.caller.clone(), source })
    }
}

fn caller_entry(
    credential: &Credential,
    name: String,
    plan: Option<Plan>,
    before: Option<&Arc<CallerEntry>>,
) -> CallerEntry {
    let now = credential.created_at;
    let tenant = Tenant {
        id: credential.tenant.clone(),
        name: credential.tenant.to_string(),
        gateway: None,
        standing: SubscriptionStatus::Active,
        max_callers: u32::MAX,
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    let rules = plan.map(|plan| Arc::new(PlanRules::new(plan)));
    let caller = Caller {
        id: credential.caller.clone(),
        tenant: tenant.id.clone(),
        name,
        kind: CallerKind::ApiClient,
        status: Status::Enabled,
        plan: rules.as_ref().map(|rules| rules.plan().id().clone()),
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    CallerEntry::new(&caller, Arc::new(TenantSlot::new(tenant)), rules, before.map(|before| &**before))
}

fn parse<T: FromStr<Err = InvalidId>>(what: &'static str, text: &str) -> Result<T, KeyError> {
    text.parse().map_err(|source| KeyError::Id { what, text: text.into(), source })
}

fn scope(text: &str) -> Result<Scope, KeyError> {
    text.parse().map_err(|source| KeyError::Scope { text: text.into(), source })
}
