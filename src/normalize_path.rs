//! The path of a request target, in its one normal form.
//!
//! What policies and routes match must be what the service behind receives, so a path is normalised once,
//! by rules that change nothing about its meaning (RFC 3986, section 6.2.2), and refused when that cannot
//! be done:
//!
//! | in the path | becomes |
//! |---|---|
//! | a percent-encoded unreserved character (`%41`, `%7e`) | the character |
//! | hexadecimal digits in lower case (`%3a`) | in upper case |
//! | a `.` or `..` segment, however it is written | refused |
//! | an encoded control character, NUL among them | refused |
//! | a percent sign without two hexadecimal digits | refused |
//! | a character that no path has unencoded (`"` `<` `\` `^` `{` `|`, all beyond ASCII) | refused |
//! | an empty segment (`//`) | refused, unless [`Rules::EMPTY_SEGMENTS`] is relaxed |
//! | an encoded slash or backslash | refused, unless [`Rules::ENCODED_SLASHES`] is relaxed |
//! | a path parameter (`;`, encoded too) | refused, unless [`Rules::PARAMETERS`] is relaxed |
//! | encoded bytes that are no UTF-8, overlong ones among them | refused, unless [`Rules::NOT_UTF8`] is relaxed |
//! | an encoded percent sign before two hexadecimal digits | refused, unless [`Rules::DOUBLE_ENCODING`] is relaxed |
//!
//! Policies, routes and locks compare a form in which the other characters that a path may have unencoded are decoded,
//! too; see [`Normal::comparable`].
//!
//! The query is passed on as it is; nothing here is decided by it. A fragment never gets this far: a
//! target has none, and the server drops it.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    str::FromStr,
};

/// Rules that a route may relax, each at its own risk: a service behind that reads such a path otherwise
/// than the gateway is reached past the gateway's policies.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct PathRules(u8);

impl PathRules {
    /// None.
    pub const NONE: Self = Self(0);
    /// `//`: services that merge slashes see another path than the policies did.
    pub const EMPTY_SEGMENTS: Self = Self(1);
    /// `%2F` and `%5C`: services that decode them see more segments than the policies did.
    pub const ENCODED_SLASHES: Self = Self(1 << 1);
    /// `;`: services that cut parameters off see a shorter path than the policies did.
    pub const PARAMETERS: Self = Self(1 << 2);
    /// Bytes that are no UTF-8: services that replace them, or read overlong forms, see other characters.
    pub const NOT_UTF8: Self = Self(1 << 3);
    /// `%2561`: services that decode twice see what the policies did not.
    pub const DOUBLE_ENCODING: Self = Self(1 << 4);

    const NAMES: [(&'static str, Self); 5] = [
        ("empty_segments", Self::EMPTY_SEGMENTS),
        ("encoded_slashes", Self::ENCODED_SLASHES),
        ("parameters", Self::PARAMETERS),
        ("not_utf8", Self::NOT_UTF8),
        ("double_encoding", Self::DOUBLE_ENCODING),
    ];

    /// These and those.
    #[must_use]
    pub fn union(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// The ones of these that are not among those.
    #[must_use]
    pub fn difference(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
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
            .ok_or("a rule is one of empty_segments, encoded_slashes, parameters, not_utf8, double_encoding")
    }
}

/// A path in its normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalizedPath<'a> {
    /// The path; borrowed when it was normal already.
    pub path: Cow<'a, str>,
    /// The rules it holds only to because they can be relaxed.
    pub breaks: PathRules,
}

impl<'a> NormalizedPath<'a> {
    /// The path to decide on: the normal form, in which characters that a path may have unencoded are decoded, too
    /// (`%3A` is `:`). Their two spellings are different paths to some services and the same to most, so that both are
    /// guarded alike. What is forwarded keeps the spelling of the client.
    ///
    /// ```
    /// use portcullis::target::normalise;
    ///
    /// assert_eq!(normalise("/a%3ab%2B%20c").unwrap().comparable(), "/a:b+%20c");
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

/// Why a path has no normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A `.` or `..` segment.
    #[error("the path has a dot segment")]
    DotSegment,
    /// An encoded control character.
    #[error("the path has an encoded control character")]
    Control,
    /// A percent sign without two hexadecimal digits.
    #[error("the path has a percent sign without two hexadecimal digits")]
    Percent,
    /// A character that must be encoded.
    #[error("the path has a character that must be percent-encoded")]
    Character,
    /// It does not begin with a slash.
    #[error("the path does not begin with a slash")]
    Relative,
}

/// Whether a path may be passed over without a closer look: most have nothing but these.
fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'/')
}

/// Returns `true` if a path is in its normal form at first sight, as most are, and breaks no rule.
fn is_plain(path: &[u8]) -> bool {
    const WORD: usize = size_of::<u64>();
    let word =
        |at: usize| path.get(at..at + WORD).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes);
    let Some(last) = path.len().checked_sub(WORD).and_then(word) else { return is_plain_by_bytes(path) };
    // Each word begins with the last byte of the one before, so that no two slashes lie in two words.
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

