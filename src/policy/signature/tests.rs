use std::time::Duration;

use http::{HeaderValue, Request};

use super::*;
use crate::{
    model::{App, Caller, CallerKind, Creator, Credential, CredentialId, SealKey, Status},
    problem::{self, Problem},
    signature::{Signer, UNSIGNED_PAYLOAD, format_date, hash},
    test_support::{Fixture, code, request, with_content},
};

const APP_KEY: &str = "app-key-0001";
const SECRET: &str = "secret-test-0001";
const NAMES: &str = "host;x-sdk-date";

/// A fixture with an app that signs requests.
struct SigningFixture {
    world: Fixture,
    sealer: Arc<Sealer>,
}

impl SigningFixture {
    fn new() -> Self {
        let fixture =
            Self { world: Fixture::new(), sealer: Arc::new(Sealer::new(SealKey::new(1, &[3; 32]))) };
        fixture.app(|_| {});
        fixture
    }

    fn app(&self, edit: impl FnOnce(&mut Caller)) {
        let secret = self.sealer.seal(&Secret::from(SECRET.to_owned()), &["tenant", "app", "app", "secret"]);
        self.world.edit_caller(|caller| {
            caller.id = "app".parse().unwrap();
            let (remark, key, creator) = (String::new(), APP_KEY.into(), Creator::User);
            caller.kind = CallerKind::App(App { remark, key, secret, creator, acl: None, quota: None });
            edit(caller);
        });
    }

    /// Creates an access key of the caller, with the secret of the app.
    fn signing_credential(&self, edit: impl FnOnce(&mut Credential)) -> String {
        self.world.key_with(|credential| {
            credential.id = CredentialId::random();
            let place = ["tenant", "credential", credential.id.as_str(), "secret"];
            credential.kind =
                CredentialKind::Signing(self.sealer.seal(&Secret::from(SECRET.to_owned()), &place));
            edit(credential);
        })
    }

    fn policy(&self) -> Signature {
        Signature::new(self.world.directory.clone(), self.sealer.clone())
    }

    /// Returns a request that is signed now.
    fn signed(
        &self,
        access: &str,
        method: &str,
        uri: &str,
        fields: &[(&str, &str)],
        content: &[u8],
    ) -> Request<()> {
        let mut fields = fields.to_vec();
        let date = format_date(self.world.now());
        fields.extend([("host", "gw.example.com"), ("x-sdk-date", &*date)]);
        let mut signed = request(method, uri, &fields);
        let payload = hash(content);
        let stated = fields.iter().find(|(name, _)| *name == "x-sdk-content-sha256").map(|(_, value)| *value);
        let parts = Parts {
            method,
            path: signed.uri().path(),
            query: signed.uri().query().unwrap_or_default(),
            authority: None,
            headers: signed.headers(),
        };
        let signature = Signer::new(access, SECRET.as_bytes());
        let value = signature.sign(parts, NAMES, stated.unwrap_or(payload.as_str())).unwrap().authorization();
        signed.headers_mut().insert("authorization", value.parse().unwrap());
        if content.is_empty() { signed } else { with_content(signed) }
    }

    fn get(&self, access: &str) -> Request<()> {
        self.signed(access, "GET", "/orders/42?a=b", &[], b"")
    }

    fn code(&self, policy: &impl Policy, request: &Request<()>) -> &'static str {
        code(self.world.ask(policy, request))
    }

    /// Returns the outcome of an evaluation as text.
    fn ask(&self, policy: &impl Policy, request: &Request<()>, admission: &mut Admission) -> String {
        let content = request.method() == "POST";
        let moment = crate::clock::Clock::now(&self.world.clock);
        match admission.evaluate(policy, &Head::from_request(request, None, content, moment)) {
            Ok(()) => "admitted".into(),
            Err(Stop::Deny(denial)) => denial.code().into(),
            Err(stop) => format!("{stop:?}"),
        }
    }
}

