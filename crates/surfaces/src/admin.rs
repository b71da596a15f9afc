//! The admin API of Portcullis: tenants, callers, keys, plans, locks, routes and the change log.
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
//! GET              /admin/v1/export                                     all data, as one file
//! POST             /admin/v1/import                                     ?dry_run=
//! POST             /admin/v1/keys/import                                ?dry_run= &make_callers=
//! GET              /admin/v1/docs/                                      for a browser; `admin.json` for programs
//! ```
//!
//! **Authentication.** A client is a caller of kind `administrator` and sends its key in `Authorization: Bearer`. Its
//! [role](portcullis::model::Role) limits what it may do: `read_only` reads; `operator` also manages callers other than
//! administrators, and their keys; `owner` does everything. Administrators belong to the tenant
//! [`administration`](ADMIN_TENANT), and no other callers do. A key with a list of scopes may do only what they
//! allow for the resource `admin`. A key that expires cannot create a key for an administrator that expires later. An
//! administrator cannot delete, disable or demote itself, nor delete, disable or restrict the key that it uses. A
//! change is 409 if no key of an owner would be accepted after it, or after the end that it sets for a key, so that
//! an owner always remains. The key is checked again in the transaction of every change, because it may have been
//! revoked while the body arrived: then nothing changes and the response is 401. The key is also checked again before
//! data is returned.
//!
//! **Changes** are answered once this node enforces them. If that takes longer than two seconds, the change is
//! committed all the same, and the response has `X-Portcullis-Pending` with the number of the change that the node
//! still has to apply. The deletion of a key is answered with 202 instead of 204 while this node applies no changes.
//!
//! **Errors** are problems (RFC 9457). A body that is not JSON or does not match the documented schema (unknown,
//! missing or repeated members, wrong types) is 400; a body that matches the schema but has invalid values is 422.
//! Both list the places in `errors`, as JSON Pointers: 400 lists the first error, 422 lists all. An id or a name that
//! is in use is 409, and so are a deletion that other resources prevent and a change of a plan that the configuration
//! defines. A query parameter that is unknown, repeated or invalid is 400. A body of more than 1 MiB is 413, except
//! for files.
//!
//! **A single resource** is returned without an envelope, with its revision as a strong `ETag` (a plan, a lock and a
//! route have a hash of their content). With `If-None-Match` the response may be 304; the use of a key does not
//! change its `ETag`. `PATCH` (a JSON merge patch, RFC 7396), `PUT` on an existing resource and `DELETE` require
//! `If-Match`: without it the response is 428, with another revision 412. `PUT` with `If-None-Match: *` creates a
//! resource and never replaces one. **Lists** are `{"items", "next"}`, ordered by id; routes are in the order of the
//! configuration, and changes in the order of their numbers. `next` is the value of `after` for the next page, and is
//! absent on the last one. `limit` is 1 to 500 and defaults to 100.
//!
//! **Idempotency.** A `POST` with an `Idempotency-Key` (a string of structured fields, `"…"`) takes effect once
//! within a day. A repeated request gets the first response again, byte for byte, with `Idempotency-Replayed: true`.
//! It gets 409 while the first request is in progress on this node, and 422 if it differs from the first request. A
//! denial is not stored, because it had no effect. Each administrator has its own idempotency keys. No stored
//! response is sent if the administrator's API key was revoked meanwhile (401).
//!
//! **Names** follow the rule of their kind: the name of an API client is a domain, optionally with a path
//! (`example.com/dev`); the name of an app is 3 to 64 letters, digits and underscores. A name that an earlier version
//! accepted remains until it is changed. Names, remarks and reasons contain no control characters and no other
//! invisible characters.
//!
//! **Signing keys** have the kind `signing`, which is chosen at creation. They consist of an access key, which is the
//! id, and a secret that signs requests (SDK-HMAC-SHA256); the secret is shown once. Administrators cannot have
//! signing keys, because this API does not accept signed requests.
//!
//! **Locks** are leases. Only the response to acquiring a lock shows its token. `Lock-Token` with this token
//! refreshes and releases the lock. With any other change, it proves that the lock is held: if the lock was lost, the
//! request fails with 412 and changes nothing. If the lock is on the caller that the request changes, the token
//! replaces `If-Match`, and the lock does not stop the change. An owner can break a lock, with `If-Match`. Locks on
//! paths do not stop requests to this API, because they could not be broken otherwise. A lock on a path is 422 if no
//! route there has the policy `lock`. A lock on a caller is acquired even if no route has that policy; the response
//! then has `warnings`.
//!
//! **Export and import** ([`transfer`](portcullis::transfer)) are for owners, because the file contains every digest and
//! every sealed secret. At most one export and one import run at a time; a second one is 409. An export is streamed
//! as `application/x-ndjson`; an incomplete one lacks its last line. An import adds such a file to the existing data,
//! all of it or nothing: nothing in the file may exist already, except for equal plans. It leaves out the tenant
//! `administration`, because this gateway has its own: a file creates no administrators. Keys of another gateway are
//! rows in the format of [`transfer::KeyRows`](portcullis::transfer::KeyRows), as `application/x-ndjson` or `text/csv`. An
//! uploaded file is stored on disk until it is complete, so that a slow client blocks no others. It is then imported
//! to its end, even if the client disconnects. Errors are 422, with the `line` of each in `errors`. `dry_run=true`
//! runs the whole import and rolls it back. Other changes are possible during an import, and the import fails if one
//! of them conflicts with it. For an import, `Lock-Token` only proves that its lock is held.
//!
//! **The description** (OpenAPI 3.1) and its page need no credential: a browser that opens a page has no key to send,
//! and both contain only what is published with the program. Every other path, known or not, is 401 without a key.
//!
//! Ids have one spelling: a percent-encoded id is not found, unless a gateway in front has normalized the path.

