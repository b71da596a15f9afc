//! Signing and checking, held against vectors that several public signers produced alike (`data/signing.json`),
//! and against whatever can be altered on the way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis::signature::{
    Hex, Parts, PayloadHash, RequestSignature, SignatureFormatError, Signer, UNSIGNED_PAYLOAD, format_date,
    hash, parse_date, string_to_sign,
};
use proptest::prelude::*;
use serde_json::Value;

fn data() -> Value {
    serde_json::from_str(include_str!("data/signing.json")).unwrap()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} of {value}"))
}

fn headers(request: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for pair in request["headers"].as_array().unwrap() {
        let name: HeaderName = pair[0].as_str().unwrap().parse().unwrap();
        headers.append(name, HeaderValue::from_str(pair[1].as_str().unwrap()).unwrap());
    }
    headers
}

/// A vector's request, with what its content comes to in the canonical request.
fn request<'v>(vector: &'v Value, headers: &'v HeaderMap) -> (Parts<'v>, String) {
    let request = &vector["request"];
    let parts = Parts {
        method: text(request, "method"),
        path: text(request, "path"),
        query: text(request, "raw_query"),
        authority: None,
        headers,
    };
    let stated = headers.get("x-sdk-content-sha256").map(|value| value.to_str().unwrap().to_owned());
    let payload = stated.unwrap_or_else(|| hash(text(request, "body_utf8").as_bytes()).as_str().to_owned());
    (parts, payload)
}

fn list(vector: &Value) -> String {
    let names = vector["expected"]["signed_headers"].as_array().unwrap().iter();
    names.map(|name| name.as_str().unwrap()).collect::<Vec<_>>().join(";")
}

#[test]
fn every_vector_is_signed_like_the_public_signers() {
    let data = data();
    let vectors = data["positive"].as_array().unwrap();
    assert_eq!(vectors.len(), 17);
    for vector in vectors {
        let (headers, list, id) = (headers(&vector["request"]), list(vector), text(vector, "id"));
        let (parts, payload) = request(vector, &headers);
        let signer = Signer::new(text(vector, "access_key"), text(vector, "secret_key").as_bytes());
        let signed = signer.sign(parts, &list, &payload).unwrap();
        let expected = &vector["expected"];
        assert_eq!(signed.canonical().text(), text(expected, "canonical_request"), "{id}");
        let hash = signed.canonical().hash();
        assert_eq!(hash.as_str(), text(expected, "hashed_canonical_request"), "{id}");
        assert_eq!(string_to_sign(signed.date(), &hash), text(expected, "string_to_sign"), "{id}");
        assert_eq!(signed.signature(), text(expected, "signature"), "{id}");
        assert_eq!(signed.authorization(), text(expected, "authorization"), "{id}");
        if let Some(published) = vector["published"]["signature"].as_str() {
            assert_eq!(signed.signature(), published, "{id}");
        }
    }
}

#[test]
fn every_vector_verifies_with_its_secret_only() {
    for vector in data()["positive"].as_array().unwrap() {
        let (headers, id) = (headers(&vector["request"]), text(vector, "id"));
        let (parts, payload) = request(vector, &headers);
        let authorization = text(&vector["expected"], "authorization");
        let presented = RequestSignature::parse(parts, authorization);
        // A signer may be told `get` and send GET. On the wire `get` is another method than the one that was
        // signed, and the verifier sees the wire.
        if id == "lowercase-method" {
            assert_eq!(presented.err(), Some(SignatureFormatError::Method));
            let parts = Parts { method: "GET", ..parts };
            assert!(RequestSignature::parse(parts, authorization).unwrap().verify(secret(vector), &payload));
            continue;
        }
        let presented = presented.unwrap();
        assert_eq!(presented.access_key(), text(vector, "access_key"), "{id}");
        assert!(presented.verify(secret(vector), &payload), "{id}");
        assert!(!presented.verify(b"another secret", &payload), "{id}");
        let content = if id == "unsigned-payload" { PayloadHash::Unsigned } else { PayloadHash::Required };
        assert_eq!(presented.content(), content, "{id}");
        let date = parse_date(headers["x-sdk-date"].to_str().unwrap()).unwrap();
        assert_eq!(presented.check_date(date), Ok(()), "{id}");
    }
}

