//! HTTP/2 with prior knowledge, restricted to the needs of fixed requests.
//!
//! Requests do not use the dynamic table, and responses must not either (our settings give it no size). The status,
//! which is the first header, can therefore be read without the rest.

use std::{rc::Rc, time::Instant};

use crate::connection::{Answer, Request};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The smallest window that every peer accepts.
const MAX_FRAME: usize = 16 * 1024;
/// The initial window of a connection or stream.
const WINDOW: i64 = 65_535;
/// The window that we give a connection, once.
const ROOM: u32 = 1 << 30;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

/// Returns a header block of literals and entries of the static table.
pub fn head(path: &str, fields: &[(&str, String)], post: bool) -> Vec<u8> {
    // :method, :scheme http, :path, :authority
    let mut block = vec![if post { 0x83 } else { 0x82 }, 0x86, 0x04];
    string(&mut block, path);
    block.push(0x01);
    string(&mut block, "api.example");
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

fn string(block: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 127, "lengths of more than seven bits are not written");
    block.push(text.len() as u8);
    block.extend_from_slice(text.as_bytes());
}

fn frame(output: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, content: &[u8]) {
    output.extend_from_slice(&(content.len() as u32).to_be_bytes()[1..]);
    output.extend_from_slice(&[kind, flags]);
    output.extend_from_slice(&stream.to_be_bytes());
    output.extend_from_slice(content);
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

struct Stream {
    id: u32,
    due: Instant,
    status: u16,
    content: u64,
    body: Rc<[u8]>,
    sent: usize,
    window: i64,
}

pub struct Http2 {
    streams: Vec<Stream>,
    next: u32,
    /// The send window of the connection, and the initial one of a stream.
    window: i64,
    first_window: i64,
    /// Received bytes since the last window update.
    taken: u32,
    going_away: bool,
}

impl Http2 {
    pub fn open(output: &mut Vec<u8>) -> Self {
        output.extend_from_slice(PREFACE);
        // Disables the dynamic table and server push.
        frame(output, SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
        frame(output, WINDOW_UPDATE, 0, 0, &ROOM.to_be_bytes());
        let streams = Vec::new();
        Self { streams, next: 1, window: WINDOW, first_window: WINDOW, taken: 0, going_away: false }
    }

    pub fn begin(&mut self, request: &Request, due: Instant, output: &mut Vec<u8>) {
        let (id, body) = (self.next, request.body.clone());
        self.next += 2;
        let end = if body.is_empty() { END_STREAM } else { 0 };
        frame(output, HEADERS, END_HEADERS | end, id, &request.head);
        self.streams.push(Stream {
            id,
            due,
            status: 0,
            content: 0,
            body,
            sent: 0,
            window: self.first_window,
        });
        self.send_bodies(output);
    }

    pub fn running(&self) -> usize {
        self.streams.len()
    }

    fn send_bodies(&mut self, output: &mut Vec<u8>) {
        for stream in &mut self.streams {
            while stream.sent < stream.body.len() && stream.window > 0 && self.window > 0 {
                let most = stream.window.min(self.window).min(MAX_FRAME as i64) as usize;
                let part = &stream.body[stream.sent..][..most.min(stream.body.len() - stream.sent)];
                stream.sent += part.len();
                stream.window -= part.len() as i64;
                self.window -= part.len() as i64;
                let end = u8::from(stream.sent == stream.body.len()) * END_STREAM;
                frame(output, DATA, end, stream.id, part);
            }
        }
    }

    pub fn read(&mut self, input: &mut Vec<u8>, output: &mut Vec<u8>, answers: &mut Vec<Answer>) -> bool {
        let mut at = 0;
        while let Some(head) = input.get(at..at + 9) {
            let (length, kind, flags) = (number(&head[..3]) as usize, head[3], head[4]);
            let stream = number(&head[5..]) & !(1 << 31);
            let Some(content) = input.get(at + 9..at + 9 + length) else { break };
            self.take(kind, flags, stream, content, output, answers);
            at += 9 + length;
        }
        input.drain(..at);
        if self.taken > ROOM / 2 {
            frame(output, WINDOW_UPDATE, 0, 0, &self.taken.to_be_bytes());
            self.taken = 0;
        }
        self.send_bodies(output);
        !self.going_away || !self.streams.is_empty()
    }

    fn take(
        &mut self,
        kind: u8,
        flags: u8,
        id: u32,
        content: &[u8],
        output: &mut Vec<u8>,
        answers: &mut Vec<Answer>,
    ) {
        let at = self.streams.iter().position(|stream| stream.id == id);
        match (kind, at) {
            (HEADERS, Some(at)) => {
                let padding = usize::from(flags & PADDED != 0);
                let priority = if flags & PRIORITY == 0 { 0 } else { 5 };
                // Trailers have no status; keep the status of the head.
                let status = status(content.get(padding + priority..).unwrap_or_default());
                let stream = &mut self.streams[at];
                stream.status = status.unwrap_or(stream.status);
            }
            (DATA, _) => {
                self.taken += content.len() as u32;
                if let Some(at) = at {
                    self.streams[at].content += content.len() as u64;
                }
            }
            (SETTINGS, _) if flags & ACK == 0 => {
                for setting in content.chunks_exact(6).filter(|setting| number(&setting[..2]) == 4) {
                    let window = i64::from(number(&setting[2..]));
                    let more = window - self.first_window;
                    self.first_window = window;
                    self.streams.iter_mut().for_each(|stream| stream.window += more);
                }
                frame(output, SETTINGS, ACK, 0, &[]);
            }
            (PING, _) if flags & ACK == 0 => frame(output, PING, ACK, 0, content),
            (WINDOW_UPDATE, Some(at)) => self.streams[at].window += i64::from(number(content)),
            (WINDOW_UPDATE, None) if id == 0 => self.window += i64::from(number(content)),
            (GOAWAY, _) => self.going_away = true,
            _ => {}
        }
        let ended = kind == RST_STREAM || matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0;
        if let Some(at) = at.filter(|_| ended) {
            let Stream { status, due, content, .. } = self.streams.swap_remove(at);
            let status = if kind == RST_STREAM { 0 } else { status };
            answers.push(Answer { status, due, content });
        }
    }
}

/// Returns the status at the start of a header block (RFC 7541, appendix A).
fn status(block: &[u8]) -> Option<u16> {
    // Size updates of the table may precede it; the size is 0.
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20)?;
    match block[start..] {
        [index @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)]),
        [0x08..=0x0e | 0x18..=0x1e | 0x48..=0x4e, 3, a, b, c, ..] => {
            std::str::from_utf8(&[a, b, c]).ok()?.parse().ok()
        }
        [0x08..=0x0e | 0x18..=0x1e | 0x48..=0x4e, length, ref text @ ..] if length & 0x80 != 0 => {
            digits(text.get(..usize::from(length & 0x7f))?)
        }
        _ => None,
    }
}

