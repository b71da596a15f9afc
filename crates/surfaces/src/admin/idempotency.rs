//! Idempotent requests (draft-ietf-httpapi-idempotency-key-header).

use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::{
    call_context::CallContext,
    in_flight::InFlightGuard,
    response::{ApiResponse, ErrorResponse},
    settings::Admin,
    state::Surface,
};
use portcullis::{
    Denial,
    model::{Actor, Sealed, Secret, UnsealError, hex::encode},
    registry::{
        self, IdempotentOutcome, IdempotentRequest, Operation, RegistryError, RegistryExt, Transaction,
    },
};

const FIELD: &str = "idempotency-key";

/// Maximum length of an idempotency key, in characters.
const MAX_KEY_LEN: usize = 255;

/// The idempotency key and the fingerprint of a request.
pub(super) struct IdempotencyKey {
    fingerprint: [u8; 32],
    in_flight: InFlightGuard,
}

/// The context for which the stored response of a key is sealed.
fn seal_context(key: &[u8; 32]) -> [String; 2] {
    ["answered".into(), encode(key)]
}

/// Hashes parts with their lengths, so that different lists of parts never hash the same bytes.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Parses the key of a request: a string of structured fields (RFC 9651, section 3.3.3), without parameters.
///
/// # Errors
/// 400 for an invalid or repeated key.
fn chosen(headers: &HeaderMap) -> Result<Option<String>, Denial> {
    let wrong = || {
        Denial::bad_request(format!(
            "The header Idempotency-Key must be one string of 1 to {MAX_KEY_LEN} printable characters in quotes."
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
    /// Registers an idempotent request; returns `None` for a request without a key.
    ///
    /// # Errors
    /// 400 for an invalid key; 409 while a request with the same key is in progress.
    pub(super) fn idempotency_key(&self, call: &CallContext) -> Result<Option<IdempotencyKey>, Denial> {
        Ok(self.in_flight(call)?.map(|guard| IdempotencyKey::new(guard, call, &call.content)))
    }

    /// Registers an idempotent request before its body is read.
    ///
    /// # Errors
    /// The errors of [`idempotency_key`](Self::idempotency_key).
    pub(super) fn in_flight(&self, call: &CallContext) -> Result<Option<InFlightGuard>, Denial> {
        let Some(chosen) = chosen(&call.headers)? else { return Ok(None) };
        let key = hash(&[call.caller().as_str().as_bytes(), chosen.as_bytes()]);
        let guard = self.admin.in_progress.idempotent.begin(key).ok_or_else(|| Denial::Conflict {
            detail: "A request with this Idempotency-Key is in progress.".into(),
        })?;
        Ok(Some(guard))
    }

    /// Returns the stored response of a request that took effect before.
    ///
    /// # Errors
    /// 401 if the API key is no longer accepted; 422 if the earlier request was a different one.
    pub(super) async fn find_replay(
        &self,
        call: &CallContext,
        idempotency_key: Option<&IdempotencyKey>,
    ) -> Result<Option<ApiResponse>, ErrorResponse> {
        let (Some(idempotency_key), Admin { registry, clock, .. }) = (idempotency_key, &self.admin) else {
            return Ok(None);
        };
        let stored = registry
            .stored_response(&idempotency_key.in_flight.key)
            .await
            .map_err(|fault| self.registry_error(fault))?;
        let Some(stored) = stored else { return Ok(None) };
        // The stored response may contain a secret.
        registry
            .authorize(call.actor(), clock.now().time)
            .await
            .map_err(|fault| self.registry_error(fault))?;
        let answer = stored.answers(&idempotency_key.fingerprint).map(Some);
        let answer =
            answer.and_then(|answer| answer.map(|it| idempotency_key.unseal(&self.admin, &it)).transpose());
        answer.map(|answer| answer.map(ApiResponse::replayed)).map_err(|fault| self.registry_error(fault))
    }

    /// Executes an operation for a caller, idempotently if there is an idempotency key. `answer` makes the response of the
    /// result.
    pub(super) async fn execute<O: Operation>(
        &self,
        call: &CallContext,
        idempotency_key: Option<&IdempotencyKey>,
        operation: O,
        answer: impl FnOnce(O::Output) -> ApiResponse + Send,
    ) -> Result<ApiResponse, RegistryError> {
        let (registry, operation) = (&self.admin.registry, (call.lock_proof(), operation));
        match idempotency_key {
            Some(idempotency_key) => {
                idempotency_key.execute(&self.admin, operation, call.actor(), |(_, done)| answer(done)).await
            }
            None => registry.run(operation, call.actor()).await.map(|(_, done)| answer(done)),
        }
    }
}

impl IdempotencyKey {
    /// Returns the idempotency key of the request, with a fingerprint of its body. `content` may also be a hash of
    /// the body.
    pub(super) fn new(in_flight: InFlightGuard, call: &CallContext, content: &[u8]) -> Self {
        let target = call.uri.path_and_query().map_or("", |target| target.as_str());
        let fingerprint = hash(&[call.method.as_str().as_bytes(), target.as_bytes(), content]);
        Self { fingerprint, in_flight }
    }

    /// Executes an operation unless it was executed before.
    pub(super) async fn execute<O: Operation>(
        &self,
        admin: &Admin,
        operation: O,
        actor: &Actor,
        answer: impl FnOnce(O::Output) -> ApiResponse + Send,
    ) -> Result<ApiResponse, RegistryError> {
        let once = IdempotentRequest {
            key: self.in_flight.key,
            fingerprint: self.fingerprint,
            answer: Box::new(|done| self.seal(admin, &answer(done))),
        };
        match admin.registry.run_idempotent(operation, actor, once).await? {
            IdempotentOutcome::Executed(stored) => self.unseal(admin, &stored),
            IdempotentOutcome::Replayed(stored) => self.unseal(admin, &stored).map(ApiResponse::replayed),
        }
    }

    /// Returns the stored response if the request took effect before. Callers check this before they execute
    /// anything.
    pub(super) async fn replay(
        &self,
        admin: &Admin,
        tx: &mut dyn Transaction,
    ) -> Result<Option<ApiResponse>, RegistryError> {
        let stored = registry::find_replay(tx, &self.in_flight.key, &self.fingerprint).await?;
        stored.map(|stored| self.unseal(admin, &stored).map(ApiResponse::replayed)).transpose()
    }

    /// Stores the response in the transaction in which the request takes effect.
    pub(super) async fn store(
        &self,
        admin: &Admin,
        tx: &mut dyn Transaction,
        answer: &ApiResponse,
    ) -> Result<(), RegistryError> {
        let answer = self.seal(admin, answer)?;
        registry::store_response(tx, &self.in_flight.key, self.fingerprint, answer).await
    }

    /// Seals a response for storage, because it may contain a secret.
    fn seal(&self, admin: &Admin, answer: &ApiResponse) -> Result<Vec<u8>, RegistryError> {
        let text = serde_json::to_string(answer).map(Secret::from);
        let place = seal_context(&self.in_flight.key);
        let sealed = text.map(|text| admin.sealer.seal(&text, &place.each_ref().map(String::as_str)));
        let bytes = sealed.and_then(|sealed| serde_json::to_vec(&sealed));
        bytes.map_err(|_| RegistryError::Corrupt("a response cannot be serialized".into()))
    }

    fn unseal(&self, admin: &Admin, stored: &[u8]) -> Result<ApiResponse, RegistryError> {
        let corrupt = || RegistryError::Corrupt("a stored response cannot be parsed".into());
        let sealed: Sealed = serde_json::from_slice(stored).map_err(|_| corrupt())?;
        let place = seal_context(&self.in_flight.key);
        let text = admin.sealer.unseal(&sealed, &place.each_ref().map(String::as_str));
        let text = text.map_err(|error| match error {
            // The request took effect, but its response was sealed with a key that was dropped since.
            UnsealError::NoKey(_) => RegistryError::Conflict,
            UnsealError::Foreign => {
                RegistryError::Corrupt(format!("a stored response cannot be unsealed: {error}"))
            }
        })?;
        serde_json::from_str(text.expose()).map_err(|_| corrupt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_a_quoted_string() {
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
    fn hashed_parts_are_unambiguous() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"", b"a"]), hash(&[b"a", b""]));
    }
}
