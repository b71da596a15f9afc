//! Checks of upstreams.

use http::{Uri, header};

use super::{addresses, short};
use crate::config::{Balance, Config, HashKey, Report, Target, Upstream, UpstreamProtocol, document::Step};

/// The maximum number of targets of an upstream.
const MAX_TARGETS: usize = 1_000;

pub(super) fn check(config: &Config, report: &mut Report) {
    for (name, upstream) in &config.upstreams {
        let mut found = UpstreamCheck { report, name };
        found.targets(config, upstream);
        found.tls(upstream);
        found.balance(upstream);
        found.health(upstream);
        found.limits(upstream);
        found.usage(config);
    }
}

/// The check of one upstream.
struct UpstreamCheck<'r> {
    report: &'r mut Report,
    name: &'r str,
}

impl UpstreamCheck<'_> {
    fn error(&mut self, below: &[Step<'_>], why: impl Into<String>) {
        let path = [&["upstreams".into(), self.name.into()], below].concat();
        self.report.error(&path, why);
    }

    fn warning(&mut self, below: &[Step<'_>], why: impl Into<String>) {
        let path = [&["upstreams".into(), self.name.into()], below].concat();
        self.report.warning(&path, why);
    }

    fn has(&self, below: &[&str]) -> bool {
        let below = below.iter().map(|step| Step::Key(step));
        let path: Vec<_> = ["upstreams".into(), self.name.into()].into_iter().chain(below).collect();
        self.report.has(&path)
    }

    fn targets(&mut self, config: &Config, upstream: &Upstream) {
        match (self.has(&["address"]), self.has(&["targets"])) {
            (true, true) => {
                self.error(&["targets".into()], "an upstream has either address or targets, not both");
            }
            (false, false) => self.error(&[], "an upstream needs address, or targets"),
            (false, true) if upstream.targets.is_empty() && self.report.is_whole() => {
                self.error(&["targets".into()], "an upstream needs at least one target");
            }
            _ => {}
        }
        if upstream.targets.len() > MAX_TARGETS {
            self.error(&["targets".into()], format!("an upstream has at most {MAX_TARGETS} targets"));
        }
        if let Some(address) = &upstream.address {
            self.target(config, &["address".into()], &Target::from(address.clone()));
        }
        for (at, target) in upstream.targets.iter().enumerate() {
            let place = ["targets".into(), at.into()];
            self.target(config, &place, target);
            if upstream.targets[..at].iter().any(|earlier| earlier.address == target.address) {
                self.error(&place, format!("the target {} is listed twice; use weight", target.address));
            }
        }
    }

    fn target(&mut self, config: &Config, place: &[Step<'_>], target: &Target) {
        if target.address.place.port() == Some(0) {
            self.error(place, "an upstream cannot have port 0");
        }
        if let Some(listener) = addresses::own_listener(config, &target.address.place) {
            self.error(
                place,
                format!("{listener} of this gateway uses this address, so requests would loop"),
            );
        }
    }

    fn tls(&mut self, upstream: &Upstream) {
        let tls = &upstream.tls;
        let uses_tls =
            upstream.all_targets().iter().any(|target| target.address.protocol == UpstreamProtocol::Https);
        if !uses_tls && self.has(&["tls"]) && self.report.is_whole() {
            self.error(
                &["tls".into()],
                "no target of the upstream has an https address, so this has no effect",
            );
        }
        if tls.certificate.is_some() != tls.key.is_some() {
            self.error(&["tls".into()], "a client certificate needs both certificate and key");
        }
        if !tls.verify {
            let why = "without verification, anybody on the network path can read and change requests; set ca instead";
            self.warning(&["tls".into(), "verify".into()], why);
            if tls.ca.is_some() {
                self.error(&["tls".into(), "ca".into()], "ca has no effect with verify = false");
            }
        }
    }

    fn balance(&mut self, upstream: &Upstream) {
        // The addresses of a name are targets, too.
        let is_single =
            upstream.all_targets().iter().all(|target| !target.address.place.known_ips().is_empty())
                && upstream.all_targets().len() == 1;
        for setting in ["balance", "slow_start"] {
            if is_single && self.has(&[setting]) && self.report.is_whole() {
                self.warning(
                    &[setting.into()],
                    format!("the upstream has one target, so {setting} has no effect"),
                );
            }
        }
        if let Balance::Hash(HashKey::Header(name)) = &upstream.balance
            && [header::CONNECTION, header::TE, header::TRANSFER_ENCODING, header::UPGRADE]
                .contains(name.name())
        {
            self.error(
                &["balance".into()],
                format!("the header {} concerns only the connection", name.as_str()),
            );
        }
    }

    fn health(&mut self, upstream: &Upstream) {
        for (name, time) in
            [("connect_timeout", upstream.connect_timeout), ("read_timeout", upstream.read_timeout)]
        {
            short(&["upstreams", self.name, name], time, self.report);
        }
        let Some(check) = &upstream.health_check else { return };
        if let Some(path) = &check.path
            && (!path.starts_with('/') || path.parse::<Uri>().is_err())
        {
            self.error(
                &["health_check".into(), "path".into()],
                "a path must start with / and have no spaces",
            );
        }
        if check.host.as_deref().is_some_and(|host| host.parse::<http::uri::Authority>().is_err()) {
            self.error(&["health_check".into(), "host".into()], "this is not a host, with or without a port");
        }
        if let Some(status) = check.statuses.iter().find(|status| !(200..600).contains(*status)) {
            self.error(
                &["health_check".into(), "statuses".into()],
                format!("{status} is not a final status"),
            );
        }
        if check.path.is_none() && (check.host.is_some() || !check.statuses.is_empty()) {
            let why = "host and statuses need path; without a path, only the connection is checked";
            self.error(&["health_check".into()], why);
        }
        if check.timeout.duration() > check.interval.duration() {
            let why = "timeout is longer than interval, so checks of a silent target are less frequent";
            self.warning(&["health_check".into(), "timeout".into()], why);
        }
    }

    fn limits(&mut self, upstream: &Upstream) {
        if upstream.limits.pending.is_some() && upstream.limits.connections.is_none() {
            let why = "pending needs connections: requests wait only if connections are limited";
            self.error(&["limits".into(), "pending".into()], why);
        }
        if upstream.retries.budget_percent > 100 {
            self.error(
                &["retries".into(), "budget_percent".into()],
                "at most 100 percent: more retries than requests would multiply the load of a failing service",
            );
        }
    }

    fn usage(&mut self, config: &Config) {
        let used = config
            .routes
            .iter()
            .any(|route| route.upstream.as_ref().is_some_and(|upstream| upstream.get_ref() == self.name));
        if !used && self.report.is_whole() {
            self.warning(&[], format!("no route uses the upstream \"{}\"", self.name));
        }
    }
}
