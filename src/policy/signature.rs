//! Authentication by signature (401, 403): the caller signs its requests and sends no secret.

use std::sync::Arc;

use http::{HeaderValue, Uri, header};
use sha2::{Digest, Sha256};

use super::{
    ApiKey, BodyBuffering, ChainOrder, Lockout, Policy, Stop,
    api_key::{Acceptance, check_usable, quotable, secrets_in_doubt},
    caller_kinds::CallerKinds,
};
use crate::{
    Admission, Denial, Head,
    admission::{DigestVerifier, Identity},
    denial::{SignatureError, Unauthenticated},
    directory::{Directory, KeyEntry},
    limit::MinDataRate,
    model::{App, Credential, CredentialKind, Sealed, Sealer, Secret},
    signature::{
        ALGORITHM, Authorization, Hex, Parts, PayloadHash, RequestSignature, SignatureFormatError,
        canonical_query,
    },
};

/// Maximum size of a body whose hash is known only from the signature: 12 MB by the contract.
const MAX_BODY_BYTES: u64 = 12 * 1024 * 1024;
/// Maximum size of all such bodies that are buffered at once.
const MAX_BUFFERED_BYTES: u64 = 64 * 1024 * 1024;

/// Identifies a caller by the signature of its request: `Authorization: SDK-HMAC-SHA256` with `Access=`, see
/// [`signature`](crate::signature).
///
/// The signer is an app, with its AppKey and AppSecret, or the caller of a signing credential. A signature is
/// denied with 401 if it is missing, malformed, more than 15 minutes old or early, made with an unknown access key,
/// or does not match the request. The response names what was received, so that the author of the client can find
/// the difference (`portcullis sign --verify` helps). The signature is removed from the request before it is
/// forwarded, unless [`forward_credential`](Self::forward_credential) is set.
///
/// The body is signed, too:
///
/// * With `X-Sdk-Content-Sha256` the head alone proves the signature. A body that does not match the header is
///   aborted before its end, whatever part was forwarded by then; see [`Admission::take_content_check`].
/// * Without it, the signature can be verified only with the body. The whole body is buffered before the decision
///   ([`Stop::NeedsBody`]), because until then the caller is not authenticated, and the upstream might act on the
///   head alone. The size is limited: see [`buffering`](Self::buffering). A body that does not arrive counts as a bad
///   signature for the [lockout](Self::lockout).
/// * With `UNSIGNED-PAYLOAD` the body is not signed, which [`only_signed_content`](Self::only_signed_content)
///   forbids.
///
/// Different queries have the same signed form (`a=1+2` and `a=1%2B2`), and an upstream may read them in different
/// ways. Therefore the query is forwarded in the signed form, which is what the vendor's SDKs send anyway: sorted
/// by name and value, with `%2B` for `+`, and with a `=` after each name. The path is forwarded as it was sent. Its
/// signed form does not tell whether it ends with a slash, nor whether a slash was encoded
/// ([`StrictHttp`](super::StrictHttp) rejects encoded slashes).
///
/// A recorded request can be replayed until its date is too old: the contract allows it.
///
/// Secrets are decrypted for the one check that needs them, and then wiped. This check allocates memory.
///
/// ```
/// use std::sync::Arc;
/// use portcullis::{model::{Pepper, Peppers, SealKey, Sealer}, directory::Directory};
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
    /// A secret that is decrypted and tried for an unknown access key, so that this takes as long as a wrong
    /// signature.
    decoy: Sealed,
}

/// The associated data of the decoy.
const DECOY: [&str; 3] = ["decoy", "", "secret"];

impl Signature {
    /// Creates a policy that finds signers in the directory and decrypts their secrets with the sealer.
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

