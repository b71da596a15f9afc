//! The canonical request, which signer and verifier build alike.

use std::cmp::Ordering;

use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::{ALGORITHM, Hex, SignatureFormatError, SignedHeaders, digit};

/// The parts of a request that can be signed, except the body.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The method.
    pub method: &'a str,
    /// The target's path as the client sent it.
    pub path: &'a str,
    /// The target's query as the client sent it; empty if there is none.
    pub query: &'a str,
    /// The target's authority, which replaces a missing `host` header, such as on HTTP/2.
    pub authority: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

impl<'a> Parts<'a> {
    /// Returns the values of a header, without surrounding whitespace, sorted; usually one value.
    fn values(&self, name: &str) -> SmallVec<[&'a [u8]; 2]> {
        let values = self.headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii());
        let mut values: SmallVec<[_; 2]> = values.collect();
        if values.is_empty() && name == header::HOST.as_str() {
            values.extend(self.authority.map(str::as_bytes));
        }
        values.sort_unstable();
        values
    }
}

/// The canonical request of a request.
///
/// ```text
/// METHOD
/// /path/                  percent-decoded once, encoded again, with a slash at its end
/// a=1&b=2                 decoded, sorted by name and then by value, encoded again; `=` is never omitted
/// host:gw.example.com     name in lower case, value without surrounding whitespace; a line for each value
/// x-sdk-date:…
///                         (an empty line)
/// host;x-sdk-date
/// e3b0c442…               SHA-256 of the body, or UNSIGNED-PAYLOAD
/// ```
///
/// Every byte except `A-Z a-z 0-9 - _ . ~` is encoded as `%XX` with digits in upper case.
#[derive(Debug, Clone, Copy)]
pub struct Canonical<'a> {
    pub(super) parts: Parts<'a>,
    pub(super) signed: SignedHeaders<'a>,
    pub(super) payload: &'a str,
}

impl<'a> Canonical<'a> {
    /// Creates the canonical request of these headers and this last line.
    ///
    /// # Errors
    /// [`SignatureFormatError::Lacking`] if a signed header is missing.
    pub fn new(
        parts: Parts<'a>,
        signed: SignedHeaders<'a>,
        payload: &'a str,
    ) -> Result<Self, SignatureFormatError> {
        match signed.names().find(|name| parts.values(name).is_empty()) {
            Some(lacking) => Err(SignatureFormatError::Lacking(lacking.into())),
            None => Ok(Self { parts, signed, payload }),
        }
    }

    /// Returns the SHA-256 of the canonical request.
    #[must_use]
    pub fn hash(&self) -> Hex {
        let mut hash = Sha256::new();
        self.write(&mut Buffer::new(|bytes| hash.update(bytes)));
        Hex::encode(&hash.finalize().into())
    }

    /// Returns the canonical request as text for people. It is not suitable for hashing: header bytes that are not
    /// UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        self.write(&mut Buffer::new(|bytes| text.extend_from_slice(bytes)));
        String::from_utf8_lossy(&text).into_owned()
    }

    fn write(&self, out: &mut Buffer<impl FnMut(&[u8])>) {
        let Parts { method, path, query, .. } = self.parts;
        method.bytes().for_each(|byte| out.push(byte.to_ascii_uppercase()));
        out.push(b'\n');
        write_path(path, out);
        out.push(b'\n');
        write_query(query, out);
        out.push(b'\n');
        for name in self.signed.names() {
            for value in self.parts.values(name) {
                out.push_all(name.as_bytes());
                out.push(b':');
                out.push_all(value);
                out.push(b'\n');
            }
        }
        out.push(b'\n');
        out.push_all(self.signed.as_str().as_bytes());
        out.push(b'\n');
        out.push_all(self.payload.as_bytes());
        out.flush();
    }
}

/// Returns the string to sign.
///
/// ```
/// use portcullis::signature::{hash, string_to_sign};
///
/// let text = string_to_sign("20260102T030405Z", &hash(b"canonical request"));
/// assert_eq!(text.lines().take(2).collect::<Vec<_>>(), ["SDK-HMAC-SHA256", "20260102T030405Z"]);
/// ```
#[must_use]
pub fn string_to_sign(date: &str, hash: &Hex) -> String {
    format!("{ALGORITHM}\n{date}\n{}", hash.as_str())
}

fn write_path(path: &str, out: &mut Buffer<impl FnMut(&[u8])>) {
    let mut last = 0;
    for byte in Decoded(path.as_bytes()) {
        // A decoded slash separates segments, too.
        if byte == b'/' {
            out.push(byte);
        } else {
            out.encode(byte);
        }
        last = byte;
    }
    if last != b'/' {
        out.push(b'/');
    }
}

/// Returns the canonical form of a query, or `None` if the query already has it. Queries with the same canonical form
/// are one query for the signer, but not for every upstream: to many, `+` is a space, and `%2B` never is.
///
/// ```
/// use portcullis::signature::canonical_query;
///
/// assert_eq!(canonical_query("a=1&b=%2B"), None);
/// assert_eq!(canonical_query("b&a=1+2").unwrap(), "a=1%2B2&b=");
/// ```
#[must_use]
pub fn canonical_query(query: &str) -> Option<String> {
    let mut rest = Some(query.as_bytes());
    let mut compared = Buffer::new(|bytes: &[u8]| rest = rest.and_then(|rest| rest.strip_prefix(bytes)));
    write_query(query, &mut compared);
    compared.flush();
    if rest.is_some_and(<[u8]>::is_empty) {
        return None;
    }
    let mut canonical = String::new();
    // The output is always ASCII.
    let mut written =
        Buffer::new(|bytes: &[u8]| canonical.extend(bytes.iter().map(|byte| char::from(*byte))));
    write_query(query, &mut written);
    written.flush();
    Some(canonical)
}

