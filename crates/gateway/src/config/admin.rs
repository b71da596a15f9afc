//! Configuration of the native admin API.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Deserialize;

use super::{Listener, LockoutPolicy, Report, Tls};

/// The native admin API, which has its own listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// The address and port.
    pub address: SocketAddr,
    /// The certificate for TLS. ALPN selects HTTP/2 or HTTP/1.1. Default: no TLS.
    pub tls: Option<Tls>,
    /// Whether keys may be sent without TLS to an address that other machines can reach, for example because a proxy in
    /// front of it terminates TLS.
    pub plaintext: bool,
    /// The names that are accepted in `Host`, in addition to `localhost`, loopback addresses and the address of
    /// `address`. The response to other names is 421, so that a website cannot use DNS rebinding to reach the listener
    /// through a browser.
    pub hosts: Vec<String>,
    /// The lockout of addresses that send invalid keys.
    pub lockout: LockoutPolicy,
    /// The maximum size of an imported file in bytes; beyond it, the response is 413. The upload is buffered in a file
    /// beside the store.
    pub import_bytes: u64,
}

impl Default for Admin {
    fn default() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9001));
        Self {
            address,
            tls: None,
            plaintext: false,
            hosts: Vec::new(),
            lockout: LockoutPolicy::default(),
            import_bytes: 1024 * 1024 * 1024,
        }
    }
}

impl Admin {
    /// Returns the listener of the admin API.
    #[must_use]
    pub fn listener(&self) -> Listener {
        Listener { address: self.address, tls: self.tls.clone(), h2c: false }
    }

    pub(super) fn check(&self, report: &mut Report) {
        let is_host =
            |name: &&String| !name.is_empty() && !name.contains(['/', '@', '*', ' ']) && !has_port(name);
        if let Some(name) = self.hosts.iter().find(|name| !is_host(name)) {
            let why = format!(
                "admin.hosts contains {name:?}, which is not a host name; ports and patterns are not supported"
            );
            report.error(&["admin".into(), "hosts".into()], why);
        }
        if self.tls.is_some() && self.plaintext {
            let why = "admin has both tls and plaintext; remove one of them";
            report.error(&["admin".into(), "plaintext".into()], why);
        }
        if self.tls.is_none() && !self.plaintext && !self.address.ip().is_loopback() {
            let why = format!(
                "other machines can reach admin.address {}, and administrators' keys would be sent without TLS: \
                 add [admin.tls] or, if a proxy in front of it terminates TLS, admin.plaintext = true",
                self.address
            );
            report.error(&["admin".into(), "address".into()], why);
        }
    }
}

/// Returns `true` if a port follows a host; an IPv6 address has colons of its own.
fn has_port(host: &str) -> bool {
    host.contains(':') && host.trim_start_matches('[').trim_end_matches(']').parse::<Ipv6Addr>().is_err()
}
