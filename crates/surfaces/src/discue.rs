//! Manages the api clients and api keys of discue.io.
//!
//! ```text
//! POST   /api_clients         {"name"?, "id"?}               a new api client
//! GET    /api_clients                                        all api clients of the organization
//! GET    /api_clients/{id}
//! PUT    /api_clients/{id}    {"name"?, "id"?}
//! DELETE /api_clients/{id}                                   with its keys
//! POST   /api_keys            {"name"?, "status"?, "scopes"?} a new key, shown only in this response
//! GET    /api_keys                                           all keys of the calling api client
//! GET    /api_keys/{id}
//! PUT    /api_keys/{id}       {"name"?, "status"?, "scopes"?}
//! DELETE /api_keys/{id}
//! ```
//!
//! Every path exists under `/v1`, too; links have no `/v1`. `?pretty` indents the response, errors included. Every
//! success is 200: the entity or the list under its name, beside `_links`. The response for one entity has an `ETag`;
//! the response to a deletion has only `_links`. Every error body is exactly `{"title","status"}`. The key in
//! `X-API-KEY` determines the organization; the path does not name it.
//!
//! The contract does not say the following:
//!
//! * A blank body counts as absent. Members that the contract does not define are ignored, and `null` is an absent
//!   member. A repeated member is 400, and so are a member of the wrong type and a body beyond 64 KiB.
//! * No response may be stored by a cache (`Cache-Control: no-store`).
//! * 409 is a lost update: the entity was changed by another request in the meantime, or `If-Match` names a revision
//!   other than the current one. An `id` in the body that differs from the path is also 409, and so is a new api client
//!   with an `id` that exists in the organization.
//! * An `id` is unique within the organization. Two organizations may use one `id`: each sees its own api client under
//!   this `id`. The upstreams behind the gateway and the admin API know the later one by its `id`, a dot and a hash of
//!   its organization.
//! * 422 is a name that is taken or invalid, an invalid `id`, and scopes that cannot be granted.
//! * 402 is a lapsed subscription, under which keys may still read and delete; a subscription that allows no more api
//!   clients; and the key after the hundredth of an api client.
//! * 403 is a scope that does not cover the request. An address that sent ten invalid keys within a minute gets 403 for
//!   every request without a valid key, for a minute.
//! * A key has 64 characters. Reads show its first characters as `key`. `last_used_at` is `null` for a key that was
//!   never used; it may be some seconds old.
//! * An api client sees only its own keys. The scopes that it grants must be within those of the calling key, and a key
//!   with an expiry creates only keys with this expiry. Without `scopes`, a new key has all scopes of the calling key
//!   except the protected ones (`api_clients`, `api_keys`, `subscriptions`), which cannot be granted through the API.
//! * Lists contain everything that the scopes of the calling key cover, in the order of the ids.
//! * A change is committed only if the key is still accepted, and the subscription active, when the body has arrived
//!   (otherwise 401 or 402). The response is sent once this node applies the change; if that takes longer than two
//!   seconds, the response has `X-Portcullis-Pending`.
//! * Locks on resources name paths without `/v1` and apply to both paths.
//! * Ids have one spelling: a percent-encoded id is not found, unless a gateway in front has normalized the path.

mod call_context;
mod clients;
mod description;
mod etag;
mod keys;
mod lock_paths;
mod openapi;
mod pretty;
mod render;
mod response;
mod router;
mod scopes;
mod state;
mod validation;

pub use description::description;
pub use pretty::is_pretty;
pub use render::ErrorFormat;
pub use router::router;
pub use state::{Discue, Operation};
