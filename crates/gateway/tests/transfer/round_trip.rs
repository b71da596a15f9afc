//! An export that is imported yields the same content.

use jiff::Timestamp;
use portcullis::{
    directory::Directory,
    model::{ChangeKind, CredentialKind, Entity},
    registry::{RegistryExt, load},
};
use portcullis_surfaces::transfer::{Import, ImportError, ImportJob, SecretFingerprints};
use serde_json::{Value, json};

use crate::test_registry::{Content, TestRegistry, entities, file, lines, peppers, sealer, secrets};
use portcullis_test::fixtures::{actor, clock, log, plan, tenant};

#[tokio::test]
async fn export_of_any_registry_imports_into_any() {
    for from in TestRegistry::filled().await {
        let (file, content) = (from.export().await, from.content().await);
        assert_eq!(content.entities.len(), entities().len() - 1, "what was deleted is not there");
        assert_eq!(content.uses.len(), 2);
        for to in TestRegistry::each().await {
            let imported = to.import(&file).await.unwrap();
            let Content { entities, uses, .. } = to.content().await;
            assert_eq!((&entities, &uses), (&content.entities, &content.uses));
            assert_eq!(imported.seq, content.seq);
            assert_eq!(imported.counts.values().sum::<u64>(), 22 + 2, "{imported:?}");
            to.is_sound().await;
            // The change log contains all entities and the actor of the import.
            let log = log(&*to.registry).await;
            assert_eq!(log.len(), entities.len());
            assert!(log.iter().all(|change| change.verb == ChangeKind::Created && change.actor == actor()));
            assert_eq!(to.export().await.len(), to.export().await.len());
        }
    }
}

#[tokio::test]
async fn imported_data_authenticates_locks_and_unseals_as_before() {
    for from in TestRegistry::filled().await {
        let file = from.export().await;
        for to in TestRegistry::each().await {
            to.import(&file).await.unwrap();
            let directory = Directory::new(peppers());
            load(&*to.registry, &directory).await.unwrap();
            for (text, id) in [("plain", "plain"), ("old", "old"), ("theirs", "theirs"), ("code", "code")] {
                let found = directory.find(text).map(|key| (key.id.to_string(), key.caller().kind()));
                let kind = if id == "code" { "app" } else { "api_client" };
                assert_eq!(found, Some((id.to_owned(), kind)));
            }
            assert!(directory.find("sign").is_none());
            let opens = |kind: &CredentialKind, place: &[&str]| {
                sealer().unseal(kind.sealed().unwrap(), place).unwrap().expose().to_owned()
            };
            let signer = directory.find_signing_key("sign").unwrap();
            assert_eq!(opens(signer.kind(), &["g", "credential", "sign", "secret"]), "the code");
            let app = to.registry.caller(&"g".parse().unwrap(), &"app".parse().unwrap()).await.unwrap();
            let secret = sealer().unseal(&app.app().unwrap().secret, &["g", "app", "app", "secret"]).unwrap();
            assert_eq!(secret.expose(), "the app's secret");
            let key = directory.find("plain").unwrap();
            let now = clock_now();
            assert!(directory.lock(Some(key.caller()), "/x", true, now).is_some());
        }
    }
}

fn clock_now() -> Timestamp {
    portcullis::clock::Clock::now(&*clock()).time
}

