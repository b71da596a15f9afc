//! Tests of the resolver against a DNS server.

mod failures;
mod hosts;
mod lookups;
mod services;

use std::path::Path;

use portcullis_test::dns::{DnsRecord, DnsServer};
use tempfile::TempDir;

use super::*;

/// A DNS server and a resolver that asks it.
struct Fixture {
    server: DnsServer,
    files: Files,
    resolver: Resolver,
}

/// A folder with `resolv.conf` and `hosts`.
struct Files(TempDir);

impl Files {
    fn new(resolv_conf: &str, hosts: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        std::fs::write(files.0.path().join("resolv.conf"), resolv_conf).unwrap();
        files.write_hosts(hosts);
        files
    }

    fn write_hosts(&self, hosts: &str) {
        std::fs::write(self.0.path().join("hosts"), hosts).unwrap();
    }

    fn resolver(&self, config: &str) -> Resolver {
        let folder = self.0.path();
        Resolver::with_files(&dns(config), &folder.join("resolv.conf"), &folder.join("hosts")).unwrap()
    }
}

impl Fixture {
    async fn new() -> Self {
        Self::with("", "").await
    }

    /// Starts both with these settings and this `resolv.conf`.
    async fn with(settings: &str, resolv_conf: &str) -> Self {
        let server = DnsServer::start().await;
        let files = Files::new(resolv_conf, "");
        let resolver = files.resolver(&format!("servers = [\"{}\"]\n{settings}", server.address()));
        Self { server, files, resolver }
    }

    async fn resolve(&self, name: &str) -> Result<Resolved, String> {
        self.resolver.resolve(&host(name)).await.map_err(|error| error.to_string())
    }

    async fn resolve_service(&self, name: &str) -> Result<Resolved, String> {
        self.resolver.resolve(&Name::Service(name.into())).await.map_err(|error| error.to_string())
    }
}

fn dns(config: &str) -> config::Dns {
    toml::from_str(config).unwrap()
}

fn host(name: &str) -> Name {
    Name::Host { host: name.into(), port: 9000 }
}

/// The addresses as text.
fn texts(resolved: &Resolved) -> Vec<String> {
    resolved.addresses.iter().map(|one| one.address.to_string()).collect()
}

/// The addresses as text, with priority and weight.
fn weighted(resolved: &Resolved) -> Vec<(String, u16, u16)> {
    let fields = |one: &ResolvedAddress| (one.address.to_string(), one.priority, one.weight);
    resolved.addresses.iter().map(fields).collect()
}

fn ip(ttl: u32, address: &str) -> DnsRecord {
    DnsRecord::ip(ttl, address)
}
