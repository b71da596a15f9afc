//! Normalization of request paths.
//!
//! Policies and routes must match the path that the upstream receives. A path is therefore normalized once, by rules
//! that do not change its meaning (RFC 3986, section 6.2.2), and rejected if that is impossible:
//!
//! | in the path | becomes |
//! |---|---|
//! | a percent-encoded unreserved character (`%41`, `%7e`) | the character |
//! | hexadecimal digits in lower case (`%3a`) | in upper case |
//! | a `.` or `..` segment, in any encoding
//! rejected |
//! | an encoded control character, such as NUL
//! rejected |
//! | a percent sign without two hexadecimal digits
//! rejected |
//! | a character that must be encoded in a path (`"` `<` `\` `^` `{` and the like, all non-ASCII)
//! rejected |
//! | an empty segment (`//`)
//! rejected, unless [`PathRules::EMPTY_SEGMENTS`] is relaxed |
//! | an encoded slash or backslash
//! rejected, unless [`PathRules::ENCODED_SLASHES`] is relaxed |
//! | a path parameter (`;`, also encoded)
//! rejected, unless [`PathRules::PARAMETERS`] is relaxed |
//! | encoded bytes that are not UTF-8, such as overlong forms
//! rejected, unless [`PathRules::NOT_UTF8`] is relaxed |
//! | an encoded percent sign before two hexadecimal digits
//! rejected, unless [`PathRules::DOUBLE_ENCODING`] is relaxed |
//!
//! Policies, routes and locks compare a form in which the other characters that need no encoding in a path are
//! decoded, too; see [`NormalizedPath::comparable`].
//!
//! The query is passed on unchanged; no policy decides on it here. A target never contains a fragment, because the
//! server drops it.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    str::FromStr,
};

/// Path rules that a route may relax at its own risk: if the upstream reads such a path differently than the gateway,
/// requests bypass the gateway's policies.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct PathRules(u8);

impl PathRules {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// `//`: upstreams that merge slashes see another path than the policies.
    pub const EMPTY_SEGMENTS: Self = Self(1);
    /// `%2F` and `%5C`: upstreams that decode them see more segments than the policies.
    pub const ENCODED_SLASHES: Self = Self(1 << 1);
    /// `;`: upstreams that strip parameters see a shorter path than the policies.
    pub const PARAMETERS: Self = Self(1 << 2);
    /// Bytes that are not UTF-8: upstreams that replace them, or that decode overlong forms, see other characters.
    pub const NOT_UTF8: Self = Self(1 << 3);
    /// `%2561`: upstreams that decode twice see another path than the policies.
    pub const DOUBLE_ENCODING: Self = Self(1 << 4);

    const NAMES: [(&'static str, Self); 5] = [
        ("empty_segments", Self::EMPTY_SEGMENTS),
        ("encoded_slashes", Self::ENCODED_SLASHES),
        ("parameters", Self::PARAMETERS),
        ("not_utf8", Self::NOT_UTF8),
        ("double_encoding", Self::DOUBLE_ENCODING),
    ];

    /// Returns the rules of both sets.
    #[must_use]
    pub fn union(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Returns the rules of this set that are not in `others`.
    #[must_use]
    pub fn difference(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Returns `true` if the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the names of the rules in this set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(_, rule)| self.0 & rule.0 != 0).map(|(name, _)| name)
    }
}

impl fmt::Debug for PathRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl FromStr for PathRules {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::NAMES.into_iter().find(|(known, _)| *known == name);
        known
            .map(|(_, rule)| rule)
            .ok_or("expected one of empty_segments, encoded_slashes, parameters, not_utf8, double_encoding")
    }
}

/// A normalized path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalizedPath<'a> {
    /// The path; borrowed if it was already normalized.
    pub path: Cow<'a, str>,
    /// The relaxable rules that the path violates.
    pub breaks: PathRules,
}

impl<'a> NormalizedPath<'a> {
    /// Returns the path to decide on: the normalized path, in which characters that need no encoding in a path are
    /// decoded, too (`%3A` becomes `:`). Most upstreams treat both spellings alike, and some do not, so policies
    /// guard both alike. The upstream receives the client's spelling.
    ///
    /// ```
    /// use portcullis::normalize_path::normalize;
    ///
    /// assert_eq!(normalize("/a%3ab%2B%20c").unwrap().comparable(), "/a:b+%20c");
    /// ```
    #[must_use]
    pub fn comparable(self) -> Cow<'a, str> {
        let is_reserved = |byte: &u8| allowed(*byte) && *byte != b';';
        if !self.path.contains('%') {
            return self.path;
        }
        let mut text = String::with_capacity(self.path.len());
        let mut rest = &*self.path;
        while let Some(at) = rest.find('%') {
            text.push_str(&rest[..at]);
            if let Some(byte) = triplet(&rest[at..]).filter(is_reserved) {
                text.push(char::from(byte));
            } else {
                text.push_str(&rest[at..at + 3]);
            }
            rest = &rest[at + 3..];
        }
        text.push_str(rest);
        if text == *self.path { self.path } else { Cow::Owned(text) }
    }
}

