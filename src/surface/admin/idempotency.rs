//! Requests that take effect once (draft-ietf-httpapi-idempotency-key-header).

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::{Admin, ApiResponse, CallContext, ErrorResponse, Surface};
use crate::{
    Denial,
    model::{Actor, Entity, Sealed, Secret, UnsealError, hex::encode},
    registry::{self, Command, RegistryError, IdempotentRequest, IdempotentOutcome, Transaction},
};

const FIELD: &str = "idempotency-key";

/// The longest key, in characters.
const MAX_KEY_LEN: usize = 255;

/// The requests that are under way here.
#[derive(Default, Clone)]
pub(super) struct InFlight(Arc<Mutex<HashSet<[u8; 32]>>>);

impl InFlight {
    /// Begins a request, unless one of its key is under way.
    fn begin(&self, key: [u8; 32]) -> Option<InFlightGuard> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        begun.then(|| InFlightGuard { running: self.clone(), key })
    }
}

/// A request that is under way, until this is dropped.
pub(super) struct InFlightGuard {
    running: InFlight,
    key: [u8; 32],
}

impl InFlightGuard {
    /// What a request of this content is known by; a hash of the content will do.
    pub(super) fn ticket(self, call: &CallContext, content: &[u8]) -> IdempotencyKey {
        let target = call.uri.path_and_query().map_or("", |target| target.as_str());
        let fingerprint = hash(&[call.method.as_str().as_bytes(), target.as_bytes(), content]);
        IdempotencyKey { fingerprint, turn: self }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.running.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// What a request that takes effect once is known by.
pub(super) struct IdempotencyKey {
    fingerprint: [u8; 32],
    turn: InFlightGuard,
}

/// Where the answer stands that is kept under a key: what it is sealed for.
fn place(key: &[u8; 32]) -> [String; 2] {
    ["answered".into(), encode(key)]
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
            "Idempotency-Key is one string of 1 to {MAX_KEY_LEN} printable characters in quotes."
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
    if (1..=MAX_KEY_LEN).contains(&key.len()) { Ok(Some(key)) } else { Err(wrong()) }
}

impl Surface {
    /// What a request is known by, when it is to take effect once.
    ///
    /// # Errors
    /// 400 when its key is none; 409 while one of the same key is under way.
    pub(super) fn ticket(&self, call: &CallContext) -> Result<Option<IdempotencyKey>, Denial> {
        Ok(self.turn(call)?.map(|turn| turn.ticket(call, &call.content)))
    }

    /// The first half of it, before there is any content.
    ///
    /// # Errors
    /// As [`ticket`](Self::ticket).
    pub(super) fn turn(&self, call: &CallContext) -> Result<Option<InFlightGuard>, Denial> {
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
        call: &CallContext,
        ticket: Option<&IdempotencyKey>,
    ) -> Result<Option<ApiResponse>, ErrorResponse> {
        let (Some(ticket), Admin { registry, clock, .. }) = (ticket, &self.admin) else { return Ok(None) };
        let kept = registry.stored_response(&ticket.turn.key).await.map_err(|fault| self.refuse(fault))?;
        let Some(kept) = kept else { return Ok(None) };
        // The answer may show a secret.
        registry.authorize(call.actor(), clock.now().time).await.map_err(|fault| self.refuse(fault))?;
        let answer = kept.answers(&ticket.fingerprint).map(Some);
        let answer = answer.and_then(|answer| answer.map(|it| ticket.open(&self.admin, &it)).transpose());
        answer.map(|answer| answer.map(ApiResponse::replayed)).map_err(|fault| self.refuse(fault))
    }
}

impl IdempotencyKey {
    /// Does something, unless it was done before.
    pub(super) async fn execute(
        &self,
        admin: &Admin,
        commands: Vec<Command>,
        actor: &Actor,
        answer: impl FnOnce(&[Entity]) -> Result<ApiResponse, RegistryError> + Send,
    ) -> Result<ApiResponse, RegistryError> {
        let once = IdempotentRequest {
            key: self.turn.key,
            fingerprint: self.fingerprint,
            answer: Box::new(|done| self.close(admin, &answer(done)?)),
        };
        match admin.registry.execute_idempotent(commands, actor, once).await? {
            IdempotentOutcome::Executed(kept) => self.open(admin, &kept),
            IdempotentOutcome::Replayed(kept) => self.open(admin, &kept).map(ApiResponse::replayed),
        }
    }

    /// The answer to this request, when it took effect before. To be asked before anything is done for it.
    pub(super) async fn replay(
        &self,
        admin: &Admin,
        tx: &mut dyn Transaction,
    ) -> Result<Option<ApiResponse>, RegistryError> {
        let kept = registry::find_replay(tx, &self.turn.key, &self.fingerprint).await?;
        kept.map(|kept| self.open(admin, &kept).map(ApiResponse::replayed)).transpose()
    }

    /// Keeps its answer in the transaction that it took effect in.
    pub(super) async fn keep(
        &self,
        admin: &Admin,
        tx: &mut dyn Transaction,
        answer: &ApiResponse,
    ) -> Result<(), RegistryError> {
        let answer = self.close(admin, answer)?;
        registry::store_response(tx, &self.turn.key, self.fingerprint, answer).await
    }

    /// An answer as it is kept: sealed, as it may show a secret.
    fn close(&self, admin: &Admin, answer: &ApiResponse) -> Result<Vec<u8>, RegistryError> {
        let text = serde_json::to_string(answer).map(Secret::from);
        let place = place(&self.turn.key);
        let sealed = text.map(|text| admin.sealer.seal(&text, &place.each_ref().map(String::as_str)));
        let kept = sealed.and_then(|sealed| serde_json::to_vec(&sealed));
        kept.map_err(|_| RegistryError::Corrupt("an answer cannot be written as JSON".into()))
    }

    fn open(&self, admin: &Admin, kept: &[u8]) -> Result<ApiResponse, RegistryError> {
        let corrupt = || RegistryError::Corrupt("an answer that was kept cannot be read any more".into());
        let sealed: Sealed = serde_json::from_slice(kept).map_err(|_| corrupt())?;
        let place = place(&self.turn.key);
        let text = admin.sealer.unseal(&sealed, &place.each_ref().map(String::as_str));
        let text = text.map_err(|error| match error {
            // It took effect; what was answered went with a key that was dropped since.
            UnsealError::NoKey(_) => RegistryError::Conflict,
            UnsealError::Foreign => RegistryError::Corrupt(format!("an answer that was kept: {error}")),
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
        let running = InFlight::default();
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
