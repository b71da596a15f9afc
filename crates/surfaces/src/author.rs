//! The middleware between a surface's guard and its handlers. It names the author of every change, checks that the
//! author may still see what is returned, and answers a change once this node enforces it.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderName, HeaderValue, StatusCode};

use portcullis::{
    Admission, Denial,
    admission::Identity,
    clock::Clock,
    directory::Directory,
    model::{Actor, CallerId},
    registry::{Registry, RegistryError, RegistryExt},
};

/// Maximum time to wait until this node applies a change. The change is committed by then, whether or not the wait
/// succeeds.
const APPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// A header in the response to a change that this node has not applied yet. Its value is the number of the change
/// that the node still has to apply.
static PENDING: HeaderName = HeaderName::from_static("x-portcullis-pending");

/// A response extension for responses that do not depend on the store. They are sent even while the store is
/// unavailable.
#[derive(Debug, Clone, Copy)]
pub(super) struct WithoutStore;

/// Names and checks the author of a surface's requests.
///
/// Handlers get the [`Actor`] from the request's extensions and have no other source for it. The registry checks the
/// actor again in the transaction of every change. A response to a safe method and an error are sent only if the
/// store still accepts the credential after everything for the response was read.
#[derive(Clone)]
pub(super) struct Author {
    /// The surface's name, for the change log.
    pub(super) surface: &'static str,
    pub(super) registry: Arc<dyn Registry>,
    pub(super) directory: Arc<Directory>,
    pub(super) clock: Arc<dyn Clock>,
    /// A caller that is this process itself and is in no store.
    pub(super) oneself: Option<CallerId>,
    /// Converts a registry error into a response of the surface.
    pub(super) refuse: fn(RegistryError, jiff::Timestamp) -> Response,
}

impl Author {
    fn actor(&self, request: &Request) -> Option<Actor> {
        let admission = request.extensions().get::<Admission>()?;
        let authority = admission.identity().map(|identity| identity.authority(admission.peer()))?;
        if self.oneself.as_ref() == Some(authority.caller()) {
            return Some(Actor::system(format!("{}:{}", self.surface, authority.caller())));
        }
        Some(Actor::with_authority(self.surface, authority))
    }

    /// Checks that the author of a request may receive the response.
    async fn check(&self, actor: &Actor, without_store: bool) -> Result<(), Response> {
        let now = self.clock.now().time;
        match self.registry.authorize(actor, now).await {
            Err(RegistryError::Unavailable(_)) if without_store => Ok(()),
            // The answer is right; only the proof of its author is out of reach.
            Err(RegistryError::Corrupt(reason)) if without_store => {
                Err((self.refuse)(RegistryError::Unavailable(reason), now))
            }
            outcome => outcome.map_err(|fault| (self.refuse)(fault, now)),
        }
    }

    /// Waits until this node has applied everything that the store has now. Adds [`PENDING`] to the response if that
    /// takes too long.
    async fn apply(&self, response: &mut Response) {
        if !self.directory.is_followed() {
            return;
        }
        let Ok(last) = self.registry.last_change().await else { return };
        let applied = self.directory.wait_until(|directory| directory.applied() >= last);
        if tokio::time::timeout(APPLY_TIMEOUT, applied).await.is_err() {
            tracing::warn!(
                change = last,
                applied = self.directory.applied(),
                "timed out waiting for a change to be applied"
            );
            response.headers_mut().insert(&PENDING, HeaderValue::from(last));
        }
    }
}

/// Middleware that runs an [`Author`].
pub(super) async fn authored(State(author): State<Author>, mut request: Request, next: Next) -> Response {
    let Some(actor) = author.actor(&request) else { return next.run(request).await };
    request.extensions_mut().insert(actor.clone());
    let is_safe = request.method().is_safe();
    let mut response = next.run(request).await;
    if response.status().is_client_error() {
        // An error tells what exists, too.
        let now = author.clock.now().time;
        return match author.registry.authorize(&actor, now).await {
            Err(RegistryError::NotAuthorized) => (author.refuse)(RegistryError::NotAuthorized, now),
            _ => response,
        };
    }
    // A 202 response already says that the change is not applied yet.
    if !response.status().is_success() || response.status() == StatusCode::ACCEPTED {
        return response;
    }
    if !is_safe {
        author.apply(&mut response).await;
        return response;
    }
    let without_store = response.extensions().get::<WithoutStore>().is_some();
    author.check(&actor, without_store).await.map_or_else(|refused| refused, |()| response)
}

/// Returns the author and the identity of a request that the guard admitted.
///
/// # Errors
/// 500 if the handler is not behind a guard and [`authored`].
pub(super) fn actor_and_identity(extensions: &http::Extensions) -> Result<(Actor, Identity), Denial> {
    let identity = extensions.get::<Admission>().and_then(Admission::identity).cloned();
    let actor = extensions.get::<Actor>().cloned();
    actor.zip(identity).ok_or_else(|| Denial::internal("the handler runs without the surface's guard"))
}
