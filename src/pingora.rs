//! The Pingora face: policies in an existing `ProxyHttp` proxy.
//!
//! Store a [`PingoraGate`] in the proxy and an [`Admission`] in its `CTX`, and call one method from each of three hooks, or
//! of four if a policy checks request bodies. `examples/pingora_proxy.rs` is a complete proxy.
//!
//! ```no_run
//! # use async_trait::async_trait;
//! # use pingora::{http::{RequestHeader, ResponseHeader}, prelude::*, proxy::{ProxyHttp, Session}};
//! use portcullis::{Admission, pingora::PingoraGate, policy::Accept};
//!
//! struct Proxy { gate: PingoraGate<Accept> }
//!
//! #[async_trait]
//! impl ProxyHttp for Proxy {
//!     type CTX = Admission;
//!     fn new_ctx(&self) -> Admission { Admission::default() }
//!
//!     async fn request_filter(&self, session: &mut Session, ctx: &mut Admission) -> Result<bool> {
//!         self.gate.request_filter(session, ctx).await
//!     }
//!     async fn upstream_request_filter(
//!         &self, _: &mut Session, request: &mut RequestHeader, ctx: &mut Admission,
//!     ) -> Result<()> {
//!         self.gate.upstream_request_filter(request, ctx)
//!     }
//!     async fn response_filter(
//!         &self, _: &mut Session, response: &mut ResponseHeader, ctx: &mut Admission,
//!     ) -> Result<()> {
//!         self.gate.response_filter(response, ctx)
//!     }
//! #   async fn upstream_peer(&self, _: &mut Session, _: &mut Admission) -> Result<Box<HttpPeer>> {
//! #       Ok(Box::new(HttpPeer::new(("127.0.0.1", 9000), false, String::new())))
//! #   }
//! }
//! ```

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use pingora::{
    Error, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};

use crate::{
    Admission, Denial, Head, Policy, Stop,
    clock::{Clock, SystemClock},
    header_value,
    policy::{ChainOrder, Guarded, Misplaced},
    problem::{self, Problem, RenderDenial, ResponseForm},
};

/// Policies for the hooks of a proxy.
pub struct PingoraGate<P> {
    chain: Guarded<P>,
    renderer: Arc<dyn RenderDenial>,
    clock: Arc<dyn Clock>,
    caller_id_header: Option<HeaderName>,
    checks_content: bool,
}

/// A Pingora proxy reads the body only while it forwards it.
const NO_CONTENT: &str = "Signed bodies are supported only with X-Sdk-Content-Sha256. Add this header.";

impl<P: Policy> PingoraGate<P> {
    /// Creates a gate from a policy or a chain of policies. Denials are rendered as RFC 9457 problems.
    ///
    /// # Panics
    /// If a policy that decides about the caller, such as [`RateLimit`](crate::policy::RateLimit), is placed before
    /// all policies that recognise one, such as [`ApiKey`](crate::policy::ApiKey): it would deny every request. See
    /// [`try_new`](Self::try_new), and [`inner`](Self::inner) for a second gate with the same admission.
    #[must_use]
    #[track_caller]
    #[allow(clippy::panic, reason = "chains are built at program start, independently of requests")]
    pub fn new(policy: P) -> Self {
        Self::try_new(policy).unwrap_or_else(|misplaced| panic!("{misplaced}"))
    }

    /// Creates a gate from a policy or a chain of policies. Denials are rendered as RFC 9457 problems.
    ///
    /// # Errors
    /// If a policy that decides about the caller is placed before all policies that recognise one.
    pub fn try_new(policy: P) -> Result<Self, Misplaced> {
        ChainOrder::check(&policy).map(|()| Self::inner(policy))
    }

    /// Creates a gate like [`new`](Self::new), for use after another gate that recognises the caller in the same
    /// admission.
    ///
    /// If no earlier gate recognises the caller, policies that decide about the caller deny with 401.
    #[must_use]
    pub fn inner(policy: P) -> Self {
        let clock = Arc::new(SystemClock::new());
        let chain = Guarded::new(policy);
        Self { chain, renderer: Arc::new(Problem), clock, caller_id_header: None, checks_content: false }
    }

