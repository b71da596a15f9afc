//! What an error of the driver means to who called the registry.

use sqlx::{Error, error::DatabaseError, migrate::MigrateError};

use crate::registry::RegistryError;

/// The primary result codes of SQLite that say what the file holds is wrong, rather than out of reach:
/// `ERROR` (no such table), `CORRUPT`, `SCHEMA`, `CONSTRAINT`, `MISMATCH`, `FORMAT`, `RANGE`, `NOTADB`.
const WRONG: [i32; 8] = [1, 11, 17, 19, 20, 24, 25, 26];

const BUSY: i32 = 5;

/// No message of the driver quotes what is in a row.
#[allow(clippy::needless_pass_by_value, reason = "stands in `map_err`")]
pub(super) fn fault(error: Error) -> RegistryError {
    match error {
        // The checks within a transaction come first; this is what stops a change they let through.
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
        // Busy, locked, out of space, an I/O error, a pool that is closed or has no turn to give, …
        _ => RegistryError::Unavailable(error.to_string()),
    }
}

pub(super) fn migration_fault(error: MigrateError) -> RegistryError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => fault(error),
        // The file was made by a version that knows other migrations than this one.
        error => RegistryError::Corrupt(error.to_string()),
    }
}

/// Whether another connection's lock is in the way.
pub(super) fn is_busy(error: &Error) -> bool {
    error.as_database_error().and_then(primary_code) == Some(BUSY)
}

/// The low byte of an extended result code.
fn primary_code(error: &dyn DatabaseError) -> Option<i32> {
    error.code()?.parse::<i32>().ok().map(|code| code & 0xFF)
}
