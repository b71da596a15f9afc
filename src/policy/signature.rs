//! Who is calling (401, 403): a caller that signs its requests instead of sending a secret.

use std::sync::Arc;

use http::{HeaderValue, Uri, header};
use sha2::{Digest, Sha256};

use super::{
    ApiKey, ChainOrder, BodyBuffering, Lockout, Policy, Stop,
    api_key::{Acceptance, check_usable, quotable},
    caller_kinds::CallerKinds,
};
use crate::{
    Admission, Denial, Head,
    admission::{Identity, DigestVerifier},
    model::{App, Credential, CredentialKind, Sealed, Sealer, Secret},
    denial::{Unauthenticated, SignatureError},
    directory::{Directory, KeyEntry},
    limit::MinDataRate,
    signature::{ALGORITHM, Authorization, PayloadHash, SignatureFormatError, Hex, Parts, RequestSignature, canonical_query},
};

/// The most content whose hash only the signature knows: what the contract says may be signed (12 MB).
const MAX_BODY_BYTES: u64 = 12 * 1024 * 1024;
/// The most of it that waits to be decided about at once, in all requests.
const MAX_BUFFERED_BYTES: u64 = 64 * 1024 * 1024;

/// Recognises a caller by the signature of its request: `Authorization: SDK-HMAC-SHA256` with `Access=`, see
/// [`signature`](crate::signature).
///
/// Who signs is an app, by its AppKey and AppSecret, or the caller of a signing credential. A signature that is
/// missing, malformed, more than 15 minutes old or early, of nobody, or of something else is 401; the answer names
/// what was received, so that whoever signs can find the difference (`portcullis sign --verify` helps). The
/// signature does not travel on, unless [`forwarding`](Self::forwarding) says so.
///
/// Content is signed, too:
///
/// * With `X-Sdk-Content-Sha256` the signature is proved by the head. Content that is not what the field says breaks
///   off before its end, wherever it is on its way by then; see [`Admission::take_owed`].
/// * Without it, only the content completes what was signed: it is taken in whole before the request is decided
///   about ([`Stop::Content`]), because until then nobody has proved anything, and a service behind might act on
///   the head alone. So much of it is taken, and no more: see [`intake`](Self::intake). Content that does not arrive
///   counts as a bad signature for the [lockout](Self::lockout).
/// * `UNSIGNED-PAYLOAD` leaves it out, where that is [taken](Self::only_signed_content).
///
/// Several queries have one form in which they are signed (`a=1+2` and `a=1%2B2`), and a service may read them in several
/// ways. So the query travels on in that form, which is what the vendor's SDKs send anyway: sorted by name and value,
/// with `%2B` for `+`, and with a `=` behind each name. The path travels on as it was sent: the form in which it is signed
/// leaves open whether it ends with a slash, and whether a slash was encoded
/// ([`Strict`](super::Strict) refuses those that were).
///
/// A request may be repeated by whoever recorded it, until its date is too old: the contract allows it.
///
/// Secrets are unsealed for the one check that needs them, and wiped; that is where this policy allocates.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{app::{Pepper, Peppers, SealKey, Sealer}, directory::Directory};
/// use portcullis::policy::{ApiKey, Signature};
///
/// let directory = Arc::new(Directory::new(Peppers::new(Pepper::new(1, &[0; 32]))));
/// let sealer = Arc::new(Sealer::new(SealKey::new(1, &[0; 32])));
/// let policy = Signature::new(directory.clone(), sealer).realm("orders").or(ApiKey::new(directory));
/// ```
#[derive(Debug, Clone)]
pub struct Signature {
    directory: Arc<Directory>,
    sealer: Arc<Sealer>,
    admits: Acceptance,
    challenge: HeaderValue,
    forward: bool,
    require_signed_content: bool,
    lockout: Option<Arc<Lockout>>,
    buffering: BodyBuffering,
    /// Opened and tried for an access key that nobody has, so that this takes as long as a wrong signature.
    decoy: Sealed,
}

/// Where the decoy is sealed for.
const DECOY: [&str; 3] = ["decoy", "", "secret"];

impl Signature {
    /// Looks up who signs in a directory, and opens their secrets with a sealer.
    #[must_use]
    pub fn new(directory: Arc<Directory>, sealer: Arc<Sealer>) -> Self {
        let decoy = sealer.seal(&Secret::from(uuid::Uuid::new_v4().simple().to_string()), &DECOY);
        Self {
            directory,
            sealer,
            admits: Acceptance::default(),
            challenge: HeaderValue::from_static(ALGORITHM),
            forward: false,
            require_signed_content: false,
            lockout: None,
            buffering: Self::buffering_for(MinDataRate::default()),
            decoy,
        }
        .realm("portcullis")
    }

