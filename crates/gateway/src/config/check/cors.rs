//! Checks of the CORS settings of routes.

use http::Method;

use crate::config::{Config, Cors, Report, Route, document::Step};

pub(super) fn check(config: &Config, report: &mut Report) {
    for (at, route) in config.routes.iter().enumerate() {
        if let Some(cors) = &route.cors {
            let mut error = |setting: &str, why: String| {
                let place: [Step<'_>; 4] = ["routes".into(), at.into(), "cors".into(), setting.into()];
                report.error(&place, why);
            };
            if !route.headers.is_empty() {
                let why = "preflight requests have none of these headers, so a route with conditions on headers cannot \
                           answer them; use conditions on the query or another path";
                error("origins", why.into());
            }
            origins(cors, &mut error);
            lists(cors, &mut error);
            methods(route, cors, &mut error);
        }
    }
}

fn origins(cors: &Cors, error: &mut impl FnMut(&str, String)) {
    if cors.allows_any_origin() && cors.origins.len() > 1 {
        error(
            "origins",
            "\"*\" allows every origin, so the other origins have no effect; remove them".into(),
        );
    }
    for (at, origin) in cors.origins.iter().enumerate() {
        if cors.origins[..at].contains(origin) {
            error("origins", "an origin of cors.origins is listed twice".into());
        }
    }
    if cors.credentials && cors.allows_any_origin() {
        let why = "with credentials, every page on the web could act for its visitors; list the origins instead of \"*\"";
        error("credentials", why.into());
    }
    if cors.max_age.is_some_and(|age| age.duration().subsec_nanos() != 0) {
        error("max_age", "max_age is sent in whole seconds, such as \"10m\"".into());
    }
}

fn lists(cors: &Cors, error: &mut impl FnMut(&str, String)) {
    for (name, list) in [("headers", &cors.headers), ("expose_headers", &cors.expose_headers)] {
        if list.has_any && cors.credentials {
            error(
                name,
                "with credentials, browsers do not treat \"*\" as every header; list the headers".into(),
            );
        }
    }
}

fn methods(route: &Route, cors: &Cors, error: &mut impl FnMut(&str, String)) {
    let accepts = |method: &Method| {
        let accepted = |method| route.methods.contains(method);
        route.methods.is_empty() || accepted(method) || *method == Method::HEAD && accepted(&Method::GET)
    };
    if let Some(method) = cors.methods.iter().find(|method| !accepts(method)) {
        error("methods", format!("the route does not accept {method}; add it to the methods of the route"));
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Review;

    /// Returns the findings for a route with GET, with these CORS settings.
    fn findings(settings: &str) -> Vec<String> {
        let text = format!(
            "store.path = \"x.db\"\nsecrets.file = \"x.secrets\"\nlisteners = [{{ address = \"127.0.0.1:0\" }}]\n\
             upstreams.up.address = \"127.0.0.1:1\"\n[[routes]]\npath = \"/\"\nupstream = \"up\"\nmethods = [\"GET\"]\n\
             [routes.cors]\n{settings}\n"
        );
        Review::of_text(&text).findings().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn permission_that_no_browser_grants_is_rejected() {
        const ORIGIN: &str = "origins = [\"https://a.example\"]";
        for (settings, place, what) in [
            ("origins = [\"*\"]\ncredentials = true", "11:15: ", "list the origins instead of \"*\""),
            ("origins = [\"*\", \"https://a.example\"]", "10:11: ", "allows every origin"),
            ("origins = [\"https://a.example\", \"https://A.example\"]", "10:11: ", "listed twice"),
            ("origins = []", "10:11: ", "allows no origin"),
            ("origins = [\"https://a.example/\"]", "10:11: ", "no slash at the end"),
            ("origins = [\"null\"]", "10:11: ", "sandboxed frame"),
            ("methods = [\"GET\"]", "9:1: ", "`origins` is missing"),
            (&format!("{ORIGIN}\nmethods = [\"PUT\"]"), "11:11: ", "does not accept PUT"),
            (&format!("{ORIGIN}\nmax_age = \"1500ms\""), "11:11: ", "whole seconds"),
            (&format!("{ORIGIN}\nheaders = [\"x y\"]"), "11:11: ", "not a header name"),
            (&format!("{ORIGIN}\ncredentials = true\nheaders = [\"*\"]"), "12:11: ", "list the headers"),
            (
                &format!("{ORIGIN}\ncredentials = true\nexpose_headers = [\"*\"]"),
                "12:18: ",
                "list the headers",
            ),
            (&format!("{ORIGIN}\nprivate_network = true"), "11:1: ", "unknown field `private_network`"),
        ] {
            let found = findings(settings);
            assert!(
                found.len() == 1 && found[0].starts_with(place) && found[0].contains(what),
                "{settings}: {found:?}"
            );
        }
        for settings in [
            &format!("{ORIGIN}\ncredentials = true\nmethods = [\"GET\", \"HEAD\"]\nmax_age = \"2h\""),
            "origins = [\"*\"]\nheaders = [\"*\"]\nexpose_headers = [\"default\", \"*\"]",
        ] {
            assert_eq!(findings(settings), <[String; 0]>::default(), "{settings}");
        }
    }
}
