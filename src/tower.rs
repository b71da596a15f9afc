//! The Tower face: policies as a layer around any service.
//!
//! ```
//! use std::sync::Arc;
//! use axum::{Extension, Router, routing::get};
//! use portcullis::{Admission, model::{Pepper, Peppers}, directory::Directory};
//! use portcullis::policy::{Accept, ApiKey, RequireUnlocked, RateLimit};
//! use portcullis::tower::PortcullisLayer;
//!
//! async fn orders(Extension(admission): Extension<Admission>) -> String {
//!     format!("the orders of {}", admission.caller().map_or("nobody", |caller| &caller.name))
//! }
//!
//! let directory = Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32]))));
//! let policies = (
//!     Accept::new(["application/json"]).unwrap(),
//!     (ApiKey::new(directory.clone()), (RequireUnlocked::new(directory), RateLimit::new())),
//! );
//! let app: Router = Router::new().route("/orders", get(orders)).layer(PortcullisLayer::new(policies));
//! ```
//!
//! Layers can be nested. An inner layer continues with the [`Admission`] of the outer one, which is among the
//! request's extensions; if the inner layer denies the request, the outer layer refunds its permits. Responses carry
//! the innermost admission among their extensions, and denials a [`DenialCode`](problem::DenialCode), for logs in outer layers.
//! If a layer has policies that decide about a caller, and an outer layer recognises the caller, build it with
//! [`PortcullisLayer::inner`].
//!
//! Policies decide on the path that the client sent. A layer in a nested axum router only receives the rest of the
//! path; with the feature `axum`, the layer finds the whole path by itself.
//!
//! A policy that must know the body, such as [`Signature`](crate::policy::Signature), or count its bytes, such as
//! [`BodyLimit`](crate::policy::BodyLimit), needs a layer that [checks bodies](PortcullisLayer::verify_content).

mod body;
mod body_mode;
mod future;
#[cfg(not(feature = "axum"))]
#[path = "tower/no_original.rs"]
mod original;
#[cfg(feature = "axum")]
mod original;
mod request_body;

pub use body::ResponseBody;
pub use body_mode::{BodyMode, PassThrough, VerifyContent};
pub use future::ResponseFuture;
pub use request_body::{BoxError, LengthLimit, RequestBody, TooLarge};

use std::{
    marker::PhantomData,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Extensions, Method, Request, Response, Uri};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Admission, Denial, Head, Policy, Stop,
    clock::{Clock, SystemClock},
    policy::{ChainOrder, Misplaced},
    problem::{self, Problem, RenderDenial},
};

/// Request extension with the client's address, which the acceptor of the connection sets. See
/// [`PortcullisLayer::peer_from`] for servers that set an extension of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub IpAddr);

impl PeerAddr {
    /// Returns the address among a request's extensions, if it was set.
    #[must_use]
    pub fn find(extensions: &Extensions) -> Option<IpAddr> {
        extensions.get::<Self>().map(|peer| peer.0)
    }
}

/// Response extension of denials by policies: outer layers refund their permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied;

/// Response extension for responses that no service produced, such as a proxy's 502. The layers that admitted the
/// request refund their permits, so that the request counts towards no limit.
///
/// ```
/// use http::{Response, StatusCode};
/// use portcullis::tower::Unserved;
///
/// fn unavailable() -> Response<String> {
///     let mut response = Response::new(String::new());
///     *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
///     response.extensions_mut().insert(Unserved);
///     response
/// }
/// # assert!(unavailable().extensions().get::<Unserved>().is_some());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unserved;

/// Layer that applies policies to the requests of a service.
pub struct PortcullisLayer<P, C = PassThrough> {
    gate: Arc<Gate<P>>,
    content: PhantomData<fn() -> C>,
}

/// Finds the target that the client sent among a request's extensions.
type FindOriginal = fn(&Extensions) -> Option<&Uri>;

struct Gate<P> {
    policy: Arc<P>,
    renderer: Arc<dyn RenderDenial>,
    clock: Arc<dyn Clock>,
    peer: fn(&Extensions) -> Option<IpAddr>,
    original: FindOriginal,
}

impl<P> Clone for Gate<P> {
    fn clone(&self) -> Self {
        let Self { policy, renderer, clock, peer, original } = self;
        let (policy, renderer, clock) = (policy.clone(), renderer.clone(), clock.clone());
        Self { policy, renderer, clock, peer: *peer, original: *original }
    }
}