/// A reason why a path cannot be normalized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A `.` or `..` segment.
    #[error("the path has a dot segment (`.` or `..`)")]
    DotSegment,
    /// An encoded control character.
    #[error("the path has a percent-encoded control character")]
    Control,
    /// A percent sign without two hexadecimal digits.
    #[error("the path has a percent sign without two hexadecimal digits after it")]
    Percent,
    /// A character that must be encoded.
    #[error("the path has a character that must be percent-encoded")]
    Character,
    /// A path that does not begin with a slash.
    #[error("the path does not begin with a slash")]
    Relative,
}

/// Returns `true` for bytes that need no closer look; most paths consist of them.
fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'/')
}

/// Returns `true` if a path is already normalized and violates no rule, as far as a quick scan can tell. Most paths
/// are.
fn is_plain(path: &[u8]) -> bool {
    const WORD: usize = size_of::<u64>();
    let word =
        |at: usize| path.get(at..at + WORD).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes);
    let Some(last) = path.len().checked_sub(WORD).and_then(word) else { return is_plain_by_bytes(path) };
    // Each word overlaps the previous one by a byte, so that two adjacent slashes always share a word.
    let mut words = (0..path.len() - WORD).step_by(WORD - 1).map_while(word).chain([last]);
    words.all(is_plain_word) || is_plain_by_bytes(path)
}

fn is_plain_by_bytes(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|byte| {
        let is_double = *byte == b'/' && before == b'/';
        before = *byte;
        plain(*byte) && !is_double
    })
}

/// Returns `true` if eight bytes are all letters, digits, hyphens and slashes, without two adjacent slashes. Every
/// decision about a path scans all of its bytes, so this scans eight at once.
fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    if word & HIGH != 0 {
        return false;
    }
    // The high bit of each byte is set if the byte is at least `least`; no ASCII byte carries into the next one.
    let at_least = |bytes: u64, least: u8| bytes + ONES * u64::from(0x80 - least);
    let lower = word | (ONES * 0x20);
    let (from_slash, behind_slash) = (at_least(word, b'/'), at_least(word, b'/' + 1));
    let letters = at_least(lower, b'a') & !at_least(lower, b'z' + 1);
    let digits_and_slashes = from_slash & !at_least(word, b'9' + 1);
    let hyphens = at_least(word, b'-') & !at_least(word, b'-' + 1);
    let slashes = from_slash & !behind_slash & HIGH;
    (letters | digits_and_slashes | hyphens) & HIGH == HIGH && slashes & (slashes >> 8) == 0
}

/// Returns `true` for the other characters of a segment (RFC 3986, section 3.3). Other code checks `;` and `.`.
fn allowed(byte: u8) -> bool {
    matches!(
        byte,
        b'.' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' | b';'
    )
}

/// Normalizes a path.
///
/// ```
/// use portcullis::normalize_path::{PathRules, normalize};
///
/// let normal = normalize("/%61/b%3a").unwrap();
/// assert_eq!((&*normal.path, normal.breaks), ("/a/b%3A", PathRules::NONE));
/// assert!(normalize("/a/%2e%2E/b").is_err());
/// assert_eq!(normalize("/a//b").unwrap().breaks, PathRules::EMPTY_SEGMENTS);
/// ```
///
/// # Errors
/// [`PathError`] if the path cannot be normalized, regardless of relaxed rules.
pub fn normalize(path: &str) -> Result<NormalizedPath<'_>, PathError> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::Relative);
    }
    if is_plain(bytes) {
        return Ok(NormalizedPath { path: Cow::Borrowed(path), breaks: PathRules::NONE });
    }
    let mut breaks = if path.contains("//") { PathRules::EMPTY_SEGMENTS } else { PathRules::NONE };
    let path = if bytes.contains(&b'%') { decoded(path, &mut breaks)? } else { Cow::Borrowed(path) };
    for byte in path.bytes() {
        match byte {
            b';' => breaks = breaks.union(PathRules::PARAMETERS),
            b'%' => {}
            byte if plain(byte) || allowed(byte) => {}
            _ => return Err(PathError::Character),
        }
    }
    if dotted(&path) {
        return Err(PathError::DotSegment);
    }
    Ok(NormalizedPath { path, breaks })
}

