//! An axum service with four kinds of policies: authentication, rate limit, lock and content negotiation.
//!
//! ```text
//! cargo run --example axum --features axum
//! ```
//!
//! Prints the key of its only caller in a curl command. The plan allows 5 requests a minute: the sixth is answered
//! with 429 and the time of the next admission. Without the key the response is 401, with `Accept: text/html` 406,
//! and to a `POST` of anything but JSON 415.

mod setup;

use std::error::Error;

use axum::{Extension, Json, Router, routing::get};
use portcullis::{
    Admission,
    policy::{Accept, ApiKey, ContentType, RateLimit, RequireUnlocked},
    tower::PortcullisLayer,
};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (directory, key) = setup::directory().await?;

    let policies = (
        ContentType::new(["application/json"])?,
        Accept::new(["application/json"])?,
        ApiKey::new(directory.clone()),
        RequireUnlocked::new(directory),
        RateLimit::new(),
    );
    let app = Router::new().route("/orders", get(orders).post(orders)).layer(PortcullisLayer::new(policies));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("curl -i -H 'X-API-KEY: {}' http://127.0.0.1:3000/orders", key.expose());
    axum::serve(listener, app).await?;
    Ok(())
}

/// The policies have added an [`Admission`] to the request's extensions.
async fn orders(Extension(admission): Extension<Admission>) -> Json<Value> {
    let caller = admission.caller().map(|caller| &caller.name);
    let left: Vec<_> = admission.remaining().map(|(limit, spent)| (limit, spent.remaining)).collect();
    Json(json!({ "orders": [], "caller": caller, "left": left }))
}
