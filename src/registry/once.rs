//! Requests that take effect once, however often they are sent.

use std::time::Duration;

use jiff::Timestamp;

use super::{Command, Fault, Transaction, execute};
use crate::app::Entity;

/// How long the record of a request is kept.
const FOR: Duration = Duration::from_hours(24);

/// The most records that are kept. One that was dropped early would let its request take effect twice, so
/// beyond that no more are taken.
const MOST: u64 = 100_000;

/// Makes the answer to a request of what was done for it.
type Answer<'a> = Box<dyn FnOnce(&[Entity]) -> Result<Vec<u8>, Fault> + Send + 'a>;

/// What a request that takes effect once is known by, and what is kept of it.
pub struct Once<'a> {
    /// Names it: a hash over who asks and the key that they chose.
    pub key: [u8; 32],
    /// A hash over all that it asks for.
    pub fingerprint: [u8; 32],
    /// Makes the answer to be kept; with an error of it, nothing is done. It may hold secrets: seal them.
    pub answer: Answer<'a>,
}

/// What is kept of a request that took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// As [`Once::fingerprint`].
    pub fingerprint: [u8; 32],
    /// Its answer.
    pub answer: Vec<u8>,
    /// The first moment at which it is no longer kept.
    pub expires_at: Timestamp,
}

impl Kept {
    /// The answer, when it is that to a request of this fingerprint.
    ///
    /// # Errors
    /// [`Fault::Reused`].
    pub fn to(self, fingerprint: &[u8; 32]) -> Result<Vec<u8>, Fault> {
        if self.fingerprint == *fingerprint { Ok(self.answer) } else { Err(Fault::Reused) }
    }
}

/// What became of a request that takes effect once: its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect.
    Done(Vec<u8>),
    /// It took effect before.
    Earlier(Vec<u8>),
}

/// The answer to a request that took effect before, when one is kept; else, room for it. To be asked in a
/// transaction before anything is done for the request, whose answer [`keep`] keeps there.
///
/// # Errors
/// [`Fault::Reused`] when it was another request; [`Fault::Unavailable`] when as many are kept as may be.
pub async fn earlier(
    tx: &mut dyn Transaction,
    key: &[u8; 32],
    fingerprint: &[u8; 32],
) -> Result<Option<Vec<u8>>, Fault> {
    let now = tx.now();
    if let Some(kept) = tx.kept(key).await?.filter(|kept| now < kept.expires_at) {
        return kept.to(fingerprint).map(Some);
    }
    if tx.forget().await? >= MOST {
        return Err(Fault::Unavailable(format!("{MOST} answers are kept for a day, and no more")));
    }
    Ok(None)
}

/// Keeps the answer to a request for which something was done in this transaction.
///
/// # Errors
/// What the transaction answers.
pub async fn keep(
    tx: &mut dyn Transaction,
    key: &[u8; 32],
    fingerprint: [u8; 32],
    answer: Vec<u8>,
) -> Result<(), Fault> {
    let expires_at = tx.now() + FOR;
    tx.keep(key, Kept { fingerprint, answer, expires_at }).await
}

/// As [`execute`], unless it was done before. To be called in a transaction, as that is.
///
/// # Errors
/// As [`Registry::execute_once`](super::Registry::execute_once). The transaction is then to be given up.
pub async fn execute_once(
    tx: &mut dyn Transaction,
    commands: Vec<Command>,
    once: Once<'_>,
) -> Result<Outcome, Fault> {
    let Once { key, fingerprint, answer } = once;
    if let Some(answer) = earlier(tx, &key, &fingerprint).await? {
        return Ok(Outcome::Earlier(answer));
    }
    let done = execute(tx, commands).await?;
    let answer = answer(&done)?;
    keep(tx, &key, fingerprint, answer.clone()).await?;
    Ok(Outcome::Done(answer))
}
