//! Follows the addresses of a name over time.

use std::{convert::Infallible, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Name, ResolveError, Resolved, ResolvedAddress, Resolver};

/// The time until a failed look-up is repeated. It doubles with each failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The maximum time until a failed look-up is repeated.
const LAST_RETRY: Duration = Duration::from_secs(30);

impl Resolver {
    /// Resolves a name at once, and again whenever the addresses are no longer valid. Calls `on_change` with the first
    /// addresses and whenever they change. After a failure, also one that says that the name does not exist any more,
    /// the last addresses stay in use, because a name server that was restarted or an entry that is being replaced must
    /// not stop the upstream.
    ///
    /// The future never completes; drop it to stop.
    pub(in crate::gateway) async fn follow(
        self,
        name: Name,
        on_change: impl Fn(Vec<ResolvedAddress>),
    ) -> Infallible {
        let mut following = Following::default();
        loop {
            let result = self.resolve(&name).await;
            let wait = following.update(&name, result, &on_change);
            sleep(wait).await;
        }
    }
}

/// The state of following a name.
#[derive(Debug, Default)]
struct Following {
    known: Option<Vec<ResolvedAddress>>,
    outage: Option<Outage>,
}

/// A time in which look-ups fail.
#[derive(Debug)]
struct Outage {
    start: Instant,
    retry: Duration,
}

impl Following {
    /// Takes the result of a look-up. Returns the time until the next one.
    fn update(
        &mut self,
        name: &Name,
        result: Result<Resolved, ResolveError>,
        on_change: impl Fn(Vec<ResolvedAddress>),
    ) -> Duration {
        let Resolved { addresses, valid_for } = match result {
            Ok(resolved) => resolved,
            Err(error) => return self.fail(name, &error),
        };
        if let Some(outage) = self.outage.take() {
            let after = outage.start.elapsed().as_secs();
            tracing::info!(%name, after_seconds = after, "name resolution recovered");
        }
        if self.known.as_ref() != Some(&addresses) {
            tracing::debug!(%name, ?addresses, "addresses of the name changed");
            self.known = Some(addresses.clone());
            on_change(addresses);
        }
        valid_for
    }

    fn fail(&mut self, name: &Name, error: &ResolveError) -> Duration {
        let Some(outage) = &mut self.outage else {
            match &self.known {
                None => tracing::warn!(%name, %error, "name resolution failed; there are no addresses"),
                Some(_) => {
                    tracing::warn!(%name, %error, "name resolution failed; the last addresses stay in use");
                }
            }
            self.outage = Some(Outage { start: Instant::now(), retry: FIRST_RETRY });
            return FIRST_RETRY;
        };
        tracing::debug!(%name, %error, "name resolution still fails");
        outage.retry = (outage.retry * 2).min(LAST_RETRY);
        outage.retry
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, sync::Arc};

    use super::*;
    use crate::gateway::resolver::error::Failure;

    /// A look-up that fails.
    const FAILS: (u16, u64) = (0, 0);

    /// Follows a name with these results of look-ups: a number of addresses and their validity in seconds. Returns the
    /// seconds at which the look-ups happened, and the changes with theirs.
    async fn run(results: &[(u16, u64)]) -> (Vec<u64>, Vec<(u64, usize)>) {
        let (start, name) = (Instant::now(), Name::Service("orders".into()));
        let seconds = || start.elapsed().as_secs();
        let (mut look_ups, changes) = (Vec::new(), RefCell::new(Vec::new()));
        let mut following = Following::default();
        for one in results {
            look_ups.push(seconds());
            let on_change = |addresses: Vec<_>| changes.borrow_mut().push((seconds(), addresses.len()));
            sleep(following.update(&name, result(*one), on_change)).await;
        }
        (look_ups, changes.into_inner())
    }

    fn result((count, valid_secs): (u16, u64)) -> Result<Resolved, ResolveError> {
        if count == 0 {
            return Err(ResolveError { name: Arc::from("orders"), failure: Failure::InvalidName });
        }
        let address =
            |port| ResolvedAddress { address: ([10, 0, 0, 1], port).into(), weight: 1, priority: 0 };
        let addresses = (1..=count).map(address).collect();
        Ok(Resolved { addresses, valid_for: Duration::from_secs(valid_secs) })
    }

    #[tokio::test(start_paused = true)]
    async fn name_is_looked_up_when_its_validity_ends() {
        let (look_ups, changes) = run(&[(1, 5), (1, 7), (2, 10), (2, 1)]).await;
        assert_eq!(look_ups, [0, 5, 12, 22]);
        assert_eq!(changes, [(0, 1), (12, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_keep_the_addresses_and_are_retried_ever_more_slowly() {
        let mut results = vec![(1, 5)];
        results.extend((0..8).map(|_| FAILS));
        results.extend([(1, 5), FAILS, (2, 5)]);
        let (look_ups, changes) = run(&results).await;
        assert_eq!(look_ups, [0, 5, 6, 8, 12, 20, 36, 66, 96, 126, 131, 132]);
        assert_eq!(changes, [(0, 1), (132, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn name_that_fails_at_first_is_reported_once_it_resolves() {
        let (look_ups, changes) = run(&[FAILS, FAILS, (1, 5)]).await;
        assert_eq!((look_ups, changes), (vec![0, 1, 3], vec![(3, 1)]));
    }

    #[tokio::test(start_paused = true)]
    async fn outage_is_logged_once_and_so_is_its_end() {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
        let guard = tracing::subscriber::set_default(subscriber);
        run(&[FAILS, FAILS, (1, 5), (1, 5), FAILS, FAILS, FAILS, (1, 5)]).await;
        drop(guard);
        let log = log.text();
        let lines: Vec<_> = log.lines().map(|line| line.split_once("Z ").unwrap().1.trim()).collect();
        let found =
            |at: usize, level: &str, text: &str| lines[at].starts_with(level) && lines[at].contains(text);
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert!(found(0, "WARN", "there are no addresses name=orders error=orders is not"), "{lines:#?}");
        assert!(found(1, "INFO", "recovered name=orders after_seconds=3"), "{lines:#?}");
        assert!(found(2, "WARN", "the last addresses stay in use name=orders"), "{lines:#?}");
        assert!(found(3, "INFO", "recovered name=orders after_seconds=7"), "{lines:#?}");
    }

    /// A writer that keeps the log.
    #[derive(Clone, Default)]
    struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

    impl Log {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }
}
