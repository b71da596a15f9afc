//! Look-ups of host names.

use portcullis_test::{
    dns::{DnsRecord, DnsReply, RecordType},
    fixtures::within,
};
use tokio::sync::mpsc;

use super::*;

#[tokio::test]
async fn both_address_families_are_returned_with_the_lowest_ttl() {
    let fixture = Fixture::new().await;
    fixture.server.set("orders.shop", [ip(40, "10.0.0.2"), ip(50, "10.0.0.1"), ip(30, "2001:db8::1")]);
    let resolved = fixture.resolve("Orders.shop").await.unwrap();
    let expected = [("10.0.0.1:9000", 0, 1), ("10.0.0.2:9000", 0, 1), ("[2001:db8::1]:9000", 0, 1)];
    assert_eq!(
        weighted(&resolved),
        expected.map(|(address, priority, weight)| (address.into(), priority, weight))
    );
    assert_eq!(resolved.valid_for, Duration::from_secs(30));
}

#[tokio::test]
async fn name_with_aaaa_records_only_is_resolved() {
    let fixture = Fixture::new().await;
    fixture.server.set("orders", [ip(30, "2001:db8::1")]);
    assert_eq!(texts(&fixture.resolve("orders").await.unwrap()), ["[2001:db8::1]:9000"]);
}

#[tokio::test]
async fn ttl_is_clamped() {
    let fixture = Fixture::with("min_ttl = \"2s\"\nmax_ttl = \"1m\"", "").await;
    for (ttl, seconds) in [(0, 2), (1, 2), (3, 3), (61, 60), (u32::MAX, 60)] {
        fixture.server.set("orders", [ip(ttl, "10.0.0.1")]);
        assert_eq!(fixture.resolve("orders").await.unwrap().valid_for, Duration::from_secs(seconds), "{ttl}");
    }
}

#[tokio::test]
async fn records_are_not_cached_beyond_the_look_up() {
    let fixture = Fixture::new().await;
    fixture.server.set("orders", [ip(300, "10.0.0.1")]);
    fixture.resolve("orders").await.unwrap();
    fixture.server.set("orders", [ip(300, "10.0.0.2")]);
    assert_eq!(texts(&fixture.resolve("orders").await.unwrap()), ["10.0.0.2:9000"]);
    assert_eq!(fixture.server.queries("orders"), 4, "two types, two times");
    // Neither are negative responses.
    fixture.resolve("late").await.unwrap_err();
    fixture.server.set("late", [ip(300, "10.0.0.3")]);
    fixture.resolve("late").await.unwrap();
}

#[tokio::test]
async fn alias_is_followed_and_its_ttl_counts() {
    let fixture = Fixture::new().await;
    fixture.server.set("orders", [DnsRecord::alias(20, "first.example")]);
    fixture.server.set("first.example", [DnsRecord::alias(10, "second.example")]);
    fixture.server.set("second.example", [ip(30, "10.0.0.1"), ip(30, "2001:db8::1")]);
    let resolved = fixture.resolve("orders").await.unwrap();
    assert_eq!(texts(&resolved), ["10.0.0.1:9000", "[2001:db8::1]:9000"]);
    assert_eq!(resolved.valid_for, Duration::from_secs(10));
}

#[tokio::test]
async fn endless_alias_is_an_error() {
    let fixture = Fixture::new().await;
    fixture.server.set("orders", [DnsRecord::alias(20, "other")]);
    fixture.server.set("other", [DnsRecord::alias(20, "orders")]);
    let error = within(fixture.resolve("orders")).await.unwrap_err();
    assert!(error.starts_with("orders has no address records: NODATA"), "{error}");
}

#[tokio::test]
async fn fifty_addresses_are_returned() {
    let fixture = Fixture::new().await;
    let addresses = (1..=50).map(|number| format!("10.0.0.{number}"));
    fixture.server.set("orders", addresses.map(|address| ip(30, &address)));
    assert_eq!(fixture.resolve("orders").await.unwrap().addresses.len(), 50);
    // Fifty IPv6 addresses do not fit into a UDP message.
    let addresses = (1..=50).map(|number| format!("2001:db8::{number}"));
    fixture.server.set("large", addresses.map(|address| ip(30, &address)));
    assert_eq!(fixture.resolve("large").await.unwrap().addresses.len(), 50);
    assert_eq!(fixture.server.tcp_queries("large"), 1);
}

#[tokio::test]
async fn truncated_answer_is_asked_for_over_tcp() {
    let fixture = Fixture::new().await;
    fixture.server.reply("orders", DnsReply::TruncatedOverUdp(vec![ip(30, "10.0.0.1")]));
    assert_eq!(texts(&fixture.resolve("orders").await.unwrap()), ["10.0.0.1:9000"]);
    assert_eq!(fixture.server.tcp_queries("orders"), 2, "A and AAAA");
}

