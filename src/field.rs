//! Values of fields, made without an allocation where that can be.

use http::HeaderValue;

/// `000` to `999`, one after the other.
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

/// A number as a field's value. Those of three digits, as most lengths and waits have, are not allocated.
pub(crate) fn number(number: u64) -> HeaderValue {
    let short = usize::try_from(number).ok().filter(|number| *number < 1_000);
    let text = short.and_then(|number| {
        let zeros = usize::from(number < 100) + usize::from(number < 10);
        BELOW_A_THOUSAND.get(3 * number + zeros..3 * number + 3)
    });
    text.map_or_else(|| long(number), HeaderValue::from_static)
}

/// `HeaderValue::from` would allocate twice.
fn long(number: u64) -> HeaderValue {
    HeaderValue::from_str(itoa::Buffer::new().format(number)).unwrap_or_else(|_| number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_it_is() {
        for expected in (0..=1_100).chain([9_999, u64::from(u32::MAX), u64::MAX]) {
            assert_eq!(number(expected), expected.to_string());
        }
    }
}
