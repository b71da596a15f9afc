//! Checks that types cannot express: references, contradictions, and settings without effect.

mod addresses;
mod cors;
mod routes;
mod security_headers;
mod upstreams;

use std::time::Duration;

use http::Uri;

use super::{Config, ConfigDuration, FieldName, Report};
use portcullis::header_value::eq_ignore_case;

/// The prefix of headers that the gateway sets itself.
const FORWARDED: &str = "x-forwarded-";

/// Headers that have a standard meaning and cannot carry the caller's id.
const RESERVED: [&str; 26] = [
    "accept",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "keep-alive",
    "max-forwards",
    "origin",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "x-api-key",
];

/// The shortest sensible timeout. Below it, connections over long distances fail.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// The maximum number of worker threads.
const MAX_THREADS: usize = 1024;

/// Runs all checks that need only the configuration.
pub(super) fn all(config: &Config, report: &mut Report) {
    addresses::check(config, report);
    config.dns.check(report);
    upstreams::check(config, report);
    server(config, report);
    limits(config, report);
    plans(config, report);
    surfaces(config, report);
    routes::check(config, report);
    cors::check(config, report);
    security_headers::check(config, report);
}

fn server(config: &Config, report: &mut Report) {
    let (identity, media_type) = (&config.server.caller_id_header, config.server.media_type_header.as_ref());
    // An upstream may treat another spelling as the same name.
    for (setting, field) in [("caller_id_header", Some(identity)), ("media_type_header", media_type)] {
        let Some(field) = field.map(FieldName::as_str) else { continue };
        let forwarded = field.get(..FORWARDED.len()).is_some_and(|start| eq_ignore_case(start, FORWARDED));
        if forwarded || RESERVED.iter().any(|name| eq_ignore_case(field, name)) {
            let why = format!(
                "server.{setting} cannot be {field}, which has another meaning; use a header such as x-caller-id"
            );
            report.error(&["server".into(), setting.into()], why);
        }
    }
    if media_type.is_some_and(|field| eq_ignore_case(field.as_str(), identity.as_str())) {
        let why = "server.media_type_header and server.caller_id_header are the same header".to_owned();
        report.error(&["server".into(), "media_type_header".into()], why);
    }
    for (at, network) in config.server.trusted_proxies.iter().enumerate() {
        if network.prefix_len() == 0 {
            let why = format!(
                "{network} contains every address, so each client could claim any address in X-Forwarded-For; list \
                 only the networks of your load balancers"
            );
            report.warning(&["server".into(), "trusted_proxies".into(), at.into()], why);
        }
    }
    if config.server.threads > MAX_THREADS {
        let why = format!("there are at most {MAX_THREADS} worker threads; 0 means one per processor");
        report.error(&["server".into(), "threads".into()], why);
    }
    let environment = config.secrets.environment_variable.as_deref();
    if environment.is_some_and(|name| name.is_empty() || name.contains(['=', '\0'])) {
        report.error(
            &["secrets".into(), "environment_variable".into()],
            "this is not a valid name of an environment variable",
        );
    }
    if config.secrets.file == config.store.path {
        report
            .warning(&["secrets".into(), "file".into()], "the secrets file and the store are the same file");
    }
    for (table, name, path) in
        [("store", "path", &config.store.path), ("secrets", "file", &config.secrets.file)]
    {
        let text = path.to_string_lossy();
        let is_url = text.contains("://") || text.starts_with("sqlite:") || text.starts_with(":memory:");
        if text.is_empty() || is_url || text.ends_with('/') {
            report.error(
                &[table.into(), name.into()],
                "this must be the path of a file, such as \"data/portcullis.db\"",
            );
        }
    }
}

fn limits(config: &Config, report: &mut Report) {
    let limits = &config.limits;
    for (name, bound, of, beyond) in [
        ("connections_per_address", limits.connections_per_address, "connections", limits.connections),
        ("target_bytes", limits.target_bytes, "head_bytes", limits.head_bytes),
    ] {
        // A default is not reported: the user changed only the other of the two values.
        if bound > beyond && report.has(&["limits".into(), name.into()]) {
            let why = format!("{name} is greater than {of} ({beyond}), so it has no effect");
            report.warning(&["limits".into(), name.into()], why);
        }
    }
    let times: [(&[&str], ConfigDuration); 7] = [
        (&["dns", "timeout"], config.dns.timeout),
        (&["server", "shutdown_grace"], config.server.shutdown_grace),
        (&["limits", "connection_age"], limits.connection_age),
        (&["limits", "head_timeout"], limits.head_timeout),
        (&["limits", "idle_timeout"], limits.idle_timeout),
        (&["limits", "body_timeout"], limits.body_timeout),
        (&["limits", "write_timeout"], limits.write_timeout),
    ];
    for (path, time) in times {
        short(path, time, report);
    }
    if config.admin.as_ref().is_some_and(|admin| admin.import_bytes == 0) {
        report.error(
            &["admin".into(), "import_bytes".into()],
            "with 0, nothing can be imported; set at least 1",
        );
    }
}

fn short(path: &[&str], time: ConfigDuration, report: &mut Report) {
    if time.duration() < MIN_TIMEOUT {
        let path: Vec<_> = path.iter().map(|step| (*step).into()).collect();
        report.warning(&path, "below 100ms, distant clients and upstreams will time out");
    }
}

fn plans(config: &Config, report: &mut Report) {
    for (at, plan) in config.plans.iter().enumerate() {
        let id = plan.get_ref().id();
        let earlier = config.plans[..at].iter().position(|other| other.get_ref().id() == id);
        if let Some(line) = earlier.and_then(|earlier| report.line(&["plans".into(), earlier.into()])) {
            report.error(
                &["plans".into(), at.into(), "id".into()],
                format!("the plan \"{id}\" is already defined on line {line}"),
            );
        }
    }
    let limited = config.routes.iter().any(|route| {
        route.surface.is_some()
            || route.policies.rate_limit.as_ref().is_some_and(|limit| limit.get().is_some())
    });
    if !config.plans.is_empty() && !limited && config.admin.is_none() && report.is_whole() {
        let why = "no route has policies.rate_limit, so plans have no effect";
        report.warning(&["plans".into(), 0.into()], why);
    }
}

fn surfaces(config: &Config, report: &mut Report) {
    for surface in [super::Surface::Discue, super::Surface::Apig] {
        let place = ["surfaces".into(), surface.name().into()];
        let routed = config.routes.iter().any(|route| route.surface == Some(surface));
        if report.has(&place) && !routed && report.is_whole() {
            report.warning(
                &place,
                format!("no route uses the surface {}, so this has no effect", surface.name()),
            );
        }
    }
    let base_url = &config.surfaces.discue.base_url;
    let uri = base_url.parse::<Uri>().ok();
    let absolute = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if !absolute || base_url.contains(['?', '#']) {
        let why = "base_url must be an absolute URL without query, such as \"https://api.example.com\"";
        report.error(&["surfaces".into(), "discue".into(), "base_url".into()], why);
    }
}
