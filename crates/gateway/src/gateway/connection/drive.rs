//! Drives a client connection to its end.

use std::{future::poll_fn, pin::Pin, task::Poll};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::watch, time::sleep};

use crate::{
    config::Limits,
    gateway::activity::{ConnectionActivity, IdleLimits},
};

/// Reasons to stop driving a connection.
pub(super) enum DriveEnd {
    /// The connection is closed.
    Closed,
    /// The connection has been idle for too long.
    Idle,
    /// The connection accepts no further requests: it is too old, has had its last request, or the server shuts down.
    Over,
}

/// Drives a connection until it is closed, idle or exhausted, or the server shuts down.
pub(super) async fn drive<C: Future<Output = hyper::Result<()>>>(
    limits: &Limits,
    mut connection: Pin<&mut C>,
    activity: &ConnectionActivity,
    idle: IdleLimits,
    mut down: watch::Receiver<bool>,
) -> hyper::Result<DriveEnd> {
    let ends = async {
        tokio::select! {
            () = sleep(limits.connection_age.duration()) => DriveEnd::Over,
            () = activity.idle(idle) => DriveEnd::Idle,
            // If the sender is dropped, the server has stopped, too.
            _ = down.wait_for(|down| *down) => DriveEnd::Over,
        }
    };
    // The future is polled only when one of its events has occurred, and not each time the connection makes
    // progress.
    let mut ends: FuturesUnordered<_> = [ends].into_iter().collect();
    poll_fn(|cx| {
        if let Poll::Ready(served) = connection.as_mut().poll(cx) {
            return Poll::Ready(served.map(|()| DriveEnd::Closed));
        }
        if activity.requests_exhausted() {
            return Poll::Ready(Ok(DriveEnd::Over));
        }
        ends.poll_next_unpin(cx).map(|end| Ok(end.unwrap_or(DriveEnd::Over)))
    })
    .await
}

/// Shuts a connection down gracefully: open requests may finish and their responses may be read, but no further
/// requests are accepted.
pub(super) async fn graceful_shutdown<C: Future<Output = hyper::Result<()>>>(
    limits: &Limits,
    mut connection: Pin<&mut C>,
    stop: fn(Pin<&mut C>),
    activity: &ConnectionActivity,
) -> hyper::Result<()> {
    if activity.is_fresh() {
        // The first request may be on its way. hyper would close the connection at once.
        tokio::select! {
            served = &mut connection => return served,
            () = sleep(activity.close_grace(limits)) => {}
        }
    }
    stop(connection.as_mut());
    tokio::select! {
        // The last frames must be sent, even if there is nothing to wait for.
        biased;
        served = &mut connection => served,
        () = activity.drained(activity.close_grace(limits)) => Ok(()),
    }
}
