//! Imports of keys from other gateways.

use std::{convert::Infallible, sync::Arc, time::Duration};

use base64::{Engine, prelude::*};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use portcullis::{
    clock::{Clock, ManualClock},
    directory::Directory,
    model::{
        Access, Caller, CallerKind, Credential, CredentialKind, Entity, GeneratedKey as Key, KeyPrefix,
        Pepper, Peppers, Role, Scope, Scopes, Status,
    },
    policy::ApiKey,
    registry::{CredentialFilter, NewCaller, NewTenant, Registry, RegistryExt, load},
    tower::PortcullisLayer,
};
use portcullis_surfaces::transfer::{
    ImportError, ImportJob, ImportedKeys, KeyFileFormat, KeyImport, KeyRows, LineError,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tower::{Layer, ServiceExt, service_fn};

use crate::test_registry::{TestRegistry, hex, peppers};
use portcullis_test::fixtures::{actor, client, clock, key, plan, tenant};

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Creates two tenants with a caller each, one of which has a plan.
async fn prepare(registry: &dyn Registry) -> [Caller; 2] {
    registry.put_plan(plan("p", 1), &actor()).await.unwrap();
    for id in ["acme", "other"] {
        registry.create_tenant(NewTenant { max_callers: 4, ..tenant(id) }, &actor()).await.unwrap();
    }
    let named = |tenant: &str, id: &str| NewCaller { id: id.parse().unwrap(), ..client(tenant, id) };
    let ours = NewCaller { plan: Some("p".parse().unwrap()), ..named("acme", "billing") };
    let ours = registry.create_caller(ours, &actor()).await.unwrap();
    [ours, registry.create_caller(named("other", "theirs"), &actor()).await.unwrap()]
}

async fn import(to: &TestRegistry, text: &str, form: KeyFileFormat) -> Result<ImportedKeys, ImportError> {
    let rows = KeyRows::read(text.as_bytes(), form)?;
    KeyImport::new(rows, &peppers()).create_callers(true).import_into(&*to.registry, &actor()).await
}

/// Returns all credentials, ordered by name.
async fn stored(to: &TestRegistry) -> Vec<Credential> {
    let all = CredentialFilter { limit: 9, ..CredentialFilter::default() };
    let mut stored = to.registry.credentials(&all).await.unwrap();
    stored.sort_by(|one, other| one.name.cmp(&other.name));
    stored
}

/// Returns the response of the Tower stack to a key: the caller, or the status.
async fn presented(to: &TestRegistry, key: &str) -> Result<String, u16> {
    let directory = Arc::new(Directory::new(peppers()));
    load(&*to.registry, &directory).await.unwrap();
    let now: Arc<ManualClock> = clock();
    let inner = service_fn(|request: Request<Full<Bytes>>| async move {
        let admission = request.extensions().get::<portcullis::Admission>().unwrap();
        let caller = admission.caller().unwrap().id.to_string();
        Ok::<_, Infallible>(Response::new(Full::from(Bytes::from(caller))))
    });
    let stack = PortcullisLayer::new(ApiKey::new(directory)).clock(now).pass_through().layer(inner);
    let request = Request::builder().uri("/x").header("x-api-key", key).body(Full::default()).unwrap();
    let response = stack.oneshot(request).await.unwrap();
    if response.status() != 200 {
        return Err(response.status().as_u16());
    }
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn imported_digest_admits_its_key_only() {
    // Every byte of one digest is a character that is allowed in a header.
    let texts = ["k-0001-from-elsewhere", "k-0002-from-elsewhere", "k-0003-from-elsewhere", "sk_live/4+5=="];
    let digests = [
        hex(&sha256(texts[0])),
        BASE64_STANDARD.encode(sha256(texts[1])),
        BASE64_URL_SAFE_NO_PAD.encode(sha256(texts[2])),
        hex(&sha256(texts[3])).to_uppercase(),
    ];
    let rows = digests.iter().enumerate().map(|(at, digest)| {
        format!(
            "{}\n",
            json!({ "tenant": "acme", "caller": "billing", "name": at.to_string(), "digest": digest })
        )
    });
    let rows: String = rows.collect();
    for to in TestRegistry::each().await {
        prepare(&*to.registry).await;
        let ours = Key::generate(&KeyPrefix::default());
        assert_eq!(presented(&to, texts[0]).await, Err(401));
        let imported = import(&to, &rows, KeyFileFormat::Ndjson).await.unwrap();
        assert_eq!(imported, ImportedKeys { keys: 4, callers: 0 });
        to.is_sound().await;
        for text in texts {
            assert_eq!(presented(&to, text).await.as_deref(), Ok("billing"), "{text}");
        }
        let stored = stored(&to).await;
        for refused in digests.iter().cloned().chain([
            ours.expose().to_owned(),
            format!("sha256{}", digests[0]),
            format!("{}x", texts[0]),
            texts[0][1..].to_owned(),
        ]) {
            assert_eq!(presented(&to, &refused).await, Err(401), "{refused}");
        }
        for credential in &stored {
            assert_eq!(credential.kind, CredentialKind::Sha256Key);
            let digest = String::from(credential.digest);
            assert_eq!(presented(&to, &digest).await, Err(401));
            // The store alone does not reveal the key: it contains neither the key nor its SHA-256.
            let record = serde_json::to_string(credential).unwrap();
            assert!(texts.iter().all(|text| !record.contains(text) && !record.contains(&hex(&sha256(text)))));
        }
    }
}

#[tokio::test]
async fn imported_plain_key_of_any_format_is_accepted() {
    let (ours, foreign) = (Key::generate(&"their_live".parse().unwrap()), "0123456789abcdef");
    let csv = format!("tenant,caller,name,key\nacme,billing,a,{}\nacme,billing,b,{foreign}\n", ours.expose());
    for to in TestRegistry::each().await {
        prepare(&*to.registry).await;
        import(&to, &csv, KeyFileFormat::Csv).await.unwrap();
        assert_eq!(presented(&to, ours.expose()).await.as_deref(), Ok("billing"));
        assert_eq!(presented(&to, foreign).await.as_deref(), Ok("billing"));
        let stored = stored(&to).await;
        assert_eq!((&stored[0].kind, &*stored[0].hint), (&CredentialKind::Key, ours.hint()));
        assert_eq!((&stored[1].kind, &*stored[1].hint), (&CredentialKind::Sha256Key, "0123"));
    }
}

#[tokio::test]
async fn row_creates_what_it_describes() {
    let digest = hex(&sha256("some key from elsewhere"));
    let row = json!({
        "tenant": "acme", "caller": "new", "name": "two words", "digest": digest, "hint": "some…",
        "status": "disabled", "not_after": "2030-01-01T00:00:00Z", "plan": "p",
        "scopes": [{ "resource": "queues", "access": "write", "targets": ["q1"] }],
    });
    let csv = "tenant,name,caller,scopes,digest,hint,status,not_after,plan\r\n\
               acme,\"with, comma\",new,orders:read invoices:write,DIGEST,,,,p\r\n"
        .replace("DIGEST", &hex(&sha256("another")));
    for to in TestRegistry::each().await {
        prepare(&*to.registry).await;
        let made = import(&to, &row.to_string(), KeyFileFormat::Ndjson).await.unwrap();
        assert_eq!(made, ImportedKeys { keys: 1, callers: 1 });
        assert_eq!(
            import(&to, &csv, KeyFileFormat::Csv).await.unwrap(),
            ImportedKeys { keys: 1, callers: 0 }
        );
        let caller = to.registry.caller(&"acme".parse().unwrap(), &"new".parse().unwrap()).await.unwrap();
        assert_eq!(
            (&*caller.name, &caller.kind, caller.revision),
            ("api-client.new", &CallerKind::ApiClient, 1)
        );
        assert_eq!(caller.plan, Some("p".parse().unwrap()));
        let stored = stored(&to).await;
        let scope = |resource: &str, access, targets| Scope { resource: resource.into(), access, targets };
        let [first, second] = &*stored else { panic!("{stored:?}") };
        assert_eq!((&*first.name, &*first.hint, first.status), ("two words", "some…", Status::Disabled));
        assert_eq!(first.not_after, Some("2030-01-01T00:00:00Z".parse().unwrap()));
        let only = scope("queues", Access::Write, Some(vec!["q1".into()]));
        assert_eq!(first.scopes, Scopes::Listed(vec![only]));
        assert_eq!((&*second.name, second.status, second.not_after), ("with, comma", Status::Enabled, None));
        let both = vec![scope("orders", Access::Read, None), scope("invoices", Access::Write, None)];
        assert_eq!(second.scopes, Scopes::Listed(both));
        let now = clock().now().time;
        assert!(stored.iter().all(|it| it.pepper == 2 && it.revision == 1 && it.created_at == now));
        to.is_sound().await;
    }
}

fn messages(refused: ImportError) -> Vec<String> {
    let ImportError::Mistakes(mistakes) = refused else { panic!("{refused:?}") };
    mistakes.iter().map(LineError::to_string).collect()
}

#[test]
fn invalid_row_is_named_by_line_and_member_and_not_quoted() {
    let digest = hex(&sha256("x"));
    let row = |edit: &[(&str, serde_json::Value)]| {
        let mut row = json!({ "tenant": "t", "caller": "c", "name": "n", "digest": digest });
        for (member, value) in edit {
            row[*member] = value.clone();
        }
        row.to_string()
    };
    let text = json!("hunter2 hunter2 ");
    for (row, told_as) in [
        (row(&[("tenant", json!(""))]), "tenant: is missing"),
        (row(&[("tenant", json!("a b"))]), "tenant: must be 1 to 64 characters of A-Z a-z 0-9 - _ ."),
        (row(&[("caller", json!(7))]), "caller: is not a string"),
        (row(&[("name", json!(null))]), "name: is missing"),
        (
            row(&[("name", json!("a\u{202e}"))]),
            "name: is longer than 255 characters, or has an invisible one",
        ),
        (row(&[("name", json!("a\nb"))]), "name: is longer than 255 characters, or has an invisible one"),
        (
            row(&[("name", json!("x".repeat(256)))]),
            "name: is longer than 255 characters, or has an invisible one",
        ),
        (row(&[("digest", json!(null))]), "digest: is missing: give digest or key"),
        (row(&[("digest", text.clone())]), "digest: is not 32 bytes in hexadecimal digits or Base64"),
        (row(&[("digest", json!("aGVsbG8="))]), "digest: is not 32 bytes in hexadecimal digits or Base64"),
        (row(&[("key", json!("0123456789abcdef"))]), "key: must not be given beside digest"),
        (
            row(&[("digest", json!(null)), ("key", json!("0123456789abcde"))]),
            "key: must be 16 to 1024 visible ASCII characters",
        ),
        (
            row(&[("digest", json!(null)), ("key", text.clone())]),
            "key: must be 16 to 1024 visible ASCII characters",
        ),
        (
            row(&[("digest", json!(null)), ("key", json!("k".repeat(1_025)))]),
            "key: must be 16 to 1024 visible ASCII characters",
        ),
        (row(&[("hint", json!("x"))]), "hint: is the key itself"),
        (row(&[("name", json!("x"))]), "name: is the key itself"),
        (row(&[("status", text.clone())]), "status: must be enabled or disabled"),
        (row(&[("not_after", text.clone())]), "not_after: must be in RFC 3339"),
        (row(&[("plan", text.clone())]), "plan: must be 1 to 64 characters of A-Z a-z 0-9 - _ ."),
        (
            row(&[("scopes", json!("orders:hunter2"))]),
            "scopes: must be all, or a list of resources with read or write access",
        ),
        (
            row(&[("scopes", json!(" "))]),
            "scopes: must be all, or a list of resources with read or write access",
        ),
        (
            row(&[("scopes", json!([{ "resource": "A", "access": "read" }]))]),
            "scopes: must be all, or a list of resources with read or write access",
        ),
        (
            row(&[("scopes", json!([{ "resource": "a", "access": "read", "targets": [] }]))]),
            "scopes: must be all, or a list of resources with read or write access",
        ),
        (row(&[("robot", json!(1))]), "has the unknown member \"robot\""),
        (format!("{},\"name\":\"m\"}}", row(&[]).trim_end_matches('}')), "name: is repeated"),
        ("[]".into(), "is not a JSON object"),
        ("{".into(), "is not a JSON object"),
    ] {
        let found =
            messages(KeyRows::read(format!("\n{row}\n").as_bytes(), KeyFileFormat::Ndjson).unwrap_err());
        assert_eq!(found, [format!("line 2: {told_as}")], "{row}");
        assert!(!found[0].contains("hunter2"));
    }
    // All errors of all rows are reported at once.
    let two =
        format!("{}\n{}\n", row(&[("tenant", json!("a b")), ("status", json!("x"))]), row(&[("plan", text)]));
    assert_eq!(messages(KeyRows::read(two.as_bytes(), KeyFileFormat::Ndjson).unwrap_err()).len(), 3);
}

#[test]
fn csv_rows_have_the_fields_of_their_header() {
    let digest = hex(&sha256("x"));
    for (text, told_as) in [
        (format!("tenant,caller,name,digest\nt,c,n,{digest},x\n"), "line 2: has 5 fields, but the header 4"),
        (
            format!("tenant,caller,name,hunter2\nt,c,n,{digest}\n"),
            "line 1: field 4 of the header is not a known member",
        ),
        (
            format!("tenant,tenant,name,digest\nt,c,n,{digest}\n"),
            "line 1: field 2 of the header repeats a member",
        ),
        (
            format!("tenant,caller,name,digest\nt,c,\"n,{digest}\n"),
            "line 2: a quoted field has no closing quote",
        ),
        (
            format!("tenant,caller,name\nt,c,\"a\nb\"\nt,c,n\n{digest}"),
            "line 2: name: is longer than 255 characters, or has an invisible one",
        ),
    ] {
        let found = messages(KeyRows::read(text.as_bytes(), KeyFileFormat::Csv).unwrap_err());
        assert_eq!(found[0], told_as, "{text}");
    }
    let whole = format!("\u{FEFF}tenant,caller,name,digest\n\nt,c,n,{digest}");
    assert_eq!(KeyRows::read(whole.as_bytes(), KeyFileFormat::Csv).unwrap().len(), 1);
    assert!(KeyRows::read(b"", KeyFileFormat::Csv).unwrap().is_empty());
    assert_eq!(
        messages(KeyRows::read(b"a\n\xFF", KeyFileFormat::Csv).unwrap_err()),
        ["line 2: is not UTF-8"]
    );
}

#[test]
fn rows_and_reported_errors_are_limited() {
    let row = |at: usize| format!("t,c,n,{}\n", hex(&sha256(&at.to_string())));
    let mut text = String::from("tenant,caller,name,digest\n");
    text.extend((0..100_000).map(row));
    assert_eq!(KeyRows::read(text.as_bytes(), KeyFileFormat::Csv).unwrap().len(), 100_000);
    text += &row(100_000);
    let found = messages(KeyRows::read(text.as_bytes(), KeyFileFormat::Csv).unwrap_err());
    assert_eq!(found, ["line 100002: there are more than 100000 rows"]);
    let wrong = "x\n".repeat(100_000);
    assert_eq!(messages(KeyRows::read(wrong.as_bytes(), KeyFileFormat::Ndjson).unwrap_err()).len(), 100);
    let long = vec![b'\n'; (64 << 20) + 1];
    assert!(
        messages(KeyRows::read(&long, KeyFileFormat::Ndjson).unwrap_err())[0]
            .contains("more than 67108864 bytes")
    );
}

fn rows(rows: &[(&str, &str, &str, &str)]) -> String {
    let row = |(tenant, caller, key, plan): &(&str, &str, &str, &str)| {
        format!("{tenant},{caller},n,{},{plan}\n", hex(&sha256(key)))
    };
    "tenant,caller,name,digest,plan\n".to_owned() + &rows.iter().map(row).collect::<String>()
}

#[tokio::test]
async fn conflict_is_named_by_line_and_nothing_is_created() {
    for to in TestRegistry::each().await {
        let [ours, _] = prepare(&*to.registry).await;
        for (id, kind) in [("op", CallerKind::Operator), ("boss", CallerKind::Administrator(Role::Owner))] {
            let new = NewCaller { id: id.parse().unwrap(), kind, ..client("acme", id) };
            to.registry.create_caller(new, &actor()).await.unwrap();
        }
        // A key that was digested with an older pepper, and a key in clear in the format of this gateway.
        let old = peppers().all().last().unwrap().clone();
        let mut stored = key(&ours, "kept");
        (stored.kind, stored.pepper) = (CredentialKind::Sha256Key, old.version());
        stored.digest = old.digest_of_sha256(&sha256("kept elsewhere"));
        to.registry.create_credential(stored, &actor()).await.unwrap();
        let before = to.content().await;
        let text = rows(&[
            ("acme", "billing", "a", ""),
            ("acme", "billing", "a", ""),
            ("nowhere", "billing", "b", ""),
            ("acme", "theirs", "c", ""),
            ("acme", "op", "d", ""),
            ("acme", "boss", "e", ""),
            ("acme", "billing", "kept elsewhere", ""),
            ("acme", "billing", "f", "other"),
            ("acme", "new", "g", "none"),
            ("acme", "one", "h", "p"),
            ("acme", "one", "i", ""),
            ("acme", "two", "j", ""),
            ("acme", "three", "k", ""),
            ("acme", "four", "l", ""),
        ]);
        let found = messages(import(&to, &text, KeyFileFormat::Csv).await.unwrap_err());
        assert_eq!(
            found,
            [
                "line 3: digest: duplicates line 2",
                "line 4: tenant: does not exist",
                "line 5: caller: belongs to another tenant",
                "line 6: caller: is an operator or administrator: create its keys here",
                "line 7: caller: is an operator or administrator: create its keys here",
                "line 8: digest: belongs to an existing credential",
                "line 9: plan: differs from the plan of the existing caller",
                "line 10: plan: does not exist",
                "line 15: caller: the tenant has as many callers of this kind as its max_callers allows: raise max_callers, or import fewer",
            ]
        );
        assert_eq!(to.content().await, before);
        // Callers are created only on request.
        let rows = KeyRows::read(rows(&[("acme", "one", "h", "")]).as_bytes(), KeyFileFormat::Csv).unwrap();
        let refused = KeyImport::new(rows, &peppers()).import_into(&*to.registry, &actor()).await;
        assert_eq!(messages(refused.unwrap_err()), ["line 2: caller: does not exist"]);
        assert_eq!(to.content().await, before);
    }
}

#[tokio::test]
async fn key_and_its_digest_are_one_key() {
    let key = Key::generate(&KeyPrefix::default());
    let clear = format!("tenant,caller,name,key\nacme,billing,n,{}\n", key.expose());
    let both = format!("{clear}acme,billing,n,{}\n", key.expose());
    for to in TestRegistry::each().await {
        prepare(&*to.registry).await;
        assert_eq!(
            messages(import(&to, &both, KeyFileFormat::Csv).await.unwrap_err()),
            ["line 3: key: duplicates line 2"]
        );
        import(&to, &rows(&[("acme", "billing", key.expose(), "")]), KeyFileFormat::Csv).await.unwrap();
        let found = messages(import(&to, &clear, KeyFileFormat::Csv).await.unwrap_err());
        assert_eq!(found, ["line 2: key: belongs to an existing credential"]);
    }
}

#[tokio::test]
async fn dry_run_of_keys_reports_and_changes_nothing() {
    let text = rows(&[("acme", "billing", "a", ""), ("acme", "new", "b", "p")]);
    for to in TestRegistry::each().await {
        prepare(&*to.registry).await;
        let before = to.content().await;
        let rows = KeyRows::read(text.as_bytes(), KeyFileFormat::Csv).unwrap();
        let peppers = peppers();
        let dry = KeyImport::new(rows, &peppers).create_callers(true).dry_run(true);
        let made = dry.import_into(&*to.registry, &actor()).await.unwrap();
        assert_eq!(made, ImportedKeys { keys: 2, callers: 1 });
        assert_eq!(to.content().await, before);
        assert_eq!(import(&to, &text, KeyFileFormat::Csv).await.unwrap(), made);
    }
}

#[tokio::test]
async fn imported_key_survives_pepper_rotation_and_expires() {
    let [memory, _] = TestRegistry::each().await;
    prepare(&*memory.registry).await;
    let end = clock().now().time + Duration::from_secs(1);
    let row = json!({
        "tenant": "acme", "caller": "billing", "name": "n", "key": "0123456789abcdef", "not_after": end,
    });
    import(&memory, &row.to_string(), KeyFileFormat::Ndjson).await.unwrap();
    let rotated = Peppers::new(Pepper::new(3, &[3; 32])).with_previous(peppers().current().clone());
    let directory = Directory::new(rotated);
    load(&*memory.registry, &directory).await.unwrap();
    let found = directory.find("0123456789abcdef").unwrap();
    assert_eq!(found.not_after(), Some(end));
    let Entity::Credential(credential) = memory.content().await.entities.pop().unwrap() else { panic!() };
    assert_eq!(credential.pepper, 2);
}
