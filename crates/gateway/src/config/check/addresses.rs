//! Checks of the addresses of listeners.

use std::net::{IpAddr, SocketAddr};

use crate::config::{Config, Report, UpstreamPlace, document::Step};

/// A listening address and its entry in the file.
struct Listening<'a> {
    what: String,
    place: Vec<Step<'a>>,
    address: SocketAddr,
}

pub(super) fn check(config: &Config, report: &mut Report) {
    if config.listeners.is_empty() && report.is_whole() {
        report.error(&["listeners".into()], "there is no listener; add [[listeners]]");
    }
    for (at, listener) in config.listeners.iter().enumerate() {
        if listener.h2c && listener.tls.is_some() {
            let why = format!(
                "the listener on {} has both tls and h2c; remove h2c, because TLS already offers HTTP/2",
                listener.address
            );
            report.error(&["listeners".into(), at.into(), "h2c".into()], why);
        }
    }
    if let Some(admin) = &config.admin {
        admin.check(report);
    }
    let all = listening(config);
    for (at, one) in all.iter().enumerate() {
        if let Some(other) = all[..at].iter().find(|other| collide(one.address, other.address)) {
            let why = if at < config.listeners.len() {
                format!("two listeners use {}", one.address)
            } else if other.address == one.address {
                format!("{} and {} both use {}", one.what, other.what, one.address)
            } else {
                format!(
                    "{} on {} and {} on {} use the same port",
                    one.what, one.address, other.what, other.address
                )
            };
            report.error(&one.place, why);
        }
    }
}

fn listening(config: &Config) -> Vec<Listening<'_>> {
    let listeners = config.listeners.iter().enumerate().map(|(at, listener)| Listening {
        what: "a listener".into(),
        place: vec!["listeners".into(), at.into(), "address".into()],
        address: listener.address,
    });
    let admin = config.admin.iter().map(|admin| Listening {
        what: "admin".into(),
        place: vec!["admin".into(), "address".into()],
        address: admin.address,
    });
    let metrics = config.metrics.iter().map(|metrics| Listening {
        what: "metrics".into(),
        place: vec!["metrics".into(), "address".into()],
        address: metrics.address,
    });
    listeners.chain(admin).chain(metrics).collect()
}

/// Returns `true` if two sockets cannot have these addresses at once. An unspecified address occupies its port on every
/// address; an unspecified IPv6 address also occupies it for IPv4.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let takes = |one: SocketAddr, other: SocketAddr| {
        one.ip().is_unspecified() && (one.is_ipv4() == other.is_ipv4() || one.is_ipv6())
    };
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || takes(one, other) || takes(other, one))
}

/// Returns the listener of this gateway that an address leads to, if there is one. A target that is this gateway itself
/// would receive every request again, endlessly.
pub(super) fn own_listener(config: &Config, place: &UpstreamPlace) -> Option<String> {
    let (ips, port) = (place.known_ips(), place.port()?);
    let own = |one: &Listening<'_>| {
        let is_here = |ip: &IpAddr| {
            one.address.ip() == *ip
                || (ip.is_unspecified() || one.address.ip().is_unspecified())
                    && (ip.is_loopback() || ip.is_unspecified())
        };
        port != 0 && port == one.address.port() && ips.iter().any(is_here)
    };
    listening(config).into_iter().find(own).map(|one| one.what)
}
