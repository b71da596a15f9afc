//! Signals and shutdown: open requests may finish within a grace period.

#![allow(clippy::disallowed_methods, reason = "a separate thread waits and then ends the process")]

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
    connection_limit::{ConnectionLimit, open_connections},
    log_writer::LogWriter,
    service_manager,
    store_closing::StoreClosing,
};

/// The time without any connection after which the process ends. A connection may still be on its way from the
/// listener.
const QUIET_PERIOD: Duration = Duration::from_millis(100);

/// The maximum wait for log lines to be written at the end.
pub(super) const LAST_LINES: Duration = Duration::from_secs(1);

/// Catches the signals that would end the process by default but do not ask for that. SIGHUP is returned, which reloads the
/// configuration; the others are logged and ignored. Must be called inside a runtime.
///
/// # Errors
/// Fails if the system rejects a signal handler.
pub(super) fn catch_other_signals() -> io::Result<Signal> {
    for (kind, name) in [(SignalKind::user_defined1(), "SIGUSR1"), (SignalKind::user_defined2(), "SIGUSR2")] {
        let mut signals = signal(kind)?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                tracing::warn!(signal = name, "signal ignored: it has no effect");
            }
        });
    }
    signal(SignalKind::hangup())
}

/// Handles the shutdown signals. SIGTERM and SIGQUIT allow open requests to finish. SIGINT ends the process
/// immediately, also during a graceful shutdown.
#[derive(Clone)]
pub(super) struct Signals {
    /// The connection limits of all listeners.
    pub(super) connection_limit: Vec<Arc<ConnectionLimit>>,
    pub(super) grace: Duration,
    pub(super) log: LogWriter,
    /// Closes the store, as the last step.
    pub(super) closing: StoreClosing,
}

impl Signals {
    /// Ends the process when there has been no connection for a moment, when the grace period expires, or when `now`
    /// becomes true.
    ///
    /// Pingora would always sleep for the whole grace period.
    fn end_process(&self, now: &AtomicBool) -> ! {
        let start = Instant::now();
        let mut quiet_since = None;
        loop {
            if now.load(Ordering::Relaxed) {
                tracing::warn!(
                    connections = open_connections(&self.connection_limit),
                    "SIGINT received, stopping immediately"
                );
                break;
            }
            if open_connections(&self.connection_limit) > 0 {
                quiet_since = None;
            } else if quiet_since.get_or_insert_with(Instant::now).elapsed() >= QUIET_PERIOD {
                tracing::info!("all connections closed, stopping");
                break;
            }
            if start.elapsed() >= self.grace {
                tracing::warn!(
                    connections = open_connections(&self.connection_limit),
                    "shutdown grace period expired"
                );
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.closing.run_blocking();
        self.log.flush(LAST_LINES);
        std::process::exit(0);
    }

    /// Begins a graceful shutdown.
    fn drain(&self, signal: &str, mut interrupt: Signal) {
        tracing::info!(grace = ?self.grace, "{signal} received, shutting down gracefully");
        service_manager::stopping();
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
            tracing::error!("failed to install signal handlers, no graceful shutdown");
            return std::future::pending().await;
        };
        let signal = tokio::select! {
            _ = interrupt.recv() => {
                self.closing.run().await;
                return ShutdownSignal::FastShutdown;
            }
            _ = terminate.recv() => "SIGTERM",
            // Pingora would pass its listeners to another process on SIGQUIT. The gateway's listeners are not
            // Pingora's.
            _ = quit.recv() => "SIGQUIT",
        };
        self.drain(signal, interrupt);
        ShutdownSignal::GracefulTerminate
    }
}