    /// Sets the renderer of denials, which may be a closure. The default is [`Problem`]: RFC 9457 problems.
    #[must_use]
    pub fn denial_renderer(mut self, renderer: impl RenderDenial) -> Self {
        self.renderer = Arc::new(renderer);
        self
    }

    /// Sets the clock. The default is the [`SystemClock`] of the process. Gates over one directory must share a
    /// clock, because the limits count in its ticks.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Removes the [checks for ambiguous HTTP](crate::policy::StrictHttp) that come before the policies. A policy that
    /// decides by path still denies a path without a normal form. To relax the checks, put `StrictHttp` into the chain.
    #[must_use]
    pub fn without_strict_http(mut self) -> Self {
        self.chain.strict = None;
        self
    }

    /// Declares that the proxy calls [`request_body_filter`](Self::request_body_filter), too. Without it, a request
    /// whose signed body must be verified is answered with 500, and a body without an announced length with 413 if a
    /// [`BodyLimit`](crate::policy::BodyLimit) applies.
    #[must_use]
    pub fn verify_content(mut self) -> Self {
        self.checks_content = true;
        self
    }

    /// Sets the header that names the caller to the upstream. A header of this name that the client sent is removed,
    /// in every spelling that servers treat alike, such as `X_Caller.Id`.
    #[must_use]
    pub fn caller_id_header(mut self, field: HeaderName) -> Self {
        self.caller_id_header = Some(field);
        self
    }

    /// Decides about the request. Call this first in `ProxyHttp::request_filter`, before any cache lookup. If the
    /// request is denied, this writes the response and returns `true`. The connection stays open, unless the client
    /// has not sent the whole body yet.
    ///
    /// # Errors
    /// If the response of a denial cannot be written.
    pub async fn request_filter(&self, session: &mut Session, admission: &mut Admission) -> Result<bool> {
        loop {
            match admission.evaluate(&self.chain, &self.head(session)) {
                Ok(()) if admission.verifier.is_some() && !self.checks_content => {
                    let denial =
                        Denial::internal("a policy needs the request body: use PingoraGate::verify_content");
                    admission.refund();
                    self.deny(session, &denial, admission).await?;
                    return Ok(true);
                }
                Ok(()) => {
                    if let Some(limit) = admission.body_limit.filter(|_| self.cannot_count(session)) {
                        admission.refund();
                        self.deny(session, &Denial::ContentTooLarge { limit }, admission).await?;
                        return Ok(true);
                    }
                    drop(admission.take_permits().commit());
                    return Ok(false);
                }
                Err(Stop::Deny(denial)) => {
                    self.deny(session, &denial, admission).await?;
                    return Ok(true);
                }
                Err(Stop::Wait(wait)) => wait.await,
                Err(Stop::NeedsBody(_)) => {
                    let denial = Denial::NotImplemented { detail: NO_CONTENT.into() };
                    self.deny(session, &denial, admission).await?;
                    return Ok(true);
                }
            }
        }
    }

    /// Returns `true` if an excess of the body limit would not be detected.
    fn cannot_count(&self, session: &mut Session) -> bool {
        let announced = session.req_header().headers.contains_key(header::CONTENT_LENGTH);
        !self.checks_content && !announced && !session.is_body_empty()
    }

