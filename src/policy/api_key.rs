//! Who is calling (401, 403): exactly one API key, known, in force.

use std::{fmt::Write, sync::Arc};

use http::{HeaderName, HeaderValue, header};

use super::{ChainOrder, Lockout, Policy, Stop, caller_kinds::CallerKinds};
use crate::{
    Admission, Denial, Head,
    admission::Identity,
    model::{self, AppCode, CredentialKind, Status},
    clock::Moment,
    denial::{Forbidden, Unauthenticated},
    directory::{Directory, KeyEntry},
};

static X_APIG_APP_CODE: HeaderName = HeaderName::from_static("x-apig-appcode");

/// Where a credential may stand in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A field of its own, such as `X-API-KEY`.
    Field(HeaderName),
    /// `Authorization` with this scheme, such as `Bearer`; schemes are compared without case.
    Authorization(Box<str>),
}

impl KeySource {
    /// `X-API-KEY`.
    #[must_use]
    pub fn x_api_key() -> Self {
        Self::Field(HeaderName::from_static("x-api-key"))
    }

    /// `Authorization: Bearer`.
    #[must_use]
    pub fn bearer() -> Self {
        Self::Authorization("Bearer".into())
    }

    /// `X-Apig-AppCode`, which carries AppCodes, and they stand nowhere else.
    #[must_use]
    pub fn x_apig_app_code() -> Self {
        Self::Field(X_APIG_APP_CODE.clone())
    }

    /// Whether what stands here is an AppCode.
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

/// The longest key of another gateway, in bytes: what is longer is not even hashed.
const MAX_KEY_LEN: usize = 1_024;

/// Recognises a caller by its API key.
///
/// Keys that came from other gateways ([`CredentialKind::Sha256Key`]) have their
/// form, at most 1,024 bytes; as long as there are none, a text that is no key of ours is refused without a look-up.
///
/// A request has exactly one credential: two fields of one name, or two of the sources at once, are
/// answered with 400. A missing, malformed, unknown or expired key is 401 with `WWW-Authenticate`; a
/// disabled key or caller is 403, as are [kinds](Self::kinds) of callers that have no business here; one whose tenant's
/// subscription has lapsed is 402. The key does not travel on to the service behind, unless
/// [`forwarding`](Self::forwarding) says so.
///
/// The field `X-Apig-AppCode`, where it is one of the sources, carries AppCodes; all others carry keys.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{app::{Pepper, Peppers}, directory::Directory, policy::{ApiKey, Source}};
///
/// let directory = Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32]))));
/// let policy = ApiKey::new(directory).sources([Source::x_api_key()]).realm("orders");
/// ```
#[derive(Debug, Clone)]
pub struct ApiKey {
    directory: Arc<Directory>,
    sources: Vec<KeySource>,
    admits: Acceptance,
    realm: Box<str>,
    pub(super) challenge: HeaderValue,
    forward: bool,
    pub(super) lockout: Option<Arc<Lockout>>,
}

impl ApiKey {
    /// Looks for `X-API-KEY`, `Authorization: Bearer` and `Authorization: ApiKey`.
    #[must_use]
    pub fn new(directory: Arc<Directory>) -> Self {
        let sources = vec![KeySource::x_api_key(), KeySource::bearer(), KeySource::Authorization("ApiKey".into())];
        let challenge = HeaderValue::from_static("");
        let realm = "portcullis".into();
        Self {
            directory,
            sources,
            admits: Acceptance::default(),
            realm,
            challenge,
            forward: false,
            lockout: None,
        }
        .add_challenge()
    }

    /// Looks in these places instead, in this order.
    #[must_use]
    pub fn sources(mut self, sources: impl IntoIterator<Item = KeySource>) -> Self {
        self.sources = sources.into_iter().collect();
        self.add_challenge()
    }

    /// The realm that `WWW-Authenticate` names; quotes, backslashes and control characters are left out.
    #[must_use]
    pub fn realm(mut self, realm: &str) -> Self {
        self.realm = quotable(realm);
        self.add_challenge()
    }

    /// Admits only callers of these kinds (`api_client`, `app`, `operator`, `administrator`); others are 403. Without
    /// it, those are admitted that call APIs: `api_client` and `app`.
    #[must_use]
    pub fn caller_kinds(mut self, kinds: &[&str]) -> Self {
        self.admits.kinds = CallerKinds::from_names(kinds);
        self
    }

    /// Admits callers of tenants whose subscription has lapsed, too; others are 402.
    #[must_use]
    pub fn admit_lapsed(mut self) -> Self {
        self.admits.lapsed = true;
        self
    }

    /// Leaves the credential in the request for the service behind.
    #[must_use]
    pub fn forward_credential(mut self) -> Self {
        self.forward = true;
        self
    }

