//! Upgrades of client connections to another protocol, such as WebSocket (RFC 9110, section 7.8).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Version, header};

use super::http1_connection::UpgradedStream;
use crate::{
    config::{self, DisallowedUpgrades},
    gateway::tunnel::TunnelLimits,
};
use portcullis::Denial;

/// The numbers of open upgraded connections, by the name of the route. A reload keeps them, because it keeps the
/// connections.
#[derive(Debug, Default)]
pub(in crate::gateway) struct UpgradeCounts(Mutex<BTreeMap<String, Arc<OpenUpgrades>>>);

impl UpgradeCounts {
    /// Returns the number of the route with a name.
    pub(in crate::gateway) fn get(&self, route: &str) -> Arc<OpenUpgrades> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(route.to_owned()).or_default().clone()
    }
}

/// The number of open upgraded connections of a route.
#[derive(Debug, Default)]
pub(in crate::gateway) struct OpenUpgrades(AtomicUsize);

impl OpenUpgrades {
    /// Counts a connection until the permit is dropped. Returns `None` if there are as many as allowed.
    fn begin(self: &Arc<Self>, most: usize) -> Option<UpgradePermit> {
        let more = |open: usize| (open < most).then_some(open + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(UpgradePermit(self.clone()))
    }
}

/// Counts an upgraded connection until it is dropped.
#[derive(Debug)]
struct UpgradePermit(Arc<OpenUpgrades>);

impl Drop for UpgradePermit {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The upgrades that a route allows.
#[derive(Debug)]
pub(in crate::gateway) struct UpgradeRules {
    protocols: Vec<String>,
    most: usize,
    open: Arc<OpenUpgrades>,
    max_age: Duration,
    disallowed: DisallowedUpgrades,
}

impl UpgradeRules {
    pub(in crate::gateway) fn new(
        upgrades: Option<&config::Upgrades>,
        disallowed: DisallowedUpgrades,
        open: Arc<OpenUpgrades>,
    ) -> Self {
        Self {
            protocols: upgrades.map(|upgrades| upgrades.protocols.clone()).unwrap_or_default(),
            most: upgrades.map_or(0, |upgrades| upgrades.connections.get() as usize),
            open,
            max_age: upgrades.map(|upgrades| upgrades.max_age.duration()).unwrap_or_default(),
            disallowed,
        }
    }