impl<P: Policy> PortcullisLayer<P> {
    /// Creates a layer from a policy or a chain of policies. Denials are rendered as RFC 9457 problems.
    ///
    /// # Panics
    /// If a policy that decides about the caller, such as [`RateLimit`](crate::policy::RateLimit), is placed before
    /// all policies that recognise one, such as [`ApiKey`](crate::policy::ApiKey): it would deny every request. See
    /// [`try_new`](Self::try_new), and [`inner`](Self::inner) for a layer inside of another one that recognises the
    /// caller.
    #[must_use]
    #[track_caller]
    #[allow(clippy::panic, reason = "chains are built at program start, independently of requests")]
    pub fn new(policy: P) -> Self {
        Self::try_new(policy).unwrap_or_else(|misplaced| panic!("{misplaced}"))
    }

    /// Creates a layer from a policy or a chain of policies. Denials are rendered as RFC 9457 problems.
    ///
    /// # Errors
    /// If a policy that decides about the caller is placed before all policies that recognise one.
    pub fn try_new(policy: P) -> Result<Self, Misplaced> {
        ChainOrder::check(&policy).map(|()| Self::inner(policy))
    }

    /// Creates a layer like [`new`](Self::new), for use inside of another [`PortcullisLayer`] that recognises the
    /// caller.
    ///
    /// If no outer layer recognises the caller, policies that decide about the caller deny with 401.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use axum::{Router, routing::get};
    /// # use portcullis::{model::{Pepper, Peppers}, directory::Directory};
    /// # let directory = Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32]))));
    /// use portcullis::{policy::{ApiKey, RateLimit, RequireScope}, tower::PortcullisLayer};
    ///
    /// let orders = Router::new()
    ///     .route("/orders", get(async || "none"))
    ///     .layer(PortcullisLayer::inner((RequireScope::new("orders"), RateLimit::new())));
    /// let app: Router = orders.layer(PortcullisLayer::new(ApiKey::new(directory)));
    /// ```
    #[must_use]
    pub fn inner(policy: P) -> Self {
        let (policy, clock) = (Arc::new(policy), Arc::new(SystemClock::new()));
        let (peer, original) = (PeerAddr::find as fn(&_) -> _, original::find as FindOriginal);
        let gate = Gate { policy, renderer: Arc::new(Problem), clock, peer, original };
        Self { gate: Arc::new(gate), content: PhantomData }
    }

    /// Checks request bodies for the policies that need it: buffers a body before the decision, verifies a signed
    /// body while it is streamed, and counts the bytes of a body without an announced length
    /// ([`BodyLimit`](crate::policy::BodyLimit)). If a body exceeds its limit before the inner service has responded,
    /// the response is 413 regardless of the inner service's response; after that, the body ends in [`TooLarge`]. The
    /// inner service receives a [`RequestBody`], which axum's routers accept as it is. Needs the Tokio runtime.
    #[must_use]
    pub fn verify_content(self) -> PortcullisLayer<P, VerifyContent> {
        PortcullisLayer { gate: self.gate, content: PhantomData }
    }
}

impl<P: Policy, C> PortcullisLayer<P, C> {
    /// Sets the renderer of denials, which may be a closure. The default is [`Problem`]: RFC 9457 problems.
    ///
    /// ```
    /// use axum::{Router, http::HeaderValue, routing::get};
    /// use portcullis::{Denial, policy::BodyLimit, problem::RenderedDenial, tower::PortcullisLayer};
    ///
    /// let text = |denial: &Denial| {
    ///     RenderedDenial::new(HeaderValue::from_static("text/plain; charset=utf-8"), denial.detail().into_owned())
    /// };
    /// let layer = PortcullisLayer::new(BodyLimit::new(1024)).denial_renderer(text);
    /// let app: Router = Router::new().route("/orders", get(async || "none")).layer(layer);
    /// ```
    #[must_use]
    pub fn denial_renderer(self, renderer: impl RenderDenial) -> Self {
        self.with(|gate| gate.renderer = Arc::new(renderer))
    }