    /// Sets the realm of `WWW-Authenticate`. Quotes, backslashes and control characters are removed.
    #[must_use]
    pub fn realm(mut self, realm: &str) -> Self {
        let challenge = HeaderValue::try_from(format!("{ALGORITHM} realm=\"{}\"", quotable(realm)));
        self.challenge = challenge.unwrap_or(HeaderValue::from_static(ALGORITHM));
        self
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

    /// Keeps the signature in the request that is forwarded.
    #[must_use]
    pub fn forward_credential(mut self) -> Self {
        self.forward = true;
        self
    }

    /// Denies `UNSIGNED-PAYLOAD` for requests with a body.
    #[must_use]
    pub fn only_signed_content(mut self) -> Self {
        self.require_signed_content = true;
        self
    }

    /// Denies addresses that sent too many bad signatures, unless they send a valid one. Policies with the same
    /// lockout share the counts.
    #[must_use]
    pub fn lockout(mut self, lockout: impl Into<Arc<Lockout>>) -> Self {
        self.lockout = Some(lockout.into());
        self
    }

    /// Returns the default limits for bodies that are buffered before the decision: 12 MiB for one request, and 64
    /// MiB for all buffered requests, of which one address or access key may fill a quarter.
    #[must_use]
    pub fn buffering_for(pace: MinDataRate) -> BodyBuffering {
        BodyBuffering::new(MAX_BODY_BYTES, pace, MAX_BUFFERED_BYTES)
    }

    /// Sets the limits for bodies that are buffered before the decision. Policies with the same limits share the
    /// space.
    #[must_use]
    pub fn buffering(mut self, buffering: BodyBuffering) -> Self {
        self.buffering = buffering;
        self
    }

    /// Adds authentication by key for requests without a signature. A request with both is answered with 400. If
    /// one of the policies has a lockout, bad credentials of both are counted together.
    #[must_use]
    pub fn or(mut self, mut api_key: ApiKey) -> SignatureOr {
        let both = [api_key.challenge.as_bytes(), b", ", self.challenge.as_bytes()].concat();
        if let Ok(both) = HeaderValue::try_from(both) {
            (self.challenge, api_key.challenge) = (both.clone(), both);
        }
        // With two counts an attacker would have twice as many attempts. If both have a lockout, the signature's is
        // used.
        self.lockout = self.lockout.or(api_key.lockout.take());
        api_key.lockout.clone_from(&self.lockout);
        SignatureOr { signature: self, api_key }
    }

    /// Returns the denial of a signature that may be a guess, and counts the attempt.
    fn invalid_credential(&self, head: &Head<'_>, why: SignatureError) -> Denial {
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

    fn find_signature<'h>(&self, head: &Head<'h>) -> Result<RequestSignature<'h>, Denial> {
        let value = head
            .single(&header::AUTHORIZATION)
            .map_err(|_| Denial::bad_request("Header authorization is repeated. Send it once."))?;
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
        let read = value
            .to_str()
            .map_err(|_| SignatureFormatError::Malformed)
            .and_then(|value| RequestSignature::parse(parts, value));
        read.map_err(|flaw| match flaw {
            SignatureFormatError::Repeated(name) => {
                Denial::bad_request(format!("Header {name} is repeated. Send it once."))
            }
            flaw => self.invalid_credential(head, SignatureError::Malformed(flaw)),
        })
    }

    /// Returns the signers with an access key: an app, a signing credential, or one of each.
    fn signers(&self, access: &str) -> [Option<Arc<KeyEntry>>; 2] {
        [self.directory.find_app_key(access), self.directory.find_signing_key(access)]
    }

    /// Returns the credential whose secret made the signature.
    fn verify(
        &self,
        presented: &RequestSignature<'_>,
        payload: &str,
    ) -> Result<Option<Arc<KeyEntry>>, Denial> {
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
            // The key that sealed the decoy may have been removed. The value of the decoy is irrelevant.
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
        let unreadable = |why| Denial::internal(format!("{}: {why}", place.join(" ")));
        let secret =
            secret.map_err(|why| secrets_in_doubt(&self.directory).unwrap_or_else(|| unreadable(why)))?;
        Ok(presented.verify(secret.expose().as_bytes(), payload))
    }

