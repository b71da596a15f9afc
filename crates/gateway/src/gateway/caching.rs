//! A policy that leaves the caching of responses to the upstream.

use portcullis::{Admission, Head, Policy, Stop};

/// Admits every request, and leaves the caching headers of its response to the upstream.
pub(super) struct KeepCaching;

impl Policy for KeepCaching {
    fn admit(&self, _: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        admission.keep_caching_headers();
        Ok(())
    }
}