/// Returns `true` if a segment is `.` or `..`, also for upstreams that decode separators and strip parameters. A
/// relaxed rule must not admit such segments.
fn dotted(path: &str) -> bool {
    let within = |segment: &str| segment.split("%2F").flat_map(|part| part.split("%5C")).any(is_dots);
    path.split('/').any(within)
}

fn is_dots(segment: &str) -> bool {
    let name = segment.split(';').next().and_then(|name| name.split("%3B").next());
    matches!(name, Some("." | ".."))
}

/// Percent-encodes the characters that a path must encode (spaces, quotes, non-ASCII), so that people may write a
/// path as they read it. A backslash stays, because servers disagree about its meaning.
pub(crate) fn encode(path: &str) -> Cow<'_, str> {
    let stays = |byte: u8| plain(byte) || allowed(byte) || matches!(byte, b'%' | b'\\');
    if path.bytes().all(stays) {
        return Cow::Borrowed(path);
    }
    let mut text = String::with_capacity(path.len() + 16);
    for byte in path.bytes() {
        if stays(byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    Cow::Owned(text)
}

/// Decodes unreserved characters, and checks all other encoded characters.
fn decoded<'a>(path: &'a str, breaks: &mut PathRules) -> Result<Cow<'a, str>, PathError> {
    let mut text = String::with_capacity(path.len());
    let mut encoded = Vec::new();
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let byte = triplet(&rest[at..]).ok_or(PathError::Percent)?;
        // Adjacent encoded non-ASCII bytes form one sequence.
        if at > 0 || byte < 0x80 {
            end_of_run(&mut encoded, breaks);
        }
        match byte {
            b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            byte if byte.is_ascii_control() => return Err(PathError::Control),
            byte => {
                match byte {
                    b'/' | b'\\' => *breaks = breaks.union(PathRules::ENCODED_SLASHES),
                    b';' => *breaks = breaks.union(PathRules::PARAMETERS),
                    0x80.. => encoded.push(byte),
                    _ => {}
                }
                text.push('%');
                text.extend(rest[at + 1..at + 3].chars().map(|digit| digit.to_ascii_uppercase()));
            }
        }
        rest = &rest[at + 3..];
    }
    end_of_run(&mut encoded, breaks);
    text.push_str(rest);
    // Searched in the decoded text, because the digits may have been encoded themselves.
    if text.match_indices("%25").any(|(at, percent)| triplet(&text[at + percent.len() - 1..]).is_some()) {
        *breaks = breaks.union(PathRules::DOUBLE_ENCODING);
    }
    Ok(if text == path { Cow::Borrowed(path) } else { Cow::Owned(text) })
}

fn end_of_run(encoded: &mut Vec<u8>, breaks: &mut PathRules) {
    if std::str::from_utf8(encoded).is_err() {
        *breaks = breaks.union(PathRules::NOT_UTF8);
    }
    encoded.clear();
}

