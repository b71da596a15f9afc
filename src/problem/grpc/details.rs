//! The details of gRPC statuses (`google.rpc.Status`).

use std::{collections::HashMap, time::Duration};

use tonic_types::{ErrorDetails, FieldViolation};

use crate::{Denial, denial::FieldError};

/// The maximum length of all faults of fields, in bytes. Clients accept 8 KiB of headers.
const MAX_FIELDS: usize = 2048;

/// Returns the details of a denial, whose explanation is `message`.
pub(super) fn details(denial: &Denial, message: &str) -> ErrorDetails {
    let reason = denial.code().to_ascii_uppercase().replace('-', "_");
    let mut details = ErrorDetails::with_error_info(reason, "portcullis", HashMap::new());
    if let Some(seconds) = denial.retry_after() {
        details.set_retry_info(Some(Duration::from_secs(seconds)));
    }
    match denial {
        Denial::RateLimited { violated, .. } => {
            for name in violated {
                details.add_quota_failure_violation(&**name, "The limit is exceeded.");
            }
        }
        Denial::Exhausted(exhausted) => {
            details.add_quota_failure_violation(exhausted.by.as_str(), message);
        }
        Denial::Locked { lock, .. } => {
            details.add_precondition_failure_violation("LOCK", &*lock.owner, message);
        }
        Denial::InvalidShape { wrong } | Denial::InvalidValues { wrong } => {
            details.set_bad_request(violations(wrong));
        }
        _ => {}
    }
    details
}

/// Returns the first faults, as many as fit into headers.
fn violations(wrong: &[FieldError]) -> Vec<FieldViolation> {
    let mut left = MAX_FIELDS;
    let all = wrong.iter().map(|FieldError { pointer, line, detail }| {
        let detail = line.map_or_else(|| detail.to_string(), |line| format!("Line {line}: {detail}"));
        FieldViolation::new(pointer, detail)
    });
    all.map_while(|violation| {
        left = left.checked_sub(violation.field.len() + violation.description.len())?;
        Some(violation)
    })
    .collect()
}
