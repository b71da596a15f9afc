//! Forwards a request to an upstream and returns its response.

mod connector;
mod endpoint;
mod endpoint_set;
mod exchange;
mod exchange_record;
mod field_filter;
mod framing;
mod hash_ring;
mod health_check;
mod hop_headers;
mod http1_connection;
mod http2_connection;
mod informational;
mod load_limit;
mod outgoing;
mod picker;
mod pool;
mod request_body;
mod request_head;
mod response_body;
mod retry_budget;
mod stream;
mod targets;
mod tls;
mod transport;
mod upgrade;

pub(super) use exchange_record::ExchangeRecord;
pub(super) use framing::plain_number;
pub(super) use informational::InformationalResponses;
pub(super) use pool::reap_idle;
pub(super) use response_body::UpstreamBody;
pub(super) use upgrade::{AcceptedUpgrade, UpgradeCounts, UpgradeRules, UpgradedConnection};

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Incoming};
use tokio::sync::OwnedSemaphorePermit;

use super::{client_body::ClientBody, resolver::Resolver, rewrite::Rewrite};
use crate::config::{self, Balance, Config, HashKey};
use connector::Connector;
use endpoint::EjectionRules;
use endpoint_set::{Endpoints, TargetAddress};
use exchange::Received;
use exchange_record::ExchangeSummary;
use field_filter::FieldFilter;
use framing::{InvalidResponse, Reuse};
use pool::{UpstreamConnection, UpstreamPool};
use portcullis::{Denial, limit::MinDataRate, problem::ResponseForm, tower};
use request_body::Progress;
use upgrade::RequestedUpgrade;

/// An upstream of the configuration.
pub(super) struct Upstream {
    name: Arc<str>,
    pool: UpstreamPool,
    connector: Connector,
    connect_timeout: Duration,
    read_timeout: Duration,
    stream_idle_timeout: Duration,
    retries: u8,
    ejection: EjectionRules,
    /// The key of consistent hashing.
    hash_key: Option<HashKey>,
    /// The value of `Host` for requests that have none.
    authority: HeaderValue,
    /// Set if a target may use HTTP/2.
    uses_http2: bool,
    targets: Vec<config::Target>,
    health_check: Option<config::HealthCheck>,
    /// Set if a route forwards informational responses.
    informational: bool,
    pace: MinDataRate,
    filter: FieldFilter,
    caller_id_header: HeaderName,
    media_type_header: Option<HeaderName>,
}

impl Upstream {
    /// Creates an upstream without connections. Its names are not resolved and its health is not checked until
    /// [`tasks`](Self::tasks) run. Until then, targets have the addresses that they had in the upstream that this one
    /// replaces: a reload must not stop the requests while a name server fails.
    ///
    /// # Errors
    /// If its certificates cannot be used.
    pub(super) fn new(
        name: &str,
        upstream: &config::Upstream,
        config: &Config,
        before: Option<&Self>,
    ) -> anyhow::Result<Self> {
        let context = || format!("upstream {name}");
        let targets = upstream.all_targets();
        let uses = |protocol| targets.iter().any(|target| target.address.protocol == protocol);
        let uses_tls = uses(config::UpstreamProtocol::Https);
        let tls = uses_tls.then(|| tls::connectors(&upstream.tls)).transpose().with_context(context)?;
        let hash_key = match &upstream.balance {
            Balance::Hash(key) => Some(key.clone()),
            Balance::RoundRobin | Balance::LeastRequests => None,
        };
        let mut known = targets::known(&targets, &upstream.tls).with_context(context)?;
        for ((_, addresses), target) in known.iter_mut().zip(&targets) {
            if addresses.is_empty() {
                *addresses = before.map(|before| before.addresses_of(target)).unwrap_or_default();
            }
        }
        let has_others = known.len() > 1 || known.iter().any(|(_, addresses)| addresses.len() != 1);
        let endpoints = Arc::new(Endpoints::new(known, hash_key.is_some()));
        let authority = targets.first().map(|target| target.address.authority()).unwrap_or_default();
        Ok(Self {
            name: name.into(),
            pool: UpstreamPool::new(upstream, endpoints),
            connector: Connector::new(upstream, tls, has_others),
            connect_timeout: upstream.connect_timeout.duration(),
            read_timeout: upstream.read_timeout.duration(),
            stream_idle_timeout: upstream.stream_idle_timeout.duration(),
            retries: upstream.retries.attempts,
            ejection: EjectionRules::new(&upstream.ejection),
            hash_key,
            authority: HeaderValue::try_from(authority).with_context(context)?,
            uses_http2: uses_tls && upstream.tls.http2 || uses(config::UpstreamProtocol::H2c),
            targets,
            health_check: upstream.health_check.clone(),
            informational: Self::is_informational(name, config),
            pace: config.limits.pace(),
            filter: FieldFilter::new(&config.server),
            caller_id_header: config.server.caller_id_header.name().clone(),
            media_type_header: config.server.media_type_header.as_ref().map(|field| field.name().clone()),
        })
    }

