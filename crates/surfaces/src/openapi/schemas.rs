//! Schemas of the domain's words and ids for OpenAPI descriptions. The domain types themselves do not depend on
//! OpenAPI.

use serde::Deserialize;
use utoipa::ToSchema;

/// The pattern of an id: 1 to 64 characters of `A-Z a-z 0-9 - _ .`.
pub(crate) const ID: &str = "^[A-Za-z0-9._-]{1,64}$";

/// An id: 1 to 64 characters of `A-Z a-z 0-9 - _ .`.
#[derive(Deserialize, ToSchema)]
#[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
#[expect(dead_code, reason = "it only describes a text")]
pub(crate) struct Id(String);

/// A text of 1 to 255 characters, without control, formatting or other invisible characters.
#[derive(Deserialize, ToSchema)]
#[schema(
    pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]{1,255}$"
)]
#[expect(dead_code, reason = "it only describes a text")]
pub(crate) struct Name(String);

/// A text of at most 255 characters, without `<`, `>`, and control, formatting or other invisible characters.
#[derive(Deserialize, ToSchema)]
#[schema(
    pattern = "^[^<>\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]{0,255}$"
)]
#[expect(dead_code, reason = "it only describes a text")]
pub(crate) struct Remark(String);

/// An id, or an empty string.
#[derive(Deserialize, ToSchema)]
#[schema(pattern = "^[A-Za-z0-9._-]{0,64}$")]
#[expect(dead_code, reason = "it only describes a text")]
pub(crate) struct MaybeId(String);

/// A search text of at most 256 printable characters.
#[derive(Deserialize, ToSchema)]
#[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]{0,256}$")]
#[expect(dead_code, reason = "it only describes a text")]
pub(crate) struct Text(String);

/// An unsigned 32-bit integer.
#[derive(Deserialize, ToSchema)]
#[schema(maximum = 4_294_967_295u64)]
#[expect(dead_code, reason = "it only describes a number")]
pub(crate) struct Number(u64);

/// The status of a caller or a credential.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// Requests are accepted.
    Enabled,
    /// Requests are denied.
    Disabled,
}

/// The kind of access that a scope allows.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

/// The state of a tenant's subscription.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SubscriptionStatus {
    /// The subscription is active.
    Active,
    /// The subscription has lapsed: the tenant can read, but not make changes.
    Lapsed,
}

/// The role of an administrator. Each role includes the rights of the roles after it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Manages everything.
    Owner,
    /// Manages callers other than administrators, their keys, and locks.
    Operator,
    /// Reads everything and changes nothing.
    ReadOnly,
}

/// The creator of an app.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Creator {
    /// The tenant itself.
    User,
    /// The marketplace.
    Market,
}

/// The requests that a lock denies.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LockedRequests {
    /// Requests that may change something.
    Writes,
    /// Every request.
    All,
}

/// The guarantee of a limit for each window.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WindowGuarantee {
    /// The quota holds on average; a burst comes on top.
    Average,
    /// No window has more requests than the quota.
    Ceiling,
}

/// The kind of a change.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChangeKind {
    /// The entity was created.
    Created,
    /// The entity was updated.
    Updated,
    /// The entity was deleted.
    Deleted,
}

/// A number of requests or of time units.
#[derive(Deserialize, ToSchema)]
#[schema(minimum = 1, maximum = 2_147_483_647)]
#[expect(dead_code, reason = "it only describes a number")]
pub(crate) struct Count(u32);

/// The unit of a period of time.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum TimeUnit {
    Second,
    Minute,
    Hour,
    Day,
}

/// The kind of object to which a special limit applies.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum SpecialOf {
    /// An app.
    App,
    /// A user.
    User,
}

/// The kind of an entity in the change log.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EntityKind {
    Tenant,
    Caller,
    Credential,
    Plan,
    Lock,
    Grant,
    Quota,
    Throttle,
}
