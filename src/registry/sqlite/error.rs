//! Converts errors of the driver into errors of the registry.

use sqlx::{Error, error::DatabaseError, migrate::MigrateError};

use crate::registry::RegistryError;

/// The primary result codes of SQLite that mean invalid data rather than an unreachable file: `ERROR` (no such table),
/// `CORRUPT`, `SCHEMA`, `CONSTRAINT`, `MISMATCH`, `FORMAT`, `RANGE`, `NOTADB`.
const WRONG: [i32; 8] = [1, 11, 17, 19, 20, 24, 25, 26];

const BUSY: i32 = 5;

/// Converts an error. The driver's messages never quote the content of a row.
#[allow(clippy::needless_pass_by_value, reason = "used in `map_err`")]
pub(super) fn fault(error: Error) -> RegistryError {
    match error {
        // The checks within a transaction come first; the constraint stops a change that they missed.
        Error::Database(ref it) if it.is_unique_violation() => RegistryError::Conflict,
        Error::Database(ref it) if primary_code(&**it).is_some_and(|code| WRONG.contains(&code)) => {
            RegistryError::Corrupt(error.to_string())
        }
        Error::ColumnDecode { .. }
        | Error::ColumnIndexOutOfBounds { .. }
        | Error::ColumnNotFound(_)
        | Error::Decode(_)
        | Error::RowNotFound
        | Error::TypeNotFound { .. } => RegistryError::Corrupt(error.to_string()),
        // Busy, locked, out of space, an I/O error, a closed or exhausted pool, …
        _ => RegistryError::Unavailable(error.to_string()),
    }
}

pub(super) fn migration_fault(error: MigrateError) -> RegistryError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => fault(error),
        // The file was created by a version with other migrations.
        error => RegistryError::Corrupt(error.to_string()),
    }
}

/// Returns `true` if another connection holds a conflicting lock.
pub(super) fn is_busy(error: &Error) -> bool {
    error.as_database_error().and_then(primary_code) == Some(BUSY)
}

/// Returns the low byte of an extended result code.
fn primary_code(error: &dyn DatabaseError) -> Option<i32> {
    error.code()?.parse::<i32>().ok().map(|code| code & 0xFF)
}
