//! What is wrong with a file, and where.

use std::{fmt, io};

use crate::registry::RegistryError;

/// What is wrong with a line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError {
    /// The line, from 1.
    pub line: u64,
    /// The path of the member that is wrong, such as `credential.caller`; empty when it is the line as a whole.
    pub member: String,
    /// What is wrong with it, without what stands there.
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

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is wrong, or does not fit what is there: the first hundred reasons, at least one.
    #[error("{}", first(.0))]
    Mistakes(Vec<LineError>),
    /// There is something in the registry already.
    #[error("there is something in the registry already")]
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
        [] => "the file is wrong".to_owned(),
        [only] => only.to_string(),
        [first, more @ ..] => format!("{first} (and {} more)", more.len()),
    }
}
