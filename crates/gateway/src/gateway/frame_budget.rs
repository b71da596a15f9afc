//! Limits the HTTP/2 frames without content that a client may send.
//!
//! PRIORITY, `WINDOW_UPDATE`, PING, SETTINGS and similar frames cost a client almost nothing and the gateway a little
//! each. hyper limits only some of them. Each connection has a budget for such frames. Body data and responses add to
//! the budget, so that every ratio that a working client needs is allowed. A flood ends the connection with GOAWAY.
//! Envoy limits these frames by the amount of data sent before, too.

mod scanner;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use scanner::{DATA, Frame, HEAD_BYTES, HEADERS, Scanner};

/// The length of the client connection preface (RFC 9113, section 3.4), which precedes the first frame.
const PREFACE_BYTES: usize = 24;

/// The initial budget of a connection, in frames.
const INITIAL: u32 = 1_000;

/// The maximum budget of a connection, in frames.
const LARGEST: u32 = 1 << 16;

/// The frames that a connection earns each second, independently of its traffic: PING may keep a long stream alive.
const PER_SECOND: u32 = 10;

/// The frames that a response earns.
const PER_ANSWER: u32 = 16;

/// The frames that each DATA frame of a response earns, in addition to its bytes.
const PER_CONTENT_FRAME: u32 = 4;

/// The bytes of a response body that earn one more frame. Clients may update their windows as often.
const ANSWER_BYTES: u32 = 32;

/// The bytes of a request body that earn one more frame.
const REQUEST_BYTES: u32 = 256;

/// The number of frames without content that a client may still send.
#[derive(Debug)]
struct Budget {
    left: u32,
    /// The time up to which the budget for each second was added.
    paid: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { left: INITIAL, paid: now }
    }

    fn earn(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(LARGEST);
    }

    /// Spends one frame. Returns `false` if the budget is used up. The clock is read only in that case.
    fn spend(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.left == 0 {
            let seconds = now().saturating_duration_since(self.paid).as_secs();
            self.paid += std::time::Duration::from_secs(seconds);
            self.earn(u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(PER_SECOND));
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }

    /// Accounts for a frame of the client. Returns `false` if the budget is used up.
    fn received(&mut self, frame: Frame, now: impl FnOnce() -> Instant) -> bool {
        if frame.kind == DATA && frame.content > 0 {
            self.earn(frame.content / REQUEST_BYTES);
            return true;
        }
        self.spend(now)
    }

    /// Accounts for a frame sent to the client.
    fn sent(&mut self, frame: Frame) {
        match frame.kind {
            HEADERS => self.earn(PER_ANSWER),
            DATA => self.earn(PER_CONTENT_FRAME + frame.content / ANSWER_BYTES),
            _ => {}
        }
    }
}

/// The stream of an HTTP/2 connection. When the client has used up its budget, the stream sends
/// `GOAWAY(ENHANCE_YOUR_CALM)` and reads nothing more.
pub(super) struct FrameBudget<I, F> {
    io: I,
    received: Scanner,
    sent: Scanner,
    budget: Budget,
    /// The highest stream id that the client has used.
    last_stream: u32,
    exhausted: bool,
    /// Called when the budget is used up.
    on_flood: F,
}

impl<I, F: FnMut() + Unpin> FrameBudget<I, F> {
    pub(super) fn new(io: I, on_flood: F) -> Self {
        Self {
            io,
            received: Scanner::skipping(PREFACE_BYTES),
            sent: Scanner::default(),
            budget: Budget::new(Instant::now()),
            last_stream: 0,
            exhausted: false,
            on_flood,
        }
    }

    /// Accounts for bytes read from the client.
    fn account(&mut self, bytes: &[u8]) {
        let Self { received, budget, last_stream, exhausted, .. } = self;
        received.scan(bytes, |frame| {
            if frame.kind == HEADERS {
                *last_stream = frame.stream.max(*last_stream);
            }
            *exhausted |= !budget.received(frame, Instant::now);
        });
    }
}

impl<I: AsyncWrite + Unpin, F> FrameBudget<I, F> {
    /// Sends GOAWAY if that is possible without waiting: not in the middle of another frame, and not if the client is
    /// not reading.
    fn go_away(&mut self, cx: &mut Context<'_>) {
        if self.sent.is_between_frames() {
            let goaway = goaway(self.last_stream);
            if let Poll::Ready(Ok(_)) = Pin::new(&mut self.io).poll_write(cx, &goaway) {
                let _ = Pin::new(&mut self.io).poll_flush(cx);
            }
        }
    }
}

