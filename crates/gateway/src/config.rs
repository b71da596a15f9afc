//! The configuration of the gateway: a typed TOML file that is read once and rejects unknown names.
//!
//! `config/gateway.toml` is an annotated example of every setting.

mod admin;
mod check;
mod compression;
mod conditions;
mod cors;
mod dns;
mod document;
mod files;
mod limits;
mod list;
mod local_response;
mod maintenance;
mod path_match;
mod path_pattern;
mod path_template;
mod policies;
mod private_file;
mod removed_headers;
mod renamed;
mod report;
mod restart;
mod review;
mod rewrite;
mod route;
mod route_host;
mod route_path;
mod secrets;
mod security_headers;
mod toggle;
mod upgrades;
mod upstream;
mod value;
mod variables;
mod words;

pub use admin::Admin;
pub use compression::{Algorithm, Compression};
pub use conditions::{HeaderConditions, QueryConditions};
pub use cors::{AllowedOrigin, Cors, HeaderList};
pub use dns::Dns;
pub use document::Step;
pub use limits::Limits;
pub use local_response::{FixedResponse, Redirect, Scheme};
pub use maintenance::{Maintenance, MaintenanceStatus, Window};
pub use path_match::PathMatch;
pub use path_pattern::PathPattern;
pub use path_template::PathTemplate;
pub use policies::{
    ApiKeyPolicy, KindName, LapsedSubscriptions, LockoutPolicy, MediaTypes, Policies, RateLimitPolicy,
    SignaturePolicy, kinds,
};
pub use removed_headers::RemovedHeaders;
pub use report::{ConfigError, Finding, Report, Severity};
pub use review::Review;
pub use rewrite::{HeaderChanges, HeaderValues, HostRewrite, RegexRewrite, Rewrite, StripPrefix};
pub use route::{Backend, RelaxedRules, Route, Surface};
pub use route_host::RouteHost;
pub use route_path::RoutePath;
pub use secrets::{SecretKind, SecretsError, SecretsFile};
pub use security_headers::{CacheControl, FrameOptions, ReferrerPolicy, SecurityHeaders};
pub use toggle::Toggle;
pub use upgrades::{DisallowedUpgrades, Upgrades};
pub use upstream::{
    Balance, Ejection, HashKey, HealthCheck, InvalidUpstreamAddress, Retries, Target, Upstream,
    UpstreamAddress, UpstreamLimits, UpstreamPlace, UpstreamProtocol, UpstreamTls,
};
pub use value::{ConfigDuration, FieldName, HostName, SourceName};

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use crate::file_state::FileState;
use portcullis::model::{Plan, PlanId};

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file that this was read from.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// The state of the file before it was read.
    #[serde(skip)]
    pub(crate) file_state: Option<FileState>,
    /// Settings of the whole process.
    #[serde(default)]
    pub server: Server,
    /// Resource limits for clients.
    #[serde(default)]
    pub limits: Limits,
    /// The store of the registry.
    pub store: Store,
    /// The peppers, which key the digests of credentials, and the seal keys, which encrypt app secrets.
    pub secrets: Secrets,
    /// The listeners; at least one.
    pub listeners: Vec<Listener>,
    /// The native admin API. Default: not served.
    pub admin: Option<Admin>,
    /// The access log.
    #[serde(default)]
    pub access_log: AccessLog,
    /// The metrics endpoint. Default: none.
    pub metrics: Option<Metrics>,
    /// The plans that the file defines. They are written to the registry at every start and reload.
    #[serde(default)]
    pub plans: Vec<Spanned<Plan>>,
    /// The look-up of the names of upstreams.
    #[serde(default)]
    pub dns: Dns,
    /// The upstreams, by name.
    #[serde(default)]
    pub upstreams: BTreeMap<String, Upstream>,
    /// The management APIs with published contracts.
    #[serde(default)]
    pub surfaces: Surfaces,
    /// The routes: match, policies and backend.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// Settings of the whole process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The number of worker threads; 0 means one per processor.
    pub threads: usize,
    /// The maximum time for open requests to finish after SIGTERM or SIGQUIT.
    pub shutdown_grace: ConfigDuration,
    /// The networks of trusted proxies in front of this gateway. Their `X-Forwarded-For` and `X-Forwarded-Proto` are
    /// trusted, and they may exceed `limits.connections_per_address`.
    pub trusted_proxies: Vec<IpNet>,
    /// The header that carries the caller's id to the upstream. A copy that the client sends is removed.
    pub caller_id_header: FieldName,
    /// The header that carries the media type chosen by the `accept` policy to the upstream. Default: none. A copy that
    /// the client sends is removed.
    pub media_type_header: Option<FieldName>,
    /// The request headers that are removed before a request is forwarded.
    pub removed_headers: RemovedHeaders,
    /// The treatment of upgrades that a route does not allow.
    pub disallowed_upgrades: DisallowedUpgrades,
    /// Whether the configuration is reloaded when its file changes.
    pub reload_on_change: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            threads: 0,
            shutdown_grace: ConfigDuration::from_secs(10),
            trusted_proxies: Vec::new(),
            caller_id_header: FieldName::from_static("x-caller-id"),
            media_type_header: None,
            removed_headers: RemovedHeaders::default(),
            disallowed_upgrades: DisallowedUpgrades::default(),
            reload_on_change: false,
        }
    }
}

