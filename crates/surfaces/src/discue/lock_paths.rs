//! The paths of a resource, with and without `/v1`. A lock on one path applies to both.

/// Returns the paths of a resource. The router has removed `/v1` from the path of the request.
pub(super) fn lock_paths(base: &str, own: &str) -> Vec<String> {
    let base = base.strip_suffix("/v1").unwrap_or(base);
    vec![format!("{base}{own}"), format!("{base}/v1{own}")]
}
