//! HTTP/1.1 as bytes: a strict parser that shares no code with the gateway, and a client that sends any bytes.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// The time that a client waits for the first response, or for the end of the connection.
pub const TIMEOUT: Duration = Duration::from_secs(4);
/// The time that a client waits for more data after a response.
const QUIET: Duration = Duration::from_millis(300);

/// A request or a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The request line or the status line.
    pub start: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body is complete.
    pub whole: bool,
}

impl Message {
    /// Returns all values of a header.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// Returns the target without its query.
    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Parses a message from the start of some bytes. Returns the message, which may be incomplete, and its length in
    /// bytes.
    ///
    /// # Errors
    /// Returns the violation that a strict parser finds.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, String> {
        let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
        let mut message = Self::default();
        for (at, line) in latin(&bytes[..end]).split("\r\n").enumerate() {
            if line.contains(['\r', '\n', '\0']) {
                return Err(format!("a control character in {line:?}"));
            }
            if at == 0 {
                line.clone_into(&mut message.start);
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(format!("no field: {line:?}"))?;
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(token) {
                return Err(format!("no field name: {line:?}"));
            }
            message.fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
        }
        let start = end + 4;
        let (codings, lengths) = (message.values("transfer-encoding"), message.values("content-length"));
        let used = match (&codings[..], &lengths[..]) {
            ([], []) => Some((vec![], 0)),
            ([], [length]) if !length.is_empty() && length.bytes().all(|digit| digit.is_ascii_digit()) => {
                let length: usize = length.parse().map_err(|_| format!("too long: {length}"))?;
                let body = bytes.get(start..start + length);
                body.map(|body| (body.to_vec(), length))
            }
            (["chunked"], []) => chunks(&bytes[start..])?,
            _ => return Err(format!("framed by {codings:?} and {lengths:?}")),
        };
        if let Some((body, length)) = used {
            (message.body, message.whole) = (body, true);
            return Ok(Some((message, start + length)));
        }
        Ok(Some((message, bytes.len())))
    }
}

/// Decodes a chunked body, if it is complete. Returns the body and its encoded length.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = latin(&bytes[at..at + end]);
        if size.is_empty() || !size.chars().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(format!("no chunk size: {size:?}"));
        }
        let size = usize::from_str_radix(&size, 16).map_err(|_| format!("no chunk size: {size:?}"))?;
        at += end + 2;
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        let (chunk, line_end) = chunk.split_at(size);
        if line_end != b"\r\n" {
            return Err("a chunk does not end where it says".into());
        }
        body.extend_from_slice(chunk);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

pub fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

pub fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The result of sending some bytes on a connection of their own.
#[derive(Debug, Default)]
pub struct Exchange {
    /// The final responses.
    pub answers: Vec<Message>,
    /// The status codes of interim responses.
    pub interim: Vec<u16>,
    /// Whether the server closed the connection first.
    pub closed: bool,
}

impl Exchange {
    /// Returns the status of the first final response, or 0 if there is none.
    pub fn status(&self) -> u16 {
        self.answers.first().map_or(super::case::NO_ANSWER, Message::status)
    }

    pub fn first(&self) -> &Message {
        self.answers.first().expect("an answer")
    }
}

/// A connection that sends arbitrary bytes.
pub struct Wire {
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    pub fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Reads once. Returns `false` if the connection is closed, and `None` if nothing arrives in time.
    pub fn read(&mut self, response_timeout: Duration) -> Option<bool> {
        self.stream.set_read_timeout(Some(response_timeout.max(Duration::from_millis(1)))).unwrap();
        let mut part = [0; 16 * 1024];
        match self.stream.read(&mut part) {
            Ok(0) => Some(false),
            Ok(read) => {
                self.read.extend_from_slice(&part[..read]);
                Some(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) if error.kind() == ErrorKind::Interrupted => Some(true),
            Err(_) => Some(false),
        }
    }

    /// Removes and returns the bytes that were read.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.read)
    }

    /// Removes and returns the next response, if it is complete.
    pub fn next(&mut self) -> Option<Message> {
        let (message, used) = Message::parse(&self.read).expect("the gateway's answers are well formed")?;
        message.whole.then(|| self.read.drain(..used));
        message.whole.then_some(message)
    }

    /// Sends a request and waits for its final response.
    pub fn ask(&mut self, bytes: &[u8]) -> Message {
        self.stream.write_all(bytes).expect("the request goes out");
        let deadline = Instant::now() + crate::process::TIMEOUT;
        loop {
            match self.next() {
                Some(answer) if answer.status() >= 200 => return answer,
                Some(_) => {}
                None => {
                    let left = deadline.checked_duration_since(Instant::now());
                    let more = self.read(left.expect("an answer in time"));
                    assert!(more != Some(false), "the connection ended after {:?}", latin(&self.read));
                }
            }
        }
    }
}

/// Sends bytes and reads until the server closes the connection or sends nothing for a while.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Exchange {
    let mut wire = Wire::new(address);
    // A server that denies early may close the connection before it has read everything.
    let _ = wire.stream.write_all(bytes);
    let mut exchange = Exchange::default();
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let response_timeout = if exchange.answers.is_empty() {
            deadline.saturating_duration_since(Instant::now())
        } else {
            QUIET
        };
        let more = wire.read(response_timeout);
        while let Some(message) = wire.next() {
            if message.status() < 200 {
                exchange.interim.push(message.status());
            } else {
                exchange.answers.push(message);
            }
        }
        match more {
            Some(true) if Instant::now() < deadline => {}
            Some(false) => {
                exchange.closed = true;
                return exchange;
            }
            _ => return exchange,
        }
    }
}
