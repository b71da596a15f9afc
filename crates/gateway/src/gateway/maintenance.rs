//! The maintenance of a route, which denies its requests before any of its policies runs.

use jiff::Timestamp;

use super::client_addr::canonical;
use crate::config;
use portcullis::{Denial, Head};

/// Returns the maintenance of a route, with networks in the form in which addresses are compared.
pub(super) fn new(settings: &config::Maintenance) -> config::Maintenance {
    let mut maintenance = settings.clone();
    for network in &mut maintenance.exempt_addresses {
        *network = canonical(*network);
    }
    maintenance
}

/// Denies requests of a route under maintenance.
///
/// # Errors
/// Returns 503 or 423, as configured, in a window of the maintenance; always if there are no windows.
pub(super) fn check(maintenance: &config::Maintenance, head: &Head<'_>) -> Result<(), Denial> {
    let now = head.now.time;
    let window = maintenance.windows.iter().find(|window| window.contains(now));
    if window.is_none() && !maintenance.windows.is_empty() {
        return Ok(());
    }
    if head
        .peer
        .is_some_and(|peer| maintenance.exempt_addresses.iter().any(|network| network.contains(&peer)))
    {
        return Ok(());
    }
    let until = window.and_then(|window| window.until);
    Err(Denial::Maintenance {
        is_locked: maintenance.status.is_locked(),
        detail: maintenance.message.clone().into(),
        retry_after: until
            .map_or_else(|| maintenance.retry_after.duration().as_secs().max(1), |until| seconds(now, until)),
    })
}

/// Returns the seconds between two moments, rounded up so that a client that waits that long is not early.
fn seconds(now: Timestamp, until: Timestamp) -> u64 {
    let nanos = until.as_nanosecond() - now.as_nanosecond();
    u64::try_from((nanos + 999_999_999).div_euclid(1_000_000_000)).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis::clock::Moment;

    fn denial(settings: &str, now: &str, peer: &str) -> Option<(u16, Option<u64>)> {
        let maintenance = new(&toml::from_str(settings).unwrap());
        let request = http::Request::get("/").body(()).unwrap();
        let now = Moment { ticks: 0, time: now.parse().unwrap() };
        let head = Head::from_request(&request, peer.parse().ok(), false, now);
        let denial = check(&maintenance, &head).err()?;
        Some((denial.status().as_u16(), denial.retry_after()))
    }

    #[test]
    fn requests_are_denied_in_windows_only() {
        let windows = "windows = [{ from = 2027-01-31T22:00:00Z, until = \"2027-02-01T01:00:00+01:00\" }, \
                       { from = 2027-03-01T00:00:00Z }]\nretry_after = \"90s\"";
        for (now, expected) in [
            ("2027-01-31T21:59:59.999Z", None),
            ("2027-01-31T22:00:00Z", Some((503, Some(7200)))),
            ("2027-01-31T23:59:59.5Z", Some((503, Some(1)))),
            ("2027-02-01T00:00:00Z", None),
            ("2027-03-01T00:00:00Z", Some((503, Some(90)))),
        ] {
            assert_eq!(denial(windows, now, ""), expected, "{now}");
        }
        assert_eq!(denial("status = 423", "2027-01-31T00:00:00Z", ""), Some((423, Some(300))));
    }

    #[test]
    fn exempt_addresses_are_served() {
        let settings = "exempt_addresses = [\"::ffff:10.0.0.0/104\", \"2001:db8::/32\"]";
        for (peer, served) in
            [("10.1.2.3", true), ("2001:db8::1", true), ("11.1.2.3", false), ("unknown", false)]
        {
            assert_eq!(denial(settings, "2027-01-31T00:00:00Z", peer).is_none(), served, "{peer}");
        }
    }
}
