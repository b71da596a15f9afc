//! Client of the admin API, which a gateway serves or this process runs on the store.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::Value;
use tower_service::Service;

use crate::{
    config::Config,
    gateway::{self, GatewayState},
};
use portcullis::{
    clock::{Clock, SystemClock},
    directory::Directory,
    model::{CallerKind, Entity, GeneratedKey, KeyPrefix, Role, Secret, SubscriptionStatus, text::escaped},
    registry::{NewCaller, NewCredential, NewTenant, Registry},
};
use portcullis_surfaces::admin::ADMIN_TENANT;

/// The administrator as whom this process changes the store; its id appears in the change log.
const LOCAL_ADMIN: &str = "command-line";

/// An admin API and a key for it.
pub struct AdminClient {
    place: Place,
    key: Secret,
}

enum Place {
    /// The admin API of a gateway, by its base URL.
    Served(String, Box<reqwest::Client>),
    /// An admin API in this process, on the store.
    Own(axum::Router, Arc<dyn Registry>),
}

/// A successful response of the API.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; `null` if there is none.
    pub body: Value,
}

/// An error response of the API: a problem (RFC 9457).
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ApiError {
    /// The status.
    pub status: u16,
    text: String,
    /// The problem, as received.
    pub problem: Value,
}

impl ApiError {
    /// Replaces the text.
    pub(super) fn with_text(self, text: String) -> Self {
        Self { text, ..self }
    }

    fn from_reply(status: StatusCode, problem: Value) -> Self {
        // A problem may quote unescaped text, such as the reason of a lock, that an earlier version stored.
        let said = |name: &str| escaped(problem.get(name).and_then(Value::as_str).unwrap_or_default());
        let mut text = format!("{} {}", status.as_u16(), said("title"));
        if !said("detail").is_empty() && said("detail") != said("title") {
            text = format!("{text}: {}", said("detail"));
        }
        for error in problem.get("errors").and_then(Value::as_array).into_iter().flatten() {
            let said = |name: &str| escaped(error.get(name).and_then(Value::as_str).unwrap_or_default());
            let line = error.get("line").map(|line| format!("line {line}: ")).unwrap_or_default();
            text = format!("{text}\n  {line}{}: {}", said("pointer"), said("detail"));
        }
        Self { status: status.as_u16(), text, problem }
    }
}

impl AdminClient {
    /// Makes a client for a gateway with a base URL such as `https://127.0.0.1:9001`.
    ///
    /// # Errors
    /// If the URL has no `http` or `https` scheme.
    pub fn connect(url: &str, key: Secret) -> anyhow::Result<Self> {
        let url = url.trim_end_matches('/');
        let scheme = url.split("://").next().unwrap_or_default();
        ensure!(
            matches!(scheme, "http" | "https") && url.contains("://"),
            "{url} is not an http or https URL"
        );
        // The process has one crypto provider, which another command may have set.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        Ok(Self { place: Place::Served(url.to_owned(), Box::new(client.context("no HTTP client")?)), key })
    }

