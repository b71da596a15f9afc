//! The plans of the configuration, in the registry.

use crate::{
    model::{Actor, Plan},
    config::Config,
    registry::{RegistryError, Registry},
};

/// Puts the configured plans into the registry: for a plan that the configuration defines, it decides.
///
/// The admin API and the commands refuse to change such a plan, so a difference comes from an edited configuration, or
/// from another node with another one. Each is logged.
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

/// The limits of a plan, for people.
fn limits(plan: &Plan) -> String {
    let limit = |limit: &crate::model::Limit| {
        format!("{}: {} per {} s, burst {}", limit.name(), limit.quota(), limit.window(), limit.burst())
    };
    let limits: Vec<_> = plan.limits().iter().map(limit).collect();
    if limits.is_empty() { "unlimited".into() } else { limits.join("; ") }
}
