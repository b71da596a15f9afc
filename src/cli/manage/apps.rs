//! `portcullis app`: callers of every kind.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Desk, encoded, given, tenants};

/// What to do with callers.
#[derive(Debug, Subcommand)]
pub enum Apps {
    /// Tell those of a tenant.
    List {
        /// Whose it is.
        #[command(flatten)]
        of: Of,
        /// Only those of a kind.
        #[arg(long, value_parser = ["api_client", "app", "operator", "administrator"])]
        kind: Option<String>,
        /// Only those with this name.
        #[arg(long)]
        name: Option<String>,
        /// Only those in this state.
        #[arg(long, value_parser = ["enabled", "disabled"])]
        status: Option<String>,
        /// Only those on this plan.
        #[arg(long)]
        plan: Option<String>,
    },
    /// Tell one.
    Show {
        /// Whose it is.
        #[command(flatten)]
        of: Of,
        /// Its id.
        app: String,
    },
    /// Make one; the secret of an app, if it was generated, is shown this once.
    Create {
        /// Whose it is.
        #[command(flatten)]
        of: Of,
        /// Its name: unique in the tenant, among callers of its kind.
        name: String,
        /// What it is to be.
        #[arg(long, default_value = "api_client", value_parser = ["api_client", "app", "operator", "administrator"])]
        kind: String,
        /// Its id; without it a random one.
        #[arg(long)]
        id: Option<String>,
        /// What an administrator may do.
        #[arg(long, value_parser = ["owner", "operator", "read_only"])]
        role: Option<String>,
        /// The plan that it is to be on; without it, it is unlimited.
        #[arg(long)]
        plan: Option<String>,
        /// A remark, of an app.
        #[arg(long)]
        remark: Option<String>,
    },
    /// Change one.
    Edit {
        /// Whose it is.
        #[command(flatten)]
        of: Of,
        /// Its id.
        app: String,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        /// Whether its keys are accepted.
        #[arg(long, value_parser = ["enabled", "disabled"])]
        status: Option<String>,
        /// Another plan.
        #[arg(long, conflicts_with = "no_plan")]
        plan: Option<String>,
        /// No plan: it is unlimited.
        #[arg(long)]
        no_plan: bool,
        /// What an administrator may do.
        #[arg(long, value_parser = ["owner", "operator", "read_only"])]
        role: Option<String>,
        /// Another remark, of an app.
        #[arg(long)]
        remark: Option<String>,
    },
    /// Delete one, with its keys.
    Delete {
        /// Whose it is.
        #[command(flatten)]
        of: Of,
        /// Its id.
        app: String,
    },
}

/// Whose it is.
#[derive(Debug, Args)]
pub struct Of {
    /// The tenant's id.
    #[arg(long, short, env = "PORTCULLIS_TENANT")]
    pub(super) tenant: String,
}

impl Of {
    /// Where the tenant's callers are.
    pub(super) fn callers(&self) -> String {
        format!("{}/callers", tenants::path(&self.tenant))
    }

    pub(super) fn caller(&self, id: &str) -> String {
        format!("{}/{}", self.callers(), encoded(id))
    }
}

pub(super) async fn run(command: Apps, desk: &mut Desk<'_>) -> anyhow::Result<()> {
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
            desk.list(&of.callers(), &filters, &columns).await
        }
        Apps::Show { of, app } => desk.show(&of.caller(&app)).await,
        Apps::Create { of, name, kind, id, role, plan, remark } => {
            let body = given([
                ("name", Some(name.into())),
                ("kind", Some(kind.into())),
                ("id", id.map(Into::into)),
                ("role", role.map(Into::into)),
                ("plan", plan.map(Into::into)),
                ("app", remark.map(|remark| given([("remark", Some(remark.into()))]))),
            ]);
            desk.make(&of.callers(), &body).await
        }
        Apps::Edit { of, app, name, status, plan, no_plan, role, remark } => {
            let plan = if no_plan { Some(Value::Null) } else { plan.map(Into::into) };
            let patch = given([
                ("name", name.map(Into::into)),
                ("status", status.map(Into::into)),
                ("plan", plan),
                ("role", role.map(Into::into)),
                ("app", remark.map(|remark| given([("remark", Some(remark.into()))]))),
            ]);
            desk.change(&of.caller(&app), &patch).await
        }
        Apps::Delete { of, app } => {
            desk.delete(&of.caller(&app), "").await?;
            desk.say(&format!("{app} is deleted, with its keys"))
        }
    }
}
