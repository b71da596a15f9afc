//! Active health checks of the endpoints of an upstream.

use std::sync::Arc;

use futures_util::future::join_all;
use http::{HeaderValue, Request, header};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{
    Upstream,
    connector::{Connection, HttpVersions},
    endpoint::{Endpoint, Monotonic},
    outgoing::Outgoing,
    pool::UpstreamConnection,
};
use crate::config::HealthCheck;

/// Checks all endpoints of an upstream for as long as it runs.
///
/// An endpoint is healthy until its checks fail. Each check opens a connection of its own, so that it also finds an
/// endpoint that accepts no further connections.
pub(super) async fn run(upstream: Arc<Upstream>, check: HealthCheck) {
    let mut histories: Vec<(Arc<Endpoint>, History)> = Vec::new();
    let mut rounds = interval(check.interval.duration());
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let (_, set) = upstream.pool.endpoints.current();
        let results =
            join_all(set.endpoints.iter().map(|endpoint| result(&upstream, &check, endpoint))).await;
        let mut earlier = std::mem::take(&mut histories);
        for (endpoint, result) in set.endpoints.iter().zip(results) {
            let at = earlier.iter().position(|(one, _)| Arc::ptr_eq(one, endpoint));
            let mut history = at.map(|at| earlier.swap_remove(at).1).unwrap_or_default();
            if history.record(result.is_err(), &check) {
                endpoint.health.set_failing_checks(history.is_failing, Monotonic::now());
                let upstream = &upstream.name;
                if let Err(reason) = result {
                    tracing::warn!(%upstream, %endpoint, reason, "target is unhealthy");
                } else {
                    tracing::info!(%upstream, %endpoint, "target is healthy again");
                }
            }
            histories.push((endpoint.clone(), history));
        }
    }
}

/// The results of the checks of an endpoint.
#[derive(Debug, Default)]
struct History {
    is_failing: bool,
    /// The number of results in succession that contradict the state.
    contrary: u8,
}

impl History {
    /// Records a result. Returns `true` if the state has changed.
    fn record(&mut self, failed: bool, check: &HealthCheck) -> bool {
        if failed == self.is_failing {
            self.contrary = 0;
            return false;
        }
        self.contrary = self.contrary.saturating_add(1);
        let needed = if failed { check.unhealthy_after } else { check.healthy_after };
        if self.contrary < needed.get() {
            return false;
        }
        *self = Self { is_failing: failed, contrary: 0 };
        true
    }
}

/// Checks an endpoint once. An error is the reason that it is not healthy.
async fn result(upstream: &Upstream, check: &HealthCheck, endpoint: &Arc<Endpoint>) -> Result<(), String> {
    let result = timeout(check.timeout.duration(), check_once(upstream, check, endpoint)).await;
    result.unwrap_or_else(|_| Err("the check timed out".into()))
}

async fn check_once(
    upstream: &Upstream,
    check: &HealthCheck,
    endpoint: &Arc<Endpoint>,
) -> Result<(), String> {
    let connection = upstream.connector.connect(endpoint, None, HttpVersions::All).await;
    let connection = connection.map_err(|error| error.to_string())?;
    let Some(path) = &check.path else { return Ok(()) };
    let host = check.host.as_deref().unwrap_or(&endpoint.authority);
    let host = HeaderValue::from_str(host).map_err(|error| error.to_string())?;
    let request = Request::get(path.as_str())
        .header(header::HOST, host)
        .header(header::USER_AGENT, "portcullis health check")
        .body(())
        .map_err(|error| error.to_string())?;
    let mut connection = match connection {
        Connection::Http1(connection) => UpstreamConnection::Http1(connection),
        Connection::Http2(connection) => UpstreamConnection::Http2(Box::new(connection.begin(false))),
    };
    let answer = upstream
        .send(&mut connection, &mut Outgoing::new(request))
        .await
        .map_err(|denial| denial.code().to_owned())?;
    let status = answer.map_err(|error| error.to_string())?.status();
    if check.accepts(status.as_u16()) { Ok(()) } else { Err(format!("the status is {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_changes_after_results_in_succession() {
        let check: HealthCheck = toml::from_str("healthy_after = 2\nunhealthy_after = 3").unwrap();
        let mut history = History::default();
        let changes: Vec<_> = "ffsfffsffsss"
            .chars()
            .map(|result| history.record(result == 'f', &check).then_some(history.is_failing))
            .collect();
        let (up, down) = (Some(false), Some(true));
        assert_eq!(changes, [None, None, None, None, None, down, None, None, None, None, up, None]);
    }

    #[test]
    fn statuses_of_success_and_redirection_are_healthy_by_default() {
        let default: HealthCheck = toml::from_str("").unwrap();
        let listed: HealthCheck = toml::from_str("statuses = [401]").unwrap();
        for (status, by_default, if_listed) in
            [(200, true, false), (399, true, false), (401, false, true), (503, false, false)]
        {
            assert_eq!((default.accepts(status), listed.accepts(status)), (by_default, if_listed));
        }
    }
}
