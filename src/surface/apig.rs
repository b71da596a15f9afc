//! The apps of a dedicated APIG gateway, in both versions of the contract.
//!
//! ```text
//! POST   …/apps                      a new app                             201
//! GET    …/apps                      a page of them, newest first
//! GET    …/apps/{id}
//! PUT    …/apps/{id}                 name, remark; key and secret where they may be chosen
//! DELETE …/apps/{id}                 with all that belongs to it           204
//! PUT    …/apps/secret/{id}          another secret
//! GET    …/apps/validation/{id}      id, name, remark
//! GET    …/resources/outline/apps    how many there are
//!
//! POST   …/app-auths                 apps for APIs, one result for each pair      201
//! DELETE …/app-auths/{id}                                                         204
//! GET    …/app-auths/binded-apis     those that an app is authorized for
//! GET    …/app-auths/unbinded-apis   the others
//! GET    …/app-auths/binded-apps     those that are authorized for an API
//!
//! POST   …/apps/{id}/app-codes       an AppCode that was chosen            201, V2
//! PUT    …/apps/{id}/app-codes       a generated one                       201, V2
//! GET    …/apps/{id}/app-codes       a page of them, newest first          V2
//! GET    …/apps/{id}/app-codes/{id}                                        V2
//! DELETE …/apps/{id}/app-codes/{id}                                        204, V2
//! PUT    …/apps/{id}/app-acl         from where an app may call            201, V2
//! GET    …/apps/{id}/app-acl                                               V2
//! DELETE …/apps/{id}/app-acl         from anywhere                         204, V2
//!
//! POST   …/throttles                 a throttling policy                          201
//! GET    …/throttles                 a page of them, newest first
//! GET    …/throttles/{id}
//! PUT    …/throttles/{id}
//! DELETE …/throttles/{id}            one that is bound to no API                  204
//! POST   …/throttle-bindings         a policy to APIs                             201
//! PUT    …/throttle-bindings?action=delete   many from their APIs
//! DELETE …/throttle-bindings/{id}    one from its API                             204
//! GET    …/throttle-bindings/binded-apis        those that a policy is bound to
//! GET    …/throttle-bindings/unbinded-apis      the others
//! GET    …/throttle-bindings/binded-throttles   the one that is bound to an API
//! POST   …/throttle-specials         another limit for an app or user             201, V1
//! GET    …/throttle-specials/{id}    those of a policy                            V1
//! POST   …/throttles/{id}/throttle-specials     the same                          201, V2
//! GET    …/throttles/{id}/throttle-specials     the same                          V2
//! PUT    …/throttles/{id}/throttle-specials/{id}                                  V2
//! DELETE …/throttles/{id}/throttle-specials/{id}                                  204, V2
//!
//! POST   …/app-quotas                a quota of apps                              201, V2
//! GET    …/app-quotas                a page of them, newest first                 V2
//! GET    …/app-quotas/{id}                                                        V2
//! PUT    …/app-quotas/{id}                                                        V2
//! DELETE …/app-quotas/{id}           and its apps have none any more              204, V2
//! POST   …/app-quotas/{id}/binding-apps         for apps                          201, V2
//! GET    …/app-quotas/{id}/bound-apps           those that have it                V2
//! GET    …/app-quotas/{id}/bindable-apps        those that have none              V2
//! DELETE …/app-quotas/{id}/bound-apps/{id}      for an app no more                204, V2
//! GET    …/apps/{id}/bound-quota     that of an app                               V2
//! ```
//!
//! `…` is `/v1/{project_id}/apigw/instances/{instance_id}` or the same with `/v2`.
//!
//! Who manages apps is an operator, by a token in `X-Auth-Token` or by a signature (AK/SK, SDK-HMAC-SHA256) of a key
//! of kind `signing`. Both are scoped to a project: they reach every gateway of that project, and no other. Every
//! error is `{"error_code","error_msg"}`.
//!
//! # One app, two versions
//!
//! An app is kept once, under a UUID with hyphens. V1 shows and takes it so; V2 shows it as 32 digits without
//! hyphens, and takes both. An id that is no UUID is the same in both. What looks at paths sees those of V1: a lock
//! on one holds for both.
//!
//! # Who learns a secret
//!
//! V1 prints `app_secret` as six asterisks in every body. A secret that was generated, in a creation or a
//! reset without one, is told once all the same: in the field `X-App-Secret` of that answer. V2 shows the
//! secret as it is, in every answer, to a token that may change the app; to one that may only look, six asterisks. AppCodes are shown likewise.
//! Every answer has `Cache-Control: no-store`.
//!
//! # APIs
//!
//! An API is a route of the gateway that lets only authorized callers pass; its id and its name are the route's
//! name. There is one environment, `DEFAULT_ENVIRONMENT_RELEASE_ID`, and there are no groups.
//!
//! # Throttling policies and quotas
//!
//! A policy counts the calls of the gateway's own apps, on every node by itself since it started, from the first call
//! of a period to its end; without one, an API has no such limit. The user that it limits is the gateway's project,
//! with all its apps. Whoever is one too many is told so by the API: 429, and `Retry-After`; where the answer has the
//! form of this contract, APIG.0308, and APIG.0501 under 405 when it is the app's quota.
//!
//! # Where the contract is silent, or says two things
//!
//! * A signature that does not hold is APIG.0301 ("Incorrect IAM authentication information"), the code that the
//!   contract has for AK/SK; APIG.1000 to 1009 are about tokens. Who neither signs nor has a token is APIG.1000, a
//!   signing key that has ended is APIG.1001 like a token, one that is disabled and an app's own APIG.1005. A token and
//!   a signature at once are APIG.2000.
//! * Five misses lock out for five minutes, tokens and signatures counted together: not the access key, which whoever
//!   knows it could lock its owner out of, but the address that they came from. Everything without a valid token or
//!   signature is 403 APIG.1005 from there until then, with `Retry-After`.
//! * Content is signed: `UNSIGNED-PAYLOAD` is not taken. What an operation has no content for is not looked at.
//! * Letters of names are ASCII letters in V1, as its page says, and in V2 Chinese characters, too. An app or a policy
//!   with such a name keeps it in a modification by V1 that repeats it.
//! * Lengths count characters. V1 takes keys and secrets of up to 64; V2 keys of 200 and secrets of 128.
//! * A remark that is absent or empty stays as it was: it cannot be set back to empty. `<`, `>`, control characters and
//!   others that cannot be seen are not taken.
//! * An app that an operator under a plan makes is under the same plan.
//! * `app_key` and `app_secret` are refused (APIG.2012) while the gateway does not let operators choose them.
//! * Members that a version of the contract does not know are ignored, and `null` is an absent member: APIG.2001 for a
//!   mandatory one. A repeated member is APIG.2000, as is one of another type, which the text names, and a body beyond
//!   64 KiB.
//! * There is no 409 for a change: of two at once, the later one stands whole. Deleting an app of the marketplace
//!   is APIG.1104, in V1 under the 409 that only this operation lists, in V2 under 403.
//! * A lapsed subscription may look and delete.
//! * A change is made, and a secret shown, only if the token or signing key is still accepted then: APIG.1002 otherwise.
//!   Once a change is answered, this node decides by it; if that takes longer than two seconds, the answer has
//!   `X-Portcullis-Pending`.
//! * A list holds what the token's scopes cover. A name matches when it holds the text, whatever the case of its
//!   letters; exactly with `precise_search=name`. A parameter without a value is none; one that is no value is
//!   APIG.2012, twice the same is APIG.2000, an unknown one is nobody's business.
//! * An AppCode that is one already, of whatever app, is APIG.3309: no code is published for that.
//! * Of authorizations that are asked for together, those that are there already are SKIPPED (APIG.3316), those for
//!   an API that is none have FAILED (APIG.3002), and the others are made, in one transaction. An app that is none
//!   is APIG.3004 for all of them. More than 500 at once are APIG.2011.
//! * Addresses are at most 100 values; what is none is APIG.2011. Without them, an app's `app_acl_type` is empty.
//! * Verifying an app is for every token that may read apps, whichever gateway the app belongs to. The path names a
//!   gateway of the token's project, or the app's own.
//! * Throttling policies and quotas are the whole gateway's: a token that is confined to some apps has no access to
//!   them; it may see the quota of an app that it may see.
//! * What a modification of them does not name stays. A limit that is as wide as that of the API is none.
//! * An API has one policy of a gateway: another that is bound to it takes the place of the one before. Binding what
//!   is bound changes nothing. The publication of an API is the API: `publish_ids` are ids of APIs.
//! * An app has one quota, likewise. Bound together, all apps have it, or none.
//! * A number out of range is APIG.2002 or APIG.2003, a word that is none of those listed APIG.2004, limits that
//!   are wider than those which contain them APIG.2011.
//! * `reset_time` is in UTC, also taken as RFC 3339 has it. A period that begins with a call begins with its second.
//! * More than 30 excluded apps or users of a policy, or more quotas than there may be, are APIG.3100.
//! * Ids have one spelling: percent-encoded, they are not found, unless a gateway in front has brought the path into
//!   its normal form.