/// The store of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The path of the SQLite file. `portcullis init` and `portcullis import` create it; `serve` does not start without
    /// it.
    pub path: PathBuf,
}

/// The peppers, which key the digests of credentials, and the seal keys, which encrypt app secrets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// The path of the secrets file, which `portcullis init` creates. Only its owner may read it.
    pub file: PathBuf,
    /// The name of an environment variable that, if it is set, contains the text of the secrets file.
    #[serde(default)]
    pub environment_variable: Option<String>,
}

impl Secrets {
    /// Returns the name of the environment variable, if it is set.
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        self.environment_variable.as_deref().filter(|name| std::env::var_os(name).is_some())
    }

    /// Reads the secrets from the environment variable, if it is set, or from the file.
    ///
    /// # Errors
    /// If the secrets are missing or malformed, or users other than the owner may read the file.
    pub fn load(&self) -> Result<SecretsFile, SecretsError> {
        self.variable().map_or_else(|| SecretsFile::load(&self.file), SecretsFile::from_environment)
    }
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// The address and port.
    pub address: SocketAddr,
    /// The certificate for TLS. ALPN selects HTTP/2 or HTTP/1.1. Default: no TLS.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 is accepted without TLS, by prior knowledge. The combination with TLS is an error.
    #[serde(default)]
    pub h2c: bool,
}

/// A certificate and its private key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The path of the certificate chain (PEM).
    pub certificate: PathBuf,
    /// The path of the private key (PEM).
    pub key: PathBuf,
}

/// The access log: a JSON line for each request, on standard output.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// Whether the access log is written.
    pub enabled: bool,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// The metrics endpoint: serves `GET /metrics` in the text format of Prometheus, and `GET /healthz` and `GET /readyz` for
/// health checks, without authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// The address and port.
    pub address: SocketAddr,
}

impl Metrics {
    /// Returns the listener that serves the metrics.
    #[must_use]
    pub fn listener(&self) -> Listener {
        Listener { address: self.address, tls: None, h2c: false }
    }
}

/// The management APIs with published contracts.
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
    /// The maximum number of AppCodes per app.
    pub app_codes: u32,
    /// The maximum number of throttling policies per gateway.
    pub throttles: u32,
    /// The maximum number of app quotas per gateway.
    pub quotas: u32,
    /// The lockout of addresses that send invalid tokens and signatures.
    pub lockout: LockoutPolicy,
}

impl Default for ApigSurface {
    fn default() -> Self {
        let (attempts, minutes) =
            (NonZeroU32::new(5).unwrap_or(NonZeroU32::MIN), ConfigDuration::from_secs(300));
        let lockout = LockoutPolicy { attempts, window: minutes, duration: minutes };
        Self { app_codes: 5, throttles: 300, quotas: 300, lockout }
    }
}

/// The discue surface.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscueSurface {
    /// The base URL of links.
    pub base_url: String,
    /// The lockout of addresses that send invalid keys.
    pub lockout: LockoutPolicy,
    /// The disabled operations, such as `create` or `delete_key`, whose response is 501.
    pub disabled_operations: Vec<portcullis_surfaces::discue::Operation>,
}

impl Default for DiscueSurface {
    fn default() -> Self {
        let base_url = "https://api.discue.io".into();
        Self { base_url, lockout: LockoutPolicy::default(), disabled_operations: Vec::new() }
    }
}

impl Config {
    /// Reads and checks a file. Relative paths in it are relative to the file.
    ///
    /// # Errors
    /// If the file cannot be read, is not TOML, contains unknown names or contradicts itself. The error lists every
    /// mistake, with line and column if known.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Review::of_file(path)?.finish().map(|(config, _)| config)
    }

    /// Reads and checks a text. Relative paths in it are relative to the working directory.
    ///
    /// # Errors
    /// The errors of [`load`](Self::load), except for those of reading the file.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Review::of_text(text).finish().map(|(config, _)| config)
    }

    /// Returns the ids of the plans that the file defines.
    pub fn plan_ids(&self) -> impl Iterator<Item = &PlanId> {
        self.plans.iter().map(|plan| plan.get_ref().id())
    }
}

#[cfg(test)]
mod tests;
