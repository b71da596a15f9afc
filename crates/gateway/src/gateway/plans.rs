//! Writes the plans of the configuration to the registry.

use crate::config::Config;
use portcullis::{
    model::{Actor, Plan},
    registry::{Registry, RegistryError, RegistryExt},
};

/// Writes the configured plans to the registry. The configuration overrides the registry for each plan that it defines.
///
/// The admin API and the commands refuse to change a configured plan, so a difference is the result of an edited
/// configuration, or of another node with a different one. Each difference is logged.
pub(super) async fn store(config: &Config, registry: &dyn Registry) -> Result<(), RegistryError> {
    let actor = Actor::system("config");
    for plan in config.plans.iter().map(toml::Spanned::get_ref) {
        let before = match registry.plan(plan.id()).await {
            Ok(before) if before == *plan => continue,
            Ok(before) => Some(before),
            Err(RegistryError::NotFound) => None,
            Err(fault) => return Err(fault),
        };
        registry.put_plan(plan.clone(), &actor).await?;
        let (id, after) = (plan.id(), limits(plan));
        if let Some(before) = before {
            let before = limits(&before);
            tracing::warn!(plan = %id, before, after, "plan replaced by the one in the configuration");
        } else {
            tracing::info!(plan = %id, limits = after, "plan added from the configuration");
        }
    }
    Ok(())
}

/// Returns a readable description of the limits of a plan.
fn limits(plan: &Plan) -> String {
    let limit = |limit: &portcullis::model::Limit| {
        format!("{}: {} per {} s, burst {}", limit.name(), limit.quota(), limit.window(), limit.burst_size())
    };
    let limits: Vec<_> = plan.limits().iter().map(limit).collect();
    if limits.is_empty() { "unlimited".into() } else { limits.join("; ") }
}
