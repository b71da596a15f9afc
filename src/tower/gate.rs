//! The settings of a layer, and its decision.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{Extensions, Request, Response, Uri};

use super::extensions::Denied;
use crate::{
    Admission, Denial, Head, Policy,
    clock::Clock,
    policy::Guarded,
    problem::{self, RenderDenial, ResponseForm},
};

/// Finds the target that the client sent among a request's extensions.
pub(super) type FindOriginal = fn(&Extensions) -> Option<&Uri>;

/// The settings that a layer shares with its services.
pub(super) struct Gate<P> {
    pub(super) chain: Guarded<Arc<P>>,
    pub(super) renderer: Arc<dyn RenderDenial>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) peer: fn(&Extensions) -> Option<IpAddr>,
    pub(super) original: FindOriginal,
    /// Whether responses carry the admission.
    pub(super) exposes_admission: bool,
}

/// The origin of a request, according to its extensions.
pub(super) struct Origin {
    peer: Option<IpAddr>,
    /// The target that the client sent, if it is not the one that the layer received.
    target: Option<Uri>,
}

impl<P> Clone for Gate<P> {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            renderer: self.renderer.clone(),
            clock: self.clock.clone(),
            peer: self.peer,
            original: self.original,
            exposes_admission: self.exposes_admission,
        }
    }
}

impl<P: Policy> Gate<P> {
    /// Returns what the extensions of a request with this target say about its origin.
    pub(super) fn origin(&self, extensions: &Extensions, target: &Uri) -> Origin {
        let target = (self.original)(extensions).filter(|original| *original != target);
        Origin { peer: (self.peer)(extensions), target: target.cloned() }
    }

    /// Returns the head of a request, whose body and extensions may have been moved elsewhere.
    pub(super) fn head<'a, B>(&self, request: &'a Request<B>, origin: &'a Origin, content: bool) -> Head<'a> {
        let head = Head::from_request(request, origin.peer, content, self.clock.now());
        match &origin.target {
            Some(target) => head.with_original_uri(target),
            None => head,
        }
    }

    /// Returns the renderer for the denial of a request.
    pub(super) fn renderer_for(&self, head: &Head<'_>, admission: &Admission) -> &dyn RenderDenial {
        self.renderer.for_request(head, admission).unwrap_or(&*self.renderer)
    }

    /// Returns the response of a denial.
    pub(super) fn deny(
        &self,
        denial: Denial,
        admission: &Admission,
        renderer: &dyn RenderDenial,
        form: ResponseForm,
    ) -> Response<Bytes> {
        problem::log(&denial);
        let mut response = problem::render_for(&denial, renderer, admission, form);
        response.extensions_mut().insert(Denied::new(denial));
        if self.exposes_admission {
            response.extensions_mut().insert(admission.clone());
        }
        response
    }
}
