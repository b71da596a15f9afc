//! Callers: their kinds, their tenant's subscription, the scopes of their keys, and lockouts.

use std::time::Duration;

use axum::{Router, routing::any};
use portcullis::{
    model::{Access, CallerKind, Role, Scope as Permission, Scopes, SubscriptionStatus},
    policy::{ApiKey, Lockout, RequireScope},
    tower::PortcullisLayer,
};

use super::{send, status};
use portcullis_test::directory::DirectoryFixture;

fn app(layer: PortcullisLayer<impl portcullis::Policy + 'static>) -> Router {
    Router::new().route("/orders/{id}", any(async || "served")).layer(layer)
}

fn guard<P: portcullis::Policy>(world: &DirectoryFixture, policy: P) -> PortcullisLayer<P> {
    PortcullisLayer::new(policy).clock(world.clock.clone())
}

#[tokio::test]
async fn management_keys_are_denied_unless_their_kind_is_named() {
    let world = DirectoryFixture::new();
    let key = || ApiKey::new(world.directory.clone());
    let (plain, named) = (app(guard(&world, key())), app(guard(&world, key().caller_kinds(&["operator"]))));
    for (kind, callers, operators) in [
        (CallerKind::ApiClient, 200, 403),
        (CallerKind::Operator, 403, 200),
        (CallerKind::Administrator(Role::Owner), 403, 403),
    ] {
        let caller = world.caller(|caller| caller.kind = kind);
        let key = world.key_of(&caller, |_| {});
        assert_eq!(status(&plain, "GET", "/orders/7", &key).await, callers);
        assert_eq!(status(&named, "GET", "/orders/7", &key).await, operators);
    }
}

#[tokio::test]
async fn lapsed_tenant_is_402_until_it_is_active_again() {
    let world = DirectoryFixture::new();
    let policy = || ApiKey::new(world.directory.clone());
    let (app, lenient) = (app(guard(&world, policy())), app(guard(&world, policy().admit_lapsed())));
    let key = world.key();
    for (standing, expected) in [
        (SubscriptionStatus::Active, 200),
        (SubscriptionStatus::Lapsed, 402),
        (SubscriptionStatus::Active, 200),
    ] {
        world.tenant_is(standing);
        let answer = send(&app, "GET", "/orders/7", &key).await;
        assert_eq!(answer.status(), expected);
        assert_eq!(status(&lenient, "GET", "/orders/7", &key).await, 200);
    }
}

#[tokio::test]
async fn key_of_one_order_does_not_reach_another() {
    let world = DirectoryFixture::new();
    let scope =
        Permission { resource: "orders".into(), access: Access::Read, targets: Some(vec!["7".into()]) };
    let key = world.key_of(&world.caller(|_| {}), |key| key.scopes = Scopes::Listed(vec![scope]));
    let policy = |scope| (ApiKey::new(world.directory.clone()), scope);
    let targeted = app(guard(&world, policy(RequireScope::new("orders").target_segment(2))));
    let untold = app(guard(&world, policy(RequireScope::new("orders"))));
    for (path, expected) in [("/orders/7", 200), ("/orders/%37", 200), ("/orders/8", 403)] {
        assert_eq!(status(&targeted, "GET", path, &key).await, expected, "{path}");
        assert_eq!(status(&untold, "GET", path, &key).await, 403, "{path}");
    }
    assert_eq!(status(&targeted, "PUT", "/orders/7", &key).await, 403);
}

#[tokio::test]
async fn valid_key_passes_a_lockout_of_its_address() {
    let world = DirectoryFixture::new();
    let lasts = Duration::from_secs(60);
    let policy = ApiKey::new(world.directory.clone()).lockout(Lockout::new(2, lasts, lasts));
    let app = app(guard(&world, policy).peer_from(|_| Some([192, 0, 2, 1].into())));
    let key = world.key();
    for (presented, expected) in [("bad", 401), ("bad", 401), ("bad", 403), (&*key, 200), ("bad", 403)] {
        assert_eq!(status(&app, "GET", "/orders/7", presented).await, expected, "{presented}");
    }
}
