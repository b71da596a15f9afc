//! Connections that were upgraded to another protocol, such as WebSocket: bytes pass in both directions.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_util::future::{Either, select};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy, split},
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

/// The time in which the rest of one direction must arrive after the other one was closed. The protocols of upgrades do
/// not use connections that are closed in one direction for long.
const REST: Duration = Duration::from_secs(2);

/// The bounds of an upgraded connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct TunnelLimits {
    /// The maximum time without a byte in either direction.
    pub(super) idle: Duration,
    /// The maximum age.
    pub(super) age: Duration,
}

/// The reason that an upgraded connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TunnelEnd {
    Closed,
    Broken,
    Idle,
    TooOld,
    Shutdown,
}

impl TunnelEnd {
    /// Returns the name in the log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Broken => "broken",
            Self::Idle => "idle timeout",
            Self::TooOld => "maximum age",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The end of an upgraded connection, and the number of bytes that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TunnelReport {
    pub(super) end: TunnelEnd,
    pub(super) from_client: u64,
    pub(super) from_upstream: u64,
}

/// Copies bytes between a client and an upstream until one of them closes the connection, or a limit is reached, or the
/// server shuts down.
pub(super) async fn run(
    client: impl AsyncRead + AsyncWrite + Unpin,
    upstream: impl AsyncRead + AsyncWrite + Unpin,
    limits: TunnelLimits,
    mut down: watch::Receiver<bool>,
) -> TunnelReport {
    let activity = Arc::new(LastActivity::new());
    let (from_client, from_upstream) = (Arc::default(), Arc::default());
    let client = Observed { io: client, activity: activity.clone(), read: Arc::clone(&from_client) };
    let upstream = Observed { io: upstream, activity: activity.clone(), read: Arc::clone(&from_upstream) };
    let end = tokio::select! {
        copied = copy_both(client, upstream) => {
            if copied.is_ok() { TunnelEnd::Closed } else { TunnelEnd::Broken }
        }
        () = activity.idle(limits.idle) => TunnelEnd::Idle,
        () = sleep(limits.age) => TunnelEnd::TooOld,
        // If the sender is dropped, the server has stopped, too.
        _ = down.wait_for(|down| *down) => TunnelEnd::Shutdown,
    };
    let count = |bytes: Arc<AtomicU64>| bytes.load(Ordering::Relaxed);
    TunnelReport { end, from_client: count(from_client), from_upstream: count(from_upstream) }
}

/// Copies in both directions until one side closes its direction, and then the rest of the other one.
async fn copy_both(
    client: impl AsyncRead + AsyncWrite,
    upstream: impl AsyncRead + AsyncWrite,
) -> io::Result<()> {
    let ((client_reads, client_writes), (upstream_reads, upstream_writes)) = (split(client), split(upstream));
    let up = pin!(copy_to_end(client_reads, upstream_writes));
    let down = pin!(copy_to_end(upstream_reads, client_writes));
    match select(up, down).await {
        Either::Left((copied, rest)) => {
            copied?;
            timeout(REST, rest).await.unwrap_or(Ok(()))
        }
        Either::Right((copied, rest)) => {
            copied?;
            timeout(REST, rest).await.unwrap_or(Ok(()))
        }
    }
}

/// Copies until the reader ends, and then closes the writer.
async fn copy_to_end(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    copy(&mut reader, &mut writer).await?;
    writer.shutdown().await
}

/// The time of the last byte, in milliseconds since the start.
#[derive(Debug)]
struct LastActivity {
    start: Instant,
    last: AtomicU64,
}

impl LastActivity {
    fn new() -> Self {
        Self { start: Instant::now(), last: AtomicU64::new(0) }
    }

    fn record(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    /// Completes when there was no byte for a time.
    async fn idle(&self, most: Duration) {
        loop {
            let until = self.start + Duration::from_millis(self.last.load(Ordering::Relaxed)) + most;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// A stream that records when bytes are read, and how many.
struct Observed<I> {
    io: I,
    activity: Arc<LastActivity>,
    read: Arc<AtomicU64>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Observed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        self.activity.record();
        self.read.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Observed<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A stream whose first bytes were already read.
pub(super) struct Prefixed<I> {
    begin: Bytes,
    io: I,
}

impl<I> Prefixed<I> {
    pub(super) fn new(begin: Bytes, io: I) -> Self {
        Self { begin, io }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Prefixed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.begin.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let len = self.begin.len().min(buffer.remaining());
        buffer.put_slice(&self.begin[..len]);
        self.begin.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Prefixed<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const LIMITS: TunnelLimits =
        TunnelLimits { idle: Duration::from_secs(60), age: Duration::from_secs(600) };

    struct Ends {
        client: DuplexStream,
        upstream: DuplexStream,
        shutdown: watch::Sender<bool>,
        report: tokio::task::JoinHandle<TunnelReport>,
    }

    fn tunnel() -> Ends {
        let ((client, near), (far, upstream)) = (duplex(64), duplex(64));
        let (shutdown, down) = watch::channel(false);
        let near = Prefixed::new(Bytes::from_static(b"first "), near);
        let report = tokio::spawn(run(near, far, LIMITS, down));
        Ends { client, upstream, shutdown, report }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_pass_in_both_directions_until_both_sides_close() {
        let mut ends = tunnel();
        ends.client.write_all(b"hello").await.unwrap();
        ends.client.shutdown().await.unwrap();
        let mut text = String::new();
        ends.upstream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "first hello");
        ends.upstream.write_all(b"bye").await.unwrap();
        drop(ends.upstream);
        let mut text = String::new();
        ends.client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "bye");
        let report = TunnelReport { end: TunnelEnd::Closed, from_client: 11, from_upstream: 3 };
        assert_eq!(ends.report.await.unwrap(), report);
    }

    #[tokio::test(start_paused = true)]
    async fn tunnel_without_bytes_ends_after_the_idle_timeout() {
        let mut ends = tunnel();
        let start = Instant::now();
        for _ in 0..3 {
            sleep(Duration::from_secs(50)).await;
            ends.upstream.write_all(b"x").await.unwrap();
        }
        assert_eq!(ends.report.await.unwrap().end, TunnelEnd::Idle);
        assert_eq!(start.elapsed().as_secs(), 210);
    }

    #[tokio::test(start_paused = true)]
    async fn busy_tunnel_ends_at_its_maximum_age() {
        let mut ends = tunnel();
        let start = Instant::now();
        while ends.upstream.write_all(b"x").await.is_ok() {
            let mut byte = [0];
            let _ = ends.client.read(&mut byte).await;
            sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(ends.report.await.unwrap().end, TunnelEnd::TooOld);
        assert!((600..620).contains(&start.elapsed().as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn tunnel_ends_when_the_server_shuts_down() {
        let ends = tunnel();
        ends.shutdown.send(true).unwrap();
        assert_eq!(ends.report.await.unwrap().end, TunnelEnd::Shutdown);
    }
}
