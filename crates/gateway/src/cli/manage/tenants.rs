//! `portcullis tenant`.

use clap::Subcommand;
use serde_json::json;

use super::{CommandContext, encoded, object_of};

/// Operations on tenants.
#[derive(Debug, Subcommand)]
pub enum Tenants {
    /// List all tenants.
    List {
        /// Only tenants with this name.
        #[arg(long)]
        name: Option<String>,
        /// Only tenants whose subscription is in this state.
        #[arg(long, value_parser = ["active", "lapsed"])]
        subscription: Option<String>,
    },
    /// Show a tenant.
    Show {
        /// The tenant's id.
        tenant: String,
    },
    /// Create a tenant.
    Create {
        /// The tenant's name, for display.
        name: String,
        /// The tenant's id. Default: a random one.
        #[arg(long)]
        id: Option<String>,
        /// The project of the APIG gateway that this tenant represents; needs --instance.
        #[arg(long, requires = "instance")]
        project: Option<String>,
        /// The instance of that gateway; needs --project.
        #[arg(long, requires = "project")]
        instance: Option<String>,
        /// Allow operators to choose the keys and secrets of the gateway's apps.
        #[arg(long, requires = "project")]
        custom_keys: bool,
        /// The maximum number of callers of each kind.
        #[arg(long, value_name = "COUNT")]
        max_callers: Option<u32>,
    },
    /// Change a tenant.
    Edit {
        /// The tenant's id.
        tenant: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        /// The new state of its subscription.
        #[arg(long, value_parser = ["active", "lapsed"])]
        subscription: Option<String>,
        /// Allow operators to choose the keys and secrets of the apps (`true`, `false`); only for an APIG gateway.
        #[arg(long, value_name = "BOOL")]
        custom_keys: Option<bool>,
        /// The maximum number of callers of each kind.
        #[arg(long, value_name = "COUNT")]
        max_callers: Option<u32>,
    },
    /// Delete a tenant that has no callers.
    Delete {
        /// The tenant's id.
        tenant: String,
    },
}

pub(super) async fn run(command: Tenants, context: &mut CommandContext<'_>) -> anyhow::Result<()> {
    match command {
        Tenants::List { name, subscription } => {
            let columns = [
                ("ID", "/id"),
                ("NAME", "/name"),
                ("SUBSCRIPTION", "/subscription"),
                ("PROJECT", "/gateway/project_id"),
                ("INSTANCE", "/gateway/instance_id"),
                ("MAX CALLERS", "/max_callers"),
            ];
            let filters = [("name", name.as_deref()), ("subscription", subscription.as_deref())];
            context.list("/tenants", &filters, &columns).await
        }
        Tenants::Show { tenant } => context.show(&path(&tenant)).await,
        Tenants::Create { name, id, project, instance, custom_keys, max_callers } => {
            let gateway = project.zip(instance).map(|(project, instance)| {
                json!({"project_id": project, "instance_id": instance, "custom_keys": custom_keys})
            });
            let body = object_of([
                ("name", Some(name.into())),
                ("id", id.map(Into::into)),
                ("gateway", gateway),
                ("max_callers", max_callers.map(Into::into)),
            ]);
            context.create("/tenants", &body, &[]).await
        }
        Tenants::Edit { tenant, name, subscription, custom_keys, max_callers } => {
            let patch = object_of([
                ("name", name.map(Into::into)),
                ("subscription", subscription.map(Into::into)),
                ("gateway", custom_keys.map(|custom_keys| json!({"custom_keys": custom_keys}))),
                ("max_callers", max_callers.map(Into::into)),
            ]);
            context.edit(&path(&tenant), &patch).await
        }
        Tenants::Delete { tenant } => {
            context.delete(&path(&tenant), "").await?;
            context.write_line(&format!("deleted tenant {tenant}"))
        }
    }
}

/// Returns the path of a tenant.
pub(super) fn path(tenant: &str) -> String {
    format!("/tenants/{}", encoded(tenant))
}