fn secret(vector: &Value) -> &[u8] {
    text(vector, "secret_key").as_bytes()
}

fn vector(id: &str) -> Value {
    let data = data();
    let found = data["positive"].as_array().unwrap().iter().find(|vector| vector["id"] == id);
    found.unwrap().clone()
}

fn negative(id: &str) -> Value {
    let data = data();
    let cases = data["negative"].as_array().unwrap();
    assert_eq!(cases.len(), 3, "a case that no test looks at");
    cases.iter().find(|case| case["id"] == id).unwrap().clone()
}

#[test]
fn date_is_valid_for_15_minutes_either_way() {
    let case = negative("neg-clock-skew");
    let vector = vector(text(&case, "based_on"));
    let headers = headers(&vector["request"]);
    let (parts, _) = request(&vector, &headers);
    let presented = RequestSignature::parse(parts, text(&vector["expected"], "authorization")).unwrap();
    let late = parse_date(text(&case, "server_time")).unwrap();
    let flaw = presented.check_date(late).unwrap_err();
    assert_eq!(
        format!("Incorrect app authentication information: {flaw}"),
        text(&case["expect"], "error_msg")
    );
    let second = jiff::SignedDuration::from_secs(1);
    let nanosecond = jiff::SignedDuration::from_nanos(1);
    let signed = parse_date("20260102T030405Z").unwrap();
    let early = signed - second * 900;
    for (now, held) in [
        (late - second, true),
        (late - second + nanosecond, false),
        (signed, true),
        (early, true),
        (early - nanosecond, false),
        (jiff::Timestamp::MAX, false),
        (jiff::Timestamp::MIN, false),
    ] {
        assert_eq!(presented.check_date(now).is_ok(), held, "{}", format_date(now));
    }
}

#[test]
fn missing_access_key_is_named() {
    let case = negative("neg-empty-access");
    let value = text(&case, "change").strip_prefix("Authorization: ").unwrap();
    let vector = vector("path-no-trailing-slash");
    let headers = headers(&vector["request"]);
    let (parts, _) = request(&vector, &headers);
    let flaw = RequestSignature::parse(parts, value).unwrap_err();
    assert_eq!(
        format!("Incorrect app authentication information: {flaw}"),
        text(&case["expect"], "error_msg")
    );
}

/// Parsing does not know which keys exist: the policy answers `neg-unknown-key`.
#[test]
fn access_key_is_read_verbatim() {
    let case = negative("neg-unknown-key");
    let vector = vector(text(&case, "based_on"));
    let headers = headers(&vector["request"]);
    let (parts, payload) = request(&vector, &headers);
    let value =
        text(&vector["expected"], "authorization").replace("Access=apikey-test-0001", text(&case, "change"));
    let presented = RequestSignature::parse(parts, &value).unwrap();
    assert_eq!(presented.access_key(), "unknown-key-000");
    assert!(presented.verify(secret(&vector), &payload), "the access key itself is not signed");
}