fn write_query(query: &str, out: &mut Buffer<impl FnMut(&[u8])>) {
    let pairs = query.as_bytes().split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let mut pairs: SmallVec<[(&[u8], &[u8]); 16]> = pairs.map(named).collect();
    pairs.sort_unstable_by(|one, other| compare(one.0, other.0).then_with(|| compare(one.1, other.1)));
    for (at, (name, value)) in pairs.into_iter().enumerate() {
        if at > 0 {
            out.push(b'&');
        }
        Decoded(name).for_each(|byte| out.encode(byte));
        out.push(b'=');
        Decoded(value).for_each(|byte| out.encode(byte));
    }
}

fn named(pair: &[u8]) -> (&[u8], &[u8]) {
    let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
    (&pair[..end], pair.get(end + 1..).unwrap_or_default())
}

fn compare(one: &[u8], other: &[u8]) -> Ordering {
    Decoded(one).cmp(Decoded(other))
}

/// Decodes percent-encoded bytes. A percent sign without two digits stays.
#[derive(Clone)]
struct Decoded<'a>(&'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        if let (b'%', [high, low, rest @ ..]) = (byte, rest)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            self.0 = rest;
            return Some(high << 4 | low);
        }
        self.0 = rest;
        Some(*byte)
    }
}

/// Buffers bytes: a hash processes many bytes at once as quickly as one.
struct Buffer<F> {
    bytes: [u8; 128],
    len: usize,
    out: F,
}

impl<F: FnMut(&[u8])> Buffer<F> {
    fn new(out: F) -> Self {
        Self { bytes: [0; 128], len: 0, out }
    }

    fn push(&mut self, byte: u8) {
        if self.len == self.bytes.len() {
            self.flush();
        }
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn push_all(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.push(*byte);
        }
    }

    fn encode(&mut self, byte: u8) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            self.push(byte);
        } else {
            self.push(b'%');
            self.push(DIGITS[usize::from(byte >> 4)]);
            self.push(DIGITS[usize::from(byte & 15)]);
        }
    }

    fn flush(&mut self) {
        (self.out)(&self.bytes[..self.len]);
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Buffer<&mut dyn FnMut(&[u8])>)) -> String {
        let mut text = Vec::new();
        let mut out = |bytes: &[u8]| text.extend_from_slice(bytes);
        let mut buffer = Buffer::new(&mut out as &mut dyn FnMut(&[u8]));
        write(&mut buffer);
        buffer.flush();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn path_is_decoded_once_and_ends_with_a_slash() {
        for (path, canonical) in [
            ("", "/"),
            ("/", "/"),
            ("/a", "/a/"),
            ("/a/", "/a/"),
            ("/a//", "/a//"),
            ("/a%2fb", "/a/b/"),
            ("/a%2F", "/a/"),
            ("/%41%7e%c3%a9", "/A~%C3%A9/"),
            ("/é", "/%C3%A9/"),
            ("/%2541", "/%2541/"),
            ("/100%", "/100%25/"),
            ("/%zz%+1%4", "/%25zz%25%2B1%254/"),
            ("/a/../b", "/a/../b/"),
            ("/a b+c;d", "/a%20b%2Bc%3Bd/"),
        ] {
            assert_eq!(written(|out| write_path(path, out)), canonical, "{path}");
        }
    }

    #[test]
    fn query_is_decoded_sorted_and_encoded() {
        for (query, canonical) in [
            ("", ""),
            ("a", "a="),
            ("b=2&a=1", "a=1&b=2"),
            ("a=1&B=2", "B=2&a=1"),
            ("a=%62&a=a&a", "a=&a=a&a=b"),
            ("a=1=2", "a=1%3D2"),
            ("&&a=1&", "a=1"),
            ("=v&a", "=v&a="),
            ("a+b=c+d", "a%2Bb=c%2Bd"),
            ("%61b=1&a=2", "a=2&ab=1"),
            ("a=%", "a=%25"),
        ] {
            assert_eq!(written(|out| write_query(query, out)), canonical, "{query}");
            let changed = (query != canonical).then(|| canonical.to_owned());
            assert_eq!(canonical_query(query), changed, "{query}");
            assert_eq!(canonical_query(canonical), None, "{query}");
        }
    }

    #[test]
    fn input_longer_than_the_buffer_stays_complete() {
        let path = format!("/{}", "é/a".repeat(500));
        let long = format!("/{}/", "%C3%A9/a".repeat(500));
        assert_eq!(written(|out| write_path(&path, out)), long);
    }

    #[test]
    fn every_header_value_counts_and_host_overrides_the_authority() {
        let mut headers = HeaderMap::new();
        for value in ["b ", "a", "\tc"] {
            headers.append("x-tag", value.parse().unwrap());
        }
        let parts =
            Parts { method: "GET", path: "/", query: "", authority: Some("a.example"), headers: &headers };
        let lines = |parts, list| {
            Canonical::new(parts, SignedHeaders::parse(list).unwrap(), "-").map(|canonical| canonical.text())
        };
        assert_eq!(
            lines(parts, "host;x-tag").unwrap(),
            "GET\n/\n\nhost:a.example\nx-tag:a\nx-tag:b\nx-tag:c\n\nhost;x-tag\n-"
        );
        assert_eq!(lines(parts, "x-other;x-tag"), Err(SignatureFormatError::Lacking("x-other".into())));
        let mut with_host = headers.clone();
        with_host.insert("host", "b.example".parse().unwrap());
        let parts = Parts { headers: &with_host, ..parts };
        assert!(lines(parts, "host").unwrap().contains("host:b.example\n"));
    }
}
