//! The commands over the admin API: tenants, apps, keys, plans, locks, routes, reload.

mod apps;
mod configuration;
mod keys;
mod locks;
mod plans;
mod routes;
mod tenants;

pub use apps::Apps;
pub use keys::Keys;
pub use locks::Locks;
pub use plans::Plans;
pub use routes::Routes;
pub use tenants::Tenants;

use std::{io::Write, path::PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use http::{Method, header};
use serde_json::Value;

use super::{
    client::{AdminClient, Reply},
    table::{Column, lines, table},
};
use crate::config::Config;
use portcullis::model::{Secret, text::escaped_json};

/// The environment variable with the key for the admin API.
const VARIABLE: &str = "PORTCULLIS_TOKEN";
/// The environment variable with the token of a lock.
const LOCK_VARIABLE: &str = "PORTCULLIS_LOCK_TOKEN";
/// The number of entries to request per page.
const PAGE: u32 = 500;

/// The options that select the admin API of a gateway.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Remote {
    /// The URL of a gateway's admin API, such as `http://127.0.0.1:9001`. It needs a key, in `PORTCULLIS_TOKEN` or
    /// --token-file. Default: use the store of the configuration directly, whether or not a gateway runs.
    #[arg(long, global = true, value_name = "URL", env = "PORTCULLIS_URL", help_heading = "Admin API")]
    url: Option<String>,
    /// A file with the key of an administrator. The key cannot be an argument because arguments are visible in the
    /// process list.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Admin API")]
    token_file: Option<PathBuf>,
}

impl Remote {
    /// Returns a client for the admin API of the gateway, if one is named.
    ///
    /// # Errors
    /// If the URL is invalid, or there is no key.
    pub fn api(&self) -> anyhow::Result<Option<AdminClient>> {
        let Some(url) = &self.url else { return Ok(None) };
        let key = match &self.token_file {
            Some(file) => std::fs::read_to_string(file).with_context(|| file.display().to_string())?,
            None => match std::env::var(VARIABLE) {
                Ok(key) => key,
                Err(_) => bail!("{url} needs a key: set {VARIABLE} or pass --token-file"),
            },
        };
        AdminClient::connect(url, Secret::from(key.trim().to_owned())).map(Some)
    }
}

/// The options that select the admin API and the output format.
#[derive(Debug, Args)]
pub struct Target {
    /// The gateway, if any.
    #[command(flatten)]
    served: Remote,
    /// A file with the token of a lock, which allows changes of the locked caller or path. Default:
    /// `PORTCULLIS_LOCK_TOKEN`.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Admin API")]
    lock_token_file: Option<PathBuf>,
    /// Print JSON: a single entry as the API returns it, or one line for each entry of a list.
    #[arg(long, global = true)]
    json: bool,
}

impl Target {
    /// Returns the token of a lock, if one is given.
    fn lock_token(&self) -> anyhow::Result<Option<String>> {
        let token = match &self.lock_token_file {
            Some(file) => Some(std::fs::read_to_string(file).with_context(|| file.display().to_string())?),
            None => std::env::var(LOCK_VARIABLE).ok(),
        };
        Ok(token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()))
    }

    /// Returns a client for the selected API.
    async fn api(&self, config: impl FnOnce() -> anyhow::Result<Config>) -> anyhow::Result<AdminClient> {
        match self.served.api()? {
            Some(api) => Ok(api),
            None => AdminClient::in_process(&config()?).await,
        }
    }
}

/// The management commands.
pub enum Manage {
    /// Tenants.
    Tenants(Tenants),
    /// Callers.
    Apps(Apps),
    /// Keys.
    Keys(Keys),
    /// Plans.
    Plans(Plans),
    /// Locks.
    Locks(Locks),
    /// Routes.
    Routes(Routes),
    /// The reload of the configuration.
    Reload,
}

/// Runs a command and writes its result to `out`.
///
/// # Errors
/// [`ApiError`](super::client::ApiError), or an I/O error if the API cannot be reached.
pub async fn run(
    what: Manage,
    place: &Target,
    config: impl FnOnce() -> anyhow::Result<Config>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let lock_token = place.lock_token()?;
    let mut context = CommandContext { api: place.api(config).await?, lock_token, json: place.json, out };
    let done = match what {
        Manage::Tenants(command) => tenants::run(command, &mut context).await,
        Manage::Apps(command) => apps::run(command, &mut context).await,
        Manage::Keys(command) => keys::run(command, &mut context).await,
        Manage::Plans(command) => plans::run(command, &mut context).await,
        Manage::Locks(command) => locks::run(command, &mut context).await,
        Manage::Routes(command) => routes::run(command, &mut context).await,
        Manage::Reload => configuration::reload(&mut context).await,
    };
    context.api.close().await;
    done
}

