//! Conversion between bytes and hexadecimal digits.

use std::fmt::Write;

/// Returns two lowercase hexadecimal digits for each byte.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Parses exactly 64 hexadecimal digits, uppercase or lowercase, as 32 bytes.
#[must_use]
pub fn decode(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    // `from_str_radix` accepts a sign, which is no hexadecimal digit.
    (text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(())?;
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_requires_64_digits() {
        assert_eq!(decode(&"0aF1".repeat(16)).unwrap()[..2], [0x0A, 0xF1]);
        assert_eq!(encode(&decode(&"0af1".repeat(16)).unwrap()), "0af1".repeat(16));
        for bad in ["", &"0".repeat(63), &"+0".repeat(32), &"é".repeat(32), &"0g".repeat(32)] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
