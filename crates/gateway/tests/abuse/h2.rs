//! An HTTP/2 client that sends unchecked frames, with uncompressed headers.

use std::{
    io::Write,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::raw_http::{TIMEOUT, Wire};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const ENHANCE_YOUR_CALM: u32 = 11;

pub type Field<'a> = (&'a str, &'a str);

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Returns the error code of a `RST_STREAM` or `GOAWAY` frame.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// Returns `:status`, which is the first header.
    fn status(&self) -> u16 {
        let mut block = &self.payload[..];
        while block[0] & 0xe0 == 0x20 {
            block = &block[1..];
        }
        match block[0] {
            0x88 => 200,
            0x89 => 204,
            0x8a => 206,
            0x8b => 304,
            0x8c => 400,
            0x8d => 404,
            0x8e => 500,
            // A literal with the name `:status`, in one of its forms.
            0x48 | 0x08 | 0x18 => {
                let length = usize::from(block[1] & 0x7f);
                let value = &block[2..2 + length];
                if block[1] & 0x80 == 0 { digits(value) } else { huffman_digits(value) }
            }
            other => panic!("no status: {other:#x}"),
        }
    }
}

fn digits(value: &[u8]) -> u16 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// Decodes Huffman-coded digits, which are 5 or 6 bits long (RFC 7541, appendix B).
fn huffman_digits(value: &[u8]) -> u16 {
    let bits: Vec<u8> = value.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u16, |number, bit| number * 2 + u16::from(*bit));
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let five = number(&bits[at..at + 5]);
        if five < 3 {
            (status, at) = (status * 10 + five, at + 5);
        } else {
            (status, at) = (status * 10 + number(&bits[at..at + 6]) - 0x19 + 3, at + 6);
        }
    }
    status
}

/// Encodes headers as literals without indexing.
pub fn block(fields: &[Field<'_>]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            if let Ok(length @ ..127) = u8::try_from(text.len()) {
                block.push(length);
            } else {
                let mut rest = text.len() - 127;
                block.push(127);
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                block.push(u8::try_from(rest).unwrap());
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The outcome of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Status(u16),
    Reset(u32),
    GoneAway(u32),
    Closed,
    Nothing,
}

impl Outcome {
    /// Returns the status, or 0 if there was no response.
    pub fn status(self) -> u16 {
        match self {
            Self::Status(status) => status,
            _ => crate::case::NO_ANSWER,
        }
    }
}

pub struct Connection {
    wire: Wire,
    unread: Vec<u8>,
}

impl Connection {
    /// Opens a connection without header compression by the server, and with windows for all responses.
    pub fn new(address: SocketAddr) -> Self {
        let mut connection = Self { wire: Wire::new(address), unread: Vec::new() };
        let mut start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        start.extend(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]));
        start.extend(frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()));
        assert!(connection.send(&start));
        connection
    }

    /// Sends bytes. Returns `true` if that succeeded.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.wire.stream.write_all(bytes).is_ok()
    }

    pub fn request(&mut self, stream: u32, fields: &[Field<'_>], content: Option<&[u8]>) -> bool {
        let end = if content.is_some() { 0 } else { END_STREAM };
        let mut bytes = frame(HEADERS, END_HEADERS | end, stream, &block(fields));
        if let Some(content) = content {
            bytes.extend(frame(DATA, END_STREAM, stream, content));
        }
        self.send(&bytes)
    }

    /// Reads the next frame. Returns `None` if none arrives in time, and an error if the connection is closed.
    pub fn read(&mut self, response_timeout: Duration) -> Result<Option<Frame>, Closed> {
        let deadline = Instant::now() + response_timeout;
        loop {
            if let Some(head) = self.unread.first_chunk::<9>() {
                let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                if self.unread.len() >= 9 + length {
                    let (kind, flags) = (head[3], head[4]);
                    let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
                    let payload = self.unread[9..9 + length].to_vec();
                    self.unread.drain(..9 + length);
                    return Ok(Some(Frame { kind, flags, stream, payload }));
                }
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return Ok(None) };
            match self.wire.read(left) {
                Some(true) => self.unread.append(&mut self.wire.take()),
                Some(false) => return Err(Closed),
                None => return Ok(None),
            }
        }
    }

    /// Reads until a stream has its response or is closed.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.read(deadline.saturating_duration_since(Instant::now())) {
                Err(Closed) => return Outcome::Closed,
                Ok(None) => return Outcome::Nothing,
                Ok(Some(frame)) => match frame.kind {
                    HEADERS if frame.stream == stream => return Outcome::Status(frame.status()),
                    RST_STREAM if frame.stream == stream => return Outcome::Reset(frame.code()),
                    GOAWAY => return Outcome::GoneAway(frame.code()),
                    _ => {}
                },
            }
        }
    }

    /// Returns the stream and the status of a frame that begins a response.
    pub fn answered(frame: &Frame) -> Option<(u32, u16)> {
        (frame.kind == HEADERS && frame.flags & END_HEADERS != 0).then(|| (frame.stream, frame.status()))
    }
}

/// The error of a closed connection.
#[derive(Debug)]
pub struct Closed;
