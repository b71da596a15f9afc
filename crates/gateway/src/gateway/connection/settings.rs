//! The settings of a connection handler, which a reload replaces.

use std::sync::Arc;

use axum::Router;
use tower_layer::Layer;

use crate::{
    config::{Config, Limits},
    gateway::{
        GatewayState, client_addr::ClientAddr, client_addr::TrustedProxies, dispatch::Dispatch,
        route_renderer::RouteRenderer, router::Routes,
    },
};
use portcullis::tower::{Portcullis, PortcullisLayer};

/// The settings of a connection handler. Every request has those of the time when it began.
pub(in crate::gateway) struct HandlerSettings {
    pub(super) service: Portcullis<Dispatch, Arc<Routes>>,
    pub(super) routes: Arc<Routes>,
    /// Whether at least one route has settings for its responses.
    pub(super) sets_headers: bool,
    pub(super) proxies: TrustedProxies,
    pub(in crate::gateway) limits: Limits,
    pub(super) logs: bool,
}

impl HandlerSettings {
    /// Creates the settings for the routes of a configuration.
    pub(in crate::gateway) fn new(config: &Config, shared: &GatewayState, routes: Routes) -> Self {
        let routes = Arc::new(routes);
        let layer = PortcullisLayer::new(routes.clone()).without_strict_http().expose_admission();
        let service = layer
            .denial_renderer(RouteRenderer(routes.clone()))
            .clock(shared.clock.clone())
            .peer_from(ClientAddr::peer_of)
            // Routes have checks of their own, and no layer before this one changes the target.
            .original_from(|_| None)
            .layer(Dispatch(routes.clone()));
        Self {
            service,
            sets_headers: routes.has_responses(),
            routes,
            proxies: TrustedProxies::new(&config.server.trusted_proxies),
            limits: config.limits.clone(),
            logs: config.access_log.enabled,
        }
    }

    /// Creates the settings for one surface instead of routes.
    pub(in crate::gateway) fn of_surface(config: &Config, shared: &GatewayState, surface: Router) -> Self {
        Self::new(config, shared, Routes::only(surface, config))
    }

    /// Disables the access log.
    pub(in crate::gateway) fn without_log(self) -> Self {
        Self { logs: false, ..self }
    }
}
