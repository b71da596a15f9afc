//! The contract's rule for ids.

use std::str::FromStr;

/// Parses a `ResourceId`: a UUID in lower case with hyphens, or 21 characters of the nanoid alphabet.
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

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis::model::CallerId;

    #[test]
    fn id_is_a_uuid_or_a_nanoid() {
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
}