    /// Opens the store of a configuration, whether or not a gateway runs. A process that can write the store may do
    /// everything.
    ///
    /// # Errors
    /// If the secrets or the store cannot be read.
    pub async fn in_process(config: &Config) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (store, secrets) = gateway::store::open_existing(config, clock.clone()).await?;
        let registry: Arc<dyn Registry> = Arc::new(store);
        let directory = Arc::new(Directory::new(secrets.peppers()));
        let key = admit_local_admin(&directory, clock.now().time)?;
        let shared = GatewayState::new(clock, registry.clone(), directory, Arc::new(secrets.sealer()));
        let router = gateway::admin_api(config, &shared, |_| None, Some(LOCAL_ADMIN.parse()?), None);
        Ok(Self { place: Place::Own(router, registry), key })
    }

    /// Closes the store if this process opened it.
    pub async fn close(&self) {
        if let Place::Own(_, registry) = &self.place {
            registry.close().await;
        }
    }

    /// Returns `true` if a gateway serves the API.
    #[must_use]
    pub fn is_served(&self) -> bool {
        matches!(self.place, Place::Served(..))
    }

    /// Sends a request for a path below `/admin/v1`.
    ///
    /// # Errors
    /// [`ApiError`], or an I/O error if the gateway cannot be reached.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: Option<&Value>,
    ) -> anyhow::Result<Reply> {
        let path = format!("/admin/v1{path}");
        let (status, headers, content) = match &self.place {
            Place::Served(url, client) => {
                let mut request =
                    client.request(method, format!("{url}{path}")).bearer_auth(self.key.expose());
                for (name, value) in fields {
                    request = request.header(*name, *value);
                }
                if let Some(body) = body {
                    request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
                }
                let response = request.send().await.with_context(|| format!("cannot reach {url}"))?;
                let (status, headers) = (response.status(), response.headers().clone());
                (status, headers, response.bytes().await.with_context(|| format!("cannot read {url}"))?)
            }
            Place::Own(router, _) => {
                let mut request = Request::builder().method(method).uri(path);
                request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.key.expose()));
                for (name, value) in fields {
                    request = request.header(*name, *value);
                }
                let content = body.map(Value::to_string);
                if content.is_some() {
                    request = request.header(header::CONTENT_TYPE, "application/json");
                }
                let request = request.body(content.map_or(Body::empty(), Body::from))?;
                let Ok(response) = router.clone().call(request).await;
                let (parts, body) = response.into_parts();
                (parts.status, parts.headers, body.collect().await?.to_bytes())
            }
        };
        let body = if content.is_empty() {
            Value::Null
        } else {
            match serde_json::from_slice(&content) {
                Ok(body) => body,
                Err(_) => bail!("status {} without JSON: is this the admin API?", status.as_u16()),
            }
        };
        // Every error response of the admin API is a problem with a code.
        let ours = status.is_success() || body.get("code").is_some();
        ensure!(
            ours,
            "status {} without a problem or result: is this the URL of the admin API?",
            status.as_u16()
        );
        if status.is_success() {
            Ok(Reply { status, headers, body })
        } else {
            Err(ApiError::from_reply(status, body).into())
        }
    }
}

impl AdminClient {
    /// Sends a request to a gateway and streams the bodies, which may be too large for memory.
    ///
    /// # Errors
    /// The errors of [`send`](Self::send), or an error if no gateway serves the API.
    pub async fn stream(
        &self,
        method: Method,
        path: &str,
        content: Option<(HeaderValue, reqwest::Body)>,
    ) -> anyhow::Result<reqwest::Response> {
        let Place::Served(url, client) = &self.place else { bail!("this needs a gateway's admin API") };
        let request = client.request(method, format!("{url}/admin/v1{path}")).bearer_auth(self.key.expose());
        let request = match content {
            Some((media_type, body)) => request.header(header::CONTENT_TYPE, media_type).body(body),
            None => request,
        };
        let response = request.send().await.with_context(|| format!("cannot reach {url}"))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem = response.bytes().await.with_context(|| format!("cannot read {url}"))?;
        match serde_json::from_slice(&problem) {
            Ok(problem) => Err(ApiError::from_reply(status, problem).into()),
            Err(_) => bail!("status {} without JSON: is this the admin API?", status.as_u16()),
        }
    }
}

/// Adds this process to a directory as an owner that is in no store, and returns its key.
fn admit_local_admin(directory: &Directory, now: Timestamp) -> anyhow::Result<Secret> {
    let prefix: KeyPrefix = "pca".parse()?;
    let (key, peppers) = (GeneratedKey::generate(&prefix), directory.peppers());
    let tenant = NewTenant {
        id: ADMIN_TENANT.parse()?,
        name: ADMIN_TENANT.into(),
        gateway: None,
        standing: SubscriptionStatus::Active,
        max_callers: 0,
    };
    let caller = NewCaller {
        id: LOCAL_ADMIN.parse()?,
        tenant: tenant.id.clone(),
        name: LOCAL_ADMIN.into(),
        kind: CallerKind::Administrator(Role::Owner),
        plan: None,
    };
    let credential = NewCredential {
        name: LOCAL_ADMIN.into(),
        ..NewCredential::key(tenant.id.clone(), caller.id.clone(), &key, peppers.current())
    };
    directory.load_one(Entity::Tenant(tenant.into_tenant(now)));
    directory.load_one(Entity::Caller(caller.into_caller(now)));
    directory.load_one(Entity::Credential(credential.into_credential(now)));
    Ok(Secret::from(key.expose().to_owned()))
}
