//! Names that need no name server.

use super::*;

#[tokio::test]
async fn hosts_file_takes_precedence_and_is_read_again() {
    let fixture = Fixture::new().await;
    fixture.server.set("orders", [ip(30, "10.0.0.1")]);
    fixture.files.write_hosts("10.0.0.2 orders\n2001:db8::2 orders.\n");
    let resolved = fixture.resolve("orders").await.unwrap();
    assert_eq!(texts(&resolved), ["10.0.0.2:9000", "[2001:db8::2]:9000"]);
    assert_eq!((resolved.valid_for, fixture.server.queries("orders")), (HOSTS_TTL, 0));
    fixture.files.write_hosts("");
    assert_eq!(texts(&fixture.resolve("orders").await.unwrap()), ["10.0.0.1:9000"]);
}

#[tokio::test]
async fn localhost_needs_no_file_and_no_name_server() {
    let nothing = Path::new("/nonexistent");
    let resolver = Resolver::with_files(&dns(""), nothing, nothing).unwrap();
    for name in ["localhost", "LOCALHOST.", "api.localhost"] {
        let resolved = resolver.resolve(&host(name)).await.unwrap();
        assert_eq!(texts(&resolved), ["127.0.0.1:9000", "[::1]:9000"], "{name}");
    }
    let error = resolver.resolve(&host("orders")).await.unwrap_err();
    assert!(!error.failure.is_negative());
    let error = error.to_string();
    assert!(
        error.starts_with("failed to resolve orders: there is no name server (/nonexistent: "),
        "{error}"
    );
    assert!(error.contains("set dns.servers"), "{error}");
}

#[tokio::test]
async fn hosts_file_applies_to_localhost() {
    let fixture = Fixture::new().await;
    fixture.files.write_hosts("127.0.0.1 localhost\n");
    assert_eq!(texts(&fixture.resolve("localhost").await.unwrap()), ["127.0.0.1:9000"]);
}

#[tokio::test]
async fn file_without_name_servers_is_named() {
    let files = Files::new("search example\nnameserver\n", "10.0.0.2 orders\n");
    let resolver = files.resolver("");
    assert_eq!(texts(&resolver.resolve(&host("orders")).await.unwrap()), ["10.0.0.2:9000"]);
    let error = resolver.resolve(&host("stock")).await.unwrap_err().to_string();
    assert!(error.contains("resolv.conf has none"), "{error}");
}
