//! Where the native admin API is served.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Deserialize;

use super::{Listener, LockoutPolicy, Report, Tls};

/// The native admin API, on a listener of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address and port.
    pub listen: SocketAddr,
    /// With it, only TLS is spoken here; HTTP/2 and HTTP/1.1 by ALPN.
    pub tls: Option<Tls>,
    /// Whether keys may travel in the clear to an address that others than this machine reach: because what stands
    /// before it speaks TLS, for example.
    pub plaintext: bool,
    /// Names in `Host` that are answered, beside `localhost`, loopback addresses and the address of `listen`. Others
    /// are 421, so that no site reaches the listener through a browser by a name of its own.
    pub hosts: Vec<String>,
    /// When an address that sends bad keys is refused for a while.
    pub lockout: LockoutPolicy,
    /// Bytes of a file that is imported; beyond it 413. While it arrives it is kept beside the store.
    pub import_bytes: u64,
}

impl Default for Admin {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 9001));
        Self {
            listen,
            tls: None,
            plaintext: false,
            hosts: Vec::new(),
            lockout: LockoutPolicy::default(),
            import_bytes: 1024 * 1024 * 1024,
        }
    }
}

impl Admin {
    /// The listener that it is served on.
    #[must_use]
    pub fn listener(&self) -> Listener {
        Listener { address: self.listen, tls: self.tls.clone(), h2c: false }
    }

    pub(super) fn check(&self, report: &mut Report) {
        let is_host =
            |name: &&String| !name.is_empty() && !name.contains(['/', '@', '*', ' ']) && !has_port(name);
        if let Some(name) = self.hosts.iter().find(|name| !is_host(name)) {
            let why = format!(
                "admin.hosts has {name:?}, which is no host name: neither a port nor a pattern is taken"
            );
            report.error(&["admin".into(), "hosts".into()], why);
        }
        if self.tls.is_some() && self.plaintext {
            let why = "admin has both tls and plaintext: with TLS, nothing is sent in the clear";
            report.error(&["admin".into(), "plaintext".into()], why);
        }
        if self.tls.is_none() && !self.plaintext && !self.listen.ip().is_loopback() {
            let why = format!(
                "admin.listen {} is not of this machine alone, and administrators' keys would travel in the clear: \
                 add [admin.tls], or, if something before it speaks TLS, admin.plaintext = true",
                self.listen
            );
            report.error(&["admin".into(), "listen".into()], why);
        }
    }
}

/// Returns `true` if a port follows a host; an IPv6 address has colons of its own.
fn has_port(host: &str) -> bool {
    host.contains(':') && host.trim_start_matches('[').trim_end_matches(']').parse::<Ipv6Addr>().is_err()
}
