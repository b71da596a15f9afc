//! Checks of the settings of routes for security headers and caching.

use crate::config::{CacheControl, Config, Report, Toggle};

pub(super) fn check(config: &Config, report: &mut Report) {
    for (at, route) in config.routes.iter().enumerate() {
        let mut error = |below: &[&str], why: &str| {
            let below = below.iter().map(|step| (*step).into());
            let place: Vec<_> = ["routes".into(), at.into()].into_iter().chain(below).collect();
            report.error(&place, why);
        };
        let headers = route.security_headers.as_ref().and_then(Toggle::get);
        if headers.is_some_and(|headers| headers.hsts_subdomains && headers.hsts_days == 0) {
            let why = "with hsts_days = 0, this has no effect; remove it";
            error(&["security_headers", "hsts_subdomains"], why);
        }
        if route.surface.is_some() && route.cache_control != CacheControl::default() {
            let why =
                "a surface decides about the caching of its responses, so this has no effect; remove it";
            error(&["cache_control"], why);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Review;

    #[test]
    fn setting_without_effect_is_an_error() {
        for (settings, place, what) in [
            ("security_headers = { hsts_subdomains = true, hsts_days = 0 }", "7:40: ", "has no effect"),
            ("cache_control = \"keep\"", "7:17: ", "a surface decides"),
            ("cache_control = \"public\"", "7:17: ", "unknown value `public`"),
            ("security_headers = { frame_options = \"deny\" }", "7:38: ", "unknown value `deny`"),
            ("security_headers = { csp = \"x\" }", "7:22: ", "unknown field `csp`"),
        ] {
            let text = format!(
                "store.path = \"x.db\"\nsecrets.file = \"x.secrets\"\nlisteners = [{{ address = \"127.0.0.1:0\" }}]\n\
                 [[routes]]\npath = \"/docs\"\nsurface = \"docs\"\n{settings}\n"
            );
            let found: Vec<_> = Review::of_text(&text).findings().iter().map(ToString::to_string).collect();
            assert!(
                found.len() == 1 && found[0].starts_with(place) && found[0].contains(what),
                "{settings}: {found:?}"
            );
        }
    }
}