#[test]
fn ambiguous_signature_is_rejected() {
    let vector = vector("post-json");
    let original = headers(&vector["request"]);
    let (parts, _) = request(&vector, &original);
    let authorization = text(&vector["expected"], "authorization");
    let read = |change: &dyn Fn(&mut HeaderMap), authorization: &str| {
        let mut headers = original.clone();
        change(&mut headers);
        RequestSignature::parse(Parts { headers: &headers, ..parts }, authorization).err()
    };
    let value = HeaderValue::from_static;
    let date = HeaderName::from_static("x-sdk-date");
    let stated = HeaderName::from_static("x-sdk-content-sha256");
    assert_eq!(read(&|_| {}, authorization), None);
    let flaw = read(&|headers| drop(headers.remove(&date)), authorization);
    assert_eq!(flaw, Some(SignatureFormatError::Date));
    let flaw = read(&|headers| drop(headers.insert(&date, value("2026-01-02T03:04:05Z"))), authorization);
    assert_eq!(flaw, Some(SignatureFormatError::Date));
    let again = |headers: &mut HeaderMap| assert!(headers.append(&date, value("20260102T030405Z")));
    let flaw = read(&again, authorization);
    assert_eq!(flaw, Some(SignatureFormatError::Repeated(date.clone())));
    let flaw = read(&|headers| drop(headers.remove("content-type")), authorization);
    assert_eq!(flaw, Some(SignatureFormatError::Lacking("content-type".into())));
    let flaw = read(&|_| {}, &authorization.replace("host;x-sdk-date", "host"));
    assert_eq!(flaw, Some(SignatureFormatError::DateUnsigned));
    let flaw = read(&|_| {}, &authorization.replace("host;", "host;host;"));
    assert_eq!(flaw, Some(SignatureFormatError::Names));
    let flaw = read(&|_| {}, &authorization.replace("Access=", "Credential="));
    assert_eq!(flaw, Some(SignatureFormatError::Derived));
    for hash in ["", "unsigned-payload", "STREAMING", "e3b0c442", &"g".repeat(64)] {
        let flaw = read(&|headers| drop(headers.insert(&stated, hash.parse().unwrap())), authorization);
        assert_eq!(flaw, Some(SignatureFormatError::ContentHash), "{hash}");
    }
    let twice = |headers: &mut HeaderMap| {
        headers.append(&stated, value(UNSIGNED_PAYLOAD));
        headers.append(&stated, value(UNSIGNED_PAYLOAD));
    };
    assert_eq!(read(&twice, authorization), Some(SignatureFormatError::Repeated(stated.clone())));
}

/// `X-Sdk-Content-Sha256` need not be among the signed headers: what it says is the last line of what is signed.
#[test]
fn signed_content_cannot_be_declared_unsigned() {
    let vector = vector("post-json");
    let mut headers = headers(&vector["request"]);
    headers.insert("x-sdk-content-sha256", HeaderValue::from_static(UNSIGNED_PAYLOAD));
    let (parts, _) = request(&vector, &headers);
    let presented = RequestSignature::parse(parts, text(&vector["expected"], "authorization")).unwrap();
    assert_eq!(presented.payload(None), Some(UNSIGNED_PAYLOAD));
    assert!(!presented.verify(secret(&vector), UNSIGNED_PAYLOAD));
}

// ------------------------------------------------------------------------------------- whatever is altered

const SECRET: &[u8] = b"secret-test-0001";
const DATE: &str = "20260102T030405Z";

/// One request, small enough to alter any byte of it.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    method: String,
    path: String,
    query: String,
    header: String,
    content: [u8; 32],
}

impl Sample {
    fn with<T>(&self, ask: impl FnOnce(Parts<'_>, &str) -> T) -> T {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("gw.example.com"));
        headers.insert("x-sdk-date", HeaderValue::from_static(DATE));
        headers.insert("x-note", HeaderValue::from_bytes(self.header.as_bytes()).unwrap());
        let Self { method, path, query, .. } = self;
        let parts = Parts { method, path, query, authority: None, headers: &headers };
        ask(parts, Hex::encode(&self.content).as_str())
    }

    fn sign(&self) -> String {
        let signer = Signer::new("apikey-test-0001", SECRET);
        self.with(|parts, payload| {
            let payload = payload.to_owned();
            signer.sign(parts, "host;x-note;x-sdk-date", &payload).unwrap().authorization()
        })
    }

    fn is_recognised_by(&self, authorization: &str) -> bool {
        self.with(|parts, payload| {
            RequestSignature::parse(parts, authorization).is_ok_and(|it| it.verify(SECRET, payload))
        })
    }

    /// Returns the meaning of the request in a plain form: two requests with one meaning may share a signature.
    fn meaning(&self) -> (String, Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>, String, [u8; 32]) {
        let mut path = decode(&self.path);
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        let named = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut query: Vec<_> = named.map(|(name, value)| (decode(name), decode(value))).collect();
        query.sort();
        (self.method.clone(), path, query, self.header.trim().to_owned(), self.content)
    }
}

fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = rest.get(1..3).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        if let (b'%', Some(digits)) = (rest.as_bytes()[0], digits) {
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &rest[3..];
        } else {
            bytes.extend_from_slice(&rest.as_bytes()[..first.len_utf8()]);
            rest = &rest[first.len_utf8()..];
        }
    }
    bytes
}

