//! What the domain's words and ids look like in descriptions: below the surfaces, nobody knows of descriptions.

use serde::Deserialize;
use utoipa::ToSchema;

/// An id: 1 to 64 of `A-Z a-z 0-9 - _ .`.
pub(in super::super) const ID: &str = "^[A-Za-z0-9._-]{1,64}$";

/// An id.
#[derive(Deserialize, ToSchema)]
#[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
#[expect(dead_code, reason = "it only describes a text")]
pub(in super::super) struct Id(String);

/// 1 to 255 characters, none of them a control, formatting or otherwise invisible character.
#[derive(Deserialize, ToSchema)]
#[schema(
    pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]{1,255}$"
)]
#[expect(dead_code, reason = "it only describes a text")]
pub(in super::super) struct Name(String);

/// At most 255 characters, none of them `<`, `>`, or a control, formatting or otherwise invisible character.
#[derive(Deserialize, ToSchema)]
#[schema(
    pattern = "^[^<>\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]{0,255}$"
)]
#[expect(dead_code, reason = "it only describes a text")]
pub(in super::super) struct Remark(String);

/// An id, or nothing.
#[derive(Deserialize, ToSchema)]
#[schema(pattern = "^[A-Za-z0-9._-]{0,64}$")]
#[expect(dead_code, reason = "it only describes a text")]
pub(in super::super) struct MaybeId(String);

/// What is searched for: at most 256 characters that can be printed.
#[derive(Deserialize, ToSchema)]
#[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]{0,256}$")]
#[expect(dead_code, reason = "it only describes a text")]
pub(in super::super) struct Text(String);

/// A whole number of 32 bits.
#[derive(Deserialize, ToSchema)]
#[schema(maximum = 4_294_967_295u64)]
#[expect(dead_code, reason = "it only describes a number")]
pub(in super::super) struct Number(u64);

/// Whether it is accepted.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Status {
    /// It is.
    Enabled,
    /// It is known, and refused.
    Disabled,
}

/// What may be done.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Access {
    /// Look.
    Read,
    /// Look and change.
    Write,
}

/// Whether a tenant's subscription holds.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Standing {
    /// It does.
    Active,
    /// It does not: the tenant may look, not change.
    Lapsed,
}

/// What an administrator may do; each may what those after it may.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Role {
    /// Everything.
    Owner,
    /// Callers but administrators, their keys, locks.
    Operator,
    /// Look.
    ReadOnly,
}

/// Who made an app.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(in super::super) enum Creator {
    /// The tenant itself.
    User,
    /// The marketplace.
    Market,
}

/// Which requests a lock stops.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Covers {
    /// Those that may change something.
    Writes,
    /// Every request.
    All,
}

/// What holds of every window.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Promise {
    /// On the average the quota.
    Average,
    /// Never more than the quota.
    Ceiling,
}

/// What happened.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Verb {
    /// It is new.
    Created,
    /// It is different.
    Updated,
    /// It is gone.
    Deleted,
}

/// A number of calls, or of units of time.
#[derive(Deserialize, ToSchema)]
#[schema(minimum = 1, maximum = 2_147_483_647)]
#[expect(dead_code, reason = "it only describes a number")]
pub(in super::super) struct Count(u32);

/// In what time is counted.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(in super::super) enum TimeUnit {
    Second,
    Minute,
    Hour,
    Day,
}

/// Whose limit is another one.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(in super::super) enum SpecialOf {
    /// An app's.
    App,
    /// A user's.
    User,
}

/// What can change.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum EntityKind {
    Tenant,
    Caller,
    Credential,
    Plan,
    Lock,
    Grant,
    Quota,
    Throttle,
}
