//! Informational responses of upstreams, such as 103 (Early Hints), on their way to HTTP/1.1 clients.
//!
//! hyper's server does not send them (only `100 (Continue)`), so they are written to the client's stream between two
//! messages. On HTTP/2 there is no such gap, so they are dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Request, StatusCode};
use hyper::ext::on_informational;

use super::hop_headers;

/// The most bytes of informational responses that wait to be written.
const MAX_BYTES: usize = 16 * 1024;

/// The informational responses that wait to be written to a client.
#[derive(Debug, Clone, Default)]
pub(in crate::gateway) struct InformationalResponses(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Set while a part of a message may be on its way: the responses would end up in the middle of it.
    in_message: bool,
}

impl InformationalResponses {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a part of a message is written.
    pub(in crate::gateway) fn begin_message(&self) {
        self.state().in_message = true;
    }

    /// Records that everything that was written was also flushed.
    pub(in crate::gateway) fn flushed(&self) {
        self.state().in_message = false;
    }

    /// Takes the bytes that wait to be written.
    pub(in crate::gateway) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.state().waiting)
    }

    /// Passes on the informational responses to a request.
    pub(in crate::gateway) fn observe<B>(&self, request: &mut Request<B>) {
        let this = self.clone();
        on_informational(request, move |response| this.push(response.status(), response.headers()));
    }

    fn push(&self, status: StatusCode, headers: &HeaderMap) {
        // The gateway itself has answered `Expect` with 100, and 101 is the response to an upgrade.
        if matches!(status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS) {
            return;
        }
        let bytes = encode(status, headers.clone());
        let mut state = self.state();
        if !state.in_message && state.waiting.len() + bytes.len() <= MAX_BYTES {
            state.waiting.extend_from_slice(&bytes);
        }
    }
}

fn encode(status: StatusCode, mut headers: HeaderMap) -> Vec<u8> {
    hop_headers::strip_response(&mut headers);
    // There is no content (RFC 9110, section 15.2).
    headers.remove(http::header::CONTENT_LENGTH);
    let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in &headers {
        bytes.extend_from_slice(name.as_ref());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> HeaderMap {
        let fields = [("link", "</a.css>; rel=preload"), ("connection", "x-hop"), ("x-hop", "1")];
        fields.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn early_hints_wait_to_be_written() {
        let responses = InformationalResponses::default();
        responses.push(StatusCode::EARLY_HINTS, &headers());
        responses.push(StatusCode::CONTINUE, &headers());
        let text = String::from_utf8(responses.take()).unwrap();
        assert_eq!(text, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n");
        assert!(responses.take().is_empty());
    }

    #[test]
    fn response_in_the_middle_of_a_message_is_dropped() {
        let responses = InformationalResponses::default();
        responses.begin_message();
        responses.push(StatusCode::EARLY_HINTS, &headers());
        assert!(responses.take().is_empty());
        responses.flushed();
        responses.push(StatusCode::EARLY_HINTS, &headers());
        assert!(!responses.take().is_empty());
    }

    #[test]
    fn waiting_bytes_are_bounded() {
        let responses = InformationalResponses::default();
        for _ in 0..10_000 {
            responses.push(StatusCode::PROCESSING, &headers());
        }
        assert!(responses.take().len() <= MAX_BYTES);
    }
}
