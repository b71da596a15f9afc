//! An upstream that records every byte and every request.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Instant,
};

use super::raw_http::{Message, TIMEOUT};

/// The data received on one connection.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub bytes: Vec<u8>,
    /// The requests, including those with an incomplete body.
    pub requests: Vec<Message>,
    /// The violation that a strict parser found.
    pub fault: Option<String>,
}

pub struct Upstream {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    connections: Vec<Arc<Mutex<Seen>>>,
    threads: Vec<(SocketAddr, JoinHandle<()>)>,
    /// The addresses of the test's own connections, which mark the order of accepted connections.
    accepted: Vec<SocketAddr>,
}

impl Upstream {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::spawn(move || {
            while let Ok((stream, from)) = listener.accept() {
                let seen = Arc::new(Mutex::new(Seen::default()));
                let connection = seen.clone();
                let serving = thread::spawn(move || serve(stream, &connection));
                let mut state = shared.lock().unwrap();
                state.connections.push(seen);
                state.threads.push((from, serving));
                state.accepted.push(from);
            }
        });
        Self { address, state }
    }

    /// Returns everything that was received since the last call. The gateway must have ended before: connections are
    /// accepted in their order, so all connections of the gateway were accepted when a later one of the test is.
    pub fn take(&self) -> Vec<Seen> {
        let mark = TcpStream::connect(self.address).unwrap().local_addr().unwrap();
        let deadline = Instant::now() + TIMEOUT;
        while !self.state.lock().unwrap().accepted.contains(&mark) {
            assert!(Instant::now() < deadline, "the service behind does not accept");
            thread::yield_now();
        }
        let threads = std::mem::take(&mut self.state.lock().unwrap().threads);
        for (_, serving) in threads {
            serving.join().unwrap();
        }
        let connections = std::mem::take(&mut self.state.lock().unwrap().connections);
        let seen = connections.iter().map(|seen| seen.lock().unwrap().clone());
        seen.filter(|seen| !seen.bytes.is_empty()).collect()
    }

    /// Returns the number of connections.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections.len()
    }
}

/// Answers each request when it is complete.
fn serve(mut stream: TcpStream, seen: &Mutex<Seen>) {
    let (mut unread, mut part) = (Vec::new(), vec![0; 64 * 1024]);
    // Set while the head of a request was read, but not its body.
    let mut open = false;
    loop {
        let read = stream.read(&mut part).unwrap_or(0);
        if read == 0 {
            return;
        }
        seen.lock().unwrap().bytes.extend_from_slice(&part[..read]);
        unread.extend_from_slice(&part[..read]);
        loop {
            match Message::parse(&unread) {
                Ok(None) => break,
                Ok(Some((message, used))) => {
                    let whole = message.whole;
                    let mut seen = seen.lock().unwrap();
                    if open {
                        seen.requests.pop();
                    }
                    seen.requests.push(message);
                    open = !whole;
                    if !whole {
                        break;
                    }
                    drop(seen);
                    unread.drain(..used);
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                        Content-Length: 11\r\n\r\n{\"ok\":true}";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
                Err(fault) => {
                    seen.lock().unwrap().fault = Some(fault);
                    return;
                }
            }
        }
    }
}
