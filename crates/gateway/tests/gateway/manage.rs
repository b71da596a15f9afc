//! The commands over the admin API: on the store itself, and on a running gateway.

use std::{
    fs,
    process::Output,
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis::{
    clock::SystemClock,
    model::{Actor, CallerEdit, LockTarget, LockToken, LockedRequests, text::is_displayable},
    registry::{NewLock, RegistryExt, sqlite::Sqlite},
};
use serde_json::Value;

use crate::{
    admin::managed,
    process::{Gateway, Installation, TIMEOUT},
};

const CLIENT: &str = "5bc2be68-7498-4853-aa64-4be0ca62934e";

fn run(installation: &Installation, arguments: &str) -> Output {
    installation
        .command(arguments)
        .env_remove("PORTCULLIS_URL")
        .env_remove("PORTCULLIS_TOKEN")
        .env_remove("PORTCULLIS_LOCK_TOKEN")
        .output()
        .unwrap()
}

fn done(installation: &Installation, arguments: &str) -> String {
    let output = run(installation, arguments);
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(installation: &Installation, arguments: &str) -> Value {
    serde_json::from_str(&done(installation, &format!("{arguments} --json"))).unwrap()
}

/// Runs a command that fails. Returns the exit status and the error output.
fn refused(installation: &Installation, arguments: &str) -> (Option<i32>, String) {
    let output = run(installation, arguments);
    assert!(output.stdout.is_empty(), "{arguments}");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Returns the headers of the first response with the given status. A gateway follows its store with a delay.
async fn answered(gateway: &Gateway, key: &str, status: u16) -> reqwest::header::HeaderMap {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let answer = gateway.get("/").header("x-api-key", key).send().await.unwrap();
        if answer.status() == status {
            return answer.headers().clone();
        }
        assert!(Instant::now() < deadline, "{} and not {status}", answer.status());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn key_is_managed_beside_a_running_gateway() {
    let (installation, _, _) = managed("").await;
    let gateway = installation.start();
    let made =
        json(&installation, &format!("key create --tenant demo {CLIENT} --name second --scope orders:read"));
    let key = made["key"].as_str().unwrap();
    assert_eq!(made["scopes"][0]["resource"], "orders");
    assert!(!answered(&gateway, key, 200).await.contains_key("deprecation"));

    let id = made["id"].as_str().unwrap();
    let next = json(&installation, &format!("key rotate --tenant demo {id} --overlap 3600"));
    answered(&gateway, next["key"].as_str().unwrap(), 200).await;
    let deadline = Instant::now() + TIMEOUT;
    while !answered(&gateway, key, 200).await.contains_key("sunset") {
        assert!(Instant::now() < deadline, "nobody says that it ends");
    }
    let (code, why) = refused(&installation, &format!("key revoke --tenant demo {id} --wait 3"));
    assert!(code == Some(1) && why.contains("pass --url"), "a store refuses nobody: {why}");
    answered(&gateway, key, 200).await;
    assert!(done(&installation, &format!("key revoke --tenant demo {id}")).contains("revoked "));
    answered(&gateway, key, 401).await;
    let listed = done(&installation, &format!("key list --tenant demo {CLIENT}"));
    assert!(listed.starts_with("ID ") && listed.contains("  second ") && !listed.contains(key), "{listed}");
    let first = json(&installation, "audit list --after 0 --limit 1");
    assert_eq!(first["seq"], 1);
    assert!(done(&installation, "audit list").contains("admin:command-line"));
}

#[test]
fn tenants_apps_and_plans_are_managed_in_the_store() {
    let installation = tokio::runtime::Runtime::new().unwrap().block_on(managed("")).0;
    done(&installation, "plan set slow --limit name=minute,quota=6,window=60");
    done(&installation, "plan set slow --limit name=minute,quota=7,window=60,burst=3,promise=ceiling");
    assert_eq!(json(&installation, "plan show slow")["limits"][0]["quota"], 7);
    done(&installation, "tenant create Customer --id customer --max-callers 2");
    let app =
        json(&installation, "app create --tenant customer first --kind app --plan slow --remark Remark");
    assert!(app["app"]["secret"].as_str().is_some_and(|secret| secret.len() >= 32), "shown only once");
    let id = app["id"].as_str().unwrap();
    assert_eq!(json(&installation, &format!("app show --tenant customer {id}"))["app"]["remark"], "Remark");
    assert_eq!(
        json(&installation, &format!("app edit --tenant customer {id} --status disabled"))["status"],
        "disabled"
    );
    let listed = done(&installation, "app list --tenant customer --kind app --status disabled");
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert_eq!(json(&installation, "app list --tenant customer")["plan"], "slow");
    assert!(done(&installation, "tenant list").contains("customer"));
    assert!(done(&installation, "route list").contains("/v1/api_clients"));

    for (arguments, says) in [
        ("tenant delete customer", "409 Conflict"),
        ("plan delete slow", "409 Conflict"),
        ("app create --tenant customer first --kind app", "409 Conflict"),
        ("app create --tenant customer a\u{202e}bc --kind app", "#/name"),
        ("app create --tenant customer ab --kind app", "#/name"),
        ("app create --tenant customer Domain", "#/name"),
        ("tenant create a\u{200b}", "#/name"),
        ("app show --tenant customer nobody", "404 Not Found"),
        ("tenant create Again --id customer", "409 Conflict"),
        ("plan set bad --limit name=x,quota=0,window=1", "#/limits/0"),
        ("app list --tenant nobody", "404 Not Found"),
    ] {
        let (code, said) = refused(&installation, arguments);
        assert!(code == Some(3) && said.contains(says), "{arguments}: {code:?} {said}");
    }
    for arguments in ["app list", "plan set x --limit quota", "app create --tenant t n --kind thing", "key"] {
        assert_eq!(refused(&installation, arguments).0, Some(2), "{arguments}");
    }
    done(&installation, &format!("app delete --tenant customer {id}"));
    done(&installation, "plan delete slow");
    done(&installation, "tenant delete customer");
}

#[test]
fn tables_and_messages_are_clear() {
    let installation = tokio::runtime::Runtime::new().unwrap().block_on(managed("")).0;
    done(
        &installation,
        "plan set slow --limit name=minute,quota=7,window=60,burst=3,promise=ceiling --limit name=day,quota=9,window=86400",
    );
    done(&installation, "plan set free");
    let plans = done(&installation, "plan list");
    assert!(
        plans.contains("minute: 7 per 60 s, burst 3, ceiling; day: 9 per 86400 s, burst 9, average"),
        "{plans}"
    );
    assert!(plans.contains("unlimited") && !plans.contains('{'), "{plans}");
    let tenants = done(&installation, "tenant list");
    assert!(tenants.lines().next().unwrap().ends_with("MAX CALLERS"), "{tenants}");

    let key = done(&installation, &format!("key create --tenant demo {CLIENT}"));
    assert!(key.starts_with("The secret below (key) is shown only once. Store it now.\n"), "{key}");
    let signing = done(&installation, &format!("key create --tenant demo {CLIENT} --signing"));
    assert!(signing.contains("The secret below (secret) is shown only once."), "{signing}");
    assert!(!done(&installation, &format!("key list --tenant demo {CLIENT}")).contains("only once"));

    // The default kind of a caller depends on the tenant, unless another kind is given.
    let app = done(&installation, "app create --tenant demo-gateway shop");
    assert!(app.contains("The secret below (app.secret) is shown only once."), "{app}");
    assert_eq!(
        json(&installation, "app create --tenant demo-gateway till --kind operator")["kind"],
        "operator"
    );
    assert_eq!(json(&installation, "app create --tenant demo example.com/a")["kind"], "api_client");
    assert_eq!(
        json(&installation, "app create --tenant administration me --role read_only")["kind"],
        "administrator"
    );
    let help = done(&installation, "key create --help");
    assert!(help.contains("<CALLER>") && !help.contains("<APP>"), "{help}");
}

#[test]
fn locked_caller_is_changed_with_the_lock_token_only() {
    let installation = tokio::runtime::Runtime::new().unwrap().block_on(managed("")).0;
    let lock = json(&installation, &format!("lock acquire --caller {CLIENT} --reason moving --duration 600"));
    let (id, token) = (lock["id"].as_str().unwrap(), lock["token"].as_str().unwrap());
    let with = |arguments: &str| {
        installation.command(arguments).env("PORTCULLIS_LOCK_TOKEN", token).output().unwrap()
    };
    let edit = format!("app edit --tenant demo {CLIENT} --name example.com/moved");
    let (code, said) = refused(&installation, &edit);
    assert!(code == Some(3) && said.contains("423 Locked") && said.contains("moving"), "{said}");
    let edited = with(&edit);
    assert!(edited.status.success(), "{}", String::from_utf8_lossy(&edited.stderr));
    assert!(done(&installation, "lock list").contains(id));
    assert!(with("lock refresh --duration 900").status.success());
    assert!(with("lock release").status.success());
    assert_eq!(refused(&installation, &format!("lock show {id}")).0, Some(3));
    assert!(!with("lock refresh").status.success(), "what was released stays so");

    let again = json(&installation, "lock acquire --path /orders --reason counting");
    assert!(again["fence"].as_u64() > lock["fence"].as_u64());
    assert_eq!(refused(&installation, "lock acquire --path /orders/7 --reason mine").0, Some(3));
    assert!(
        done(&installation, &format!("lock break {}", again["id"].as_str().unwrap())).contains("broke lock")
    );
    for arguments in ["lock acquire --reason x", "lock acquire --reason x --path /a --caller b", "lock break"]
    {
        assert_eq!(refused(&installation, arguments).0, Some(2), "{arguments}");
    }
    assert!(refused(&installation, "lock release").1.contains("PORTCULLIS_LOCK_TOKEN"));
}

#[tokio::test]
async fn commands_work_against_a_gateway_with_a_key() {
    let (installation, admin, token) = managed("").await;
    let _gateway = installation.start();
    let at = |arguments: &str| {
        let mut command = installation.command(arguments);
        command.env("PORTCULLIS_URL", format!("http://{admin}")).env_remove("PORTCULLIS_TOKEN");
        command
    };
    let file = installation.store().with_file_name("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    let by_file = at(&format!("tenant list --token-file {}", file.display())).output().unwrap();
    let by_variable = at("tenant list").env("PORTCULLIS_TOKEN", &token).output().unwrap();
    assert!(by_file.status.success(), "{}", String::from_utf8_lossy(&by_file.stderr));
    assert_eq!(by_file.stdout, by_variable.stdout);
    assert!(String::from_utf8_lossy(&by_file.stdout).contains("administration"));

    let made = at(&format!("key create --tenant demo {CLIENT} --json"))
        .env("PORTCULLIS_TOKEN", &token)
        .output()
        .unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let revoked = at(&format!("key revoke --tenant demo {} --wait 20", made["id"].as_str().unwrap()))
        .env("PORTCULLIS_TOKEN", &token)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&revoked.stdout).contains("; denied everywhere"));

    for (token, code, says) in [(None, 1, "set PORTCULLIS_TOKEN"), (Some("pca_wrong"), 3, "401 Unauthorized")]
    {
        let mut command = at("tenant list");
        if let Some(token) = token {
            command.env("PORTCULLIS_TOKEN", token);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(says), "{said}");
    }
    let output = at("tenant list --url http://127.0.0.1:1").env("PORTCULLIS_TOKEN", &token).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot reach http://127.0.0.1:1"));
}

#[test]
fn shells_complete_the_commands() {
    let installation = tokio::runtime::Runtime::new().unwrap().block_on(managed("")).0;
    for shell in ["bash", "zsh", "fish"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let output = command
            .args(["completions", shell])
            .current_dir(installation.store().parent().unwrap())
            .output()
            .unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && script.contains("portcullis") && script.contains("rotate"),
            "{shell}"
        );
    }
}

/// Creates names that an earlier version accepted, bypassing the rules of today.
async fn old_store(installation: &Installation) {
    let store = Sqlite::open(&installation.store(), Arc::new(SystemClock::new())).await.unwrap();
    let name = "a\u{1b}]0;b\u{7}\u{202e}\u{9b}c\u{2028}".to_owned();
    let (tenant, id) = ("demo".parse().unwrap(), CLIENT.parse().unwrap());
    let edit = CallerEdit { name: Some(name.clone()), ..CallerEdit::default() };
    store.update_caller(&tenant, &id, None, edit, &Actor::system("a\u{202e}")).await.unwrap();
    let lock = NewLock {
        id: "old".parse().unwrap(),
        tenant: None,
        target: LockTarget::Resource("/old".parse().unwrap()),
        owner: name.clone(),
        holder: None,
        reason: name,
        covers: LockedRequests::Writes,
        lasts: Duration::from_secs(3_600).try_into().unwrap(),
        token: LockToken::generate().digest(),
    };
    store.acquire_lock(lock, &Actor::system("test")).await.unwrap();
    store.close().await;
}

#[test]
fn terminal_output_escapes_invisible_characters() {
    let installation = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let installation = managed("").await.0;
        old_store(&installation).await;
        installation
    });
    let show = format!("app show --tenant demo {CLIENT}");
    for arguments in ["app list --tenant demo", &show, "lock list", "lock show old", "audit list"] {
        for json in ["", " --json"] {
            let said = done(&installation, &format!("{arguments}{json}"));
            let raw = said.chars().find(|c| *c != '\n' && !is_displayable(*c));
            assert_eq!(raw, None, "{arguments}{json}: {said:?}");
            let escaped = if json.is_empty() { [r"\u{202e}", r"\u202e"] } else { [r"\u202e"; 2] };
            assert!(escaped.iter().any(|escaped| said.contains(escaped)), "{arguments}{json}: {said:?}");
        }
    }
    let name = json(&installation, &show)["name"].as_str().unwrap().to_owned();
    assert!(name.contains('\u{202e}'), "as JSON it is the same name");
    let (_, said) = refused(&installation, "lock acquire --path /old/7 --reason mine");
    assert!(said.contains("423") && said.chars().all(|c| c == '\n' || is_displayable(c)), "{said:?}");
}