#![allow(clippy::option_option, reason = "a patch distinguishes absent members from null members")]

mod call_context;
mod callers;
mod changes;
mod etag;
mod idempotency;
mod keys;
mod locks;
mod openapi;
mod page;
mod plans;
mod response;
mod routes;
mod status;
mod tenants;
mod transfers;

pub use openapi::description;
pub use plans::DefinedPlans;
pub use portcullis::model::ADMIN_TENANT;
pub use routes::Route;
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
    author::{Author, authored},
    documentation,
};
use call_context::CallContext;
use idempotency::{IdempotencyKey, InFlight};
use portcullis::{
    Admission, Denial, Head,
    clock::Clock,
    directory::Directory,
    model::{CallerId, Sealer},
    policy::{Accept, ApiKey, ContentType, KeySource, Lockout, Policy, RateLimit, Stop},
    registry::{Operation, Registry, RegistryError, RegistryExt},
    tower::PortcullisLayer,
};
use response::{ApiResponse, ErrorResponse};

/// The challenge in the response to a key that is no longer accepted.
static CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"admin\"");

/// The prefix of every path of the API.
const BASE: &str = "/admin/v1";

/// Dependencies and options of the admin API.
#[derive(Clone)]
pub struct Admin {
    /// The registry that the API manages.
    pub registry: Arc<dyn Registry>,
    /// The directory for looking up administrators' keys. It follows the registry.
    pub directory: Arc<Directory>,
    /// The clock for timestamps, expiry and rate limits.
    pub clock: Arc<dyn Clock>,
    /// Seals the secrets of apps and the stored responses of idempotent requests.
    pub sealer: Arc<Sealer>,
    /// Finds the client's address among the extensions of a request, as
    /// [`PortcullisLayer::peer_from`](portcullis::tower::PortcullisLayer::peer_from) does.
    pub peer: fn(&Extensions) -> Option<IpAddr>,
    /// Denies addresses for a while that send too many bad keys.
    pub lockout: Arc<Lockout>,
    /// An administrator that is in no store: this process, when it calls the API itself.
    pub local_admin: Option<CallerId>,
    /// The configured routes, for reading. Unless the list is empty, a lock on a path is denied (422) if no route
    /// there has the policy `lock`.
    pub routes: Vec<Route>,
    /// Plans that the configuration defines. The API does not change them.
    pub defined_plans: DefinedPlans,
    /// Options for uploaded files.
    pub imports: ImportOptions,
}

/// The state shared by the handlers.
struct Surface {
    admin: Admin,
    running: InFlight,
    /// Permits for exports and imports: at most one of each runs at a time.
    exporting: Arc<Semaphore>,
    importing: Arc<Semaphore>,
}

