//! A connection that sends and receives bytes of one of two protocols.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    rc::Rc,
    time::Instant,
};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::{http1::Http1, http2::Http2};

/// A request, serialized for one of the protocols.
pub struct Request {
    pub head: Rc<[u8]>,
    pub body: Rc<[u8]>,
}

/// The result of a request; a status of 0 means that the request was abandoned.
pub struct Answer {
    pub status: u16,
    pub due: Instant,
    pub content: u64,
}

enum Wire {
    Http1(Http1),
    Http2(Http2),
}

pub struct Connection {
    pub stream: TcpStream,
    pub waits_to_write: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    wire: Wire,
}

impl Connection {
    pub fn open(to: SocketAddr, from: Option<IpAddr>, http2: bool) -> std::io::Result<Self> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket(family, SocketType::STREAM, None)?;
        if let Some(from) = from {
            bind(&socket, &SocketAddr::new(from, 0))?;
        }
        connect(&socket, &to)?;
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let mut output = Vec::new();
        let wire = if http2 { Wire::Http2(Http2::open(&mut output)) } else { Wire::Http1(Http1::default()) };
        Ok(Self { stream, waits_to_write: false, input: Vec::new(), output, written: 0, wire })
    }

    /// Appends a request to the output; [`flush`](Self::flush) sends it.
    pub fn begin(&mut self, request: &Request, due: Instant) {
        match &mut self.wire {
            Wire::Http1(wire) => wire.begin(request, due, &mut self.output),
            Wire::Http2(wire) => wire.begin(request, due, &mut self.output),
        }
    }

    /// The number of requests without a response.
    pub fn running(&self) -> usize {
        match &self.wire {
            Wire::Http1(wire) => wire.running(),
            Wire::Http2(wire) => wire.running(),
        }
    }

    pub fn flush(&mut self) {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.waits_to_write = true;
                    return;
                }
                // The next read detects the closed connection, perhaps after a response.
                Err(_) => break,
            }
        }
        self.output.clear();
        self.written = 0;
        self.waits_to_write = false;
    }

    /// Processes the received bytes. Returns `false` if the connection is no longer usable.
    pub fn read(&mut self, answers: &mut Vec<Answer>) -> bool {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(count) => self.input.extend_from_slice(&bytes[..count]),
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
        match &mut self.wire {
            Wire::Http1(wire) => wire.read(&mut self.input, answers),
            Wire::Http2(wire) => wire.read(&mut self.input, &mut self.output, answers),
        }
    }
}
