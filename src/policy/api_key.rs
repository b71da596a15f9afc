//! Authentication by API key (401, 403): exactly one key, known and in force.

use std::{fmt::Write, sync::Arc};

use http::{HeaderName, HeaderValue, header};

use super::{ChainOrder, Lockout, Policy, Stop, caller_kinds::CallerKinds};
use crate::{
    Admission, Denial, Head,
    admission::Identity,
    clock::Moment,
    denial::{Forbidden, Unauthenticated},
    directory::{Directory, KeyEntry},
    keys::{Found, KeyCache, KeyDigest, KeyLookup, Lookup, Pending},
    model::{self, AppCode, CredentialKind, InvalidKey, Status},
};

static X_APIG_APP_CODE: HeaderName = HeaderName::from_static("x-apig-appcode");

/// The place of a credential in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A header of its own, such as `X-API-KEY`.
    Field(HeaderName),
    /// `Authorization` with this scheme, such as `Bearer`. Schemes are case-insensitive.
    Authorization(Box<str>),
}

impl KeySource {
    /// Returns the header `X-API-KEY`.
    #[must_use]
    pub fn x_api_key() -> Self {
        Self::Field(HeaderName::from_static("x-api-key"))
    }

    /// Returns `Authorization: Bearer`.
    #[must_use]
    pub fn bearer() -> Self {
        Self::Authorization("Bearer".into())
    }

    /// Returns the header `X-Apig-AppCode`. AppCodes are accepted only in this header.
    #[must_use]
    pub fn x_apig_app_code() -> Self {
        Self::Field(X_APIG_APP_CODE.clone())
    }

    /// Returns `true` if this source contains an AppCode.
    fn is_of_codes(&self) -> bool {
        matches!(self, Self::Field(name) if *name == X_APIG_APP_CODE)
    }

    fn field(&self) -> &HeaderName {
        match self {
            Self::Field(name) => name,
            Self::Authorization(_) => &header::AUTHORIZATION,
        }
    }
}

/// Maximum length in bytes of a key of another gateway. A longer text is not hashed.
const MAX_KEY_LEN: usize = 1_024;

/// Identifies a caller by its API key.
///
/// Keys that were imported from other gateways ([`CredentialKind::Sha256Key`]) have the format of that gateway,
/// with at most 1,024 bytes. If there are no such keys, a text that is not a Portcullis key is denied without a
/// look-up.
///
/// A request must have exactly one credential: a repeated header, or credentials in two sources, are answered with
/// 400. A missing, malformed, unknown or expired key is 401 with `WWW-Authenticate`. A disabled key, a disabled
/// caller or a caller of [another kind](Self::caller_kinds) is 403. A caller whose tenant's subscription has lapsed is
/// 402. The key is removed from the request before it is forwarded, unless [`forward_credential`](Self::forward_credential) is set.
///
/// The header `X-Apig-AppCode`, if it is one of the sources, contains AppCodes; all others contain keys.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{model::{Pepper, Peppers}, directory::Directory, policy::{ApiKey, KeySource}};
///
/// let directory = Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32]))));
/// let policy = ApiKey::new(directory).sources([KeySource::x_api_key()]).realm("orders");
/// ```
#[derive(Debug, Clone)]
pub struct ApiKey {
    keys: Lookup,
    sources: Vec<KeySource>,
    admits: Acceptance,
    realm: Box<str>,
    pub(super) challenge: HeaderValue,
    forward: bool,
    pub(super) lockout: Option<Arc<Lockout>>,
}

impl ApiKey {
    /// Creates a policy with the sources `X-API-KEY`, `Authorization: Bearer` and `Authorization: ApiKey`.
    ///
    /// The keys are in a list ([`Keys`](crate::keys::Keys)), in a table of the application
    /// ([`KeyCache`]), or in the [`Directory`] of a registry.
    #[must_use]
    pub fn new(keys: impl Into<KeyLookup>) -> Self {
        let sources =
            vec![KeySource::x_api_key(), KeySource::bearer(), KeySource::Authorization("ApiKey".into())];
        let challenge = HeaderValue::from_static("");
        let realm = "portcullis".into();
        Self {
            keys: keys.into().0,
            sources,
            admits: Acceptance::default(),
            realm,
            challenge,
            forward: false,
            lockout: None,
        }
        .add_challenge()
    }

    /// Replaces the sources. They are searched in this order.
    #[must_use]
    pub fn sources(mut self, sources: impl IntoIterator<Item = KeySource>) -> Self {
        self.sources = sources.into_iter().collect();
        self.add_challenge()
    }

    /// Sets the realm of `WWW-Authenticate`. Quotes, backslashes and control characters are removed.
    #[must_use]
    pub fn realm(mut self, realm: &str) -> Self {
        self.realm = quotable(realm);
        self.add_challenge()
    }

    /// Admits only callers of these kinds (`api_client`, `app`, `operator`, `administrator`); others are 403. The
    /// default is `api_client` and `app`, the kinds that call APIs.
    #[must_use]
    pub fn caller_kinds(mut self, kinds: &[&str]) -> Self {
        self.admits.kinds = CallerKinds::from_names(kinds);
        self
    }