/// Returns the admin API as a router.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{model::{Pepper, Peppers, SealKey, Sealer}, clock::SystemClock, directory::Directory};
/// use portcullis::{registry::memory::Memory, tower::PeerAddr};
/// use portcullis_surfaces::admin::{self, Admin, DefinedPlans, ImportOptions};
///
/// let clock = Arc::new(SystemClock::new());
/// let app: axum::Router = admin::router(Admin {
///     registry: Arc::new(Memory::new(clock.clone())),
///     directory: Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32])))),
///     clock,
///     sealer: Arc::new(Sealer::new(SealKey::new(1, &[0; 32]))),
///     peer: PeerAddr::find,
///     lockout: Arc::default(),
///     local_admin: None,
///     routes: vec![],
///     defined_plans: DefinedPlans::default(),
///     imports: ImportOptions::default(),
/// });
/// ```
///
/// # Panics
/// Never: the media types in the code are valid.
pub fn router(admin: Admin) -> Router {
    let content =
        |types: &[&str]| ContentType::new(types.iter().copied()).expect("valid media types").codings([]);
    let formats = (
        Accept::new(["application/json"]).expect("valid media type"),
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

/// Converts a registry error that means the same for every operation.
fn refused(fault: RegistryError, now: Timestamp) -> ErrorResponse {
    super::denial(fault, now, &CHALLENGE).into()
}

/// Returns the policies in front of every route; `formats` checks the media types of requests and responses.
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

/// Answers other methods with 405.
fn only(methods: MethodRouter<Arc<Surface>>, allow: &'static str) -> MethodRouter<Arc<Surface>> {
    let allow = HeaderValue::from_static(allow);
    methods.fallback(|| async { ErrorResponse::from(Denial::MethodNotAllowed { allow }) })
}

/// The media types of request bodies: a patch has its own.
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
    /// Executes an operation for a caller, idempotently if there is a ticket. `answer` makes the response of the
    /// result.
    async fn execute<O: Operation>(
        &self,
        call: &CallContext,
        ticket: Option<&IdempotencyKey>,
        operation: O,
        answer: impl FnOnce(O::Output) -> ApiResponse + Send,
    ) -> Result<ApiResponse, RegistryError> {
        let (registry, operation) = (&self.admin.registry, (call.lock_proof(), operation));
        match ticket {
            Some(ticket) => {
                ticket.execute(&self.admin, operation, call.actor(), |(_, done)| answer(done)).await
            }
            None => registry.run(operation, call.actor()).await.map(|(_, done)| answer(done)),
        }
    }

    /// Executes a change of a resource at the revision that the caller expects.
    async fn change<O: Operation>(
        &self,
        call: &CallContext,
        operation: O,
    ) -> Result<O::Output, ErrorResponse> {
        let done = self.admin.registry.run((call.lock_proof(), operation), call.actor()).await;
        done.map(|(_, done)| done).map_err(|fault| self.refuse_change(fault))
    }

    /// Converts a registry error of a request that creates a resource.
    fn refuse(&self, fault: RegistryError) -> ErrorResponse {
        let conflict = |detail: &'static str| Denial::Conflict { detail: detail.into() };
        match fault {
            RegistryError::NameTaken => conflict("Another caller of this kind has this name.").into(),
            RegistryError::KeyTaken => conflict("Another app has this AppKey.").into(),
            RegistryError::Conflict => conflict("The id is already in use.").into(),
            RegistryError::InUse => conflict("Callers still use it. Delete or change them first.").into(),
            RegistryError::LimitReached(most) => Denial::Conflict {
                detail: format!("The limit of {most} is reached. Delete one that is not needed.").into(),
            }
            .into(),
            RegistryError::IdempotencyKeyReused => Denial::Unprocessable {
                detail: "The Idempotency-Key was already used for a different request.".into(),
            }
            .into(),
            fault => refused(fault, self.admin.clock.now().time),
        }
    }

    /// Converts a registry error of a request that changes a resource at a revision.
    fn refuse_change(&self, fault: RegistryError) -> ErrorResponse {
        match fault {
            RegistryError::Conflict => etag::precondition_failed().into(),
            fault => self.refuse(fault),
        }
    }
}
