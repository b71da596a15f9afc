//! Requests that take effect once (draft-ietf-httpapi-idempotency-key-header).

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::{Admin, Answer, Call, Refused, Surface};
use crate::{
    Denial,
    app::{Actor, Entity, Sealed, Secret, Unsealable, hex::hex},
    registry::{self, Command, Fault, Once, Outcome, Transaction},
};

const FIELD: &str = "idempotency-key";

/// The longest key, in characters.
const LONGEST: usize = 255;

/// The requests that are under way here.
#[derive(Default, Clone)]
pub(super) struct Running(Arc<Mutex<HashSet<[u8; 32]>>>);

impl Running {
    /// Begins a request, unless one of its key is under way.
    fn begin(&self, key: [u8; 32]) -> Option<Turn> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        begun.then(|| Turn { running: self.clone(), key })
    }
}

/// A request that is under way, until this is dropped.
pub(super) struct Turn {
    running: Running,
    key: [u8; 32],
}

impl Turn {
    /// What a request of this content is known by; a hash of the content will do.
    pub(super) fn ticket(self, call: &Call, content: &[u8]) -> Ticket {
        let target = call.uri.path_and_query().map_or("", |target| target.as_str());
        let fingerprint = hash(&[call.method.as_str().as_bytes(), target.as_bytes(), content]);
        Ticket { fingerprint, turn: self }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.running.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// What a request that takes effect once is known by.
pub(super) struct Ticket {
    fingerprint: [u8; 32],
    turn: Turn,
}

/// Where the answer stands that is kept under a key: what it is sealed for.
fn place(key: &[u8; 32]) -> [String; 2] {
    ["answered".into(), hex(key)]
}

/// Each part behind its length, so that no two lists of parts are the same bytes.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The key that a request brings: a string of structured fields (RFC 9651, section 3.3.3), without parameters.
///
/// # Errors
/// 400 when it is none.
fn chosen(headers: &HeaderMap) -> Result<Option<String>, Denial> {
    let wrong = || {
        Denial::bad_request(format!(
            "Idempotency-Key is one string of 1 to {LONGEST} printable characters in quotes."
        ))
    };
    let mut values = headers.get_all(FIELD).iter();
    let (value, None) = (values.next(), values.next()) else { return Err(wrong()) };
    let Some(value) = value else { return Ok(None) };
    let text = value.to_str().map_err(|_| wrong())?.trim();
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or_else(wrong)?;
    let (mut key, mut characters) = (String::new(), inner.chars());
    while let Some(c) = characters.next() {
        key.push(match c {
            '\\' => characters.next().filter(|c| matches!(c, '"' | '\\')).ok_or_else(wrong)?,
            ' '..='~' if c != '"' => c,
            _ => return Err(wrong()),
        });
    }
    if (1..=LONGEST).contains(&key.len()) { Ok(Some(key)) } else { Err(wrong()) }
}

impl Surface {
    /// What a request is known by, when it is to take effect once.
    ///
    /// # Errors
    /// 400 when its key is none; 409 while one of the same key is under way.
    pub(super) fn ticket(&self, call: &Call) -> Result<Option<Ticket>, Denial> {
        Ok(self.turn(call)?.map(|turn| turn.ticket(call, &call.content)))
    }

    /// The first half of it, before there is any content.
    ///
    /// # Errors
    /// As [`ticket`](Self::ticket).
    pub(super) fn turn(&self, call: &Call) -> Result<Option<Turn>, Denial> {
        let Some(chosen) = chosen(&call.headers)? else { return Ok(None) };
        let key = hash(&[call.caller().as_str().as_bytes(), chosen.as_bytes()]);
        let turn = self.running.begin(key).ok_or_else(|| Denial::Conflict {
            detail: "A request with this Idempotency-Key is under way.".into(),
        })?;
        Ok(Some(turn))
    }

    /// The answer to a request that took effect before.
    ///
    /// # Errors
    /// 401 when the key is not accepted any more; 422 when that was another one.
    pub(super) async fn earlier(
        &self,
        call: &Call,
        ticket: Option<&Ticket>,
    ) -> Result<Option<Answer>, Refused> {
        let (Some(ticket), Admin { registry, clock, .. }) = (ticket, &self.admin) else { return Ok(None) };
        let kept = registry.kept(&ticket.turn.key).await.map_err(|fault| self.refuse(fault))?;
        let Some(kept) = kept else { return Ok(None) };
        // The answer may show a secret.
        registry.authorize(call.actor(), clock.now().time).await.map_err(|fault| self.refuse(fault))?;
        let answer = kept.to(&ticket.fingerprint).map(Some);
        let answer = answer.and_then(|answer| answer.map(|it| ticket.open(&self.admin, &it)).transpose());
        answer.map(|answer| answer.map(Answer::replayed)).map_err(|fault| self.refuse(fault))
    }
}

impl Ticket {
    /// Does something, unless it was done before.
    pub(super) async fn execute(
        &self,
        admin: &Admin,
        commands: Vec<Command>,
        actor: &Actor,
        answer: impl FnOnce(&[Entity]) -> Result<Answer, Fault> + Send,
    ) -> Result<Answer, Fault> {
        let once = Once {
            key: self.turn.key,
            fingerprint: self.fingerprint,
            answer: Box::new(|done| self.close(admin, &answer(done)?)),
        };
        match admin.registry.execute_once(commands, actor, once).await? {
            Outcome::Done(kept) => self.open(admin, &kept),
            Outcome::Earlier(kept) => self.open(admin, &kept).map(Answer::replayed),
        }
    }

    /// The answer to this request, when it took effect before. To be asked before anything is done for it.
    pub(super) async fn earlier(
        &self,
        admin: &Admin,
        tx: &mut dyn Transaction,
    ) -> Result<Option<Answer>, Fault> {
        let kept = registry::earlier(tx, &self.turn.key, &self.fingerprint).await?;
        kept.map(|kept| self.open(admin, &kept).map(Answer::replayed)).transpose()
    }

    /// Keeps its answer in the transaction that it took effect in.
    pub(super) async fn keep(
        &self,
        admin: &Admin,
        tx: &mut dyn Transaction,
        answer: &Answer,
    ) -> Result<(), Fault> {
        let answer = self.close(admin, answer)?;
        registry::keep(tx, &self.turn.key, self.fingerprint, answer).await
    }

    /// An answer as it is kept: sealed, as it may show a secret.
    fn close(&self, admin: &Admin, answer: &Answer) -> Result<Vec<u8>, Fault> {
        let text = serde_json::to_string(answer).map(Secret::from);
        let place = place(&self.turn.key);
        let sealed = text.map(|text| admin.sealer.seal(&text, &place.each_ref().map(String::as_str)));
        let kept = sealed.and_then(|sealed| serde_json::to_vec(&sealed));
        kept.map_err(|_| Fault::Corrupt("an answer cannot be written as JSON".into()))
    }

    fn open(&self, admin: &Admin, kept: &[u8]) -> Result<Answer, Fault> {
        let corrupt = || Fault::Corrupt("an answer that was kept cannot be read any more".into());
        let sealed: Sealed = serde_json::from_slice(kept).map_err(|_| corrupt())?;
        let place = place(&self.turn.key);
        let text = admin.sealer.unseal(&sealed, &place.each_ref().map(String::as_str));
        let text = text.map_err(|error| match error {
            // It took effect; what was answered went with a key that was dropped since.
            Unsealable::NoKey(_) => Fault::Conflict,
            Unsealable::Foreign => Fault::Corrupt(format!("an answer that was kept: {error}")),
        })?;
        serde_json::from_str(text.expose()).map_err(|_| corrupt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_string_in_quotes() {
        let longest = format!("\"{}\"", "x".repeat(255));
        let too_long = format!("\"{}\"", "x".repeat(256));
        for (values, expected) in [
            (&[][..], Ok(None)),
            (&["\"a-1\""], Ok(Some("a-1"))),
            (&[" \"a b\" "], Ok(Some("a b"))),
            (&[r#""a\"\\""#], Ok(Some("a\"\\"))),
            (&[&longest], Ok(Some(&longest[1..256]))),
            (&[&too_long], Err(())),
            (&["\"\""], Err(())),
            (&["\""], Err(())),
            (&["a"], Err(())),
            (&["\"a"], Err(())),
            (&["\"a\"b\""], Err(())),
            (&[r#""a\b""#], Err(())),
            (&[r#""a\""#], Err(())),
            (&["\"a\";p=1"], Err(())),
            (&["\"a\", \"b\""], Err(())),
            (&["\"a\"", "\"a\""], Err(())),
            (&["\"a\tb\""], Err(())),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(FIELD, value.parse().unwrap());
            }
            let found = chosen(&headers).map_err(|_| ());
            assert_eq!(found.as_ref().map(Option::as_deref), expected.as_ref().map(|it| *it), "{values:?}");
        }
    }

    #[test]
    fn a_key_is_under_way_until_its_turn_is_over() {
        let running = Running::default();
        let turn = running.begin([1; 32]);
        assert!(turn.is_some() && running.begin([1; 32]).is_none() && running.begin([2; 32]).is_some());
        drop(turn);
        assert!(running.begin([1; 32]).is_some());
    }

    #[test]
    fn parts_cannot_be_cut_in_two_ways() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"", b"a"]), hash(&[b"a", b""]));
    }
}