    /// The realm that `WWW-Authenticate` names; quotes, backslashes and control characters are left out.
    #[must_use]
    pub fn realm(mut self, realm: &str) -> Self {
        let challenge = HeaderValue::try_from(format!("{ALGORITHM} realm=\"{}\"", quotable(realm)));
        self.challenge = challenge.unwrap_or(HeaderValue::from_static(ALGORITHM));
        self
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

    /// Leaves the signature in the request for the service behind.
    #[must_use]
    pub fn forward_credential(mut self) -> Self {
        self.forward = true;
        self
    }

    /// Refuses `UNSIGNED-PAYLOAD` for requests that have content.
    #[must_use]
    pub fn only_signed_content(mut self) -> Self {
        self.require_signed_content = true;
        self
    }

    /// Refuses addresses from which too many bad signatures came, unless they present a good one. Policies that share one count together.
    #[must_use]
    pub fn lockout(mut self, lockout: impl Into<Arc<Lockout>>) -> Self {
        self.lockout = Some(lockout.into());
        self
    }

    /// The bounds within which content is taken in that must be known first, unless others are said: 12 MiB of a
    /// request, and 64 MiB of all requests that wait at once, of which one address or access key has a quarter.
    #[must_use]
    pub fn buffering_for(pace: MinDataRate) -> BodyBuffering {
        BodyBuffering::new(MAX_BODY_BYTES, pace, MAX_BUFFERED_BYTES)
    }

    /// Takes content in within these bounds instead. Policies that share them count together.
    #[must_use]
    pub fn intake(mut self, intake: BodyBuffering) -> Self {
        self.buffering = intake;
        self
    }

    /// Recognises by its key whoever does not sign. A request that has both is answered with 400. Both count bad
    /// credentials together, when one of them counts any.
    #[must_use]
    pub fn or(mut self, mut api_key: ApiKey) -> SignatureOr {
        let both = [api_key.challenge.as_bytes(), b", ", self.challenge.as_bytes()].concat();
        if let Ok(both) = HeaderValue::try_from(both) {
            (self.challenge, api_key.challenge) = (both.clone(), both);
        }
        // One count, or a guesser would have twice as many attempts: the signature's, where both have one.
        self.lockout = self.lockout.or(api_key.lockout.take());
        api_key.lockout.clone_from(&self.lockout);
        SignatureOr { signature: self, api_key }
    }

    /// A signature that may be a guess.
    fn invalid_credential(&self, head: Head<'_>, why: SignatureError) -> Denial {
        if let Some(lockout) = &self.lockout {
            lockout.note(head);
        }
        self.reject(why)
    }

    fn reject(&self, why: SignatureError) -> Denial {
        self.deny(Unauthenticated::Signature(Box::new(why)))
    }

    fn deny(&self, cause: Unauthenticated) -> Denial {
        Denial::Unauthenticated { cause, challenge: self.challenge.clone() }
    }

    fn find_signature<'h>(&self, head: Head<'h>) -> Result<RequestSignature<'h>, Denial> {
        let value = head
            .single(&header::AUTHORIZATION)
            .map_err(|_| Denial::bad_request("The field authorization stands more than once."))?;
        let value = value
            .filter(|value| Authorization::is_ours(value.as_bytes()))
            .ok_or_else(|| self.deny(Unauthenticated::Missing))?;
        let parts = Parts {
            method: head.method.as_str(),
            path: head.original.path(),
            query: head.original.query().unwrap_or_default(),
            authority: head.original.authority().map(http::uri::Authority::as_str),
            headers: head.headers,
        };
        let read =
            value.to_str().map_err(|_| SignatureFormatError::Malformed).and_then(|value| RequestSignature::parse(parts, value));
        read.map_err(|flaw| match flaw {
            SignatureFormatError::Repeated(name) => Denial::bad_request(format!("The field {name} stands more than once.")),
            flaw => self.invalid_credential(head, SignatureError::Malformed(flaw)),
        })
    }

    /// Who signs under an access key: an app, a signing credential, or one of each.
    fn signers(&self, access: &str) -> [Option<Arc<KeyEntry>>; 2] {
        [self.directory.find_app_key(access), self.directory.find_signing_key(access)]
    }

    /// Whose secret made the signature.
    fn verify(&self, presented: &RequestSignature<'_>, payload: &str) -> Result<Option<Arc<KeyEntry>>, Denial> {
        let mut tried = false;
        for (at, key) in self.signers(presented.access_key()).into_iter().enumerate() {
            let Some(key) = key else { continue };
            let CredentialKind::Signing(sealed) = key.kind() else { continue };
            tried = true;
            let tenant = &key.caller().tenant().id;
            let place = match at {
                0 => App::seal_context(tenant, &key.caller().id),
                _ => Credential::seal_context(tenant, &key.id),
            };
            if self.made(presented, payload, sealed, &place)? {
                return Ok(Some(key));
            }
        }
        if !tried {
            // The key that sealed it may be gone by now; nothing depends on what it says.
            let decoy = self.sealer.unseal(&self.decoy, &DECOY).unwrap_or(Secret::from(String::new()));
            let _ = presented.verify(decoy.expose().as_bytes(), payload);
        }
        Ok(None)
    }

    fn made(
        &self,
        presented: &RequestSignature<'_>,
        payload: &str,
        sealed: &Sealed,
        place: &[&str],
    ) -> Result<bool, Denial> {
        let secret = self.sealer.unseal(sealed, place);
        let secret = secret.map_err(|why| Denial::internal(format!("{}: {why}", place.join(" "))))?;
        Ok(presented.verify(secret.expose().as_bytes(), payload))
    }

    fn is_known(&self, access: &str) -> bool {
        self.signers(access).iter().any(Option::is_some)
    }
}

