//! `portcullis plan`.

use clap::Subcommand;
use http::{Method, StatusCode};
use serde_json::Value;

use super::{CommandContext, encoded, object_of};
use crate::cli::client::ApiError;

/// Operations on plans.
#[derive(Debug, Subcommand)]
pub enum Plans {
    /// List all plans.
    List,
    /// Show a plan.
    Show {
        /// The plan's id.
        plan: String,
    },
    /// Create a plan, or replace its limits. A plan that the configuration file defines can only be changed there.
    Set {
        /// The plan's id.
        plan: String,
        /// A limit, such as name=minute,quota=600,window=60 with an optional burst=300 and promise=ceiling or average;
        /// may be repeated. Default: no limit.
        #[arg(long = "limit", value_parser = limit)]
        limits: Vec<Value>,
    },
    /// Delete a plan that no caller has.
    Delete {
        /// The plan's id.
        plan: String,
    },
}

fn limit(text: &str) -> Result<Value, String> {
    let mut limit = serde_json::Map::new();
    for pair in text.split(',') {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair} is not NAME=VALUE"))?;
        let value = match name {
            "name" | "promise" => Value::from(value),
            "quota" | "window" | "burst" => {
                value.parse::<u32>().map(Value::from).map_err(|_| format!("{name} must be a whole number"))?
            }
            other => {
                return Err(format!("unknown {other}: a limit has name, quota, window, burst, promise"));
            }
        };
        limit.insert(name.to_owned(), value);
    }
    Ok(limit.into())
}

fn path(plan: &str) -> String {
    format!("/plans/{}", encoded(plan))
}

pub(super) async fn run(command: Plans, context: &mut CommandContext<'_>) -> anyhow::Result<()> {
    match command {
        Plans::List => {
            let columns = [("ID", "/id"), ("LIMITS", "/limits")];
            context.list_as("/plans", &[], &columns, summarize_limits).await
        }
        Plans::Show { plan } => context.show(&path(&plan)).await,
        Plans::Set { plan, limits } => {
            // An existing plan is replaced only if it is unchanged since this read; a missing plan is created.
            let tag = match context.tag(&path(&plan)).await {
                Ok(tag) => Some(tag),
                Err(error) if is_missing(&error) => None,
                Err(error) => return Err(error),
            };
            let field = tag.as_deref().map_or(("if-none-match", "*"), |tag| ("if-match", tag));
            let body = object_of([("limits", Some(limits.into()))]);
            let reply = context.api.send(Method::PUT, &path(&plan), &[field], Some(&body)).await?;
            context.print(&reply.body)
        }
        Plans::Delete { plan } => {
            context.delete(&path(&plan), "").await?;
            context.write_line(&format!("deleted plan {plan}"))
        }
    }
}

/// Replaces the limits of a plan with one line, such as `minute: 600 per 60 s, burst 300, ceiling`.
fn summarize_limits(plan: &mut Value) {
    let one = |limit: &Value| {
        let number = |name: &str| limit.get(name).and_then(Value::as_u64).unwrap_or_default();
        let text = |name: &str| limit.get(name).and_then(Value::as_str).unwrap_or_default();
        let (quota, window, burst) = (number("quota"), number("window"), number("burst"));
        format!("{}: {quota} per {window} s, burst {burst}, {}", text("name"), text("promise"))
    };
    let limits = plan.get("limits").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let line = limits.iter().map(one).collect::<Vec<_>>().join("; ");
    plan["limits"] = if line.is_empty() { "unlimited".into() } else { line.into() };
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(|refused| refused.status == StatusCode::NOT_FOUND.as_u16())
}
