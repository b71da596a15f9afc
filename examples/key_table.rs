//! An axum service whose API keys are in a table of its own: SQLite with sqlx.
//!
//! ```text
//! cargo run --example key_table --features axum,sqlite
//! curl -i -H 'X-API-KEY: shop-example-0123456789' http://127.0.0.1:3000/orders
//! ```
//!
//! The table contains the SHA-256 of each key, never the key. Keys that were looked up are remembered for a minute, so
//! a request with a known key does not wait for the database. `DELETE /orders` revokes the caller's own key, which
//! applies at once.

use std::{error::Error, str::FromStr};

use axum::{Router, extract::State, routing::get};
use portcullis::{
    Caller, Denial,
    keys::{Key, KeyCache, KeyDigest, KeyStore, StoreError},
    model::Limit,
    policy::{ApiKey, RateLimit},
    tower::PortcullisLayer,
};
use sqlx::{
    Row, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

/// The service's own table.
#[derive(Clone)]
struct KeyTable(SqlitePool);

impl KeyStore for KeyTable {
    async fn find(&self, digest: KeyDigest) -> Result<Option<Key>, StoreError> {
        let row = sqlx::query("SELECT id, customer, tenant, per_minute FROM api_keys WHERE sha256 = ?")
            .bind(digest.as_bytes().as_slice())
            .fetch_optional(&self.0)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let key = Key::new(row.try_get::<String, _>("customer")?)
            .id(row.try_get::<String, _>("id")?)
            .tenant(row.try_get::<String, _>("tenant")?)
            .limit(Limit::per_minute(row.try_get("per_minute")?));
        Ok(Some(key))
    }
}

async fn open() -> Result<KeyTable, sqlx::Error> {
    // Each connection to `:memory:` is a database of its own, so there is only one.
    let options = SqliteConnectOptions::from_str("sqlite::memory:")?;
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    sqlx::query(
        "CREATE TABLE api_keys (
            sha256 BLOB PRIMARY KEY, id TEXT NOT NULL, customer TEXT NOT NULL, tenant TEXT NOT NULL,
            per_minute INTEGER NOT NULL
        )",
    )
    .execute(&pool)
    .await?;
    sqlx::query("INSERT INTO api_keys VALUES (?, 'k1', 'shop', 'acme', 5)")
        .bind(KeyDigest::from_key("shop-example-0123456789").as_bytes().as_slice())
        .execute(&pool)
        .await?;
    Ok(KeyTable(pool))
}

#[derive(Clone)]
struct Service {
    table: KeyTable,
    cache: KeyCache,
}

fn app(table: KeyTable) -> Router {
    let cache = KeyCache::new(table.clone());
    let layer = PortcullisLayer::new((ApiKey::new(cache.clone()), RateLimit::new()));
    Router::new()
        .route("/orders", get(orders).delete(revoke))
        .layer(layer)
        .with_state(Service { table, cache })
}

async fn orders(caller: Caller) -> String {
    format!("the orders of {}\n", caller.id())
}

async fn revoke(State(service): State<Service>, caller: Caller) -> Result<&'static str, Denial> {
    let deleted =
        sqlx::query("DELETE FROM api_keys WHERE id = ?").bind(caller.key_id()).execute(&service.table.0);
    deleted.await.map_err(|error| Denial::internal(error.to_string()))?;
    service.cache.invalidate_caller(caller.id());
    Ok("revoked\n")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = app(open().await?);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("curl -i -H 'X-API-KEY: shop-example-0123456789' http://127.0.0.1:3000/orders");
    axum::serve(listener, app).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn revoked_key_is_denied_at_once() {
        let app = app(open().await.unwrap());
        let send = |method: &str, key: &str| {
            let request = Request::builder().method(method).uri("/orders").header("x-api-key", key);
            app.clone().oneshot(request.body(Body::empty()).unwrap())
        };
        let key = "shop-example-0123456789";
        assert_eq!(send("GET", "another-example-0123456789").await.unwrap().status(), 401);
        assert_eq!(send("GET", key).await.unwrap().headers()["ratelimit"], "\"minute\";r=4;t=12");
        assert_eq!(send("DELETE", key).await.unwrap().status(), 200);
        assert_eq!(send("GET", key).await.unwrap().status(), 401);
    }

    #[tokio::test]
    async fn failed_table_is_503() {
        let table = open().await.unwrap();
        table.0.close().await;
        let request = Request::get("/orders").header("x-api-key", "shop-example-0123456789");
        let response = app(table).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 503);
    }
}
