//! `Authorization: SDK-HMAC-SHA256 Access=…, SignedHeaders=…, Signature=…`.

use super::{ALGORITHM, SignatureFormatError};

/// The parsed `Authorization` header of a signed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authorization<'a> {
    /// The access key of the signer, which is not a secret.
    pub access: &'a str,
    /// The names of the signed headers.
    pub signed_headers: SignedHeaders<'a>,
    /// The signature as the client sent it.
    pub signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// Parses a value of `Authorization`. The comparison of the scheme ignores case; the three parts may have any
    /// order.
    ///
    /// ```
    /// use portcullis::signature::{Authorization, SignatureFormatError};
    ///
    /// let value = "SDK-HMAC-SHA256 Access=AK, SignedHeaders=host;x-sdk-date, Signature=00";
    /// assert_eq!(Authorization::parse(value)?.access, "AK");
    /// assert_eq!(Authorization::parse("Bearer AK"), Err(SignatureFormatError::Absent));
    /// # Ok::<(), SignatureFormatError>(())
    /// ```
    ///
    /// # Errors
    /// [`SignatureFormatError::Absent`] for another scheme; otherwise the fault of this one.
    pub fn parse(value: &'a str) -> Result<Self, SignatureFormatError> {
        let parts = trim(value).ok_or(SignatureFormatError::Absent)?;
        let (mut access, mut names, mut signature) = (None, None, None);
        for part in parts.split(',') {
            let (name, value) = part.trim().split_once('=').ok_or(SignatureFormatError::Malformed)?;
            let known = match name {
                "Access" => &mut access,
                "SignedHeaders" => &mut names,
                "Signature" => &mut signature,
                "Credential" => return Err(SignatureFormatError::Derived),
                _ => return Err(SignatureFormatError::Malformed),
            };
            if known.replace(value).is_some() || value.contains([' ', '\t']) {
                return Err(SignatureFormatError::Malformed);
            }
        }
        let access = access.filter(|access| !access.is_empty()).ok_or(SignatureFormatError::NoAccess)?;
        let signature = signature.filter(|text| !text.is_empty()).ok_or(SignatureFormatError::Malformed)?;
        let signed_headers = SignedHeaders::parse(names.ok_or(SignatureFormatError::Malformed)?)?;
        Ok(Self { access, signed_headers, signature })
    }

    /// Returns `true` if a value of `Authorization` has this scheme, even if it is malformed.
    #[must_use]
    pub fn is_ours(value: &[u8]) -> bool {
        let scheme = value.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(ALGORITHM.as_bytes())
    }
}

/// Returns the text after the scheme.
fn trim(value: &str) -> Option<&str> {
    let (scheme, rest) = value.split_at_checked(ALGORITHM.len())?;
    let ours = scheme.eq_ignore_ascii_case(ALGORITHM);
    (ours && rest.chars().next().is_none_or(|c| c.is_ascii_whitespace())).then_some(rest)
}

/// The names of the signed headers: distinct and sorted, in lower case, joined by `;`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedHeaders<'a>(&'a str);

impl<'a> SignedHeaders<'a> {
    /// Parses a list of names.
    ///
    /// # Errors
    /// [`SignatureFormatError::Names`].
    pub fn parse(list: &'a str) -> Result<Self, SignatureFormatError> {
        let plain = |name: &str| !name.is_empty() && name.bytes().all(is_of_a_name);
        // A sorted list contains no name twice.
        let sorted = list.split(';').zip(list.split(';').skip(1)).all(|(one, next)| one < next);
        if sorted && list.split(';').all(plain) { Ok(Self(list)) } else { Err(SignatureFormatError::Names) }
    }

    /// Returns the list.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Returns the names.
    pub fn names(self) -> impl Iterator<Item = &'a str> {
        self.0.split(';')
    }
}

