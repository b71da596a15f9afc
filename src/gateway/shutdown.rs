//! Signals, and the end of the process: requests that are being served may finish, within a time.

#![allow(clippy::disallowed_methods, reason = "a thread of its own waits for the end, and ends the process")]

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    closing::Closing,
    connection_limit::{ConnectionLimit, open_connections},
    log_writer::LogWriter,
};

/// How long there must have been no connection: one may just be on its way from the listener.
const QUIET_PERIOD: Duration = Duration::from_millis(100);

/// The longest wait at the end for log lines to be written.
pub(super) const LAST_LINES: Duration = Duration::from_secs(1);

/// Catches the signals that would end the process by default although they ask for something else. Must be
/// called inside a runtime, which then reports them.
///
/// # Errors
/// When the system refuses a handler.
pub(super) fn ignore_other_signals() -> io::Result<()> {
    for (kind, name, purpose) in [
        (SignalKind::hangup(), "SIGHUP", "reloading the configuration is not supported yet: restart instead"),
        (SignalKind::user_defined1(), "SIGUSR1", "it has no meaning here"),
        (SignalKind::user_defined2(), "SIGUSR2", "it has no meaning here"),
    ] {
        let mut signals = signal(kind)?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                tracing::warn!(signal = name, "ignored: {purpose}");
            }
        });
    }
    Ok(())
}

/// SIGTERM and SIGQUIT let requests finish; SIGINT ends at once, also while requests finish.
#[derive(Clone)]
pub(super) struct Signals {
    /// Of all listeners.
    pub(super) doors: Vec<Arc<ConnectionLimit>>,
    pub(super) grace: Duration,
    pub(super) log: LogWriter,
    /// The last thing that is done.
    pub(super) closing: Closing,
}

impl Signals {
    /// Ends the process when there has been no connection for a moment, at the latest after the grace period
    /// or when `now` becomes true.
    ///
    /// Pingora would sleep through the whole time, however little there is to wait for.
    fn end_process(&self, now: &AtomicBool) -> ! {
        let start = Instant::now();
        let mut quiet_since = None;
        loop {
            if now.load(Ordering::Relaxed) {
                tracing::warn!(connections = open_connections(&self.doors), "SIGINT: ending at once");
                break;
            }
            if open_connections(&self.doors) > 0 {
                quiet_since = None;
            } else if quiet_since.get_or_insert_with(Instant::now).elapsed() >= QUIET_PERIOD {
                tracing::info!("all requests served, ending");
                break;
            }
            if start.elapsed() >= self.grace {
                tracing::warn!(connections = open_connections(&self.doors), "time is over, ending");
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.closing.run_blocking();
        self.log.flush(LAST_LINES);
        std::process::exit(0);
    }

    /// Begins the end.
    fn drain(&self, signal: &str, mut interrupt: Signal) {
        tracing::info!(grace = ?self.grace, "{signal}: no new connections, requests may finish");
        let now = Arc::new(AtomicBool::new(false));
        let interrupted = now.clone();
        tokio::spawn(async move {
            interrupt.recv().await;
            interrupted.store(true, Ordering::Relaxed);
        });
        let end = self.clone();
        std::thread::spawn(move || end.end_process(&now));
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut terminate), Ok(mut quit), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::quit()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("no signals can be waited for: the process ends when it is killed");
            return std::future::pending().await;
        };
        let signal = tokio::select! {
            _ = interrupt.recv() => {
                self.closing.run().await;
                return ShutdownSignal::FastShutdown;
            }
            _ = terminate.recv() => "SIGTERM",
            // Pingora would hand its listeners over to another process here; ours are not its listeners.
            _ = quit.recv() => "SIGQUIT",
        };
        self.drain(signal, interrupt);
        ShutdownSignal::GracefulTerminate
    }
}
