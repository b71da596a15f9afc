//! The settings that a reload cannot change.

use super::{Config, Listener};

/// The address of a listener, and whether it has TLS and HTTP/2.
fn socket(listener: &Listener) -> (std::net::SocketAddr, bool, bool) {
    (listener.address, listener.tls.is_some(), listener.h2c)
}

impl Config {
    /// Returns the names of the settings that differ in another configuration and take effect only when the gateway is
    /// started again.
    #[must_use]
    pub fn restart_required(&self, other: &Self) -> Vec<&'static str> {
        let sockets = |config: &Self| config.listeners.iter().map(socket).collect::<Vec<_>>();
        let admin = |config: &Self| config.admin.as_ref().map(|admin| socket(&admin.listener()));
        [
            ("server.threads", self.server.threads == other.server.threads),
            ("server.shutdown_grace", self.server.shutdown_grace == other.server.shutdown_grace),
            ("server.reload_on_change", self.server.reload_on_change == other.server.reload_on_change),
            ("store", self.store == other.store),
            ("secrets", self.secrets == other.secrets),
            ("listeners", sockets(self) == sockets(other)),
            ("admin", admin(self) == admin(other)),
            ("metrics", self.metrics == other.metrics),
            ("dns", self.dns == other.dns),
        ]
        .into_iter()
        .filter(|(_, is_equal)| !is_equal)
        .map(|(name, _)| name)
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: &str) -> Config {
        let head = "store.path = \"x\"\nsecrets.file = \"x\"\n";
        Config::parse(&format!("{head}{settings}")).unwrap()
    }

    #[test]
    fn only_settings_of_the_process_require_a_restart() {
        let before = config("listeners = [{ address = \"127.0.0.1:80\" }]");
        let after = config(
            "listeners = [{ address = \"127.0.0.1:81\" }]\nserver = { threads = 3, trusted_proxies = [\"10.0.0.0/8\"] }\n\
             limits.connections = 7\nadmin = {}\ndns.timeout = \"1s\"",
        );
        assert_eq!(before.restart_required(&after), ["server.threads", "listeners", "admin", "dns"]);
        assert!(before.restart_required(&before).is_empty());
    }
}
