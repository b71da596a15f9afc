//! The state of the API: its dependencies and settings, and the checks that handlers share.

use std::{net::IpAddr, sync::Arc};

use http::{Extensions, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;

use super::response::{ErrorResponse, Links};
use crate::denial;
use portcullis::{
    Denial,
    clock::Clock,
    directory::Directory,
    model::{SubscriptionStatus, TenantId},
    policy::Lockout,
    registry::{Registry, RegistryError},
};

/// The challenge for a key that is no longer accepted. Equal to the guard's challenge.
static CHALLENGE: HeaderValue = HeaderValue::from_static("ApiKey realm=\"discue\", header=\"x-api-key\"");

/// An operation of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `POST /api_clients`.
    Create,
    /// `GET /api_clients`.
    List,
    /// `GET /api_clients/{id}`.
    Get,
    /// `PUT /api_clients/{id}`.
    Update,
    /// `DELETE /api_clients/{id}`.
    Delete,
    /// `POST /api_keys`.
    CreateKey,
    /// `GET /api_keys`.
    ListKeys,
    /// `GET /api_keys/{id}`.
    GetKey,
    /// `PUT /api_keys/{id}`.
    UpdateKey,
    /// `DELETE /api_keys/{id}`.
    DeleteKey,
}

/// Dependencies and settings of the discue management API.
#[derive(Clone)]
pub struct Discue {
    /// The registry that stores the api clients.
    pub registry: Arc<dyn Registry>,
    /// The directory for lookups of keys and locks; it follows the registry.
    pub directory: Arc<Directory>,
    /// The clock of limits and locks.
    pub clock: Arc<dyn Clock>,
    /// The base URL of links, such as `https://api.discue.io`.
    pub base_url: String,
    /// Finds the peer's address in the extensions of a request, as
    /// [`PortcullisLayer::peer_from`](portcullis::tower::PortcullisLayer::peer_from) does. The lockout denies clients that
    /// guess keys by this address. [`PeerAddr::find`](portcullis::tower::PeerAddr::find) is the layer's own function.
    pub peer: fn(&Extensions) -> Option<IpAddr>,
    /// The lockout of addresses that send invalid keys.
    pub lockout: Arc<Lockout>,
    /// Disabled operations; requests to them are answered with 501.
    pub disabled_operations: Vec<Operation>,
}

/// Converts a registry error to an error response.
pub(super) fn refused(fault: RegistryError, now: Timestamp) -> ErrorResponse {
    denial(fault, now, &CHALLENGE).into()
}

impl Discue {
    pub(super) fn ensure_enabled(&self, operation: Operation) -> Result<(), ErrorResponse> {
        if !self.disabled_operations.contains(&operation) {
            return Ok(());
        }
        Err(Denial::NotImplemented { detail: "This operation is disabled.".into() }.into())
    }

    pub(super) fn links(&self, path: &str) -> Links {
        Links::to(&self.base_url, path)
    }

    /// Checks that the subscription of the tenant is active, as every change but a deletion requires.
    pub(super) async fn require_active(&self, tenant: &TenantId) -> Result<(), ErrorResponse> {
        match self.registry.tenant(tenant).await.map_err(|fault| self.registry_error(fault))?.standing {
            SubscriptionStatus::Active => Ok(()),
            SubscriptionStatus::Lapsed => {
                Err(Denial::PaymentRequired { detail: "The subscription has lapsed.".into() }.into())
            }
        }
    }

    pub(super) fn registry_error(&self, fault: RegistryError) -> ErrorResponse {
        refused(fault, self.clock.now().time)
    }
}
