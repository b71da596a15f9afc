//! What the contract takes for an id and for a name.

use std::str::FromStr;

/// The longest name: as long as a domain name may be.
const LONGEST_NAME: usize = 253;

/// A `ResourceId`: a UUID in lower case with hyphens, or 21 characters of the nanoid alphabet.
pub(super) fn resource_id<I: FromStr>(text: &str) -> Option<I> {
    if is_nanoid(text) || is_uuid(text) { text.parse().ok() } else { None }
}

fn is_nanoid(text: &str) -> bool {
    text.len() == 21 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn is_uuid(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let fits = |(at, b)| if matches!(at, 8 | 13 | 18 | 23) { b == b'-' } else { hex(b) };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

/// Whether a text is a key's name: 1 to 64 characters, none of them a control character.
pub(super) fn is_key_name(text: &str) -> bool {
    (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// Whether a text is a name, such as `example.com/dev`: `^[a-z0-9-]+(\.[a-z0-9-]+)+(/[A-Za-z0-9._-]+)*$`,
/// at most 253 characters.
pub(super) fn is_name(text: &str) -> bool {
    let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let step = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let all = |part: &str, fits: fn(u8) -> bool| !part.is_empty() && part.bytes().all(fits);
    let mut parts = text.split('/');
    let domain = parts.next().unwrap_or_default();
    text.len() <= LONGEST_NAME
        && domain.contains('.')
        && domain.split('.').all(|part| all(part, label))
        && parts.all(|part| all(part, step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::CallerId;

    #[test]
    fn an_id_is_a_uuid_or_a_nanoid() {
        for (text, fits) in [
            ("5bc2be68-7498-4853-aa64-4be0ca62934e", true),
            ("MbCS6UB_m7NdvyDOE8stT", true),
            ("_Tzrg1O3jk4_FZTAEThNq", true),
            ("---------------------", true),
            ("MbCS6UB_m7NdvyDOE8st", false),
            ("MbCS6UB_m7NdvyDOE8stTT", false),
            ("MbCS6UB.m7NdvyDOE8stT", false),
            ("5BC2BE68-7498-4853-AA64-4BE0CA62934E", false),
            ("5bc2be68-7498-4853-aa64-4be0ca62934", false),
            ("5bc2be6-87498-4853-aa64-4be0ca62934e", false),
            ("5bc2be6g-7498-4853-aa64-4be0ca62934e", false),
            ("5bc2be6874984853aa644be0ca62934e", false),
            ("%35bc2be68-7498-4853-aa64-4be0ca6293", false),
            ("ééééééééééé", false),
            ("", false),
        ] {
            assert_eq!(resource_id::<CallerId>(text).is_some(), fits, "{text:?}");
        }
    }

    #[test]
    fn a_keys_name_is_short_and_can_be_printed() {
        let (longest, too_long) = ("é".repeat(64), "é".repeat(65));
        for (text, fits) in [
            ("a", true),
            ("Ключ 1", true),
            (&longest, true),
            ("", false),
            ("a\nb", false),
            (&too_long, false),
        ] {
            assert_eq!(is_key_name(text), fits, "{text:?}");
        }
    }

    #[test]
    fn a_name_is_a_domain_and_perhaps_a_path() {
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
            assert_eq!(is_name(text), fits, "{text:?}");
        }
    }
}
