//! The gateway's configuration: a typed file, read once, in which nothing unknown stands.
//!
//! `config/gateway.toml` is an annotated example of everything there is.

mod admin;
mod error;
mod limits;
mod private_file;
mod route;
mod secrets;
mod value;

pub use admin::Admin;
pub use error::ConfigError;
pub use limits::Limits;
pub use route::{
    ApiKeyPolicy, Backend, Checked, LockoutPolicy, Policies, RateLimitPolicy, Relaxed, Route,
    SignaturePolicy, Surface, Switch,
};
pub use secrets::{SecretKind, SecretsError, SecretsFile};
pub use value::{FieldName, HostName, Millis, SourceName};

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use crate::app::{Plan, PlanId};

/// Fields that mean something else than who calls.
const RESERVED: [&str; 9] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "transfer-encoding",
    "x-api-key",
];

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What holds for the whole process.
    #[serde(default)]
    pub server: Server,
    /// What a stranger can make the gateway hold.
    #[serde(default)]
    pub limits: Limits,
    /// Where the registry is kept.
    pub store: Store,
    /// The secrets that key digests and seal app secrets.
    pub secrets: Secrets,
    /// Where to listen; at least one.
    pub listeners: Vec<Listener>,
    /// Where the native admin API is served; nowhere, unless it is said.
    pub admin: Option<Admin>,
    /// The access log.
    #[serde(default)]
    pub access_log: AccessLog,
    /// Where metrics are told; nowhere, unless it is said.
    pub metrics: Option<Metrics>,
    /// Plans that callers can be put on. The registry has them from here at every start.
    #[serde(default)]
    pub plans: Vec<Spanned<Plan>>,
    /// The services behind, by name.
    #[serde(default)]
    pub upstreams: BTreeMap<String, Upstream>,
    /// The published management contracts.
    #[serde(default)]
    pub surfaces: Surfaces,
    /// Which requests go where, past which policies.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// What holds for the whole process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Worker threads; 0 is one for each processor.
    pub threads: usize,
    /// How long requests may go on after SIGTERM.
    pub shutdown_grace: Millis,
    /// Proxies in front of this gateway, by network: their `X-Forwarded-For` and `X-Forwarded-Proto` are
    /// believed, and they may have more connections than `limits.connections_per_address`.
    pub trusted_proxies: Vec<IpNet>,
    /// The field by which the service behind learns the caller's id; a client's own copy is removed.
    pub identity_field: FieldName,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            threads: 0,
            shutdown_grace: Millis::from_secs(10),
            trusted_proxies: Vec::new(),
            identity_field: FieldName::from_static("x-caller-id"),
        }
    }
}

/// Where the registry is kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The SQLite file; made when it is not there.
    pub path: PathBuf,
}

/// The secrets that key digests and seal app secrets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// A file that `portcullis init` makes and nobody else may read.
    pub file: PathBuf,
    /// A variable of the environment that, when it is set, holds what would stand in the file.
    #[serde(default)]
    pub environment: Option<String>,
}

impl Secrets {
    /// The variable, when it is set.
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        self.environment.as_deref().filter(|name| std::env::var_os(name).is_some())
    }

    /// Reads the secrets from where they are.
    ///
    /// # Errors
    /// When they are missing or malformed, or others may read the file.
    pub fn load(&self) -> Result<SecretsFile, SecretsError> {
        self.variable().map_or_else(|| SecretsFile::load(&self.file), SecretsFile::from_environment)
    }
}

/// A place to listen at.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    /// With it, only TLS is spoken here; HTTP/2 and HTTP/1.1 by ALPN.
    pub tls: Option<Tls>,
    /// HTTP/2 without TLS, by prior knowledge. Beside TLS it has no meaning and is refused.
    #[serde(default)]
    pub h2c: bool,
}

/// A certificate and its key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// The access log: a JSON line for each request, on standard output.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// Whether it is written.
    pub enabled: bool,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Where metrics are told: `GET /metrics`, in the text format of Prometheus, to whoever asks.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Address and port.
    pub address: SocketAddr,
}

impl Metrics {
    /// The listener that serves them.
    #[must_use]
    pub fn listener(&self) -> Listener {
        Listener { address: self.address, tls: None, h2c: false }
    }
}

/// A service behind.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Address and port; HTTP/1.1 is spoken to it.
    pub address: SocketAddr,
    /// How long connecting may take; then 504.
    #[serde(default = "Upstream::connect_timeout")]
    pub connect_timeout: Millis,
    /// How long the answer may make us wait: for its head (then 504), and between two parts of its body
    /// (then the connection to the client is cut, since the status is already said).
    #[serde(default = "Upstream::read_timeout")]
    pub read_timeout: Millis,
    /// How many idle connections each worker thread keeps.
    #[serde(default = "Upstream::idle_connections")]
    pub idle_connections: usize,
    /// How long an idle connection is kept, to the second. Less than the service's own keep-alive time.
    #[serde(default = "Upstream::idle_timeout")]
    pub idle_timeout: Millis,
}

