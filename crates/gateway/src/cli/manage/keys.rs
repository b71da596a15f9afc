//! `portcullis key`.

use anyhow::ensure;
use clap::Subcommand;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

use super::{CommandContext, apps::CallerArgs, encoded, object_of, tenants};
use portcullis::clock::{Clock, SystemClock};

/// Operations on keys.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// List the keys of a caller.
    List {
        /// The tenant.
        #[command(flatten)]
        of: CallerArgs,
        /// The caller's id.
        #[arg(value_name = "CALLER")]
        app: String,
    },
    /// Show a key, without its secret part.
    Show {
        /// The tenant.
        #[command(flatten)]
        of: CallerArgs,
        /// The key's id.
        key: String,
    },
    /// Create a key. The key is shown only once.
    Create {
        /// The tenant.
        #[command(flatten)]
        of: CallerArgs,
        /// The caller's id.
        #[arg(value_name = "CALLER")]
        app: String,
        /// The properties of the key.
        #[command(flatten)]
        with: KeyArgs,
        /// Create an access key and a secret for signing requests (`portcullis sign`) instead of an API key.
        #[arg(long)]
        signing: bool,
        /// The time from which the key is rejected, such as 2030-01-01T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        not_after: Option<String>,
    },
    /// Change a key.
    Edit {
        /// The tenant.
        #[command(flatten)]
        of: CallerArgs,
        /// The key's id.
        key: String,
        /// The properties of the key.
        #[command(flatten)]
        with: KeyArgs,
        /// The new state: a disabled key is rejected.
        #[arg(long, value_parser = ["enabled", "disabled"])]
        status: Option<String>,
        /// The time from which the key is rejected, or `never`.
        #[arg(long, value_name = "TIME")]
        not_after: Option<String>,
    },
    /// Replace a key. The new key is shown only once. The old key is accepted for a while; responses to its requests
    /// announce its end (`Deprecation`, `Sunset`).
    Rotate {
        /// The tenant.
        #[command(flatten)]
        of: CallerArgs,
        /// The id of the key to replace.
        key: String,
        /// The number of seconds for which the old key is accepted. Default: one day.
        #[arg(long, value_name = "SECONDS")]
        overlap: Option<u32>,
    },
    /// Delete a key. Requests with the key are rejected from now on.
    Revoke {
        /// The tenant.
        #[command(flatten)]
        of: CallerArgs,
        /// The key's id.
        key: String,
        /// The maximum number of seconds to wait until the gateway rejects the key; needs --url.
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u32>,
    },
}

/// The properties of a key that `create` and `edit` set.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// A name for display.
    #[arg(long)]
    name: Option<String>,
    /// A scope of the key, such as orders:read, orders:write or orders:read:ID,ID; may be repeated. Default: everything
    /// that its caller may do.
    #[arg(long = "scope", value_name = "RESOURCE:ACCESS[:IDS]", value_parser = scope)]
    scopes: Vec<Value>,
}

impl KeyArgs {
    fn scopes(&self) -> Option<Value> {
        (!self.scopes.is_empty()).then(|| self.scopes.clone().into())
    }
}

fn scope(text: &str) -> Result<Value, &'static str> {
    let mut parts = text.splitn(3, ':');
    let (Some(resource), Some(access)) = (parts.next(), parts.next()) else {
        return Err("a scope has the form RESOURCE:ACCESS, such as orders:read, or RESOURCE:ACCESS:ID,ID");
    };
    let targets = parts.next().map(|ids| ids.split(',').map(Value::from).collect::<Vec<_>>().into());
    Ok(object_of([
        ("resource", Some(resource.into())),
        ("access", Some(access.into())),
        ("targets", targets),
    ]))
}

/// The secret members of a new key.
const SECRET: &[&str] = &["/key", "/secret"];

