//! Assesses whether a key is still in use.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use portcullis::model::{Credential, Status};

/// Time without use after which a key that is not deprecated is safe to revoke.
const UNUSED: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Time without use after which a deprecated key is safe to revoke. It is short, because every response told users of
/// the key to replace it.
const REPLACED: SignedDuration = SignedDuration::from_hours(24);

/// An assessment whether a key can be revoked without affecting its users, as far as its use is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Revocation {
    /// Whether the key can be revoked.
    safe: bool,
    /// The reason, for people.
    reason: String,
}

/// Formats a duration in whole days, or in hours if it is short.
fn long(time: SignedDuration) -> String {
    match time.as_hours() {
        hours if hours >= 48 => format!("{} days", hours / 24),
        1 => "1 hour".into(),
        hours => format!("{hours} hours"),
    }
}

impl Revocation {
    /// Assesses a key with this last use at the time `now`.
    pub(super) fn new(key: &Credential, used: Option<Timestamp>, now: Timestamp) -> Self {
        let safe = |reason: String| Self { safe: true, reason };
        let unsafe_ = |reason: String| Self { safe: false, reason };
        if key.status == Status::Disabled {
            return safe("it is disabled and not accepted".into());
        }
        if let Some(end) = key.not_after.filter(|end| *end <= now) {
            return safe(format!("it ended at {end:.0} and is not accepted"));
        }
        let since = |moment: Timestamp| now.duration_since(moment);
        if let Some(deprecated) = key.deprecated_at.filter(|moment| *moment <= now) {
            return match used.filter(|used| *used > deprecated) {
                Some(used) if since(used) < UNUSED => {
                    unsafe_(format!("it was used after it was deprecated, at {used:.0}"))
                }
                Some(used) => safe(format!("it was not used for {}", long(since(used)))),
                None if since(deprecated) < REPLACED => {
                    unsafe_(format!("it was deprecated only {} ago", long(since(deprecated))))
                }
                None => {
                    safe(format!("it was not used since it was deprecated, {} ago", long(since(deprecated))))
                }
            };
        }
        match used {
            Some(used) if since(used) < UNUSED => unsafe_(format!("it was used at {used:.0}")),
            Some(used) => safe(format!("it was not used for {}", long(since(used)))),
            None if since(key.created_at) < UNUSED => unsafe_(format!(
                "it was made only {} ago and may not be in use yet",
                long(since(key.created_at))
            )),
            None => safe(format!("it was never used in {}", long(since(key.created_at)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis::model::{CredentialKind, Pepper, Scopes};

    #[test]
    fn unaccepted_or_unused_keys_are_not_waited_for() {
        let created_at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let made = Credential {
            id: "key".parse().unwrap(),
            tenant: "tenant".parse().unwrap(),
            caller: "caller".parse().unwrap(),
            name: "key".into(),
            digest: Pepper::new(1, &[7; 32]).digest("key"),
            pepper: 1,
            kind: CredentialKind::Key,
            hint: String::new(),
            status: Status::Enabled,
            scopes: Scopes::default(),
            not_after: None,
            deprecated_at: None,
            replaced_by: None,
            revision: 1,
            created_at,
            updated_at: created_at,
        };
        let now = made.created_at + SignedDuration::from_hours(100 * 24);
        let ago = |hours| now - SignedDuration::from_hours(hours);
        let new = |hours| Credential { created_at: ago(hours), ..made.clone() };
        let old = |hours| Credential { deprecated_at: Some(ago(hours)), ..made.clone() };
        for (key, used, safe, reason) in [
            (Credential { status: Status::Disabled, ..made.clone() }, Some(now), true, "disabled"),
            (
                Credential { not_after: Some(now), ..made.clone() },
                Some(now),
                true,
                "ended at 2026-04-11T00:00:00Z",
            ),
            (
                Credential { not_after: Some(now + SignedDuration::from_secs(1)), ..made.clone() },
                Some(now),
                false,
                "used at",
            ),
            (old(23), None, false, "deprecated only 23 hours ago"),
            (old(24), None, true, "not used since it was deprecated, 24 hours ago"),
            (old(24), Some(ago(25)), true, "not used since it was deprecated"),
            (old(24), Some(ago(24)), true, "not used since it was deprecated"),
            (old(24), Some(ago(23)), false, "used after it was deprecated"),
            (old(31 * 24), Some(ago(30 * 24)), true, "not used for 30 days"),
            (old(-1), Some(ago(1)), false, "used at"),
            (made.clone(), Some(ago(30 * 24 - 1)), false, "used at"),
            (made.clone(), Some(ago(30 * 24)), true, "not used for 30 days"),
            (new(1), None, false, "it was made only 1 hour ago"),
            (new(30 * 24), None, true, "never used in 30 days"),
        ] {
            let found = Revocation::new(&key, used, now);
            assert_eq!(found.safe, safe, "{found:?}");
            assert!(found.reason.contains(reason), "{found:?} {reason}");
        }
    }
}
