//! The request target as axum received it, before `nest` took a prefix off its path.

use axum::extract::OriginalUri;
use http::{Extensions, Uri};

pub(super) fn find(extensions: &Extensions) -> Option<&Uri> {
    extensions.get::<OriginalUri>().map(|original| &original.0)
}
