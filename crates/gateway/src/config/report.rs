//! Errors and warnings about a configuration, with their positions.

use std::{fmt, path::Path};

use super::document::{Document, Step};

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The gateway cannot serve the configuration.
    Error,
    /// The gateway can serve the configuration, but it probably does not do what its author intended.
    Warning,
}

/// An error or warning about a configuration, with file, line and column if known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    file: Option<String>,
    position: Option<(usize, usize)>,
    severity: Severity,
    message: String,
}

impl Finding {
    /// Returns the severity.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if self.file.is_some() || self.position.is_some() {
            write!(f, " ")?;
        }
        if self.severity == Severity::Warning {
            write!(f, "warning: ")?;
        }
        f.write_str(&self.message)
    }
}

/// The errors of a configuration, displayed one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(Vec<Finding>);

impl ConfigError {
    pub(super) fn all(findings: Vec<Finding>) -> Self {
        Self(findings)
    }

    /// Returns the errors among findings, if there are any.
    pub(super) fn new(findings: &[Finding]) -> Option<Self> {
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        let errors: Vec<_> = errors.cloned().collect();
        (!errors.is_empty()).then_some(Self(errors))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// A collector of findings about a configuration.
#[derive(Debug)]
pub struct Report {
    file: Option<String>,
    text: String,
    document: Document,
    whole: bool,
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(file: Option<&Path>, text: &str, mut document: Document) -> Self {
        let mistakes = std::mem::take(&mut document.mistakes);
        let file = file.map(|file| file.display().to_string());
        let whole = mistakes.is_empty();
        let mut report = Self { file, text: text.to_owned(), document, whole, findings: Vec::new() };
        for (start, message) in mistakes {
            let position = start.map(|start| position(text, start));
            report.push(Severity::Error, position, message);
        }
        report
    }

    /// Adds an error at an entry, or at the innermost enclosing entry in the file.
    pub fn error(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        let position = self.position(path);
        self.push(Severity::Error, position, message.into());
    }

    /// Adds a warning at an entry, or at the innermost enclosing entry in the file.
    pub fn warning(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        let position = self.position(path);
        self.push(Severity::Warning, position, message.into());
    }

    /// Returns `true` if the file has this entry, valid or not.
    pub(super) fn has(&self, path: &[Step<'_>]) -> bool {
        self.document.positions.has(path)
    }

    /// Returns `true` if every entry of the file was read.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Converts an index among the items that were read to the index in the file's list.
    pub(super) fn origin(&self, list: &str, index: usize) -> usize {
        self.document.origin(list, index)
    }

    /// Returns the line of an entry.
    pub(super) fn line(&self, path: &[Step<'_>]) -> Option<usize> {
        self.position(path).map(|(line, _)| line)
    }

    /// Returns the findings so far, in the order of the file.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = self.findings.clone();
        findings.sort_by_key(|finding| finding.position);
        findings.dedup();
        findings
    }

    fn position(&self, path: &[Step<'_>]) -> Option<(usize, usize)> {
        let path: Vec<_> = match path {
            [Step::Key(list), Step::Index(at), below @ ..] => {
                let at = self.document.origin(list, *at);
                [Step::Key(list), Step::Index(at)].into_iter().chain(below.iter().copied()).collect()
            }
            path => path.to_vec(),
        };
        self.document.positions.find(&path).map(|start| position(&self.text, start))
    }

    fn push(&mut self, severity: Severity, position: Option<(usize, usize)>, message: String) {
        self.findings.push(Finding { file: self.file.clone(), position, severity, message });
    }
}

/// Returns the line and column of a byte, both starting at 1, the column in characters.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line..].chars().count() + 1)
}
