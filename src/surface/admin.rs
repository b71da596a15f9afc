//! The native admin API: tenants, callers, keys, plans, and the record of their changes.
//!
//! ```text
//! GET POST         /admin/v1/tenants                                    ?name= &standing=
//! GET PATCH DELETE /admin/v1/tenants/{tenant}
//! GET POST         /admin/v1/tenants/{tenant}/callers                   ?kind= &name= &status= &plan=
//! GET PATCH DELETE /admin/v1/tenants/{tenant}/callers/{caller}
//! GET POST         /admin/v1/tenants/{tenant}/callers/{caller}/keys
//! GET PATCH DELETE /admin/v1/tenants/{tenant}/keys/{key}                DELETE ?wait=SECONDS
//! POST             /admin/v1/tenants/{tenant}/keys/{key}/rotation
//! GET              /admin/v1/plans
//! GET PUT DELETE   /admin/v1/plans/{plan}
//! GET POST         /admin/v1/locks
//! GET DELETE       /admin/v1/locks/{lock}
//! POST             /admin/v1/locks/{lock}/refresh
//! GET              /admin/v1/routes, /admin/v1/routes/{route}
//! GET              /admin/v1/changes                                    ?kind= &id= &actor=
//! GET              /admin/v1/status
//! GET              /admin/v1/export                                     everything, as one file
//! POST             /admin/v1/import                                     ?dry_run=
//! POST             /admin/v1/keys/import                                ?dry_run= &make_callers=
//! GET              /admin/v1/docs/                                      for a browser; `admin.json` for programs
//! ```
//!
//! **Who asks** is a caller of kind `administrator`, by its key in `Authorization: Bearer`. Its
//! [role](crate::app::Role) says how far it goes: `read_only` reads; `operator` also manages callers, but for
//! administrators, and their keys; `owner` does everything. Administrators stand in the tenant
//! [`administration`](ADMINISTRATION), and nobody else does. A key whose scopes are listed does only what they
//! say of the resource `admin`. A key that ends makes no key for an administrator that ends later. Nobody
//! deletes, disables or demotes itself, or the key that it asks with, or takes from that what it may here. A change is
//! 409 if no key of an owner would be accepted after it, or after the end that it gives to a key: so there is always an
//! owner left. A change is made only if who asked for it is still let in then: the content of a request takes
//! its time, and somebody may have revoked its key meanwhile (401). The same holds for what is shown.
//!
//! **A change is answered** once this node decides by it. Where that takes longer than two seconds the change is made
//! all the same, and the answer has `X-Portcullis-Pending`, with the number of the change that has to be applied. The
//! deletion of a key is 202, and not 204, while this node applies no changes.
//!
//! **Faults** are problems (RFC 9457). Content that is not JSON, or has not the documented members, each once
//! and of its type, is 400; content of the right shape whose values are out of place is 422. Both say in
//! `errors` where, as a JSON Pointer: of the shape the first fault, of the values all. An id or a name that is
//! taken is 409, and so are a deletion that something stands in the way of and a change of a plan that the
//! configuration defines. A query parameter that is unknown,
//! repeated or out of place is 400. More than 1 MiB of content is 413, but for files.
//!
//! **One thing** is answered bare, with its revision as a strong `ETag` (a plan and a route have a hash of their
//! content). `If-None-Match` may make it 304; that a key was used is no change of it. `PATCH` (a JSON merge
//! patch, RFC 7396), `PUT` over something and `DELETE` need `If-Match`: without it 428, with another revision
//! 412. `If-None-Match: *` on `PUT` makes, and never replaces. **Many** are `{"items", "next"}` in the order of
//! their ids; `next` goes into `after`, and is absent at the end. `limit` is 1 to 500, by default 100.
//!
//! **Once**: a `POST` with an `Idempotency-Key` (a string of structured fields, `"…"`) takes effect once within a
//! day. Sent again it gets the first answer again, byte for byte, with `Idempotency-Replayed: true`; 409 while
//! the first is under way here; 422 when it is another request. A refusal is not kept: it had no effect. The
//! keys of one administrator are nothing to another's. A key that was revoked meanwhile gets no kept answer (401).
//!
//! **A name** follows the rule of its kind: an api client's is a domain, optionally with a path (`example.com/dev`), an
//! app's is 3 to 64 letters, digits and underscores. A name of an earlier version stays until it is changed. Names,
//! remarks and reasons have no control characters and no others that cannot be seen.
//!
//! **A key** of kind `signing`, which is said when it is made, is an access key, its id, and a secret that signs
//! requests (SDK-HMAC-SHA256); the secret is shown once. Administrators have none: requests are not signed here.
//!
//! **Locks** are leases. Acquiring one shows its token, this once; `Lock-Token` with it refreshes and releases the
//! lock, and proves with any change that it is held: what is changed under a lock that was lost is 412, and changed
//! is nothing. Where the lock stands on the caller in question, the proof stands for `If-Match`, and the lock does
//! not stop the change. An owner breaks a lock, with `If-Match`. Locks on paths stop nothing here: they could not be
//! broken otherwise. A lock on a path where no route has the policy `lock` is 422; one on a caller, where no route has
//! it, is acquired and answered with `warnings`.
//!
//! **Everything as one file** ([`transfer`](crate::transfer)) is for owners: it has every digest and every sealed
//! secret. There is one export at a time, and one import; a second is 409. An export is written as it is read, as
//! `application/x-ndjson`; one that broke off lacks its last line. An import takes such a file beside what is there,
//! all of it or nothing: what the file has must not be there, but for plans that are the same. It leaves out the
//! tenant `administration`, of which this gateway has its own: a file makes no administrators. Keys of another gateway
//! are rows as [`transfer::Rows`](crate::transfer::Rows) reads them, `application/x-ndjson` or `text/csv`. Content is
//! kept in a file until all of it is there, so that a slow client holds up nobody, and then imported to its end, even
//! when who asked has gone. What is wrong is 422, on which `line` of it, in `errors`. `dry_run=true` does everything and
//! takes it back. Other changes are made meanwhile; one that takes a place which the import needs makes it fail. A
//! `Lock-Token` proves that its lock is held, no more.
//!
//! **The description** (OpenAPI 3.1) and its page ask nobody who it is: a browser that opens a page has no key to
//! send, and they say nothing but what is published with the program. All other paths, known or not, are 401 for a
//! stranger.
//!
//! Ids have one spelling: percent-encoded, they are not found, unless a gateway in front has brought the path into its
//! normal form.

