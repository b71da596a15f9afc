//! Denials that a gRPC method returned as a status.

use std::error::Error;

use http::Extensions;
use tonic::Status;

use super::Denied;
use crate::{
    Denial,
    problem::{self, DenialCode},
};

/// Marks a response as denied by its handler, and logs that, if its status was created from a denial and no inner layer
/// has marked it.
pub(super) fn mark_handler_denial(extensions: &mut Extensions) {
    if extensions.get::<Denied>().is_some() {
        return;
    }
    let Some(denial) = handler_denial(extensions).cloned() else { return };
    problem::log(&denial);
    extensions.insert(DenialCode(denial.code()));
    let mut denied = Denied::new(denial);
    denied.set_by_handler();
    extensions.insert(denied);
}

/// Returns the denial from which a method created the status of its response. tonic keeps that status among the
/// response's extensions.
fn handler_denial(extensions: &Extensions) -> Option<&Denial> {
    extensions.get::<Status>()?.source()?.downcast_ref()
}
