//! `portcullis lock`.

use std::io::Write;

use anyhow::Context;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::{Desk, encoded, given};

/// What to do with locks.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Whoever acquires a lock is shown its token, this once. With it in PORTCULLIS_LOCK_TOKEN or --lock-token-file the
lock is refreshed and released, and what stands on it is changed by nobody else:

  export PORTCULLIS_LOCK_TOKEN=$(portcullis lock acquire --caller ID --reason 'moving' --json | jq -r .token)
  portcullis app edit --tenant demo ID --plan other
  portcullis lock release")]
pub enum Locks {
    /// Tell all that hold.
    List,
    /// Tell one.
    Show {
        /// Its id.
        lock: String,
    },
    /// Acquire one; its token is shown this once.
    Acquire {
        /// What it is to stand on.
        #[command(flatten)]
        target: Target,
        /// Whose requests it is to stop: a tenant's id. Without it, everybody's.
        #[arg(long)]
        tenant: Option<String>,
        /// Why; shown to who is refused.
        #[arg(long)]
        reason: String,
        /// Which requests it is to stop.
        #[arg(long, value_parser = ["writes", "all"])]
        covers: Option<String>,
        /// How many seconds it is to hold, unless it is refreshed; at most a day.
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        lasts: u32,
    },
    /// Let the lock whose token is given hold on.
    Refresh {
        /// How many seconds from now on; never does it hold shorter than it did.
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        lasts: u32,
    },
    /// Release the lock whose token is given.
    Release,
    /// Take one from its holder, who learns of it when it next proves it.
    Break {
        /// Its id.
        lock: String,
    },
}

/// What a lock stands on.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Target {
    /// A caller: what it sends, and what others would change of it.
    #[arg(long, value_name = "ID")]
    caller: Option<String>,
    /// A path and all below it, such as /orders/7.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
}

fn path(lock: &str) -> String {
    format!("/locks/{}", encoded(lock))
}

/// Where the lock is whose token is given; the token begins with its id.
fn held(desk: &Desk<'_>) -> anyhow::Result<String> {
    let token =
        desk.lock_token.as_deref().context("this takes PORTCULLIS_LOCK_TOKEN, or --lock-token-file")?;
    Ok(path(token.split(':').next().unwrap_or_default()))
}

pub(super) async fn run(command: Locks, desk: &mut Desk<'_>) -> anyhow::Result<()> {
    match command {
        Locks::List => {
            let columns = [
                ("ID", "/id"),
                ("TENANT", "/tenant"),
                ("CALLER", "/target/caller"),
                ("PATH", "/target/resource"),
                ("OWNER", "/owner"),
                ("REASON", "/reason"),
                ("COVERS", "/covers"),
                ("EXPIRES", "/expires_at"),
                ("FENCE", "/fence"),
            ];
            desk.list("/locks", &[], &columns).await
        }
        Locks::Show { lock } => desk.show(&path(&lock)).await,
        Locks::Acquire { target, tenant, reason, covers, lasts } => {
            let target =
                given([("caller", target.caller.map(Into::into)), ("resource", target.path.map(Into::into))]);
            let body = given([
                ("target", Some(target)),
                ("tenant", tenant.map(Into::into)),
                ("reason", Some(reason.into())),
                ("covers", covers.map(Into::into)),
                ("lasts", Some(lasts.into())),
            ]);
            let mut lock = desk.api.ask(Method::POST, "/locks", &[], Some(&body)).await?.body;
            let warnings = lock.get("warnings").and_then(Value::as_array).cloned().unwrap_or_default();
            for warning in warnings.iter().filter_map(Value::as_str) {
                // A closed standard error is no reason to hide the token.
                let _ = writeln!(std::io::stderr(), "portcullis: warning: {warning}");
            }
            if let Some(members) = lock.as_object_mut().filter(|_| !desk.json) {
                members.remove("warnings");
            }
            desk.tell(&lock)
        }
        Locks::Refresh { lasts } => {
            let body = given([("lasts", Some(lasts.into()))]);
            let path = format!("{}/refresh", held(desk)?);
            let reply = desk.api.ask(Method::POST, &path, &desk.proof(), Some(&body)).await?;
            desk.tell(&reply.body)
        }
        Locks::Release => {
            desk.api.ask(Method::DELETE, &held(desk)?, &desk.proof(), None).await?;
            desk.say("released")
        }
        Locks::Break { lock } => {
            let tag = desk.tag(&path(&lock)).await?;
            desk.api.ask(Method::DELETE, &path(&lock), &[("if-match", &tag)], None).await?;
            desk.say(&format!("lock {lock} is broken"))
        }
    }
}