fn replaced(mut request: Request<()>, name: &'static str, value: &str) -> Request<()> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

#[test]
fn apps_and_signing_credentials_authenticate_by_signature() {
    let fixture = SigningFixture::new();
    let access = fixture.signing_credential(|_| {});
    for (access, caller, kind) in [(APP_KEY, "app", "app"), (&access, "caller", "api_client")] {
        let request = fixture.get(access);
        let admission = fixture.world.ask(&fixture.policy(), &request).unwrap();
        let entry = admission.caller().unwrap();
        assert_eq!((entry.id.as_str(), entry.kind()), (caller, kind));
        assert_eq!(admission.response.credential.as_ref().unwrap(), "authorization");
        let forwarding = fixture.world.ask(&fixture.policy().forward_credential(), &request).unwrap();
        assert!(forwarding.response.credential.is_none());
    }
}

#[test]
fn signature_truth_table() {
    let fixture = SigningFixture::new();
    let well = fixture.get(APP_KEY);
    let authorization = well.headers()["authorization"].to_str().unwrap().to_owned();
    let with = |value: &str| replaced(well.clone(), "authorization", value);
    let twice = |name: &'static str| {
        let mut request = well.clone();
        let value = request.headers()[name].clone();
        request.headers_mut().append(name, value);
        request
    };
    let expired = fixture.signing_credential(|credential| credential.not_after = Some(fixture.world.now()));
    let disabled = fixture.signing_credential(|credential| credential.status = Status::Disabled);
    let unsigned = [("x-sdk-content-sha256", UNSIGNED_PAYLOAD)];
    for (request, expected) in [
        (request("GET", "/", &[]), "credential-missing"),
        (with("Bearer x"), "credential-missing"),
        (with("SDK-HMAC-SHA256"), "signature-malformed"),
        (with("SDK-HMAC-SHA256 Access=, SignedHeaders=host;x-sdk-date, Signature=00"), "signature-malformed"),
        (with("SDK-HMAC-SHA256 \u{e9}"), "signature-malformed"),
        (with(&authorization.replace("Access=", "Credential=")), "signature-malformed"),
        (with(&authorization.replace("host;", "accept;host;")), "signature-malformed"),
        (with(&authorization.replace(APP_KEY, "nobodys-key")), "credential-unknown"),
        (with(&authorization.replace(APP_KEY, SECRET)), "credential-unknown"),
        (with(&authorization[..authorization.len() - 1]), "signature-mismatch"),
        (replaced(well.clone(), "host", "other.example.com"), "signature-mismatch"),
        (replaced(well.clone(), "accept", "text/html"), "admitted"),
        (twice("authorization"), "bad-request"),
        (twice("x-sdk-date"), "bad-request"),
        (fixture.signed(APP_KEY, "GET", "/", &unsigned, b""), "admitted"),
        (with_content(fixture.signed(APP_KEY, "POST", "/", &unsigned, b"")), "admitted"),
        (fixture.get(&fixture.world.key()), "credential-unknown"),
        (fixture.get(&expired), "credential-expired"),
        (fixture.get(&disabled), "credential-disabled"),
    ] {
        assert_eq!(fixture.code(&fixture.policy(), &request), expected, "{:?}", request.headers());
    }
    assert_eq!(fixture.code(&fixture.policy().caller_kinds(&["operator"]), &well), "caller-kind-not-allowed");
    let request = fixture.signed(APP_KEY, "GET", "/", &unsigned, b"");
    assert_eq!(fixture.code(&fixture.policy().only_signed_content(), &request), "admitted");
    let with_content = fixture.signed(APP_KEY, "POST", "/", &unsigned, b"x");
    assert_eq!(fixture.code(&fixture.policy().only_signed_content(), &with_content), "content-unsigned");
    fixture.app(|caller| caller.status = Status::Disabled);
    assert_eq!(fixture.code(&fixture.policy(), &well), "caller-disabled");
}

