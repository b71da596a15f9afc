//! Lists of keys that a program creates at its start.

use std::sync::Arc;

use axum::{Router, routing::get};
use jiff::Timestamp;
use portcullis::{
    Caller,
    clock::ManualClock,
    keys::{Key, KeyDigest, KeyError, Keys},
    model::Limit,
    policy::{ApiKey, RateLimit},
    tower::PortcullisLayer,
};

use super::{send, status};

const KEY: &str = "correct-horse-battery-staple";

fn app(keys: Keys) -> Router {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let layer = PortcullisLayer::new((ApiKey::new(keys), RateLimit::new())).clock(Arc::new(clock));
    Router::new().route("/", get(async |caller: Caller| caller.id().to_owned())).layer(layer)
}

#[tokio::test]
async fn listed_key_is_limited_and_others_are_denied() {
    let app = app(Keys::new().add("shop", KEY).unwrap().limit(Limit::per_minute(6).burst(2)));
    assert_eq!(status(&app, "GET", "/", "").await, 401);
    assert_eq!(status(&app, "GET", "/", &KEY.to_uppercase()).await, 401);
    assert_eq!(status(&app, "GET", "/", KeyDigest::from_key(KEY).to_string().as_str()).await, 401);
    let first = send(&app, "GET", "/", KEY).await;
    assert_eq!(first.status(), 200);
    assert_eq!(first.headers()["ratelimit"], "\"minute\";r=1;t=10");
    assert_eq!(status(&app, "GET", "/", KEY).await, 200);
    let denied = send(&app, "GET", "/", KEY).await;
    assert_eq!(denied.status(), 429);
    assert_eq!(denied.headers()["retry-after"], "10");
}

#[tokio::test]
async fn keys_of_a_caller_share_its_limits() {
    let shop = || Key::new("shop").limit(Limit::per_day(2));
    let keys = Keys::new().limit(Limit::per_day(9)).add_key(shop(), KEY).unwrap();
    let keys = keys.add_key(shop(), "another-key-0123456789").unwrap();
    let app = app(keys.add("partner", "partner-key-0123456789").unwrap());
    assert_eq!(status(&app, "GET", "/", KEY).await, 200);
    assert_eq!(status(&app, "GET", "/", "another-key-0123456789").await, 200);
    assert_eq!(status(&app, "GET", "/", KEY).await, 429);
    let partner = send(&app, "GET", "/", "partner-key-0123456789").await;
    assert_eq!(partner.headers()["ratelimit"], "\"day\";r=8;t=9600");
}

#[tokio::test]
async fn disabled_and_expired_keys_are_denied() {
    let keys = Keys::new()
        .add_key(Key::new("a").disabled(), "disabled-key-0123456789")
        .and_then(|keys| {
            keys.add_key(Key::new("b").not_after(Timestamp::UNIX_EPOCH), "expired-key-0123456789")
        })
        .and_then(|keys| keys.add_sha256("c", &KeyDigest::from_key(KEY).to_string()));
    let app = app(keys.unwrap());
    assert_eq!(status(&app, "GET", "/", "disabled-key-0123456789").await, 403);
    assert_eq!(status(&app, "GET", "/", "expired-key-0123456789").await, 401);
    assert_eq!(status(&app, "GET", "/", KEY).await, 200);
}

#[test]
fn invalid_key_is_rejected() {
    let add = |caller: &str, key: &str| Keys::new().add(caller, key).err();
    assert_eq!(add("shop", KEY), None);
    for key in [
        "",
        "too short",
        "15-characters-x",
        "with a space 0123456789",
        "schlüssel-0123456789",
        &"x".repeat(1_025),
    ] {
        assert_eq!(add("shop", key), Some(KeyError::Secret { caller: "shop".into() }), "{key}");
    }
    assert!(matches!(add("the shop", KEY), Some(KeyError::Id { what: "caller", .. })));
    assert_eq!(Keys::new().add_sha256("shop", "abc").err(), Some(KeyError::Digest));
    let with = |key: Key| Keys::new().add_key(key, KEY).err();
    assert!(matches!(with(Key::new("a").tenant("")), Some(KeyError::Id { what: "tenant", .. })));
    assert!(matches!(with(Key::new("a").id("/")), Some(KeyError::Id { what: "key", .. })));
    assert!(matches!(with(Key::new("a").scopes(["orders"])), Some(KeyError::Scope { .. })));
    let twice = Key::new("a").limit(Limit::per_day(1)).limit(Limit::per_day(2));
    assert!(matches!(with(twice), Some(KeyError::Plan { .. })));
}

#[test]
fn contradictory_keys_are_rejected() {
    let keys = Keys::new().add("shop", KEY).unwrap();
    let duplicate = KeyError::Duplicate { first: "shop".into(), second: "partner".into() };
    assert_eq!(keys.clone().add("partner", KEY).err(), Some(duplicate));
    let other = Key::new("shop").limit(Limit::per_day(1));
    let conflict = keys.add_key(other, "another-key-0123456789").err();
    assert_eq!(conflict, Some(KeyError::Conflict { caller: "shop".into() }));
}

#[test]
fn error_does_not_contain_the_key() {
    let error = Keys::new().add("shop", "short-secret").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("short-secret"));
    let keys = Keys::new().add("shop", KEY).unwrap();
    assert!(!format!("{keys:?}").contains(KEY));
}