/// The context of a command: the API and the output.
struct CommandContext<'a> {
    api: AdminClient,
    lock_token: Option<String>,
    json: bool,
    out: &'a mut dyn Write,
}

impl CommandContext<'_> {
    /// Prints a collection, page by page.
    async fn list(
        &mut self,
        path: &str,
        filters: &[(&str, Option<&str>)],
        columns: &[Column],
    ) -> anyhow::Result<()> {
        self.list_as(path, filters, columns, |_| {}).await
    }

    /// Prints a collection, page by page. `present` rewrites the rows of a table for display.
    async fn list_as(
        &mut self,
        path: &str,
        filters: &[(&str, Option<&str>)],
        columns: &[Column],
        present: impl Fn(&mut Value) + Send,
    ) -> anyhow::Result<()> {
        let given =
            filters.iter().filter_map(|(name, value)| Some(format!("&{name}={}", encoded((*value)?))));
        let first = format!("{path}?limit={PAGE}{}", given.collect::<String>());
        let mut after: Option<String> = None;
        loop {
            let path =
                after.as_ref().map_or(first.clone(), |after| format!("{first}&after={}", encoded(after)));
            let page = self.api.send(Method::GET, &path, &[], None).await?.body;
            let mut rows = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            if self.json {
                for row in &rows {
                    writeln!(self.out, "{}", escaped_json(&row.to_string()))?;
                }
            } else {
                rows.iter_mut().for_each(&present);
                table(self.out, columns, &rows, after.is_none())?;
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) => after = Some(next.to_owned()),
                None => return Ok(()),
            }
        }
    }

    /// Prints one entry.
    async fn show(&mut self, path: &str) -> anyhow::Result<()> {
        let reply = self.api.send(Method::GET, path, &[], None).await?;
        self.print(&reply.body)
    }

    /// Creates an entry and prints it, with a note about its secret members.
    async fn create(&mut self, path: &str, body: &Value, secrets: &[&str]) -> anyhow::Result<()> {
        let reply = self.api.send(Method::POST, path, &[], Some(body)).await?;
        self.print_created(&reply.body, secrets)
    }

    /// Changes an entry and prints the result. Fails if the entry changes concurrently.
    async fn edit(&mut self, path: &str, patch: &Value) -> anyhow::Result<()> {
        let tag = self.tag(path).await?;
        let reply = self.api.send(Method::PATCH, path, &self.expecting(&tag), Some(patch)).await?;
        self.print(&reply.body)
    }

    /// Deletes an entry. Appends `query` to the path of the DELETE request.
    async fn delete(&mut self, path: &str, query: &str) -> anyhow::Result<Reply> {
        let tag = self.tag(path).await?;
        self.api.send(Method::DELETE, &format!("{path}{query}"), &self.expecting(&tag), None).await
    }

    /// Returns the header that proves a lock, if a token is given.
    fn proof(&self) -> Vec<(&'static str, &str)> {
        self.lock_token.iter().map(|token| ("lock-token", &**token)).collect()
    }

    /// Returns the header that proves a lock, if any, and the `If-Match` header for a tag.
    fn expecting<'a>(&'a self, tag: &'a str) -> Vec<(&'static str, &'a str)> {
        let mut fields = self.proof();
        fields.push(("if-match", tag));
        fields
    }

    async fn tag(&self, path: &str) -> anyhow::Result<String> {
        let reply = self.api.send(Method::GET, path, &[], None).await?;
        let tag = reply.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        tag.map(str::to_owned).with_context(|| format!("{path} has no ETag: is this the admin API?"))
    }

    fn print(&mut self, thing: &Value) -> anyhow::Result<()> {
        match thing {
            Value::Null => {}
            thing if self.json => writeln!(self.out, "{}", escaped_json(&thing.to_string()))?,
            thing => lines(self.out, thing)?,
        }
        Ok(())
    }

    /// Prints a new entry, after a note that its secret members are shown only once.
    fn print_created(&mut self, made: &Value, secrets: &[&str]) -> anyhow::Result<()> {
        let has = |pointer: &&str| made.pointer(pointer).is_some_and(Value::is_string);
        let shown: Vec<_> = secrets.iter().copied().filter(has).collect();
        let names: Vec<_> = shown.iter().map(|pointer| pointer[1..].replace('/', ".")).collect();
        if !names.is_empty() {
            self.write_line(&format!(
                "The secret below ({}) is shown only once. Store it now.\n",
                names.join(", ")
            ))?;
        }
        self.print(made)
    }

    /// Prints a message, unless the output is JSON.
    fn write_line(&mut self, what: &str) -> anyhow::Result<()> {
        if !self.json {
            writeln!(self.out, "{what}")?;
        }
        Ok(())
    }
}

/// Percent-encodes all but the unreserved characters of a value for a query or a path segment.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// Makes an object of the members that are given.
fn object_of<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    Value::Object(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}
