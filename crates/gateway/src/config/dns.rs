//! Configuration of name resolution.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use serde::Deserialize;

use super::{ConfigDuration, Report};

/// The smallest lower bound of TTLs. Below it, names with a TTL of 0 would be looked up all the time.
const LOWEST_MIN_TTL: Duration = Duration::from_millis(100);

/// Settings for looking up the names of upstreams. Names in the hosts file and `localhost` need no name server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// The name servers, in the order in which they are asked. Empty means those of `/etc/resolv.conf`, whose search
    /// domains and `ndots` always apply.
    pub servers: Vec<SocketAddr>,
    /// The minimum time between two look-ups of a name, if the TTL of its records is shorter.
    pub min_ttl: ConfigDuration,
    /// The maximum time between two look-ups of a name, if the TTL of its records is longer.
    pub max_ttl: ConfigDuration,
    /// The maximum time of a look-up with all its queries. After a quarter of it, a query goes to the next name server,
    /// too.
    pub timeout: ConfigDuration,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            min_ttl: ConfigDuration::from_secs(1),
            max_ttl: ConfigDuration::from_secs(300),
            timeout: ConfigDuration::from_secs(5),
        }
    }
}

impl Dns {
    /// Checks the settings.
    pub(super) fn check(&self, report: &mut Report) {
        let mut earlier = BTreeSet::new();
        for (at, server) in self.servers.iter().enumerate() {
            let place = ["dns".into(), "servers".into(), at.into()];
            if server.port() == 0 || server.ip().is_unspecified() {
                let why = format!("{server} is not the address of a name server, such as \"10.0.0.2:53\"");
                report.error(&place, why);
            } else if !earlier.insert(server) {
                report.error(&place, format!("the name server {server} is listed twice"));
            }
        }
        let (min, max) = (self.min_ttl.duration(), self.max_ttl.duration());
        // The position is that of a value in the file; the other one may be a default.
        let name = if report.has(&["dns".into(), "min_ttl".into()]) { "min_ttl" } else { "max_ttl" };
        if min > max {
            let why = format!("min_ttl ({min:?}) is greater than max_ttl ({max:?})");
            report.error(&["dns".into(), name.into()], why);
        } else if min < LOWEST_MIN_TTL {
            let why = "min_ttl is at least 100ms, because names with a TTL of 0 are looked up so often";
            report.error(&["dns".into(), "min_ttl".into()], why);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError};

    fn parse(settings: &str) -> Result<Config, ConfigError> {
        let head = "store.path = \"x.db\"\nsecrets.file = \"x.secrets\"\n\
                    listeners = [{ address = \"127.0.0.1:0\" }]\n[dns]\n";
        Config::parse(&format!("{head}{settings}"))
    }

    #[test]
    fn defaults_are_those_of_the_example() {
        let dns = parse("").unwrap().dns;
        assert!(dns.servers.is_empty());
        let durations = [dns.min_ttl, dns.max_ttl, dns.timeout].map(|one| one.duration().as_secs());
        assert_eq!(durations, [1, 300, 5]);
    }

    #[test]
    fn snippets_of_the_documentation_are_valid() {
        let text = include_str!("../../../../docs/dns.md");
        let snippets: Vec<_> =
            text.split("```toml\n[dns]\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(snippets.len(), text.matches("```toml").count());
        for snippet in snippets {
            parse(snippet).unwrap();
        }
    }

    #[test]
    fn mistakes_are_reported_at_their_place() {
        for (settings, place, message) in [
            ("servers = [\"10.0.0.2\"]", "5:12: ", "an address must be an IP address and a port"),
            ("servers = [\"10.0.0.2:0\"]", "5:12: ", "10.0.0.2:0 is not the address of a name server"),
            ("servers = [\"[::]:53\"]", "5:12: ", "[::]:53 is not the address of a name server"),
            ("servers = [\"10.0.0.2:53\", \"10.0.0.2:53\"]", "5:27: ", "10.0.0.2:53 is listed twice"),
            ("min_ttl = \"2s\"\nmax_ttl = \"1s\"", "5:11: ", "min_ttl (2s) is greater than max_ttl (1s)"),
            ("max_ttl = \"900ms\"", "5:11: ", "min_ttl (1s) is greater than max_ttl (900ms)"),
            ("min_ttl = \"99ms\"", "5:11: ", "min_ttl is at least 100ms"),
            ("min_ttl = \"0s\"", "5:11: ", "a duration is"),
            ("ttl = \"1s\"", "5:1: ", "unknown field `ttl`"),
        ] {
            let error = parse(settings).unwrap_err().to_string();
            assert!(error.contains(message) && error.starts_with(place), "{settings}: {error}");
        }
    }
}
