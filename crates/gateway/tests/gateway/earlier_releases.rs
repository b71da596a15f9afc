//! Stores and secrets of an earlier release.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;

use crate::process::{Installation, Service};

const THEIRS: &str = "../../tests/data/store-31fc17a";

/// Creates an installation with the store and the secrets of the earlier release, or only with its secrets.
async fn installation(with_store: bool) -> Installation {
    let service = Service::echo().await;
    let configured = Installation::new(service.address, "api_key = true");
    let config = fs::read_to_string(configured.folder.path().join("gateway.toml")).unwrap();
    let installation = Installation::uninitialised(&config, configured.address);
    let data = installation.folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let files: &[&str] =
        if with_store { &["secrets.toml", "portcullis.db", "portcullis.db-wal"] } else { &["secrets.toml"] };
    for file in files {
        let to = data.join(file);
        fs::copy(Path::new(THEIRS).join(file), &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
    }
    installation
}

fn known() -> Value {
    serde_json::from_slice(&fs::read(Path::new(THEIRS).join("known.json")).unwrap()).unwrap()
}

/// Runs a command, which must succeed.
fn done(installation: &Installation, command: &str) -> String {
    let output = installation.command(command).output().unwrap();
    let said = String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command}: {said}");
    said
}

async fn keys_work(installation: &Installation) {
    let (known, gateway) = (known(), installation.start());
    let status = async |key: &Value| {
        let request = gateway.get("/").header("x-api-key", key.as_str().unwrap());
        request.send().await.unwrap().status().as_u16()
    };
    for name in ["ending_key", "replacing_key"] {
        assert_eq!(status(&known[name]["key"]).await, 200, "{name}");
    }
    assert_eq!(status(&known["api_key"]).await, 200);
    for name in ["disabled_key", "revoked_key"] {
        assert!(matches!(status(&known[name]["key"]).await, 401 | 403), "{name}");
    }
}

#[tokio::test]
async fn store_of_an_earlier_release_opens_with_working_keys() {
    let installation = installation(true).await;
    let head = known()["head"].as_str().unwrap().to_owned();
    let head = head.strip_prefix("head ").unwrap_or(&head).trim().to_owned();
    // Verifies the store before and after its migration.
    done(&installation, &format!("audit verify --head {head}"));
    done(&installation, "tenant list");
    done(&installation, &format!("audit verify --head {head}"));
    keys_work(&installation).await;
    done(&installation, &format!("audit verify --head {head}"));
}

#[tokio::test]
async fn export_of_an_earlier_release_imports_working_keys() {
    let installation = installation(false).await;
    fs::copy(Path::new(THEIRS).join("export.ndjson"), installation.folder.path().join("export.ndjson"))
        .unwrap();
    done(&installation, "import export.ndjson");
    keys_work(&installation).await;
    done(&installation, "audit verify");
}
