//! Reading and checking of a whole configuration file.

use std::path::Path;

use crate::file_state::FileState;

use super::{Config, ConfigError, Finding, Report, check, document::Document, files};

/// A configuration file that was read and checked.
///
/// ```
/// use portcullis_gateway::config::Review;
///
/// let review = Review::of_text("store.path = 1\nlisteners = []\n");
/// let lines: Vec<_> = review.findings().iter().map(ToString::to_string).collect();
/// assert_eq!(lines[0], "the field `secrets` is missing");
/// assert_eq!(lines[1], "1:14: expected a path in quotes, found 1");
/// assert!(review.finish().is_err());
/// ```
#[derive(Debug)]
pub struct Review {
    config: Option<Config>,
    report: Report,
}

impl Review {
    /// Reads and checks a file. Relative paths in it are relative to the file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of_file(path: &Path) -> Result<Self, ConfigError> {
        let state = FileState::of(path);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let mut report = Report::new(Some(path), "", Document::default());
                report.error(&[], format!("cannot be read: {error}"));
                return Err(ConfigError::all(report.findings()));
            }
        };
        let mut review = Self::new(Some(path), &text);
        if let Some(config) = &mut review.config {
            (config.file, config.file_state) = (Some(path.to_owned()), state);
            files::resolve(config, path, &mut review.report);
        }
        Ok(review)
    }

    /// Reads and checks a text. Relative paths in it are relative to the working directory.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self::new(None, text)
    }

    fn new(path: Option<&Path>, text: &str) -> Self {
        let (document, config) = Document::read(text);
        let mut review = Self { config, report: Report::new(path, text, document) };
        review.inspect(check::all);
        review
    }

    /// Runs another check and adds its findings, if the file was read.
    pub fn inspect(&mut self, check: impl FnOnce(&Config, &mut Report)) {
        if let Some(config) = &self.config {
            check(config, &mut self.report);
        }
    }

    /// Adds findings about the files that the configuration names, such as a missing secrets file or a store in a
    /// missing folder.
    pub fn inspect_files(&mut self) {
        self.inspect(files::check);
    }

    /// Returns all findings, in the order of the file.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.report.findings()
    }

    /// Returns the configuration and its warnings.
    ///
    /// # Errors
    /// All errors, if there are any.
    pub fn finish(self) -> Result<(Config, Vec<Finding>), ConfigError> {
        let findings = self.report.findings();
        match (ConfigError::new(&findings), self.config) {
            (None, Some(config)) => Ok((config, findings)),
            (Some(error), _) => Err(error),
            (None, None) => Err(ConfigError::all(findings)),
        }
    }
}