impl Policy for Signature {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let Some(lockout) = &self.lockout else { return self.authenticate(head, admission) };
        lockout.guard(head, || self.authenticate(head, admission))
    }

    fn check_order(&self, order: &mut ChainOrder) {
        order.recognises_caller();
    }
}

impl Signature {
    fn authenticate(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let presented = self.find_signature(head)?;
        presented.check_date(head.now.time).map_err(|flaw| self.reject(SignatureError::Malformed(flaw)))?;
        let signed = presented.content();
        // Without content there is nothing that could be unsigned.
        if signed == PayloadHash::Unsigned && self.require_signed_content && head.content {
            return Err(self.reject(SignatureError::UnsignedContent).into());
        }
        // What the content hashes to, as far as that is known.
        let content = match &admission.content {
            Some(hash) => Some(**hash),
            None => (!head.content).then(|| Sha256::digest(b"").into()),
        };
        let hash = content.as_ref().map(Hex::encode);
        let payload = match presented.payload(hash.as_ref()) {
            Some(payload) => payload,
            // Nobody makes us take anything in who does not even know an access key.
            None if self.is_known(presented.access_key()) => {
                let intake = self.buffering.capped_at(admission.body_limit);
                let attempt = self.lockout.clone().map(|lockout| (lockout, head.now.ticks));
                return Err(Stop::NeedsBody(intake.charged_to(head.peer, presented.access_key(), attempt)));
            }
            None => "",
        };
        let Some(key) = self.verify(&presented, payload)? else {
            let access = presented.access_key();
            let known = self.is_known(access);
            let mismatch = || SignatureError::mismatch(&presented.canonical(payload));
            let why = if known { mismatch() } else { SignatureError::UnknownAccessKey(access.into()) };
            return Err(self.invalid_credential(head, why).into());
        };
        check_usable(&key, self.admits, head.now, || self.deny(Unauthenticated::Expired))?;
        if let PayloadHash::Sha256(to) = signed {
            match content {
                Some(content) if content == to => {}
                Some(_) => return Err(self.reject(SignatureError::ContentMismatch).into()),
                None => admission.owed = Some(Box::new(DigestVerifier::new(to))),
            }
        }
        if let Some(query) = head.uri.query().and_then(canonical_query) {
            let target = with_query(admission.target.as_ref().unwrap_or(head.uri), &query);
            let too_long = || Denial::bad_request("The query is too long in the form in which it is signed.");
            admission.target = Some(target.ok_or_else(too_long)?);
        }
        if !self.forward {
            admission.credential = Some(header::AUTHORIZATION);
        }
        key.note_use(head.now.time);
        admission.set_identity(Identity { key });
        Ok(())
    }
}

/// A target with another query.
fn with_query(uri: &Uri, query: &str) -> Option<Uri> {
    let separator = if query.is_empty() { "" } else { "?" };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}{separator}{query}", uri.path()).parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Recognises a caller by its signature, or else by its key; made by [`Signature::or`].
#[derive(Debug, Clone)]
pub struct SignatureOr {
    signature: Signature,
    api_key: ApiKey,
}

impl Policy for SignatureOr {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let signed = match head.single(&header::AUTHORIZATION) {
            Ok(value) => value.is_some_and(|value| Authorization::is_ours(value.as_bytes())),
            Err(_) => {
                return Err(Denial::bad_request("The field authorization stands more than once.").into());
            }
        };
        if !signed {
            return self.api_key.admit(head, admission);
        }
        if self.api_key.has_credential(head) {
            return Err(Denial::bad_request("The request has more than one credential.").into());
        }
        self.signature.admit(head, admission)
    }

    fn check_order(&self, order: &mut ChainOrder) {
        order.recognises_caller();
    }
}

#[cfg(test)]
mod tests;
