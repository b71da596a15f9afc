//! `upstream ADDRESS`: the upstream. Reads the body of each request and responds with the same 100 bytes of JSON,
//! from one thread, and so cheaply that it does not limit the measurement.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
};

use rustix::{buffer::spare_capacity, event::epoll};

const END: &[u8] = b"\r\n\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    content: Content,
}

/// The rest of a request's body that has not arrived.
#[derive(Clone, Copy)]
enum Content {
    Bytes(usize),
    Chunks,
}

fn answer() -> Vec<u8> {
    let body = format!(r#"{{"id":42,"name":"fixture","tags":["a","b","c"],"pad":"{:x<44}"}}"#, "");
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into()
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9100".into());
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(u64::MAX), epoll::EventFlags::IN)?;
    let (answer, mut bytes) = (answer(), vec![0; 256 * 1024]);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Vec::with_capacity(256);
    loop {
        epoll::wait(&poll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            if event.data.u64() == u64::MAX {
                let Ok((stream, _)) = listener.accept() else { continue };
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let at = connections.iter().position(Option::is_none).unwrap_or(connections.len());
                let data = epoll::EventData::new_u64(at as u64);
                epoll::add(&poll, &stream, data, epoll::EventFlags::IN)?;
                let connection = Connection { stream, input: Vec::new(), content: Content::Bytes(0) };
                if at == connections.len() {
                    connections.push(None);
                }
                connections[at] = Some(connection);
                continue;
            }
            let at = event.data.u64() as usize;
            if let Some(connection) = &mut connections[at]
                && !connection.turn(&mut bytes, &answer)
            {
                connections[at] = None;
            }
        }
    }
}

impl Connection {
    /// Reads once, and responds to complete requests. Returns `false` if the connection has ended.
    fn turn(&mut self, bytes: &mut [u8], answer: &[u8]) -> bool {
        let mut read = match self.stream.read(bytes) {
            Ok(0) => return false,
            Ok(count) => &bytes[..count],
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        if let Content::Bytes(left @ 1..) = self.content {
            let (taken, rest) = read.split_at(left.min(read.len()));
            self.content = Content::Bytes(left - taken.len());
            if taken.len() < left {
                return true;
            }
            if self.stream.write_all(answer).is_err() {
                return false;
            }
            read = rest;
        }
        self.input.extend_from_slice(read);
        loop {
            if let Content::Chunks = self.content {
                // No client sends a second request before the first response, so the last chunk ends the input.
                if !self.input.ends_with(LAST_CHUNK) {
                    self.input.drain(..self.input.len().saturating_sub(LAST_CHUNK.len() - 1));
                    return true;
                }
                self.input.clear();
            } else {
                let Some(end) = position(&self.input, END) else { return true };
                self.content = content(&self.input[..end]);
                self.input.drain(..end);
                match self.content {
                    Content::Chunks => continue,
                    Content::Bytes(length) => {
                        let there = length.min(self.input.len());
                        self.input.drain(..there);
                        if there < length {
                            self.content = Content::Bytes(length - there);
                            return true;
                        }
                    }
                }
            }
            self.content = Content::Bytes(0);
            if self.stream.write_all(answer).is_err() {
                return false;
            }
        }
    }
}

fn position(bytes: &[u8], end: &[u8]) -> Option<usize> {
    bytes.windows(end.len()).position(|it| it == end).map(|at| at + end.len())
}

fn content(head: &[u8]) -> Content {
    let text = std::str::from_utf8(head).unwrap_or_default();
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Content::Chunks;
        }
        if name.eq_ignore_ascii_case("content-length") {
            return Content::Bytes(value.trim().parse().unwrap_or(0));
        }
    }
    Content::Bytes(0)
}
