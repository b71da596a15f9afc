//! The Tower face: policies as a layer around any service.
//!
//! ```
//! use axum::{Router, routing::get};
//! use portcullis::{Caller, keys::Keys, model::Limit, policy::{ApiKey, RateLimit}, tower::PortcullisLayer};
//!
//! async fn orders(caller: Caller) -> String {
//!     format!("the orders of {}", caller.name())
//! }
//!
//! let keys = Keys::new().limit(Limit::per_minute(600).burst(50)).add("shop", "oN6mC1vLq2Xh8bRk4TzW")?;
//! let layer = PortcullisLayer::new((ApiKey::new(keys), RateLimit::new()));
//! let app: Router = Router::new().route("/orders", get(orders)).layer(layer);
//! # Ok::<(), portcullis::keys::KeyError>(())
//! ```
//!
//! Before the policies, the layer checks that HTTP and path are [unambiguous](crate::policy::StrictHttp). Policies
//! decide on the path that the client sent. A layer in a nested axum router only receives the rest of the path; with
//! the feature `axum`, the layer finds the whole path by itself.
//!
//! # Bodies
//!
//! The inner service receives a [`RequestBody`], which axum's routers accept as it is. It counts the bytes of a body
//! without an announced length under a [`BodyLimit`](crate::policy::BodyLimit), and verifies a signed body while it is
//! streamed. If a body exceeds its limit before the inner service has responded, the response is 413 regardless of the
//! inner service's response; after that, the body ends in [`TooLarge`]. For a service that accepts only the body type
//! of its server, such as axum's `middleware::from_fn` in a `ServiceBuilder`, see [`PortcullisLayer::pass_through`]. Buffering a body, for [`Signature`](crate::policy::Signature),
//! needs the Tokio runtime.
//!
//! # Streams and upgrades
//!
//! The layer decides when the head of a request arrives, and sends a response on while the inner service produces it.
//! A stream of events and a WebSocket therefore count as one request. A WebSocket over HTTP/1.1 is a GET with
//! `Upgrade`, and over HTTP/2 an [extended CONNECT](crate::policy::StrictHttp::allow_extended_connect).
//!
//! # gRPC
//!
//! With the feature `grpc`, a denied gRPC call receives a [gRPC status with details](crate::problem#grpc). The layer fits
//! tonic's server, and a method may return a [`Denial`](crate::Denial) as its status; `examples/tonic.rs` is a complete
//! server:
//!
//! ```
//! # #[cfg(feature = "grpc")] {
//! use portcullis::{keys::Keys, policy::{ApiKey, RateLimit}, tower::PortcullisLayer};
//! use tonic::transport::{Server, server::TcpConnectInfo};
//!
//! let layer = PortcullisLayer::new((ApiKey::new(Keys::new()), RateLimit::new()))
//!     .peer_from(|extensions| Some(extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip()));
//! let server = Server::builder().layer(layer);
//! # }
//! ```
//!
//! Every gRPC call is a `POST`: policies that treat reads and writes differently, such as
//! [`RequireScope`](crate::policy::RequireScope) and [`RequireUnlocked`](crate::policy::RequireUnlocked), take it for a
//! write. A method may check the scopes itself, with [`Caller::allows`](crate::Caller::allows).
//!
//! # Nested layers
//!
//! An inner layer continues with the [`Admission`] of the outer one, which is among the request's extensions; if the
//! inner layer denies the request, the outer layer refunds its permits. Denials carry [`Denied`] among their extensions,
//! for logs in outer layers, and all responses the innermost admission after [`PortcullisLayer::expose_admission`]. If a
//! layer has policies that decide about a caller, and an outer layer recognises the caller, build it with
//! [`PortcullisLayer::inner`], without a second `ApiKey`: the outer one has removed the key.
//!
//! # Order beside other layers
//!
//! From the outside to the inside: tower-http's `TraceLayer`, which also records denials; its `CorsLayer`, which answers
//! preflight requests and adds its headers to denials, so that web pages can read them (`Retry-After` and the rate limit
//! headers only with its `expose_headers`); then this layer; then layers that
//! change bodies, such as compression. With axum's `Router::layer`, the layer that is added last is the
//! outermost one.

mod body;
mod body_mode;
mod extensions;
#[cfg(feature = "axum")]
mod extract;
mod future;
mod gate;
#[cfg(feature = "grpc")]
mod handler_status;
#[cfg(not(feature = "grpc"))]
#[path = "tower/no_handler_status.rs"]
mod handler_status;
#[cfg(not(feature = "axum"))]
#[path = "tower/no_original.rs"]
mod original;
#[cfg(feature = "axum")]
mod original;
mod request_body;

pub use body::ResponseBody;
pub use body_mode::{BodyMode, PassThrough, VerifyContent};
pub use extensions::{Denied, PeerAddr, Unserved};
#[cfg(feature = "axum")]
pub use extract::{Negotiated, RequiredScope, Scoped};
pub use future::ResponseFuture;
pub use request_body::{BoxError, LengthLimit, RequestBody, TooLarge};

use std::{
    marker::PhantomData,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Extensions, Method, Request, Response, Uri, header};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use self::gate::{FindOriginal, Gate};
use crate::{
    Admission, Head, Policy, Stop,
    clock::{Clock, SystemClock},
    policy::{ChainOrder, Guarded, Misplaced},
    problem::{Problem, RenderDenial, ResponseForm},
};

