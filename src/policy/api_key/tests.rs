//! Tests of the authentication by API key.

use std::time::Duration;

use super::*;
use crate::{
    model::{SealKey, Sealer, Secret},
    test_support::{Fixture, code, request},
};

fn ask(world: &Fixture, policy: &ApiKey, fields: &[(&str, &str)]) -> Result<Admission, Denial> {
    world.ask(policy, &request("GET", "/", fields))
}

#[test]
fn key_is_found_in_every_source() {
    let world = Fixture::new();
    let key = world.key();
    let policy = ApiKey::new(world.directory.clone());
    let (bearer, lower, own) = (format!("Bearer {key}"), format!("bearer  {key} "), format!("ApiKey {key}"));
    for (field, value) in
        [("x-api-key", &key), ("authorization", &bearer), ("authorization", &lower), ("authorization", &own)]
    {
        let admission = ask(&world, &policy, &[(field, value)]).unwrap();
        assert_eq!(admission.caller().unwrap().id.as_str(), "caller");
        assert_eq!(admission.response.credential.unwrap(), field);
    }
}

#[test]
fn api_key_truth_table() {
    let world = Fixture::new();
    let key = world.key();
    let cut = &key[..key.len() - 1];
    let foreign = model::GeneratedKey::generate(&model::KeyPrefix::default());
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
fn other_authorization_scheme_is_ignored() {
    let world = Fixture::new();
    let policy = ApiKey::new(world.directory.clone());
    let fields = [("x-api-key", &*world.key()), ("authorization", "Basic dTpw")];
    let mut admission = ask(&world, &policy, &fields).unwrap();
    let mut request = request("GET", "/", &fields);
    admission.prepare_upstream(&mut request);
    assert_eq!(request.headers().len(), 1);
    assert!(request.headers().contains_key("authorization"));
}

#[test]
fn key_of_another_gateway_keeps_its_format() {
    use sha2::{Digest, Sha256};

    let world = Fixture::new();
    let policy = ApiKey::new(world.directory.clone());
    let theirs = "Zm9yZWlnbi1rZXktMDAwMQ==";
    assert_eq!(code(ask(&world, &policy, &[("x-api-key", theirs)])), "credential-malformed");
    for text in [theirs, &"k".repeat(MAX_KEY_LEN), &"k".repeat(MAX_KEY_LEN + 1)] {
        world.key_with(|credential| {
            credential.kind = CredentialKind::Sha256Key;
            let peppers = world.directory.peppers();
            credential.digest = peppers.current().digest_of_sha256(&Sha256::digest(text).into());
        });
    }
    let sha256 = model::hex::encode(&Sha256::digest(theirs));
    for (key, expected) in [
        (theirs, "admitted"),
        (&"k".repeat(MAX_KEY_LEN), "admitted"),
        (&*world.key(), "admitted"),
        (&"k".repeat(MAX_KEY_LEN + 1), "credential-malformed"),
        ("", "credential-malformed"),
        (&sha256, "credential-unknown"),
        ("Zm9yZWlnbi1rZXktMDAwMg==", "credential-unknown"),
    ] {
        assert_eq!(code(ask(&world, &policy, &[("x-api-key", key)])), expected, "{key}");
    }
}

#[test]
fn forwarding_route_keeps_the_credential() {
    let world = Fixture::new();
    let policy = ApiKey::new(world.directory.clone()).forward_credential();
    let fields = [("x-api-key", &*world.key())];
    let mut request = request("GET", "/", &fields);
    ask(&world, &policy, &fields).unwrap().prepare_upstream(&mut request);
    assert!(request.headers().contains_key("x-api-key"));
}

#[test]
fn replaced_key_gets_deprecation_and_sunset_headers() {
    let world = Fixture::new();
    let key = world.key_with(|credential| {
        credential.deprecated_at = Some("2026-11-23T03:00:00.7Z".parse().unwrap());
        credential.not_after = Some("2126-11-30T03:00:00.7Z".parse().unwrap());
    });
    let policy = ApiKey::new(world.directory.clone());
    let stamped = |key: &str| {
        let mut headers = http::HeaderMap::new();
        ask(&world, &policy, &[("x-api-key", key)]).unwrap().add_response_headers(&mut headers);
        headers
    };
    let headers = stamped(&key);
    assert_eq!(headers["deprecation"], "@1795402800");
    assert_eq!(headers["sunset"], "Sat, 30 Nov 2126 03:00:00 GMT");
    let headers = stamped(&world.key());
    assert!(!headers.contains_key("deprecation") && !headers.contains_key("sunset"));
}

#[test]
fn access_key_is_not_accepted_as_a_key() {
    let world = Fixture::new();
    let sealer = Sealer::new(SealKey::new(1, &[3; 32]));
    let secret = sealer.seal(&Secret::from("secret".to_owned()), &["tenant", "credential", "id", "secret"]);
    let key = world.key_with(|credential| credential.kind = CredentialKind::Signing(secret.clone()));
    let policy = ApiKey::new(world.directory.clone());
    assert_eq!(code(ask(&world, &policy, &[("x-api-key", &key)])), "credential-unknown");
    assert!(world.directory.find_signing_key(&key).is_some());
    assert!(world.directory.find_signing_key(&world.key()).is_none());
}

#[test]
fn app_code_is_accepted_in_its_own_header_only() {
    let world = Fixture::new();
    let sealer = Sealer::new(SealKey::new(1, &[3; 32]));
    let code = AppCode::generate();
    let sealed = sealer.seal(code.secret(), &["tenant", "credential", "id", "secret"]);
    let key = world.key();
    world.key_with(|credential| {
        credential.digest = world.directory.peppers().current().digest(code.expose());
        credential.kind = CredentialKind::AppCode(sealed);
    });
    let policy =
        ApiKey::new(world.directory.clone()).sources([KeySource::x_api_key(), KeySource::x_apig_app_code()]);
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
    let (denial, _) = world.deny(&policy, &request("GET", "/", &both));
    assert_eq!(
        denial.detail(),
        "The request has a credential in x-api-key and one in x-apig-appcode. Send one."
    );
}

fn code_of(world: &Fixture, policy: &ApiKey, fields: &[(&str, &str)]) -> &'static str {
    code(ask(world, policy, fields))
}