    /// Also admits callers of tenants whose subscription has lapsed. By default they are 402.
    #[must_use]
    pub fn admit_lapsed(mut self) -> Self {
        self.admits.lapsed = true;
        self
    }

    /// Keeps the credential in the request that is forwarded.
    #[must_use]
    pub fn forward_credential(mut self) -> Self {
        self.forward = true;
        self
    }

    /// Denies addresses that sent too many bad keys, unless they send a valid one. The face must know the address: see
    /// [`PortcullisLayer::peer_from`](crate::tower::PortcullisLayer::peer_from). Clones of this policy share the
    /// counts, as do all policies with the same lockout.
    #[must_use]
    pub fn lockout(mut self, lockout: impl Into<Arc<Lockout>>) -> Self {
        self.lockout = Some(lockout.into());
        self
    }

    fn add_challenge(mut self) -> Self {
        let mut text = String::new();
        let own = self.sources.iter().any(|source| matches!(source, KeySource::Field(_)));
        for source in &self.sources {
            let comma = if text.is_empty() { "" } else { ", " };
            let realm = &self.realm;
            let _ = match source {
                // The challenge of the header already names this scheme.
                KeySource::Authorization(scheme) if own && scheme.eq_ignore_ascii_case("ApiKey") => Ok(()),
                KeySource::Authorization(scheme) => write!(text, "{comma}{scheme} realm=\"{realm}\""),
                KeySource::Field(name) => write!(text, "{comma}ApiKey realm=\"{realm}\", header=\"{name}\""),
            };
        }
        self.challenge = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("ApiKey"));
        self
    }

    /// Returns the denial of a credential that may be a guess, and counts the attempt.
    fn invalid_credential(&self, head: &Head<'_>, cause: Unauthenticated) -> Denial {
        if let Some(lockout) = &self.lockout {
            lockout.note(head);
        }
        self.deny(cause)
    }

    /// Returns the denial of a credential that was not found.
    fn unknown_credential(&self, head: &Head<'_>) -> Denial {
        let unverified = match &self.keys {
            Lookup::Directory(directory) => secrets_in_doubt(directory),
            Lookup::List(_) | Lookup::Cache(_) => None,
        };
        unverified.unwrap_or_else(|| self.invalid_credential(head, Unauthenticated::Unknown))
    }

    fn deny(&self, cause: Unauthenticated) -> Denial {
        Denial::Unauthenticated { cause, challenge: self.challenge.clone() }
    }

    /// Returns `true` if one of the request's sources has a value.
    pub(super) fn has_credential(&self, head: &Head<'_>) -> bool {
        let within = |source: &KeySource| match head.single(source.field()) {
            Ok(value) => value.is_some_and(|value| credential_in(source, value).is_some()),
            Err(_) => true,
        };
        self.sources.iter().any(within)
    }

    /// Returns the only credential of a request with its source.
    fn find_credential<'h>(&self, head: &Head<'h>) -> Result<(&KeySource, &'h str), Denial> {
        let mut found = None;
        for source in &self.sources {
            let value = head.single(source.field()).map_err(|_| {
                Denial::bad_request(format!("Header {} is repeated. Send it once.", source.field()))
            })?;
            let Some(value) = value else { continue };
            let Some(credential) = credential_in(source, value) else { continue };
            if let Some((first, _)) = found.replace((source, credential)) {
                return Err(two_credentials(first, source));
            }
        }
        match found {
            None => Err(self.deny(Unauthenticated::Missing)),
            Some((source, Ok(credential))) => Ok((source, credential)),
            Some((_, Err(NotText))) => Err(self.invalid_credential(head, Unauthenticated::Malformed)),
        }
    }
}

#[cold]
fn two_credentials(first: &KeySource, second: &KeySource) -> Denial {
    let (first, second) = (first.field(), second.field());
    Denial::bad_request(format!("The request has a credential in {first} and one in {second}. Send one."))
}

/// An error for a credential that is not UTF-8.
struct NotText;

/// Returns the credential in a header value; `None` if the value has another scheme.
fn credential_in<'h>(source: &KeySource, value: &'h HeaderValue) -> Option<Result<&'h str, NotText>> {
    let KeySource::Authorization(scheme) = source else {
        return Some(text(value.as_bytes()));
    };
    let bytes = value.as_bytes();
    let (start, rest) = bytes.split_at_checked(scheme.len())?;
    if !start.eq_ignore_ascii_case(scheme.as_bytes()) || !matches!(rest, [] | [b' ', ..]) {
        return None;
    }
    Some(text(rest))
}

/// Returns the bytes as text. The checksum decides later whether the text is a key.
fn text(bytes: &[u8]) -> Result<&str, NotText> {
    std::str::from_utf8(bytes.trim_ascii()).map_err(|_| NotText)
}

/// Removes the characters that a quoted string cannot contain.
pub(super) fn quotable(text: &str) -> Box<str> {
    text.chars().filter(|c| (' '..='~').contains(c) && !matches!(c, '"' | '\\')).collect()
}

