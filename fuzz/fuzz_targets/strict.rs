//! Fuzzes [`StrictHttp`] with request heads: checks the heads that it admits, and the request that the upstream receives.
//!
//! The input resembles a head of HTTP/1.1: `METHOD target [version]`, then `name: value` lines; lines end with LF,
//! and a CR before it is dropped. Heads that the `http` crate cannot represent never reach a policy and are skipped.

#![no_main]

use std::sync::LazyLock;

use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use libfuzzer_sys::{Corpus, fuzz_target};
use portcullis::{
    Admission, Head, Stop,
    clock::{Clock, Moment, SystemClock},
    normalize_path::{NormalizedPath, PathRules, normalize},
    policy::StrictHttp,
};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some(request) = read(input) else { return Corpus::Reject };
    path(request.uri().path());
    admission(&request);
    Corpus::Keep
});

fn read(input: &[u8]) -> Option<Request<()>> {
    let mut lines = input.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut words = lines.next()?.split(|byte| *byte == b' ');
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(words.next()?).ok()?;
    *request.uri_mut() = Uri::try_from(words.next()?).ok()?;
    *request.version_mut() = match words.next() {
        Some(b"HTTP/1.0") => Version::HTTP_10,
        Some(b"HTTP/2") => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    for line in lines.take_while(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request.headers_mut().try_append(name, value).ok()?;
    }
    Some(request)
}

fn every_rule() -> PathRules {
    [
        PathRules::EMPTY_SEGMENTS,
        PathRules::ENCODED_SLASHES,
        PathRules::PARAMETERS,
        PathRules::NOT_UTF8,
        PathRules::DOUBLE_ENCODING,
    ]
    .into_iter()
    .fold(PathRules::NONE, PathRules::union)
}

/// Checks the normalized path alone.
fn path(raw: &str) {
    let Ok(NormalizedPath { path: normal, breaks }) = normalize(raw) else { return };

    let again = normalize(&normal).expect("a normalized path can be normalized");
    assert_eq!(again.path, normal, "normalization is idempotent");
    assert_eq!(again.breaks, breaks, "normalization keeps the violations");

    // Normalization does not change the meaning: both decode to the same bytes.
    assert_eq!(decode(normal.as_bytes()), decode(raw.as_bytes()));
    assert!(normal.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"#<>?\\^`{|}".contains(&byte)));
    // No segment is a dot segment, with relaxed rules or not, with parameters or without.
    assert!(!normal.split('/').any(|segment| dots(segment.as_bytes())));
    assert!(!decode(normal.as_bytes()).iter().any(u8::is_ascii_control));

    if breaks.is_empty() {
        // The same holds for an upstream that decodes twice, merges slashes, and treats a backslash as a slash.
        let mut decoded = normal.as_bytes().to_vec();
        for _ in 0..2 {
            decoded = decode(&decoded);
            assert!(!decoded.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\'));
            assert!(!decoded.windows(2).any(|two| two == b"//"));
            assert!(!decoded.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b"..")));
            let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
            assert_eq!(
                slashes(&decoded),
                slashes(normal.as_bytes()),
                "no more segments than the policies saw"
            );
        }
        std::str::from_utf8(&decoded).expect("UTF-8 unless a rule is violated");
    }
}

/// Returns `true` for `.` and `..`, with parameters or without.
fn dots(segment: &[u8]) -> bool {
    matches!(segment.split(|byte| *byte == b';').next(), Some(b"." | b".."))
}