#[test]
fn key_is_denied_from_its_expiry_on() {
    let world = Fixture::new();
    let key = world.key_with(|credential| credential.not_after = Some(world.now() + Duration::from_secs(10)));
    let policy = ApiKey::new(world.directory.clone());
    world.clock.advance(Duration::from_nanos(9_999_999_999));
    assert!(ask(&world, &policy, &[("x-api-key", &key)]).is_ok());
    world.clock.advance(Duration::from_nanos(1));
    assert_eq!(code(ask(&world, &policy, &[("x-api-key", &key)])), "credential-expired");
}

#[test]
fn disabled_key_is_forbidden_not_unknown() {
    let world = Fixture::new();
    let policy = ApiKey::new(world.directory.clone());
    let key = world.key_with(|credential| credential.status = Status::Disabled);
    assert_eq!(code(ask(&world, &policy, &[("x-api-key", &key)])), "credential-disabled");
    let key = world.key();
    world.edit_caller(|caller| caller.status = Status::Disabled);
    assert_eq!(code(ask(&world, &policy, &[("x-api-key", &key)])), "caller-disabled");
}

#[test]
fn challenge_names_every_source() {
    let world = Fixture::new();
    let policy = ApiKey::new(world.directory.clone())
        .realm("a\"b\n")
        .sources([KeySource::x_api_key(), KeySource::bearer()]);
    let Err(Denial::Unauthenticated { challenge, .. }) = ask(&world, &policy, &[]) else { panic!() };
    assert_eq!(challenge, "ApiKey realm=\"ab\", header=\"x-api-key\", Bearer realm=\"ab\"");
}

#[test]
fn other_caller_kind_is_forbidden() {
    let world = Fixture::new();
    let policy = ApiKey::new(world.directory.clone()).caller_kinds(&["operator"]);
    assert_eq!(code(ask(&world, &policy, &[("x-api-key", &world.key())])), "caller-kind-not-allowed");
}

/// The key may be one of those that the missing secrets would find, so it is no guess either.
#[test]
fn unknown_key_is_503_while_the_secrets_are_in_doubt() {
    let world = Fixture::new();
    let known = world.key();
    let lockout = Arc::new(Lockout::new(2, Duration::from_secs(10), Duration::from_secs(10)));
    let policy = ApiKey::new(world.directory.clone()).lockout(lockout.clone());
    let unknown = model::GeneratedKey::generate(&model::KeyPrefix::default());
    let with = |key: &str| {
        let mut request = request("GET", "/", &[("x-api-key", key)]);
        request.extensions_mut().insert("192.0.2.1".parse::<std::net::IpAddr>().unwrap());
        code(world.ask(&policy, &request))
    };
    world.directory.set_checked_seal_keys(vec![1]);
    world.directory.count_regression();
    for _ in 0..3 {
        assert_eq!(with(unknown.expose()), "unavailable");
    }
    assert_eq!((with("junk"), lockout.remembered()), ("credential-malformed", 1));
    assert_eq!(with(&known), "admitted");
    world.directory.secrets_fit(world.directory.doubts());
    assert_eq!(with(unknown.expose()), "credential-unknown");
}
