//! Steps that all imports share.

use super::ImportError;
use portcullis::{
    model::Actor,
    registry::{Outcome, Registry, RegistryError, UnitOfWork},
};

/// Work that imports data into a registry in one transaction, all of it or nothing.
///
/// This trait is sealed: [`Import`](super::Import) and [`KeyImport`](super::KeyImport) implement it.
pub trait ImportJob: UnitOfWork + Sized {
    /// The result of the import, or of its dry run.
    type Report: Send;

    /// Returns the progress of the import.
    #[doc(hidden)]
    fn progress(&self) -> &Progress<Self::Report>;

    /// Returns the progress of the import.
    #[doc(hidden)]
    fn progress_mut(&mut self) -> &mut Progress<Self::Report>;

    /// Runs the whole import and rolls it back.
    #[must_use]
    fn dry_run(mut self, dry_run: bool) -> Self {
        self.progress_mut().dry_run = dry_run;
        self
    }

    /// Runs the import. Other clients can write to the registry meanwhile, if the registry supports that.
    ///
    /// # Errors
    /// [`ImportError`]; then nothing was imported.
    fn import_into(
        mut self,
        registry: &dyn Registry,
        actor: &Actor,
    ) -> impl Future<Output = Result<Self::Report, ImportError>> + Send {
        async move {
            registry.transact_bulk(&mut self, actor).await?;
            self.outcome()
        }
    }

    /// Returns the outcome, when the import was [performed](UnitOfWork::perform) as a part of other work.
    ///
    /// # Errors
    /// The errors of [`import_into`](Self::import_into).
    fn outcome(mut self) -> Result<Self::Report, ImportError> {
        let outcome = self.progress_mut().outcome.take();
        outcome.unwrap_or_else(|| Err(RegistryError::Corrupt("the import was not performed".into()).into()))
    }

    /// Returns the result, if the import was [performed](UnitOfWork::perform) successfully.
    #[must_use]
    fn imported(&self) -> Option<&Self::Report> {
        self.progress().outcome.as_ref()?.as_ref().ok()
    }
}

/// The progress of an import.
pub struct Progress<R> {
    dry_run: bool,
    outcome: Option<Result<R, ImportError>>,
}

impl<R> Progress<R> {
    pub(super) fn new() -> Self {
        Self { dry_run: false, outcome: None }
    }

    /// Records the outcome and decides how the transaction ends.
    ///
    /// # Errors
    /// The error of the registry, if that is the outcome.
    pub(super) fn finish(&mut self, outcome: Result<R, ImportError>) -> Result<Outcome, RegistryError> {
        if let Err(ImportError::Store(fault)) = outcome {
            return Err(fault);
        }
        let keep = outcome.is_ok() && !self.dry_run;
        self.outcome = Some(outcome);
        Ok(if keep { Outcome::Commit } else { Outcome::Rollback })
    }
}
