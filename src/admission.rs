//! The results of admitting a request, and the response headers that report them to the client.

mod content_digest;
mod permit;

pub use content_digest::{DigestMismatch, DigestVerifier};
pub(crate) use permit::Permit;
pub use permit::{Committed, Permits};

use std::{borrow::Cow, fmt::Write, net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use jiff::{Timestamp, fmt::rfc2822};

use crate::{
    Denial, Head,
    directory::{CallerEntry, KeyEntry},
    header_value::{self, HeaderBuf},
    limit::{CallerBuckets, LimitSnapshot, LimitStatus},
    media::MediaType,
    model::{Authority, CallerKind, CredentialId, Limit, MAX_LIMITS, Plan},
    normalize_path::{self, PathRules},
    policy::RateLimitFields,
    problem::ErrorFormat,
};

static DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
static SUNSET: HeaderName = HeaderName::from_static("sunset");
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static X_RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static X_RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static X_RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The recognised caller and its credential, both in the state in which the request was decided.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The credential.
    pub key: Arc<KeyEntry>,
}

impl Identity {
    /// Returns the credential's caller.
    #[must_use]
    pub fn caller(&self) -> &CallerEntry {
        self.key.caller()
    }

    /// Returns the authority of the credential, for the [`Actor`](crate::model::Actor) of a change that was requested
    /// from `address`.
    #[must_use]
    pub fn authority(&self, address: Option<IpAddr>) -> Authority {
        let (key, caller) = (&self.key, self.caller());
        let is_the_app = caller.kind() == CallerKind::APP && key.id == CredentialId::from(&caller.id);
        Authority {
            tenant: caller.tenant().id.clone(),
            caller: caller.id.clone(),
            credential: (!is_the_app).then(|| key.id.clone()),
            scopes: key.scopes.clone(),
            role: caller.role(),
            address,
        }
    }
}

/// The state of the recognised caller's rate limits, for the headers that report it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimitReport {
    pub(crate) reading: LimitSnapshot,
    pub(crate) fields: RateLimitFields,
    pub(crate) at: Timestamp,
}

/// The results of the policies that admitted a request, and the permits that they acquired.
///
/// A handler finds it among the request's extensions. A clone carries the results but no permits, which stay with the
/// original.
#[derive(Debug, Default)]
pub struct Admission {
    pub(crate) identity: Option<Identity>,
    pub(crate) offers: Option<(Arc<[MediaType]>, usize)>,
    pub(crate) report: Option<RateLimitReport>,
    pub(crate) credential: Option<HeaderName>,
    pub(crate) varies: bool,
    pub(crate) target: Option<Uri>,
    pub(crate) path_violations: PathRules,
    /// The normalized path to decide on, if it differs from the path that the client sent.
    pub(crate) path: Option<Box<str>>,
    /// Set once the path to decide on is known to be normalized.
    pub(crate) is_normal: bool,
    pub(crate) body_limit: Option<u64>,
    /// Bytes of the body that a proxy has passed on.
    pub(crate) passed_on: u64,
    /// SHA-256 of the body, if the body was buffered.
    pub(crate) content: Option<Box<[u8; 32]>>,
    /// SHA-256 that the body must have, if nothing has checked it yet.
    pub(crate) owed: Option<Box<DigestVerifier>>,
    /// Index of the route that a gateway found.
    pub(crate) route: Option<usize>,
    /// Format of a denial, if it differs from the format of the face.
    pub(crate) form: Option<ErrorFormat>,
    pub(crate) permits: Permits,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) cursor: Cursor,
}

/// The position of an evaluation in a chain of policies, in steps.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    /// The steps passed in this evaluation.
    pub(crate) at: u32,
    /// The steps passed in the evaluation that ended in a wait.
    pub(crate) passed: u32,
}

impl Clone for Admission {
    fn clone(&self) -> Self {
        Self {
            identity: self.identity.clone(),
            offers: self.offers.clone(),
            report: self.report,
            credential: self.credential.clone(),
            varies: self.varies,
            target: self.target.clone(),
            path_violations: self.path_violations,
            path: self.path.clone(),
            is_normal: self.is_normal,
            body_limit: self.body_limit,
            passed_on: self.passed_on,
            content: self.content.clone(),
            owed: self.owed.clone(),
            route: self.route,
            form: self.form,
            permits: Permits::default(),
            peer: self.peer,
            cursor: Cursor::default(),
        }
    }
}

