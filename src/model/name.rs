//! The rules for names, one for each kind of caller. All surfaces, the import and the command line apply them.

use super::{CallerId, CallerKind, text::is_label};

/// Maximum length of an api client's name: that of a domain name.
const MAX_DOMAIN_LEN: usize = 253;
/// Maximum length, in characters, of names without a rule of their own, and of remarks and reasons.
pub const MAX_NAME_LEN: usize = 255;

impl CallerKind {
    /// Returns `true` if the name is valid for a caller of this kind.
    #[must_use]
    pub fn accepts_name(&self, name: &str) -> bool {
        match self {
            Self::ApiClient => is_api_client_name(name),
            Self::App(_) => is_app_name(name),
            Self::Operator | Self::Administrator(_) => is_plain_name(name),
        }
    }

    /// Returns the rule for names of this kind in words.
    #[must_use]
    pub fn name_rule(&self) -> &'static str {
        match self {
            Self::ApiClient => {
                "the name of an api client is a domain in lower case, optionally with a path: example.com/dev"
            }
            Self::App(_) => {
                "the name of an app is 3 to 64 letters (ASCII, Chinese), digits and underscores, a letter first"
            }
            Self::Operator | Self::Administrator(_) => PLAIN_NAME_RULE,
        }
    }
}

/// The rule of [`is_plain_name`] in words.
pub const PLAIN_NAME_RULE: &str =
    "a name is 1 to 255 characters, none of them a control, formatting or otherwise invisible character";

/// Returns `true` if the name is valid for a tenant, an operator, an administrator or a credential.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    is_label(name, 1..=MAX_NAME_LEN)
}

/// Returns `true` if the name is valid for an api client: a domain in lower case, optionally with a path, of at
/// most 253 characters.
///
/// ```
/// use portcullis::model::name::is_api_client_name;
///
/// assert!(is_api_client_name("example.com/dev"));
/// assert!(!is_api_client_name("example"));
/// ```
#[must_use]
pub fn is_api_client_name(name: &str) -> bool {
    let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let step = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let all = |part: &str, fits: fn(u8) -> bool| !part.is_empty() && part.bytes().all(fits);
    let mut parts = name.split('/');
    let domain = parts.next().unwrap_or_default();
    name.len() <= MAX_DOMAIN_LEN
        && domain.contains('.')
        && domain.split('.').all(|part| all(part, label))
        && parts.all(|part| all(part, step))
}

/// Returns the name of an api client that was created without one: `api-client.` and its id if that is a valid
/// domain, and otherwise a name with the id as a path.
#[must_use]
pub fn default_api_client_name(id: &CallerId) -> String {
    let name = format!("api-client.{id}");
    if is_api_client_name(&name) { name } else { format!("api-client.id/{id}") }
}

/// Returns `true` if the name is valid for an app: 3 to 64 letters, digits and underscores, a letter first. Letters
/// are ASCII letters and Chinese characters.
#[must_use]
pub fn is_app_name(name: &str) -> bool {
    is_identifier(name, 64, |c| c.is_ascii_alphabetic() || is_chinese(c))
}

/// Returns `true` if the remark is valid for an app, a throttling policy or a quota: at most 255 characters,
/// without `<` and `>`.
#[must_use]
pub fn is_app_remark(remark: &str) -> bool {
    is_label(remark, 0..=MAX_NAME_LEN) && !remark.contains(['<', '>'])
}

/// Returns `true` if the text has 3 to `longest` characters: letters, digits and underscores, a letter first.
#[must_use]
pub fn is_identifier(text: &str, longest: usize, is_letter: fn(char) -> bool) -> bool {
    (3..=longest).contains(&text.chars().count())
        && text.starts_with(is_letter)
        && text.chars().all(|c| is_letter(c) || c.is_ascii_digit() || c == '_')
}

/// Returns `true` for the Chinese characters that APIG accepts in names: `[\u4e00-\u9fa5]`.
#[must_use]
pub fn is_chinese(c: char) -> bool {
    ('\u{4e00}'..='\u{9fa5}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_client_name_is_a_domain_with_an_optional_path() {
        let longest = format!("a.{}", "b".repeat(251));
        let too_long = format!("{longest}b");
        for (text, fits) in [
            ("example.com/dev", true),
            ("com.example", true),
            ("a.b", true),
            ("-.-", true),
            ("api-client.5bc2be68-7498-4853-aa64-4be0ca62934e", true),
            ("example.com/Dev_1/a.b-c", true),
            ("example.com/..", true),
            (&longest, true),
            (&too_long, false),
            ("", false),
            ("example", false),
            ("example/dev.x", false),
            (".com", false),
            ("example.", false),
            ("example..com", false),
            ("Example.com", false),
            ("exam_ple.com", false),
            ("example.com/", false),
            ("example.com//dev", false),
            ("example.com/d v", false),
            ("example.com/dev\n", false),
            ("example.com\0", false),
            ("exämple.com", false),
            ("example.com/dév", false),
        ] {
            assert_eq!(is_api_client_name(text), fits, "{text:?}");
        }
    }

    #[test]
    fn every_id_yields_a_valid_api_client_name() {
        for (id, name) in [
            ("shop", "api-client.shop"),
            ("MbCS6UB_m7NdvyDOE8stT", "api-client.id/MbCS6UB_m7NdvyDOE8stT"),
            ("a..b", "api-client.id/a..b"),
            (&"X".repeat(64), &format!("api-client.id/{}", "X".repeat(64))),
        ] {
            let made = default_api_client_name(&id.parse().unwrap());
            assert_eq!(made, name);
            assert!(is_api_client_name(&made));
        }
    }

    #[test]
    fn app_name_is_3_to_64_letters_digits_and_underscores() {
        let (longest, too_long) = ("应".repeat(64), "应".repeat(65));
        for (text, fits) in [
            ("app_001", true),
            ("Z09", true),
            ("应用程序", true),
            ("应用_1", true),
            ("a应用", true),
            (&longest, true),
            (&too_long, false),
            ("应用", false),
            ("ab", false),
            ("_应用", false),
            ("1应用", false),
            ("应 用", false),
            ("äpp", false),
            ("アプリ", false),
            ("ab\u{202e}", false),
            ("应用，程", false),
        ] {
            assert_eq!(is_app_name(text), fits, "{text:?}");
        }
    }

    #[test]
    fn app_remark_is_255_characters_without_angle_brackets() {
        let (longest, too_long) = ("😀".repeat(255), "😀".repeat(256));
        for (text, fits) in [
            ("First app", true),
            ("", true),
            ("\"c\" & d 应用", true),
            (&longest, true),
            (&too_long, false),
            ("a<b", false),
            ("a>b", false),
            ("a\0b", false),
            ("a\nb", false),
            ("a\u{202e}b", false),
        ] {
            assert_eq!(is_app_remark(text), fits, "{text:?}");
        }
    }
}
