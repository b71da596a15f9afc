//! Fixed lists of keys.

use std::{collections::HashMap, env, fmt, sync::Arc};

use super::{Key, KeyDigest, KeyError};
use crate::{
    directory::{CallerEntry, KeyEntry},
    model::{CallerId, Limit},
};

/// The name of the plan of keys without limits of their own.
const DEFAULT_PLAN: &str = "default";

/// A list of keys that the program creates at its start, from constants, the environment or a file.
///
/// ```
/// use portcullis::{keys::{Key, Keys}, model::Limit, policy::{ApiKey, RateLimit}, tower::PortcullisLayer};
///
/// let keys = Keys::new()
///     .limit(Limit::per_minute(600).burst(50))
///     .add("shop", "oN6mC1vLq2Xh8bRk4TzW")?
///     .add_sha256("partner", "73475cb40a568e8da8a045ced110137e159f890ac4da883b6b17dc651b3a8049")?
///     .add_key(Key::new("reports").scopes(["orders:read"]), "x7Qp2LdVc9Yf0aSjE3Hu")?;
/// let layer = PortcullisLayer::new((ApiKey::new(keys), RateLimit::new()));
/// # Ok::<(), portcullis::keys::KeyError>(())
/// ```
#[derive(Clone, Default)]
pub struct Keys {
    limits: Vec<Limit>,
    by_digest: HashMap<KeyDigest, Key>,
    /// The first key of each caller.
    callers: HashMap<String, KeyDigest>,
}

/// Prints the number of keys, not the keys.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("len", &self.by_digest.len()).finish_non_exhaustive()
    }
}

impl Keys {
    /// Creates an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a list from an environment variable of the form `shop=KEY,partner=KEY`. White space around the
    /// elements is ignored, so there may be one on each line.
    ///
    /// # Errors
    /// If the variable is not set, is empty or has another form, or a key is invalid.
    pub fn from_env(name: &str) -> Result<Self, KeyError> {
        let text = env::var(name).map_err(|_| KeyError::Environment { name: name.into() })?;
        Self::from_pairs(name, &text)
    }

    fn from_pairs(name: &str, text: &str) -> Result<Self, KeyError> {
        let mut pairs = text.trim().trim_end_matches(',').split(',').map(str::trim).enumerate();
        pairs.try_fold(Self::new(), |keys, (at, pair)| {
            let (caller, key) =
                pair.split_once('=').ok_or_else(|| KeyError::Pair { name: name.into(), at: at + 1 })?;
            keys.add(caller.trim(), key.trim())
        })
    }

    /// Adds a limit for each caller whose keys have no limits of their own, including those that were added before.
    ///
    /// # Panics
    /// If there is a limit of the same name, or there are more than eight.
    #[must_use]
    #[track_caller]
    pub fn limit(mut self, limit: Limit) -> Self {
        assert!(
            self.limits.iter().all(|other| other.name() != limit.name()),
            "two limits have the same name"
        );
        assert!(self.limits.len() < crate::model::MAX_LIMITS, "there are too many limits");
        self.limits.push(limit);
        self
    }

    /// Adds a key of a caller. Only its SHA-256 remains in memory.
    ///
    /// # Errors
    /// If the caller's id or the key is invalid, or another caller has the key.
    pub fn add(self, caller: &str, key: &str) -> Result<Self, KeyError> {
        self.add_key(Key::new(caller), key)
    }

    /// Adds a key of a caller by its SHA-256, in 64 hexadecimal digits.
    ///
    /// # Errors
    /// If the caller's id or the digest is invalid, or another caller has the key.
    pub fn add_sha256(self, caller: &str, sha256: &str) -> Result<Self, KeyError> {
        let digest = sha256.parse()?;
        self.add_digest(Key::new(caller), digest)
    }

    /// Adds a key with properties.
    ///
    /// # Errors
    /// If a property or the key is invalid, another caller has the key, or the caller was added before with another
    /// name, tenant or other limits.
    pub fn add_key(self, properties: Key, key: &str) -> Result<Self, KeyError> {
        if !(16..=1_024).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::Secret { caller: properties.caller });
        }
        self.add_digest(properties, KeyDigest::from_key(key))
    }

    /// Adds a key with properties by its digest.
    ///
    /// # Errors
    /// If a property is invalid, another caller has the key, or the caller was added before with another name, tenant
    /// or other limits.
    pub fn add_digest(mut self, properties: Key, digest: KeyDigest) -> Result<Self, KeyError> {
        properties.clone().into_entry(digest, None)?;
        if let Some(earlier) = self.by_digest.get(&digest) {
            let (first, second) = (earlier.caller.clone(), properties.caller);
            return Err(KeyError::Duplicate { first, second });
        }
        let first = self.callers.entry(properties.caller.clone()).or_insert(digest);
        if self.by_digest.get(first).is_some_and(|first| !first.describes_the_caller_of(&properties)) {
            return Err(KeyError::Conflict { caller: properties.caller });
        }
        self.by_digest.insert(digest, properties);
        Ok(self)
    }

    pub(super) fn into_list(self) -> KeyList {
        let mut callers: HashMap<CallerId, Arc<CallerEntry>> = HashMap::new();
        let mut keys = HashMap::with_capacity(self.by_digest.len());
        for (digest, key) in self.by_digest {
            let key = if key.has_plan() || self.limits.is_empty() {
                key
            } else {
                key.plan(DEFAULT_PLAN, self.limits.iter().cloned())
            };
            let before = key.caller.parse().ok().and_then(|id: CallerId| callers.get(&id));
            // The key was checked when it was added, and so were the limits.
            let Ok(entry) = key.into_entry(digest, before) else { continue };
            callers.entry(entry.caller().id.clone()).or_insert_with(|| entry.shared_caller());
            keys.insert(*digest.as_bytes(), Arc::new(entry));
        }
        KeyList { keys }
    }
}

/// The entries of a list.
#[derive(Debug)]
pub(crate) struct KeyList {
    keys: HashMap<[u8; 32], Arc<KeyEntry>>,
}

impl KeyList {
    pub(crate) fn find(&self, presented: &str) -> Option<Arc<KeyEntry>> {
        self.keys.get(KeyDigest::from_key(presented).as_bytes()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_the_environment_are_parsed_or_rejected() {
        let callers = |text: &str| {
            let keys = Keys::from_pairs("KEYS", text)?;
            let mut callers: Vec<_> = keys.callers.into_keys().collect();
            callers.sort();
            Ok::<_, KeyError>(callers.join(" "))
        };
        let key = "0123456789abcdef";
        assert_eq!(callers(&format!(" shop={key},\n partner = {key}== ,")), Ok("partner shop".into()));
        for (text, at) in [("", 1), (",", 1), ("shop", 1), (&format!("shop={key},,b={key}"), 2)] {
            assert_eq!(callers(text), Err(KeyError::Pair { name: "KEYS".into(), at }), "{text:?}");
        }
        assert_eq!(callers("shop="), Err(KeyError::Secret { caller: "shop".into() }));
        assert!(matches!(Keys::from_env("PORTCULLIS_NOT_SET"), Err(KeyError::Environment { .. })));
    }
}