/// Returns `true` for the bytes of header names (RFC 9110, section 5.6.2), except upper case.
fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorization_has_each_part_once() {
        let names = SignedHeaders("host;x-sdk-date");
        let well = Ok(Authorization { access: "AK", signed_headers: names, signature: "ab" });
        for (value, expected) in [
            ("SDK-HMAC-SHA256 Access=AK, SignedHeaders=host;x-sdk-date, Signature=ab", well.clone()),
            ("sdk-hmac-sha256  Signature=ab,SignedHeaders=host;x-sdk-date ,Access=AK ", well),
            ("", Err(SignatureFormatError::Absent)),
            ("SDK-HMAC-SHA25", Err(SignatureFormatError::Absent)),
            ("SDK-HMAC-SHA2567 Access=AK, SignedHeaders=a, Signature=ab", Err(SignatureFormatError::Absent)),
            (
                "AWS4-HMAC-SHA256 Credential=AK/x, SignedHeaders=a, Signature=ab",
                Err(SignatureFormatError::Absent),
            ),
            (
                "SDK-HMAC-SHA256 Credential=AK/20260101/r/s/sdk_request, SignedHeaders=a, Signature=ab",
                Err(SignatureFormatError::Derived),
            ),
            (
                "SDK-HMAC-SHA256 Access=, SignedHeaders=host;x-sdk-date, Signature=00",
                Err(SignatureFormatError::NoAccess),
            ),
            ("SDK-HMAC-SHA256 SignedHeaders=a, Signature=ab", Err(SignatureFormatError::NoAccess)),
            ("SDK-HMAC-SHA256", Err(SignatureFormatError::Malformed)),
            ("SDK-HMAC-SHA256, Access=AK, SignedHeaders=a, Signature=ab", Err(SignatureFormatError::Absent)),
            ("SDK-HMAC-SHA256 Access=AK, SignedHeaders=a", Err(SignatureFormatError::Malformed)),
            ("SDK-HMAC-SHA256 Access=AK, SignedHeaders=a, Signature=", Err(SignatureFormatError::Malformed)),
            ("SDK-HMAC-SHA256 Access=AK, Signature=ab", Err(SignatureFormatError::Malformed)),
            (
                "SDK-HMAC-SHA256 Access=AK, Access=AK, SignedHeaders=a, Signature=ab",
                Err(SignatureFormatError::Malformed),
            ),
            (
                "SDK-HMAC-SHA256 Access=AK, SignedHeaders=a, Signature=ab, More=1",
                Err(SignatureFormatError::Malformed),
            ),
            (
                "SDK-HMAC-SHA256 Access=AK, SignedHeaders=a, Signature=ab,",
                Err(SignatureFormatError::Malformed),
            ),
            (
                "SDK-HMAC-SHA256 Access=A K, SignedHeaders=a, Signature=ab",
                Err(SignatureFormatError::Malformed),
            ),
            ("SDK-HMAC-SHA256 Access=AK, SignedHeaders=, Signature=ab", Err(SignatureFormatError::Names)),
        ] {
            assert_eq!(Authorization::parse(value), expected, "{value}");
            let ours = !matches!(expected, Err(SignatureFormatError::Absent));
            assert_eq!(Authorization::is_ours(value.as_bytes()), ours, "{value}");
        }
    }

    #[test]
    fn signed_headers_are_lower_case_sorted_and_unique() {
        for (list, well) in [
            ("x-sdk-date", true),
            ("a;b;c", true),
            ("content-type;host;x-sdk-date", true),
            ("a;a", false),
            ("b;a", false),
            ("A;b", false),
            ("a;;b", false),
            (";a", false),
            ("a;", false),
            ("", false),
            ("a b", false),
            ("é", false),
        ] {
            assert_eq!(SignedHeaders::parse(list).is_ok(), well, "{list}");
        }
        let long = (0..10_000).map(|at| format!("a{at:05}")).collect::<Vec<_>>().join(";");
        assert_eq!(SignedHeaders::parse(&long).unwrap().names().count(), 10_000);
    }
}