    fn head<'a>(&self, session: &'a mut Session) -> Head<'a> {
        let content = !session.is_body_empty();
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip);
        Head::from_parts(session.req_header(), peer, content, self.clock.now())
    }

    async fn deny(&self, session: &mut Session, denial: &Denial, admission: &Admission) -> Result<()> {
        problem::log(denial);
        let head = self.head(session);
        let renderer = self.renderer.for_request(&head, admission).unwrap_or(&*self.renderer);
        let form = ResponseForm::from_head(&head);
        let (mut parts, body) = problem::render_for(denial, renderer, admission, form).into_parts();
        if body.is_empty() {
            // On HTTP/1.1, a response to gRPC would end with the connection otherwise.
            if !session.is_http2() {
                parts
                    .headers
                    .entry(header::CONTENT_LENGTH)
                    .or_insert(const { HeaderValue::from_static("0") });
            }
            return session.write_response_header(Box::new(parts.into()), true).await;
        }
        session.write_response_header(Box::new(parts.into()), false).await?;
        session.write_response_body(Some(body), true).await
    }

    /// Prepares the request for the upstream: sets the normalized target, removes the credential and names the
    /// caller. Call this in `ProxyHttp::upstream_request_filter`.
    ///
    /// # Errors
    /// If a header cannot be added.
    pub fn upstream_request_filter(&self, request: &mut RequestHeader, admission: &Admission) -> Result<()> {
        if let Some(target) = &admission.target {
            request.set_uri(Uri::clone(target));
        }
        if let Some(name) = &admission.response.credential {
            request.remove_header(name);
        }
        if let Some(field) = &self.caller_id_header {
            let is_claim = |name: &&HeaderName| header_value::eq_ignore_case(name.as_str(), field.as_str());
            let claims: Vec<HeaderName> = request.headers.keys().filter(is_claim).cloned().collect();
            for name in &claims {
                request.remove_header(name);
            }
            if let Some(value) = admission.caller_header_value() {
                request.insert_header(field.clone(), value)?;
            }
        }
        Ok(())
    }

    /// Verifies a signed body while it is streamed, and enforces the limit of a
    /// [`BodyLimit`](crate::policy::BodyLimit). Call this in `ProxyHttp::request_body_filter` of a gate that is
    /// [checking bodies](Self::verify_content).
    ///
    /// # Errors
    /// 401 if the body does not match the signature, and 413 if it exceeds the limit. The upstream does not receive
    /// the end of the body, and Pingora writes the response, also for gRPC calls.
    pub fn request_body_filter(
        &self,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        admission: &mut Admission,
    ) -> Result<()> {
        let bytes = body.as_ref().map_or(0, Bytes::len) as u64;
        admission.passed_on = admission.passed_on.saturating_add(bytes);
        if admission.body_limit.is_some_and(|limit| admission.passed_on > limit) {
            *body = None;
            return Error::e_explain(ErrorType::HTTPStatus(413), "the request body exceeds its limit");
        }
        let Some(verifier) = admission.verifier.as_mut() else { return Ok(()) };
        let before = body.take().and_then(|piece| verifier.push(piece));
        let last = if end_of_stream { verifier.finish() } else { Ok(None) };
        if end_of_stream {
            admission.verifier = None;
        }
        let Ok(last) = last else {
            return Error::e_explain(ErrorType::HTTPStatus(401), "the body differs from the signed one");
        };
        *body = match (before, last) {
            (Some(before), Some(last)) => Some([before, last].concat().into()),
            (Some(piece), None) | (None, Some(piece)) => Some(piece),
            // `None` would end the body.
            (None, None) => Some(Bytes::new()).filter(|_| !end_of_stream),
        };
        Ok(())
    }

    /// Adds the headers that inform the client of its limits, of caching and of the headers that the response varies
    /// by. Call this in `ProxyHttp::response_filter`.
    ///
    /// # Errors
    /// If a header cannot be added.
    pub fn response_filter(&self, response: &mut ResponseHeader, admission: &Admission) -> Result<()> {
        // Pingora stores the letter case of header names separately, so only its own methods may change the headers.
        let mut stamped = HeaderMap::new();
        for name in [header::CACHE_CONTROL, header::EXPIRES, header::VARY] {
            for value in response.headers.get_all(&name) {
                stamped.append(&name, value.clone());
            }
        }
        admission.add_response_headers(&mut stamped);
        for name in stamped.keys() {
            response.remove_header(name);
            for value in stamped.get_all(name) {
                response.append_header(name.clone(), value)?;
            }
        }
        Ok(())
    }
}
