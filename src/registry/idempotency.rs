//! Idempotent requests: each takes effect once, however often it is sent.

use std::time::Duration;

use super::{Operation, RegistryError, StoredResponse, Transaction, rules::Rules, run_in};

/// The retention of a stored response.
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// The maximum number of stored responses. If an older response were removed early, its request could take effect
/// twice; so at the limit new requests are refused.
const MAX_RESPONSES: u64 = 100_000;

/// Builds the response to a request from the [result](Operation::Output) of its operation.
type Answer<'a, T> = Box<dyn FnOnce(T) -> Result<Vec<u8>, RegistryError> + Send + 'a>;

/// An idempotent request: its key and the response to store. `T` is the [result](Operation::Output) of its operation.
pub struct IdempotentRequest<'a, T> {
    /// The key: a hash of the caller and the key that the caller chose.
    pub key: [u8; 32],
    /// The fingerprint: a hash of the whole request.
    pub fingerprint: [u8; 32],
    /// Builds the response to store; its error rolls the transaction back. A response may contain secrets: seal them.
    pub answer: Answer<'a, T>,
}

/// The outcome of an idempotent request, with its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdempotentOutcome {
    /// The request took effect now.
    Executed(Vec<u8>),
    /// The request took effect before.
    Replayed(Vec<u8>),
}

/// Returns the stored response of a request that took effect before, or `None` after it has made room for one. Call
/// this in a transaction before you do anything for the request, and store its response there with [`store_response`].
///
/// # Errors
/// [`RegistryError::IdempotencyKeyReused`] when the key was used for a different request; [`RegistryError::Unavailable`] when the maximum number of
/// responses is stored.
pub async fn find_replay(
    tx: &mut dyn Transaction,
    key: &[u8; 32],
    fingerprint: &[u8; 32],
) -> Result<Option<Vec<u8>>, RegistryError> {
    let now = tx.now();
    if let Some(stored) = tx.stored_response(key).await?.filter(|stored| now < stored.expires_at) {
        return stored.answers(fingerprint).map(Some);
    }
    if tx.purge_expired().await? >= MAX_RESPONSES {
        return Err(RegistryError::Unavailable(format!(
            "{MAX_RESPONSES} idempotent responses are stored: retry later"
        )));
    }
    Ok(None)
}

/// Stores the response to a request that took effect in this transaction.
///
/// # Errors
/// The errors of the transaction.
pub async fn store_response(
    tx: &mut dyn Transaction,
    key: &[u8; 32],
    fingerprint: [u8; 32],
    answer: Vec<u8>,
) -> Result<(), RegistryError> {
    let expires_at = tx.now() + RETENTION;
    tx.store_response(key, StoredResponse { fingerprint, answer, expires_at }).await
}

/// Executes an operation, unless it was executed before under the same key. Call this in a transaction, like [`run_in`].
///
/// # Errors
/// The errors of [`RegistryExt::run_idempotent`](super::RegistryExt::run_idempotent). Roll the transaction back after
/// an error.
pub async fn run_idempotent<O: Operation>(
    tx: &mut dyn Transaction,
    operation: O,
    once: IdempotentRequest<'_, O::Output>,
) -> Result<IdempotentOutcome, RegistryError> {
    run_in(tx, Idempotent { operation, once }).await
}

/// An operation that takes effect once.
pub(super) struct Idempotent<'a, O: Operation> {
    pub(super) operation: O,
    pub(super) once: IdempotentRequest<'a, O::Output>,
}

impl<O: Operation> Operation for Idempotent<'_, O> {
    type Output = IdempotentOutcome;

    fn names(&self) -> Vec<&'static str> {
        self.operation.names()
    }

    async fn execute(self, rules: &mut Rules<'_>) -> Result<IdempotentOutcome, RegistryError> {
        let IdempotentRequest { key, fingerprint, answer } = self.once;
        if let Some(answer) = find_replay(rules.tx, &key, &fingerprint).await? {
            return Ok(IdempotentOutcome::Replayed(answer));
        }
        let answer = answer(self.operation.execute(rules).await?)?;
        store_response(rules.tx, &key, fingerprint, answer.clone()).await?;
        Ok(IdempotentOutcome::Executed(answer))
    }
}