#![allow(clippy::option_option, reason = "what a patch leaves out and what it sets to null are two things")]

mod response;
mod call_context;
mod callers;
mod changes;
mod etag;
mod keys;
mod locks;
mod idempotency;
mod page;
mod plans;
mod routes;
mod openapi;
mod status;
mod tenants;
mod transfers;

pub use crate::model::ADMIN_TENANT;
pub use plans::DefinedPlans;
pub use routes::Route;
pub use openapi::description;
pub use transfers::ImportOptions;

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router, middleware,
    response::IntoResponse,
    routing::{MethodRouter, get, post},
};
use http::{Extensions, HeaderValue, Method};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::{json, no_store};
use crate::{
    Admission, Denial, Head,
    model::{CallerId, Entity, Sealer},
    clock::Clock,
    directory::Directory,
    policy::{Accept, ApiKey, ContentType, Lockout, Policy, RateLimit, KeySource, Stop},
    registry::{Command, RegistryError, Registry},
    surface::{
        author::{Author, authored},
        documentation,
    },
    tower::PortcullisLayer,
};
use response::{ApiResponse, ErrorResponse};
use call_context::CallContext;
use idempotency::{InFlight, IdempotencyKey};

/// What is told to whom the key does not let in any more.
static CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"admin\"");

/// What every path of the surface begins with.
const BASE: &str = "/admin/v1";

/// What a command answered with, of the kind that it answers with.
macro_rules! done {
    ($kind:ident, $done:expr) => {
        match $done.last() {
            Some(crate::model::Entity::$kind(it)) => Ok(it),
            _ => Err(crate::registry::RegistryError::Corrupt("a registry answered with another thing".into())),
        }
    };
}
use done;