    /// Refuses addresses from which too many bad keys came, unless they present a good one. Clones of this policy count
    /// together, and all that have one lockout.
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
                // The scheme stands in the challenge already, with the field's name.
                KeySource::Authorization(scheme) if own && scheme.eq_ignore_ascii_case("ApiKey") => Ok(()),
                KeySource::Authorization(scheme) => write!(text, "{comma}{scheme} realm=\"{realm}\""),
                KeySource::Field(name) => write!(text, "{comma}ApiKey realm=\"{realm}\", header=\"{name}\""),
            };
        }
        self.challenge = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("ApiKey"));
        self
    }

    /// A credential that may be a guess.
    fn invalid_credential(&self, head: Head<'_>, cause: Unauthenticated) -> Denial {
        if let Some(lockout) = &self.lockout {
            lockout.note(head);
        }
        self.deny(cause)
    }

    fn deny(&self, cause: Unauthenticated) -> Denial {
        Denial::Unauthenticated { cause, challenge: self.challenge.clone() }
    }

    /// Whether a text that was never issued here may be a key of another gateway that came from there.
    fn may_be_foreign(&self, presented: &str) -> bool {
        (1..=MAX_KEY_LEN).contains(&presented.len()) && self.directory.has_by_sha256()
    }

    /// Whether a request has something where a key may stand.
    pub(super) fn has_credential(&self, head: Head<'_>) -> bool {
        let within = |source: &KeySource| match head.single(source.field()) {
            Ok(value) => value.is_some_and(|value| within(source, value).is_some()),
            Err(_) => true,
        };
        self.sources.iter().any(within)
    }

    /// The one credential of a request and the source it stood in.
    fn find_credential<'h>(&self, head: Head<'h>) -> Result<(&KeySource, &'h str), Denial> {
        let mut found = None;
        for source in &self.sources {
            let value = head.single(source.field()).map_err(|_| {
                Denial::bad_request(format!("The field {} stands more than once.", source.field()))
            })?;
            let Some(value) = value else { continue };
            let Some(credential) = within(source, value) else { continue };
            if found.replace((source, credential)).is_some() {
                return Err(Denial::bad_request("The request has more than one credential."));
            }
        }
        match found {
            None => Err(self.deny(Unauthenticated::Missing)),
            Some((source, Ok(credential))) => Ok((source, credential)),
            Some((_, Err(NotText))) => Err(self.invalid_credential(head, Unauthenticated::Malformed)),
        }
    }
}

/// A credential with bytes that are no text.
struct NotText;

/// The credential within a field's value; `None` when the value is of another scheme.
fn within<'h>(source: &KeySource, value: &'h HeaderValue) -> Option<Result<&'h str, NotText>> {
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

/// Whether the text is one of a key, its checksum says.
fn text(bytes: &[u8]) -> Result<&str, NotText> {
    std::str::from_utf8(bytes.trim_ascii()).map_err(|_| NotText)
}

/// Of a text, what may stand in quotes.
pub(super) fn quotable(text: &str) -> Box<str> {
    text.chars().filter(|c| (' '..='~').contains(c) && !matches!(c, '"' | '\\')).collect()
}

/// Which callers are admitted, of those that are proved and enabled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acceptance {
    pub(super) kinds: CallerKinds,
    /// Those whose tenant's subscription has lapsed, too.
    pub(super) lapsed: bool,
}

impl Default for Acceptance {
    fn default() -> Self {
        Self { kinds: CallerKinds::CALLERS, lapsed: false }
    }
}

/// Whether a credential that was proved is in force, and its caller is one that may be here.
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
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let Some(lockout) = &self.lockout else { return self.authenticate(head, admission) };
        lockout.guard(head, || self.authenticate(head, admission))
    }

    fn check_order(&self, order: &mut ChainOrder) {
        order.recognises_caller();
    }
}

impl ApiKey {
    fn authenticate(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let (source, presented) = self.find_credential(head)?;
        let codes = source.is_of_codes();
        let found = if codes {
            let code = AppCode::parse(presented).map_err(|_| self.invalid_credential(head, Unauthenticated::Malformed))?;
            self.directory.find(code)
        } else {
            match model::GeneratedKey::parse(presented) {
                Ok(key) => self.directory.find(key),
                Err(_) if self.may_be_foreign(presented) => self.directory.find_by_sha256(presented),
                Err(_) => return Err(self.invalid_credential(head, Unauthenticated::Malformed).into()),
            }
        };
        let Some(key) = found.filter(|key| matches!(key.kind(), CredentialKind::AppCode(_)) == codes) else {
            return Err(self.invalid_credential(head, Unauthenticated::Unknown).into());
        };
        check_usable(&key, self.admits, head.now, || self.deny(Unauthenticated::Expired))?;
        if !self.forward {
            admission.credential = Some(source.field().clone());
        }
        key.note_use(head.now.time);
        admission.set_identity(Identity { key });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