    /// Decides about the upgrade that a request asks for. An allowed one is added to the extensions of the request.
    ///
    /// # Errors
    /// Returns 501 if the upgrade is not allowed and such requests are denied, and 503 if there are too many upgraded
    /// connections.
    pub(in crate::gateway) fn decide<B>(&self, request: &mut Request<B>) -> Result<(), Denial> {
        let Some(protocol) = requested(request.version(), request.headers()) else { return Ok(()) };
        let is_requested = |name: &&String| protocol.as_bytes().eq_ignore_ascii_case(name.as_bytes());
        let Some(name) = self.protocols.iter().find(is_requested) else {
            let is_h2c = protocol.as_bytes().eq_ignore_ascii_case(b"h2c");
            tracing::debug!(?protocol, "the route does not allow the upgrade");
            return if is_h2c || self.disallowed == DisallowedUpgrades::Ignore {
                Ok(())
            } else {
                let detail = "The service does not support the protocol that Upgrade names.";
                Err(Denial::NotImplemented { detail: detail.into() })
            };
        };
        let Some(permit) = self.open.begin(self.most) else {
            return Err(Denial::unavailable("There are too many upgraded connections.", 1));
        };
        let Ok(protocol) = HeaderValue::from_str(name) else { return Ok(()) };
        let requested = RequestedUpgrade { protocol, permit: Arc::new(permit), max_age: self.max_age };
        request.extensions_mut().insert(requested);
        Ok(())
    }
}

/// Returns the protocol, if a request asks for an upgrade to exactly one.
fn requested(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    if version != Version::HTTP_11 {
        return None;
    }
    let mut protocols = headers.get_all(header::UPGRADE).iter();
    let (protocol, None) = (protocols.next()?, protocols.next()) else { return None };
    let connection = headers.get_all(header::CONNECTION).iter();
    let mut options = connection.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade")).then(|| protocol.clone())
}

/// An upgrade that a request asks for and that the route allows.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct RequestedUpgrade {
    pub(in crate::gateway) protocol: HeaderValue,
    permit: Arc<UpgradePermit>,
    max_age: Duration,
}

impl RequestedUpgrade {
    /// Combines the upgrade with the upstream's side of the connection.
    pub(in crate::gateway) fn accepted(self, stream: UpgradedStream, idle: Duration) -> AcceptedUpgrade {
        let limits = TunnelLimits { idle, age: self.max_age };
        let connection = UpgradedConnection { stream, limits, protocol: self.protocol, _permit: self.permit };
        AcceptedUpgrade(Arc::new(Mutex::new(Some(connection))))
    }
}

/// An upgrade that the upstream has accepted, on its way to the client's connection in the extensions of the response.
#[derive(Clone)]
pub(in crate::gateway) struct AcceptedUpgrade(Arc<Mutex<Option<UpgradedConnection>>>);

impl AcceptedUpgrade {
    /// Takes the upstream's side of the connection.
    pub(in crate::gateway) fn take(&self) -> Option<UpgradedConnection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The upstream's side of an upgraded connection.
pub(in crate::gateway) struct UpgradedConnection {
    pub(in crate::gateway) stream: UpgradedStream,
    pub(in crate::gateway) limits: TunnelLimits,
    pub(in crate::gateway) protocol: HeaderValue,
    /// Counts the connection.
    _permit: Arc<UpgradePermit>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::get("/").version(version);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn websocket() -> Request<()> {
        request(Version::HTTP_11, &[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")])
    }

    fn is_allowed(rules: &UpgradeRules, mut request: Request<()>) -> Result<bool, u16> {
        rules.decide(&mut request).map_err(|denial| denial.status().as_u16())?;
        Ok(request.extensions().get::<RequestedUpgrade>().is_some())
    }

    #[test]
    fn listed_protocol_is_allowed() {
        let rules =
            UpgradeRules::new(Some(&config::Upgrades::default()), DisallowedUpgrades::Deny, Arc::default());
        assert_eq!(is_allowed(&rules, websocket()), Ok(true));
        let upgrade = ("connection", "upgrade");
        for (version, fields, expected) in [
            (Version::HTTP_11, &[upgrade, ("upgrade", "tls/1.0")][..], Err(501)),
            (Version::HTTP_11, &[upgrade, ("upgrade", "h2c")], Ok(false)),
            (Version::HTTP_11, &[upgrade, ("upgrade", "websocket, foo")], Err(501)),
            (Version::HTTP_11, &[upgrade, ("upgrade", "websocket"), ("upgrade", "foo")], Ok(false)),
            (Version::HTTP_11, &[("connection", "close"), ("upgrade", "websocket")], Ok(false)),
            (Version::HTTP_11, &[upgrade], Ok(false)),
            (Version::HTTP_10, &[upgrade, ("upgrade", "websocket")], Ok(false)),
        ] {
            assert_eq!(is_allowed(&rules, request(version, fields)), expected, "{version:?} {fields:?}");
        }
    }

    #[test]
    fn upgrade_that_is_not_allowed_is_ignored_or_denied() {
        let ignores = UpgradeRules::new(None, DisallowedUpgrades::Ignore, Arc::default());
        assert_eq!(is_allowed(&ignores, websocket()), Ok(false));
        let denies = UpgradeRules::new(None, DisallowedUpgrades::Deny, Arc::default());
        assert_eq!(is_allowed(&denies, websocket()), Err(501));
    }

    #[test]
    fn upgraded_connections_are_counted() {
        let upgrades: config::Upgrades = toml::from_str("connections = 1").unwrap();
        let rules = UpgradeRules::new(Some(&upgrades), DisallowedUpgrades::Ignore, Arc::default());
        let (mut first, second) = (websocket(), websocket());
        rules.decide(&mut first).unwrap();
        assert_eq!(is_allowed(&rules, second), Err(503));
        drop(first);
        assert_eq!(is_allowed(&rules, websocket()), Ok(true));
    }
}