#[tokio::test]
async fn file_header_names_format_and_needed_secrets() {
    for from in TestRegistry::filled().await {
        let text = from.export().await;
        let all = lines(&text);
        let head = &all[0]["head"];
        assert_eq!((&head["format"], &head["version"]), (&json!("portcullis-export"), &json!(1)));
        assert_eq!(head["program"], env!("CARGO_PKG_VERSION"));
        assert_eq!(head["seq"], from.content().await.seq);
        assert_eq!(head["at"], json!(clock_now()));
        let versions = |list: &Value| {
            let list = list.as_array().unwrap().iter();
            list.map(|known| known["version"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!((versions(&head["peppers"]), versions(&head["seal_keys"])), (vec![2, 1], vec![5, 4]));
        let end = &all[all.len() - 1]["end"];
        assert_eq!((&end["peppers"], &end["seal_keys"]), (&json!([1, 2]), &json!([5])));
        assert_eq!(
            end["counts"],
            json!({
                "tenant": 3, "plan": 1, "caller": 5, "credential": 8, "lock": 2, "grant": 1, "quota": 1, "throttle": 1, "use": 2
            })
        );
        // The file contains no secret: neither a key, nor a sealed text in clear, nor a sealing key.
        let text = String::from_utf8(text).unwrap();
        for secret in ["the app's secret", "the code", &"02".repeat(32), &"05".repeat(32)] {
            assert!(!text.contains(secret), "{secret}");
        }
    }
}

#[tokio::test]
async fn empty_registry_is_exported_and_imported() {
    for from in TestRegistry::each().await {
        let text = from.export().await;
        assert_eq!(lines(&text).len(), 2);
        for to in TestRegistry::each().await {
            let imported = to.import(&text).await.unwrap();
            assert_eq!((imported.seq, imported.counts.len()), (0, 0));
            assert_eq!(to.content().await.seq, 0);
        }
    }
}

#[tokio::test]
async fn changes_during_an_export_are_not_in_it() {
    for from in TestRegistry::filled().await {
        let before = from.content().await;
        let mut export =
            portcullis_surfaces::transfer::Export::begin(&*from.registry, &secrets(), clock_now())
                .await
                .unwrap();
        from.registry.create_tenant(tenant("late"), &actor()).await.unwrap();
        from.registry.record_last_used(&[("late".parse().unwrap(), clock_now())]).await.unwrap();
        let mut text = Vec::new();
        while let Some(lines) = export.next().await.unwrap() {
            text.extend(lines);
        }
        for to in TestRegistry::each().await {
            assert_eq!(to.import(&text).await.unwrap().seq, before.seq);
            let Content { entities, uses, .. } = to.content().await;
            assert_eq!((&entities, &uses), (&before.entities, &before.uses));
        }
    }
}

#[tokio::test]
async fn registry_with_plans_only_counts_as_empty() {
    for to in TestRegistry::each().await {
        let file = TestRegistry::filled().await[0].export().await;
        let Entity::Plan(same) = entities().remove(3) else { panic!("a plan") };
        to.registry.put_plan(same, &actor()).await.unwrap();
        to.registry.put_plan(plan("other", 1), &actor()).await.unwrap();
        to.import(&file).await.unwrap();
        assert_eq!(to.content().await.entities.len(), 22 + 1);
        to.is_sound().await;
        assert!(matches!(to.import(&file).await, Err(ImportError::NotEmpty)));
    }
    for to in TestRegistry::each().await {
        let file = TestRegistry::filled().await[0].export().await;
        to.registry.put_plan(plan("p", 7), &actor()).await.unwrap();
        to.refuses(&file, 5, "plan.id", "is taken").await;
    }
}

#[tokio::test]
async fn filled_registry_accepts_an_import_on_request() {
    let [from, _] = TestRegistry::filled().await;
    for to in TestRegistry::each().await {
        to.registry.create_tenant(tenant("ours"), &actor()).await.unwrap();
        let (file, before) = (from.export().await, to.content().await);
        assert!(matches!(to.import(&file).await, Err(ImportError::NotEmpty)));
        assert_eq!(to.content().await, before);
        to.add(&file).await.unwrap();
        assert_eq!(to.content().await.entities.len(), 22 + 1);
        to.is_sound().await;
        // The second import reports the first conflict.
        to.refuses(&file, 2, "tenant.id", "is taken").await;
    }
}

#[tokio::test]
async fn dry_run_reports_and_changes_nothing() {
    let [from, _] = TestRegistry::filled().await;
    let text = from.export().await;
    for to in TestRegistry::each().await {
        let before = to.content().await;
        let dry =
            Import::new(&mut &*text, secrets()).dry_run(true).import_into(&*to.registry, &actor()).await;
        assert_eq!(to.content().await, before);
        let cut = &text[..text.len() - 9];
        let refused =
            Import::new(&mut &*cut, secrets()).dry_run(true).import_into(&*to.registry, &actor()).await;
        assert!(matches!(refused, Err(ImportError::Mistakes(_))));
        assert_eq!(dry.unwrap(), to.import(&text).await.unwrap());
    }
}

#[tokio::test]
async fn file_of_other_secrets_is_rejected() {
    let [from, _] = TestRegistry::filled().await;
    let text = from.export().await;
    let at = |kind: &str, member: &str, value: u64| {
        let lines = lines(&text);
        lines.iter().position(|line| line[kind][member] == value).unwrap() as u64 + 1
    };
    let app = lines(&text).iter().position(|line| line["caller"]["kind"]["app"].is_object()).unwrap() as u64;
    let but = |edit: fn(&mut SecretFingerprints)| {
        let mut secrets = secrets();
        edit(&mut secrets);
        secrets
    };
    for to in TestRegistry::each().await {
        let before = to.content().await;
        for (secrets, line, member, what) in [
            (
                but(|it| it.peppers.retain(|one| one.version != 1)),
                at("credential", "pepper", 1),
                "credential.pepper",
                "pepper 1, which is missing here",
            ),
            (
                but(|it| it.peppers[0].check = "0".repeat(16)),
                at("credential", "pepper", 2),
                "credential.pepper",
                "another pepper 2 than",
            ),
            (
                but(|it| it.seal_keys.retain(|one| one.version != 5)),
                app + 1,
                "caller.kind.app.secret",
                "seal key 5, which is missing here",
            ),
            (
                but(|it| it.seal_keys[0].check.clear()),
                app + 1,
                "caller.kind.app.secret",
                "another seal key 5 than",
            ),
            (SecretFingerprints::default(), app + 1, "caller.kind.app.secret", "which is missing here"),
        ] {
            let refused = Import::new(&mut &*text, secrets).import_into(&*to.registry, &actor()).await;
            let Err(ImportError::Mistakes(mistakes)) = refused else { panic!("{refused:?}") };
            assert_eq!((mistakes[0].line, &*mistakes[0].member), (line, member), "{mistakes:?}");
            assert!(mistakes[0].what.contains(what), "{mistakes:?}");
            assert_eq!(to.content().await, before);
        }
        // A secret that the file does not need may be missing or different: seal key 4.
        let enough = but(|it| it.seal_keys.truncate(1));
        Import::new(&mut &*text, enough).import_into(&*to.registry, &actor()).await.unwrap();
    }
}

/// A file of an earlier version: members that it did not know are treated as missing.
#[tokio::test]
async fn member_newer_than_the_file_is_optional() {
    let [from, to] = TestRegistry::filled().await;
    drop(to);
    let mut lines = lines(&from.export().await);
    for line in &mut lines {
        if let Some(credential) = line.get_mut("credential").and_then(Value::as_object_mut) {
            for younger in ["kind", "deprecated_at", "replaced_by"] {
                credential.remove(younger);
            }
        }
    }
    // Without `kind`, all credentials are keys, so that only the app secret needs a seal key.
    lines.last_mut().unwrap()["end"]["seal_keys"] = json!([5]);
    for to in TestRegistry::each().await {
        to.import(&file(lines.clone())).await.unwrap();
        to.is_sound().await;
    }
}
