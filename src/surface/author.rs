//! The layer between a surface's guard and its handlers: it names the author of every change, checks the author of what
//! is shown, and answers a change once this node decides by it.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::{
    Admission, Denial,
    admission::Identity,
    model::{Actor, CallerId},
    clock::Clock,
    directory::Directory,
    registry::{RegistryError, Registry},
};

/// The longest wait for this node to decide by a change. A change is made by then, whether or not it is followed.
const APPLIED_WITHIN: Duration = Duration::from_secs(2);

/// Stands in the answer to a change by which this node does not decide yet: the number of the change that it has to
/// apply.
static PENDING: HeaderName = HeaderName::from_static("x-portcullis-pending");

/// Stands among the extensions of a response that says nothing of the store, and is given while that is unavailable.
#[derive(Debug, Clone, Copy)]
pub(super) struct WithoutStore;

/// Names and checks the author of a surface's requests.
///
/// Handlers get the [`Actor`] from the request's extensions, and have no other; the registry checks it again in the
/// transaction of every change. An answer to a safe method is given only if the store still accepts the credential
/// after everything was read for it.
#[derive(Clone)]
pub(super) struct Author {
    /// The surface's name, for the change log.
    pub(super) surface: &'static str,
    pub(super) registry: Arc<dyn Registry>,
    pub(super) directory: Arc<Directory>,
    pub(super) clock: Arc<dyn Clock>,
    /// A caller that is this process itself, and in no store.
    pub(super) oneself: Option<CallerId>,
    /// The surface's answer to a fault.
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

    /// Checks that an answer may be given to its author.
    async fn check(&self, actor: &Actor, without_store: bool) -> Result<(), Response> {
        let now = self.clock.now().time;
        match self.registry.authorize(actor, now).await {
            Err(RegistryError::Unavailable(_)) if without_store => Ok(()),
            // The answer is right; only the proof of its author is out of reach.
            Err(Fault::Corrupt(reason)) if without_store => {
                Err((self.refuse)(Fault::Unavailable(reason), now))
            }
            outcome => outcome.map_err(|fault| (self.refuse)(fault, now)),
        }
    }

    /// Waits until this node decides by everything that the store has now, and says so if it does not in time.
    async fn apply(&self, response: &mut Response) {
        if !self.directory.is_followed() {
            return;
        }
        let Ok(last) = self.registry.last_change().await else { return };
        let applied = self.directory.wait_until(|directory| directory.applied() >= last);
        if tokio::time::timeout(APPLIED_WITHIN, applied).await.is_err() {
            tracing::warn!(
                change = last,
                applied = self.directory.applied(),
                "a change is not applied in time"
            );
            response.headers_mut().insert(&PENDING, HeaderValue::from(last));
        }
    }
}

/// The middleware of an [`Author`].
pub(super) async fn authored(State(author): State<Author>, mut request: Request, next: Next) -> Response {
    let Some(actor) = author.actor(&request) else { return next.run(request).await };
    request.extensions_mut().insert(actor.clone());
    let is_safe = request.method().is_safe();
    let mut response = next.run(request).await;
    // An answer of 202 says already that the change is not applied.
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

/// The author and the identity of a request that a guard let in.
///
/// # Errors
/// 500 when the handler does not stand behind a guard and [`authored`].
pub(super) fn of(extensions: &http::Extensions) -> Result<(Actor, Identity), Denial> {
    let identity = extensions.get::<Admission>().and_then(Admission::identity).cloned();
    let actor = extensions.get::<Actor>().cloned();
    actor.zip(identity).ok_or_else(|| Denial::internal("the surface is not behind its guard"))
}
