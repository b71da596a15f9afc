//! Accesses as types, so that extractors can name the access that a handler requires.

use portcullis::model::Access;

/// An access that a handler requires.
pub(crate) trait RequiredAccess: Send {
    const ACCESS: Access;
}

/// Reading.
pub(crate) struct Read;

impl RequiredAccess for Read {
    const ACCESS: Access = Access::Read;
}

/// Reading and writing.
pub(crate) struct Write;

impl RequiredAccess for Write {
    const ACCESS: Access = Access::Write;
}
