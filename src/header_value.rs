//! Names and values of headers, with few allocations.

use http::HeaderValue;

/// The numbers `000` to `999` in a row.
#[allow(clippy::cast_possible_truncation, reason = "each digit is below ten")]
const DIGITS: [u8; 3_000] = {
    let mut digits = [0; 3_000];
    let mut at = 0;
    while at < digits.len() {
        let number = at / 3;
        digits[at] = b'0' + (number / 100) as u8;
        digits[at + 1] = b'0' + (number / 10 % 10) as u8;
        digits[at + 2] = b'0' + (number % 10) as u8;
        at += 3;
    }
    digits
};
static BELOW_A_THOUSAND: &str = match std::str::from_utf8(&DIGITS) {
    Ok(digits) => digits,
    Err(_) => "",
};

/// Returns `true` if a server may treat two header names, in lower case, as the same.
///
/// CGI and its descendants (WSGI, PHP, Rack, Perl) replace every byte of a name that is not a letter or digit by `_`:
/// `X.Caller_Id` and `X-Caller-Id` become the same variable.
#[must_use]
pub fn eq_ignore_case(name: &str, other: &str) -> bool {
    let alike = |(a, b): (u8, u8)| a == b || !a.is_ascii_alphanumeric() && !b.is_ascii_alphanumeric();
    name.len() == other.len() && name.bytes().zip(other.bytes()).all(alike)
}

/// Parses a number in the only spelling that all parsers agree on: digits without a sign or a leading zero.
pub fn parse_u64(digits: &[u8]) -> Option<u64> {
    let is_plain = digits.iter().all(u8::is_ascii_digit) && (digits == b"0" || !digits.starts_with(b"0"));
    // `parse` alone would accept a sign and leading zeros.
    str::from_utf8(digits).ok().filter(|_| is_plain)?.parse().ok()
}

/// Returns a number as a header value. Numbers of up to three digits, such as most lengths and waits, need no
/// allocation.
pub fn from_u64(number: u64) -> HeaderValue {
    let short = usize::try_from(number).ok().filter(|number| *number < 1_000);
    let text = short.and_then(|number| {
        let zeros = usize::from(number < 100) + usize::from(number < 10);
        BELOW_A_THOUSAND.get(3 * number + zeros..3 * number + 3)
    });
    text.map_or_else(|| long(number), HeaderValue::from_static)
}

/// Avoids the second allocation of `HeaderValue::from`.
fn long(number: u64) -> HeaderValue {
    HeaderValue::from_str(itoa::Buffer::new().format(number)).unwrap_or_else(|_| number.into())
}

/// A stack-allocated string of at most `N` bytes.
pub(crate) struct HeaderBuf<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> HeaderBuf<N> {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    /// Appends a piece; a piece that does not fit is omitted as a whole.
    pub(crate) fn push(&mut self, piece: &str) {
        let end = self.len + piece.len();
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(piece.as_bytes());
            self.len = end;
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_accepts_text_that_fits() {
        let mut text = HeaderBuf::<6>::new();
        for piece in ["ab", "cde", "fg", "h", "i"] {
            text.push(piece);
        }
        assert_eq!(text.as_bytes(), b"abcdeh");
    }

    #[test]
    fn names_that_differ_in_punctuation_fold_together() {
        for (name, other, folds) in [
            ("x-caller-id", "x-caller-id", true),
            ("x_caller.id", "x-caller-id", true),
            ("x-caller-id", "x~caller!id", true),
            ("x-caller-ids", "x-caller-id", false),
            ("xacaller-id", "x-caller-id", false),
            ("x--caller-id", "x-caller-id", false),
        ] {
            assert_eq!(eq_ignore_case(name, other), folds, "{name} {other}");
        }
    }

    #[test]
    fn number_has_one_spelling() {
        for (digits, number) in [("0", Some(0)), ("10", Some(10)), ("18446744073709551615", Some(u64::MAX))] {
            assert_eq!(parse_u64(digits.as_bytes()), number);
        }
        for digits in
            ["", "00", "010", "+1", "-1", " 1", "1 ", "1,1", "0x1", "1e3", "18446744073709551616", "\u{661}"]
        {
            assert_eq!(parse_u64(digits.as_bytes()), None, "{digits}");
        }
    }

    #[test]
    fn number_is_written_in_decimal() {
        for expected in (0..=1_100).chain([9_999, u64::from(u32::MAX), u64::MAX]) {
            assert_eq!(from_u64(expected), expected.to_string());
        }
    }
}
