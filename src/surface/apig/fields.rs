//! The bodies of requests about apps: what to make, or to change.

use std::{num::NonZeroU32, ops::RangeInclusive};

use serde::Deserialize;
use utoipa::ToSchema;

use super::{Refusal, Version};
use crate::{
    app::{Period, Secret, TimeUnit},
    surface::{object, present},
};

/// The longest remark, in characters.
const LONGEST_REMARK: usize = 255;
/// The greatest number of calls, and of units of time.
const GREATEST: i64 = 2_147_483_647;

/// The body of a creation and of a modification.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AppBody {
    /// 3 to 64 letters, digits and `_`, a letter first.
    #[serde(default)]
    #[schema(value_type = String, required = true, pattern = "^[A-Za-z][A-Za-z0-9_]{2,63}$")]
    name: Option<String>,
    /// At most 255 characters.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, max_length = 255, pattern = r"^[^<>\u0000]*$")]
    remark: Option<String>,
    /// 8 to 64 characters, in V2 to 200.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 8, max_length = 200, pattern = "^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    app_key: Option<String>,
    /// 8 to 64 characters, in V2 to 128.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 8, max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9_!@#$%-]*$")]
    app_secret: Option<String>,
}

/// The body of a reset of the secret.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetBody {
    /// The new secret; without one, it is generated.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 8, max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9_!@#$%-]*$")]
    app_secret: Option<String>,
}

/// The members of an app, each by its rule.
pub(super) struct AppFields {
    pub(super) name: String,
    pub(super) remark: Option<String>,
    pub(super) key: Option<String>,
    pub(super) secret: Option<Secret>,
}

impl AppFields {
    /// Reads a body; key and secret only where the gateway lets them be chosen.
    pub(super) fn read(content: &[u8], custom_keys: bool, version: Version) -> Result<Self, Refusal> {
        let AppBody { name, remark, app_key: key, app_secret } = object(content)?;
        let secret = app_secret.map(Secret::from);
        let name = name.filter(|name| !name.is_empty()).ok_or(Refusal::Absent("name"))?;
        let remark = remark.filter(|remark| !remark.is_empty());
        holds(is_name(&name), "name")?;
        holds(remark.as_deref().is_none_or(is_remark), "remark")?;
        if !custom_keys && key.is_some() {
            return Err(Refusal::NotTaken("app_key"));
        }
        may_choose(secret.as_ref(), custom_keys)?;
        holds(key.as_deref().is_none_or(|key| is_key(key, version)), "app_key")?;
        holds(secret.as_ref().is_none_or(|secret| is_secret(secret.expose(), version)), "app_secret")?;
        Ok(Self { name, remark, key, secret })
    }
}

/// What a secret is to be reset to.
pub(super) struct ResetFields {
    pub(super) secret: Option<Secret>,
}

impl ResetFields {
    /// Reads a body; none is one that names no secret.
    pub(super) fn read(content: &[u8], custom_keys: bool, version: Version) -> Result<Self, Refusal> {
        let blank = content.trim_ascii().is_empty();
        let ResetBody { app_secret } = if blank { ResetBody::default() } else { object(content)? };
        let secret = app_secret.map(Secret::from);
        may_choose(secret.as_ref(), custom_keys)?;
        holds(secret.as_ref().is_none_or(|secret| is_secret(secret.expose(), version)), "app_secret")?;
        Ok(Self { secret })
    }
}

fn may_choose(secret: Option<&Secret>, custom_keys: bool) -> Result<(), Refusal> {
    if custom_keys || secret.is_none() { Ok(()) } else { Err(Refusal::NotTaken("app_secret")) }
}

/// Whether a member is by its rule.
pub(super) fn holds(holds: bool, member: &'static str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::Invalid(member)) }
}

/// A number of calls or of units of time: 1 to 2,147,483,647.
pub(super) fn count(number: i64, member: &'static str) -> Result<NonZeroU32, Refusal> {
    if number > GREATEST {
        return Err(Refusal::TooLarge(member));
    }
    u32::try_from(number).ok().and_then(NonZeroU32::new).ok_or(Refusal::TooSmall(member))
}

