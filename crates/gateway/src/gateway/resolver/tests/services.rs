//! Look-ups of SRV records.

use portcullis_test::dns::{DnsRecord, DnsReply, RecordType};

use super::*;

const SERVICE: &str = "_http._tcp.orders.example";

#[tokio::test]
async fn service_has_ports_weights_and_priorities() {
    let fixture = Fixture::new().await;
    fixture.server.set(
        SERVICE,
        [
            DnsRecord::service(60, (2, 5), 8003, "c.example"),
            DnsRecord::service(60, (1, 10), 8001, "a.example"),
            DnsRecord::service(60, (1, 30), 8002, "b.example"),
        ],
    );
    fixture.server.set("a.example", [ip(50, "10.0.0.1"), ip(50, "2001:db8::1")]);
    fixture.server.set("b.example", [ip(40, "10.0.0.2")]);
    fixture.server.set("c.example", [DnsRecord::alias(50, "a.example")]);
    let resolved = fixture.resolve_service(SERVICE).await.unwrap();
    let expected = [
        ("10.0.0.1:8001", 1, 10),
        ("10.0.0.2:8002", 1, 30),
        ("[2001:db8::1]:8001", 1, 10),
        ("10.0.0.1:8003", 2, 5),
        ("[2001:db8::1]:8003", 2, 5),
    ];
    assert_eq!(
        weighted(&resolved),
        expected.map(|(address, priority, weight)| (address.into(), priority, weight))
    );
    assert_eq!(resolved.valid_for, Duration::from_secs(40));
}

#[tokio::test]
async fn additional_records_save_queries_and_their_ttl_counts() {
    let fixture = Fixture::new().await;
    fixture.server.send_additionals(true);
    fixture.server.set(SERVICE, [DnsRecord::service(60, (1, 1), 8001, "a.example")]);
    fixture.server.set("a.example", [ip(20, "10.0.0.1"), ip(30, "2001:db8::1")]);
    let resolved = fixture.resolve_service(SERVICE).await.unwrap();
    assert_eq!(texts(&resolved), ["10.0.0.1:8001", "[2001:db8::1]:8001"]);
    assert_eq!((resolved.valid_for, fixture.server.queries("a.example")), (Duration::from_secs(20), 0));
}

#[tokio::test]
async fn ttl_of_the_service_counts() {
    let fixture = Fixture::new().await;
    fixture.server.set(SERVICE, [DnsRecord::service(7, (1, 1), 8001, "a.example")]);
    fixture.server.set("a.example", [ip(50, "10.0.0.1")]);
    assert_eq!(fixture.resolve_service(SERVICE).await.unwrap().valid_for, Duration::from_secs(7));
}

#[tokio::test]
async fn target_that_fails_does_not_stop_the_others() {
    let fixture = Fixture::new().await;
    let services = ["a.example", "b.example"].map(|target| DnsRecord::service(60, (1, 1), 8001, target));
    fixture.server.set(SERVICE, services);
    fixture.server.set("a.example", [ip(50, "10.0.0.1")]);
    fixture.server.reply("b.example", DnsReply::ServerFailure);
    let resolved = fixture.resolve_service(SERVICE).await.unwrap();
    assert_eq!((texts(&resolved), resolved.valid_for), (vec!["10.0.0.1:8001".into()], INCOMPLETE_TTL));
    fixture.server.reply("a.example", DnsReply::ServerFailure);
    let error = fixture.resolve_service(SERVICE).await.unwrap_err();
    assert!(error.contains(SERVICE) && error.contains("SERVFAIL"), "{error}");
}

#[tokio::test]
async fn targets_may_be_in_the_hosts_file() {
    let fixture = Fixture::new().await;
    fixture.files.write_hosts("10.0.0.9 a.example\n");
    let services = ["a.example", "localhost"].map(|target| DnsRecord::service(600, (1, 1), 8001, target));
    fixture.server.set(SERVICE, services);
    let resolved = fixture.resolve_service(SERVICE).await.unwrap();
    assert_eq!(texts(&resolved), ["10.0.0.9:8001", "127.0.0.1:8001", "[::1]:8001"]);
    assert_eq!(resolved.valid_for, HOSTS_TTL);
}

#[tokio::test]
async fn missing_service_is_told_apart_from_one_that_is_not_available() {
    let fixture = Fixture::new().await;
    let server = fixture.server.address();
    let error = fixture.resolve_service(SERVICE).await.unwrap_err();
    assert_eq!(error, format!("{SERVICE} does not exist: NXDOMAIN from name server {server} for {SERVICE}."));
    fixture.server.set(SERVICE, [ip(50, "10.0.0.1")]);
    let error = fixture.resolve_service(SERVICE).await.unwrap_err();
    assert_eq!(
        error,
        format!("{SERVICE} has no SRV records: NODATA from name server {server} for {SERVICE}.")
    );
    fixture.server.set(SERVICE, [DnsRecord::service(60, (0, 0), 0, ".")]);
    let error = fixture.resolve_service(SERVICE).await.unwrap_err();
    assert!(error.starts_with(&format!("{SERVICE} is not available: name server {server}")), "{error}");
}

#[tokio::test]
async fn search_domains_apply_to_services() {
    let fixture = Fixture::with("", "search shop.example\n").await;
    let record = DnsRecord::service(60, (1, 1), 8001, "a.example");
    fixture.server.reply_to("_http._tcp.shop.example", RecordType::SRV, DnsReply::Records(vec![record]));
    fixture.server.set("a.example", [ip(50, "10.0.0.1")]);
    assert_eq!(texts(&fixture.resolve_service("_http._tcp").await.unwrap()), ["10.0.0.1:8001"]);
}
