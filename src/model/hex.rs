//! Conversion between bytes and hexadecimal digits.

/// Encodes bytes with digits in lower case.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(bytes.iter().flat_map(|byte| digits_of(*byte)).map(char::from));
    text
}

/// Decodes 64 digits in upper or lower case; returns `None` for other texts.
#[must_use]
pub fn decode(text: &str) -> Option<[u8; 32]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let pairs: &[[u8; 2]; 32] = pairs.try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn digits_of(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// Returns the value of a digit in upper or lower case.
#[must_use]
pub(crate) fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// 32 bytes as 64 hexadecimal digits in lower case, stored inline.
///
/// ```
/// use portcullis::signature::Hex;
///
/// let hex = Hex::encode(&[0xAB; 32]);
/// assert_eq!(hex.as_str(), "ab".repeat(32));
/// assert_eq!(Hex::parse(&"aB".repeat(32)), Some([0xAB; 32]));
/// assert_eq!(Hex::parse("ab"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hex([u8; 64]);

impl Hex {
    /// Encodes bytes.
    #[must_use]
    pub fn encode(bytes: &[u8; 32]) -> Self {
        let mut text = [0; 64];
        for (digits, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *digits = digits_of(*byte);
        }
        Self(text)
    }

    /// Decodes a text with digits in upper or lower case; returns `None` for other texts.
    #[must_use]
    pub fn parse(text: &str) -> Option<[u8; 32]> {
        decode(text)
    }

    /// Returns the digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
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