mod acl;
mod apps;
mod auth_request;
mod auth_response;
mod auths;
mod call_context;
mod codes;
mod request;
mod query;
mod quotas;
mod error;
mod routes;
mod response;
mod openapi;
mod throttles;
mod version;

pub use openapi::descriptions;

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use axum::{Router, middleware, response::IntoResponse};
use http::{Extensions, HeaderName};

use crate::{
    Denial,
    model::{Access, App, Caller, CallerId, RouteName, Sealed, Sealer, Secret, Tenant},
    clock::Clock,
    directory::Directory,
    limit::MinDataRate,
    policy::{ApiKey, BodyBuffering, RequireUnlocked, Lockout, RateLimit, RateLimitFields, RequireScope, Signature, KeySource},
    problem::ErrorFormat,
    registry::{RegistryError, Registry},
    surface::{
        MAX_BODY_BYTES,
        author::{Author, authored},
        no_store,
    },
    tower::PortcullisLayer,
};
use call_context::{CallContext, RESOURCE};
use error::ApigError;
use routes::routes;
use version::{BothVersions, V1PathSpelling, Version};

/// The most content that waits to be decided about, in all requests.
const SIGNED_AT_ONCE: u64 = 16 * 1024 * 1024;

/// What the surface stands on.
#[derive(Clone)]
pub struct Apig {
    /// Where the apps live.
    pub registry: Arc<dyn Registry>,
    /// Where tokens, access keys and locks are looked up; it follows the registry.
    pub directory: Arc<Directory>,
    /// What limits and locks count on.
    pub clock: Arc<dyn Clock>,
    /// What seals the apps' secrets, and those that operators sign with.
    pub sealer: Arc<Sealer>,
    /// How many AppCodes an app may have; the contract says 5.
    pub app_codes: u32,
    /// How many throttling policies a gateway may have; the contract says 300.
    pub throttles: u32,
    /// How many quotas a gateway may have.
    pub quotas: u32,
    /// Who sends bad tokens and signatures. Surfaces that share it count together; the contract says five misses, and
    /// five minutes.
    pub lockout: Arc<Lockout>,
    /// The APIs that apps are authorized for: routes of the gateway, by name.
    pub apis: BTreeSet<RouteName>,
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
///     app_codes: 5,
///     throttles: 300,
///     quotas: 300,
///     lockout: Arc::default(),
///     apis: ["orders".parse().unwrap()].into(),
///     peer: Peer::find,
/// });
/// ```
pub fn router(surface: Apig) -> Router {
    let token = ApiKey::new(surface.directory.clone())
        .sources([KeySource::Field(HeaderName::from_static("x-auth-token"))])
        .caller_kinds(&["operator"])
        .admit_lapsed()
        .realm("apig");
    let signature = Signature::new(surface.directory.clone(), surface.sealer.clone())
        .caller_kinds(&["operator"])
        .admit_lapsed()
        .realm("apig")
        .lockout(surface.lockout.clone())
        .only_signed_content()
        .intake(BodyBuffering::new(MAX_BODY_BYTES as u64, MinDataRate::default(), SIGNED_AT_ONCE));
    let guard = (
        signature.or(token),
        // The handlers know which app is asked for.
        RequireScope::new(RESOURCE).any_target(),
        BothVersions(RequireUnlocked::new(surface.directory.clone())),
        V1PathSpelling,
        RateLimit::new().fields(RateLimitFields { draft_10: false, x_ratelimit: false }),
    );
    let guard = PortcullisLayer::new(guard)
        .verify_content()
        .error_format(ErrorFormat::ApigManagement)
        .clock(surface.clock.clone())
        .peer_from(surface.peer);
    let author = Author {
        surface: "apig",
        registry: surface.registry.clone(),
        directory: surface.directory.clone(),
        clock: surface.clock.clone(),
        oneself: None,
        refuse: |fault, now| ApigError::of(fault, Denial::NotFound.into(), now).into_response(),
    };
    Router::new()
        .merge(routes(Version::One))
        .merge(routes(Version::Two))
        .fallback(|| async { ApigError::from(Denial::NotFound) })
        .with_state(Arc::new(surface))
        .layer(middleware::from_fn_with_state(author, authored))
        .layer(guard)
        .layer(middleware::map_response(no_store))
}

impl Apig {
    /// The gateway that is asked about.
    async fn gateway(&self, asked: &CallContext) -> Result<Tenant, ApigError> {
        let tenant = self.registry.gateway(&asked.project, &asked.instance).await;
        tenant.map_err(|fault| self.refuse(fault, asked.no_instance()))
    }

    /// The same, for who may do that to all of it.
    async fn gateway_for(&self, asked: &CallContext, access: Access) -> Result<Tenant, ApigError> {
        asked.require_full_access(access)?;
        self.gateway(asked).await
    }

    /// An app of the gateway; callers of other kinds do not exist here.
    async fn find(&self, tenant: &Tenant, id: &CallerId, asked: &CallContext) -> Result<Caller, ApigError> {
        let caller = self.registry.caller(&tenant.id, id).await;
        let missing = || asked.no_app(id.as_str());
        let caller = caller.map_err(|fault| self.refuse(fault, missing()))?;
        if caller.app().is_some() { Ok(caller) } else { Err(missing()) }
    }

    fn seal(&self, secret: &Secret, tenant: &Tenant, id: &CallerId) -> Sealed {
        self.sealer.seal(secret, &App::seal_context(&tenant.id, id))
    }

    /// A fault as a refusal; `missing` is what is not there, when something is not.
    fn refuse(&self, fault: RegistryError, missing: ApigError) -> ApigError {
        ApigError::of(fault, missing, self.clock.now().time)
    }
}
