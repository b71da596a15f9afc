//! The request headers that are removed before a request is forwarded.

use http::HeaderName;
use serde::{Deserialize, Deserializer, de};

/// The entry that expands to [`DEFAULTS`].
const DEFAULT: &str = "default";

/// Headers that only a gateway or a proxy in front of it may set: the client's address and scheme, another method or
/// target, or an authenticated identity. A trailing `*` matches any suffix.
const DEFAULTS: &[&str] = &[
    // The origin and the path of the request through proxies.
    "forwarded",
    "forwarded-for",
    "x-forwarded",
    "x-forwarded-*",
    "x-original-forwarded-for",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "x-cluster-client-ip",
    "x-proxyuser-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "fastly-client-ip",
    "fly-client-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-appengine-user-ip",
    "x-nf-client-connection-ip",
    "x-originating-ip",
    "x-forward-for",
    "x-forwarder-for",
    "proxy-client-ip",
    "http-client-ip",
    "http-x-forwarded-for",
    "wl-proxy-*",
    "cdn-src-ip",
    "ali-cdn-real-ip",
    "x-waf-real-ip",
    "incap-client-ip",
    "x-sucuri-clientip",
    "cloudfront-viewer-*",
    "x-host",
    "x-http-host-override",
    "x-scheme",
    "x-url-scheme",
    "front-end-https",
    "proxy-ssl",
    "x-envoy-*",
    // CGI programs read `Proxy` as `HTTP_PROXY`, the proxy for their own requests (CVE-2016-5385).
    "proxy",
    // A method or target other than the one that the policies checked.
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-*",
    "x-rewrite-*",
    "x-override-url",
    "x-http-destinationurl",
    "x-http-path-override",
    "x-request-uri",
    "x-replaced-path",
    "script-name",
    "x-script-name",
    "path-info",
    // Instructions to frameworks and servers.
    "x-middleware-*",
    "x-sendfile-type",
    "x-accel-*",
    // Identities and certificates that proxies assert.
    "remote-*",
    "x-remote-*",
    "x-auth-request-*",
    "x-auth-user",
    "x-auth-username",
    "x-auth-email",
    "x-auth-groups",
    "x-auth-roles",
    "x-proxy-user",
    "x-proxy-remote-user",
    "x-userinfo",
    "x-endpoint-api-userinfo",
    "x-vouch-*",
    "oidc-claim-*",
    "shib-*",
    "x-shib-*",
    "x-arr-*",
    "x-iis-*",
    "x-iisnode-*",
    "ms-aspnetcore-*",
    "x-tls-client-*",
    "x-client-verified",
    "x-peer-certificate",
    "x-spiffe-id",
    "l5d-client-id",
    "l5d-dst-override",
    "dapr-caller-*",
    "x-istio-attributes",
    "x-authenticated-*",
    "x-authentik-*",
    "x-consumer-*",
    "x-credential-*",
    "x-anonymous-consumer",
    "x-pomerium-*",
    "x-webauth-*",
    "x-goog-authenticated-user-*",
    "x-goog-iap-jwt-assertion",
    "x-ms-client-principal*",
    "x-amzn-oidc-*",
    "x-amzn-mtls-*",
    "x-amzn-request-context",
    "x-amzn-lambda-context",
    "x-apigateway-*",
    "cf-access-*",
    "tailscale-*",
    "client-cert",
    "client-cert-chain",
    "x-client-cert*",
    "x-client-dn",
    "x-client-verify",
    "x-ssl-*",
    "ssl-client-*",
];

/// A set of request headers that are removed before a request is forwarded.
///
/// The configuration writes it as a list of names. A name may end in `*`, which matches any suffix; `default` is the
/// built-in list; a name with a leading `!` is kept even if another entry matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedHeaders {
    /// The entries by [`bucket`], so that a name is compared with few of them.
    entries: Vec<Vec<Entry>>,
    /// The entries that are too short for a bucket.
    short: Vec<Entry>,
    exceptions: Vec<Box<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: Box<str>,
    /// Whether the entry also matches longer names.
    prefix: bool,
}

impl Entry {
    fn covers(&self, name: &str) -> bool {
        if self.prefix { name.starts_with(&*self.name) } else { *self.name == *name }
    }
}

const BUCKETS: usize = 256;

