//! Connections that were upgraded to another protocol, such as WebSocket: bytes pass in both directions.

use std::{
    io::{self, Cursor},
    pin::{Pin, pin},
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{Either, select};
use tokio::{
    io::{
        AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Chain, ReadBuf, ReadHalf, WriteHalf, copy, split,
    },
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
    client: Prefixed<impl AsyncRead + AsyncWrite>,
    upstream: Prefixed<impl AsyncRead + AsyncWrite>,
    limits: TunnelLimits,
    mut down: watch::Receiver<bool>,
) -> TunnelReport {
    let activity = LastActivity::new();
    let (from_client, from_upstream) = (AtomicU64::new(0), AtomicU64::new(0));
    let client = client.split(&activity, &from_client);
    let upstream = upstream.split(&activity, &from_upstream);
    let end = tokio::select! {
        copied = copy_both(client, upstream) => {
            if copied.is_ok() { TunnelEnd::Closed } else { TunnelEnd::Broken }
        }
        () = activity.idle(limits.idle) => TunnelEnd::Idle,
        () = sleep(limits.age) => TunnelEnd::TooOld,
        // If the sender is dropped, the server has stopped, too.
        _ = down.wait_for(|down| *down) => TunnelEnd::Shutdown,
    };
    TunnelReport { end, from_client: from_client.into_inner(), from_upstream: from_upstream.into_inner() }
}

/// Copies in both directions until one side closes its direction, and then the rest of the other one.
async fn copy_both(
    (client_reads, client_writes): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    (upstream_reads, upstream_writes): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
) -> io::Result<()> {
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

/// A reader that records when bytes are read, and how many.
struct Observed<'a, R> {
    reader: R,
    activity: &'a LastActivity,
    bytes: &'a AtomicU64,
}

impl<R: AsyncRead + Unpin> AsyncRead for Observed<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(cx, buffer))?;
        self.activity.record();
        self.bytes.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

/// A stream whose first bytes were already read.
pub(super) struct Prefixed<I> {
    pub(super) begin: Bytes,
    pub(super) io: I,
}

impl<I: AsyncRead + AsyncWrite> Prefixed<I> {
    /// Splits the stream into its two directions. What is read is recorded.
    fn split<'a>(
        self,
        activity: &'a LastActivity,
        bytes: &'a AtomicU64,
    ) -> (Observed<'a, Chain<Cursor<Bytes>, ReadHalf<I>>>, WriteHalf<I>) {
        let (reads, writes) = split(self.io);
        (Observed { reader: Cursor::new(self.begin).chain(reads), activity, bytes }, writes)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

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
        let near = Prefixed { begin: Bytes::from_static(b"first "), io: near };
        let far = Prefixed { begin: Bytes::new(), io: far };
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
