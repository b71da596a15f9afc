//! Who is calling (401, 403): exactly one API key, known, in force.

use std::{fmt::Write, sync::Arc};

use http::{HeaderName, HeaderValue, header};

use super::{Lockout, Policy, Stop};
use crate::{
    Admission, Denial, Head,
    admission::Identity,
    app::{self, AppCode, CredentialKind, Status},
    clock::Moment,
    denial::{Forbidden, Unauthenticated},
    directory::{Directory, KeyEntry},
};

static X_APIG_APP_CODE: HeaderName = HeaderName::from_static("x-apig-appcode");

/// Where a credential may stand in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A field of its own, such as `X-API-KEY`.
    Field(HeaderName),
    /// `Authorization` with this scheme, such as `Bearer`; schemes are compared without case.
    Authorization(Box<str>),
}

impl Source {
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
const LONGEST: usize = 1_024;

/// Recognises a caller by its API key.
///
/// Keys that came from other gateways ([`CredentialKind::Sha256Key`]) have their
/// form, at most 1,024 bytes; as long as there are none, a text that is no key of ours is refused without a look-up.
///
/// A request has exactly one credential: two fields of one name, or two of the sources at once, are
/// answered with 400. A missing, malformed, unknown or expired key is 401 with `WWW-Authenticate`; a
/// disabled key or caller is 403. The key does not travel on to the service behind, unless
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
    sources: Vec<Source>,
    kinds: Option<&'static [&'static str]>,
    realm: Box<str>,
    pub(super) challenge: HeaderValue,
    forward: bool,
    pub(super) lockout: Option<Arc<Lockout>>,
}

impl ApiKey {
    /// Looks for `X-API-KEY`, `Authorization: Bearer` and `Authorization: ApiKey`.
    #[must_use]
    pub fn new(directory: Arc<Directory>) -> Self {
        let sources = vec![Source::x_api_key(), Source::bearer(), Source::Authorization("ApiKey".into())];
        let challenge = HeaderValue::from_static("");
        let realm = "portcullis".into();
        Self { directory, sources, kinds: None, realm, challenge, forward: false, lockout: None }.challenged()
    }

    /// Looks in these places instead, in this order.
    #[must_use]
    pub fn sources(mut self, sources: impl IntoIterator<Item = Source>) -> Self {
        self.sources = sources.into_iter().collect();
        self.challenged()
    }

    /// The realm that `WWW-Authenticate` names; quotes, backslashes and control characters are left out.
    #[must_use]
    pub fn realm(mut self, realm: &str) -> Self {
        self.realm = quotable(realm);
        self.challenged()
    }

    /// Admits only callers of these kinds (`api_client`, `app`, `operator`); others are 403.
    #[must_use]
    pub fn kinds(mut self, kinds: &'static [&'static str]) -> Self {
        self.kinds = Some(kinds);
        self
    }

    /// Leaves the credential in the request for the service behind.
    #[must_use]
    pub fn forwarding(mut self) -> Self {
        self.forward = true;
        self
    }

    /// Refuses addresses from which too many bad keys came. Clones of this policy count together, and all that
    /// have one lockout.
    #[must_use]
    pub fn lockout(mut self, lockout: impl Into<Arc<Lockout>>) -> Self {
        self.lockout = Some(lockout.into());
        self
    }

    fn challenged(mut self) -> Self {
        let mut text = String::new();
        let own = self.sources.iter().any(|source| matches!(source, Source::Field(_)));
        for source in &self.sources {
            let comma = if text.is_empty() { "" } else { ", " };
            let realm = &self.realm;
            let _ = match source {
                // The scheme stands in the challenge already, with the field's name.
                Source::Authorization(scheme) if own && scheme.eq_ignore_ascii_case("ApiKey") => Ok(()),
                Source::Authorization(scheme) => write!(text, "{comma}{scheme} realm=\"{realm}\""),
                Source::Field(name) => write!(text, "{comma}ApiKey realm=\"{realm}\", header=\"{name}\""),
            };
        }
        self.challenge = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("ApiKey"));
        self
    }

    /// A credential that may be a guess.
    fn bad(&self, head: Head<'_>, cause: Unauthenticated) -> Denial {
        if let Some(lockout) = &self.lockout {
            lockout.note(head);
        }
        self.refuse(cause)
    }

    fn refuse(&self, cause: Unauthenticated) -> Denial {
        Denial::Unauthenticated { cause, challenge: self.challenge.clone() }
    }

    /// Whether a text that was never issued here may be a key of another gateway that came from there.
    fn may_be_foreign(&self, presented: &str) -> bool {
        (1..=LONGEST).contains(&presented.len()) && self.directory.has_by_sha256()
    }

    /// Whether a request has something where a key may stand.
    pub(super) fn is_presented(&self, head: Head<'_>) -> bool {
        let within = |source: &Source| match head.only(source.field()) {
            Ok(value) => value.is_some_and(|value| within(source, value).is_some()),
            Err(_) => true,
        };
        self.sources.iter().any(within)
    }

    /// The one credential of a request and the source it stood in.
    fn presented<'h>(&self, head: Head<'h>) -> Result<(&Source, &'h str), Denial> {
        let mut found = None;
        for source in &self.sources {
            let value = head.only(source.field()).map_err(|_| {
                Denial::bad_request(format!("The field {} stands more than once.", source.field()))
            })?;
            let Some(value) = value else { continue };
            let Some(credential) = within(source, value) else { continue };
            if found.replace((source, credential)).is_some() {
                return Err(Denial::bad_request("The request has more than one credential."));
            }
        }
        match found {
            None => Err(self.refuse(Unauthenticated::Missing)),
            Some((source, Ok(credential))) => Ok((source, credential)),
            Some((_, Err(NotText))) => Err(self.bad(head, Unauthenticated::Malformed)),
        }
    }
}

