//! The caller of a request, for handlers.

use std::{any::Any, fmt, sync::Arc};

use crate::{
    Admission,
    directory::KeyEntry,
    model::{Access, Scopes, TenantId},
};

/// The caller of an admitted request and its credential, in the state in which the request was decided.
///
/// With the feature `axum` it is an extractor: `Caller` denies a request that no policy has recognised, and
/// `Option<Caller>` is `None` for such a request. Both fail with 500 if there is no
/// [layer](crate::tower::PortcullisLayer) around the handler.
///
/// [`ApiKey`](crate::policy::ApiKey) denies requests without a key. To admit them, for handlers with `Option<Caller>`,
/// [exempt](crate::tower::PortcullisLayer::exempt) them:
///
/// ```
/// use portcullis::{Head, keys::Keys, policy::{ApiKey, KeySource}, tower::PortcullisLayer};
///
/// let policy = ApiKey::new(Keys::new()).sources([KeySource::x_api_key()]);
/// let layer = PortcullisLayer::new(policy).exempt(|head: &Head| !head.headers.contains_key("x-api-key"));
/// ```
///
/// ```
/// use portcullis::{Caller, model::Access};
///
/// async fn orders(caller: Caller) -> String {
///     let may_change = caller.allows("orders", Access::Write);
///     format!("the orders of {}; changes are possible: {may_change}", caller.name())
/// }
/// ```
#[derive(Clone)]
pub struct Caller(Arc<KeyEntry>);

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("id", &self.id()).field("key", &self.key_id()).finish_non_exhaustive()
    }
}

impl Caller {
    /// Returns the caller of an admission, if a policy has recognised one.
    #[must_use]
    pub fn from_admission(admission: &Admission) -> Option<Self> {
        admission.identity().map(|identity| Self(identity.key.clone()))
    }

    /// Returns the id of the caller.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.caller().id.as_str()
    }

    /// Returns the name of the caller.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.caller().name
    }

    /// Returns the id of the caller's tenant.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.0.caller().tenant().id.clone()
    }

    /// Returns the name of the caller's plan, if it has one.
    #[must_use]
    pub fn plan(&self) -> Option<&str> {
        self.0.caller().plan().map(|plan| plan.id().as_str())
    }

    /// Returns the id of the credential, which is not a secret.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.0.id.as_str()
    }

    /// Returns the scopes of the credential.
    #[must_use]
    pub fn scopes(&self) -> &Scopes {
        &self.0.scopes
    }

    /// Returns `true` if the credential's scopes allow this access to all resources of a kind. For a single resource,
    /// see [`Scopes::allow`].
    #[must_use]
    pub fn allows(&self, resource: &str, access: Access) -> bool {
        self.0.scopes.allow(resource, access, None)
    }

    /// Returns the application's own data about the credential, if it has data of this type. See
    /// [`Key::metadata`](crate::keys::Key::metadata).
    #[must_use]
    pub fn metadata<T: Any>(&self) -> Option<&T> {
        self.0.metadata()
    }
}