#[test]
fn changed_secret_applies_and_unreadable_secret_is_internal() {
    let fixture = SigningFixture::new();
    let request = fixture.get(APP_KEY);
    let put = |sealer: &Sealer, secret: &str, place: [&str; 2]| {
        let [tenant, app] = place;
        let sealed = sealer.seal(&Secret::from(secret.to_owned()), &[tenant, "app", app, "secret"]);
        fixture.app(|caller| {
            if let CallerKind::App(app) = &mut caller.kind {
                app.secret = sealed;
            }
        });
    };
    put(&fixture.sealer, "another", ["tenant", "app"]);
    assert_eq!(fixture.code(&fixture.policy(), &request), "signature-mismatch");
    for elsewhere in [["tenant", "another app"], ["another tenant", "app"]] {
        put(&fixture.sealer, SECRET, elsewhere);
        assert_eq!(fixture.code(&fixture.policy(), &request), "internal", "{elsewhere:?}");
    }
    put(&Sealer::new(SealKey::new(2, &[3; 32])), SECRET, ["tenant", "app"]);
    assert_eq!(fixture.code(&fixture.policy(), &request), "internal");
}

#[test]
fn seal_keys_can_be_replaced_under_traffic() {
    let fixture = SigningFixture::new();
    let policy = fixture.policy();
    let (known, unknown) = (fixture.get(APP_KEY), fixture.get("nobodys-key"));
    let next = Sealer::new(SealKey::new(2, &[4; 32]));
    fixture.sealer.replace_keys(&next.with_previous(SealKey::new(1, &[3; 32])));
    assert_eq!(fixture.code(&policy, &known), "admitted");
    fixture.sealer.replace_keys(&Sealer::new(SealKey::new(2, &[4; 32])));
    assert_eq!(fixture.code(&policy, &unknown), "credential-unknown");
    fixture.app(|_| {});
    assert_eq!(fixture.code(&policy, &known), "admitted");
}

/// An app may choose its AppKey. A key that equals the access key of another caller must not lock that caller out.
#[test]
fn app_key_equal_to_an_access_key_does_not_conflict() {
    let fixture = SigningFixture::new();
    let access = fixture.signing_credential(|_| {});
    let other =
        fixture.sealer.seal(&Secret::from("of the app".to_owned()), &["tenant", "app", "app", "secret"]);
    fixture.app(|caller| {
        if let CallerKind::App(app) = &mut caller.kind {
            (app.key, app.secret) = (access.clone(), other);
        }
    });
    let admission = fixture.world.ask(&fixture.policy(), &fixture.get(&access)).unwrap();
    assert_eq!(admission.caller().unwrap().id.as_str(), "caller");
}

#[test]
fn signature_date_is_valid_for_15_minutes_either_way() {
    let fixture = SigningFixture::new();
    let request = fixture.get(APP_KEY);
    fixture.world.clock.advance(Duration::from_secs(900));
    assert_eq!(fixture.code(&fixture.policy(), &request), "admitted");
    fixture.world.clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.code(&fixture.policy(), &request), "signature-expired");
    let tomorrow = replaced(request, "x-sdk-date", "20260102T000000Z");
    assert_eq!(fixture.code(&fixture.policy(), &tomorrow), "signature-expired");
}