/// Returns the bucket of a name and of all names with that prefix: the first character, or the first after `x-`.
fn bucket(name: &str) -> Option<usize> {
    match name.as_bytes() {
        [] | [b'x'] | [b'x', b'-'] => None,
        [b'x', b'-', byte, ..] => Some(usize::from(byte | 0x80)),
        [byte, ..] => Some(usize::from(byte & 0x7f)),
    }
}

impl RemovedHeaders {
    fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut fields = Self::none();
        for entry in entries {
            if entry == DEFAULT {
                DEFAULTS.iter().try_for_each(|entry| fields.add(entry))?;
            } else {
                fields.add(entry)?;
            }
        }
        Ok(fields)
    }

    fn none() -> Self {
        Self { entries: vec![Vec::new(); BUCKETS], short: Vec::new(), exceptions: Vec::new() }
    }

    fn add(&mut self, entry: &str) -> Result<(), String> {
        let (name, is_exception) = entry.strip_prefix('!').map_or((entry, false), |name| (name, true));
        let (name, prefix) = name.strip_suffix('*').map_or((name, false), |name| (name, true));
        if is_exception && prefix {
            return Err(format!("\"{entry}\" is not valid: an entry with ! must be a full header name"));
        }
        let name = name.parse::<HeaderName>().map_err(|_| format!("\"{entry}\" is not a header name"))?;
        let name: Box<str> = name.as_str().into();
        if is_exception {
            self.exceptions.push(name);
        } else if let Some(bucket) = bucket(&name) {
            self.entries[bucket].push(Entry { name, prefix });
        } else {
            self.short.push(Entry { name, prefix });
        }
        Ok(())
    }

    /// Returns `true` if the header of this name, in lower case, is removed.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        let bucket = bucket(name).map_or(&[][..], |bucket| &self.entries[bucket]);
        bucket.iter().chain(&self.short).any(|entry| entry.covers(name))
            && !self.exceptions.iter().any(|exception| **exception == *name)
    }
}

impl Default for RemovedHeaders {
    fn default() -> Self {
        // The built-in list contains only valid names.
        Self::new([DEFAULT]).unwrap_or_else(|_| Self::none())
    }
}

impl<'de> Deserialize<'de> for RemovedHeaders {
    fn deserialize<D: Deserializer<'de>>(list: D) -> Result<Self, D::Error> {
        let entries = Vec::<String>::deserialize(list)?;
        Self::new(entries.iter().map(String::as_str)).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(entries: &[&str]) -> RemovedHeaders {
        RemovedHeaders::new(entries.iter().copied()).unwrap()
    }

    #[test]
    fn default_list_covers_headers_that_proxies_set() {
        let default = RemovedHeaders::default();
        for name in [
            "proxy",
            "x-forwarded-user",
            "x-forwarded-client-cert",
            "x-original-method",
            "x-envoy-original-path",
            "x-forwarded-email",
            "x-forwarded-groups",
            "x-forwarded-preferred-username",
            "x-remote-user",
            "remote-user",
            "x-auth-request-access-token",
            "x-ssl-client-verify",
            "x-amzn-oidc-identity",
            "x-consumer-username",
            "client-cert",
        ] {
            assert!(default.contains(name), "{name}");
        }
        for name in
            ["host", "accept", "authorization", "traceparent", "x-amzn-trace-id", "x-request-id", "origin"]
        {
            assert!(!default.contains(name), "{name}");
        }
    }

    #[test]
    fn list_extends_or_replaces_the_default() {
        let extended = fields(&["default", "X-Tenant", "x-team-*", "!x-real-ip"]);
        assert!(
            extended.contains("x-tenant") && extended.contains("x-team-id") && extended.contains("proxy")
        );
        assert!(!extended.contains("x-real-ip") && !extended.contains("x-team"));
        let replaced = fields(&["x-tenant"]);
        assert!(replaced.contains("x-tenant") && !replaced.contains("proxy"));
        assert!(!fields(&[]).contains("proxy"));
        let short = fields(&["x*", "e-*"]);
        assert!(short.contains("x") && short.contains("x-real-ip") && short.contains("e-tag"));
        assert!(!short.contains("etag"));
    }

    #[test]
    fn entry_is_a_header_name() {
        for entry in ["", "*", "a b", "!", "!x-*", "a:b"] {
            assert!(RemovedHeaders::new([entry]).is_err(), "{entry}");
        }
    }
}