    /// Sets the clock. The default is the [`SystemClock`] of the process. Layers over one directory must share a
    /// clock, because the limits count in its ticks.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        self.with(|gate| gate.clock = clock)
    }

    /// Sets the function that finds the client's address among a request's extensions. For axum's `ConnectInfo`:
    /// `|ext| ext.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())`.
    #[must_use]
    pub fn peer_from(self, peer: fn(&Extensions) -> Option<IpAddr>) -> Self {
        self.with(|gate| gate.peer = peer)
    }

    /// Sets the function that finds the target that the client sent among a request's extensions, for routers that
    /// strip a prefix from the path. The default is axum's `OriginalUri` with the feature `axum`, and otherwise the
    /// target that the layer receives.
    #[must_use]
    pub fn original_from(self, original: fn(&Extensions) -> Option<&Uri>) -> Self {
        self.with(|gate| gate.original = original)
    }

    /// Changes this layer, but not its clones or the services that it has created.
    fn with(mut self, change: impl FnOnce(&mut Gate<P>)) -> Self {
        change(Arc::make_mut(&mut self.gate));
        self
    }
}

impl<P, C> Clone for PortcullisLayer<P, C> {
    fn clone(&self) -> Self {
        Self { gate: self.gate.clone(), content: PhantomData }
    }
}

impl<S, P, C> Layer<S> for PortcullisLayer<P, C> {
    type Service = Portcullis<S, P, C>;

    fn layer(&self, inner: S) -> Portcullis<S, P, C> {
        Portcullis { inner, gate: self.gate.clone(), content: PhantomData }
    }
}

/// A service with policies in front of it; created by [`PortcullisLayer`].
pub struct Portcullis<S, P, C = PassThrough> {
    inner: S,
    gate: Arc<Gate<P>>,
    content: PhantomData<fn() -> C>,
}

impl<S: Clone, P, C> Clone for Portcullis<S, P, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), gate: self.gate.clone(), content: PhantomData }
    }
}

impl<P: Policy> Gate<P> {
    /// Returns the head of a request, whose body may have been moved elsewhere.
    fn head<'a, B>(&self, request: &'a Request<B>, content: bool) -> Head<'a> {
        let peer = (self.peer)(request.extensions());
        let head = Head::from_request(request, peer, content, self.clock.now());
        match (self.original)(request.extensions()) {
            Some(original) => head.with_original_uri(original),
            None => head,
        }
    }

    /// Returns the response of a denial.
    fn deny(&self, denial: &Denial, admission: Admission, head: Head<'_>) -> Response<Bytes> {
        let renderer = self.renderer.for_request(head, &admission).unwrap_or(&*self.renderer);
        let response = problem::render(denial, renderer, &admission);
        Self::denied(denial, response, admission, head.method == Method::HEAD)
    }

    /// Returns the response of a denial whose request has been passed on already.
    fn deny_late(&self, denial: &Denial, admission: Admission, is_head: bool) -> Response<Bytes> {
        let response = problem::render(denial, &*self.renderer, &admission);
        Self::denied(denial, response, admission, is_head)
    }

    /// Logs a denial and completes its response. For `HEAD` it has the length of the body, but no body (RFC 9110,
    /// section 9.3.2).
    fn denied(
        denial: &Denial,
        mut response: Response<Bytes>,
        admission: Admission,
        is_head: bool,
    ) -> Response<Bytes> {
        problem::log(denial);
        if is_head {
            response.body_mut().clear();
        }
        response.extensions_mut().insert(Denied);
        response.extensions_mut().insert(admission);
        response
    }
}

impl<S, P, C, B, R> Service<Request<B>> for Portcullis<S, P, C>
where
    C: BodyMode<B>,
    S: Service<Request<C::Body>, Response = Response<R>> + Clone,
    P: Policy,
    B: Body,
    R: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, P, C, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut admission = request.extensions_mut().remove::<Admission>().unwrap_or_default();
        let head = self.gate.head(&request, !request.body().is_end_stream());
        let stop = match admission.evaluate(&*self.gate.policy, head) {
            Ok(()) => return ResponseFuture::serve(&mut self.inner, request, admission, self.gate.clone()),
            Err(Stop::Deny(denial)) => {
                return ResponseFuture::refused(self.gate.deny(&denial, admission, head));
            }
            Err(stop) => stop,
        };
        // The service that was polled ready moves into the future; its clone stays here.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        ResponseFuture::waiting(stop, request, admission, ready, self.gate.clone())
    }
}
