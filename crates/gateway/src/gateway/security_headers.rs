//! The security headers of a route's responses.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config;

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// The security headers of a route, with their values.
#[derive(Debug)]
pub(super) struct SecurityHeaders {
    always: Vec<(HeaderName, HeaderValue)>,
    /// The value of `Strict-Transport-Security`, which browsers ignore without TLS.
    hsts: Option<HeaderValue>,
}

impl SecurityHeaders {
    pub(super) fn new(settings: &config::SecurityHeaders) -> Self {
        let always = [
            (header::X_CONTENT_TYPE_OPTIONS, settings.nosniff.then_some("nosniff")),
            (header::X_FRAME_OPTIONS, settings.frame_options.value()),
            (header::REFERRER_POLICY, settings.referrer_policy.value()),
        ];
        let sent = |(name, value): (_, Option<_>)| Some((name, HeaderValue::from_static(value?)));
        let max_age = u64::from(settings.hsts_days) * SECONDS_PER_DAY;
        let subdomains = if settings.hsts_subdomains { "; includeSubDomains" } else { "" };
        let hsts = HeaderValue::try_from(format!("max-age={max_age}{subdomains}"));
        Self {
            always: always.into_iter().filter_map(sent).collect(),
            hsts: hsts.ok().filter(|_| max_age > 0),
        }
    }

    /// Adds the headers that the upstream did not send.
    pub(super) fn add(&self, secure: bool, headers: &mut HeaderMap) {
        let hsts = self.hsts.as_ref().filter(|_| secure);
        let hsts = hsts.map(|value| (&header::STRICT_TRANSPORT_SECURITY, value));
        for (name, value) in self.always.iter().map(|(name, value)| (name, value)).chain(hsts) {
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }
}
