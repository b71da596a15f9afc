//! The format of an AppCode: the bearer credential of an APIG app, chosen by a person or generated.

use std::fmt;

use super::{InvalidKey, Secret};

/// An AppCode: 64 to 180 letters, digits and `+_!@#$%-/=`, of which the first is a letter, a digit, `+` or `/`.
///
/// ```
/// use portcullis::model::AppCode;
///
/// let code = AppCode::generate();
/// assert_eq!(AppCode::parse(code.expose()).unwrap(), code.expose());
/// assert!(AppCode::parse("short").is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct AppCode(Secret);

impl AppCode {
    /// Generates an AppCode: 64 hexadecimal digits with 256 bits from the system's random source.
    ///
    /// # Panics
    /// When the system has no random source.
    #[must_use]
    pub fn generate() -> Self {
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).expect("the system's random source works");
        Self(Secret::from(super::hex::encode(&random)))
    }

    /// Checks the format of an AppCode from a request without copying it.
    ///
    /// # Errors
    /// [`InvalidKey`] when the text is no AppCode, whatever the registry holds.
    pub fn parse(text: &str) -> Result<&str, InvalidKey> {
        let first = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
        let inner = |b: u8| first(b) || matches!(b, b'_' | b'!' | b'@' | b'#' | b'$' | b'%' | b'-' | b'=');
        let starts = text.bytes().next().is_some_and(first);
        if starts && (64..=180).contains(&text.len()) && text.bytes().all(inner) {
            Ok(text)
        } else {
            Err(InvalidKey)
        }
    }

    /// Returns the whole AppCode.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Returns the AppCode as a secret that can be sealed.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// Returns the part that may always be displayed: the first four characters.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.expose()[..4]
    }
}

impl TryFrom<String> for AppCode {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, InvalidKey> {
        let secret = Secret::from(text);
        Self::parse(secret.expose())?;
        Ok(Self(secret))
    }
}

impl fmt::Debug for AppCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppCode(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_code_is_64_to_180_plain_characters() {
        let x = |count| "x".repeat(count);
        for (text, fits) in [
            (x(64), true),
            (x(180), true),
            (format!("+{}", "_!@#$%-/=".repeat(7)), true),
            (format!("/{}", x(63)), true),
            (format!("0{}", x(63)), true),
            (x(63), false),
            (x(181), false),
            (format!("_{}", x(63)), false),
            (format!("={}", x(63)), false),
            (format!("{}&", x(63)), false),
            (format!("{} ", x(63)), false),
            ("é".repeat(32), false),
            (String::new(), false),
        ] {
            assert_eq!(AppCode::try_from(text.clone()).is_ok(), fits, "{text:?}");
        }
        assert_eq!(AppCode::generate().expose().len(), 64);
        assert_ne!(AppCode::generate(), AppCode::generate());
    }
}
