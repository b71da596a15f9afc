//! An upstream that sends the bytes of a test.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// A request as it was received, with the number of its connection, and its own number on that connection, both from 0.
#[derive(Debug, Clone)]
pub struct Arrived {
    pub connection: usize,
    pub request: usize,
    pub head: String,
    pub content: Vec<u8>,
}

impl Arrived {
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// Returns all values of a header.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// The reaction to a request.
pub enum Reaction {
    /// Sends bytes and keeps the connection open.
    Send(Vec<u8>),
    /// Sends bytes and closes the connection.
    SendAndClose(Vec<u8>),
    /// Closes the connection.
    Close,
}

/// Returns a well-framed response with the given content.
pub fn ok(content: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", content.len()).into_bytes()
}

pub struct Scripted {
    pub address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Scripted {
    pub fn start(script: impl Fn(&Arrived) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let (shared, script) = (arrived.clone(), Arc::new(script));
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (arrived, script) = (shared.clone(), script.clone());
                thread::spawn(move || serve(stream.unwrap(), connection, &arrived, &*script));
            }
        });
        Self { address, arrived }
    }

    /// Starts an upstream that answers every request with the given bytes and keeps the connection open.
    pub fn answering(bytes: &'static [u8]) -> Self {
        Self::start(move |_| Reaction::Send(bytes.to_vec()))
    }

    /// Returns all requests so far.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    connection: usize,
    arrived: &Mutex<Vec<Arrived>>,
    script: &dyn Fn(&Arrived) -> Reaction,
) {
    let mut unread = Vec::new();
    for request in 0.. {
        let Some((head, content)) = read(&mut stream, &mut unread) else { return };
        let request = Arrived { connection, request, head, content };
        arrived.lock().unwrap().push(request.clone());
        let (bytes, ends) = match script(&request) {
            Reaction::Send(bytes) => (bytes, false),
            Reaction::SendAndClose(bytes) => (bytes, true),
            Reaction::Close => (Vec::new(), true),
        };
        if stream.write_all(&bytes).is_err() || ends {
            return;
        }
    }
}

/// Reads a request whose body has a length or is chunked.
fn read(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = find(unread, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&unread[..end]).into_owned();
            let fields = head.to_ascii_lowercase();
            let length = fields.lines().find_map(|line| line.strip_prefix("content-length: "));
            let content = &unread[end + 4..];
            let length = match length {
                Some(length) => Some(length.parse().unwrap()),
                None if fields.contains("transfer-encoding: chunked") => {
                    find(content, b"0\r\n\r\n").map(|at| at + 5)
                }
                None => Some(0),
            };
            if let Some(length) = length.filter(|length| *length <= content.len()) {
                let content = content[..length].to_vec();
                unread.drain(..end + 4 + length);
                return Some((head, content));
            }
        }
        let mut part = [0; 16 * 1024];
        match stream.read(&mut part) {
            Ok(read @ 1..) => unread.extend_from_slice(&part[..read]),
            _ => return None,
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
