//! Limits repeated log lines, so that a flood of events does not become a flood of lines.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Allows one log line in each interval and counts the events in between.
#[derive(Debug)]
pub(super) struct LogThrottle {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    events: u64,
    last_line: Option<Instant>,
}

impl LogThrottle {
    pub(super) const fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::new(State { events: 0, last_line: None }) }
    }

    /// Counts an event. If it is time for another line, returns the number of events since the last one, including this
    /// event.
    pub(super) fn record(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.events += 1;
        if state.last_line.is_some_and(|last| now.saturating_duration_since(last) < self.interval) {
            return None;
        }
        state.last_line = Some(now);
        Some(std::mem::take(&mut state.events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_is_one_line_per_interval_with_a_count() {
        let interval = Duration::from_secs(1);
        let (throttle, start) = (LogThrottle::new(interval), Instant::now());
        let lines = (0..100).filter_map(|_| throttle.record(start));
        assert_eq!(lines.collect::<Vec<_>>(), [1]);
        assert_eq!(throttle.record(start + interval), Some(100));
        assert_eq!(throttle.record(start + interval), None);
    }
}
