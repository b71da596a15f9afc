//! The dependencies and options of the API.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use http::Extensions;
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::in_flight::InFlight;

use portcullis::{
    Denial,
    clock::Clock,
    directory::Directory,
    model::{CallerId, PlanId, Sealer},
    policy::Lockout,
    registry::Registry,
};

/// Dependencies and options of the admin API.
#[derive(Clone)]
pub struct Admin {
    /// The registry that the API manages.
    pub registry: Arc<dyn Registry>,
    /// The directory for looking up administrators' keys. It follows the registry.
    pub directory: Arc<Directory>,
    /// The clock for timestamps, expiry and rate limits.
    pub clock: Arc<dyn Clock>,
    /// Seals the secrets of apps and the stored responses of idempotent requests.
    pub sealer: Arc<Sealer>,
    /// Finds the client's address among the extensions of a request, as
    /// [`PortcullisLayer::peer_from`](portcullis::tower::PortcullisLayer::peer_from) does.
    pub peer: fn(&Extensions) -> Option<IpAddr>,
    /// Denies addresses for a while that send too many bad keys.
    pub lockout: Arc<Lockout>,
    /// An administrator that is in no store: this process, when it calls the API itself.
    pub local_admin: Option<CallerId>,
    /// The configured routes, for reading. Unless the list is empty, a lock on a path is denied (422) if no route
    /// there has the policy `lock`.
    pub routes: Vec<Route>,
    /// Plans that the configuration defines. The API does not change them.
    pub defined_plans: DefinedPlans,
    /// Options for uploaded files.
    pub imports: ImportOptions,
    /// The requests in progress.
    pub in_progress: InProgress,
    /// Reloads the configuration. `None` if no gateway serves the API.
    pub configuration: Option<Arc<dyn ReloadConfiguration>>,
}

/// The requests in progress. The routers that serve one registry one after another share them, so that at most one
/// export and one import run at a time.
#[derive(Clone)]
pub struct InProgress {
    pub(super) idempotent: InFlight,
    pub(super) exporting: Arc<Semaphore>,
    pub(super) importing: Arc<Semaphore>,
}

impl Default for InProgress {
    fn default() -> Self {
        let [exporting, importing] = [1, 1].map(|most| Semaphore::new(most).into());
        Self { idempotent: InFlight::default(), exporting, importing }
    }
}

/// Reloads the configuration of the gateway that serves the API.
#[async_trait]
pub trait ReloadConfiguration: Send + Sync {
    /// Reads the configuration file, checks it and applies it.
    ///
    /// # Errors
    /// If the configuration cannot be used, or cannot be applied now.
    async fn reload(&self) -> Result<Reloaded, ReloadError>;
}

/// The reason that the configuration was not reloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadError {
    /// The file has these errors. Nothing has changed.
    Invalid(Vec<String>),
    /// The configuration could not be applied, for example because the store is not available.
    Unavailable(String),
}

/// The result of a reload that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reloaded {
    /// The warnings about the configuration, with file, line and column.
    pub warnings: Vec<String>,
    /// The names of changed settings that take effect only when the gateway is started again.
    pub restart_required: Vec<String>,
}

/// A route: the requests that it matches, their policies and their destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Route {
    /// The unique name: 1 to 64 characters of `A-Z a-z 0-9 - _ .`.
    pub name: String,
    /// The host that the route matches, such as `a.example` or `*.example`; `null` means any host.
    #[schema(required)]
    pub host: Option<String>,
    /// The path that the route matches. A segment in braces is a parameter, which matches any segment, or with an
    /// asterisk the rest of the path.
    pub path: String,
    /// The methods that the route matches; an empty list means any method.
    pub methods: Vec<String>,
    /// The name of the upstream that handles the requests.
    #[schema(required)]
    pub upstream: Option<String>,
    /// The name of the management API that handles the requests.
    #[schema(required)]
    pub surface: Option<String>,
    /// The names of the policies for the requests, in order.
    pub policies: Vec<String>,
    /// The kinds of callers that are recognised and admitted; none at all if the route recognises no caller. Not shown:
    /// locks are checked against it.
    #[serde(skip)]
    pub callers: Vec<String>,
}

/// Plans that a configuration defines. The API denies changes to them (409), because they would be lost when the
/// configuration is next read.
#[derive(Debug, Clone, Default)]
pub struct DefinedPlans {
    /// The ids of the plans.
    pub ids: BTreeSet<PlanId>,
    /// The place of their definition, for messages, such as `the configuration file config/gateway.toml`.
    pub place: String,
}

impl DefinedPlans {
    /// Denies a change of a plan that the configuration defines.
    ///
    /// # Errors
    /// 409 that names the place of the definition.
    pub(super) fn check_not_defined(&self, id: &PlanId) -> Result<(), Denial> {
        if !self.ids.contains(id) {
            return Ok(());
        }
        let detail = format!(
            "The plan \"{id}\" is defined in {}. Change it there and reload the configuration, or use another id.",
            self.place
        );
        Err(Denial::Conflict { detail: detail.into() })
    }
}

/// Options for uploaded files.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Maximum size of a file in bytes; a larger one is 413.
    pub max_bytes: u64,
    /// The folder for a file while it is uploaded. The file has no name, so that it disappears with the process.
    /// There is one upload at a time.
    pub folder: PathBuf,
}

/// Files of up to 1 GiB, in the system's folder for temporary files.
impl Default for ImportOptions {
    fn default() -> Self {
        Self { max_bytes: 1 << 30, folder: std::env::temp_dir() }
    }
}
