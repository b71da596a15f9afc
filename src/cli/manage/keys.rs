//! `portcullis key`.

use anyhow::ensure;
use clap::Subcommand;
use http::{Method, StatusCode};
use serde_json::Value;

use super::{Desk, apps::Of, encoded, given, tenants};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Tell those of an app, api client, operator or administrator.
    List {
        /// Whose it is.
        #[command(flatten)]
        of: Of,
        /// The caller's id.
        app: String,
    },
    /// Tell one, without its secret part.
    Show {
        /// Whose it is.
        #[command(flatten)]
        of: Of,
        /// Its id.
        key: String,
    },
    /// Make one; it is shown this once.
    Create {
        /// Whose it is.
        #[command(flatten)]
        of: Of,
        /// The caller's id.
        app: String,
        /// What it is to have.
        #[command(flatten)]
        with: With,
        /// An access key and a secret that signs requests, for `portcullis sign`, in place of a key.
        #[arg(long)]
        signing: bool,
        /// The first moment at which it is no longer accepted, as 2030-01-01T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        not_after: Option<String>,
    },
    /// Change one.
    Edit {
        /// Whose it is.
        #[command(flatten)]
        of: Of,
        /// Its id.
        key: String,
        /// What it is to have.
        #[command(flatten)]
        with: With,
        /// Whether it is accepted.
        #[arg(long, value_parser = ["enabled", "disabled"])]
        status: Option<String>,
        /// The first moment at which it is no longer accepted, or never.
        #[arg(long, value_name = "TIME")]
        not_after: Option<String>,
    },
    /// Make one in the place of another, which holds for a while and tells whoever uses it (Deprecation, Sunset).
    Rotate {
        /// Whose it is.
        #[command(flatten)]
        of: Of,
        /// The id of the one to replace.
        key: String,
        /// How many seconds the old one still holds; a day, unless it is said.
        #[arg(long, value_name = "SECONDS")]
        overlap: Option<u32>,
    },
    /// Delete one: it is refused from now on.
    Revoke {
        /// Whose it is.
        #[command(flatten)]
        of: Of,
        /// Its id.
        key: String,
        /// Wait so long, at most, for the gateway to refuse it; with --url.
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u32>,
    },
}

/// What a key is made or changed with.
#[derive(Debug, clap::Args)]
pub struct With {
    /// A name, for people.
    #[arg(long)]
    name: Option<String>,
    /// What it may be used for, as orders:read, orders:write or orders:read:ID,ID; may be repeated. Without any: all
    /// that its caller may.
    #[arg(long = "scope", value_name = "RESOURCE:ACCESS[:IDS]", value_parser = scope)]
    scopes: Vec<Value>,
}

impl With {
    fn scopes(&self) -> Option<Value> {
        (!self.scopes.is_empty()).then(|| self.scopes.clone().into())
    }
}

fn scope(text: &str) -> Result<Value, &'static str> {
    let mut parts = text.splitn(3, ':');
    let (Some(resource), Some(access)) = (parts.next(), parts.next()) else {
        return Err("a scope is RESOURCE:ACCESS, such as orders:read, or RESOURCE:ACCESS:ID,ID");
    };
    let targets = parts.next().map(|ids| ids.split(',').map(Value::from).collect::<Vec<_>>().into());
    Ok(given([("resource", Some(resource.into())), ("access", Some(access.into())), ("targets", targets)]))
}

fn path(of: &Of, key: &str) -> String {
    format!("{}/keys/{}", tenants::path(&of.tenant), encoded(key))
}

pub(super) async fn run(command: Keys, desk: &mut Desk<'_>) -> anyhow::Result<()> {
    match command {
        Keys::List { of, app } => {
            let columns = [
                ("ID", "/id"),
                ("NAME", "/name"),
                ("KEY", "/hint"),
                ("STATUS", "/status"),
                ("ENDS", "/not_after"),
                ("LAST USED", "/last_used_at"),
                ("SAFE TO REVOKE", "/safe_to_revoke/safe"),
            ];
            desk.list(&format!("{}/keys", of.caller(&app)), &[], &columns).await
        }
        Keys::Show { of, key } => desk.show(&path(&of, &key)).await,
        Keys::Create { of, app, with, signing, not_after } => {
            let scopes = with.scopes();
            let body = given([
                ("kind", signing.then(|| "signing".into())),
                ("name", with.name.map(Into::into)),
                ("scopes", scopes),
                ("not_after", not_after.map(Into::into)),
            ]);
            desk.make(&format!("{}/keys", of.caller(&app)), &body).await
        }
        Keys::Edit { of, key, with, status, not_after } => {
            let scopes = with.scopes();
            let not_after = not_after.map(|end| if end == "never" { Value::Null } else { end.into() });
            let patch = given([
                ("name", with.name.map(Into::into)),
                ("scopes", scopes),
                ("status", status.map(Into::into)),
                ("not_after", not_after),
            ]);
            desk.change(&path(&of, &key), &patch).await
        }
        Keys::Rotate { of, key, overlap } => {
            let body = given([("overlap", overlap.map(Into::into))]);
            let reply = desk
                .api
                .ask(Method::POST, &format!("{}/rotation", path(&of, &key)), &[], Some(&body))
                .await?;
            desk.tell(&reply.body)
        }
        Keys::Revoke { of, key, wait } => {
            // This process takes no requests: that it refuses the key says nothing.
            ensure!(wait.is_none() || desk.api.is_served(), "--wait asks a gateway: say which, with --url");
            let query = wait.map(|seconds| format!("?wait={seconds}")).unwrap_or_default();
            let reply = desk.delete(&path(&of, &key), &query).await?;
            desk.tell(&reply.body)?;
            match (wait, reply.status) {
                (Some(_), StatusCode::NO_CONTENT) => desk.say(&format!("{key} is revoked, and refused")),
                (Some(_), _) => desk.say(&format!("{key} is revoked, and not refused everywhere yet")),
                (None, _) => desk.say(&format!("{key} is revoked")),
            }
        }
    }
}
