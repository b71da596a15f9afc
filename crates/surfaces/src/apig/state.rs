//! The state of the API: its dependencies and settings, and the look-ups that handlers share.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use http::Extensions;

use super::{call_context::CallContext, error::ApigError};
use portcullis::{
    clock::Clock,
    directory::Directory,
    model::{Actor, App, Caller, CallerEdit, CallerId, RouteName, Sealed, Sealer, Secret, Tenant},
    policy::Lockout,
    registry::{Registry, RegistryError, RegistryExt},
};

/// Dependencies and settings of the APIG management API.
#[derive(Clone)]
pub struct Apig {
    /// The registry that stores the apps.
    pub registry: Arc<dyn Registry>,
    /// The directory for lookups of tokens, access keys and locks; it follows the registry.
    pub directory: Arc<Directory>,
    /// The clock of limits and locks.
    pub clock: Arc<dyn Clock>,
    /// The sealer of the apps' secrets and of the operators' signing secrets.
    pub sealer: Arc<Sealer>,
    /// The most AppCodes of an app; the contract says 5.
    pub app_codes: u32,
    /// The most throttling policies of a gateway; the contract says 300.
    pub throttles: u32,
    /// The most quotas of a gateway.
    pub quotas: u32,
    /// The lockout of addresses that send invalid tokens and signatures. Surfaces that share it count together; the
    /// contract says five failed attempts and five minutes.
    pub lockout: Arc<Lockout>,
    /// The APIs that apps are authorized for: routes of the gateway, by name.
    pub apis: BTreeSet<RouteName>,
    /// Finds the peer's address in the extensions of a request, as
    /// [`PortcullisLayer::peer_from`](portcullis::tower::PortcullisLayer::peer_from) does. The change log records it with
    /// each change.
    pub peer: fn(&Extensions) -> Option<IpAddr>,
}

impl Apig {
    /// Returns the gateway that the path names.
    pub(super) async fn gateway(&self, call: &CallContext) -> Result<Tenant, ApigError> {
        let tenant = self.registry.gateway(&call.project, &call.instance).await;
        tenant.map_err(|fault| self.registry_error(fault, call.no_instance()))
    }

    /// Returns an app of the gateway; callers of other kinds count as unknown.
    pub(super) async fn find(
        &self,
        tenant: &Tenant,
        id: &CallerId,
        call: &CallContext,
    ) -> Result<Caller, ApigError> {
        let caller = self.registry.caller(&tenant.id, id).await;
        let missing = || call.no_app(id.as_str());
        let caller = caller.map_err(|fault| self.registry_error(fault, missing()))?;
        if caller.app().is_some() { Ok(caller) } else { Err(missing()) }
    }

    pub(super) fn seal(&self, secret: &Secret, tenant: &Tenant, id: &CallerId) -> Sealed {
        self.sealer.seal(secret, &App::seal_context(&tenant.id, id))
    }

    /// Converts a registry error to an error response; `missing` is the response to "not found".
    pub(super) fn registry_error(&self, fault: RegistryError, missing: ApigError) -> ApigError {
        ApigError::new(fault, missing, self.clock.now().time)
    }

    /// Returns the route of the API with this id.
    pub(super) fn api(&self, id: &str) -> Option<RouteName> {
        self.apis.get(&id.parse().ok()?).cloned()
    }

    /// Applies an edit to an app and returns the updated app.
    pub(super) async fn edit(
        &self,
        call: &CallContext,
        actor: &Actor,
        tenant: &Tenant,
        id: &CallerId,
        edit: CallerEdit,
    ) -> Result<Caller, ApigError> {
        let after = self.registry.update_caller(&tenant.id, id, None, edit, actor).await;
        after.map_err(|fault| self.registry_error(fault, call.no_app(id.as_str())))
    }
}
