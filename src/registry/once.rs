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
    let now = tx.now();
    if let Some(kept) = tx.kept(&key).await?.filter(|kept| now < kept.expires_at) {
        return kept.to(&fingerprint).map(Outcome::Earlier);
    }
    if tx.forget().await? >= MOST {
        return Err(Fault::Unavailable(format!("{MOST} answers are kept for a day, and no more")));
    }
    let done = execute(tx, commands).await?;
    let answer = answer(&done)?;
    tx.keep(&key, Kept { fingerprint, answer: answer.clone(), expires_at: now + FOR }).await?;
    Ok(Outcome::Done(answer))
}