/// Layer that applies policies to the requests of a service.
pub struct PortcullisLayer<P, C = VerifyContent> {
    gate: Arc<Gate<P>>,
    content: PhantomData<fn() -> C>,
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
        let chain = Guarded::new(Arc::new(policy)).allow_extended_connect();
        let (peer, original) = (PeerAddr::find as fn(&_) -> _, original::find as FindOriginal);
        let clock = Arc::new(SystemClock::new());
        let renderer = Arc::new(Problem);
        let gate = Gate { chain, renderer, clock, peer, original, exposes_admission: false };
        Self { gate: Arc::new(gate), content: PhantomData }
    }

    /// Passes request bodies on unchanged, for inner services that accept only the body type of the server. A body
    /// without an announced length is denied with 413 under a [`BodyLimit`](crate::policy::BodyLimit), because this
    /// layer does not count its bytes.
    ///
    /// # Panics
    /// If a policy needs the body, such as [`Signature`](crate::policy::Signature).
    #[must_use]
    #[track_caller]
    pub fn pass_through(self) -> PortcullisLayer<P, PassThrough> {
        let needs_content = ChainOrder::content_policy(&self.gate.chain);
        assert!(needs_content.is_none(), "{} needs the request body", needs_content.unwrap_or_default());
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

    /// Removes the [checks for ambiguous HTTP](crate::policy::StrictHttp) that come before the policies. A policy that decides by path
    /// still denies a path without a normal form. To relax the checks, put `StrictHttp` into the chain. Without checks and
    /// policies, requests carry no [`Admission`].
    #[must_use]
    pub fn without_strict_http(self) -> Self {
        self.with(|gate| gate.chain.strict = None)
    }

    /// Exempts requests from the policies. The checks for ambiguous HTTP still apply.
    ///
    /// ```
    /// # use portcullis::policy::BodyLimit;
    /// use portcullis::{Head, tower::PortcullisLayer};
    ///
    /// let layer = PortcullisLayer::new(BodyLimit::new(1024)).exempt(|head: &Head| head.method == "PURGE");
    /// ```
    #[must_use]
    pub fn exempt(self, is_exempt: impl Fn(&Head<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.with(|gate| gate.chain.exemptions.push(Arc::new(is_exempt)))
    }

    /// Exempts requests for this path from the policies, such as `/healthz`. It is compared with the path that the
    /// client sent, byte by byte.
    #[must_use]
    pub fn exempt_path(self, path: impl Into<Box<str>>) -> Self {
        let path = path.into();
        self.exempt(move |head| head.original.path() == &*path)
    }

    /// Exempts CORS preflight requests, which carry no credentials: `OPTIONS` with `Origin` and
    /// `Access-Control-Request-Method`. This is for services that answer them behind the layer; a layer that answers
    /// them in front of this one, such as tower-http's `CorsLayer`, also adds its headers to denials.
    #[must_use]
    pub fn exempt_preflights(self) -> Self {
        self.exempt(|head| {
            head.method == Method::OPTIONS
                && head.headers.contains_key(header::ORIGIN)
                && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        })
    }

    /// Adds the [`Admission`] to the extensions of all responses, for logs in outer layers; the innermost layer's remains.
    #[must_use]
    pub fn expose_admission(self) -> Self {
        self.with(|gate| gate.exposes_admission = true)
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

/// Conversion of a single policy to a layer, for [`ServiceBuilder`](https://docs.rs/tower/latest/tower/struct.ServiceBuilder.html).
///
/// ```
/// use portcullis::{keys::Keys, policy::{ApiKey, RateLimit}, tower::PolicyLayer};
/// use tower::ServiceBuilder;
///
/// let keys = Keys::new().add("shop", "oN6mC1vLq2Xh8bRk4TzW")?;
/// let layers = ServiceBuilder::new().layer(ApiKey::new(keys).into_layer()).layer(RateLimit::new().into_layer());
/// # Ok::<(), portcullis::keys::KeyError>(())
/// ```
pub trait PolicyLayer: Policy + Sized {
    /// Returns a layer with only this policy. The order of such layers is not checked: if no layer around this one
    /// recognises the caller, a policy that needs the caller denies with 401, as if the request had no credential.
    fn into_layer(self) -> PortcullisLayer<Self> {
        PortcullisLayer::inner(self)
    }
}

impl<P: Policy> PolicyLayer for P {}

/// A service with policies in front of it; created by [`PortcullisLayer`].
pub struct Portcullis<S, P, C = VerifyContent> {
    inner: S,
    gate: Arc<Gate<P>>,
    content: PhantomData<fn() -> C>,
}

impl<S: Clone, P, C> Clone for Portcullis<S, P, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), gate: self.gate.clone(), content: PhantomData }
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
        // Without checks and policies, there is nothing to decide.
        if self.gate.chain.steps() == 0 && !self.gate.exposes_admission {
            return ResponseFuture::pass(&mut self.inner, request, self.gate.clone());
        }
        // The policies change the admission in place while they read the head: moves of it cost more than most policies.
        let mut extensions = std::mem::take(request.extensions_mut());
        let origin = self.gate.origin(&extensions, request.uri());
        let head = self.gate.head(&request, &origin, !request.body().is_end_stream());
        let form = ResponseForm::from_head(&head);
        let admission = extensions.get_or_insert_default::<Admission>();
        let stop = match admission.evaluate(&self.gate.chain, &head) {
            Ok(()) => {
                return ResponseFuture::serve(&mut self.inner, request, form, extensions, self.gate.clone());
            }
            Err(Stop::Deny(denial)) => {
                let renderer = self.gate.renderer_for(&head, admission);
                return ResponseFuture::refused(self.gate.deny(denial, admission, renderer, form));
            }
            Err(stop) => stop,
        };
        // The service that was polled ready moves into the future; its clone stays here.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        *request.extensions_mut() = extensions;
        ResponseFuture::waiting(stop, request, form, origin, ready, self.gate.clone())
    }
}