impl Admission {
    /// Refunds all permits.
    pub(crate) fn refund(&mut self) {
        self.cursor.passed = 0;
        self.permits.refund();
        // A refunded permit is not reported as spent.
        self.report.take_if(|report| !report.reading.is_denial());
    }

    /// Returns the caller and its credential, if a policy recognised them.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Returns the client's address, if the face knew it.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Returns the caller, if a policy recognised one.
    #[must_use]
    pub fn caller(&self) -> Option<&CallerEntry> {
        self.identity.as_ref().map(Identity::caller)
    }

    /// Returns the media type for the response, if [`Accept`](crate::policy::Accept) negotiated one.
    ///
    /// ```
    /// use axum::{Extension, http::header, response::IntoResponse};
    /// use portcullis::Admission;
    ///
    /// async fn orders(Extension(admission): Extension<Admission>) -> impl IntoResponse {
    ///     match admission.media_type().map(|media_type| media_type.as_str()) {
    ///         Some("text/csv") => ([(header::CONTENT_TYPE, "text/csv")], "id\n7\n"),
    ///         _ => ([(header::CONTENT_TYPE, "application/json")], "[{\"id\":7}]"),
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn media_type(&self) -> Option<&MediaType> {
        self.offers.as_ref().and_then(|(offers, chosen)| offers.get(*chosen))
    }

    /// Returns the remaining requests of each limit of the caller's plan, with the limit's name.
    pub fn remaining(&self) -> impl Iterator<Item = (&str, LimitStatus)> {
        let reported = self.report.as_ref().zip(self.budgets());
        reported
            .into_iter()
            .flat_map(|(report, budgets)| limits(budgets, report))
            .map(|(limit, spent)| (limit.name(), spent))
    }

    fn budgets(&self) -> Option<&CallerBuckets> {
        self.caller().and_then(|caller| caller.budgets.as_ref())
    }

    /// Sets the identity. A report about the limits of an earlier identity is dropped.
    pub(crate) fn set_identity(&mut self, identity: Identity) {
        self.report = None;
        self.identity = Some(identity);
    }

    /// Takes the permits out of the admission, to be held while the request is served.
    #[must_use]
    pub fn take_permits(&mut self) -> Permits {
        std::mem::take(&mut self.permits)
    }

    /// Returns the path to decide on: the path that the client sent, [normalized](crate::normalize_path).
    ///
    /// # Errors
    /// 400 if the path cannot be normalized, or violates a rule that no earlier [`StrictHttp`](crate::policy::StrictHttp)
    /// relaxed. The target `*` of an `OPTIONS` request needs no normalization.
    pub fn path<'a>(&'a mut self, head: Head<'a>) -> Result<&'a str, Denial> {
        self.normalize(head)?;
        Ok(self.normalized_path(head))
    }

    /// Normalizes the path to decide on, once for a chain.
    #[inline]
    pub(crate) fn normalize(&mut self, head: Head<'_>) -> Result<(), Denial> {
        if self.is_normal { Ok(()) } else { self.normalize_relaxing(head, self.path_violations).map(drop) }
    }

    /// Normalizes the path to decide on, and returns the relaxed rules that the path violates.
    pub(crate) fn normalize_relaxing(
        &mut self,
        head: Head<'_>,
        relaxed: PathRules,
    ) -> Result<PathRules, Denial> {
        let path = head.original.path();
        let mut breaks = PathRules::NONE;
        if path != "*" || head.method != Method::OPTIONS {
            let normal = normalize_path::normalize(path).map_err(Denial::ambiguous)?;
            let broken = normal.breaks.difference(relaxed);
            if !broken.is_empty() {
                return Err(Denial::path_violation(broken));
            }
            breaks = normal.breaks;
            if let Cow::Owned(path) = normal.comparable() {
                self.path = Some(path.into());
            }
        }
        self.is_normal = true;
        Ok(breaks)
    }

    /// Returns the path to decide on, in a chain that has already [normalized](Self::normalize) it.
    pub(crate) fn normalized_path<'a>(&'a self, head: Head<'a>) -> &'a str {
        self.path.as_deref().unwrap_or(head.original.path())
    }

    /// Returns the maximum length of the body in bytes, if a policy set one. The reader of the body must enforce it.
    #[must_use]
    pub fn body_limit(&self) -> Option<u64> {
        self.body_limit
    }

    /// Takes the check of a signed body that was not read yet. The reader of the body must perform it.
    #[must_use]
    pub fn take_content_check(&mut self) -> Option<Box<DigestVerifier>> {
        self.owed.take()
    }

