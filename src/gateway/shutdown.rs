//! The end: what is being served may finish, within a time.

#![allow(clippy::disallowed_methods, reason = "a thread of its own waits for the end, and ends the process")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    closing::Closing,
    doors::{Doors, all_open},
};

/// How long there must have been no connection: one may just be on its way from the listener.
const QUIET: Duration = Duration::from_millis(100);

/// Ends the process when there has been no connection for a moment, at the latest after `grace`.
///
/// Pingora would sleep through the whole time, however little there is to wait for.
fn end_process(doors: &[Arc<Doors>], grace: Duration, closing: &Closing) -> ! {
    let start = Instant::now();
    let mut quiet_since = None;
    while start.elapsed() < grace {
        if all_open(doors) > 0 {
            quiet_since = None;
        } else if quiet_since.get_or_insert_with(Instant::now).elapsed() >= QUIET {
            tracing::info!("all requests served, ending");
            closing.run_blocking();
            std::process::exit(0);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    tracing::warn!(connections = all_open(doors), "time is over, ending");
    closing.run_blocking();
    std::process::exit(0);
}

/// SIGTERM lets requests finish; SIGINT ends at once.
pub(super) struct Signals {
    pub(super) doors: Vec<Arc<Doors>>,
    pub(super) grace: Duration,
    /// The last thing that is done.
    pub(super) closing: Closing,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("no signals can be waited for: the process ends when it is killed");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {
                self.closing.run().await;
                ShutdownSignal::FastShutdown
            }
            _ = terminate.recv() => {
                tracing::info!(grace = ?self.grace, "SIGTERM: no new connections, requests may finish");
                let (doors, grace, closing) = (self.doors.clone(), self.grace, self.closing.clone());
                std::thread::spawn(move || end_process(&doors, grace, &closing));
                ShutdownSignal::GracefulTerminate
            }
        }
    }
}
