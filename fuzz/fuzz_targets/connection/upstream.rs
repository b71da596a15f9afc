//! The upstream: records the requests that it receives, and responds with 200.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::message::{self, Reading, Request};

#[derive(Default)]
pub struct Log {
    /// Requests in the order in which their heads arrived, complete or not.
    pub seen: Mutex<Vec<Request>>,
    /// Increases with every transfer, here or at the client.
    pub moves: AtomicU64,
}

impl Log {
    pub fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }
}

pub async fn listen(listener: TcpListener, log: Arc<Log>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        log.moved();
        tokio::spawn(serve(stream, log.clone()));
    }
}

async fn serve(mut stream: TcpStream, log: Arc<Log>) {
    let mut bytes = Vec::new();
    while let Some(at) = request(&mut stream, &mut bytes, &log).await {
        let (method, target) = {
            let seen = log.seen.lock().expect("no panic goes on");
            (seen[at].head.method.clone(), seen[at].head.target.clone())
        };
        let answer = answer(&method, &target);
        // The gateway may close its side when its client has disconnected.
        if stream.write_all(answer).await.is_err() || answer.starts_with(b"HTTP/1.0") {
            return;
        }
        log.moved();
    }
}

/// Reads a request and records the received part. Returns its index in the log if it is complete.
async fn request(stream: &mut TcpStream, bytes: &mut Vec<u8>, log: &Log) -> Option<usize> {
    let mut place = None;
    loop {
        let read = message::head(bytes, Reading::Strict);
        let read = read.unwrap_or_else(|wrong| panic!("{wrong}: {}", bytes.escape_ascii()));
        if let Some((head, start)) = read {
            let read = message::body(head, &bytes[start..], Reading::Strict);
            let (request, used) =
                read.unwrap_or_else(|(_, wrong)| panic!("{wrong}: {}", bytes.escape_ascii()));
            let whole = request.whole;
            let mut seen = log.seen.lock().expect("no panic goes on");
            let at = *place.get_or_insert(seen.len());
            if at == seen.len() {
                seen.push(request);
            } else {
                seen[at] = request;
            }
            if whole {
                bytes.drain(..start + used);
                return Some(at);
            }
        }
        // An error ends the request, too: the gateway cuts the connection when its client disconnects.
        if !matches!(stream.read_buf(bytes).await, Ok(1..)) {
            assert!(bytes.is_empty() || place.is_some(), "the head is incomplete: {}", bytes.escape_ascii());
            return None;
        }
        log.moved();
    }
}

fn answer(method: &str, target: &str) -> &'static [u8] {
    match target {
        target if target.contains("close") => b"HTTP/1.0 200 OK\r\n\r\nto the end",
        _ if method == "HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        target if target.contains("chunks") => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=5\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        }
        target if target.contains("empty") => b"HTTP/1.1 204 No Content\r\n\r\n",
        target if target.contains("early") => {
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        }
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    }
}