/// A credential with bytes that are no text.
struct NotText;

/// The credential within a field's value; `None` when the value is of another scheme.
fn within<'h>(source: &Source, value: &'h HeaderValue) -> Option<Result<&'h str, NotText>> {
    let Source::Authorization(scheme) = source else {
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

/// Whether a credential that was proved is in force, and its caller is one that may be here.
pub(super) fn accepted(
    key: &KeyEntry,
    kinds: Option<&[&str]>,
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
    if kinds.is_some_and(|kinds| !kinds.contains(&key.caller().kind())) {
        return Err(Denial::Forbidden(Forbidden::Kind));
    }
    Ok(())
}

impl Policy for ApiKey {
    fn admit(&self, head: Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        if let Some(lockout) = &self.lockout {
            lockout.check(head)?;
        }
        let (source, presented) = self.presented(head)?;
        let codes = source.is_of_codes();
        let found = if codes {
            let code = AppCode::parse(presented).map_err(|_| self.bad(head, Unauthenticated::Malformed))?;
            self.directory.find(code)
        } else {
            match app::ApiKey::parse(presented) {
                Ok(key) => self.directory.find(key),
                Err(_) if self.may_be_foreign(presented) => self.directory.find_by_sha256(presented),
                Err(_) => return Err(self.bad(head, Unauthenticated::Malformed).into()),
            }
        };
        let Some(key) = found.filter(|key| matches!(key.kind(), CredentialKind::AppCode(_)) == codes) else {
            return Err(self.bad(head, Unauthenticated::Unknown).into());
        };
        accepted(&key, self.kinds, head.now, || self.refuse(Unauthenticated::Expired))?;
        if !self.forward {
            admission.credential = Some(source.field().clone());
        }
        key.note_use(head.now.time);
        admission.recognise(Identity { key });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        app::{SealKey, Sealer, Secret},
        testing::{World, code, request},
    };

    fn ask(world: &World, policy: &ApiKey, fields: &[(&str, &str)]) -> Result<Admission, Denial> {
        world.ask(policy, &request("GET", "/", fields))
    }

    #[test]
    fn a_key_is_found_wherever_it_may_stand() {
        let world = World::new();
        let key = world.key();
        let policy = ApiKey::new(world.directory.clone());
        let (bearer, lower, own) =
            (format!("Bearer {key}"), format!("bearer  {key} "), format!("ApiKey {key}"));
        for (field, value) in [
            ("x-api-key", &key),
            ("authorization", &bearer),
            ("authorization", &lower),
            ("authorization", &own),
        ] {
            let admission = ask(&world, &policy, &[(field, value)]).unwrap();
            assert_eq!(admission.caller().unwrap().id.as_str(), "caller");
            assert_eq!(admission.credential.unwrap(), field);
        }
    }

    #[test]
    fn truth_table() {
        let world = World::new();
        let key = world.key();
        let cut = &key[..key.len() - 1];
        let foreign = app::ApiKey::generate(&app::KeyPrefix::default());
        let policy = ApiKey::new(world.directory.clone());
        let bearer = format!("Bearer {key}");
        let rows: [(&[(&str, &str)], _); 11] = [
            (&[], "credential-missing"),
            (&[("authorization", "Basic dTpw")], "credential-missing"),
            (&[("authorization", &key)], "credential-missing"),
            (&[("authorization", "Bearer")], "credential-malformed"),
            (&[("x-api-key", "")], "credential-malformed"),
            (&[("x-api-key", cut)], "credential-malformed"),
            (&[("x-api-key", "ключ")], "credential-malformed"),
            (&[("x-api-key", foreign.expose())], "credential-unknown"),
            (&[("x-api-key", &key), ("x-api-key", &key)], "bad-request"),
            (&[("x-api-key", &key), ("authorization", &bearer)], "bad-request"),
            (&[("authorization", &bearer), ("authorization", "Basic dTpw")], "bad-request"),
        ];
        for (fields, expected) in rows {
            assert_eq!(code(ask(&world, &policy, fields)), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_foreign_scheme_beside_the_key_is_none_of_our_business() {
        let world = World::new();
        let policy = ApiKey::new(world.directory.clone());
        let fields = [("x-api-key", &*world.key()), ("authorization", "Basic dTpw")];
        let mut admission = ask(&world, &policy, &fields).unwrap();
        let mut request = request("GET", "/", &fields);
        admission.prepare(&mut request);
        assert_eq!(request.headers().len(), 1);
        assert!(request.headers().contains_key("authorization"));
    }

    #[test]
    fn a_key_of_another_gateway_is_accepted_in_its_own_form() {
        use sha2::{Digest, Sha256};

        let world = World::new();
        let policy = ApiKey::new(world.directory.clone());
        let theirs = "Zm9yZWlnbi1rZXktMDAwMQ==";
        assert_eq!(code(ask(&world, &policy, &[("x-api-key", theirs)])), "credential-malformed");
        for text in [theirs, &"k".repeat(LONGEST), &"k".repeat(LONGEST + 1)] {
            world.key_with(|credential| {
                credential.kind = CredentialKind::Sha256Key;
                let peppers = world.directory.peppers();
                credential.digest = peppers.current().digest_of_sha256(&Sha256::digest(text).into());
            });
        }
        let sha256 = app::hex::hex(&Sha256::digest(theirs));
        for (key, expected) in [
            (theirs, "admitted"),
            (&"k".repeat(LONGEST), "admitted"),
            (&*world.key(), "admitted"),
            (&"k".repeat(LONGEST + 1), "credential-malformed"),
            ("", "credential-malformed"),
            (&sha256, "credential-unknown"),
            ("Zm9yZWlnbi1rZXktMDAwMg==", "credential-unknown"),
        ] {
            assert_eq!(code(ask(&world, &policy, &[("x-api-key", key)])), expected, "{key}");
        }
    }

    #[test]
    fn a_forwarding_route_leaves_the_credential() {
        let world = World::new();
        let policy = ApiKey::new(world.directory.clone()).forwarding();
        let fields = [("x-api-key", &*world.key())];
        let mut request = request("GET", "/", &fields);
        ask(&world, &policy, &fields).unwrap().prepare(&mut request);
        assert!(request.headers().contains_key("x-api-key"));
    }

    #[test]
    fn who_uses_a_key_that_was_replaced_is_told_so_and_until_when_it_holds() {
        let world = World::new();
        let key = world.key_with(|credential| {
            credential.deprecated_at = Some("2026-11-23T03:00:00.7Z".parse().unwrap());
            credential.not_after = Some("2126-11-30T03:00:00.7Z".parse().unwrap());
        });
        let policy = ApiKey::new(world.directory.clone());
        let stamped = |key: &str| {
            let mut headers = http::HeaderMap::new();
            ask(&world, &policy, &[("x-api-key", key)]).unwrap().stamp(&mut headers);
            headers
        };
        let headers = stamped(&key);
        assert_eq!(headers["deprecation"], "@1795402800");
        assert_eq!(headers["sunset"], "Sat, 30 Nov 2126 03:00:00 GMT");
        assert!(stamped(&world.key()).is_empty());
    }

    #[test]
    fn an_access_key_is_not_presented() {
        let world = World::new();
        let sealer = Sealer::new(SealKey::new(1, &[3; 32]));
        let secret = sealer.seal(&Secret::from("secret".to_owned()), &["credential", "id", "secret"]);
        let key = world.key_with(|credential| credential.kind = CredentialKind::Signing(secret.clone()));
        let policy = ApiKey::new(world.directory.clone());
        assert_eq!(code(ask(&world, &policy, &[("x-api-key", &key)])), "credential-unknown");
        assert!(world.directory.signer(&key).is_some());
        assert!(world.directory.signer(&world.key()).is_none());
    }

    #[test]
    fn an_app_code_proves_its_app_in_its_own_field_only() {
        let world = World::new();
        let sealer = Sealer::new(SealKey::new(1, &[3; 32]));
        let code = AppCode::generate();
        let sealed = sealer.seal(code.secret(), &["credential", "id", "secret"]);
        let key = world.key();
        world.key_with(|credential| {
            credential.digest = world.directory.peppers().current().digest(code.expose());
            credential.kind = CredentialKind::AppCode(sealed);
        });
        let policy =
            ApiKey::new(world.directory.clone()).sources([Source::x_api_key(), Source::x_apig_app_code()]);
        let unknown = AppCode::generate();
        for (field, value, expected) in [
            ("x-apig-appcode", code.expose(), "admitted"),
            ("x-apig-appcode", unknown.expose(), "credential-unknown"),
            ("x-apig-appcode", &code.expose()[1..], "credential-malformed"),
            ("x-apig-appcode", &key, "credential-malformed"),
            ("x-api-key", code.expose(), "credential-malformed"),
            ("x-api-key", &key, "admitted"),
        ] {
            assert_eq!(code_of(&world, &policy, &[(field, value)]), expected, "{field}");
        }
        let both = [("x-api-key", &*key), ("x-apig-appcode", code.expose())];
        assert_eq!(code_of(&world, &policy, &both), "bad-request");
    }

    fn code_of(world: &World, policy: &ApiKey, fields: &[(&str, &str)]) -> &'static str {
        code(ask(world, policy, fields))
    }

    #[test]
    fn an_expired_key_is_refused_from_the_moment_on() {
        let world = World::new();
        let key =
            world.key_with(|credential| credential.not_after = Some(world.now() + Duration::from_secs(10)));
        let policy = ApiKey::new(world.directory.clone());
        world.clock.advance(Duration::from_nanos(9_999_999_999));
        assert!(ask(&world, &policy, &[("x-api-key", &key)]).is_ok());
        world.clock.advance(Duration::from_nanos(1));
        assert_eq!(code(ask(&world, &policy, &[("x-api-key", &key)])), "credential-expired");
    }

    #[test]
    fn disabled_is_forbidden_not_unknown() {
        let world = World::new();
        let policy = ApiKey::new(world.directory.clone());
        let key = world.key_with(|credential| credential.status = Status::Disabled);
        assert_eq!(code(ask(&world, &policy, &[("x-api-key", &key)])), "credential-disabled");
        let key = world.key();
        world.edit_caller(|caller| caller.status = Status::Disabled);
        assert_eq!(code(ask(&world, &policy, &[("x-api-key", &key)])), "caller-disabled");
    }

    #[test]
    fn the_challenge_names_every_source() {
        let world = World::new();
        let policy = ApiKey::new(world.directory.clone())
            .realm("a\"b\n")
            .sources([Source::x_api_key(), Source::bearer()]);
        let Err(Denial::Unauthenticated { challenge, .. }) = ask(&world, &policy, &[]) else { panic!() };
        assert_eq!(challenge, "ApiKey realm=\"ab\", header=\"x-api-key\", Bearer realm=\"ab\"");
    }

    #[test]
    fn a_kind_with_no_business_here_is_forbidden() {
        let world = World::new();
        let policy = ApiKey::new(world.directory.clone()).kinds(&["operator"]);
        assert_eq!(code(ask(&world, &policy, &[("x-api-key", &world.key())])), "caller-kind");
    }
}
