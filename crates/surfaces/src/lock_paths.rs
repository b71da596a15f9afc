//! The check for locks on a resource that has several paths: in both versions of APIG (`apig/lock_paths.rs`), and with
//! and without `/v1` of discue (`discue/lock_paths.rs`).

use portcullis::{
    Admission, Denial, Head, Policy, Stop, normalize_path,
    policy::{ChainOrder, RequireUnlocked},
};

/// Denies a request if any path of its resource is locked, whichever path the request has.
pub(crate) struct RequirePathsUnlocked {
    unlocked: RequireUnlocked,
    paths: Paths,
}

/// Returns all paths of a resource. The arguments are the path that the surface is nested below, which may be empty, and
/// the path of the request below it.
type Paths = fn(&str, &str) -> Vec<String>;

impl RequirePathsUnlocked {
    pub(crate) fn new(unlocked: RequireUnlocked, paths: Paths) -> Self {
        Self { unlocked, paths }
    }
}

impl Policy for RequirePathsUnlocked {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        // The handlers do not percent-decode paths, so no resource has an ambiguous path.
        let path = admission.path(head).map_err(|_| Denial::NotFound)?.to_owned();
        let own = normalize_path::normalize(head.uri.path()).map_err(|_| Denial::NotFound)?.comparable();
        // If the surface is nested below another path, locks name the whole path.
        let paths = match path.strip_suffix(&*own) {
            Some(base) => (self.paths)(base, &own),
            None => vec![path],
        };
        self.unlocked.admit_on(head, admission.caller(), paths.iter().map(String::as_str))
    }

    fn check_order(&self, order: &mut ChainOrder) {
        self.unlocked.check_order(order);
    }
}
