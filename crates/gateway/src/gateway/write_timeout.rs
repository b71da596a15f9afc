//! The write timeout of a connection. The streams of HTTP/2 have a write timeout each, in [`h2_streams`].

pub(super) mod h2_streams;

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::ConnectionActivity;
use portcullis::limit::{MinDataRate, RateMeter};

/// The time that a client has left to read what is written to it.
pub(super) struct WriteTimeout {
    activity: ConnectionActivity,
    meter: RateMeter,
    /// The time since when the stream waits for the client, or does not wait any more.
    since: Instant,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    pub(super) fn new(activity: ConnectionActivity, pace: MinDataRate) -> Self {
        Self { activity, meter: pace.meter(), since: Instant::now(), waiting: None }
    }

    /// Applies the write timeout. A pending write starts the wait, and fails when the time is used up. A completed
    /// write ends the wait. Bytes that the client reads restore the time, and so does time without a pending write.
    pub(super) fn watch<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.waiting.take().is_some() {
                self.activity.set_write_blocked(false);
                let now = Instant::now();
                self.meter.set_waiting(now - std::mem::replace(&mut self.since, now));
            }
            return written;
        }
        let waiting = self.waiting.get_or_insert_with(|| {
            self.activity.set_write_blocked(true);
            let now = Instant::now();
            self.meter.restore(now - std::mem::replace(&mut self.since, now));
            Box::pin(sleep_until(now + self.meter.time_left()))
        });
        waiting.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Applies the write timeout to a write, and records the bytes that were written.
    pub(super) fn watch_write(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let written = self.watch(written, cx);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.meter.moved(*bytes as u64);
        }
        written
    }
}
