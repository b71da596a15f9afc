//! The path that policies decide on.

use std::borrow::Cow;

use http::Method;

use super::Admission;
use crate::{
    Denial, Head,
    normalize_path::{self, PathRules},
};

impl Admission {
    /// Returns the path to decide on: the path that the client sent, [normalized](crate::normalize_path).
    ///
    /// # Errors
    /// 400 if the path cannot be normalized, or violates a rule that no earlier [`StrictHttp`](crate::policy::StrictHttp)
    /// relaxed. The target `*` of an `OPTIONS` request needs no normalization.
    pub fn path<'a>(&'a mut self, head: &Head<'a>) -> Result<&'a str, Denial> {
        self.normalize(head)?;
        Ok(self.normalized_path(head))
    }

    /// Normalizes the path to decide on, once for a chain.
    #[inline]
    pub(crate) fn normalize(&mut self, head: &Head<'_>) -> Result<(), Denial> {
        if self.is_normal { Ok(()) } else { self.normalize_relaxing(head, self.path_violations).map(drop) }
    }

    /// Normalizes the path to decide on, and returns the relaxed rules that the path violates.
    pub(crate) fn normalize_relaxing(
        &mut self,
        head: &Head<'_>,
        relaxed: PathRules,
    ) -> Result<PathRules, Denial> {
        let path = head.original.path();
        let mut breaks = PathRules::NONE;
        if path != "*" || head.method != Method::OPTIONS {
            let normal = normalize_path::normalize(path).map_err(Denial::ambiguous)?;
            let broken = normal.breaks.difference(relaxed);
            if !broken.is_empty() {
                return Err(Denial::path_violation(broken));
            }
            breaks = normal.breaks;
            if let Cow::Owned(path) = normal.comparable() {
                self.path = Some(path.into());
            }
        }
        self.is_normal = true;
        Ok(breaks)
    }

    /// Returns the path to decide on, in a chain that has already normalized it. Without that, this is the path as the
    /// client sent it, which is not safe to decide on: policies of your own call [`path`](Self::path).
    #[doc(hidden)]
    #[must_use]
    pub fn normalized_path<'a>(&'a self, head: &Head<'a>) -> &'a str {
        self.path.as_deref().unwrap_or(head.original.path())
    }

    /// Returns the path rules that the path violates and that a route may relax.
    #[must_use]
    pub fn path_violations(&self) -> PathRules {
        self.path_violations
    }
}
