//! Failures of names and of name servers.

use portcullis_test::{
    dns::{DnsReply, DnsServer, RecordType},
    fixtures::within,
};

use super::*;

#[tokio::test]
async fn missing_name_is_told_apart_from_missing_records() {
    let fixture = Fixture::with("", "search shop.example\n").await;
    let server = fixture.server.address();
    let error = fixture.resolve("orders.").await.unwrap_err();
    assert_eq!(error, format!("orders. does not exist: NXDOMAIN from name server {server} for orders."));
    let error = fixture.resolve("orders").await.unwrap_err();
    let tried = "orders.shop.example., orders.";
    assert_eq!(error, format!("orders does not exist: NXDOMAIN from name server {server} for {tried}"));
    fixture.server.set("orders.shop.example", []);
    let error = fixture.resolve("orders").await.unwrap_err();
    assert_eq!(error, format!("orders has no address records: NODATA from name server {server} for {tried}"));
    let resolver = &fixture.resolver;
    assert!(resolver.resolve(&host("orders")).await.unwrap_err().failure.is_negative());
}

#[tokio::test]
async fn failure_names_the_server_and_the_reason() {
    let (prompt, hasty) = (Fixture::new().await, Fixture::with("timeout = \"100ms\"", "").await);
    let name = "orders.example.";
    let garbage = vec![0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff];
    let other_question = [&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x05other\0\0\x01\0\x01"].concat();
    for (reply, reason) in [
        (DnsReply::ServerFailure, "SERVFAIL"),
        (DnsReply::Silence, "no response within 100ms"),
        (DnsReply::Raw(Vec::new()), "malformed response"),
        (DnsReply::Raw(vec![0x81, 0x85, 0, 0, 0, 0, 0, 0, 0, 0]), "no response within 100ms"),
        (DnsReply::Raw(garbage), "malformed response"),
        (DnsReply::Raw(other_question), "no response within 100ms"),
    ] {
        let fixture = if reason.starts_with("no response") { &hasty } else { &prompt };
        fixture.server.reply(name, reply.clone());
        let error = within(fixture.resolver.resolve(&host(name))).await.unwrap_err();
        assert!(!error.failure.is_negative(), "{reply:?}");
        let expected =
            format!("failed to resolve {name}: name server {}: {reason}", fixture.server.address());
        assert!(error.to_string().starts_with(&expected), "{reply:?}: {error}");
    }
}

#[tokio::test]
async fn failure_is_not_taken_for_absence_of_the_other_family() {
    let fixture = Fixture::new().await;
    fixture.server.set("orders", []);
    fixture.server.reply_to("orders", RecordType::A, DnsReply::ServerFailure);
    let error = fixture.resolve("orders").await.unwrap_err();
    assert!(error.ends_with("SERVFAIL"), "{error}");
}

#[tokio::test]
async fn next_server_answers_if_the_first_one_fails_or_is_silent() {
    let (first, second) = (DnsServer::start().await, DnsServer::start().await);
    let servers = [first.address(), second.address()].map(|address| address.to_string());
    let resolver = Files::new("", "").resolver(&format!("servers = {servers:?}\ntimeout = \"2s\""));
    second.set("orders.", [ip(30, "10.0.0.1")]);
    for reply in [DnsReply::ServerFailure, DnsReply::Silence, DnsReply::Raw(vec![1])] {
        first.reply("orders.", reply);
        let resolved = within(resolver.resolve(&host("orders."))).await.unwrap();
        assert_eq!(texts(&resolved), ["10.0.0.1:9000"]);
    }
    // A negative answer is an answer.
    first.reply("orders.", DnsReply::NoSuchName);
    let asked = second.queries("orders.");
    assert!(resolver.resolve(&host("orders.")).await.unwrap_err().failure.is_negative());
    assert_eq!(second.queries("orders."), asked);
}

#[tokio::test]
async fn failures_of_all_servers_are_named() {
    let (first, second) = (DnsServer::start().await, DnsServer::start().await);
    let servers = [first.address(), second.address()].map(|address| address.to_string());
    let resolver = Files::new("", "").resolver(&format!("servers = {servers:?}\ntimeout = \"1s\""));
    first.reply("orders.", DnsReply::ServerFailure);
    second.reply("orders.", DnsReply::Silence);
    let error = within(resolver.resolve(&host("orders."))).await.unwrap_err().to_string();
    for (server, reason) in [(&first, "SERVFAIL"), (&second, "no response within 1s")] {
        assert!(error.contains(&format!("name server {}: {reason}", server.address())), "{error}");
    }
}

#[tokio::test]
async fn many_look_ups_at_once_succeed() {
    let fixture = Fixture::with("timeout = \"15s\"", "").await;
    let names: Vec<_> = (0..200).map(|number| format!("orders-{number}")).collect();
    for name in &names {
        fixture.server.reply(name, DnsReply::TruncatedOverUdp(vec![ip(30, "10.0.0.1")]));
    }
    let all = futures_util::future::join_all(names.iter().map(|name| fixture.resolve(name)));
    for resolved in within(all).await {
        assert_eq!(texts(&resolved.unwrap()), ["10.0.0.1:9000"]);
    }
}

#[tokio::test]
async fn invalid_name_is_an_error() {
    let fixture = Fixture::new().await;
    let error = fixture.resolve("a..b").await.unwrap_err();
    assert_eq!(error, "a..b is not a valid name in DNS");
}
