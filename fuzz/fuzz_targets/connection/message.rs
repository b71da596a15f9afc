//! A parser of HTTP/1.1 requests that shares no code with the gateway.

/// The strictness of the parser.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Accepts only unambiguous requests, such as the upstream must receive.
    Strict,
    /// Accepts the requests that servers accept: lines may end in a bare LF, empty lines may precede the head, and
    /// chunks may have extensions.
    Lenient,
}

#[derive(Debug, Clone, Default)]
pub struct Head {
    pub method: String,
    pub target: String,
    /// Names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
}

#[derive(Debug, Clone, Default)]
pub struct Request {
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Whether the body is complete.
    pub whole: bool,
    /// Whether no bytes after it may be parsed as a request.
    pub last: bool,
}

pub type Wrong = &'static str;

impl Head {
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| &**value)
    }

    /// Returns the value of a header that must occur exactly once.
    pub fn one(&self, name: &str) -> Option<&[u8]> {
        let mut all = self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| &**value);
        all.next().filter(|_| all.next().is_none())
    }
}

/// Parses one head at the start of some bytes, and returns its length; `None` if the head is incomplete.
pub fn head(bytes: &[u8], reading: Reading) -> Result<Option<(Head, usize)>, Wrong> {
    let mut at = 0;
    let mut lines = Vec::new();
    loop {
        let Some((line, len)) = line(&bytes[at..], reading)? else { return Ok(None) };
        at += len;
        match line {
            [] if lines.is_empty() && reading == Reading::Lenient => {}
            [] => break,
            line => lines.push(line),
        }
    }
    let Some((first, fields)) = lines.split_first() else { return Err("no request line") };
    let mut words = first.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("a request line is three words");
    };
    let versions: &[&[u8]] =
        if reading == Reading::Strict { &[b"HTTP/1.1"] } else { &[b"HTTP/1.1", b"HTTP/1.0"] };
    if !versions.contains(&version) {
        return Err("the version");
    }
    if !token(method) {
        return Err("the method is not a token");
    }
    let target = str::from_utf8(target).map_err(|_| "the target is not UTF-8")?;
    if target.is_empty() || target.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err("the target has a control character");
    }
    let fields = fields.iter().map(|line| field(line)).collect::<Result<_, _>>()?;
    let method = String::from_utf8_lossy(method).into_owned();
    Ok(Some((Head { method, target: target.to_owned(), fields }, at)))
}

/// Parses a body at the start of some bytes. The request contains the available part; the length is that of the whole
/// body.
pub fn body(head: Head, bytes: &[u8], reading: Reading) -> Result<(Request, usize), (Request, Wrong)> {
    let mut request = Request { head, ..Request::default() };
    let mut lengths: Vec<_> = request.head.all("content-length").map(<[u8]>::to_vec).collect();
    let codings: Vec<_> = request.head.all("transfer-encoding").map(<[u8]>::to_vec).collect();
    if reading == Reading::Lenient {
        // hyper accepts repeated equal lengths, and ignores the length beside a coding: RFC 9112, section 6.3,
        // permits it if the connection ends there.
        lengths.dedup_by_key(|length| number(length).unwrap_or(u64::MAX));
        request.last = !lengths.is_empty() && !codings.is_empty();
        if request.last {
            lengths.clear();
        }
    }
    match (&*lengths, &*codings) {
        ([], []) => {
            request.whole = true;
            Ok((request, 0))
        }
        ([length], []) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let length =
                str::from_utf8(length).ok().filter(|_| digits).and_then(|text| text.parse::<u64>().ok());
            let Some(length) = length else { return Err((request, "the length is not a number")) };
            let there = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
            request.body = bytes[..there].to_vec();
            request.whole = there as u64 == length;
            Ok((request, there))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => {
            match chunks(&mut request, bytes, reading) {
                Ok(used) => Ok((request, used)),
                Err(wrong) => Err((request, wrong)),
            }
        }
        _ => Err((request, "the framing is ambiguous")),
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    // `parse` would accept a sign.
    let plain = digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

fn chunks(request: &mut Request, bytes: &[u8], reading: Reading) -> Result<usize, Wrong> {
    let mut at = 0;
    loop {
        let Some((line, len)) = any_line(&bytes[at..], Reading::Strict)? else { return Ok(at) };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let rest = line[digits..].trim_ascii_start();
        if digits == 0
            || (reading == Reading::Strict && digits < line.len())
            || !matches!(rest, [] | [b';', ..])
        {
            return Err("the size of a chunk");
        }
        let size = str::from_utf8(&line[..digits]).expect("digits");
        let size = u64::from_str_radix(size, 16).map_err(|_| "the size of a chunk is too large")?;
        at += len;
        if size == 0 {
            break;
        }
        let there = usize::try_from(size).unwrap_or(usize::MAX).min(bytes.len() - at);
        request.body.extend(&bytes[at..at + there]);
        at += there;
        match bytes.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(_) if there as u64 == size => return Err("no CRLF behind a chunk"),
            _ => return Ok(at),
        }
    }
    if reading == Reading::Lenient && !bytes[at..].starts_with(b"\r\n") {
        // hyper searches the end of the trailers first and parses them then: a bare LF belongs to them, regardless of
        // what follows.
        let end = bytes[at..].windows(4).position(|window| window == b"\r\n\r\n");
        request.whole = end.is_some();
        return Ok(end.map_or(bytes.len(), |end| at + end + 4));
    }
    loop {
        let Some((line, len)) = any_line(&bytes[at..], Reading::Strict)? else { return Ok(at) };
        at += len;
        if line.is_empty() {
            request.whole = true;
            return Ok(at);
        }
        request.trailers.push(field(line)?);
    }
}

/// Returns the bytes up to the first line ending, and their length with it.
fn line(bytes: &[u8], reading: Reading) -> Result<Option<(&[u8], usize)>, Wrong> {
    match any_line(bytes, reading)? {
        Some((line, _)) if line.contains(&0) => Err("NUL"),
        line => Ok(line),
    }
}

/// Returns the bytes of a line without restrictions: hyper drops a chunk's extension without parsing it.
fn any_line(bytes: &[u8], reading: Reading) -> Result<Option<(&[u8], usize)>, Wrong> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let line = match (bytes[..end].strip_suffix(b"\r"), reading) {
        (Some(line), _) => line,
        (None, Reading::Lenient) => &bytes[..end],
        (None, Reading::Strict) => return Err("a bare LF"),
    };
    if line.contains(&b'\r') {
        return Err("a bare CR");
    }
    Ok(Some((line, end + 1)))
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), Wrong> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("a header without a colon")?;
    // Whitespace before the name (a folded line) or before the colon is not part of a token either.
    if !token(&line[..colon]) {
        return Err("a header name is not a token");
    }
    let value = line[colon + 1..].trim_ascii();
    if value.iter().any(|byte| (byte.is_ascii_control() && *byte != b'\t') || *byte == 0) {
        return Err("a header value has a control character");
    }
    let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
    Ok((name, value.to_vec()))
}

fn token(name: &[u8]) -> bool {
    let tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(tchar)
}
