//! Requests that take effect once, however often they are sent.

use std::time::Duration;

use jiff::Timestamp;

use super::{Command, RegistryError, Transaction, execute};
use crate::model::Entity;

/// How long the record of a request is kept.
const RETENTION: Duration = Duration::from_hours(24);

/// The most records that are kept. One that was dropped early would let its request take effect twice, so
/// beyond that no more are taken.
const MAX_RESPONSE_BYTES: u64 = 100_000;

/// Makes the answer to a request of what was done for it.
type Answer<'a> = Box<dyn FnOnce(&[Entity]) -> Result<Vec<u8>, RegistryError> + Send + 'a>;

/// What a request that takes effect once is known by, and what is kept of it.
pub struct IdempotentRequest<'a> {
    /// Names it: a hash over who asks and the key that they chose.
    pub key: [u8; 32],
    /// A hash over all that it asks for.
    pub fingerprint: [u8; 32],
    /// Makes the answer to be kept; with an error of it, nothing is done. It may hold secrets: seal them.
    pub answer: Answer<'a>,
}

/// What is kept of a request that took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// As [`Once::fingerprint`].
    pub fingerprint: [u8; 32],
    /// Its answer.
    pub answer: Vec<u8>,
    /// The first moment at which it is no longer kept.
    pub expires_at: Timestamp,
}

impl StoredResponse {
    /// The answer, when it is that to a request of this fingerprint.
    ///
    /// # Errors
    /// [`Fault::Reused`].
    pub fn answers(self, fingerprint: &[u8; 32]) -> Result<Vec<u8>, RegistryError> {
        if self.fingerprint == *fingerprint { Ok(self.answer) } else { Err(RegistryError::IdempotencyKeyReused) }
    }
}

/// What became of a request that takes effect once: its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdempotentOutcome {
    /// It took effect.
    Executed(Vec<u8>),
    /// It took effect before.
    Replayed(Vec<u8>),
}

/// The answer to a request that took effect before, when one is kept; else, room for it. To be asked in a
/// transaction before anything is done for the request, whose answer [`keep`] keeps there.
///
/// # Errors
/// [`Fault::Reused`] when it was another request; [`Fault::Unavailable`] when as many are kept as may be.
pub async fn find_replay(
    tx: &mut dyn Transaction,
    key: &[u8; 32],
    fingerprint: &[u8; 32],
) -> Result<Option<Vec<u8>>, RegistryError> {
    let now = tx.now();
    if let Some(kept) = tx.stored_response(key).await?.filter(|kept| now < kept.expires_at) {
        return kept.answers(fingerprint).map(Some);
    }
    if tx.purge_expired().await? >= MAX_RESPONSE_BYTES {
        return Err(RegistryError::Unavailable(format!("{MAX_RESPONSE_BYTES} answers are kept for a day, and no more")));
    }
    Ok(None)
}

/// Keeps the answer to a request for which something was done in this transaction.
///
/// # Errors
/// What the transaction answers.
pub async fn store_response(
    tx: &mut dyn Transaction,
    key: &[u8; 32],
    fingerprint: [u8; 32],
    answer: Vec<u8>,
) -> Result<(), RegistryError> {
    let expires_at = tx.now() + RETENTION;
    tx.store_response(key, StoredResponse { fingerprint, answer, expires_at }).await
}

/// As [`execute`], unless it was done before. To be called in a transaction, as that is.
///
/// # Errors
/// As [`Registry::execute_once`](super::Registry::execute_once). The transaction is then to be given up.
pub async fn execute_idempotent(
    tx: &mut dyn Transaction,
    commands: Vec<Command>,
    once: IdempotentRequest<'_>,
) -> Result<IdempotentOutcome, RegistryError> {
    let IdempotentRequest { key, fingerprint, answer } = once;
    if let Some(answer) = find_replay(tx, &key, &fingerprint).await? {
        return Ok(IdempotentOutcome::Replayed(answer));
    }
    let done = execute(tx, commands).await?;
    let answer = answer(&done)?;
    store_response(tx, &key, fingerprint, answer.clone()).await?;
    Ok(IdempotentOutcome::Executed(answer))
}
