//! `portcullis app`: callers of every kind.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::{CommandContext, encoded, object_of, tenants};
use portcullis::model::ADMIN_TENANT;

/// Operations on callers.
#[derive(Debug, Subcommand)]
pub enum Apps {
    /// List the callers of a tenant: API clients, apps, operators, administrators.
    List {
        /// The tenant.
        #[command(flatten)]
        of: CallerArgs,
        /// Only callers of this kind.
        #[arg(long, value_parser = ["api_client", "app", "operator", "administrator"])]
        kind: Option<String>,
        /// Only callers with this name.
        #[arg(long)]
        name: Option<String>,
        /// Only callers in this state.
        #[arg(long, value_parser = ["enabled", "disabled"])]
        status: Option<String>,
        /// Only callers on this plan.
        #[arg(long)]
        plan: Option<String>,
    },
    /// Show a caller.
    Show {
        /// The tenant.
        #[command(flatten)]
        of: CallerArgs,
        /// The caller's id.
        #[arg(value_name = "CALLER")]
        app: String,
    },
    /// Create a caller. The secret of an app, if it is generated, is shown only once.
    Create {
        /// The tenant.
        #[command(flatten)]
        of: CallerArgs,
        /// The caller's name: unique in the tenant, among callers of its kind.
        name: String,
        /// The kind of caller. Default: app in a tenant that is an APIG gateway, administrator in the tenant
        /// `administration`, `api_client` in all others.
        #[arg(long, value_parser = ["api_client", "app", "operator", "administrator"])]
        kind: Option<String>,
        /// The caller's id. Default: a random one.
        #[arg(long)]
        id: Option<String>,
        /// The role of an administrator.
        #[arg(long, value_parser = ["owner", "operator", "read_only"])]
        role: Option<String>,
        /// The plan that limits the caller. Default: none, the caller is unlimited.
        #[arg(long)]
        plan: Option<String>,
        /// A remark; only an app has one.
        #[arg(long)]
        remark: Option<String>,
    },
    /// Change a caller.
    Edit {
        /// The tenant.
        #[command(flatten)]
        of: CallerArgs,
        /// The caller's id.
        #[arg(value_name = "CALLER")]
        app: String,
        /// A new name.
        #[arg(long)]
        name: Option<String>,
        /// The new state: the keys of a disabled caller are rejected.
        #[arg(long, value_parser = ["enabled", "disabled"])]
        status: Option<String>,
        /// A new plan.
        #[arg(long, conflicts_with = "no_plan")]
        plan: Option<String>,
        /// Remove the plan: the caller is unlimited.
        #[arg(long)]
        no_plan: bool,
        /// The role of an administrator.
        #[arg(long, value_parser = ["owner", "operator", "read_only"])]
        role: Option<String>,
        /// A new remark; only an app has one.
        #[arg(long)]
        remark: Option<String>,
    },
    /// Delete a caller and its keys.
    Delete {
        /// The tenant.
        #[command(flatten)]
        of: CallerArgs,
        /// The caller's id.
        #[arg(value_name = "CALLER")]
        app: String,
    },
}

/// The tenant of an operation.
#[derive(Debug, Args)]
pub struct CallerArgs {
    /// The tenant's id.
    #[arg(long, short, env = "PORTCULLIS_TENANT")]
    pub(super) tenant: String,
}

impl CallerArgs {
    /// Returns the path of the tenant's callers.
    pub(super) fn callers(&self) -> String {
        format!("{}/callers", tenants::path(&self.tenant))
    }

    pub(super) fn caller(&self, id: &str) -> String {
        format!("{}/{}", self.callers(), encoded(id))
    }
}

pub(super) async fn run(command: Apps, context: &mut CommandContext<'_>) -> anyhow::Result<()> {
    match command {
        Apps::List { of, kind, name, status, plan } => {
            let columns = [
                ("ID", "/id"),
                ("NAME", "/name"),
                ("KIND", "/kind"),
                ("ROLE", "/role"),
                ("STATUS", "/status"),
                ("PLAN", "/plan"),
                ("APP KEY", "/app/key"),
            ];
            let filters = [
                ("kind", kind.as_deref()),
                ("name", name.as_deref()),
                ("status", status.as_deref()),
                ("plan", plan.as_deref()),
            ];
            context.list(&of.callers(), &filters, &columns).await
        }
        Apps::Show { of, app } => context.show(&of.caller(&app)).await,
        Apps::Create { of, name, kind, id, role, plan, remark } => {
            let kind = match kind {
                Some(kind) => kind,
                None => usual_kind(&of, context).await?.to_owned(),
            };
            let body = object_of([
                ("name", Some(name.into())),
                ("kind", Some(kind.into())),
                ("id", id.map(Into::into)),
                ("role", role.map(Into::into)),
                ("plan", plan.map(Into::into)),
                ("app", remark.map(|remark| object_of([("remark", Some(remark.into()))]))),
            ]);
            context.create(&of.callers(), &body, &["/app/secret"]).await
        }
        Apps::Edit { of, app, name, status, plan, no_plan, role, remark } => {
            let plan = if no_plan { Some(Value::Null) } else { plan.map(Into::into) };
            let patch = object_of([
                ("name", name.map(Into::into)),
                ("status", status.map(Into::into)),
                ("plan", plan),
                ("role", role.map(Into::into)),
                ("app", remark.map(|remark| object_of([("remark", Some(remark.into()))]))),
            ]);
            context.edit(&of.caller(&app), &patch).await
        }
        Apps::Delete { of, app } => {
            context.delete(&of.caller(&app), "").await?;
            context.write_line(&format!("deleted caller {app} and its keys"))
        }
    }
}

/// Returns the default kind of caller in a tenant.
async fn usual_kind(of: &CallerArgs, context: &CommandContext<'_>) -> anyhow::Result<&'static str> {
    if of.tenant == ADMIN_TENANT {
        return Ok("administrator");
    }
    let tenant = context.api.send(Method::GET, &tenants::path(&of.tenant), &[], None).await?.body;
    Ok(if tenant.get("gateway").is_some_and(Value::is_object) { "app" } else { "api_client" })
}
