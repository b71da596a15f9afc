//! The apps of a dedicated APIG gateway, first version of the contract: create, read, modify.
//!
//! ```text
//! POST /v1/{project_id}/apigw/instances/{instance_id}/apps        201
//! GET  /v1/{project_id}/apigw/instances/{instance_id}/apps/{id}   200
//! PUT  /v1/{project_id}/apigw/instances/{instance_id}/apps/{id}   200
//! ```
//!
//! Who manages apps is an operator, by a token in `X-Auth-Token` that is scoped to a project: it reaches
//! every gateway of that project, and no other. Success is the bare app; `app_secret` is always six
//! asterisks, one that was generated too. Every error is `{"error_code","error_msg"}`.
//!
//! Where the contract is silent, or says two things:
//!
//! * Letters are ASCII letters. The vendor's Chinese pages take Chinese letters in names, this page does not.
//! * Lengths count characters.
//! * A remark that is absent or empty stays as it was: it cannot be set back to empty. `<`, `>` and the
//!   character zero are not taken.
//! * `app_key` and `app_secret` are refused (APIG.2012) while the gateway does not let operators choose them.
//! * `null` is no value, except for the name, where it is like a missing one (APIG.2001). Unknown and
//!   repeated members are APIG.2000, as is a body beyond 64 KiB.
//! * There is no 409: of two changes at once, the later one stands whole.
//! * Ids have one spelling: percent-encoded, they are not found.

mod call;
mod fields;
mod refusal;
mod show;

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing,
};
use http::{Extensions, HeaderName, HeaderValue, StatusCode};

use super::content;
use crate::{
    Denial,
    app::{Access, App, Caller, CallerEdit, CallerId, CallerKind, Creator, Sealed, Sealer, Secret, Tenant},
    clock::Clock,
    directory::Directory,
    policy::{ApiKey, Lock, RateLimit, RateLimitFields, Scope, Source},
    problem::Form,
    registry::{Fault, NewCaller, Registry},
    tower::PortcullisLayer,
};
use call::{Asked, RESOURCE, in_good_standing};
use fields::AppFields;
use refusal::Refusal;
use show::show;

/// What the surface stands on.
#[derive(Clone)]
pub struct Apig {
    /// Where the apps live.
    pub registry: Arc<dyn Registry>,
    /// Where tokens and locks are looked up; it follows the registry.
    pub directory: Arc<Directory>,
    /// What limits and locks count on.
    pub clock: Arc<dyn Clock>,
    /// What seals the apps' secrets.
    pub sealer: Arc<Sealer>,
    /// Finds a peer's address among a request's extensions, as
    /// [`PortcullisLayer::peer_from`](crate::tower::PortcullisLayer::peer_from) does: the change log says from where
    /// each change came.
    pub peer: fn(&Extensions) -> Option<IpAddr>,
}

/// The surface as a router.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{app::{Pepper, Peppers, SealKey, Sealer}, clock::SystemClock, directory::Directory};
/// use portcullis::{registry::memory::Memory, surface::apig::{self, Apig}, tower::Peer};
///
/// let clock = Arc::new(SystemClock::new());
/// let app: axum::Router = apig::router(Apig {
///     registry: Arc::new(Memory::new(clock.clone())),
///     directory: Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32])))),
///     clock,
///     sealer: Arc::new(Sealer::new(SealKey::new(1, &[0; 32]))),
///     peer: Peer::find,
/// });
/// ```
pub fn router(surface: Apig) -> Router {
    let guard = (
        ApiKey::new(surface.directory.clone())
            .sources([Source::Field(HeaderName::from_static("x-auth-token"))])
            .kinds(&["operator"])
            .realm("apig"),
        Scope::new(RESOURCE),
        Lock::new(surface.directory.clone()),
        RateLimit::new().fields(RateLimitFields { draft_10: false, x_ratelimit: false }),
    );
    let guard =
        PortcullisLayer::new(guard).form(Form::Apig).clock(surface.clock.clone()).peer_from(surface.peer);
    let all = routing::post(create).fallback(|| async { not_allowed("POST") });
    let one = routing::get(read).put(modify).fallback(|| async { not_allowed("GET, HEAD, PUT") });
    Router::new()
        .route("/v1/{project_id}/apigw/instances/{instance_id}/apps", all)
        .route("/v1/{project_id}/apigw/instances/{instance_id}/apps/{id}", one)
        .fallback(|| async { Refusal::from(Denial::NotFound) })
        .with_state(Arc::new(surface))
        .layer(guard)
}