/// Decodes like a lenient server: a percent sign without two digits stays.
fn decode(path: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (mut bytes, mut rest) = (Vec::new(), path);
    while let [first, tail @ ..] = rest {
        if let [b'%', high, low, tail @ ..] = rest
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            bytes.push(u8::try_from(high * 16 + low).expect("two digits"));
            rest = tail;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    bytes
}

/// Evaluates the policy and returns its admission.
fn admission(request: &Request<()>) {
    let strict = ask(StrictHttp::new(), request);
    let relaxed = ask(StrictHttp::new().relax(every_rule()), request);
    let once_more = ask(StrictHttp::new(), request);
    assert_eq!(
        strict.as_ref().map(|admission| format!("{admission:?}")),
        once_more.as_ref().map(|admission| format!("{admission:?}")),
        "equal heads have equal outcomes",
    );

    match (strict, relaxed) {
        (Ok(mut strict), Ok(mut relaxed)) => {
            assert!(strict.path_violations().is_empty() && relaxed.path_violations().is_empty());
            let head = head(request);
            assert_eq!(strict.path(&head).expect("admitted"), relaxed.path(&head).expect("admitted"));
            admitted(strict, request, StrictHttp::new());
            admitted(relaxed, request, StrictHttp::new().relax(every_rule()));
        }
        (Err(_), Ok(relaxed)) => {
            assert!(!relaxed.path_violations().is_empty(), "strict admits paths that violate no rule");
            // It suffices to relax the violated rules.
            let just = StrictHttp::new().relax(relaxed.path_violations());
            assert!(ask(just, request).is_ok());
            admitted(relaxed, request, just);
        }
        (Err(_), Err(_)) => {}
        (Ok(_), Err(why)) => panic!("denied with relaxed rules: {why}"),
    }
}

fn admitted(mut admission: Admission, raw: &Request<()>, strict: StrictHttp) {
    unambiguous(raw);
    let decided = admission.path(&head(raw)).expect("admitted").to_owned();
    let breaks = admission.path_violations();

    let mut request = raw.clone();
    admission.prepare_upstream(&mut request);
    assert_eq!(request.uri().query(), raw.uri().query());
    assert_eq!(request.uri().scheme(), raw.uri().scheme());
    assert_eq!(request.uri().authority(), raw.uri().authority());
    assert_eq!(request.method(), raw.method());
    assert_eq!(request.headers(), raw.headers());
    if decided == "*" {
        assert_eq!(raw.method(), Method::OPTIONS);
        assert_eq!(request.uri().path(), "*");
    } else {
        let normal = normalize(raw.uri().path()).expect("admitted");
        assert_eq!(request.uri().path(), normal.path, "the upstream receives the normalized path");
        assert_eq!(decided, normal.comparable(), "policies decide on its comparable form");
    }

    let mut again = ask(strict, &request).expect("an admitted and prepared request is admitted again");
    assert_eq!(again.path(&head(&request)).expect("admitted"), decided);
    assert_eq!(again.path_violations(), breaks);
    let prepared = request.uri().clone();
    again.prepare_upstream(&mut request);
    assert_eq!(request.uri().to_string(), prepared.to_string());
}

/// Checks framing, host and connection as the RFCs define them, independently of the policy.
fn unambiguous(request: &Request<()>) {
    let all = |name: HeaderName| -> Vec<&[u8]> {
        request.headers().get_all(name).iter().map(HeaderValue::as_bytes).collect()
    };
    let lengths = all(header::CONTENT_LENGTH);
    let codings = all(header::TRANSFER_ENCODING);
    let hosts = all(header::HOST);
    assert_ne!(request.method(), Method::CONNECT);
    assert!(lengths.len() + codings.len() <= 1, "one framing");
    assert!(lengths.iter().all(|length| !length.is_empty() && length.iter().all(u8::is_ascii_digit)));
    assert!(codings.iter().all(|coding| coding.eq_ignore_ascii_case(b"chunked")));
    assert!(codings.is_empty() || request.version() == Version::HTTP_11);
    assert!(hosts.len() <= 1);
    assert!(all(header::AUTHORIZATION).len() <= 1 && all(header::CONTENT_TYPE).len() <= 1);
    if let (Some(authority), Some(host)) = (request.uri().authority(), hosts.first()) {
        assert!(host.eq_ignore_ascii_case(authority.as_str().as_bytes()), "one host");
    }
    if request.version() == Version::HTTP_11 {
        assert!(!hosts.is_empty() || request.uri().authority().is_some());
    }
    for host in hosts {
        assert!(!host.is_empty() && !host.iter().any(|byte| b"@/\\?#% ,".contains(byte)));
    }
    for value in all(header::CONNECTION) {
        for name in value.split(|byte| *byte == b',') {
            let name = name.trim_ascii();
            let ours =
                ["host", "x-api-key", "authorization", "x-caller-id", "x-forwarded-for", "content-length"];
            assert!(!ours.iter().any(|ours| name.eq_ignore_ascii_case(ours.as_bytes())));
        }
    }
}

fn ask(strict: StrictHttp, request: &Request<()>) -> Result<Admission, String> {
    let mut admission = Admission::default();
    match admission.evaluate(&strict, &head(request)) {
        Ok(()) => Ok(admission),
        Err(Stop::Deny(denial)) => Err(format!("{denial:?}")),
        Err(Stop::Wait(_) | Stop::NeedsBody(_)) => panic!("strict never waits"),
    }
}

fn head(request: &Request<()>) -> Head<'_> {
    static NOW: LazyLock<Moment> = LazyLock::new(|| SystemClock::new().now());
    Head::from_request(request, None, false, *NOW)
}
