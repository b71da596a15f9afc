//! The change log: every change of the registry, in order.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Authority, Caller, Credential, Grant, Lock, Plan, Quota, Tenant, TenantId, Throttle};

/// A change's number. The first is 1; each is one greater than the last.
pub type Seq = u64;

/// The author of a change: a surface and a caller (`discue:5bc2…`), or a command (`init`); and from where.
///
/// One that stands for a request carries the [`Authority`] of its credential, which a registry checks in the
/// transaction of every change. The change log keeps the text alone.
///
/// ```
/// use portcullis::app::Actor;
///
/// let actor = Actor::recorded("discue:5bc2 from 203.0.113.7");
/// assert_eq!((actor.who(), actor.address()), ("discue:5bc2", Some("203.0.113.7")));
/// assert_eq!(Actor::system("init").as_str(), "init");
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Actor {
    text: String,
    authority: Option<Box<Authority>>,
    /// The tenant whose subscription must be active.
    subscriber: Option<TenantId>,
}

impl Actor {
    pub(crate) const ADDRESS_SEPARATOR: &str = " from ";

    /// This process itself: a command, or its configuration. It may change everything, so nothing that comes over a
    /// network may be done in its name.
    #[must_use]
    pub fn system(name: impl Into<String>) -> Self {
        Self { text: name.into(), authority: None, subscriber: None }
    }

    /// The author of a change as the change log has it.
    #[must_use]
    pub fn recorded(text: impl Into<String>) -> Self {
        Self::system(text)
    }

    /// The sender of a request to a surface, with the authority of its credential.
    #[must_use]
    pub fn with_authority(surface: &str, authority: Authority) -> Self {
        let from = authority.address.map(|address| format!("{}{address}", Self::ADDRESS_SEPARATOR)).unwrap_or_default();
        let text = format!("{surface}:{}{from}", authority.caller);
        Self { text, authority: Some(Box::new(authority)), subscriber: None }
    }

    /// This author, for a change that needs the active subscription of a tenant.
    #[must_use]
    pub fn subscribed(self, tenant: TenantId) -> Self {
        Self { subscriber: Some(tenant), ..self }
    }

    /// The authority that the change stands on; `None` for this process itself.
    #[must_use]
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_deref()
    }

    /// The tenant whose subscription must be active for the change.
    #[must_use]
    pub fn subscriber(&self) -> Option<&TenantId> {
        self.subscriber.as_ref()
    }

    /// The text that the change log keeps.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The surface and caller, or the command.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.split_once(Self::ADDRESS_SEPARATOR).map_or(&*self.text, |(who, _)| who)
    }

    /// The address it came from, when it came from one.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.text.split_once(Self::ADDRESS_SEPARATOR).map(|(_, address)| address)
    }
}

/// Two are the same author if the change log says the same of both.
impl PartialEq for Actor {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Actor {}

impl From<String> for Actor {
    fn from(text: String) -> Self {
        Self::recorded(text)
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> Self {
        actor.text
    }
}

/// What happened to an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Created,
    /// It is different.
    Updated,
    /// It is gone; the change holds what it was.
    Deleted,
}

impl ChangeKind {
    /// The verb's name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }

    /// The verb of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Created, Self::Updated, Self::Deleted].into_iter().find(|verb| verb.as_str() == name)
    }
}

/// What can change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entity {
    /// A tenant.
    Tenant(Tenant),
    /// A caller.
    Caller(Caller),
    /// A credential, with its digest.
    Credential(Credential),
    /// A plan.
    Plan(Plan),
    /// A lock.
    Lock(Lock),
    /// A grant.
    Grant(Grant),
    /// A quota.
    Quota(Quota),
    /// A throttle.
    Throttle(Throttle),
}

/// The kinds of entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntityKind {
    /// A tenant.
    Tenant,
    /// A caller.
    Caller,
    /// A credential.
    Credential,
    /// A plan.
    Plan,
    /// A lock.
    Lock,
    /// A grant.
    Grant,
    /// A quota.
    Quota,
    /// A throttle.
    Throttle,
}

impl EntityKind {
    /// All of them, each behind those that it stands on.
    pub const ALL: [Self; 8] = [
        Self::Tenant,
        Self::Plan,
        Self::Quota,
        Self::Caller,
        Self::Credential,
        Self::Lock,
        Self::Grant,
        Self::Throttle,
    ];

    /// The kind's name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Caller => "caller",
            Self::Credential => "credential",
            Self::Plan => "plan",
            Self::Lock => "lock",
            Self::Grant => "grant",
            Self::Quota => "quota",
            Self::Throttle => "throttle",
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl Entity {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> EntityKind {
        match self {
            Self::Tenant(_) => EntityKind::Tenant,
            Self::Caller(_) => EntityKind::Caller,
            Self::Credential(_) => EntityKind::Credential,
            Self::Plan(_) => EntityKind::Plan,
            Self::Lock(_) => EntityKind::Lock,
            Self::Grant(_) => EntityKind::Grant,
            Self::Quota(_) => EntityKind::Quota,
            Self::Throttle(_) => EntityKind::Throttle,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Tenant(it) => it.id.as_str(),
            Self::Caller(it) => it.id.as_str(),
            Self::Credential(it) => it.id.as_str(),
            Self::Plan(it) => it.id().as_str(),
            Self::Lock(it) => it.id.as_str(),
            Self::Grant(it) => it.id.as_str(),
            Self::Quota(it) => it.id.as_str(),
            Self::Throttle(it) => it.id.as_str(),
        }
    }
}

impl Entity {
    /// It as JSON, without what only the registry may know: digests, of keys and of lock tokens, and sealed
    /// secrets.
    #[must_use]
    pub fn redacted(&self) -> Value {
        let shown = match self {
            Self::Tenant(it) => serde_json::to_value(it),
            Self::Caller(it) => serde_json::to_value(it),
            Self::Credential(it) => serde_json::to_value(it),
            Self::Plan(it) => serde_json::to_value(it),
            Self::Lock(it) => serde_json::to_value(it),
            Self::Grant(it) => serde_json::to_value(it),
            Self::Quota(it) => serde_json::to_value(it),
            Self::Throttle(it) => serde_json::to_value(it),
        };
        let mut shown = shown.unwrap_or_default();
        if let Some(members) = shown.as_object_mut() {
            members.remove("digest");
            if let (Self::Credential(it), Some(kind)) = (self, members.get_mut("kind")) {
                *kind = it.kind.name().into();
            }
            members.remove("token");
            if let Some(app) = members.get_mut("kind").and_then(|kind| kind.get_mut("app")?.as_object_mut()) {
                app.remove("secret");
            }
        }
        shown
    }
}

/// One row of the change log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its number.
    pub seq: Seq,
    /// When it was made, by the registry's clock.
    pub at: Timestamp,
    /// Who made it.
    pub actor: Actor,
    /// What happened.
    pub verb: ChangeKind,
    /// The entity as it is since, or, when deleted, as it last was.
    pub entity: Entity,
}
