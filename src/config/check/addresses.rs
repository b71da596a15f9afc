//! Checks of listeners and of the addresses of services behind them.

use std::net::SocketAddr;

use crate::config::{Config, Report, document::Step};

/// A place to listen at, by the entry of the file that names it.
struct Listening<'a> {
    what: String,
    place: Vec<Step<'a>>,
    address: SocketAddr,
}

pub(super) fn check(config: &Config, report: &mut Report) {
    if config.listeners.is_empty() && report.is_whole() {
        report.error(&["listeners".into()], "there is no listener: add [[listeners]]");
    }
    for (at, listener) in config.listeners.iter().enumerate() {
        if listener.h2c && listener.tls.is_some() {
            let why = format!(
                "the listener on {} has both tls and h2c; TLS offers HTTP/2 by itself",
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
                format!("two listeners are on {}", one.address)
            } else if other.address == one.address {
                format!("{} and {} are both on {}", one.what, other.what, one.address)
            } else {
                format!(
                    "{} on {} and {} on {} take the same port",
                    one.what, one.address, other.what, other.address
                )
            };
            report.error(&one.place, why);
        }
    }
    upstreams(config, &all, report);
}

fn listening(config: &Config) -> Vec<Listening<'_>> {
    let listeners = config.listeners.iter().enumerate().map(|(at, listener)| Listening {
        what: "a listener".into(),
        place: vec!["listeners".into(), at.into(), "address".into()],
        address: listener.address,
    });
    let admin = config.admin.iter().map(|admin| Listening {
        what: "admin".into(),
        place: vec!["admin".into(), "listen".into()],
        address: admin.listen,
    });
    let metrics = config.metrics.iter().map(|metrics| Listening {
        what: "metrics".into(),
        place: vec!["metrics".into(), "address".into()],
        address: metrics.address,
    });
    listeners.chain(admin).chain(metrics).collect()
}

/// Returns `true` if no two sockets can have these addresses. An unspecified one takes its port on every address; an
/// unspecified IPv6 one takes that of IPv4, too.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let takes = |one: SocketAddr, other: SocketAddr| {
        one.ip().is_unspecified() && (one.is_ipv4() == other.is_ipv4() || one.is_ipv6())
    };
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || takes(one, other) || takes(other, one))
}

/// A service behind that is this gateway itself would get every request again, without end.
fn upstreams(config: &Config, all: &[Listening<'_>], report: &mut Report) {
    for (name, upstream) in &config.upstreams {
        let place = ["upstreams".into(), name.as_str().into(), "address".into()];
        let (ip, port) = (upstream.address.ip(), upstream.address.port());
        if port == 0 {
            report.error(&place, "no service listens on port 0");
        }
        let own = |one: &&Listening<'_>| {
            let here = one.address.ip() == ip
                || (ip.is_unspecified() || one.address.ip().is_unspecified())
                    && (ip.is_loopback() || ip.is_unspecified());
            port != 0 && port == one.address.port() && here
        };
        if let Some(one) = all.iter().find(own) {
            report.error(
                &place,
                format!("{} of this gateway listens there: requests would never arrive", one.what),
            );
        }
        let used =
            config.routes.iter().any(|route| route.upstream.as_ref().is_some_and(|up| up.get_ref() == name));
        if !used && report.is_whole() {
            report.warning(
                &["upstreams".into(), name.as_str().into()],
                format!("no route leads to the upstream \"{name}\""),
            );
        }
    }
}
