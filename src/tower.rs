//! The Tower face: policies as a layer around any service.
//!
//! ```
//! use std::sync::Arc;
//! use axum::{Extension, Router, routing::get};
//! use portcullis::{Admission, app::{Pepper, Peppers}, directory::Directory};
//! use portcullis::policy::{Accept, ApiKey, Lock, RateLimit};
//! use portcullis::tower::PortcullisLayer;
//!
//! async fn orders(Extension(admission): Extension<Admission>) -> String {
//!     format!("the orders of {}", admission.caller().map_or("nobody", |caller| &caller.name))
//! }
//!
//! let directory = Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32]))));
//! let policies = (
//!     Accept::new(["application/json"]).unwrap(),
//!     (ApiKey::new(directory.clone()), (Lock::new(directory), RateLimit::new())),
//! );
//! let app: Router = Router::new().route("/orders", get(orders)).layer(PortcullisLayer::new(policies));
//! ```
//!
//! Layers stack: an inner one goes on with the [`Admission`] that an outer one left among the request's
//! extensions, and when it refuses, what the outer one took is given back. Responses carry the innermost
//! admission among their extensions, and refusals a [`Code`](problem::Code), for logs further out. A layer of policies
//! that decide about a caller, inside of one that recognises it, is built with [`PortcullisLayer::inner`].
//!
//! Policies decide on the path that the client sent. In an axum router that is nested in another, a layer is given the
//! rest of the path only: with the feature `axum`, it finds the whole one by itself.
//!
//! A policy that must know the content, as [`Signature`](crate::policy::Signature) does, or count it, as
//! [`BodyLimit`](crate::policy::BodyLimit) does, needs a layer that [looks at it](PortcullisLayer::checking_content).

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
pub use body_mode::{PassThrough, VerifyContent, BodyMode};
pub use future::ResponseFuture;
pub use request_body::{LengthLimit, BoxError, RequestBody, TooLarge};

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
    problem::{self, ErrorFormat},
};

/// The address a request came from, as whoever accepted the connection puts it among the request's
/// extensions. See [`PortcullisLayer::peer_from`] for servers that put something of their own there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub IpAddr);

impl PeerAddr {
    /// The address among a request's extensions, when it was put there.
    #[must_use]
    pub fn find(extensions: &Extensions) -> Option<IpAddr> {
        extensions.get::<Self>().map(|peer| peer.0)
    }
}

/// Stands among the extensions of a response that is a refusal by a policy: layers further out give back
/// what they took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied;

/// Stands among the extensions of a response that no service made, such as a proxy's 502: the layers that admitted
/// the request give back what they took, so that it counts towards no limit.
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

/// Guards a service with policies.
pub struct PortcullisLayer<P, C = PassThrough> {
    gate: Arc<Gate<P>>,
    content: PhantomData<fn() -> C>,
}

/// Finds the target that the client sent among a request's extensions.
type FindOriginal = fn(&Extensions) -> Option<&Uri>;

struct Gate<P> {
    policy: Arc<P>,
    form: ErrorFormat,
    clock: Arc<dyn Clock>,
    peer: fn(&Extensions) -> Option<IpAddr>,
    original: FindOriginal,
}

impl<P> Clone for Gate<P> {
    fn clone(&self) -> Self {
        let Self { policy, form, clock, peer, original } = self;
        Self { policy: policy.clone(), form: *form, clock: clock.clone(), peer: *peer, original: *original }
    }
}

impl<P: Policy> PortcullisLayer<P> {
    /// Guards with a policy, or with a chain of them, refusing in RFC 9457 problems.
    ///
    /// # Panics
    /// When a policy that decides about the caller, such as [`RateLimit`](crate::policy::RateLimit), stands before
    /// every policy that recognises one, such as [`ApiKey`](crate::policy::ApiKey): all requests would be refused. See
    /// [`try_new`](Self::try_new), and [`inner`](Self::inner) for a layer inside of another one that recognises it.
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

