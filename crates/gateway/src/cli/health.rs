//! `portcullis health`.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, bail};
use reqwest::Client;

use crate::config::Config;

/// The maximum time of a check.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks the gateway of a configuration on this machine whether it is ready, and writes its response.
///
/// # Errors
/// If the gateway cannot be reached, or is not ready.
pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let Some(metrics) = &config.metrics else {
        bail!("health needs the listener of [metrics], which serves /readyz, and the configuration has none");
    };
    // The process has one crypto provider, which another command may have set.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("http://{}/readyz", local(metrics.address));
    let client = Client::builder().no_proxy().timeout(TIMEOUT).build().context("no HTTP client")?;
    let response = client.get(&url).send().await.with_context(|| format!("cannot reach {url}"))?;
    let status = response.status();
    let text = response.text().await.with_context(|| format!("cannot read {url}"))?;
    if !status.is_success() {
        bail!("{url}: {status}: {}", text.trim_end());
    }
    writeln!(io::stdout(), "{}", text.trim_end())?;
    Ok(())
}

/// Returns the address by which a listener can be reached from this machine.
fn local(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_on_all_addresses_is_reached_on_loopback() {
        for (listens, reached) in
            [("0.0.0.0:9464", "127.0.0.1:9464"), ("[::]:9464", "[::1]:9464"), ("10.0.0.7:1", "10.0.0.7:1")]
        {
            assert_eq!(local(listens.parse().unwrap()).to_string(), reached);
        }
    }
}