/// The texts of APIG's contract, section 3.3, in the detail of a problem.
#[test]
fn denial_names_the_received_value() {
    let fixture = SigningFixture::new();
    let well = fixture.get(APP_KEY);
    let authorization = well.headers()["authorization"].to_str().unwrap().to_owned();
    let with = |value: &str| replaced(well.clone(), "authorization", value);
    let empty = hash(b"");
    let canonical = format!(
        "verify signature fail, canonicalRequest:GET|/orders/42/|a=b|host:other.example.com|\
         x-sdk-date:20260101T000000Z||host;x-sdk-date|{}",
        empty.as_str()
    );
    let old = replaced(well.clone(), "x-sdk-date", "20251231T234459Z");
    for (request, text) in [
        (
            with("SDK-HMAC-SHA256 Access=, SignedHeaders=host;x-sdk-date, Signature=00"),
            "Access or Credential is empty in Authorization",
        ),
        (with(&authorization.replace(APP_KEY, "unknown-key-000")), "app not found, appkey unknown-key-000"),
        (replaced(well.clone(), "host", "other.example.com"), &canonical),
        (old, "signature expired, signature time:20251231T234459Z,server time:20260101T000000Z"),
    ] {
        let (denial, admission) = fixture.world.deny(&fixture.policy().realm("o\"rders"), &request);
        let answer = problem::render(&denial, &Problem, &admission);
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.headers()["www-authenticate"], "SDK-HMAC-SHA256 realm=\"orders\"");
        let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body["detail"], format!("The signature is invalid: {text}."));
    }
}

#[test]
fn content_is_requested_once_to_complete_the_signature() {
    let fixture = SigningFixture::new();
    let policy = fixture.policy();
    let request = fixture.signed(APP_KEY, "POST", "/orders", &[], b"{}");
    for (content, expected) in [(b"{}", "admitted"), (b"[]", "signature-mismatch")] {
        let mut admission = Admission::default();
        assert!(fixture.ask(&policy, &request, &mut admission).starts_with("NeedsBody("));
        assert!(admission.response.identity.is_none());
        admission.set_content_sha256(Sha256::digest(content).into());
        assert_eq!(fixture.ask(&policy, &request, &mut admission), expected);
        assert_eq!(admission.response.identity.is_some(), expected == "admitted");
        assert!(admission.take_content_check().is_none());
    }
}

#[test]
fn stated_content_hash_is_verified_later() {
    let fixture = SigningFixture::new();
    let stated = hash(b"{}");
    let stated = [("x-sdk-content-sha256", stated.as_str())];
    let mut request = fixture.signed(APP_KEY, "POST", "/orders", &stated, b"{}");
    let mut admission = Admission::default();
    assert_eq!(fixture.ask(&fixture.policy(), &request, &mut admission), "admitted");
    let mut verifier = admission.take_content_check().unwrap();
    assert_eq!(verifier.push("{}".into()), None);
    assert_eq!(verifier.finish().unwrap().unwrap(), "{}");
    *request.method_mut() = http::Method::GET;
    assert_eq!(fixture.ask(&fixture.policy(), &request, &mut Admission::default()), "signature-mismatch");
    let request = fixture.signed(APP_KEY, "GET", "/orders", &stated, b"");
    assert_eq!(fixture.ask(&fixture.policy(), &request, &mut Admission::default()), "content-mismatch");
    let mut known = Admission::default();
    known.set_content_sha256(Sha256::digest(b"[]").into());
    let request = fixture.signed(APP_KEY, "POST", "/orders", &stated, b"{}");
    assert_eq!(fixture.ask(&fixture.policy(), &request, &mut known), "content-mismatch");
}

#[test]
fn unknown_access_key_does_not_buffer_content() {
    let fixture = SigningFixture::new();
    let request = fixture.signed("nobodys-key", "POST", "/orders", &[], b"{}");
    assert_eq!(fixture.ask(&fixture.policy(), &request, &mut Admission::default()), "credential-unknown");
}