    fn is_known(&self, access: &str) -> bool {
        self.signers(access).iter().any(Option::is_some)
    }
}

impl Policy for Signature {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let Some(lockout) = &self.lockout else { return self.authenticate(head, admission) };
        lockout.guard(head, || self.authenticate(head, admission))
    }

    fn check_order(&self, order: &mut ChainOrder) {
        order.recognises_caller();
        order.needs_content("Signature");
    }
}

impl Signature {
    fn authenticate(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let presented = self.find_signature(head)?;
        presented.check_date(head.now.time).map_err(|flaw| self.reject(SignatureError::Malformed(flaw)))?;
        let signed = presented.content();
        // A request without a body has nothing unsigned.
        if signed == PayloadHash::Unsigned && self.require_signed_content && head.content {
            return Err(self.reject(SignatureError::UnsignedContent).into());
        }
        // The SHA-256 of the body, if it is known.
        let content = match admission.awaited.as_ref().and_then(|awaited| awaited.content_sha256) {
            Some(hash) => Some(hash),
            None => (!head.content).then(|| Sha256::digest(b"").into()),
        };
        let hash = content.as_ref().map(Hex::encode);
        let payload = match presented.payload(hash.as_ref()) {
            Some(payload) => payload,
            // Only requests with a known access key may use buffer space.
            None if self.is_known(presented.access_key()) => {
                let buffering = self.buffering.capped_at(admission.body_limit);
                let attempt = self.lockout.clone().map(|lockout| (lockout, head.now.ticks));
                return Err(Stop::NeedsBody(buffering.charged_to(
                    head.peer,
                    presented.access_key(),
                    attempt,
                )));
            }
            None => "",
        };
        let Some(key) = self.verify(&presented, payload)? else {
            let access = presented.access_key();
            let known = self.is_known(access);
            if !known && let Some(unverified) = secrets_in_doubt(&self.directory) {
                return Err(unverified.into());
            }
            let mismatch = || SignatureError::mismatch(&presented.canonical(payload));
            let why = if known { mismatch() } else { SignatureError::UnknownAccessKey(access.into()) };
            return Err(self.invalid_credential(head, why).into());
        };
        check_usable(&key, self.admits, head.now, || self.deny(Unauthenticated::Expired))?;
        if let PayloadHash::Sha256(to) = signed {
            match content {
                Some(content) if content == to => {}
                Some(_) => return Err(self.reject(SignatureError::ContentMismatch).into()),
                None => admission.verifier = Some(Box::new(DigestVerifier::new(to))),
            }
        }
        if let Some(query) = head.uri.query().and_then(canonical_query) {
            let target = with_query(admission.target.as_deref().unwrap_or(head.uri), &query);
            let too_long = || Denial::bad_request("The query is too long in its canonical form.");
            admission.target = Some(Box::new(target.ok_or_else(too_long)?));
        }
        if !self.forward {
            admission.response.credential = Some(header::AUTHORIZATION);
        }
        key.note_use(head.now.time);
        admission.set_identity(Identity { key });
        Ok(())
    }
}

/// Returns the target with another query.
fn with_query(uri: &Uri, query: &str) -> Option<Uri> {
    let separator = if query.is_empty() { "" } else { "?" };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}{separator}{query}", uri.path()).parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Identifies a caller by its signature, or by its key if there is no signature. Made by [`Signature::or`].
#[derive(Debug, Clone)]
pub struct SignatureOr {
    signature: Signature,
    api_key: ApiKey,
}

impl Policy for SignatureOr {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        let signed = match head.single(&header::AUTHORIZATION) {
            Ok(value) => value.is_some_and(|value| Authorization::is_ours(value.as_bytes())),
            Err(_) => {
                return Err(Denial::bad_request("Header authorization is repeated. Send it once.").into());
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
        order.needs_content("Signature");
    }
}

#[cfg(test)]
mod tests;
