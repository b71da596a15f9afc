//! The error format of a route. The client of a surface gets errors in the format of its contract, also from policies
//! that run before the surface.

use std::sync::Arc;

use super::router::Routes;
use crate::config;
use portcullis::{
    Admission, Denial, Head,
    problem::{Problem, RenderDenial, RenderedDenial},
};
use portcullis_surfaces::{apig, discue};

/// Renders denials in the error format of the surface to which the route leads, and otherwise as problems.
pub(super) struct RouteRenderer(pub(super) Arc<Routes>);

impl RenderDenial for RouteRenderer {
    fn render(&self, denial: &Denial) -> RenderedDenial {
        Problem.render(denial)
    }

    fn for_request(&self, head: &Head<'_>, admission: &Admission) -> Option<&dyn RenderDenial> {
        match self.0.surface(head, admission)? {
            config::Surface::Discue if discue::is_pretty(head.uri) => Some(&discue::ErrorFormat::Pretty),
            config::Surface::Discue => Some(&discue::ErrorFormat::Compact),
            config::Surface::Apig => Some(&apig::ErrorFormat::Operators),
            config::Surface::Docs => None,
        }
    }
}
