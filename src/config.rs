//! The gateway's configuration: a typed file, read once, in which nothing unknown stands.
//!
//! `config/gateway.toml` is an annotated example of everything there is.

mod admin;
mod check;
mod document;
mod files;
mod limits;
mod private_file;
mod removed;
mod report;
mod review;
mod route;
mod route_path;
mod secrets;
mod value;
mod variables;
mod words;

pub use admin::Admin;
pub use document::Step;
pub use limits::Limits;
pub use removed::RemovedFields;
pub use report::{ConfigError, Finding, Report, Severity};
pub use review::Review;
pub use route::{
    ApiKeyPolicy, Backend, MediaTypes, KindName, Lapsed, LockoutPolicy, Policies, RateLimitPolicy, RelaxedRules,
    Route, SignaturePolicy, Surface, Toggle, kinds,
};
pub use route_path::RoutePath;
pub use secrets::{SecretKind, SecretsError, SecretsFile};
pub use value::{FieldName, HostName, ConfigDuration, SourceName};

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use crate::model::{Plan, PlanId};

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file that this was read from.
    #[serde(skip)]
    pub file: Option<PathBuf>,
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
    pub shutdown_grace: ConfigDuration,
    /// Proxies in front of this gateway, by network: their `X-Forwarded-For` and `X-Forwarded-Proto` are
    /// believed, and they may have more connections than `limits.connections_per_address`.
    pub trusted_proxies: Vec<IpNet>,
    /// The field by which the service behind learns the caller's id; a client's own copy is removed.
    pub identity_field: FieldName,
    /// The field that carries the media type the `accept` policy chose to the service behind; none unless it is
    /// configured. A client's own copy is removed.
    pub media_type_field: Option<FieldName>,
    /// The request fields that are removed before a request is forwarded.
    pub removed_fields: RemovedFields,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            threads: 0,
            shutdown_grace: ConfigDuration::from_secs(10),
            trusted_proxies: Vec::new(),
            identity_field: FieldName::from_static("x-caller-id"),
            media_type_field: None,
            removed_fields: RemovedFields::default(),
        }
    }
}

/// Where the registry is kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The SQLite file. `portcullis init` and imports make it; `serve` does not start without it.
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
    pub connect_timeout: ConfigDuration,
    /// How long the answer may make us wait: for its head (then 504), and between two parts of its body
    /// (then the connection to the client is cut, since the status is already said).
    #[serde(default = "Upstream::read_timeout")]
    pub read_timeout: ConfigDuration,
    /// How many idle connections each worker thread keeps.
    #[serde(default = "Upstream::idle_connections")]
    pub idle_connections: usize,
    /// How long an idle connection is kept, to the second. Less than the service's own keep-alive time.
    #[serde(default = "Upstream::idle_timeout")]
    pub idle_timeout: ConfigDuration,
}

impl Upstream {
    fn connect_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(2)
    }
    fn read_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(60)
    }
    fn idle_connections() -> usize {
        128
    }
    fn idle_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(30)
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
        let (attempts, minutes) = (NonZeroU32::new(5).unwrap_or(NonZeroU32::MIN), ConfigDuration::from_secs(300));
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
    /// Reads and checks a file. Relative paths in it are relative to the file.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML, holds what is unknown, or does not hold together: every mistake, with line
    /// and column where there is one.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Review::of_file(path)?.finish().map(|(config, _)| config)
    }

    /// Reads and checks a text. Relative paths in it are relative to the working directory.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Review::of_text(text).finish().map(|(config, _)| config)
    }

    /// The ids of the plans that the file defines.
    pub fn plan_ids(&self) -> impl Iterator<Item = &PlanId> {
        self.plans.iter().map(|plan| plan.get_ref().id())
    }
}

#[cfg(test)]
mod tests;