/// Returns three Huffman-coded digits: five bits for 0 to 2, six for the others.
fn digits(bytes: &[u8]) -> Option<u16> {
    let bits = u32::from_be_bytes([*bytes.first()?, *bytes.get(1)?, *bytes.get(2).unwrap_or(&0xff), 0]);
    let mut at = 0;
    (0..3).try_fold(0, |number, _| {
        let six = (bits << at >> 26) as u16;
        let digit = if six >> 1 <= 2 { six >> 1 } else { six.checked_sub(0b01_1001)? + 3 };
        at += if six >> 1 <= 2 { 5 } else { 6 };
        (digit < 10).then_some(number * 10 + digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_in_every_hpack_encoding() {
        assert_eq!(status(&[0x88]), Some(200));
        assert_eq!(status(&[0x20, 0x8d]), Some(404));
        assert_eq!(status(&[0x48, 3, b'4', b'2', b'9']), Some(429));
        // 4 is 011010, 0 is 00000, 1 is 00001, 2 is 00010, 9 is 011111.
        assert_eq!(status(&[0x0e, 0x82, 0b0110_1000, 0b0000_0001]), Some(401));
        assert_eq!(status(&[0x48, 0x83, 0b0110_1000, 0b0100_1111, 0b1111_1111]), Some(429));
    }
}
