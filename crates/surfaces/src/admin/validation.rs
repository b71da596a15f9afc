//! Rules for members of several request bodies.

use crate::json::FieldErrors;
use portcullis::model::name::{PLAIN_NAME_RULE, is_plain_name};

/// Checks a name, if there is one, against the rule for tenants and credentials.
pub(super) fn check_name(checks: &mut FieldErrors, name: Option<&str>) {
    checks.ensure(name.is_none_or(is_plain_name), "#/name", PLAIN_NAME_RULE);
}
