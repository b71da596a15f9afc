//! The limits of a caller's plan (429).

use super::{ChainOrder, Policy, Stop, recognised};
use crate::{
    Admission, Denial, Head,
    admission::{Permit, RateLimitFields, RateLimitReport},
    limit::{CallerBuckets, Decision, LimitSnapshot},
};

/// Enforces every limit of a caller's plan.
///
/// A request consumes one from each limit, or nothing at all if it is denied. A caller without a plan is unlimited.
/// The policy follows the one that identifies the caller. It has no limits for requests without a caller, such as by
/// address.
#[derive(Debug, Clone, Copy, Default)]
pub struct RateLimit {
    fields: RateLimitFields,
}

impl RateLimit {
    /// Creates a policy that reports in the headers of the IETF draft.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the headers that report the state of the limits.
    #[must_use]
    pub fn fields(mut self, fields: RateLimitFields) -> Self {
        self.fields = fields;
        self
    }
}

impl Policy for RateLimit {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let identity = recognised(admission)?;
        let Some(buckets) = &identity.caller().buckets else { return Ok(()) };
        let verdict = buckets.check(head.now.ticks);
        let (Decision::Admitted(reading) | Decision::Refused { reading, .. }) = verdict;
        let outcome = match verdict {
            Decision::Admitted(_) => Ok(Permit::Budget(identity.key.clone(), reading)),
            Decision::Refused { retry_after, .. } => Err(denial(buckets, &reading, retry_after)),
        };
        admission.response.report = Some(RateLimitReport { reading, fields: self.fields, at: head.now.time });
        admission.permits.push(outcome?);
        Ok(())
    }

    fn check_order(&self, order: &mut ChainOrder) {
        order.needs_caller("RateLimit");
    }
}

fn denial(buckets: &CallerBuckets, reading: &LimitSnapshot, retry_after: u64) -> Denial {
    let limits = buckets.plan().limits().iter().enumerate();
    let violated = limits.filter(|(at, _)| reading.violated(*at)).map(|(_, limit)| limit.shared_name());
    Denial::RateLimited { violated: violated.collect(), retry_after }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        model::{Limit, WindowGuarantee},
        policy::{ApiKey, RequireUnlocked},
        problem::{Problem, render},
        test_support::{Fixture, code, request},
    };

    fn limit(name: &str, quota: u32, window: u32, burst: u32) -> Limit {
        Limit::new(name, quota, window, burst, WindowGuarantee::Average).unwrap()
    }

    #[test]
    fn caller_is_limited_by_its_plan_and_informed() {
        let world = Fixture::with_plan(vec![limit("burst", 2, 60, 2), limit("day", 100, 86_400, 100)]);
        let chain = (ApiKey::new(world.directory.clone()), RateLimit::new());
        let request = request("GET", "/", &[("x-api-key", &world.key())]);
        let mut headers = http::HeaderMap::new();
        world.ask(&chain, &request).unwrap().add_response_headers(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"burst\";q=2;w=60, \"day\";q=100;w=86400");
        assert_eq!(headers["ratelimit"], "\"burst\";r=1;t=30, \"day\";r=99;t=864");
        assert!(world.ask(&chain, &request).is_ok());

        let (denial, admission) = world.deny(&chain, &request);
        let response = render(&denial, &Problem, &admission);
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "30");
        assert_eq!(response.headers()["ratelimit"], "\"burst\";r=0;t=30, \"day\";r=98;t=864");
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
        assert_eq!(body["violated-policies"], serde_json::json!(["burst"]));

        world.clock.advance(Duration::from_nanos(29_999_999_999));
        assert_eq!(code(world.ask(&chain, &request)), "rate-limited");
        world.clock.advance(Duration::from_nanos(1));
        assert_eq!(code(world.ask(&chain, &request)), "admitted");
    }

    #[test]
    fn older_headers_report_the_tightest_limit() {
        let world = Fixture::with_plan(vec![limit("day", 100, 86_400, 100), limit("burst", 2, 60, 2)]);
        let fields = RateLimitFields { ietf_draft_10: false, x_ratelimit: true };
        let chain = (ApiKey::new(world.directory.clone()), RateLimit::new().fields(fields));
        let mut headers = http::HeaderMap::new();
        let request = request("GET", "/", &[("x-api-key", &world.key())]);
        world.ask(&chain, &request).unwrap().add_response_headers(&mut headers);
        assert_eq!(
            (&headers["x-ratelimit-limit"], &headers["x-ratelimit-remaining"]),
            (&2.into(), &1.into())
        );
        let reset = world.now().as_second() + 30;
        assert_eq!(headers["x-ratelimit-reset"], *reset.to_string());
        assert!(!headers.contains_key("ratelimit"));
    }

    #[test]
    fn request_denied_by_a_later_policy_consumes_nothing() {
        let world = Fixture::with_plan(vec![limit("x", 1, 60, 1)]);
        let key = world.key();
        let put = request("PUT", "/x", &[("x-api-key", &key)]);
        let chain = (
            ApiKey::new(world.directory.clone()),
            RateLimit::new(),
            RequireUnlocked::new(world.directory.clone()),
        );
        let lock = world.lock(
            crate::model::LockTarget::Resource("/x".parse().unwrap()),
            crate::model::LockedRequests::All,
            Duration::from_secs(60),
        );
        for _ in 0..3 {
            assert_eq!(code(world.ask(&chain, &put)), "locked");
        }
        world.unlock(lock);
        assert_eq!(code(world.ask(&chain, &put)), "admitted");
        assert_eq!(code(world.ask(&chain, &put)), "rate-limited");
    }

    #[test]
    fn plan_changed_at_run_time_keeps_its_counts() {
        let world = Fixture::with_plan(vec![limit("x", 10, 1, 10)]);
        let chain = (ApiKey::new(world.directory.clone()), RateLimit::new());
        let request = request("GET", "/", &[("x-api-key", &world.key())]);
        (0..10).for_each(|_| assert!(world.ask(&chain, &request).is_ok()));
        world.put_plan(vec![limit("x", 2, 1, 2)]);
        assert_eq!(code(world.ask(&chain, &request)), "rate-limited");
        world.clock.advance(Duration::from_millis(500));
        assert_eq!(code(world.ask(&chain, &request)), "admitted");
    }

    #[test]
    fn caller_without_a_plan_is_unlimited() {
        let world = Fixture::new();
        let chain = (ApiKey::new(world.directory.clone()), RateLimit::new());
        let request = request("GET", "/", &[("x-api-key", &world.key())]);
        (0..1_000).for_each(|_| assert!(world.ask(&chain, &request).is_ok()));
    }

    #[test]
    fn request_without_a_caller_is_denied() {
        let world = Fixture::new();
        assert_eq!(code(world.ask(&RateLimit::new(), &request("GET", "/", &[]))), "credential-missing");
    }
}