/// Returns the byte of the two hexadecimal digits after the first character of a text, such as those of `%XX`.
fn triplet(text: &str) -> Option<u8> {
    let digits = text.as_bytes().get(1..3)?;
    // `from_str_radix` would accept a sign.
    digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(path: &str) -> (String, PathRules) {
        let normal = normalize(path).unwrap();
        (normal.path.into_owned(), normal.breaks)
    }

    #[test]
    fn equivalent_paths_normalize_equally() {
        for (path, same) in [
            ("/", "/"),
            ("/a.b/c..d/...", "/a.b/c..d/..."),
            ("/%41%2d%7E", "/A-~"),
            ("/a%20b%3a%c3%a9", "/a%20b%3A%C3%A9"),
            ("/a!$&'()*+,=:@", "/a!$&'()*+,=:@"),
            ("/100%25", "/100%25"),
        ] {
            assert_eq!(normal(path), (same.to_owned(), PathRules::NONE), "{path}");
        }
    }

    #[test]
    fn ambiguous_paths_are_rejected() {
        for (path, why) in [
            ("/a/../b", PathError::DotSegment),
            ("/.", PathError::DotSegment),
            ("/%2e%2E/a", PathError::DotSegment),
            ("/a/..;x/b", PathError::DotSegment),
            ("/a/..%3bx/b", PathError::DotSegment),
            ("/a%2f..%5cb", PathError::DotSegment),
            ("/a%00.json", PathError::Control),
            ("/a%0d%0a", PathError::Control),
            ("/a%7f", PathError::Control),
            ("/a%", PathError::Percent),
            ("/a%2", PathError::Percent),
            ("/a%+1", PathError::Percent),
            ("/a%é", PathError::Percent),
            ("/a\\b", PathError::Character),
            ("/a\"<>", PathError::Character),
            ("/é", PathError::Character),
            ("a", PathError::Relative),
            ("*", PathError::Relative),
        ] {
            assert_eq!(normalize(path), Err(why), "{path}");
        }
    }

    #[test]
    fn rejection_names_the_rule_to_relax() {
        for (path, rules) in [
            ("/a//b", PathRules::EMPTY_SEGMENTS),
            ("/a%2fb", PathRules::ENCODED_SLASHES),
            ("/a%5Cb", PathRules::ENCODED_SLASHES),
            ("/a;v=1", PathRules::PARAMETERS),
            ("/a%3bv=1", PathRules::PARAMETERS),
            ("/%c0%ae", PathRules::NOT_UTF8),
            ("/%c3/%a9", PathRules::NOT_UTF8),
            ("/%c3x%a9", PathRules::NOT_UTF8),
            ("/%252e", PathRules::DOUBLE_ENCODING),
            ("/%25%32%65", PathRules::DOUBLE_ENCODING),
            ("/%252%65", PathRules::DOUBLE_ENCODING),
            ("//a;b", PathRules::EMPTY_SEGMENTS.union(PathRules::PARAMETERS)),
        ] {
            assert_eq!(normal(path).1, rules, "{path}");
        }
    }

    #[test]
    fn both_spellings_of_a_character_compare_equal() {
        for (path, comparable) in [
            ("/a%3Ab%40%21%24%26%27%28%29%2a%2B%2c%3D", "/a:b@!$&'()*+,="),
            ("/a:b", "/a:b"),
            ("/a%3Bb%20%25%C3%A9", "/a%3Bb%20%25%C3%A9"),
            ("/%7ea", "/~a"),
        ] {
            assert_eq!(normalize(path).unwrap().comparable(), comparable, "{path}");
        }
    }

    #[test]
    fn every_rule_has_a_name() {
        for (name, rule) in PathRules::NAMES {
            assert_eq!(name.parse(), Ok(rule));
        }
        assert!("dot_segments".parse::<PathRules>().is_err());
    }

    proptest! {
        #[test]
        fn normalization_is_idempotent(path in "/([a-zA-Z.;/%]|%[0-9a-fA-F]{2}|%25|%3[0-9]|[!-~]){0,40}") {
            if let Ok(once) = normalize(&path) {
                let again = normalize(&once.path).unwrap();
                prop_assert_eq!(&again.path, &once.path);
                prop_assert_eq!(again.breaks, once.breaks);
            }
        }

        #[test]
        fn word_and_byte_scans_agree_on_plain_paths(path in "/([a-zA-Z0-9/_~-]|[ -~]|\\PC){0,40}", at in 0..40_usize) {
            prop_assert_eq!(is_plain(path.as_bytes()), is_plain_by_bytes(path.as_bytes()));
            let plain = "/orders/0f3d6a52-7c1e/Lines/9";
            for byte in 0..=0x7f_u8 {
                let mut path = plain.as_bytes().to_vec();
                let at = at % path.len();
                path[at] = byte;
                prop_assert_eq!(is_plain(&path), is_plain_by_bytes(&path), "{:?}", path);
            }
        }

        #[test]
        fn normalization_never_panics(path in any::<String>()) {
            let _ = normalize(&path);
        }

        /// No lenient decoder finds a dot segment, control character or further slash in an admitted path.
        #[test]
        fn decoding_an_admitted_path_yields_no_new_path(path in "/([a-z.;/%]|%[0-9a-fA-F]{2}){0,40}") {
            let Ok(NormalizedPath { path, breaks }) = normalize(&path) else { return Ok(()) };
            if breaks.is_empty() {
                let decoded: Vec<u8> = decode(&path);
                let segments = |bytes: &[u8]| bytes.split(|byte| *byte == b'/').count();
                prop_assert_eq!(segments(&decoded), segments(path.as_bytes()));
                let dots = |segment: &[u8]| segment == b"." || segment == b"..";
                prop_assert!(!decoded.split(|byte| *byte == b'/').any(dots));
                prop_assert!(!decoded.iter().any(u8::is_ascii_control) && !decoded.contains(&b'\\'));
            }
        }
    }

    fn decode(path: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut at = 0;
        while at < path.len() {
            let (byte, len) = match triplet(&path[at..]).filter(|_| path.as_bytes()[at] == b'%') {
                Some(byte) => (byte, 3),
                None => (path.as_bytes()[at], 1),
            };
            bytes.push(byte);
            at += len;
        }
        bytes
    }
}