impl Upstream {
    fn connect_timeout() -> Millis {
        Millis::from_secs(2)
    }
    fn read_timeout() -> Millis {
        Millis::from_secs(60)
    }
    fn idle_connections() -> usize {
        128
    }
    fn idle_timeout() -> Millis {
        Millis::from_secs(30)
    }
}

/// The published management contracts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surfaces {
    /// The discue surface.
    #[serde(default)]
    pub discue: DiscueSurface,
    /// The APIG surface.
    #[serde(default)]
    pub apig: ApigSurface,
}

/// The APIG surface.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApigSurface {
    /// How many AppCodes an app may have.
    pub app_codes: u32,
    /// How many throttling policies a gateway may have.
    pub throttles: u32,
    /// How many quotas a gateway may have.
    pub quotas: u32,
    /// When an address that sends bad tokens and signatures is refused for a while.
    pub lockout: LockoutPolicy,
}

impl Default for ApigSurface {
    fn default() -> Self {
        let (attempts, minutes) = (NonZeroU32::new(5).unwrap_or(NonZeroU32::MIN), Millis::from_secs(300));
        let lockout = LockoutPolicy { attempts, within: minutes, lasts: minutes };
        Self { app_codes: 5, throttles: 300, quotas: 300, lockout }
    }
}

/// The discue surface.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscueSurface {
    /// What links start with.
    pub base_url: String,
    /// When an address that sends bad keys is refused for a while.
    pub lockout: LockoutPolicy,
    /// Operations that answer 501, such as `create` or `delete_key`.
    pub switched_off: Vec<crate::surface::discue::Operation>,
}

impl Default for DiscueSurface {
    fn default() -> Self {
        let base_url = "https://api.discue.io".into();
        Self { base_url, lockout: LockoutPolicy::default(), switched_off: Vec::new() }
    }
}

impl Config {
    /// Reads and checks a file. Relative paths in it are relative to the working directory.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML, holds what is unknown, or does not hold together; with line
    /// and column where there is one.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, &error))?;
        Self::parse(&text).map_err(|error| error.in_file(path))
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::syntax(text, &error))?;
        config.check(text)?;
        Ok(config)
    }

    /// What types cannot say: that names refer to something, and that nothing contradicts itself.
    fn check(&self, text: &str) -> Result<(), ConfigError> {
        if self.listeners.is_empty() {
            return Err(ConfigError::plain("there is no listener: add [[listeners]]"));
        }
        let mut addresses = Vec::new();
        for listener in &self.listeners {
            if listener.address.port() != 0 && addresses.contains(&listener.address) {
                return Err(ConfigError::plain(format!("two listeners are on {}", listener.address)));
            }
            addresses.push(listener.address);
            if listener.h2c && listener.tls.is_some() {
                let why = format!("the listener on {} has both tls and h2c", listener.address);
                return Err(ConfigError::plain(why));
            }
        }
        if let Some(admin) = &self.admin {
            admin.check()?;
            if admin.listen.port() != 0 && addresses.contains(&admin.listen) {
                return Err(ConfigError::plain(format!("admin and a listener are both on {}", admin.listen)));
            }
        }
        let field = self.server.identity_field.as_str();
        if RESERVED.contains(&field) || field.starts_with("x-forwarded-") {
            return Err(ConfigError::plain(format!(
                "server.identity_field cannot be {field}: it has a meaning"
            )));
        }
        let mut seen: Vec<&PlanId> = Vec::new();
        for plan in &self.plans {
            let id = plan.get_ref().id();
            if seen.contains(&id) {
                return Err(ConfigError::at(text, plan.span(), format!("a second plan is named \"{id}\"")));
            }
            seen.push(id);
        }
        let (mut places, mut names) = (Vec::new(), Vec::new());
        for (at, route) in self.routes.iter().enumerate() {
            route.check(text, &self.upstreams)?;
            let name = route.name_at(at);
            if names.contains(&name) {
                let span = route.name.as_ref().map_or(route.path.span(), Spanned::span);
                return Err(ConfigError::at(text, span, format!("another route is named \"{name}\"")));
            }
            names.push(name);
            for method in route.methods.iter().map(Some).chain(route.methods.is_empty().then_some(None)) {
                let place = (route.host.as_ref(), route.path.get_ref(), method);
                if places.contains(&place) {
                    let why = "an earlier route has the same host, path and method".to_owned();
                    return Err(ConfigError::at(text, route.path.span(), why));
                }
                places.push(place);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