    /// Sets the SHA-256 of the body, which a policy asked for ([`Stop::NeedsBody`]).
    pub fn set_content_sha256(&mut self, hash: [u8; 32]) {
        self.content = Some(Box::new(hash));
    }

    /// Returns the path rules that the path violates and that a route may relax.
    #[must_use]
    pub fn breaks(&self) -> PathRules {
        self.path_violations
    }

    /// Prepares a request for the upstream: sets the normalized target, and removes the credential unless the route
    /// forwards it.
    pub fn prepare_upstream<B>(&mut self, request: &mut Request<B>) {
        if let Some(target) = self.target.take() {
            *request.uri_mut() = target;
        }
        if let Some(name) = &self.credential {
            request.headers_mut().remove(name);
        }
    }

    /// Sets a header of an upstream request to the caller's id. A header of this name that the client sent is
    /// removed, in every spelling that servers treat alike, such as `X_Caller.Id`.
    pub fn set_caller_header(&self, headers: &mut HeaderMap, field: &HeaderName) {
        set_own(headers, field, self.caller_header_value());
    }

    /// Sets a header of an upstream request to the [negotiated media type](Self::media_type). A header of this name
    /// that the client sent is removed, like by [`set_caller_header`](Self::set_caller_header).
    pub fn set_media_type_headers(&self, headers: &mut HeaderMap, field: &HeaderName) {
        let chosen = self.media_type().and_then(|chosen| HeaderValue::from_str(chosen.as_str()).ok());
        set_own(headers, field, chosen);
    }

    pub(crate) fn caller_header_value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.caller()?.id.as_str()).ok()
    }

    /// Adds the headers that inform the client to a response, which may be a denial: `Vary`; `Cache-Control: private`
    /// for a recognised caller, unless the response has caching headers of its own; `Deprecation` (RFC 9745) if the
    /// caller should replace its credential, and `Sunset` (RFC 8594) with the end of that credential; and the state
    /// of its rate limits.
    ///
    /// `RateLimit` and `RateLimit-Policy` follow draft-ietf-httpapi-ratelimit-headers-10.
    pub fn add_response_headers(&self, headers: &mut HeaderMap) {
        if self.varies {
            vary(headers, &ACCEPT);
        }
        if self.identity.is_some() {
            self.restrict_caching(headers);
        }
        if let Some(since) = self.identity.as_ref().and_then(|identity| identity.key.deprecated_at()) {
            let end = self.identity.as_ref().and_then(|identity| identity.key.not_after());
            stamp_deprecation(since, end, headers);
        }
        let Some((report, budgets)) = self.report.as_ref().zip(self.budgets()) else { return };
        if report.fields.draft_10 {
            headers.insert(&RATE_LIMIT_POLICY, budgets.budget().described(policy_field).clone());
            headers.insert(&RATE_LIMIT, state_field(budgets, report));
        }
        if report.fields.x_ratelimit {
            stamp_x(budgets, report, headers);
        }
    }
}

impl Admission {
    /// Prevents shared caches from serving the response of one caller to another.
    ///
    /// Shared caches do not store responses to requests with `Authorization` (RFC 9111, section 3.5), but they know
    /// no other header for a credential. An upstream that does not see the credential may set a freshness lifetime,
    /// as if all callers got the same response: such a response varies by the header of the credential.
    fn restrict_caching(&self, headers: &mut HeaderMap) {
        let is_decided = decides_caching(headers);
        if !is_decided {
            headers.append(header::CACHE_CONTROL, PRIVATE.clone());
        }
        let is_shared = is_decided && !is_unshared(headers);
        let is_targeted = headers.keys().any(is_targeted_caching);
        if let Some(name) = &self.credential
            && (is_targeted || is_shared && *name != header::AUTHORIZATION)
        {
            vary(headers, &HeaderValue::from(name.clone()));
        }
    }
}

/// Returns `true` if the upstream's headers determine how long, or for whom, the response may be stored.
fn decides_caching(headers: &HeaderMap) -> bool {
    const DECIDING: [&str; 8] = [
        "public",
        "private",
        "no-store",
        "no-cache",
        "max-age",
        "s-maxage",
        "must-revalidate",
        "proxy-revalidate",
    ];
    let mut directives =
        headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    headers.contains_key(header::EXPIRES)
        || directives.any(|value| {
            value.split(',').any(|directive| {
                let name = directive.split('=').next().unwrap_or_default().trim();
                DECIDING.iter().any(|deciding| name.eq_ignore_ascii_case(deciding))
            })
        })
}

