//! `portcullis plan`.

use clap::Subcommand;
use http::{Method, StatusCode};
use serde_json::Value;

use super::{Desk, encoded, given};
use crate::cli::api::Refused;

/// What to do with plans.
#[derive(Debug, Subcommand)]
pub enum Plans {
    /// Tell all.
    List,
    /// Tell one.
    Show {
        /// Its id.
        plan: String,
    },
    /// Make one, or put other limits in its place.
    Set {
        /// Its id.
        plan: String,
        /// A limit, as name=minute,quota=600,window=60 and perhaps burst=300 and promise=ceiling or average; may be
        /// repeated. Without any, who is on the plan is unlimited.
        #[arg(long = "limit", value_parser = limit)]
        limits: Vec<Value>,
    },
    /// Delete one that nobody is on.
    Delete {
        /// Its id.
        plan: String,
    },
}

fn limit(text: &str) -> Result<Value, String> {
    let mut limit = serde_json::Map::new();
    for pair in text.split(',') {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair} is no NAME=VALUE"))?;
        let value = match name {
            "name" | "promise" => Value::from(value),
            "quota" | "window" | "burst" => {
                value.parse::<u32>().map(Value::from).map_err(|_| format!("{name} is a whole number"))?
            }
            other => {
                return Err(format!("a limit has name, quota, window, burst and promise, and no {other}"));
            }
        };
        limit.insert(name.to_owned(), value);
    }
    Ok(limit.into())
}

fn path(plan: &str) -> String {
    format!("/plans/{}", encoded(plan))
}

pub(super) async fn run(command: Plans, desk: &mut Desk<'_>) -> anyhow::Result<()> {
    match command {
        Plans::List => desk.list("/plans", &[], &[("ID", "/id"), ("LIMITS", "/limits")]).await,
        Plans::Show { plan } => desk.show(&path(&plan)).await,
        Plans::Set { plan, limits } => {
            // What is there is replaced as it was seen; what is not, is made.
            let tag = match desk.tag(&path(&plan)).await {
                Ok(tag) => Some(tag),
                Err(error) if is_missing(&error) => None,
                Err(error) => return Err(error),
            };
            let field = tag.as_deref().map_or(("if-none-match", "*"), |tag| ("if-match", tag));
            let body = given([("limits", Some(limits.into()))]);
            let reply = desk.api.ask(Method::PUT, &path(&plan), &[field], Some(&body)).await?;
            desk.tell(&reply.body)
        }
        Plans::Delete { plan } => {
            desk.delete(&path(&plan), "").await?;
            desk.say(&format!("plan {plan} is deleted"))
        }
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.status == StatusCode::NOT_FOUND.as_u16())
}