    /// Guards like [`new`](Self::new), inside of another [`PortcullisLayer`] that recognises the caller.
    ///
    /// Where none does after all, policies that decide about the caller answer with 401.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use axum::{Router, routing::get};
    /// # use portcullis::{app::{Pepper, Peppers}, directory::Directory};
    /// # let directory = Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32]))));
    /// use portcullis::{policy::{ApiKey, RateLimit, Scope}, tower::PortcullisLayer};
    ///
    /// let orders = Router::new()
    ///     .route("/orders", get(async || "none"))
    ///     .layer(PortcullisLayer::inner((Scope::new("orders"), RateLimit::new())));
    /// let app: Router = orders.layer(PortcullisLayer::new(ApiKey::new(directory)));
    /// ```
    #[must_use]
    pub fn inner(policy: P) -> Self {
        let (policy, clock) = (Arc::new(policy), Arc::new(SystemClock::new()));
        let (peer, original) = (PeerAddr::find as fn(&_) -> _, original::find as FindOriginal);
        let gate = Gate { policy, form: ErrorFormat::Problem, clock, peer, original };
        Self { gate: Arc::new(gate), content: PhantomData }
    }

    /// Looks at requests' content where a policy asks for it: takes it in before it decides, holds it to what was signed
    /// while it passes, and counts it where its length is not announced ([`BodyLimit`](crate::policy::BodyLimit)).
    /// Content beyond the limit is 413 as long as the service behind has not answered, whatever that says; after that
    /// the body ends in [`TooLarge`]. The service behind is given a [`RequestBody`], which axum's routers take as it is.
    /// Needs tokio's runtime.
    #[must_use]
    pub fn verify_content(self) -> PortcullisLayer<P, VerifyContent> {
        PortcullisLayer { gate: self.gate, content: PhantomData }
    }
}

impl<P: Policy, C> PortcullisLayer<P, C> {
    /// Refuses in this form instead.
    #[must_use]
    pub fn error_format(self, form: ErrorFormat) -> Self {
        self.with(|gate| gate.form = form)
    }

    /// Takes the time from here, instead of from the process's [`SystemClock`]. Layers over one directory must share a
    /// clock: its ticks are what the limits count on.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        self.with(|gate| gate.clock = clock)
    }

    /// Finds the peer's address among a request's extensions in this way; with axum's `ConnectInfo`:
    /// `|ext| ext.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())`.
    #[must_use]
    pub fn peer_from(self, peer: fn(&Extensions) -> Option<IpAddr>) -> Self {
        self.with(|gate| gate.peer = peer)
    }

    /// Finds the target that the client sent among a request's extensions in this way, where a router takes a prefix
    /// off the path of what it passes on. Without it, that is axum's `OriginalUri` with the feature `axum`, and
    /// otherwise the target as the layer is given it.
    #[must_use]
    pub fn original_from(self, original: fn(&Extensions) -> Option<&Uri>) -> Self {
        self.with(|gate| gate.original = original)
    }

    /// Changes this layer: its clones, and services that it has made, stay as they are.
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

/// A service behind policies; made by [`PortcullisLayer`].
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
    /// Decides about a request, whose content may lie elsewhere.
    fn evaluate<B>(&self, request: &Request<B>, content: bool, admission: &mut Admission) -> Result<(), Stop> {
        let peer = (self.peer)(request.extensions());
        let mut head = Head::from_request(request, peer, content, self.clock.now());
        if let Some(original) = (self.original)(request.extensions()) {
            head = head.with_original_uri(original);
        }
        admission.evaluate(&*self.policy, head)
    }

    /// The response of a refusal; to `HEAD` it states the length of its content, and has none (RFC 9110, section 9.3.2).
    fn deny(&self, denial: &Denial, admission: Admission, head: bool) -> Response<Bytes> {
        let form = admission.form.unwrap_or(self.form);
        let mut response = problem::render(denial, form, &admission);
        if head {
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
        let stop = match self.gate.evaluate(&request, !request.body().is_end_stream(), &mut admission) {
            Ok(()) => return ResponseFuture::serve(&mut self.inner, request, admission, self.gate.clone()),
            Err(Stop::Deny(denial)) => {
                let head = request.method() == Method::HEAD;
                return ResponseFuture::refused(self.gate.deny(&denial, admission, head));
            }
            Err(stop) => stop,
        };
        // The service that was polled ready waits with the request; its clone stays here.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        ResponseFuture::waiting(stop, request, admission, ready, self.gate.clone())
    }
}
