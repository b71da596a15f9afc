//! Checks of rewrites, redirects, fixed responses and maintenance.

use http::{HeaderName, StatusCode, header};

use super::RouteCheck;
use crate::config::{
    Config, HeaderChanges, PathMatch, PathTemplate, RegexRewrite, Route, RoutePath, StripPrefix,
};
use portcullis::header_value::eq_ignore_case;

/// Headers that describe the connection or the framing of a message.
const FRAMING: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Headers of requests that the gateway sets to the values that it has observed.
pub(super) const OBSERVED: [&str; 4] =
    ["x-forwarded-for", "x-forwarded-host", "x-forwarded-prefix", "x-forwarded-proto"];

/// The settings that change a path, in a rewrite or a redirect.
struct PathChanges<'r> {
    table: &'static str,
    strip_prefix: &'r StripPrefix,
    add_prefix: Option<&'r RoutePath>,
    path: Option<&'r PathTemplate>,
    regex: Option<&'r RegexRewrite>,
}

impl RouteCheck<'_> {
    pub(super) fn rewrite(&mut self, config: &Config, route: &Route) {
        if let Some(rewrite) = &route.rewrite {
            if route.upstream.is_none() {
                self.error(
                    &["rewrite"],
                    "only requests to an upstream are rewritten, so this has no effect; remove it",
                );
            }
            let changes = PathChanges {
                table: "rewrite",
                strip_prefix: &rewrite.strip_prefix,
                add_prefix: rewrite.add_prefix.as_ref(),
                path: rewrite.path.as_ref(),
                regex: rewrite.regex.as_ref(),
            };
            self.path_changes(route, &changes);
            self.header_changes(config, "request_headers", &rewrite.request_headers);
            self.header_changes(config, "response_headers", &rewrite.response_headers);
        }
        if let Some(redirect) = &route.redirect {
            let changes = PathChanges {
                table: "redirect",
                strip_prefix: &redirect.strip_prefix,
                add_prefix: redirect.add_prefix.as_ref(),
                path: redirect.path.as_ref(),
                regex: redirect.regex.as_ref(),
            };
            self.path_changes(route, &changes);
            let is_other = redirect.scheme.is_some() || redirect.host.is_some() || !changes.is_empty();
            if !is_other {
                self.error(
                    &["redirect"],
                    "this redirects each request to its own URL; set scheme, host or a path",
                );
            }
        }
        if route.respond.as_ref().is_some_and(|fixed| {
            matches!(fixed.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT)
                && !fixed.body.is_empty()
        }) {
            self.error(&["respond", "body"], "a response with this status has no body; remove it");
        }
        let windows = route.maintenance.as_ref().and_then(|it| it.get()).map_or(&[][..], |it| &it.windows);
        for window in windows {
            let is_empty = window.from.zip(window.until).is_some_and(|(from, until)| until <= from);
            if is_empty || window.from.is_none() && window.until.is_none() {
                self.error(
                    &["maintenance", "windows"],
                    "a window needs from or until, and from before until",
                );
            }
        }
    }

    fn path_changes(&mut self, route: &Route, changes: &PathChanges<'_>) {
        let table = changes.table;
        let prefix = *changes.strip_prefix != StripPrefix::Nothing || changes.add_prefix.is_some();
        if [prefix, changes.path.is_some(), changes.regex.is_some()].iter().filter(|on| **on).count() > 1 {
            let why = "a path is changed in one way: by strip_prefix and add_prefix, by path, or by regex";
            self.error(&[table, if changes.regex.is_some() { "regex" } else { "path" }], why);
        }
        let strip = [table, "strip_prefix"];
        match changes.strip_prefix {
            StripPrefix::Route if matches!(route.path, PathMatch::Pattern(_)) => {
                self.error(&strip, "with a pattern, write the prefix to remove instead of true");
            }
            StripPrefix::Route if route.path.as_str() == "/" => {
                self.error(&strip, "the path of the route is /, so this has no effect; remove it");
            }
            StripPrefix::Path(path)
                if path.as_str() == "/" || !path.contains(route.path.literal_prefix()) =>
            {
                self.error(&strip, "the path of the route does not begin with this prefix");
            }
            _ => {}
        }
        let known = |name: &str| matches!(&route.path, PathMatch::Pattern(it) if it.has_parameter(name));
        if let Some(name) = changes.path.and_then(|path| path.parameters().find(|name| !known(name))) {
            let why = format!("the path of the route has no parameter {{{name}}}");
            self.error(&[table, "path"], why);
        }
        if let Some(why) = changes.regex.and_then(invalid_replacement) {
            self.error(&[table, "regex", "replacement"], why);
        }
    }

    fn header_changes(&mut self, config: &Config, table: &str, changes: &HeaderChanges) {
        let names = |values: &Vec<(HeaderName, _)>| values.iter().map(|(name, _)| name.clone()).collect();
        let all: [(&str, Vec<HeaderName>); 3] = [
            ("remove", changes.remove.iter().map(|field| field.name().clone()).collect()),
            ("set", names(&changes.set.0)),
            ("add", names(&changes.add.0)),
        ];
        let is_request = table == "request_headers";
        let server = &config.server;
        let own = [Some(&server.caller_id_header), server.media_type_header.as_ref()];
        for (setting, name) in
            all.iter().flat_map(|(setting, names)| names.iter().map(move |it| (*setting, it)))
        {
            let place = ["rewrite", table, setting];
            let alike = |other: &str| eq_ignore_case(name.as_str(), other);
            let is_own = own.iter().flatten().any(|field| alike(field.as_str()))
                || OBSERVED.iter().any(|other| alike(other));
            if FRAMING.iter().any(|other| alike(other)) {
                self.error(&place, format!("{name} belongs to a connection or to the framing of a message"));
            } else if is_request && *name == header::HOST {
                self.error(&place, "the host is set by rewrite.host");
            } else if is_request && is_own {
                self.error(
                    &place,
                    format!("only the gateway sets {name}, to a value that upstreams rely on"),
                );
            }
        }
    }
}

impl PathChanges<'_> {
    fn is_empty(&self) -> bool {
        let no_prefix = *self.strip_prefix == StripPrefix::Nothing && self.add_prefix.is_none();
        no_prefix && self.path.is_none() && self.regex.is_none()
    }
}

/// Returns the reason why a replacement is invalid.
fn invalid_replacement(rewrite: &RegexRewrite) -> Option<String> {
    let text = &rewrite.replacement;
    if let Some(sign) = text.chars().find(|sign| !sign.is_ascii_graphic() || matches!(sign, '?' | '#')) {
        return Some(format!("a path cannot contain `{sign}`; the query is kept"));
    }
    let mut parts = text.split('$');
    parts.next();
    while let Some(part) = parts.next() {
        // `$$` is a dollar sign.
        if part.is_empty() {
            parts.next();
            continue;
        }
        let name = match part.strip_prefix('{') {
            Some(rest) => rest.split_once('}').map_or(part, |(name, _)| name),
            None => {
                part.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_').next().unwrap_or(part)
            }
        };
        let mut groups = rewrite.pattern.capture_names().enumerate();
        if !groups.any(|(at, group)| group == Some(name) || at.to_string() == name) {
            return Some(format!("the pattern has no group ${{{name}}}"));
        }
    }
    None
}
