//! Output of `portcullis init`: the new keys and example requests.

use std::{
    fmt::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::{
    config::{Backend, Config, PathMatch, Route, Surface},
    gateway::{Bootstrap, DemoNames, NAMES},
};
use portcullis::policy::KeySource;

/// Returns the keys of a first start and example requests for the routes of the configuration.
///
/// # Errors
/// Never, because writing to a `String` cannot fail.
pub(super) fn introduction(config: &Config, start: &Bootstrap) -> Result<String, fmt::Error> {
    let [key, token, owner] = [&start.api_key, &start.operator_token, &start.owner_token];
    let first = key.is_some() || token.is_some();
    let mut text = String::new();
    if first {
        writeln!(text, "Created a tenant for each management API, an API client, an app and an operator.")?;
    }
    if owner.is_some() {
        writeln!(text, "Created an administrator with the role owner.")?;
    }
    writeln!(text, "The keys below are shown only once. Store them now:\n")?;
    for (label, key, wanted) in [
        ("API key", key, first),
        ("Operator token", token, first),
        ("Owner token", owner, config.admin.is_some()),
    ] {
        match key {
            Some(key) => writeln!(text, "  {label:<16} {}", key.expose())?,
            None if wanted => writeln!(text, "  {label:<16} (shown by an earlier run)")?,
            None => {}
        }
    }
    let file = config.file.as_ref().map(|file| format!(" --config {}", file.display())).unwrap_or_default();
    writeln!(text, "\nStart the gateway with `portcullis serve{file}`.")?;
    if let Some((admin, owner)) = config.admin.as_ref().zip(owner.as_ref()) {
        let base = base(admin.address, admin.tls.is_some());
        writeln!(
            text,
            "\nA request to the admin API:\n\n  curl -i {base}/admin/v1/status -H 'Authorization: Bearer {}'",
            owner.expose()
        )?;
    }
    let Some(listener) = config.listeners.first() else { return Ok(text) };
    let base = base(listener.address, listener.tls.is_some());
    let examples: Vec<_> = key
        .iter()
        .flat_map(|key| [guarded(config, &base, key.expose()), api_clients(config, &base, key.expose())])
        .chain(token.iter().map(|token| apps(config, &base, token.expose())))
        .flatten()
        .collect();
    if !examples.is_empty() {
        writeln!(text, "\nExample requests:\n\n{}", examples.join("\n\n"))?;
    }
    Ok(text)
}

/// Returns the base URL of a listener, as seen from this machine.
fn base(address: SocketAddr, tls: bool) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("{}://{}", if tls { "https" } else { "http" }, SocketAddr::new(ip, address.port()))
}

/// Returns a request to the first route that accepts GET requests with an API key and forwards them to an upstream.
fn guarded(config: &Config, base: &str, key: &str) -> Option<String> {
    let takes_get = |route: &&Route| route.methods.is_empty() || route.methods.contains(&http::Method::GET);
    let leads_on = |route: &&Route| {
        route.upstream.is_some() && route.policies.scope.is_none() && !route.has_conditions()
    };
    let mut routes =
        config.routes.iter().filter(takes_get).filter(leads_on).filter(|route| !route.policies.grants);
    let (route, settings) = routes.find_map(|route| Some((route, route.policies.api_key()?)))?;
    let source = settings.places().and_then(|places| places.into_iter().next());
    let credential = match source {
        None => format!("X-API-KEY: {key}"),
        Some(KeySource::Field(name)) if name == "x-api-key" => format!("X-API-KEY: {key}"),
        Some(KeySource::Field(name)) => format!("{name}: {key}"),
        Some(KeySource::Authorization(scheme)) => format!("Authorization: {scheme} {key}"),
    };
    let host = route.host.as_ref().map(|host| format!(" -H 'Host: {}'", host.example())).unwrap_or_default();
    let path = match &route.path {
        PathMatch::Prefix(path) => format!("{}/hello", path.as_str().trim_end_matches('/')),
        path => path.example(),
    };
    Some(format!("  curl -i '{base}{path}'{host} -H '{credential}'"))
}

/// Returns a request that changes the API client through the discue surface.
fn api_clients(config: &Config, base: &str, key: &str) -> Option<String> {
    let DemoNames { api_client, .. } = NAMES;
    let prefixes = ["/v1/api_clients", "/api_clients"];
    let prefix = prefixes.into_iter().find(|path| leads(config, path, Surface::Discue))?;
    Some(format!(
        "  curl -i -X PUT {base}{prefix}/{api_client} \\
    -H 'Content-Type: application/json' -H 'X-API-KEY: {key}' \\
    -d '{{\"id\":\"{api_client}\",\"name\":\"example.com/dev\"}}'"
    ))
}

/// Returns a request that changes the app through the APIG surface.
fn apps(config: &Config, base: &str, token: &str) -> Option<String> {
    let DemoNames { project, instance, app, .. } = NAMES;
    let paths =
        ["v1", "v2"].map(|version| format!("/{version}/{project}/apigw/instances/{instance}/apps/{app}"));
    let path = paths.into_iter().find(|path| leads(config, path, Surface::Apig))?;
    Some(format!(
        "  curl -i -X PUT {base}{path} \\
    -H 'Content-Type: application/json' -H 'X-Auth-Token: {token}' \\
    -d '{{\"name\":\"app_001\",\"remark\":\"First app\"}}'"
    ))
}

/// Returns `true` if PUT requests for a path, with any host, reach a surface.
fn leads(config: &Config, path: &str, surface: Surface) -> bool {
    let plain = config.routes.iter().filter(|route| route.host.is_none() && !route.has_conditions());
    let nearest = plain.filter(|route| route.path.matches(path)).min_by(|one, other| one.compare(other));
    nearest.is_some_and(|route| {
        let takes_put = route.methods.is_empty() || route.methods.contains(&http::Method::PUT);
        route.backend() == Some(Backend::Surface(surface)) && takes_put
    })
}