fn samples() -> impl Strategy<Value = Sample> {
    let parts = (
        "GET|PUT|POST|DELETE|QUERY",
        "(/([a-zA-Z0-9._~-]|%[0-9a-fA-F]{2}|[ +%é]){0,8}){1,4}",
        "(([a-c]|%[0-9a-f]{2}|[=&+/%]){1,6}){0,4}",
        "[!-~]([ -~]{0,12}[!-~])?",
        any::<[u8; 32]>(),
    );
    parts.prop_map(|(method, path, query, header, content)| Sample { method, path, query, header, content })
}

/// Another byte in place of one, such that the text stays one.
fn altered(text: &str, at: usize, to: u8) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let at = at.checked_rem(bytes.len())?;
    bytes[at] = b' ' + to % 95;
    String::from_utf8(bytes).ok()
}

proptest! {
    #[test]
    fn own_signatures_verify(sample in samples()) {
        prop_assert!(sample.is_recognised_by(&sample.sign()));
    }

    #[test]
    fn request_altered_by_one_byte_is_rejected(sample in samples(), part in 0..5, at: usize, to: u8) {
        let authorization = sample.sign();
        let mut other = sample.clone();
        let text = match part {
            0 => Some(&mut other.method),
            1 => Some(&mut other.path),
            2 => Some(&mut other.query),
            3 => Some(&mut other.header),
            _ => None,
        };
        if let Some(text) = text {
            let Some(changed) = altered(text, at, to) else { return Ok(()) };
            *text = changed;
        } else {
            other.content[at % 32] ^= to | 1;
        }
        prop_assert_eq!(other.is_recognised_by(&authorization), other.meaning() == sample.meaning(), "{:?}", other);
    }

    #[test]
    fn altered_authorization_is_rejected(sample in samples(), at: usize, to: u8) {
        let authorization = sample.sign();
        // The scheme is compared without case, and the access key only says whose secret it is.
        let start = authorization.find("SignedHeaders").unwrap();
        let (prefix, rest) = authorization.split_at(start);
        let Some(rest) = altered(rest, at, to) else { return Ok(()) };
        let changed = format!("{prefix}{rest}");
        // Blanks around the parts do not count.
        if changed != authorization && !rest.ends_with(' ') {
            prop_assert!(!sample.is_recognised_by(&changed), "{}", changed);
        }
    }

    #[test]
    fn parsing_never_panics(method: String, path: String, query: String, authorization: String, header: String) {
        let Ok(value) = HeaderValue::from_bytes(header.as_bytes()) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        headers.insert("x-sdk-date", value.clone());
        headers.insert("x-sdk-content-sha256", value);
        let parts = Parts { method: &method, path: &path, query: &query, authority: Some(&path), headers: &headers };
        let _ = RequestSignature::parse(parts, &authorization);
        let _ = RequestSignature::parse(parts, &format!("SDK-HMAC-SHA256 {authorization}"));
        let mut dated = headers.clone();
        dated.insert("x-sdk-date", HeaderValue::from_static(DATE));
        let parts = Parts { headers: &dated, ..parts };
        let signed = Signer::new(&path, query.as_bytes()).sign(parts, "host;x-sdk-date", &method);
        prop_assert!(signed.is_ok_and(|signed| signed.canonical().text().ends_with(&method)));
    }
}