/// The callers that are admitted, if they are authenticated and enabled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acceptance {
    pub(super) kinds: CallerKinds,
    /// Includes callers whose tenant's subscription has lapsed.
    pub(super) lapsed: bool,
}

impl Default for Acceptance {
    fn default() -> Self {
        Self { kinds: CallerKinds::CALLERS, lapsed: false }
    }
}

/// `Retry-After` in seconds of a response while the secrets in use may not be those of the registry.
const RETRY_AFTER: u64 = 5;

/// Returns the denial of a credential that cannot be verified because the secrets in use may not be those of the
/// registry. The credential may be valid, so this is not an attempt to guess one.
pub(super) fn secrets_in_doubt(directory: &Directory) -> Option<Denial> {
    let unverified =
        || Denial::unavailable("Credentials cannot be verified at present. Retry later.", RETRY_AFTER);
    directory.secrets_in_doubt().then(unverified)
}

/// Checks that an authenticated credential is in force and that its caller is admitted.
pub(super) fn check_usable(
    key: &KeyEntry,
    admits: Acceptance,
    now: Moment,
    expired: impl FnOnce() -> Denial,
) -> Result<(), Denial> {
    if key.not_after().is_some_and(|end| now.time >= end) {
        return Err(expired());
    }
    if key.status() == Status::Disabled {
        return Err(Denial::Forbidden(Forbidden::CredentialDisabled));
    }
    if key.caller().status == Status::Disabled {
        return Err(Denial::Forbidden(Forbidden::CallerDisabled));
    }
    if !admits.kinds.contains(key.caller()) {
        return Err(Denial::Forbidden(Forbidden::WrongCallerKind));
    }
    if !admits.lapsed && key.caller().is_lapsed() {
        return Err(Denial::PaymentRequired { detail: "The subscription has lapsed.".into() });
    }
    Ok(())
}

impl Policy for ApiKey {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let Some(lockout) = &self.lockout else { return self.authenticate(head, admission) };
        lockout.guard(head, || self.authenticate(head, admission))
    }

    fn check_order(&self, order: &mut ChainOrder) {
        order.recognises_caller();
    }
}

impl ApiKey {
    fn authenticate(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let (source, presented) = self.find_credential(head)?;
        let codes = source.is_of_codes();
        let found = match &self.keys {
            Lookup::Directory(directory) if codes => AppCode::parse(presented)
                .map(|code| directory.find(code))
                .map_err(|_| self.invalid_credential(head, Unauthenticated::Malformed))?,
            Lookup::Directory(directory) => directory
                .find_remembered(presented, || find_in_directory(directory, presented))
                .map_err(|_| self.invalid_credential(head, Unauthenticated::Malformed))?,
            _ if !has_key_length(presented) => {
                return Err(self.invalid_credential(head, Unauthenticated::Malformed).into());
            }
            Lookup::List(list) => list.find(presented),
            Lookup::Cache(cache) => find_in_cache(cache, presented, head, admission)?,
        };
        let Some(key) = found.filter(|key| matches!(key.kind(), CredentialKind::AppCode(_)) == codes) else {
            return Err(self.unknown_credential(head).into());
        };
        check_usable(&key, self.admits, head.now, || self.deny(Unauthenticated::Expired))?;
        if !self.forward {
            admission.response.credential = Some(source.field().clone());
        }
        key.note_use(head.now.time);
        admission.set_identity(Identity { key });
        Ok(())
    }
}

fn has_key_length(presented: &str) -> bool {
    (1..=MAX_KEY_LEN).contains(&presented.len())
}

/// Returns the credential with this key.
fn find_in_directory(directory: &Directory, presented: &str) -> Result<Option<Arc<KeyEntry>>, InvalidKey> {
    match model::GeneratedKey::parse(presented) {
        Ok(key) => Ok(directory.find(key)),
        // The text may be an imported key of another gateway.
        Err(_) if has_key_length(presented) && directory.has_by_sha256() => {
            Ok(directory.find_by_sha256(presented))
        }
        Err(invalid) => Err(invalid),
    }
}

fn find_in_cache(
    cache: &KeyCache,
    presented: &str,
    head: &Head<'_>,
    admission: &mut Admission,
) -> Result<Option<Arc<KeyEntry>>, Stop> {
    if let Some(found) = admission.awaited.as_mut().and_then(|awaited| awaited.key.take()?.get().cloned()) {
        return answer(found);
    }
    let digest = KeyDigest::from_key(presented);
    if let Some(found) = cache.get(&digest, head.now) {
        return answer(found);
    }
    let pending = Pending::default();
    admission.awaited.get_or_insert_default().key = Some(pending.clone());
    Err(Stop::Wait(cache.load(digest, head.now, pending)))
}

/// Returns the key, if it is known.
fn answer(found: Found) -> Result<Option<Arc<KeyEntry>>, Stop> {
    match found {
        Found::Key(key) => Ok(Some(key)),
        Found::Unknown => Ok(None),
        Found::Fault => Err(Denial::unavailable("The key cannot be checked at the moment.", 1).into()),
    }
}

#[cfg(test)]
mod tests;
