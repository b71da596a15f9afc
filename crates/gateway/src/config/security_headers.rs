//! Configuration of the security headers of responses.

use serde::Deserialize;

/// The security headers of a route's responses. Headers that the upstream sends are not changed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityHeaders {
    /// Whether responses have `X-Content-Type-Options: nosniff`.
    pub nosniff: bool,
    /// The value of `X-Frame-Options`.
    pub frame_options: FrameOptions,
    /// The value of `Referrer-Policy`.
    pub referrer_policy: ReferrerPolicy,
    /// The time for which browsers use only HTTPS for the host (`Strict-Transport-Security`, RFC 6797), in days. It is
    /// sent only with HTTPS; 0 means never.
    pub hsts_days: u16,
    /// Whether HSTS includes all subdomains of the host.
    pub hsts_subdomains: bool,
}

impl Default for SecurityHeaders {
    fn default() -> Self {
        Self {
            nosniff: true,
            frame_options: FrameOptions::SameOrigin,
            referrer_policy: ReferrerPolicy::SameOrigin,
            hsts_days: 365,
            hsts_subdomains: false,
        }
    }
}

/// The pages that may embed a response in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum FrameOptions {
    /// No page.
    #[serde(rename = "DENY")]
    Deny,
    /// Pages of the same origin.
    #[serde(rename = "SAMEORIGIN")]
    SameOrigin,
    /// All pages: the header is not sent.
    #[serde(rename = "off")]
    Off,
}

impl FrameOptions {
    /// Returns the value of `X-Frame-Options`, if it is sent.
    #[must_use]
    pub fn value(self) -> Option<&'static str> {
        match self {
            Self::Deny => Some("DENY"),
            Self::SameOrigin => Some("SAMEORIGIN"),
            Self::Off => None,
        }
    }
}

/// The part of its own address that a page reveals to others in `Referer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReferrerPolicy {
    /// Nothing.
    NoReferrer,
    /// The whole address, but nothing to plain HTTP.
    NoReferrerWhenDowngrade,
    /// The whole address to the same origin, and nothing to others.
    SameOrigin,
    /// The origin.
    Origin,
    /// The origin, but nothing to plain HTTP.
    StrictOrigin,
    /// The whole address to the same origin, and the origin to others.
    OriginWhenCrossOrigin,
    /// The whole address to the same origin, the origin to others, and nothing to plain HTTP.
    StrictOriginWhenCrossOrigin,
    /// The whole address.
    UnsafeUrl,
    /// The browser decides: the header is not sent.
    Off,
}

impl ReferrerPolicy {
    /// Returns the value of `Referrer-Policy`, if it is sent.
    #[must_use]
    pub fn value(self) -> Option<&'static str> {
        match self {
            Self::NoReferrer => Some("no-referrer"),
            Self::NoReferrerWhenDowngrade => Some("no-referrer-when-downgrade"),
            Self::SameOrigin => Some("same-origin"),
            Self::Origin => Some("origin"),
            Self::StrictOrigin => Some("strict-origin"),
            Self::OriginWhenCrossOrigin => Some("origin-when-cross-origin"),
            Self::StrictOriginWhenCrossOrigin => Some("strict-origin-when-cross-origin"),
            Self::UnsafeUrl => Some("unsafe-url"),
            Self::Off => None,
        }
    }
}

/// The treatment of `Cache-Control` in responses to authenticated callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheControl {
    /// `Cache-Control: private` is added, unless the upstream decides about caching.
    #[default]
    Private,
    /// The headers of the upstream are not changed.
    Keep,
}
