//! The admin API of Portcullis: tenants, callers, keys, plans, locks, routes and the change log.
//!
//! ```text
//! GET POST         /admin/v1/tenants                                    ?name= &subscription=
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
//! POST             /admin/v1/configuration/reload
//! GET              /admin/v1/export                                     all data, as one file
//! POST             /admin/v1/import                                     ?dry_run=
//! POST             /admin/v1/keys/import                                ?dry_run= &create_callers=
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
//! **Export and import** ([`transfer`](crate::transfer)) are for owners, because the file contains every digest and
//! every sealed secret. At most one export and one import run at a time; a second one is 409. An export is streamed
//! as `application/x-ndjson`; an incomplete one lacks its last line. An import adds such a file to the existing data,
//! all of it or nothing: nothing in the file may exist already, except for equal plans. It leaves out the tenant
//! `administration`, because this gateway has its own: a file creates no administrators. Keys of another gateway are
//! rows in the format of [`transfer::KeyRows`](crate::transfer::KeyRows), as `application/x-ndjson` or `text/csv`. An
//! uploaded file is stored on disk until it is complete, so that a slow client blocks no others. It is then imported
//! to its end, even if the client disconnects. Errors are 422, with the `line` of each in `errors`. `dry_run=true`
//! runs the whole import and rolls it back. Other changes are possible during an import, and the import fails if one
//! of them conflicts with it. For an import, `Lock-Token` only proves that its lock is held.
//!
//! **A reload** of the configuration is for owners. It has the same effect when it is repeated, so an `Idempotency-Key`
//! is ignored.
//!
//! **The description** (OpenAPI 3.1) and its page need no credential: a browser that opens a page has no key to send,
//! and both contain only what is published with the program. Every other path, known or not, is 401 without a key.
//!
//! Ids have one spelling: a percent-encoded id is not found, unless a gateway in front has normalized the path.

#![allow(clippy::option_option, reason = "a patch distinguishes absent members from null members")]

mod call_context;
mod callers;
mod changes;
mod configuration;
mod description;
mod etag;
mod extract;
mod idempotency;
mod in_flight;
mod keys;
mod lock_token;
mod locks;
mod openapi;
mod page;
mod plans;
mod response;
mod roles;
mod router;
mod routes;
mod settings;
mod state;
mod status;
mod tenants;
mod transfers;
mod validation;

pub use description::description;
pub use portcullis::model::ADMIN_TENANT;
pub use router::router;
pub use settings::{
    Admin, DefinedPlans, ImportOptions, InProgress, ReloadConfiguration, ReloadError, Reloaded, Route,
};