/// What the surface stands on.
#[derive(Clone)]
pub struct Admin {
    /// Where all of it lives.
    pub registry: Arc<dyn Registry>,
    /// Where administrators' keys are looked up; it follows the registry.
    pub directory: Arc<Directory>,
    /// What limits count on.
    pub clock: Arc<dyn Clock>,
    /// What seals the secrets of apps, and the answers that are kept.
    pub sealer: Arc<Sealer>,
    /// Finds a request's address among its extensions, as
    /// [`PortcullisLayer::peer_from`](crate::tower::PortcullisLayer::peer_from) does.
    pub peer: fn(&Extensions) -> Option<IpAddr>,
    /// When an address that sends bad keys is refused for a while.
    pub lockout: Arc<Lockout>,
    /// An administrator whom no store knows: this process, where it serves itself.
    pub local_admin: Option<CallerId>,
    /// The routes that are served, for reading. Unless there are none, a lock on a path is refused (422) when no route
    /// there has the policy `lock`.
    pub routes: Vec<Route>,
    /// Plans that are defined elsewhere, and are not changed here.
    pub defined_plans: DefinedPlans,
    /// How files are taken in.
    pub imports: ImportOptions,
}

/// What the handlers share.
struct Surface {
    admin: Admin,
    running: InFlight,
    /// There is one export at a time, and one import.
    exporting: Arc<Semaphore>,
    importing: Arc<Semaphore>,
}

/// The surface as a router.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{app::{Pepper, Peppers, SealKey, Sealer}, clock::SystemClock, directory::Directory};
/// use portcullis::{registry::memory::Memory, tower::Peer};
/// use portcullis::surface::admin::{self, Admin, DefinedPlans, Imports};
///
/// let clock = Arc::new(SystemClock::new());
/// let app: axum::Router = admin::router(Admin {
///     registry: Arc::new(Memory::new(clock.clone())),
///     directory: Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32])))),
///     clock,
///     sealer: Arc::new(Sealer::new(SealKey::new(1, &[0; 32]))),
///     peer: Peer::find,
///     lockout: Arc::default(),
///     oneself: None,
///     routes: vec![],
///     defined_plans: DefinedPlans::default(),
///     imports: Imports::default(),
/// });
/// ```
///
/// # Panics
/// Never: the media types it names are media types.
pub fn router(admin: Admin) -> Router {
    let content =
        |types: &[&str]| ContentType::new(types.iter().copied()).expect("they are media types").codings([]);
    let formats = (
        Accept::new(["application/json"]).expect("it is a media type"),
        Content {
            whole: content(&["application/json"]),
            patch: content(&["application/merge-patch+json", "application/json"]),
        },
    );
    let author = Author {
        surface: "admin",
        registry: admin.registry.clone(),
        directory: admin.directory.clone(),
        clock: admin.clock.clone(),
        oneself: admin.local_admin.clone(),
        refuse: |fault, now| refused(fault, now).into_response(),
    };
    let (guard, transfers) = (guard(&admin, formats), transfers::routes(&admin, &author));
    let (running, [exporting, importing]) =
        (InFlight::default(), [1, 1].map(|most| Semaphore::new(most).into()));
    let surface = Arc::new(Surface { admin, running, exporting, importing });
    let at = |path: &str| format!("{BASE}{path}");
    let reading = |reading: MethodRouter<_>| only(reading, "GET, HEAD");
    let all = |all: MethodRouter<_>| only(all, "GET, HEAD, POST");
    let one = |one: MethodRouter<_>| only(one, "GET, HEAD, PATCH, DELETE");
    Router::new()
        .route(&at("/tenants"), all(get(tenants::list).post(tenants::create)))
        .route(
            &at("/tenants/{tenant}"),
            one(get(tenants::read).patch(tenants::modify).delete(tenants::delete)),
        )
        .route(&at("/tenants/{tenant}/callers"), all(get(callers::list).post(callers::create)))
        .route(
            &at("/tenants/{tenant}/callers/{caller}"),
            one(get(callers::read).patch(callers::modify).delete(callers::delete)),
        )
        .route(&at("/tenants/{tenant}/callers/{caller}/keys"), all(get(keys::list).post(keys::create)))
        .route(
            &at("/tenants/{tenant}/keys/{key}"),
            one(get(keys::read).patch(keys::modify).delete(keys::delete)),
        )
        .route(&at("/tenants/{tenant}/keys/{key}/rotation"), only(post(keys::rotate), "POST"))
        .route(&at("/plans"), reading(get(plans::list)))
        .route(
            &at("/plans/{plan}"),
            only(get(plans::read).put(plans::put).delete(plans::delete), "GET, HEAD, PUT, DELETE"),
        )
        .route(&at("/locks"), all(get(locks::list).post(locks::acquire)))
        .route(&at("/locks/{lock}"), only(get(locks::read).delete(locks::delete), "GET, HEAD, DELETE"))
        .route(&at("/locks/{lock}/refresh"), only(post(locks::refresh), "POST"))
        .route(&at("/routes"), reading(get(routes::list)))
        .route(&at("/routes/{route}"), reading(get(routes::read)))
        .route(&at("/changes"), reading(get(changes::list)))
        .route(&at("/status"), reading(get(status::read)))
        .fallback(|| async { ErrorResponse::from(Denial::NotFound) })
        .with_state(surface.clone())
        .layer(middleware::from_fn_with_state(author, authored))
        .layer(guard)
        .merge(transfers.with_state(surface))
        .layer(middleware::map_response(no_store))
        .nest_service(&at("/docs"), documentation([("admin", description())]))
}

