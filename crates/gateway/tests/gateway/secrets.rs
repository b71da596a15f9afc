//! Rotation of secrets under a running gateway.

use std::{fs, time::Instant};

use serde_json::{Value, json};

use crate::process::{Gateway, Installation, Service, TIMEOUT};

const APP: &str = "/v2/demo-project/apigw/instances/demo-instance/apps/14b399ac967f4115bb62c0346b4537e9";

/// Runs `portcullis secrets …`. Returns the output, and whether it succeeded.
fn secrets(installation: &Installation, arguments: &str) -> (String, bool) {
    let output = installation.command(&format!("secrets {arguments}")).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).unwrap(), output.status.success())
}

fn done(installation: &Installation, arguments: &str) -> String {
    let (said, done) = secrets(installation, arguments);
    assert!(done, "{arguments}: {said}");
    said
}

/// Waits until the gateway has loaded the given versions.
fn wait_for_versions(gateway: &Gateway, versions: &str) {
    let deadline = Instant::now() + TIMEOUT;
    while !gateway.log().iter().any(|line| line.contains("secrets reloaded") && line.contains(versions)) {
        assert!(Instant::now() < deadline, "{versions}: {:?}", gateway.log());
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn seal_key_rotates_under_a_running_gateway() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "api_key = true");
    let gateway = installation.start();
    let read = async || {
        let response =
            gateway.get(APP).header("x-auth-token", &installation.operator_token).send().await.unwrap();
        let (status, body) = (response.status().as_u16(), response.json::<Value>().await.unwrap());
        (status, body["app_secret"].clone())
    };
    let before = read().await;
    assert_eq!(before.0, 200, "{before:?}");
    let length = before.1.as_str().unwrap().len();
    assert!(length > 8, "in clear: the second version of the contract");

    assert!(done(&installation, "add seal-key").starts_with("added seal-key 2"));
    wait_for_versions(&gateway, "seal_keys\":\"[1, 2]");
    done(&installation, "use seal-key 2");
    wait_for_versions(&gateway, "seal_keys\":\"[2, 1]");
    let (refused, dropped) = secrets(&installation, "drop seal-key 1");
    assert!(!dropped && refused.contains("1 entry in the store uses seal-key 1"), "{refused}");
    assert_eq!(done(&installation, "rewrap"), "resealed with key 2: 1; already sealed with it: 0\n");
    assert_eq!(done(&installation, "rewrap"), "resealed with key 2: 0; already sealed with it: 1\n");
    done(&installation, "drop seal-key 1");
    wait_for_versions(&gateway, "seal_keys\":\"[2]");
    assert_eq!(read().await, before);
    let listed = done(&installation, "list");
    assert!(listed.ends_with("seal-key 2  used by 1 in the store  current\n"), "{listed}");
}

#[tokio::test]
async fn pepper_rotates_under_a_running_gateway() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "api_key = true");
    let gateway = installation.start();
    done(&installation, "add pepper");
    wait_for_versions(&gateway, "peppers\":\"[1, 2]");
    done(&installation, "use pepper 2");
    wait_for_versions(&gateway, "peppers\":\"[2, 1]");
    let made = gateway
        .post("/v1/api_keys")
        .header("x-api-key", &installation.api_key)
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    let made: Value = made.json().await.unwrap();
    let key = made["api_key"].as_str().unwrap();
    let status =
        async |key: &str| gateway.get("/").header("x-api-key", key).send().await.unwrap().status().as_u16();
    assert_eq!((status(key).await, status(&installation.api_key).await), (200, 200));
    let (refused, dropped) = secrets(&installation, "drop pepper 1");
    assert!(!dropped && refused.contains("--force"), "{refused}");
    done(&installation, "drop pepper 1 --force");
    wait_for_versions(&gateway, "peppers\":\"[2]");
    assert_eq!((status(key).await, status(&installation.api_key).await), (200, 401));
    assert!(done(&installation, "list").contains("pepper 1  used by 2 in the store  MISSING"));
}

#[tokio::test]
async fn unusable_secrets_are_not_loaded_and_commands_say_why() {
    let service = Service::echo().await;
    let installation = Installation::new(service.address, "api_key = true");
    let gateway = installation.start();
    for (arguments, why) in [
        ("use pepper 7", "there is no such version"),
        ("drop pepper 1 --force", "make another version current first"),
        ("add salt", "invalid value 'salt'"),
    ] {
        let (said, done) = secrets(&installation, arguments);
        assert!(!done && said.contains(why), "{said}");
    }
    let file = installation.store().with_file_name("secrets.toml");
    fs::write(&file, "peppers = [").unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while !gateway.log().iter().any(|line| line.contains("previous secrets stay in use")) {
        assert!(Instant::now() < deadline, "{:?}", gateway.log());
        std::thread::yield_now();
    }
    let response = gateway.get("/").header("x-api-key", &installation.api_key).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

/// The secrets may be in an environment variable. Then there is no file at all.
#[tokio::test]
async fn secrets_are_read_from_the_environment_if_set() {
    let service = Service::echo().await;
    let mut installation = Installation::new(service.address, "api_key = true");
    installation.rewrite(|text| {
        text.replace(
            "secrets.file",
            "secrets.environment_variable = \"PORTCULLIS_TEST_SECRETS\"\nsecrets.file",
        )
    });
    let file = installation.store().with_file_name("secrets.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let mut command = installation.command("serve");
    command.env("PORTCULLIS_TEST_SECRETS", &text);
    let gateway = installation.start_by(command);
    let response = gateway.get("/").header("x-api-key", &installation.api_key).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let output =
        installation.command("secrets add pepper").env("PORTCULLIS_TEST_SECRETS", &text).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("$PORTCULLIS_TEST_SECRETS"));
    let output = installation.command("serve").env("PORTCULLIS_TEST_SECRETS", "x").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("$PORTCULLIS_TEST_SECRETS: is malformed"), "{said}");
}
