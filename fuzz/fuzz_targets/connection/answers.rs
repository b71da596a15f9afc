//! Checks of the bytes that an HTTP/1.1 client receives.

/// Returns the number of final responses. They must follow each other without a byte between them, and only the last
/// one may be incomplete.
pub fn count(mut bytes: &[u8]) -> usize {
    let mut answers = 0;
    while !bytes.is_empty() {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            assert!(begins(bytes), "no response: {}", bytes.escape_ascii());
            return answers;
        };
        let head = &bytes[..end];
        assert!(begins(head) && head.len() >= 12, "no response: {}", bytes.escape_ascii());
        let status = &head[9..12];
        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
        bytes = &bytes[end + 4..];
        if status.starts_with(b"1") {
            continue;
        }
        answers += 1;
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let (length, coding) = (value("content-length:"), value("transfer-encoding:"));
        assert!(length.is_none() || coding.is_none(), "two framings: {text}");
        // A response to HEAD has the length of a body, but no body.
        if begins(bytes) || status == b"204" || status == b"304" {
            continue;
        }
        let body = match (length, coding) {
            (Some(length), _) => Some(length.parse().expect("a length")),
            (_, Some(coding)) => {
                assert_eq!(coding, "chunked");
                chunks(bytes)
            }
            // The body ends with the connection.
            (None, None) => None,
        };
        let Some(body) = body.filter(|body| *body <= bytes.len()) else { return answers };
        bytes = &bytes[body..];
    }
    answers
}

fn begins(bytes: &[u8]) -> bool {
    let len = bytes.len().min(7);
    !bytes.is_empty() && bytes[..len] == b"HTTP/1."[..len]
}

/// Returns the length of a chunked body, if it is complete.
fn chunks(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes[at..].windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        at += line + 2 + size + 2;
        if size == 0 || at > bytes.len() {
            return (at <= bytes.len()).then_some(at);
        }
        assert_eq!(&bytes[at - 2..at], b"\r\n", "the end of a chunk");
    }
}
