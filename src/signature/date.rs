//! `X-Sdk-Date`: the time of signing, in whole seconds of UTC.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// Parses a time of the form `YYYYMMDDTHHMMSSZ`; returns `None` for other texts.
///
/// ```
/// use portcullis::signature::{parse_date, format_date};
///
/// let moment = parse_date("20260102T030405Z").unwrap();
/// assert_eq!(moment.to_string(), "2026-01-02T03:04:05Z");
/// assert_eq!(format_date(moment), "20260102T030405Z");
/// assert_eq!(parse_date("2026-01-02T03:04:05Z"), None);
/// ```
#[must_use]
pub fn parse_date(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let form = |(at, byte): (usize, &u8)| match at {
        8 => *byte == b'T',
        15 => *byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    if bytes.len() != 16 || !bytes.iter().enumerate().all(form) {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i16>().ok();
    let small = |from: usize| i8::try_from(number(from, from + 2)?).ok();
    let date = DateTime::new(number(0, 4)?, small(4)?, small(6)?, small(9)?, small(11)?, small(13)?, 0);
    TimeZone::UTC.to_timestamp(date.ok()?).ok()
}

/// Formats a time as `YYYYMMDDTHHMMSSZ`, without its fraction of a second.
#[must_use]
pub fn format_date(moment: Timestamp) -> String {
    moment.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_has_one_form() {
        for text in ["20060102T150405Z", "20240229T235959Z", "99991230T000000Z", "00010101T000000Z"] {
            assert_eq!(parse_date(text).map(format_date).as_deref(), Some(text));
        }
        for text in [
            "",
            "20060102T150405",
            "20060102t150405Z",
            "20060102T150405z",
            "20060102 150405Z",
            "20060132T150405Z",
            "20230229T000000Z",
            "20060102T250405Z",
            "20060102T150460Z",
            "+0060102T150405Z",
            "2006010２T15040Z",
            "20060102T150405Z ",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
