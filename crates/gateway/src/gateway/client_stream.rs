//! A client stream with a write timeout and a lingering close.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{activity::ConnectionActivity, upstream::InformationalResponses, write_timeout::WriteTimeout};
use portcullis::limit::MinDataRate;

/// The time after the last response in which data from the client is still read and dropped. If the connection were
/// closed at once, it would be reset, and a client that is still sending would never read the response.
const LINGER: Duration = Duration::from_secs(2);

/// A stream that fails if the client reads too slowly or not at all, and that lingers when it is closed.
pub(super) struct ClientStream<I> {
    io: I,
    activity: ConnectionActivity,
    /// Bytes that were read to detect the protocol. They are the first to be read again.
    begin: Vec<u8>,
    timeout: WriteTimeout,
    lingering: Option<Pin<Box<Sleep>>>,
    /// The informational responses, if any route forwards them, and the part that is being written.
    informational: Option<(InformationalResponses, Bytes)>,
}

impl<I> ClientStream<I> {
    pub(super) fn new(io: I, activity: ConnectionActivity, pace: MinDataRate) -> Self {
        let timeout = WriteTimeout::new(activity.clone(), pace);
        Self { io, activity, begin: Vec::new(), timeout, lingering: None, informational: None }
    }

    /// Writes informational responses between two messages.
    pub(super) fn set_informational(&mut self, responses: InformationalResponses) {
        self.informational = Some((responses, Bytes::new()));
    }
}

impl<I: AsyncRead + Unpin> ClientStream<I> {
    /// Returns `true` if the stream begins with the given bytes. Reads until that is decided; all bytes can be read
    /// again.
    pub(super) async fn peek_preface(&mut self, preface: &[u8]) -> io::Result<bool> {
        loop {
            match preface.strip_prefix(&*self.begin) {
                None => return Ok(false),
                Some([]) => return Ok(true),
                Some(rest) if self.io.read_buf(&mut (&mut self.begin).limit(rest.len())).await? == 0 => {
                    return Ok(false);
                }
                Some(_) => {}
            }
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ClientStream<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.begin.is_empty() {
            let len = self.begin.len().min(buffer.remaining());
            buffer.put_slice(&self.begin[..len]);
            self.begin.drain(..len);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.record_read();
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> ClientStream<I> {
    /// Writes the informational responses that wait.
    fn poll_informational(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((responses, part)) = &mut self.informational else { return Poll::Ready(Ok(())) };
        if part.is_empty() {
            *part = responses.take().into();
        }
        while !part.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, part);
            let written = ready!(self.timeout.watch_write(written, cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            part.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Prepares the stream for a part of a message.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_informational(cx))?;
        if let Some((responses, _)) = &self.informational {
            responses.begin_message();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.informational.is_some() {
            ready!(self.poll_message(cx))?;
        }
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.timeout.watch_write(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.informational.is_some() {
            ready!(self.poll_informational(cx))?;
        }
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if flushed.is_ready()
            && let Some((responses, _)) = &self.informational
        {
            responses.flushed();
        }
        self.timeout.watch(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let shut = Pin::new(&mut self.io).poll_shutdown(cx);
            ready!(self.timeout.watch(shut, cx))?;
            self.lingering = Some(Box::pin(sleep_until(Instant::now() + LINGER)));
        }
        let mut rest = [0; 4096];
        loop {
            if let Some(end) = &mut self.lingering
                && end.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            let mut rest = ReadBuf::new(&mut rest);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut rest)) {
                Ok(()) if !rest.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.informational.is_some() {
            ready!(self.poll_message(cx))?;
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.timeout.watch_write(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const MAX_WAIT: Duration = Duration::from_secs(30);

    fn client_stream<I>(io: I) -> ClientStream<I> {
        ClientStream::new(io, ConnectionActivity::new(1), MinDataRate { timeout: MAX_WAIT, rate: 1 })
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_reads_nothing_times_out() {
        let (near, mut far) = tokio::io::duplex(8);
        let mut near = client_stream(near);
        near.write_all(b"12345678").await.unwrap();
        let start = Instant::now();
        assert_eq!(near.write_all(b"9").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= MAX_WAIT);
        let mut buffer = [0; 8];
        far.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"12345678");
    }

    #[tokio::test(start_paused = true)]
    async fn sending_client_is_read_for_a_grace_period() {
        let (near, mut far) = tokio::io::duplex(8);
        let mut near = client_stream(near);
        let closing = tokio::spawn(async move { near.shutdown().await });
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        far.write_all(&[7; 100]).await.unwrap();
        assert!(!closing.is_finished());
        let start = Instant::now();
        closing.await.unwrap().unwrap();
        assert!(start.elapsed() <= LINGER);
    }

    #[tokio::test]
    async fn peeked_bytes_are_read_again() {
        for (sent, begins) in
            [("PRI *", true), ("PRI * H", true), ("PRI ?", false), ("PR", false), ("", false)]
        {
            let (near, mut far) = tokio::io::duplex(3);
            let mut near = client_stream(near);
            let sending = async move {
                for byte in sent.bytes() {
                    far.write_all(&[byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let reading = async {
                assert_eq!(near.peek_preface(b"PRI *").await.unwrap(), begins, "{sent}");
                let mut all = String::new();
                near.read_to_string(&mut all).await.unwrap();
                assert_eq!(all, sent);
            };
            tokio::join!(sending, reading);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reader_below_the_minimum_rate_times_out() {
        for (bytes_at_once, is_served) in [(16, true), (8, false)] {
            let (near, mut far) = tokio::io::duplex(16);
            let mut near = client_stream(near);
            let writing = tokio::spawn(async move { near.write_all(&[7; 320]).await });
            let mut buffer = vec![0; bytes_at_once];
            // Reads a piece every 16 seconds, until the stream fails.
            for _ in 0..320 / bytes_at_once {
                tokio::time::sleep(Duration::from_secs(16)).await;
                if far.read_exact(&mut buffer).await.is_err() {
                    break;
                }
            }
            assert_eq!(writing.await.unwrap().is_ok(), is_served, "{bytes_at_once}");
        }
    }

    /// Tests the timeout after many bytes were read quickly.
    #[tokio::test(start_paused = true)]
    async fn reader_that_stops_is_closed_after_the_timeout() {
        let (near, mut far) = tokio::io::duplex(1024);
        let mut near = client_stream(near);
        let writing = tokio::spawn(async move { near.write_all(&vec![7; 100_000]).await });
        far.read_exact(&mut vec![0; 90_000]).await.unwrap();
        let start = Instant::now();
        assert_eq!(writing.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() <= MAX_WAIT);
    }
}