    /// Returns `true` if a route to the upstream of this name forwards informational responses.
    pub(super) fn is_informational(name: &str, config: &Config) -> bool {
        let is_of_it = |route: &config::Route| route.backend() == Some(config::Backend::Upstream(name));
        config.routes.iter().any(|route| route.informational_responses && is_of_it(route))
    }

    /// Returns the current addresses of a target.
    fn addresses_of(&self, target: &config::Target) -> Vec<TargetAddress> {
        let same = self.targets.iter().position(|other| other.address == target.address);
        same.map(|at| self.pool.endpoints.addresses(at)).unwrap_or_default()
    }

    /// Returns `true` if the address of a target is known.
    pub(super) fn has_address(&self) -> bool {
        !self.pool.endpoints.current().1.endpoints.is_empty()
    }

    /// Returns the tasks that follow the names of targets and check their health, for as long as the gateway runs.
    pub(super) fn tasks(self: &Arc<Self>, resolver: &Resolver) -> Vec<BoxFuture<'static, ()>> {
        let follows = targets::follow(&self.targets, &self.pool.endpoints, resolver);
        let checks = self.health_check.clone().map(|check| health_check::run(self.clone(), check).boxed());
        follows.into_iter().chain(checks).collect()
    }

    /// Forwards a request whose denial would have this form.
    ///
    /// # Errors
    /// Returns 503 if too many requests are in progress, and 400 if the path cannot be rewritten. The future returns 502,
    /// 503 or 504 if the upstream does not respond, and the error of the client's body if there was one.
    pub(super) fn forward(
        self: Arc<Self>,
        request: Request<tower::RequestBody<ClientBody>>,
        form: ResponseForm,
        rewrite: Option<&Rewrite>,
    ) -> Result<impl Future<Output = Result<Response<UpstreamBody>, Denial>> + use<>, Denial> {
        let permit = self.pool.load.request().map_err(|overload| self.overloaded(overload))?;
        let mut outgoing = self.outgoing(request, form, rewrite)?;
        Ok(async move {
            let exchanged = self.exchange(&mut outgoing).await;
            if let Some((record, start)) = &outgoing.record {
                record.set(ExchangeSummary {
                    endpoint: exchanged.as_ref().ok().map(|received| received.connection.endpoint().clone()),
                    attempts: outgoing.attempts,
                    duration: start.elapsed(),
                });
            }
            let Received { connection, response } = exchanged?;
            match outgoing.upgrade.take() {
                Some(upgrade) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    self.upgrade(connection, response, upgrade, permit).await
                }
                _ => self.respond(connection, response, &outgoing.method, outgoing.progress.take(), permit),
            }
        })
    }

    /// Returns the response to the client.
    fn respond(
        self: Arc<Self>,
        connection: UpstreamConnection,
        response: Response<Incoming>,
        method: &Method,
        progress: Option<Progress>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Response<UpstreamBody>, Denial> {
        let (mut head, body) = response.into_parts();
        let reuse = framing::check(method, &mut head)
            .map_err(|error| self.invalid_response(connection.endpoint(), &error))?;
        if self.ejection.count_5xx && head.status.is_server_error() {
            self.failed(connection.endpoint(), &head.status);
        } else {
            connection.endpoint().health.succeeded();
        }
        // The version is that of the upstream's connection. The server sets the version that the client uses.
        head.version = Version::default();
        hop_headers::strip_response(&mut head.headers);
        // Content of a known length is not a stream of events.
        let is_stream = body.size_hint().exact().is_none() && is_stream(&head.headers);
        let timeout = if is_stream { self.stream_idle_timeout } else { self.read_timeout };
        let upstream = (reuse == Reuse::Allowed).then_some(self);
        let body = UpstreamBody::new(body, timeout, connection, progress, upstream, permit);
        Ok(Response::from_parts(head, body))
    }

    /// Returns the response that upgrades the client's connection to the protocol that the upstream has accepted.
    async fn upgrade(
        &self,
        connection: UpstreamConnection,
        response: Response<Incoming>,
        upgrade: RequestedUpgrade,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Response<UpstreamBody>, Denial> {
        let mut response = response.map(UpstreamBody::ended);
        let headers = response.headers_mut();
        let is_requested = headers
            .get(header::UPGRADE)
            .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(upgrade.protocol.as_bytes()));
        let UpstreamConnection::Http1(connection) = connection else {
            return Err(Denial::internal("only HTTP/1.1 connections are upgraded"));
        };
        if !is_requested {
            return Err(self.invalid_response(&connection.endpoint, &InvalidResponse::Upgrade));
        }
        connection.endpoint.health.succeeded();
        hop_headers::strip_response(headers);
        hop_headers::set_upgrade(headers, &upgrade.protocol);
        let stream = connection.into_upgraded(permit).await;
        response.extensions_mut().insert(upgrade.accepted(stream, self.stream_idle_timeout));
        Ok(response)
    }
}

/// Returns `true` for the media types of streams that may be silent for long: of server-sent events and of gRPC.
fn is_stream(headers: &http::HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes) else { return false };
    [&b"text/event-stream"[..], b"application/grpc"]
        .into_iter()
        .any(|stream| media_type.get(..stream.len()).is_some_and(|start| start.eq_ignore_ascii_case(stream)))
}
