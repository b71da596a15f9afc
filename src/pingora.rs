//! The Pingora face: the same policies in an existing `ProxyHttp` proxy.
//!
//! Keep a [`Gate`] in the proxy and an [`Admission`] in its `CTX`, and call one method from each of three
//! hooks, or of four where a policy looks at content. `examples/pingora_proxy.rs` is a whole proxy.
//!
//! ```no_run
//! # use async_trait::async_trait;
//! # use pingora::{http::{RequestHeader, ResponseHeader}, prelude::*, proxy::{ProxyHttp, Session}};
//! use portcullis::{Admission, pingora::Gate, policy::Accept};
//!
//! struct Proxy { gate: Gate<Accept> }
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
use http::{HeaderMap, HeaderName, Method, header};
use pingora::{
    Error, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};

use crate::{
    Admission, Denial, Head, Policy, Stop,
    clock::{Clock, SystemClock},
    header_value,
    policy::{ChainOrder, Misplaced},
    problem::{self, ErrorFormat},
};

/// Policies, ready to be asked from a proxy's hooks.
pub struct PingoraGate<P> {
    policy: P,
    error_format: ErrorFormat,
    clock: Arc<dyn Clock>,
    identity_field: Option<HeaderName>,
    checks_content: bool,
}

/// A proxy has the content only when it sends it on.
const NO_CONTENT: &str = "Content that is signed is taken here only with X-Sdk-Content-Sha256.";

impl<P: Policy> PingoraGate<P> {
    /// Guards with a policy, or with a chain of them, refusing in RFC 9457 problems.
    ///
    /// # Panics
    /// When a policy that decides about the caller, such as [`RateLimit`](crate::policy::RateLimit), stands before
    /// every policy that recognises one, such as [`ApiKey`](crate::policy::ApiKey): all requests would be refused. See
    /// [`try_new`](Self::try_new), and [`inner`](Self::inner) for a second gate over one admission.
    #[must_use]
    #[track_caller]
    #[allow(clippy::panic, reason = "a chain is built when a program starts, and no request has part in it")]
    pub fn new(policy: P) -> Self {
        Self::try_new(policy).unwrap_or_else(|misplaced| panic!("{misplaced}"))
    }

    /// Guards with a policy, or with a chain of them, refusing in RFC 9457 problems.
    ///
    /// # Errors
    /// When a policy that decides about the caller stands before every policy that recognises one.
    pub fn try_new(policy: P) -> Result<Self, Misplaced> {
        ChainOrder::check(&policy).map(|()| Self::inner(policy))
    }

    /// Guards like [`new`](Self::new), behind another gate that recognises the caller in the same admission.
    ///
    /// Where none does after all, policies that decide about the caller answer with 401.
    #[must_use]
    pub fn inner(policy: P) -> Self {
        let clock = Arc::new(SystemClock::new());
        Self { policy, error_format: ErrorFormat::Problem, clock, identity_field: None, checks_content: false }
    }

    /// Refuses in this form instead.
    #[must_use]
    pub fn form(mut self, form: ErrorFormat) -> Self {
        self.error_format = form;
        self
    }

    /// Takes the time from here, instead of from the process's [`SystemClock`]. Gates over one directory must share a
    /// clock: its ticks are what the limits count on.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Says that [`request_body_filter`](Self::request_body_filter) is called, too. Without it, requests whose content
    /// must be what was signed are answered with 500, and those with a body of unannounced length with 413 where a
    /// [`BodyLimit`](crate::policy::BodyLimit) bounds it.
    #[must_use]
    pub fn verify_content(mut self) -> Self {
        self.checks_content = true;
        self
    }

    /// Names the caller to the service behind in this field; a client's own copy is removed, in every spelling that
    /// servers take for the field, such as `X_Caller.Id`.
    #[must_use]
    pub fn identity_field(mut self, field: HeaderName) -> Self {
        self.identity_field = Some(field);
        self
    }

    /// To be called first in `ProxyHttp::request_filter`, before any cache is asked: decides, and when
    /// the request is refused, answers it and returns true. The connection stays open, unless the client
    /// still has content to send.
    ///
    /// # Errors
    /// When the refusal cannot be written.
    pub async fn request_filter(&self, session: &mut Session, admission: &mut Admission) -> Result<bool> {
        loop {
            match self.evaluate(session, admission) {
                Ok(()) if admission.owed.is_some() && !self.checks_content => {
                    let denial =
                        Denial::internal("a policy needs the content to be checked: Gate::checking_content");
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

    /// Returns `true` if nobody would notice that there is too much content.
    fn cannot_count(&self, session: &mut Session) -> bool {
        let announced = session.req_header().headers.contains_key(header::CONTENT_LENGTH);
        !self.checks_content && !announced && !session.is_body_empty()
    }

    fn evaluate(&self, session: &mut Session, admission: &mut Admission) -> Result<(), Stop> {
        let content = !session.is_body_empty();
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip);
        admission.evaluate(&self.policy, Head::from_parts(session.req_header(), peer, content, self.clock.now()))
    }

    async fn deny(&self, session: &mut Session, denial: &Denial, admission: &Admission) -> Result<()> {
        let (parts, body) = problem::render(denial, self.error_format, admission).into_parts();
        // A response to HEAD states the length of its content, and has none (RFC 9110, section 9.3.2).
        if session.req_header().method == Method::HEAD {
            return session.write_response_header(Box::new(parts.into()), true).await;
        }
        session.write_response_header(Box::new(parts.into()), false).await?;
        session.write_response_body(Some(body), true).await
    }

    /// To be called in `ProxyHttp::upstream_request_filter`: the target travels on in its normal form, the
    /// credential does not travel on, and the caller is named.
    ///
    /// # Errors
    /// When a field cannot be added.
    pub fn upstream_request_filter(&self, request: &mut RequestHeader, admission: &Admission) -> Result<()> {
        if let Some(target) = &admission.target {
            request.set_uri(target.clone());
        }
        if let Some(name) = &admission.credential {
            request.remove_header(name);
        }
        if let Some(field) = &self.identity_field {
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

    /// To be called in `ProxyHttp::request_body_filter` of a gate that is [checking content](Self::checking_content):
    /// holds content to what was signed while it passes, and to the limit of a [`BodyLimit`](crate::policy::BodyLimit).
    ///
    /// # Errors
    /// 401, when it is something else, and 413, when it is more. The service behind does not get its end, and the answer
    /// is Pingora's own.
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
            return Error::e_explain(ErrorType::HTTPStatus(413), "the content is more than is taken");
        }
        let Some(owed) = admission.owed.as_mut() else { return Ok(()) };
        let before = body.take().and_then(|piece| owed.push(piece));
        let last = if end_of_stream { owed.finish() } else { Ok(None) };
        if end_of_stream {
            admission.owed = None;
        }
        let Ok(last) = last else {
            return Error::e_explain(ErrorType::HTTPStatus(401), "the content is not what was signed");
        };
        *body = match (before, last) {
            (Some(before), Some(last)) => Some([before, last].concat().into()),
            (Some(piece), None) | (None, Some(piece)) => Some(piece),
            // Without any, the content would be over.
            (None, None) => Some(Bytes::new()).filter(|_| !end_of_stream),
        };
        Ok(())
    }

    /// To be called in `ProxyHttp::response_filter`: says what the client should know of its limits, and
    /// on what the answer depends.
    ///
    /// # Errors
    /// When a field cannot be added.
    pub fn response_filter(&self, response: &mut ResponseHeader, admission: &Admission) -> Result<()> {
        // Pingora keeps its headers' case beside them, so they change through its own methods only.
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
