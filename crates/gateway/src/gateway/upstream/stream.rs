//! The byte stream to an upstream. Records the request that is in flight.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::transport::Transport;

/// A stream to an upstream. The head of each request is recorded; that of the first one only if the upstream has other
/// endpoints. If the connection turns out to be closed, a request without a body can then be sent again on another
/// connection.
///
/// The bytes are recorded when they are written, because a copy of the headers would cost more for each request.
#[derive(Debug)]
pub(in crate::gateway) struct UpstreamStream {
    stream: Transport,
    exchange: Arc<Exchange>,
}

/// The state of the exchange on a stream, as seen by the stream.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// Set if requests are recorded.
    records: AtomicBool,
    /// Set until something of the request is written. What is recorded then belongs to an earlier request.
    begins: AtomicBool,
    /// Set if anything was read since the request began.
    answered: AtomicBool,
    request: Mutex<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    /// The head of the request, if it was written in one piece and without a body.
    head: Vec<u8>,
    /// Set if any of the request reached the socket.
    sent: bool,
}

impl UpstreamStream {
    /// Wraps a stream. If `records_first` is set, the first request is recorded, too.
    pub(super) fn new(stream: Transport, records_first: bool) -> (Self, Arc<Exchange>) {
        let exchange = Arc::new(Exchange { records: AtomicBool::new(records_first), ..Exchange::default() });
        (Self { stream, exchange: exchange.clone() }, exchange)
    }
}

impl Exchange {
    /// Begins a request. Only the code that sends a request knows where it begins: a part of its content, written after
    /// an early response, may look like a head.
    pub(super) fn begin(&self) {
        self.answered.store(false, Ordering::Relaxed);
        self.begins.store(self.records.swap(true, Ordering::Relaxed), Ordering::Relaxed);
    }

    fn wrote(&self, bytes: &[u8], written: &Poll<io::Result<usize>>) {
        let (whole, sent) = match written {
            Poll::Pending => return,
            Poll::Ready(Ok(written)) => (*written == bytes.len(), *written > 0),
            Poll::Ready(Err(_)) => (true, false),
        };
        let mut request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        if self.begins.swap(false, Ordering::Relaxed) {
            request.head.clear();
            request.sent = false;
            if whole && bytes.ends_with(b"\r\n\r\n") {
                request.head.extend_from_slice(bytes);
            }
        } else if sent {
            // More was written than a head in one piece.
            request.head.clear();
        }
        request.sent |= sent;
    }

    /// Returns the request in flight if no response was read and the request may be sent again: its method is
    /// idempotent, or none of it was sent.
    pub(super) fn repeatable(&self, method: &Method) -> Option<Request<()>> {
        if self.answered.load(Ordering::Relaxed) || self.begins.load(Ordering::Relaxed) {
            return None;
        }
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        if request.sent && !method.is_idempotent() {
            return None;
        }
        parse(&request.head)
    }
}

/// Parses a request head that hyper wrote.
#[cold]
fn parse(head: &[u8]) -> Option<Request<()>> {
    let mut fields = vec![httparse::EMPTY_HEADER; head.split(|byte| *byte == b'\n').count()];
    let mut read = httparse::Request::new(&mut fields);
    if read.parse(head) != Ok(httparse::Status::Complete(head.len())) {
        return None;
    }
    let mut request = Request::builder().method(read.method?).uri(read.path?);
    for field in read.headers {
        request = request.header(field.name, field.value);
    }
    request.body(()).ok()
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.exchange.answered.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.exchange.wrote(bytes, &written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        // A head that is followed by a body is not sent again.
        let head = if let [head] = pieces { &**head } else { &[][..] };
        self.exchange.wrote(head, &written);
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"GET /x?y HTTP/1.1\r\nhost: a\r\nx-other: 1\r\n\r\n";

    fn written(bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    /// Returns the state after a first exchange, at the beginning of the second one.
    fn exchange() -> Exchange {
        let exchange = Exchange::default();
        exchange.begin();
        exchange.wrote(GET, &written(GET));
        assert!(exchange.repeatable(&Method::GET).is_none(), "the first request is not recorded");
        exchange.answered.store(true, Ordering::Relaxed);
        exchange.begin();
        exchange
    }

    #[test]
    fn head_is_read_back_as_written() {
        let exchange = exchange();
        assert!(exchange.repeatable(&Method::GET).is_none(), "nothing is written");
        exchange.wrote(GET, &written(GET));
        let request = exchange.repeatable(&Method::GET).unwrap();
        assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::GET, "/x?y"));
        assert_eq!((&request.headers()["host"], request.headers().len()), (&"a".parse().unwrap(), 2));
        assert!(exchange.repeatable(&Method::POST).is_none(), "it was sent");
        exchange.answered.store(true, Ordering::Relaxed);
        assert!(exchange.repeatable(&Method::GET).is_none(), "a response has begun");
    }

    #[test]
    fn first_request_is_recorded_if_there_are_other_endpoints() {
        let exchange = Exchange { records: AtomicBool::new(true), ..Exchange::default() };
        exchange.begin();
        exchange.wrote(GET, &written(GET));
        assert!(exchange.repeatable(&Method::GET).is_some());
    }

    #[test]
    fn request_with_content_is_not_repeatable() {
        let exchange = exchange();
        exchange.wrote(GET, &written(GET));
        exchange.wrote(b"content", &Poll::Ready(Ok(7)));
        assert!(exchange.repeatable(&Method::PUT).is_none());
    }

    /// The upstream answers before the client has sent the rest of its content, which looks like a request.
    #[test]
    fn content_is_never_repeated_as_a_request() {
        const PUT: &[u8] = b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 41\r\n\r\n";
        let exchange = exchange();
        exchange.wrote(PUT, &written(PUT));
        exchange.answered.store(true, Ordering::Relaxed);
        exchange.wrote(GET, &written(GET));
        assert!(exchange.repeatable(&Method::PUT).is_none());
        exchange.begin();
        exchange.wrote(GET, &Poll::Pending);
        assert!(exchange.repeatable(&Method::GET).is_none(), "the record is that of the request before");
    }

    #[test]
    fn unsent_request_is_repeatable() {
        let exchange = exchange();
        exchange.wrote(GET, &Poll::Pending);
        exchange.wrote(GET, &Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())));
        assert!(exchange.repeatable(&Method::POST).is_some());
    }
}