/// How long calls are counted.
pub(super) fn period(unit: Option<&str>, interval: Option<i64>) -> Result<Period, Refusal> {
    let unit = unit.filter(|unit| !unit.is_empty()).ok_or(Refusal::Absent("time_unit"))?;
    let known = TimeUnit::ALL.into_iter().find(|known| known.as_str() == unit);
    Ok(Period {
        unit: known.ok_or(Refusal::NoneOfThese("time_unit"))?,
        interval: count(interval.ok_or(Refusal::Absent("time_interval"))?, "time_interval")?,
    })
}

/// The name of a quota: up to 255 characters.
pub(super) fn is_quota_name(text: &str) -> bool {
    is_text(text, 3..=255, |b| b.is_ascii_alphabetic(), |b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `^[A-Za-z][A-Za-z0-9_]{2,63}$`
pub(super) fn is_name(text: &str) -> bool {
    is_text(text, 3..=64, |b| b.is_ascii_alphabetic(), |b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `^[A-Za-z0-9][A-Za-z0-9_-]{7,63}$`, in the second version `{7,199}`.
fn is_key(text: &str, version: Version) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let most = if version == Version::One { 64 } else { 200 };
    is_text(text, 8..=most, |b| b.is_ascii_alphanumeric(), inner)
}

/// `^[A-Za-z0-9][A-Za-z0-9_\-!@#$%]{7,63}$`, in the second version `{7,127}`.
fn is_secret(text: &str, version: Version) -> bool {
    let inner =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'!' | b'@' | b'#' | b'$' | b'%');
    let most = if version == Version::One { 64 } else { 128 };
    is_text(text, 8..=most, |b| b.is_ascii_alphanumeric(), inner)
}

/// A text of so many characters; all that `inner` takes are ASCII, so bytes count.
pub(super) fn is_text(
    text: &str,
    length: RangeInclusive<usize>,
    first: fn(u8) -> bool,
    inner: fn(u8) -> bool,
) -> bool {
    length.contains(&text.len()) && text.bytes().next().is_some_and(first) && text.bytes().skip(1).all(inner)
}

/// At most 255 characters, without `<`, `>` and the character zero, which not every store keeps.
pub(super) fn is_remark(text: &str) -> bool {
    !text.contains(['<', '>', '\0']) && text.chars().count() <= LONGEST_REMARK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x(count: usize) -> String {
        "x".repeat(count)
    }

    #[test]
    fn a_name_is_3_to_64_letters_digits_and_underscores_and_starts_with_a_letter() {
        for (text, fits) in [
            ("app_001", true),
            ("a__", true),
            ("Z09", true),
            (&x(3), true),
            (&x(64), true),
            (&x(2), false),
            (&x(65), false),
            ("1pp", false),
            ("_pp", false),
            ("app-1", false),
            ("app.1", false),
            ("app 1", false),
            ("app\0", false),
            ("app\n", false),
            ("应用程序", false),
            ("äpp", false),
            ("", false),
        ] {
            assert_eq!(is_name(text), fits, "{text:?}");
        }
    }

    #[test]
    fn a_remark_is_at_most_255_characters_without_angle_brackets() {
        for (text, fits) in [
            ("First app", true),
            (&x(255), true),
            (&"é".repeat(255), true),
            (&"😀".repeat(255), true),
            ("a\nb\t\"c\" & d", true),
            (&x(256), false),
            (&"é".repeat(256), false),
            ("a<b", false),
            ("a>b", false),
            ("a\0b", false),
        ] {
            assert_eq!(is_remark(text), fits, "{text:?}");
        }
    }

    #[test]
    fn a_key_is_8_to_64_characters_and_starts_with_a_letter_or_digit() {
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
    fn a_secret_may_have_special_characters_besides() {
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
    fn the_second_version_takes_longer_keys_and_secrets() {
        let fits = |length| (is_key(&x(length), Version::Two), is_secret(&x(length), Version::Two));
        assert_eq!(
            [7, 8, 128, 129, 200, 201].map(fits),
            [(false, false), (true, true), (true, true), (true, false), (true, false), (false, false)]
        );
    }
}