/// Returns `true` for headers that replace `Cache-Control` for one kind of cache (RFC 9213).
fn is_targeted_caching(name: &HeaderName) -> bool {
    name.as_str()
        .strip_suffix("-control")
        .is_some_and(|rest| rest.ends_with("-cache") || matches!(rest, "surrogate" | "edge"))
}

/// Returns `true` if shared caches must not store the response, or must revalidate it before they reuse it.
fn is_unshared(headers: &HeaderMap) -> bool {
    let directives = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut directives = directives.flat_map(|value| value.split(',')).map(str::trim);
    let unshared = ["private", "no-store", "no-cache"];
    directives.any(|one| unshared.iter().any(|directive| one.eq_ignore_ascii_case(directive)))
}

/// Sets a header that only the gateway may set.
fn set_own(headers: &mut HeaderMap, field: &HeaderName, value: Option<HeaderValue>) {
    let folded =
        |name: &&HeaderName| *name != field && header_value::eq_ignore_case(name.as_str(), field.as_str());
    if headers.keys().any(|name| folded(&name)) {
        let names: Vec<HeaderName> = headers.keys().filter(folded).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
    match value {
        Some(value) => headers.insert(field, value),
        None => headers.remove(field),
    };
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
    budgets: &'a CallerBuckets,
    report: &'a RateLimitReport,
) -> impl Iterator<Item = (&'a Limit, LimitStatus)> {
    budgets.plan().limits().iter().zip(budgets.statuses(&report.reading))
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
fn state_field(budgets: &CallerBuckets, report: &RateLimitReport) -> HeaderValue {
    let mut text = HeaderBuf::<LONGEST_STATE>::new();
    let mut digits = itoa::Buffer::new();
    for (at, (limit, spent)) in limits(budgets, report).enumerate() {
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
const LONGEST_STATE: usize = MAX_LIMITS * 64;

/// Limit names are plain ASCII by construction.
fn value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static(""))
}

/// Reports the limit that will deny first. `Reset` is in seconds since the epoch.
fn stamp_x(budgets: &CallerBuckets, report: &RateLimitReport, headers: &mut HeaderMap) {
    let first = limits(budgets, report).min_by_key(|(_, spent)| (spent.remaining, u32::MAX - spent.reset));
    let Some((limit, spent)) = first else { return };
    let now = report.at.as_second() + i64::from(report.at.subsec_nanosecond() > 0);
    headers.insert(&X_RATE_LIMIT_LIMIT, header_value::from_u64(limit.quota().into()));
    headers.insert(&X_RATE_LIMIT_REMAINING, header_value::from_u64(spent.remaining.into()));
    headers.insert(&X_RATE_LIMIT_RESET, (now + i64::from(spent.reset)).into());
}

static PRIVATE: HeaderValue = HeaderValue::from_static("private");
static ACCEPT: HeaderValue = HeaderValue::from_static("accept");

/// Adds a header name to `Vary`, unless the name or `*` is already there.
fn vary(headers: &mut HeaderMap, name: &HeaderValue) {
    let listed = |value: &HeaderValue| {
        let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.into_iter().any(|other| other == b"*" || other.eq_ignore_ascii_case(name.as_bytes()))
    };
    if !headers.get_all(header::VARY).iter().any(listed) {
        headers.append(header::VARY, name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_a_field_of_ours_stays() {
        let mut headers = HeaderMap::new();
        for name in ["x-caller-id", "x_caller_id", "x.caller-id", "x-caller-ids"] {
            headers.append(name, HeaderValue::from_static("admin"));
        }
        Admission::default().set_caller_header(&mut headers, &HeaderName::from_static("x-caller-id"));
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-caller-ids"]);
    }

    #[test]
    fn vary_is_said_once() {
        let mut headers = HeaderMap::new();
        let admission = Admission { varies: true, ..Admission::default() };
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        admission.add_response_headers(&mut headers);
        admission.add_response_headers(&mut headers);
        let values: Vec<_> = headers.get_all(header::VARY).iter().collect();
        assert_eq!(values, ["Accept-Encoding", "accept"]);
        headers.insert(header::VARY, HeaderValue::from_static("*"));
        admission.add_response_headers(&mut headers);
        assert_eq!(headers.get_all(header::VARY).iter().count(), 1);
    }
}