/// Sets the displayed status of an enabled key to `expired` if its end has passed.
fn expire(key: &mut Value, now: Timestamp) {
    let end = key.get("not_after").and_then(Value::as_str).and_then(|end| end.parse::<Timestamp>().ok());
    let enabled = key.get("status").is_some_and(|status| status == "enabled");
    if let Some(status) = key.get_mut("status").filter(|_| enabled && end.is_some_and(|end| end <= now)) {
        *status = "expired".into();
    }
}

fn path(of: &CallerArgs, key: &str) -> String {
    format!("{}/keys/{}", tenants::path(&of.tenant), encoded(key))
}

pub(super) async fn run(command: Keys, context: &mut CommandContext<'_>) -> anyhow::Result<()> {
    match command {
        Keys::List { of, app } => {
            let columns = [
                ("ID", "/id"),
                ("NAME", "/name"),
                ("KEY HINT", "/hint"),
                ("STATUS", "/status"),
                ("EXPIRES", "/not_after"),
                ("LAST USED", "/last_used_at"),
                ("SAFE TO REVOKE", "/safe_to_revoke/safe"),
            ];
            let now = SystemClock::new().now().time;
            let present = move |key: &mut Value| expire(key, now);
            context.list_as(&format!("{}/keys", of.caller(&app)), &[], &columns, present).await
        }
        Keys::Show { of, key } => {
            let mut shown = context.api.send(Method::GET, &path(&of, &key), &[], None).await?.body;
            if !context.json {
                expire(&mut shown, SystemClock::new().now().time);
            }
            context.print(&shown)
        }
        Keys::Create { of, app, with, signing, not_after } => {
            let scopes = with.scopes();
            let body = object_of([
                ("kind", signing.then(|| "signing".into())),
                ("name", with.name.map(Into::into)),
                ("scopes", scopes),
                ("not_after", not_after.map(Into::into)),
            ]);
            context.create(&format!("{}/keys", of.caller(&app)), &body, SECRET).await
        }
        Keys::Edit { of, key, with, status, not_after } => {
            let scopes = with.scopes();
            let not_after = not_after.map(|end| if end == "never" { Value::Null } else { end.into() });
            let patch = object_of([
                ("name", with.name.map(Into::into)),
                ("scopes", scopes),
                ("status", status.map(Into::into)),
                ("not_after", not_after),
            ]);
            context.edit(&path(&of, &key), &patch).await
        }
        Keys::Rotate { of, key, overlap } => {
            let body = object_of([("overlap", overlap.map(Into::into))]);
            let reply = context
                .api
                .send(Method::POST, &format!("{}/rotation", path(&of, &key)), &[], Some(&body))
                .await?;
            context.print_created(&reply.body, SECRET)
        }
        Keys::Revoke { of, key, wait } => {
            // This process serves no traffic, so its own rejection of the key proves nothing.
            ensure!(wait.is_none() || context.api.is_served(), "--wait needs a gateway: pass --url");
            let query = wait.map(|seconds| format!("?wait={seconds}")).unwrap_or_default();
            let reply = context.delete(&path(&of, &key), &query).await?;
            context.print(&reply.body)?;
            match (wait, reply.status) {
                (Some(_), StatusCode::NO_CONTENT) => {
                    context.write_line(&format!("revoked {key}; denied everywhere"))
                }
                (Some(_), _) => context.write_line(&format!("revoked {key}; not denied everywhere yet")),
                (None, _) => context.write_line(&format!("revoked {key}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn key_after_its_end_is_shown_as_expired() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (status, end, shown) in [
            ("enabled", json!("2026-01-01T00:00:00Z"), "expired"),
            ("enabled", json!("2026-01-02T00:00:00Z"), "expired"),
            ("enabled", json!("2026-01-02T00:00:01Z"), "enabled"),
            ("enabled", Value::Null, "enabled"),
            ("disabled", json!("2026-01-01T00:00:00Z"), "disabled"),
        ] {
            let mut key = json!({ "status": status, "not_after": end });
            expire(&mut key, now);
            assert_eq!(key["status"], shown, "{end}");
        }
    }
}