/// Returns `true` if eight bytes are all letters, digits, hyphens and slashes, of which no two follow each other: every
/// decision about a path looks at each of its bytes, and this way at eight at once.
fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    if word & HIGH != 0 {
        return false;
    }
    // The high bit of each byte says whether it is at least so much; no byte of ASCII carries into the next.
    let at_least = |bytes: u64, least: u8| bytes + ONES * u64::from(0x80 - least);
    let lower = word | (ONES * 0x20);
    let (from_slash, behind_slash) = (at_least(word, b'/'), at_least(word, b'/' + 1));
    let letters = at_least(lower, b'a') & !at_least(lower, b'z' + 1);
    let digits_and_slashes = from_slash & !at_least(word, b'9' + 1);
    let hyphens = at_least(word, b'-') & !at_least(word, b'-' + 1);
    let slashes = from_slash & !behind_slash & HIGH;
    (letters | digits_and_slashes | hyphens) & HIGH == HIGH && slashes & (slashes >> 8) == 0
}

/// The other characters a segment may have (RFC 3986, section 3.3); `;` and `.` are looked at elsewhere.
fn allowed(byte: u8) -> bool {
    matches!(
        byte,
        b'.' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' | b';'
    )
}

/// Brings a path into its normal form.
///
/// ```
/// use portcullis::target::{Rules, normalise};
///
/// let normal = normalise("/%61/b%3a").unwrap();
/// assert_eq!((&*normal.path, normal.breaks), ("/a/b%3A", Rules::NONE));
/// assert!(normalise("/a/%2e%2E/b").is_err());
/// assert_eq!(normalise("/a//b").unwrap().breaks, Rules::EMPTY_SEGMENTS);
/// ```
///
/// # Errors
/// [`Ambiguous`] when it has none, whatever a route relaxes.
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

/// Whether a segment is `.` or `..`, also to who decodes what separates, and cuts parameters off: a rule that
/// is relaxed does not let these past.
fn dotted(path: &str) -> bool {
    let within = |segment: &str| segment.split("%2F").flat_map(|part| part.split("%5C")).any(is_dots);
    path.split('/').any(within)
}

fn is_dots(segment: &str) -> bool {
    let name = segment.split(';').next().and_then(|name| name.split("%3B").next());
    matches!(name, Some("." | ".."))
}

/// Percent-encodes the characters that no path has unencoded, so that people may write a path as they read it:
/// spaces, quotes, and what is beyond ASCII. A backslash stays, because services disagree about what it is.
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

/// Decodes what is unreserved, and looks at the rest of what is encoded.
fn decoded<'a>(path: &'a str, breaks: &mut PathRules) -> Result<Cow<'a, str>, PathError> {
    let mut text = String::with_capacity(path.len());
    let mut encoded = Vec::new();
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let byte = triplet(&rest[at..]).ok_or(PathError::Percent)?;
        // Encoded bytes beyond ASCII belong together as long as they follow each other.
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
    // Looked for in what was decoded: the digits may have been encoded themselves.
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

/// The byte that the two digits behind the first character of a text stand for, such as those of `%XX`.
fn triplet(text: &str) -> Option<u8> {
    let digits = text.as_bytes().get(1..3)?;
    // `from_str_radix` would take a sign for a digit.
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
    fn what_means_the_same_becomes_the_same() {
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
    fn what_can_be_read_in_two_ways_is_refused() {
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
    fn what_a_route_may_relax_is_named() {
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
    fn both_spellings_of_a_character_are_compared_as_one() {
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
    fn every_rule_has_its_name() {
        for (name, rule) in PathRules::NAMES {
            assert_eq!(name.parse(), Ok(rule));
        }
        assert!("dot_segments".parse::<PathRules>().is_err());
    }

    proptest! {
        #[test]
        fn the_normal_form_is_its_own(path in "/([a-zA-Z.;/%]|%[0-9a-fA-F]{2}|%25|%3[0-9]|[!-~]){0,40}") {
            if let Ok(once) = normalize(&path) {
                let again = normalize(&once.path).unwrap();
                prop_assert_eq!(&again.path, &once.path);
                prop_assert_eq!(again.breaks, once.breaks);
            }
        }

        #[test]
        fn plain_paths_are_found_by_words_as_by_bytes(path in "/([a-zA-Z0-9/_~-]|[ -~]|\\PC){0,40}", at in 0..40_usize) {
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
        fn nothing_panics(path in any::<String>()) {
            let _ = normalize(&path);
        }

        /// As a lenient service would read it: no dot segment, control character or slash comes up.
        #[test]
        fn decoding_what_was_admitted_shows_no_new_path(path in "/([a-z.;/%]|%[0-9a-fA-F]{2}){0,40}") {
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
