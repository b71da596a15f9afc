//! Replaces `handler_status.rs` without the feature `grpc`: no status was created from a denial.

use http::Extensions;

pub(super) fn mark_handler_denial(_: &mut Extensions) {}
