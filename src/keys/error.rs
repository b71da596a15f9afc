//! Errors of keys.

use std::fmt;

use crate::model::{InvalidId, InvalidPlan, InvalidScope};

/// An error for a key that cannot be used.
///
/// `Debug` prints the message, too, because that is what `main` prints when it returns an error.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The id of the key, its caller, its tenant or its plan is invalid.
    #[error("{what} {text:?} is invalid: {source}")]
    Id {
        /// The thing that the id names.
        what: &'static str,
        /// The invalid id.
        text: String,
        /// The reason.
        source: InvalidId,
    },
    /// The limits are invalid together.
    #[error("the limits of caller {caller:?} are invalid: {source}")]
    Plan {
        /// The caller.
        caller: String,
        /// The reason.
        source: InvalidPlan,
    },
    /// A scope is invalid.
    #[error("scope {text:?} is invalid: {source}")]
    Scope {
        /// The invalid scope.
        text: String,
        /// The reason.
        source: InvalidScope,
    },
    /// The key could be guessed, or no request can contain it.
    #[error("the key of caller {caller:?} is invalid: a key is 16 to 1024 visible ASCII characters")]
    Secret {
        /// The caller.
        caller: String,
    },
    /// The text is no SHA-256.
    #[error("a digest is 64 hexadecimal digits")]
    Digest,
    /// Two callers have the same key.
    #[error("callers {first:?} and {second:?} have the same key")]
    Duplicate {
        /// The caller that was added first.
        first: String,
        /// The caller that was added later.
        second: String,
    },
    /// A caller was added before with another name, tenant, status or other limits.
    #[error("caller {caller:?} was added before with another name, tenant or other limits")]
    Conflict {
        /// The caller.
        caller: String,
    },
    /// The environment variable is not set, or not UTF-8.
    #[error("the environment variable {name} is not set, or is not UTF-8")]
    Environment {
        /// The name of the variable.
        name: String,
    },
    /// An element of the environment variable is no pair of a caller and a key.
    #[error(
        "the environment variable {name} is invalid: it has the form caller=key,caller=key (element {at})"
    )]
    Pair {
        /// The name of the variable.
        name: String,
        /// The number of the element, from 1.
        at: usize,
    },
}

impl fmt::Debug for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
