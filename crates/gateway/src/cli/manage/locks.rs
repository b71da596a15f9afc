//! `portcullis lock`.

use std::io::Write;

use anyhow::Context;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::{CommandContext, encoded, object_of};
use portcullis::model::text::escaped;

/// Operations on locks.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
`lock acquire` shows a token only once. Pass the token in PORTCULLIS_LOCK_TOKEN or --lock-token-file to refresh or
release the lock and to change the locked caller or path:

  export PORTCULLIS_LOCK_TOKEN=$(portcullis lock acquire --caller ID --reason 'moving' --json | jq -r .token)
  portcullis app edit --tenant demo ID --plan other
  portcullis lock release")]
pub enum Locks {
    /// List the locks that are held.
    List,
    /// Show a lock.
    Show {
        /// The lock's id.
        lock: String,
    },
    /// Acquire a lock. Its token is shown only once.
    Acquire {
        /// The target of the lock.
        #[command(flatten)]
        target: Target,
        /// Deny only requests of this tenant. Default: requests of every tenant.
        #[arg(long)]
        tenant: Option<String>,
        /// The reason, shown to clients whose requests are denied.
        #[arg(long)]
        reason: String,
        /// The requests to deny: those that change something (the default), or all.
        #[arg(long, value_parser = ["writes", "all"])]
        deny: Option<String>,
        /// The number of seconds until the lock expires unless it is refreshed; at most one day.
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        duration: u32,
    },
    /// Extend the lock whose token is given.
    Refresh {
        /// The number of seconds from now until the lock expires; a lock is never shortened.
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        duration: u32,
    },
    /// Release the lock whose token is given.
    Release,
    /// Break a lock. The token of its holder is no longer accepted.
    Break {
        /// The lock's id.
        lock: String,
    },
}

/// The target of a lock.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Target {
    /// A caller: denies its requests, and changes of the caller by others.
    #[arg(long, value_name = "ID")]
    caller: Option<String>,
    /// A path, such as /orders/7, and everything below it, on routes with the policy `lock`.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
}

fn path(lock: &str) -> String {
    format!("/locks/{}", encoded(lock))
}

/// Returns the path of the lock whose token is given; the token begins with the id of the lock.
fn held(context: &CommandContext<'_>) -> anyhow::Result<String> {
    let token =
        context.lock_token.as_deref().context("no token: set PORTCULLIS_LOCK_TOKEN or --lock-token-file")?;
    Ok(path(token.split(':').next().unwrap_or_default()))
}

pub(super) async fn run(command: Locks, context: &mut CommandContext<'_>) -> anyhow::Result<()> {
    match command {
        Locks::List => {
            let columns = [
                ("ID", "/id"),
                ("TENANT", "/tenant"),
                ("CALLER", "/target/caller"),
                ("PATH", "/target/resource"),
                ("OWNER", "/owner"),
                ("REASON", "/reason"),
                ("DENIES", "/deny"),
                ("EXPIRES", "/expires_at"),
                ("FENCE", "/fence"),
            ];
            context.list("/locks", &[], &columns).await
        }
        Locks::Show { lock } => context.show(&path(&lock)).await,
        Locks::Acquire { target, tenant, reason, deny, duration } => {
            let target = object_of([
                ("caller", target.caller.map(Into::into)),
                ("resource", target.path.map(Into::into)),
            ]);
            let body = object_of([
                ("target", Some(target)),
                ("tenant", tenant.map(Into::into)),
                ("reason", Some(reason.into())),
                ("deny", deny.map(Into::into)),
                ("duration", Some(duration.into())),
            ]);
            let mut lock = context.api.send(Method::POST, "/locks", &[], Some(&body)).await?.body;
            let warnings = lock.get("warnings").and_then(Value::as_array).cloned().unwrap_or_default();
            for warning in warnings.iter().filter_map(Value::as_str) {
                // The token must be shown even if standard error is closed.
                let _ = writeln!(std::io::stderr(), "portcullis: warning: {}", escaped(warning));
            }
            if let Some(members) = lock.as_object_mut().filter(|_| !context.json) {
                members.remove("warnings");
            }
            context.print_created(&lock, &["/token"])
        }
        Locks::Refresh { duration } => {
            let body = object_of([("duration", Some(duration.into()))]);
            let path = format!("{}/refresh", held(context)?);
            let reply = context.api.send(Method::POST, &path, &context.proof(), Some(&body)).await?;
            context.print(&reply.body)
        }
        Locks::Release => {
            context.api.send(Method::DELETE, &held(context)?, &context.proof(), None).await?;
            context.write_line("released the lock")
        }
        Locks::Break { lock } => {
            let tag = context.tag(&path(&lock)).await?;
            context.api.send(Method::DELETE, &path(&lock), &[("if-match", &tag)], None).await?;
            context.write_line(&format!("broke lock {lock}"))
        }
    }
}
