//! Checks of the conditions of routes.

use http::header;

use super::{RouteCheck, rewrite::OBSERVED};
use crate::config::{Config, Route};

impl RouteCheck<'_> {
    /// Reports conditions that cannot select requests as their author means, and `unguarded` without effect.
    pub(super) fn conditions(&mut self, config: &Config, route: &Route) {
        let server = &config.server;
        for name in route.headers.names() {
            let own = [Some(&server.caller_id_header), server.media_type_header.as_ref()];
            if *name == header::HOST {
                self.error(&["headers"], "a condition on the host is written as host = \"api.example.com\"");
            } else if OBSERVED.contains(&name.as_str()) {
                let why = format!(
                    "{name} is what any client sends; the gateway sets its own value for the upstream"
                );
                self.error(&["headers"], why);
            } else if own.into_iter().flatten().any(|field| field.name() == name) {
                let why = format!(
                    "{name} is set by the gateway after it has found the route; a copy of the client proves nothing"
                );
                self.error(&["headers"], why);
            }
        }
        if route.unguarded && route.is_guarded() {
            self.error(&["unguarded"], "the route needs a credential, so unguarded has no effect; remove it");
        }
    }
}