/// Returns the frame `GOAWAY(ENHANCE_YOUR_CALM)` (RFC 9113, section 6.8).
fn goaway(last_stream: u32) -> [u8; HEAD_BYTES + 8] {
    const GOAWAY: u8 = 0x7;
    const ENHANCE_YOUR_CALM: u32 = 0xb;

    let mut frame = [0; HEAD_BYTES + 8];
    frame[2] = 8;
    frame[3] = GOAWAY;
    frame[HEAD_BYTES..HEAD_BYTES + 4].copy_from_slice(&last_stream.to_be_bytes());
    frame[HEAD_BYTES + 4..].copy_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
    frame
}

impl<I: AsyncRead + AsyncWrite + Unpin, F: FnMut() + Unpin> AsyncRead for FrameBudget<I, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.exhausted {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        self.account(&buffer.filled()[before..]);
        if self.exhausted {
            // Reports the end of the stream instead of an error, so that the connection is closed in order and the
            // client can read the GOAWAY frame.
            buffer.set_filled(before);
            (self.on_flood)();
            self.go_away(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin, F: FnMut() + Unpin> AsyncWrite for FrameBudget<I, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.exhausted {
            // GOAWAY is the last frame.
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        let Self { sent, budget, .. } = &mut *self;
        sent.scan(&bytes[..written], |frame| budget.sent(frame));
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.exhausted {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
        let Self { sent, budget, .. } = &mut *self;
        let mut left = written;
        for slice in slices {
            let part = &slice[..left.min(slice.len())];
            left -= part.len();
            sent.scan(part, |frame| budget.sent(frame));
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::{scanner::PADDED, *};

    const WINDOW_UPDATE: u8 = 0x8;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    #[test]
    fn frames_are_found_in_any_segmentation() {
        let mut bytes = vec![b'P'; PREFACE_BYTES];
        let mut padded = vec![3];
        padded.extend([0; 10 + 3]);
        for (kind, flags, payload) in [
            (HEADERS, 0, vec![1; 300]),
            (DATA, 0, vec![2; 20_000]),
            (DATA, PADDED, padded),
            (DATA, PADDED, vec![]),
            (WINDOW_UPDATE, PADDED, vec![0; 4]),
            (DATA, 1, vec![]),
        ] {
            bytes.extend(frame(kind, flags, 7, &payload));
        }
        let expected = [(HEADERS, 300), (DATA, 20_000), (DATA, 10), (DATA, 0), (WINDOW_UPDATE, 4), (DATA, 0)];
        for piece in [1, 2, 7, 9, 10, 1_000, bytes.len()] {
            let (mut scanner, mut found) = (Scanner::skipping(PREFACE_BYTES), Vec::new());
            for piece in bytes.chunks(piece) {
                scanner.scan(piece, |frame| {
                    assert_eq!(frame.stream, 7);
                    found.push((frame.kind, frame.content));
                });
            }
            assert_eq!(found, expected, "in pieces of {piece}");
            assert!(scanner.is_between_frames());
        }
    }

    #[test]
    fn budget_is_earned_by_data_and_time() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let empty = Frame { kind: WINDOW_UPDATE, stream: 0, content: 4 };
        let spend =
            |budget: &mut Budget, now| (0..10_000).take_while(|_| budget.received(empty, || now)).count();
        assert_eq!(spend(&mut budget, start), 1_000);
        budget.sent(Frame { kind: HEADERS, stream: 1, content: 0 });
        assert_eq!(spend(&mut budget, start), 16);
        budget.sent(Frame { kind: DATA, stream: 1, content: 16 * 1024 });
        assert_eq!(spend(&mut budget, start), 4 + 512);
        assert!(budget.received(Frame { kind: DATA, stream: 1, content: 1 }, || start));
        assert_eq!(spend(&mut budget, start), 0);
        assert_eq!(spend(&mut budget, start + Duration::from_secs(3)), 30);
        assert_eq!(spend(&mut budget, start + Duration::from_secs(3)), 0, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn flood_gets_goaway_and_is_not_read_further() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut floods = 0;
        let mut stream = FrameBudget::new(near, || floods += 1);
        far.write_all(&[b'P'; PREFACE_BYTES]).await.unwrap();
        far.write_all(&frame(HEADERS, 0, 5, b"x")).await.unwrap();
        for _ in 0..INITIAL {
            far.write_all(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await.unwrap();
        }
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        stream.write_all(b"late").await.unwrap();
        drop(stream);
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 11]);
        assert_eq!(floods, 1);
    }
}
