//! The change log: every change of the registry, in order.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Authority, Caller, Credential, Grant, Lock, Plan, Quota, Tenant, TenantId, Throttle};

/// The number of a change. The first change has number 1, and each change one more than the change before it.
pub type Seq = u64;

/// The author of a change: a surface and a caller (`discue:5bc2…`), or a command (`init`), with the client's
/// address.
///
/// An actor that was made for a request carries the [`Authority`] of its credential, which a registry checks in the
/// transaction of every change. The change log stores only the text.
///
/// ```
/// use portcullis::model::Actor;
///
/// let actor = Actor::recorded("discue:5bc2 from 203.0.113.7");
/// assert_eq!((actor.name(), actor.address()), ("discue:5bc2", Some("203.0.113.7")));
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

    /// Creates an actor for this process itself: a command, or its configuration. It may change everything, so no
    /// request from the network may be executed with it.
    #[must_use]
    pub fn system(name: impl Into<String>) -> Self {
        Self { text: name.into(), authority: None, subscriber: None }
    }

    /// Creates an actor from the text of the change log.
    #[must_use]
    pub fn recorded(text: impl Into<String>) -> Self {
        Self::system(text)
    }

    /// Creates an actor for the sender of a request to a surface, with the authority of its credential.
    #[must_use]
    pub fn with_authority(surface: &str, authority: Authority) -> Self {
        let from = authority
            .address
            .map(|address| format!("{}{address}", Self::ADDRESS_SEPARATOR))
            .unwrap_or_default();
        let text = format!("{surface}:{}{from}", authority.caller);
        Self { text, authority: Some(Box::new(authority)), subscriber: None }
    }

    /// Returns the actor with the condition that this tenant's subscription is active.
    #[must_use]
    pub fn subscribed(self, tenant: TenantId) -> Self {
        Self { subscriber: Some(tenant), ..self }
    }

    /// Returns the authority that the registry checks for the change; `None` for this process itself.
    #[must_use]
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_deref()
    }

    /// Returns the tenant whose subscription must be active for the change.
    #[must_use]
    pub fn subscriber(&self) -> Option<&TenantId> {
        self.subscriber.as_ref()
    }

    /// Returns the text that the change log stores.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the surface and the caller, or the command.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.split_once(Self::ADDRESS_SEPARATOR).map_or(&*self.text, |(name, _)| name)
    }

    /// Returns the client's address, if it is known.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.text.split_once(Self::ADDRESS_SEPARATOR).map(|(_, address)| address)
    }
}

/// Compares the texts that the change log stores.
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

/// The effect of a change on an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The entity was created.
    Created,
    /// The entity was updated.
    Updated,
    /// The entity was deleted. The change holds its last state.
    Deleted,
}

impl ChangeKind {
    /// Returns the verb's name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }

    /// Returns the verb with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Created, Self::Updated, Self::Deleted].into_iter().find(|verb| verb.as_str() == name)
    }
}

/// An entity of the registry, as a change contains it.
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

/// The kind of an entity.
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
    /// All kinds. Each kind follows those that it refers to.
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

    /// Returns the kind's name in the store.
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

    /// Returns the kind with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Generates the conversion of each kind of entity.
macro_rules! entities {
    ($($kind:ident),+) => {$(
        impl From<$kind> for Entity {
            fn from(entity: $kind) -> Self {
                Self::$kind(entity)
            }
        }
    )+};
}
entities!(Tenant, Caller, Credential, Plan, Lock, Grant, Quota, Throttle);

impl Entity {
    /// Returns the kind of the entity.
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

    /// Returns the id of the entity.
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
    /// Returns the entity as JSON without the data that only the registry may know: digests of keys and of lock
    /// tokens, and sealed secrets.
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

/// A row of the change log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The number of the change.
    pub seq: Seq,
    /// The time of the change, by the registry's clock.
    pub at: Timestamp,
    /// The author of the change.
    pub actor: Actor,
    /// The effect of the change.
    pub verb: ChangeKind,
    /// The entity after the change, or its last state if it was deleted.
    pub entity: Entity,
}