#[tokio::test]
async fn closed_tcp_connections_are_replaced() {
    let fixture = Fixture::new().await;
    let names: Vec<_> = (0..20).map(|number| format!("orders-{number}")).collect();
    for name in &names {
        fixture.server.reply(name, DnsReply::TruncatedOverUdp(vec![ip(30, "10.0.0.1")]));
    }
    for round in 0..4 {
        let all = futures_util::future::join_all(names.iter().map(|name| fixture.resolve(name)));
        for resolved in within(all).await {
            assert_eq!(texts(&resolved.unwrap()), ["10.0.0.1:9000"]);
        }
        fixture.server.close_connections();
        if round % 2 == 0 {
            // The client notices the end of its connections before the next query.
            fixture.resolve("missing").await.unwrap_err();
        }
    }
}

#[tokio::test]
async fn search_domains_apply_unless_the_name_ends_with_a_dot() {
    let fixture = Fixture::with("", "search web.svc.example svc.example\noptions ndots:5\n").await;
    fixture.server.set("orders.shop.svc.example", [ip(30, "10.0.0.1")]);
    fixture.server.set("orders.shop", [ip(30, "10.0.0.2")]);
    assert_eq!(texts(&fixture.resolve("orders.shop").await.unwrap()), ["10.0.0.1:9000"]);
    assert_eq!(texts(&fixture.resolve("orders.shop.").await.unwrap()), ["10.0.0.2:9000"]);
}

#[tokio::test]
async fn failure_in_a_search_domain_is_not_taken_for_absence() {
    let fixture = Fixture::with("", "search svc.example\noptions ndots:5\n").await;
    fixture.server.set("orders.shop", [ip(30, "10.0.0.2")]);
    fixture.server.reply("orders.shop.svc.example", DnsReply::ServerFailure);
    let error = fixture.resolve("orders.shop").await.unwrap_err();
    assert!(error.ends_with("SERVFAIL"), "{error}");
    assert_eq!(fixture.server.queries("orders.shop"), 0);
}

#[tokio::test]
async fn addresses_that_no_server_can_have_are_ignored() {
    let fixture = Fixture::new().await;
    fixture.server.set("orders", [ip(30, "0.0.0.0"), ip(30, "10.0.0.1"), ip(30, "224.0.0.1"), ip(30, "::")]);
    assert_eq!(texts(&fixture.resolve("orders").await.unwrap()), ["10.0.0.1:9000"]);
    fixture.server.set("sink", [ip(30, "0.0.0.0")]);
    assert!(fixture.resolve("sink").await.unwrap_err().starts_with("sink has no address records"));
}

#[tokio::test]
async fn failure_of_one_family_leaves_the_other_for_a_short_time() {
    let fixture = Fixture::new().await;
    fixture.server.set("orders", [ip(200, "10.0.0.1")]);
    fixture.server.reply_to("orders", RecordType::AAAA, DnsReply::ServerFailure);
    let resolved = fixture.resolve("orders").await.unwrap();
    assert_eq!((texts(&resolved), resolved.valid_for), (vec!["10.0.0.1:9000".into()], INCOMPLETE_TTL));
}

#[tokio::test]
async fn changed_record_is_followed_after_its_ttl() {
    let fixture = Fixture::new().await;
    fixture.server.set("orders", [ip(1, "10.0.0.1")]);
    let (sender, mut changes) = mpsc::unbounded_channel();
    let following =
        fixture.resolver.clone().follow(host("orders"), move |addresses| sender.send(addresses).unwrap());
    let following = tokio::spawn(following);
    let first = within(changes.recv()).await.unwrap();
    assert_eq!(first[0].address.to_string(), "10.0.0.1:9000");
    fixture.server.set("orders", [ip(1, "10.0.0.3"), ip(1, "10.0.0.2")]);
    let second = within(changes.recv()).await.unwrap();
    assert_eq!(second.len(), 2);
    // An equal set in another order is no change. A look-up may be under way, which has two queries.
    fixture.server.set("orders", [ip(1, "10.0.0.2"), ip(1, "10.0.0.3")]);
    let asked = fixture.server.queries("orders");
    within(fixture.server.wait_for_queries("orders", asked + 3)).await;
    // The name disappears; its addresses stay. Then it returns.
    fixture.server.reply("orders", DnsReply::NoSuchName);
    let asked = fixture.server.queries("orders");
    within(fixture.server.wait_for_queries("orders", asked + 3)).await;
    fixture.server.set("orders", [ip(1, "10.0.0.4")]);
    let third = within(changes.recv()).await.unwrap();
    assert_eq!(third[0].address.to_string(), "10.0.0.4:9000");
    following.abort();
}
