//! What is wrong with a configuration, and where.

use std::{fmt, io, ops::Range, path::Path};

/// What is wrong with a configuration: file, line and column where there is one, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<String>,
    place: Option<(usize, usize)>,
    what: String,
}

impl ConfigError {
    pub(super) fn plain(what: impl Into<String>) -> Self {
        Self { file: None, place: None, what: what.into() }
    }

    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::plain(format!("cannot be read: {error}")).in_file(path)
    }

    pub(super) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        Self {
            place: error.span().map(|span| place(text, span.start)),
            ..Self::plain(error.message().trim())
        }
    }

    pub(super) fn at(text: &str, span: Range<usize>, what: String) -> Self {
        Self { place: Some(place(text, span.start)), ..Self::plain(what) }
    }

    pub(super) fn in_file(mut self, path: &Path) -> Self {
        self.file = Some(path.display().to_string());
        self
    }
}

/// Line and column of a byte, both from 1, the column in characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line..].chars().count() + 1)
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        if self.file.is_some() || self.place.is_some() {
            write!(f, " ")?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for ConfigError {}