#[test]
fn unknown_signer_is_503_while_the_secrets_are_in_doubt() {
    let fixture = SigningFixture::new();
    let sealed_elsewhere = Sealer::new(SealKey::new(2, &[4; 32]));
    fixture.world.directory.set_checked_seal_keys(vec![1]);
    fixture.world.directory.count_regression();
    let policy = Signature::new(fixture.world.directory.clone(), sealed_elsewhere.into());
    assert_eq!(fixture.code(&policy, &fixture.get(APP_KEY)), "unavailable");
    assert_eq!(fixture.code(&fixture.policy(), &fixture.get("nobodys-key")), "unavailable");
    assert_eq!(fixture.code(&fixture.policy(), &fixture.get(APP_KEY)), "admitted");
    assert_eq!(
        fixture.code(&fixture.policy(), &replaced(fixture.get(APP_KEY), "host", "x")),
        "signature-mismatch"
    );
    fixture.world.directory.secrets_fit(fixture.world.directory.doubts());
    assert_eq!(fixture.code(&fixture.policy(), &fixture.get("nobodys-key")), "credential-unknown");
    assert_eq!(fixture.code(&policy, &fixture.get(APP_KEY)), "internal");
}

#[test]
fn signature_and_api_key_exclude_each_other() {
    let fixture = SigningFixture::new();
    let key = fixture.world.key();
    let policy = fixture.policy().realm("a").or(ApiKey::new(fixture.world.directory.clone()).realm("a"));
    let signed = fixture.get(APP_KEY);
    let both = replaced(signed.clone(), "x-api-key", &key);
    let mut two = signed.clone();
    two.headers_mut().append("authorization", HeaderValue::try_from(format!("Bearer {key}")).unwrap());
    for (request, expected) in [
        (&signed, "admitted"),
        (&request("GET", "/", &[("x-api-key", &key)]), "admitted"),
        (&request("GET", "/", &[("x-api-key", "junk")]), "credential-malformed"),
        (&request("GET", "/", &[]), "credential-missing"),
        (&replaced(signed.clone(), "host", "x"), "signature-mismatch"),
        (&both, "bad-request"),
        (&two, "bad-request"),
    ] {
        let outcome = fixture.world.ask(&policy, request);
        if let Err(Denial::Unauthenticated { challenge, .. }) = &outcome {
            let all =
                "ApiKey realm=\"a\", header=\"x-api-key\", Bearer realm=\"a\", SDK-HMAC-SHA256 realm=\"a\"";
            assert_eq!(challenge, all);
        }
        assert_eq!(code(outcome), expected);
    }
}

#[test]
fn bad_keys_and_bad_signatures_share_a_lockout() {
    let lockout = || Lockout::new(2, Duration::from_secs(10), Duration::from_secs(10));
    // Only one of them has a lockout, or each has its own.
    for (of_keys, of_signatures) in [(true, false), (false, true), (true, true)] {
        let fixture = SigningFixture::new();
        let (keys, signatures) = (ApiKey::new(fixture.world.directory.clone()), fixture.policy());
        let keys = if of_keys { keys.lockout(lockout()) } else { keys };
        let signatures = if of_signatures { signatures.lockout(lockout()) } else { signatures };
        let policy = signatures.or(keys);
        let from_here = |mut request: Request<()>| {
            request.extensions_mut().insert("192.0.2.1".parse::<std::net::IpAddr>().unwrap());
            fixture.code(&policy, &request)
        };
        let old = replaced(fixture.get(APP_KEY), "x-sdk-date", "20250101T000000Z");
        assert_eq!(from_here(old), "signature-expired", "which is no guess");
        assert_eq!(from_here(replaced(fixture.get(APP_KEY), "host", "x")), "signature-mismatch");
        assert_eq!(from_here(fixture.get(APP_KEY)), "admitted");
        assert_eq!(from_here(request("GET", "/", &[("x-api-key", "junk")])), "credential-malformed");
        assert_eq!(from_here(replaced(fixture.get(APP_KEY), "host", "x")), "lockout");
        assert_eq!(from_here(request("GET", "/", &[("x-api-key", "junk")])), "lockout");
        assert_eq!(from_here(fixture.get(APP_KEY)), "admitted", "a valid signature passes");
        assert_eq!(fixture.code(&policy, &fixture.get(APP_KEY)), "admitted");
    }
}
