//! An axum service with the admin API in the same app: one registry, one directory.
//!
//! ```text
//! cargo run --package portcullis-surfaces --example management
//! ```
//!
//! Prints the key of the only administrator in curl commands that create a plan and a key, and use that key. The
//! registry is in memory and ends with the process, as do its secrets; `portcullis::registry::sqlite` is the persistent
//! one. In production, serve the admin API on a listener of its own.

use std::{error::Error, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::ConnectInfo,
    routing::{any_service, get},
};
use portcullis::{
    Caller,
    clock::{Clock, SystemClock},
    directory::Directory,
    model::{
        ADMIN_TENANT, Actor, CallerKind, GeneratedKey, KeyPrefix, Pepper, Peppers, Role, SealKey, Sealer,
        SubscriptionStatus,
    },
    policy::{ApiKey, RateLimit, RequireUnlocked},
    registry::{self, NewCaller, NewCredential, NewTenant, Registry, RegistryExt, memory::Memory},
    tower::PortcullisLayer,
};
use portcullis_surfaces::admin::{self, Admin};

struct Installation {
    registry: Arc<Memory>,
    directory: Arc<Directory>,
    clock: Arc<dyn Clock>,
    sealer: Arc<Sealer>,
    /// The key of the administrator.
    key: GeneratedKey,
}

/// Creates an installation with an administrator, and with the tenant `acme` and its caller `shop`.
async fn install() -> Result<Installation, Box<dyn Error>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let registry = Arc::new(Memory::new(clock.clone()));
    let (mut pepper, mut seal_key) = ([0; 32], [0; 32]);
    getrandom::fill(&mut pepper)?;
    getrandom::fill(&mut seal_key)?;
    let peppers = Peppers::new(Pepper::new(1, &pepper));
    let actor = Actor::system("example");
    for (id, max_callers) in [(ADMIN_TENANT, 1), ("acme", 100)] {
        let (id, name) = (id.parse()?, id.into());
        let standing = SubscriptionStatus::Active;
        registry.create_tenant(NewTenant { id, name, gateway: None, standing, max_callers }, &actor).await?;
    }
    for (tenant, id, name, kind) in [
        (ADMIN_TENANT, "owner", "owner", CallerKind::Administrator(Role::Owner)),
        ("acme", "shop", "acme.example/shop", CallerKind::ApiClient),
    ] {
        let (id, tenant, name) = (id.parse()?, tenant.parse()?, name.into());
        registry.create_caller(NewCaller { id, tenant, name, kind, plan: None }, &actor).await?;
    }
    let key = GeneratedKey::generate(&KeyPrefix::default());
    let credential = NewCredential::key(ADMIN_TENANT.parse()?, "owner".parse()?, &key, peppers.current());
    registry.create_credential(credential, &actor).await?;
    let directory = Arc::new(Directory::new(peppers));
    registry::load(&*registry, &directory).await?;
    let sealer = Arc::new(Sealer::new(SealKey::new(1, &seal_key)));
    Ok(Installation { registry, directory, clock, sealer, key })
}

fn app(installation: &Installation) -> Router {
    let Installation { registry, directory, clock, sealer, .. } = installation;
    let registry: Arc<dyn Registry> = registry.clone();
    // Changes by the admin API apply to the next request.
    tokio::spawn(registry::follow(registry.clone(), directory.clone()));
    let admin = admin::router(Admin {
        registry,
        directory: directory.clone(),
        clock: clock.clone(),
        sealer: sealer.clone(),
        peer: |extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()),
        lockout: Arc::default(),
        local_admin: None,
        routes: Vec::new(),
        defined_plans: admin::DefinedPlans::default(),
        imports: admin::ImportOptions::default(),
        in_progress: admin::InProgress::default(),
        configuration: None,
    });
    let policies =
        (ApiKey::new(directory.clone()), RequireUnlocked::new(directory.clone()), RateLimit::new());
    Router::new()
        .route("/orders", get(async |caller: Caller| format!("the orders of {}\n", caller.id())))
        .layer(PortcullisLayer::new(policies))
        .route("/admin/v1/{*path}", any_service(admin))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let installation = install().await?;
    let app = app(&installation).into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let (admin, key) = ("http://127.0.0.1:3000/admin/v1", installation.key.expose());
    println!("Create a plan, put the shop on it, create a key for the shop, and use it:");
    println!(
        "curl -X PUT {admin}/plans/free -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \
         -H 'If-None-Match: *' -d '{{\"limits\":[{{\"name\":\"minute\",\"quota\":5,\"window\":60}}]}}'"
    );
    println!(
        "curl -X PATCH {admin}/tenants/acme/callers/shop -H 'Authorization: Bearer {key}' \
         -H 'Content-Type: application/json' -H 'If-Match: *' -d '{{\"plan\":\"free\"}}'"
    );
    println!(
        "curl -X POST {admin}/tenants/acme/callers/shop/keys -H 'Authorization: Bearer {key}' \
         -H 'Content-Type: application/json' -d '{{}}'"
    );
    println!("curl -i http://127.0.0.1:3000/orders -H 'X-API-KEY: KEY'");
    axum::serve(listener, app).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use http::Request;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn key_created_by_the_admin_api_calls_the_service() {
        let installation = install().await.unwrap();
        let app = app(&installation);
        let send = async |method: &str, path: &str, precondition: &str, body: &'static str| {
            let request = Request::builder()
                .method(method)
                .uri(format!("/admin/v1{path}"))
                .header("authorization", format!("Bearer {}", installation.key.expose()))
                .header("content-type", "application/json")
                .header("host", "localhost")
                .header(precondition, "*");
            let response = app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
            assert!(response.status().is_success(), "{method} {path}: {response:?}");
            let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            serde_json::from_slice::<Value>(&body).unwrap()
        };
        let plan = r#"{"limits":[{"name":"minute","quota":5,"window":60}]}"#;
        send("PUT", "/plans/free", "if-none-match", plan).await;
        send("PATCH", "/tenants/acme/callers/shop", "if-match", r#"{"plan":"free"}"#).await;
        let created = send("POST", "/tenants/acme/callers/shop/keys", "x-none", "{}").await;
        let (key, last) =
            (created["key"].as_str().unwrap(), installation.registry.last_change().await.unwrap());
        installation.directory.wait_until(|directory| directory.applied() >= last).await;
        let get = Request::get("/orders").header("x-api-key", key).body(Body::empty()).unwrap();
        let response = app.oneshot(get).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["ratelimit"]),
            (200, &"\"minute\";r=4;t=12".parse().unwrap())
        );
    }

    /// The policies of the app also apply to its unknown paths.
    #[tokio::test]
    async fn admin_api_answers_its_own_paths_only() {
        let app = app(&install().await.unwrap());
        for (path, is_admin) in
            [("/admin/v1/status", true), ("/admin/v1/other", true), ("/admin", false), ("/other", false)]
        {
            let request = Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
            let denied = app.clone().oneshot(request).await.unwrap();
            assert_eq!(denied.status(), 401, "{path}");
            let challenge = denied.headers()["www-authenticate"].to_str().unwrap();
            assert_eq!(challenge.contains("realm=\"admin\""), is_admin, "{path}: {challenge}");
        }
    }
}
