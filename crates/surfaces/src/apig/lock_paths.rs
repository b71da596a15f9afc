//! The paths of a resource in both versions of the contract. A lock on one path applies to all of them.

use super::version::{Version, respelled};

/// Returns the paths of a resource: the one of the request and those of both versions.
pub(super) fn lock_paths(base: &str, own: &str) -> Vec<String> {
    let mut paths = vec![format!("{base}{own}")];
    let below = |version: Version| own.strip_prefix(version.prefix()).filter(|rest| rest.starts_with('/'));
    let Some(rest) = below(Version::One).or_else(|| below(Version::Two)) else { return paths };
    let stored = respelled(rest, |id| Version::Two.stored(id));
    let shown = respelled(rest, |id| Version::Two.shown(id));
    for (version, rest) in [(Version::One, &stored), (Version::Two, &stored), (Version::Two, &shown)] {
        paths.push(format!("{base}{}{rest}", version.prefix()));
    }
    paths
}
