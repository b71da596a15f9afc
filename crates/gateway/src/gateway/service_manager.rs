//! Tells the service manager the state of the process (`sd_notify`), if there is one.

use std::sync::atomic::{AtomicBool, Ordering};

use sd_notify::NotifyState;

/// Set when the gateway is shutting down. A reload that is in progress then does not end that state.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// The gateway accepts connections with a configuration: at the start, and after a reload.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The gateway begins to reload its configuration. [`ready`] ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic time for the service manager"),
    }
}

/// The gateway is shutting down.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
    STOPPING.store(true, Ordering::Relaxed);
}

fn notify(state: &[NotifyState<'_>]) {
    if STOPPING.load(Ordering::Relaxed) {
        return;
    }
    // Without the variable NOTIFY_SOCKET, this does nothing.
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "failed to notify the service manager");
    }
}
