//! The response headers that report an admission to the client.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{Timestamp, fmt::rfc2822};

use super::{Admission, RateLimitReport, ResponseInfo, caching::vary};
use crate::{
    header_value::{self, HeaderBuf},
    limit::{CallerBuckets, LimitStatus},
    model::{Limit, MAX_LIMITS, Plan},
};

static ACCEPT: HeaderValue = HeaderValue::from_static("accept");
static DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
static SUNSET: HeaderName = HeaderName::from_static("sunset");
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static X_RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static X_RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static X_RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

impl Admission {
    /// Returns the remaining requests of each limit of the caller's plan, with the limit's name.
    pub fn remaining(&self) -> impl Iterator<Item = (&str, LimitStatus)> {
        let reported = self.response.report.as_ref().zip(self.response.buckets());
        reported
            .into_iter()
            .flat_map(|(report, buckets)| limits(buckets, report))
            .map(|(limit, spent)| (limit.name(), spent))
    }

    /// Adds the headers that inform the client to a response, which may be a denial: `Vary`; `Cache-Control: private`
    /// for a recognised caller, unless the response has caching headers of its own; `Deprecation` (RFC 9745) if the
    /// caller should replace its credential, and `Sunset` (RFC 8594) with the end of that credential; and the state
    /// of its rate limits.
    ///
    /// `RateLimit` and `RateLimit-Policy` follow draft-ietf-httpapi-ratelimit-headers-10.
    pub fn add_response_headers(&self, headers: &mut HeaderMap) {
        self.response.add_headers(headers);
    }
}

impl ResponseInfo {
    fn buckets(&self) -> Option<&CallerBuckets> {
        self.identity.as_ref().and_then(|identity| identity.caller().buckets.as_ref())
    }

    /// Adds the headers; see [`Admission::add_response_headers`].
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        if self.varies {
            vary(headers, &ACCEPT);
        }
        let Some(identity) = &self.identity else { return };
        if !self.keeps_caching {
            self.restrict_caching(headers);
        }
        if let Some(since) = identity.key.deprecated_at() {
            stamp_deprecation(since, identity.key.not_after(), headers);
        }
        let limited = self.buckets().filter(|buckets| !buckets.plan().limits().is_empty());
        let Some((report, buckets)) = self.report.as_ref().zip(limited) else { return };
        if report.fields.ietf_draft_10 {
            headers.insert(&RATE_LIMIT_POLICY, buckets.rules().described(policy_field).clone());
            headers.insert(&RATE_LIMIT, state_field(buckets, report));
        }
        if report.fields.x_ratelimit {
            stamp_x(buckets, report, headers);
        }
    }
}

#[cold]
fn stamp_deprecation(since: Timestamp, end: Option<Timestamp>, headers: &mut HeaderMap) {
    headers.insert(&DEPRECATION, value(format!("@{}", since.as_second()).as_bytes()));
    // Rounded down to the second: the credential is valid at least until then.
    if let Some(end) =
        end.and_then(|end| rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&end).ok())
    {
        headers.insert(&SUNSET, value(end.as_bytes()));
    }
}

fn limits<'a>(
    buckets: &'a CallerBuckets,
    report: &'a RateLimitReport,
) -> impl Iterator<Item = (&'a Limit, LimitStatus)> {
    buckets.plan().limits().iter().zip(buckets.statuses(&report.reading))
}

/// Returns the value of `RateLimit-Policy`.
fn policy_field(plan: &Plan) -> HeaderValue {
    let mut text = String::new();
    for limit in plan.limits() {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}\"{}\";q={};w={}", limit.name(), limit.quota(), limit.window());
    }
    value(text.as_bytes())
}

/// Returns the value of `RateLimit`.
fn state_field(buckets: &CallerBuckets, report: &RateLimitReport) -> HeaderValue {
    let mut text = HeaderBuf::<MAX_STATE_LEN>::new();
    let mut digits = itoa::Buffer::new();
    for (at, (limit, spent)) in limits(buckets, report).enumerate() {
        text.push(if at == 0 { "\"" } else { ", \"" });
        text.push(limit.name());
        text.push("\";r=");
        text.push(digits.format(spent.remaining));
        if spent.reset > 0 {
            text.push(";t=");
            text.push(digits.format(spent.reset));
        }
    }
    value(text.as_bytes())
}

/// For each limit: a name of 32 characters, two numbers of 10 digits, and the text between them.
const MAX_STATE_LEN: usize = MAX_LIMITS * 64;

/// Limit names are plain ASCII by construction.
fn value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static(""))
}

/// Reports the limit that will deny first. `Reset` is in seconds since the epoch.
fn stamp_x(buckets: &CallerBuckets, report: &RateLimitReport, headers: &mut HeaderMap) {
    let first = limits(buckets, report).min_by_key(|(_, spent)| (spent.remaining, u32::MAX - spent.reset));
    let Some((limit, spent)) = first else { return };
    let now = report.at.as_second() + i64::from(report.at.subsec_nanosecond() > 0);
    headers.insert(&X_RATE_LIMIT_LIMIT, header_value::from_u64(limit.quota().into()));
    headers.insert(&X_RATE_LIMIT_REMAINING, header_value::from_u64(spent.remaining.into()));
    headers.insert(&X_RATE_LIMIT_RESET, (now + i64::from(spent.reset)).into());
}
