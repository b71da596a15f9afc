//! Manages the apps of a dedicated APIG gateway, in both versions of the contract.
//!
//! ```text
//! POST   …/apps                      create an app                         201
//! GET    …/apps                      a page of apps, newest first
//! GET    …/apps/{id}
//! PUT    …/apps/{id}                 name, remark; key and secret where operators may choose them
//! DELETE …/apps/{id}                 with everything that belongs to it    204
//! PUT    …/apps/secret/{id}          reset the secret
//! GET    …/apps/validation/{id}      id, name, remark
//! GET    …/resources/outline/apps    number of apps
//!
//! POST   …/app-auths                 authorize apps for APIs, one result per pair        201
//! DELETE …/app-auths/{id}                                                         204
//! GET    …/app-auths/binded-apis     APIs that an app is authorized for
//! GET    …/app-auths/unbinded-apis   APIs that an app is not authorized for
//! GET    …/app-auths/binded-apps     apps that are authorized for an API
//!
//! POST   …/apps/{id}/app-codes       add a given AppCode                   201, V2
//! PUT    …/apps/{id}/app-codes       generate an AppCode                   201, V2
//! GET    …/apps/{id}/app-codes       a page of AppCodes, newest first      V2
//! GET    …/apps/{id}/app-codes/{id}                                        V2
//! DELETE …/apps/{id}/app-codes/{id}                                        204, V2
//! PUT    …/apps/{id}/app-acl         set the addresses an app may call from     201, V2
//! GET    …/apps/{id}/app-acl                                               V2
//! DELETE …/apps/{id}/app-acl         allow every address                   204, V2
//!
//! POST   …/throttles                 create a throttling policy                   201
//! GET    …/throttles                 a page of policies, newest first
//! GET    …/throttles/{id}
//! PUT    …/throttles/{id}
//! DELETE …/throttles/{id}            only while it is bound to no API             204
//! POST   …/throttle-bindings         bind a policy to APIs                        201
//! PUT    …/throttle-bindings?action=delete   unbind many APIs
//! DELETE …/throttle-bindings/{id}    unbind one API                               204
//! GET    …/throttle-bindings/binded-apis        APIs that a policy is bound to
//! GET    …/throttle-bindings/unbinded-apis      APIs that a policy is not bound to
//! GET    …/throttle-bindings/binded-throttles   the policy that is bound to an API
//! POST   …/throttle-specials         set another limit for an app or user         201, V1
//! GET    …/throttle-specials/{id}    a page of excluded configurations            V1
//! POST   …/throttles/{id}/throttle-specials     set another limit for an app or user  201, V2
//! GET    …/throttles/{id}/throttle-specials     a page of excluded configurations     V2
//! PUT    …/throttles/{id}/throttle-specials/{id}                                  V2
//! DELETE …/throttles/{id}/throttle-specials/{id}                                  204, V2
//!
//! POST   …/app-quotas                create a quota of apps                       201, V2
//! GET    …/app-quotas                a page of quotas, newest first               V2
//! GET    …/app-quotas/{id}                                                        V2
//! PUT    …/app-quotas/{id}                                                        V2
//! DELETE …/app-quotas/{id}           with its bindings to apps                    204, V2
//! POST   …/app-quotas/{id}/binding-apps         bind a quota to apps              201, V2
//! GET    …/app-quotas/{id}/bound-apps           apps that have the quota          V2
//! GET    …/app-quotas/{id}/bindable-apps        apps without a quota              V2
//! DELETE …/app-quotas/{id}/bound-apps/{id}      unbind one app                    204, V2
//! GET    …/apps/{id}/bound-quota     the quota of an app                          V2
//! ```
//!
//! `…` is `/v1/{project_id}/apigw/instances/{instance_id}`, or this path with `/v2`.
//!
//! Operators manage apps. An operator sends a token in `X-Auth-Token` or signs the request (AK/SK, SDK-HMAC-SHA256)
//! with a key of kind `signing`. Both are scoped to a project: they give access to every gateway of that project and
//! to no other gateway. Every error body is `{"error_code","error_msg"}`.
//!
//! # One app, two versions
//!
//! An app is stored once, under a UUID with hyphens. V1 shows and accepts this form. V2 shows the id as 32 digits
//! without hyphens and accepts both forms. Any other id is spelled alike in both versions. Locks are
//! compared with both paths of a request, and a lock on either path locks both. Handlers see the V1 path.
//!
//! # Visibility of secrets
//!
//! V1 prints `app_secret` as six asterisks in every body. A secret that the gateway generates, in a creation or a reset
//! without one, is returned once: in the header `X-App-Secret` of that response. V2 returns the secret in every
//! response to a token that may change the app, and six asterisks to a token that may only read it. V2 returns AppCodes
//! by this rule, too. Every response has `Cache-Control: no-store`.
//!
//! # APIs
//!
//! An API is a route of the gateway that allows only authorized callers; its id and its name are the route's name.
//! There is one environment, `DEFAULT_ENVIRONMENT_RELEASE_ID`, and there are no groups.
//!
//! # Throttling policies and quotas
//!
//! A policy counts the calls of the gateway's own apps. Each node counts by itself from its start, and a period runs
//! from its first call to its end. An API without a policy has no such limit. The user that a policy limits is the
//! gateway's project, with all its apps. A call over a limit is denied with 429 and `Retry-After`. In the error format
//! of this contract, the code is APIG.0308; a call over the app's quota is 405 with APIG.0501.
//!
//! # Where the contract is silent, or says two things
//!
//! * An invalid signature is APIG.0301 ("Incorrect IAM authentication information"), the contract's code for AK/SK;
//!   APIG.1000 to 1009 are about tokens. A request with neither a signature nor a token is APIG.1000. A signing key
//!   that has expired is APIG.1001, like a token; a disabled signing key and the key of an app are APIG.1005. A request
//!   with both a token and a signature is APIG.2000.
//! * Five failed attempts lock out an address for five minutes; tokens and signatures are counted together. The lockout
//!   applies to the address and not to the access key, because anyone who knows an access key could lock out its owner.
//!   Until it ends, every request from the address without a valid token or signature is 403 APIG.1005 with
//!   `Retry-After`.
//! * A signature must cover the body: `UNSIGNED-PAYLOAD` is not accepted. The body of an operation that defines none is
//!   ignored.
//! * Letters of names are ASCII letters in V1, as its page says, and also Chinese characters in V2. An app or a policy
//!   with such a name keeps it if a V1 modification repeats it.
//! * Lengths count characters. V1 accepts keys and secrets of up to 64 characters, V2 keys of up to 200 and secrets of
//!   up to 128.
//! * An absent or empty remark leaves the stored remark unchanged: it cannot be set back to empty. `<`, `>`, control
//!   characters and other invisible characters are not accepted.
//! * An app that an operator under a plan creates is under this plan, too.
//! * `app_key` and `app_secret` are denied (APIG.2012) while the gateway does not allow operators to choose them.
//! * Members that a version of the contract does not define are ignored. `null` is an absent member: APIG.2001 if the
//!   member is mandatory. A repeated member is APIG.2000, and so are a member of the wrong type, which the text names,
//!   and a body beyond 64 KiB.
//! * Concurrent changes are never 409: the later of two changes wins as a whole. Deleting an app of the marketplace is
//!   APIG.1104, in V1 with the status 409, which only this operation lists, and in V2 with 403.
//! * An operator with a lapsed subscription may read and delete.
//! * A change is committed, and a secret or an error shown, only if the token or signing key is still accepted at that
//!   time; otherwise the response is APIG.1002. The response to a change is sent once this node applies the change; if
//!   that takes longer than two seconds, the response has `X-Portcullis-Pending`.
//! * A list contains the apps that the token's scopes cover. A name filter matches a part of the name and ignores ASCII
//!   case; with `precise_search=name` it matches the exact name. A parameter with an empty value counts as absent, an
//!   invalid value is APIG.2012, a repeated parameter is APIG.2000, and unknown parameters are ignored.
//! * An AppKey and an AppCode are unique across all gateways, because a request carries nothing else that names its
//!   app. An AppKey that already exists, in any gateway, is APIG.3310, as in the contract. This tells no more than a
//!   call with a wrong signature: its response, which needs no token, also tells whether the AppKey exists.
//! * An AppCode that already exists, for any app, is APIG.3309: the contract has no code for that. An AppCode has at
//!   least 64 characters.
//! * One request may authorize several apps for several APIs, in one transaction. A pair that is already authorized is
//!   SKIPPED (APIG.3316), a pair with an unknown API is FAILED (APIG.3002), and the other pairs are authorized. An
//!   unknown app is APIG.3004 for the whole request. More than 500 pairs are APIG.2011.
//! * An address list has at most 100 values; an invalid value is APIG.2011. An app without a list has an empty
//!   `app_acl_type`.
//! * Any token that may read apps can verify an app, whichever gateway the app belongs to. The path names a gateway of
//!   the token's project, or the app's own gateway.
//! * Throttling policies and quotas belong to the whole gateway: a token that is limited to some apps has no access to
//!   them, but it may read the quota of an app that it may read.
//! * A modification of a policy or quota leaves absent members unchanged. A limit as high as that of the API has no
//!   effect.
//! * An API has at most one policy of a gateway: binding another policy replaces it. Binding a bound policy again
//!   changes nothing. The publication of an API is the API: `publish_ids` are ids of APIs.
//! * An app likewise has at most one quota. Binding a quota to several apps applies to all of them or to none.
//! * A number out of range is APIG.2002 or APIG.2003, a word outside the listed values APIG.2004, and a limit above the
//!   limit that contains it APIG.2011.
//! * `reset_time` is in UTC; the format of RFC 3339 is accepted, too. A period that begins with a call begins at the
//!   start of that call's second.
//! * More than 30 excluded apps or users of a policy, or more quotas than the limit, are APIG.3100.
//! * Ids have one spelling: a percent-encoded id is not found, unless a gateway in front has normalized the path.

mod acl;
mod apps;
mod auth_request;
mod auth_response;
mod auths;
mod call_context;
mod codes;
mod description;
mod error;
mod extract;
mod lock_paths;
mod openapi;
mod query;
mod quotas;
mod render;
mod request;
mod response;
mod router;
mod state;
mod throttles;
mod version;

pub use description::descriptions;
pub use render::ErrorFormat;
pub use router::router;
pub use state::Apig;