/// A fault that is the same for every operation.
fn refused(fault: RegistryError, now: Timestamp) -> ErrorResponse {
    super::denial(fault, now, &CHALLENGE).into()
}

/// What stands before every route; `formats` says what it takes and answers.
fn guard<P: Policy + 'static>(admin: &Admin, formats: P) -> PortcullisLayer<impl Policy + use<P>> {
    let key = ApiKey::new(admin.directory.clone())
        .sources([KeySource::bearer()])
        .caller_kinds(&["administrator"])
        .admit_lapsed()
        .realm("admin")
        .lockout(admin.lockout.clone());
    let guard = (formats, key, RateLimit::new());
    PortcullisLayer::new(guard).clock(admin.clock.clone()).peer_from(admin.peer)
}

/// Other methods are 405.
fn only(methods: MethodRouter<Arc<Surface>>, allow: &'static str) -> MethodRouter<Arc<Surface>> {
    let allow = HeaderValue::from_static(allow);
    methods.fallback(|| async { ErrorResponse::from(Denial::MethodNotAllowed { allow }) })
}

/// What may be sent: a patch has a media type of its own.
struct Content {
    whole: ContentType,
    patch: ContentType,
}

impl Policy for Content {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let taken = if head.method == Method::PATCH { &self.patch } else { &self.whole };
        taken.admit(head, admission)
    }
}

impl Surface {
    /// Does something for a caller, once if it is to be done once; `answer` is made of what was done.
    async fn execute(
        &self,
        call: &CallContext,
        ticket: Option<&IdempotencyKey>,
        commands: Vec<Command>,
        answer: impl FnOnce(&[Entity]) -> Result<ApiResponse, RegistryError> + Send,
    ) -> Result<ApiResponse, RegistryError> {
        let (registry, commands) = (&self.admin.registry, call.with_lock_proof(commands));
        match ticket {
            Some(ticket) => ticket.execute(&self.admin, commands, call.actor(), answer).await,
            None => answer(&registry.execute(commands, call.actor()).await?),
        }
    }

    /// Changes what is there, at the revision that the caller expects.
    async fn change(&self, call: &CallContext, commands: Vec<Command>) -> Result<Vec<Entity>, ErrorResponse> {
        let done = self.admin.registry.execute(call.with_lock_proof(commands), call.actor()).await;
        done.map_err(|fault| self.refuse_change(fault))
    }

    /// A fault, to who made something.
    fn refuse(&self, fault: RegistryError) -> ErrorResponse {
        let conflict = |detail: &'static str| Denial::Conflict { detail: detail.into() };
        match fault {
            RegistryError::NameTaken => conflict("The name is taken by another caller of this kind.").into(),
            RegistryError::KeyTaken => conflict("The AppKey is taken by another app.").into(),
            RegistryError::Conflict => conflict("The id is taken.").into(),
            RegistryError::InUse => conflict("Something still stands on it: callers.").into(),
            RegistryError::LimitReached(most) => Denial::Conflict {
                detail: format!("The limit of {most} is reached: delete one that is not needed.").into(),
            }
            .into(),
            RegistryError::IdempotencyKeyReused => Denial::Unprocessable {
                detail: "The Idempotency-Key was sent with another request before.".into(),
            }
            .into(),
            fault => refused(fault, self.admin.clock.now().time),
        }
    }

    /// A fault, to who changed something at a revision.
    fn refuse_change(&self, fault: RegistryError) -> ErrorResponse {
        match fault {
            RegistryError::Conflict => etag::precondition_failed().into(),
            fault => self.refuse(fault),
        }
    }
}
