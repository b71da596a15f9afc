//! The native admin API, as the gateway serves it.

use std::{collections::BTreeSet, net::IpAddr, path::Path, sync::Arc};

use anyhow::Context;
use axum::{Router, middleware};
use http::Extensions;
use jiff::Timestamp;

use super::{
    GatewayState,
    client_addr::ClientAddr,
    hosts::{self, Hosts},
    reload_handle::ReloadHandle,
};
use crate::config::{self, Config, Toggle};
use portcullis::{
    model::{CallerId, CallerKind, Credential, Role, Status},
    registry::{CallerFilter, CredentialFilter, Registry, RegistryError},
};
use portcullis_surfaces::admin::{self, ADMIN_TENANT, ReloadConfiguration};

/// The number of objects that are read from the registry at once.
const PAGE: u32 = 100;

/// Creates the admin API on the shared state, if it is configured.
pub(super) fn router(config: &Config, shared: &GatewayState, reload: &ReloadHandle) -> Option<Router> {
    let settings = config.admin.as_ref()?;
    let reload: Arc<dyn ReloadConfiguration> = Arc::new(reload.clone());
    let api = admin_api(config, shared, ClientAddr::peer_of, None, Some(reload));
    // This layer runs before everything that counts: another site must not be able to lock out a user through the
    // user's browser.
    Some(api.layer(middleware::from_fn_with_state(Arc::new(Hosts::new(settings)), hosts::checked)))
}

/// Creates the admin API on the shared state, whether or not it is configured. `oneself` is an administrator that is
/// not in the store, and `configuration` reloads the configuration.
pub fn admin_api(
    config: &Config,
    shared: &GatewayState,
    peer: fn(&Extensions) -> Option<IpAddr>,
    oneself: Option<CallerId>,
    configuration: Option<Arc<dyn ReloadConfiguration>>,
) -> Router {
    admin::router(admin::Admin {
        registry: shared.registry.clone(),
        directory: shared.directory.clone(),
        clock: shared.clock.clone(),
        sealer: shared.sealer.clone(),
        peer,
        lockout: shared.admin_lockouts.get(&config.admin.clone().unwrap_or_default().lockout),
        local_admin: oneself,
        imports: imports(config),
        in_progress: shared.admin_requests.clone(),
        configuration,
        routes: config.routes.iter().enumerate().map(|(at, route)| shown(at, route)).collect(),
        defined_plans: admin::DefinedPlans {
            ids: config.plan_ids().cloned().collect(),
            place: match &config.file {
                Some(file) => format!("the configuration file {}", file.display()),
                None => "the configuration".into(),
            },
        },
    })
}

/// Uploaded files are kept beside the store, because they are as large and as secret as the store.
fn imports(config: &Config) -> admin::ImportOptions {
    let most = config.admin.clone().unwrap_or_default().import_bytes;
    let beside = config.store.path.parent().filter(|folder| !folder.as_os_str().is_empty());
    admin::ImportOptions { max_bytes: most, folder: beside.unwrap_or(Path::new(".")).to_owned() }
}

/// Describes a route for the admin API.
fn shown(at: usize, route: &config::Route) -> admin::Route {
    let (upstream, surface) = match route.backend() {
        Some(config::Backend::Upstream(name)) => (Some(name.to_owned()), None),
        Some(config::Backend::Surface(surface)) => (None, Some(surface.name().to_owned())),
        Some(config::Backend::Redirect | config::Backend::Respond) | None => (None, None),
    };
    let policies = &route.policies;
    let on = [
        ("content_type", policies.content_type.is_some()),
        ("accept", policies.accept.is_some()),
        ("api_key", policies.api_key.as_ref().and_then(Toggle::get).is_some()),
        ("signature", policies.signature().is_some()),
        ("scope", policies.scope.is_some()),
        ("grants", policies.grants),
        ("lock", policies.lock),
        ("rate_limit", policies.rate_limit.as_ref().and_then(Toggle::get).is_some()),
    ];
    admin::Route {
        name: route.name_or(at),
        host: route.host.as_ref().map(ToString::to_string),
        path: route.path.as_str().to_owned(),
        methods: route.methods.iter().map(ToString::to_string).collect(),
        upstream,
        surface,
        policies: on.into_iter().filter(|(_, on)| *on).map(|(name, _)| name.to_owned()).collect(),
        callers: callers(policies),
    }
}

/// The kinds of callers that a route recognises and admits.
fn callers(policies: &config::Policies) -> Vec<String> {
    let listed = [
        policies.api_key().map(|policy| &*policy.caller_kinds),
        policies.signature().map(|policy| &*policy.caller_kinds),
    ];
    let mut kinds = BTreeSet::new();
    for listed in listed.into_iter().flatten() {
        kinds.extend(config::kinds(listed).unwrap_or_else(|| vec!["api_client", "app"]));
    }
    kinds.into_iter().map(ToOwned::to_owned).collect()
}

/// Logs an error if the admin API is served and has no usable administrator. The gateway starts anyway: traffic does not
/// depend on administrators, and an owner that is created later is accepted.
///
/// # Errors
/// Fails if the registry cannot be read.
pub(super) async fn check(config: &Config, shared: &GatewayState) -> anyhow::Result<()> {
    if config.admin.is_none() {
        return Ok(());
    }
    let now = shared.clock.now().time;
    if !is_managed(&*shared.registry, now).await.context("administrator lookup failed")? {
        tracing::error!(
            "[admin] is configured, but no administrator with the role owner has a valid key: run \
             `portcullis init` to create one, or remove [admin]"
        );
    }
    Ok(())
}

/// Returns `true` if there is an owner with a valid key.
pub(super) async fn is_managed(registry: &dyn Registry, now: Timestamp) -> Result<bool, RegistryError> {
    let mut filter = CallerFilter {
        tenant: Some(ADMIN_TENANT.parse().map_err(|_| RegistryError::Corrupt("invalid tenant id".into()))?),
        kind: Some(CallerKind::Administrator(Role::Owner).name()),
        status: Some(Status::Enabled),
        limit: PAGE,
        ..CallerFilter::default()
    };
    loop {
        let callers = registry.callers(&filter).await?;
        let Some(last) = callers.last() else { return Ok(false) };
        filter.after = Some(last.id.clone());
        for caller in callers {
            let owns = caller.kind == CallerKind::Administrator(Role::Owner);
            let of_it =
                CredentialFilter { caller: Some(caller.id), limit: PAGE, ..CredentialFilter::default() };
            let keys = if owns { registry.credentials(&of_it).await? } else { Vec::new() };
            if keys.iter().any(|key| is_accepted(key, now)) {
                return Ok(true);
            }
        }
    }
}

fn is_accepted(key: &Credential, now: Timestamp) -> bool {
    let in_force = key.not_after.is_none_or(|end| now < end);
    key.status == Status::Enabled && in_force && key.kind.is_bearer()
}
