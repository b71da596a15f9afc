//! Request bodies about apps, and validation rules that other requests share.

use std::{num::NonZeroU32, ops::RangeInclusive};

use serde::Deserialize;
use utoipa::ToSchema;

use super::{error::ApigError, version::Version};
use crate::{openapi::schemas, parse_object};
use portcullis::model::{
    Period, Secret, TimeUnit,
    name::{is_app_remark, is_chinese, is_identifier},
};

/// The maximum number of calls, and of units of time.
const GREATEST: i64 = 2_147_483_647;

/// The request to create or update an app.
#[derive(Deserialize, ToSchema)]
pub(super) struct AppBody {
    /// The name: 3 to 64 letters, digits and `_`, starting with a letter. In V2, Chinese characters are letters, too.
    #[serde(default)]
    #[schema(value_type = String, required = true, pattern = r"^[A-Za-z\u4e00-\u9fa5][A-Za-z0-9_\u4e00-\u9fa5]{2,63}$")]
    name: Option<String>,
    /// The description: at most 255 characters.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Remark>, required = false)]
    remark: Option<String>,
    /// The AppKey: 8 to 64 characters, in V2 up to 200.
    #[serde(default)]
    #[schema(value_type = Option<String>, required = false, min_length = 8, max_length = 200, pattern = "^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    app_key: Option<String>,
    /// The AppSecret: 8 to 64 characters, in V2 up to 128.
    #[serde(default)]
    #[schema(value_type = Option<String>, required = false, min_length = 8, max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9_!@#$%-]*$")]
    app_secret: Option<String>,
}

/// The request to reset the secret of an app.
#[derive(Default, Deserialize, ToSchema)]
pub(super) struct ResetBody {
    /// The new secret. Without it, a secret is generated.
    #[serde(default)]
    #[schema(value_type = Option<String>, required = false, min_length = 8, max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9_!@#$%-]*$")]
    app_secret: Option<String>,
}

/// The validated members of an [`AppBody`].
pub(super) struct AppFields {
    pub(super) name: String,
    pub(super) remark: Option<String>,
    pub(super) key: Option<String>,
    pub(super) secret: Option<Secret>,
}

impl AppFields {
    /// Parses and validates a body. Key and secret are accepted only if the gateway has `custom_keys`. The `present`
    /// name of an app is accepted under the rule of either version.
    pub(super) fn read(
        content: &[u8],
        custom_keys: bool,
        version: Version,
        present: Option<&str>,
    ) -> Result<Self, ApigError> {
        let AppBody { name, remark, app_key: key, app_secret } = parse_object(content)?;
        let secret = app_secret.map(Secret::from);
        let name = name.filter(|name| !name.is_empty()).ok_or(ApigError::Missing("name"))?;
        let remark = remark.filter(|remark| !remark.is_empty());
        ensure(present == Some(&*name) || is_name(&name, version), "name")?;
        ensure(remark.as_deref().is_none_or(is_app_remark), "remark")?;
        if !custom_keys && key.is_some() {
            return Err(ApigError::NotSupported("app_key"));
        }
        may_choose(secret.as_ref(), custom_keys)?;
        ensure(key.as_deref().is_none_or(|key| is_key(key, version)), "app_key")?;
        ensure(secret.as_ref().is_none_or(|secret| is_secret(secret.expose(), version)), "app_secret")?;
        Ok(Self { name, remark, key, secret })
    }
}

/// The validated members of a [`ResetBody`].
pub(super) struct ResetFields {
    pub(super) secret: Option<Secret>,
}

impl ResetFields {
    /// Parses and validates a body. A blank body is accepted and names no secret.
    pub(super) fn read(content: &[u8], custom_keys: bool, version: Version) -> Result<Self, ApigError> {
        let blank = content.trim_ascii().is_empty();
        let ResetBody { app_secret } = if blank { ResetBody::default() } else { parse_object(content)? };
        let secret = app_secret.map(Secret::from);
        may_choose(secret.as_ref(), custom_keys)?;
        ensure(secret.as_ref().is_none_or(|secret| is_secret(secret.expose(), version)), "app_secret")?;
        Ok(Self { secret })
    }
}

fn may_choose(secret: Option<&Secret>, custom_keys: bool) -> Result<(), ApigError> {
    if custom_keys || secret.is_none() { Ok(()) } else { Err(ApigError::NotSupported("app_secret")) }
}

/// Checks that a member follows its rule.
pub(super) fn ensure(holds: bool, member: &'static str) -> Result<(), ApigError> {
    if holds { Ok(()) } else { Err(ApigError::Invalid(member)) }
}

/// Checks a number of calls or of units of time: 1 to 2,147,483,647.
pub(super) fn count(number: i64, member: &'static str) -> Result<NonZeroU32, ApigError> {
    if number > GREATEST {
        return Err(ApigError::TooLarge(member));
    }
    u32::try_from(number).ok().and_then(NonZeroU32::new).ok_or(ApigError::TooSmall(member))
}