fn not_allowed(methods: &'static str) -> Refusal {
    Denial::MethodNotAllowed { allow: HeaderValue::from_static(methods) }.into()
}

async fn create(State(surface): State<Arc<Apig>>, request: Request) -> Result<Response, Refusal> {
    let asked = Asked::of(&request)?;
    let id = CallerId::random();
    asked.may(Access::Write, &id)?;
    let tenant = surface.gateway(&asked).await?;
    let fields = read_body(request, &tenant).await?;
    in_good_standing(&tenant)?;
    let app = App {
        remark: fields.remark.unwrap_or_default(),
        key: fields.key.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        secret: surface.seal(&fields.secret.unwrap_or_else(generate), &id),
        creator: Creator::User,
    };
    let kind = CallerKind::App(app);
    let caller = NewCaller { id, tenant: tenant.id, name: fields.name, kind, plan: None };
    let made = surface.registry.create_caller(caller, &asked.actor()).await;
    show(StatusCode::CREATED, &made.map_err(|fault| surface.refuse(fault, asked.no_instance()))?)
}

async fn read(State(surface): State<Arc<Apig>>, request: Request) -> Result<Response, Refusal> {
    let asked = Asked::of(&request)?;
    let id = asked.app()?;
    asked.may(Access::Read, &id)?;
    let tenant = surface.gateway(&asked).await?;
    show(StatusCode::OK, &surface.find(&tenant, &id, &asked).await?)
}

async fn modify(State(surface): State<Arc<Apig>>, request: Request) -> Result<Response, Refusal> {
    let asked = Asked::of(&request)?;
    let id = asked.app()?;
    asked.may(Access::Write, &id)?;
    let tenant = surface.gateway(&asked).await?;
    let fields = read_body(request, &tenant).await?;
    in_good_standing(&tenant)?;
    surface.find(&tenant, &id, &asked).await?;
    let edit = CallerEdit {
        name: Some(fields.name),
        remark: fields.remark,
        key: fields.key,
        secret: fields.secret.map(|secret| surface.seal(&secret, &id)),
        ..CallerEdit::default()
    };
    let after = surface.registry.update_caller(&tenant.id, &id, None, edit, &asked.actor()).await;
    show(StatusCode::OK, &after.map_err(|fault| surface.refuse(fault, asked.no_app()))?)
}

async fn read_body(request: Request, tenant: &Tenant) -> Result<AppFields, Refusal> {
    let custom_keys = tenant.gateway.as_ref().is_some_and(|gateway| gateway.custom_keys);
    AppFields::read(&content(request.into_body()).await?, custom_keys)
}

/// A new secret: 32 hexadecimal digits in lower case.
fn generate() -> Secret {
    Secret::from(uuid::Uuid::new_v4().simple().to_string())
}

impl Apig {
    /// The gateway that is asked about.
    async fn gateway(&self, asked: &Asked) -> Result<Tenant, Refusal> {
        let tenant = self.registry.gateway(&asked.project, &asked.instance).await;
        tenant.map_err(|fault| self.refuse(fault, asked.no_instance()))
    }

    /// An app of the gateway; callers of other kinds do not exist here.
    async fn find(&self, tenant: &Tenant, id: &CallerId, asked: &Asked) -> Result<Caller, Refusal> {
        let caller = self.registry.caller(&tenant.id, id).await;
        let caller = caller.map_err(|fault| self.refuse(fault, asked.no_app()))?;
        if caller.app().is_some() { Ok(caller) } else { Err(asked.no_app()) }
    }

    fn seal(&self, secret: &Secret, id: &CallerId) -> Sealed {
        self.sealer.seal(secret, &["app", id.as_str(), "secret"])
    }

    /// A fault as a refusal; `missing` is what is not there, when something is not.
    fn refuse(&self, fault: Fault, missing: Refusal) -> Refusal {
        Refusal::of(fault, missing, self.clock.now().time)
    }
}
