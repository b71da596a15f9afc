//! The request target that axum received, before `nest` stripped a prefix from its path.

use axum::extract::OriginalUri;
use http::{Extensions, Uri};

pub(super) fn find(extensions: &Extensions) -> Option<&Uri> {
    extensions.get::<OriginalUri>().map(|original| &original.0)
}