/// Parses the period in which calls are counted.
pub(super) fn period(unit: Option<&str>, interval: Option<i64>) -> Result<Period, ApigError> {
    let unit = unit.filter(|unit| !unit.is_empty()).ok_or(ApigError::Missing("time_unit"))?;
    let known = TimeUnit::ALL.into_iter().find(|known| known.as_str() == unit);
    Ok(Period {
        unit: known.ok_or(ApigError::UnknownValue("time_unit"))?,
        interval: count(interval.ok_or(ApigError::Missing("time_interval"))?, "time_interval")?,
    })
}

/// Returns `true` if a text is a valid name of a quota: up to 255 characters. Only V2 has quotas.
pub(super) fn is_quota_name(text: &str) -> bool {
    is_identifier(text, 255, letters(Version::Two))
}

/// Returns `true` if a text is a valid name of an app or a throttling policy.
pub(super) fn is_name(text: &str, version: Version) -> bool {
    is_identifier(text, 64, letters(version))
}

/// Returns the test for letters of names: ASCII letters in V1, and also Chinese characters in V2, as their pages say.
fn letters(version: Version) -> fn(char) -> bool {
    match version {
        Version::One => |c| c.is_ascii_alphabetic(),
        Version::Two => |c| c.is_ascii_alphabetic() || is_chinese(c),
    }
}

/// Returns `true` for `^[A-Za-z0-9][A-Za-z0-9_-]{7,63}$`, in V2 `{7,199}`.
fn is_key(text: &str, version: Version) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let most = if version == Version::One { 64 } else { 200 };
    is_text(text, 8..=most, |b| b.is_ascii_alphanumeric(), inner)
}

/// Returns `true` for `^[A-Za-z0-9][A-Za-z0-9_\-!@#$%]{7,63}$`, in V2 `{7,127}`.
fn is_secret(text: &str, version: Version) -> bool {
    let inner =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'!' | b'@' | b'#' | b'$' | b'%');
    let most = if version == Version::One { 64 } else { 128 };
    is_text(text, 8..=most, |b| b.is_ascii_alphanumeric(), inner)
}

/// Returns `true` if a text has this length, starts with a `first` byte and continues with `inner` bytes. `inner`
/// accepts only ASCII, so the length in bytes is the length in characters.
pub(super) fn is_text(
    text: &str,
    length: RangeInclusive<usize>,
    first: fn(u8) -> bool,
    inner: fn(u8) -> bool,
) -> bool {
    length.contains(&text.len()) && text.bytes().next().is_some_and(first) && text.bytes().skip(1).all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x(count: usize) -> String {
        "x".repeat(count)
    }

    #[test]
    fn name_follows_the_rule_of_its_version() {
        let (longest, too_long) = ("应".repeat(64), "应".repeat(65));
        for (text, in_v1, in_v2) in [
            ("app_001", true, true),
            ("a__", true, true),
            ("Z09", true, true),
            (&x(64), true, true),
            ("应用程序", false, true),
            ("应用_1", false, true),
            ("a应用", false, true),
            (&longest, false, true),
            (&too_long, false, false),
            ("应用", false, false),
            (&x(2), false, false),
            (&x(65), false, false),
            ("1pp", false, false),
            ("_pp", false, false),
            ("app-1", false, false),
            ("app 1", false, false),
            ("app\n", false, false),
            ("äpp", false, false),
            ("", false, false),
        ] {
            let fits = [Version::One, Version::Two].map(|version| is_name(text, version));
            assert_eq!(fits, [in_v1, in_v2], "{text:?}");
        }
        assert!(is_quota_name(&"应".repeat(255)) && !is_quota_name(&"应".repeat(256)));
    }

    #[test]
    fn key_is_8_to_64_characters_starting_with_a_letter_or_digit() {
        for (text, fits) in [
            ("app_key_sample", true),
            ("d49b1cbf-cc81-4a5f-b2a0-61b568e376eb", true),
            ("0-------", true),
            (&x(8), true),
            (&x(64), true),
            (&x(7), false),
            (&x(65), false),
            ("-1234567", false),
            ("_1234567", false),
            ("1234567!", false),
            ("1234567é", false),
            ("", false),
        ] {
            assert_eq!(is_key(text, Version::One), fits, "{text:?}");
        }
    }

    #[test]
    fn secret_may_have_special_characters() {
        for (text, fits) in [
            ("app_secret_sample", true),
            ("a_-!@#$%", true),
            (&x(8), true),
            (&x(64), true),
            (&x(7), false),
            (&x(65), false),
            ("!1234567", false),
            ("1234567^", false),
            ("1234567&", false),
            ("1234567 ", false),
            ("", false),
        ] {
            assert_eq!(is_secret(text, Version::One), fits, "{text:?}");
        }
    }

    #[test]
    fn v2_accepts_longer_keys_and_secrets() {
        let fits = |length| (is_key(&x(length), Version::Two), is_secret(&x(length), Version::Two));
        assert_eq!(
            [7, 8, 128, 129, 200, 201].map(fits),
            [(false, false), (true, true), (true, true), (true, false), (true, false), (false, false)]
        );
    }
}
