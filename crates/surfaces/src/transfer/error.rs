//! Errors in a file, with their lines.

use std::{fmt, io};

use portcullis::registry::RegistryError;

/// An error in a line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError {
    /// The number of the line, beginning with 1.
    pub line: u64,
    /// The path of the invalid member, such as `credential.caller`; empty if the line as a whole is invalid.
    pub member: String,
    /// The description of the error, which never quotes the value.
    pub what: String,
}

impl LineError {
    pub(super) fn new(line: u64, member: impl Into<String>, what: impl Into<String>) -> Self {
        Self { line, member: member.into(), what: what.into() }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.member.is_empty() {
            write!(f, "{}: ", self.member)?;
        }
        f.write_str(&self.what)
    }
}

/// The reason for which nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is invalid, or conflicts with existing entities: at least one error, at most a hundred.
    #[error("{}", first(.0))]
    Mistakes(Vec<LineError>),
    /// The registry is not empty.
    #[error("the registry is not empty")]
    NotEmpty,
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The registry failed.
    #[error(transparent)]
    Store(#[from] RegistryError),
}

impl From<LineError> for ImportError {
    fn from(mistake: LineError) -> Self {
        Self::Mistakes(vec![mistake])
    }
}

fn first(mistakes: &[LineError]) -> String {
    match mistakes {
        [] => "the file is invalid".to_owned(),
        [only] => only.to_string(),
        [first, more @ ..] => format!("{first} (and {} more)", more.len()),
    }
}
