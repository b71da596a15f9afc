//! A parser of HTTP/1.1 responses that shares no code with the gateway.

/// The strictness of the parser.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Accepts only responses that a client may receive: exactly one framing, no control characters, lines that end
    /// in CRLF.
    Strict,
    /// Accepts the responses that an upstream may send: lines may end in a bare LF, and chunks may have extensions.
    Lenient,
}

#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// Whether the body is complete.
    pub whole: bool,
}

pub type Wrong = &'static str;

impl Response {
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| &**value)
    }
}

/// Parses one response at the start of some bytes that are complete, and returns its length in bytes; `None` if its
/// head has no end.
pub fn read(bytes: &[u8], to_head: bool, reading: Reading) -> Result<Option<(Response, usize)>, Wrong> {
    let (mut at, mut lines) = (0, Vec::new());
    loop {
        let Some((line, len)) = line(&bytes[at..], reading)? else { return Ok(None) };
        at += len;
        match line {
            [] if lines.is_empty() && reading == Reading::Lenient => {}
            [] => break,
            line => lines.push(line),
        }
    }
    let Some((first, fields)) = lines.split_first() else { return Err("no status line") };
    let versions: &[&[u8]] =
        if reading == Reading::Strict { &[b"HTTP/1.1 "] } else { &[b"HTTP/1.1 ", b"HTTP/1.0 "] };
    let status = versions.iter().find_map(|version| first.strip_prefix(*version)).ok_or("the version")?;
    let digits =
        status.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit)).ok_or("the status")?;
    if status.get(3).is_some_and(|byte| *byte != b' ') {
        return Err("the status");
    }
    let status = digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    let fields = fields.iter().map(|line| field(line)).collect::<Result<_, _>>()?;
    let mut response = Response { status, fields, ..Response::default() };
    let used = body(&mut response, &bytes[at..], to_head, reading)?;
    Ok(Some((response, at + used)))
}

/// Parses the body, and returns the number of its available bytes.
fn body(response: &mut Response, bytes: &[u8], to_head: bool, reading: Reading) -> Result<usize, Wrong> {
    let codings: Vec<_> = response.all("transfer-encoding").map(<[u8]>::to_ascii_lowercase).collect();
    let lengths: Vec<_> = response.all("content-length").map(<[u8]>::to_vec).collect();
    if !codings.is_empty() && !lengths.is_empty() && reading == Reading::Strict {
        return Err("two framings");
    }
    if codings.len() > 1 || codings.first().is_some_and(|coding| coding != b"chunked") {
        return Err("the transfer coding");
    }
    if lengths.len() > 1 {
        return Err("two lengths");
    }
    let length = match lengths.first() {
        Some(text)
            if text.is_empty()
                || !text.iter().all(u8::is_ascii_digit)
                || text.len() > 1 && text[0] == b'0' =>
        {
            return Err("the length");
        }
        Some(text) => Some(String::from_utf8_lossy(text).parse::<u64>().map_err(|_| "the length")?),
        None => None,
    };
    if to_head || response.status < 200 || matches!(response.status, 204 | 304) {
        if reading == Reading::Strict && response.status == 204 && length.is_some() {
            return Err("a length of no content");
        }
        response.whole = true;
        return Ok(0);
    }
    if response.status == 205 && reading == Reading::Lenient && length.is_none_or(|length| length == 0) {
        // The gateway forwards no content.
        response.whole = true;
        return Ok(0);
    }
    if !codings.is_empty() {
        return chunks(response, bytes, reading);
    }
    let Some(length) = length else {
        (response.body, response.whole) = (bytes.to_vec(), true);
        return Ok(bytes.len());
    };
    let there = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
    response.body = bytes[..there].to_vec();
    response.whole = there as u64 == length;
    Ok(there)
}

fn chunks(response: &mut Response, bytes: &[u8], reading: Reading) -> Result<usize, Wrong> {
    let mut at = 0;
    loop {
        let Some((size, len)) = size_line(&bytes[at..], reading)? else { return Ok(bytes.len()) };
        let size = str::from_utf8(size).ok().filter(|size| size.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok()).ok_or("a chunk's size")?;
        at += len;
        if size == 0 {
            break;
        }
        let there = size.min(bytes.len() - at);
        response.body.extend_from_slice(&bytes[at..at + there]);
        at += there;
        match bytes.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(_) => return Err("the end of a chunk"),
            None => return Ok(bytes.len()),
        }
    }
    loop {
        let Some((trailer, len)) = line(&bytes[at..], reading)? else { return Ok(bytes.len()) };
        at += len;
        if trailer.is_empty() {
            response.whole = true;
            return Ok(at);
        }
        let (name, _) = field(trailer)?;
        let framing = ["content-length", "transfer-encoding", "set-cookie", "connection"];
        if reading == Reading::Strict && framing.contains(&&*name) {
            return Err("a header of the head among the trailers");
        }
    }
}

/// Returns the size of a chunk as text, and the length of its line. The gateway forwards no extensions, so they may
/// contain any bytes but a line ending.
fn size_line(bytes: &[u8], reading: Reading) -> Result<Option<(&[u8], usize)>, Wrong> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let extension = bytes.iter().position(|byte| *byte == b';').filter(|at| end.is_some_and(|end| *at < end));
    let (Some(end), Some(extension), Reading::Lenient) = (end, extension, reading) else {
        return Ok(line(bytes, reading)?.map(|(size, len)| (size.trim_ascii(), len)));
    };
    if bytes[extension..end].iter().position(|byte| *byte == b'\r') != Some(end - extension - 1) {
        return Err("the end of a chunk's extension");
    }
    Ok(Some((bytes[..extension].trim_ascii(), end + 1)))
}

/// Returns the bytes up to the first line ending, and their length with it.
fn line(bytes: &[u8], reading: Reading) -> Result<Option<(&[u8], usize)>, Wrong> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let line = match (bytes[..end].strip_suffix(b"\r"), reading) {
        (Some(line), _) => line,
        (None, Reading::Lenient) => &bytes[..end],
        (None, Reading::Strict) => return Err("a bare LF"),
    };
    if line.iter().any(|byte| matches!(byte, b'\r' | 0)) {
        return Err("a bare CR, or NUL");
    }
    Ok(Some((line, end + 1)))
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), Wrong> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("a header without a colon")?;
    let tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if colon == 0 || !line[..colon].iter().all(tchar) {
        return Err("a header name is not a token");
    }
    let value = line[colon + 1..].trim_ascii();
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err("a header value has a control character");
    }
    Ok((String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase(), value.to_vec()))
}
