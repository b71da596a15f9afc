//! The syntax of a host and a port (RFC 3986, section 3.2; RFC 1123, section 2.1).

use std::net::{Ipv4Addr, Ipv6Addr};

/// Maximum length of a name in bytes, without the dot of the root (RFC 1035, section 2.3.4).
const NAME_BYTES: usize = 253;

/// Maximum length of a label in bytes.
const LABEL_BYTES: usize = 63;

/// Returns `true` if the value is a host with an optional port: a name of DNS labels (with underscores, which are
/// in use), an IPv4 address, or an IPv6 address in brackets. A name may end with the dot of the root. Userinfo,
/// encoded characters and address scopes are invalid: every server interprets the remaining values as the same
/// host.
pub(super) fn is_host(value: &[u8]) -> bool {
    let Ok(value) = std::str::from_utf8(value) else { return false };
    let (is_valid, port) = if let Some(literal) = value.strip_prefix('[') {
        let Some((address, port)) = literal.split_once(']') else { return false };
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let end = value.find(':').unwrap_or(value.len());
        (is_name(&value[..end]), &value[end..])
    };
    is_valid && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_label = |label: &str| {
        (1..=LABEL_BYTES).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= NAME_BYTES && name.split('.').all(is_label) && (!ends_in_number(name) || is_ipv4(name))
}

/// Returns `true` if URL parsers read the name as an IPv4 address: `127.1` is 127.0.0.1 for some and a name for
/// others.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let digits = last.bytes().all(|byte| byte.is_ascii_digit());
    digits || last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_ipv4(name: &str) -> bool {
    name.parse::<Ipv4Addr>().is_ok()
}

/// Returns `true` if the port is valid. An empty port is the default of the scheme (RFC 3986, section 3.2.3).
fn is_port(port: &str) -> bool {
    // `parse` alone accepts a sign.
    port.is_empty()
        || port.len() <= 5
            && port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_a_name_or_an_address_with_an_optional_port() {
        let label = "a".repeat(63);
        let name = [&*label, &*label, &*label, &"a".repeat(61)].join(".");
        for host in [
            "a",
            "A.example",
            "a.example.",
            "a.example.:80",
            "xn--bcher-kva.example",
            "_dmarc.a",
            "a_b",
            "1.a",
            "a:1",
            "a:65535",
            "a:00080",
            "a:",
            "192.0.2.1",
            "192.0.2.1:8080",
            "[::1]",
            "[::1]:80",
            "[2001:DB8::1]:",
            "[::ffff:192.0.2.1]",
            &label,
            &name,
            &format!("{name}."),
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn ambiguous_host_is_invalid() {
        let long_label = "a".repeat(64);
        let long_name = ["a"; 128].join(".");
        for host in [
            "",
            ".",
            "..",
            "a..",
            "127.1",
            "0x7f.1",
            "256.1.1.1",
            "1.2.3.4.5",
            "a.1",
            "a.0x1",
            "-a",
            "a-",
            "a.-b",
            "a..b",
            ".a",
            "[",
            "]",
            "[]",
            "[:]",
            "::",
            "::1",
            ":",
            ":80",
            "a:b",
            "a:0",
            "a:65536",
            "a:000080",
            "a:+1",
            "a:-1",
            "a:80:80",
            "a: 80",
            "a b",
            " a",
            "a ",
            "user@a",
            "a@b:80",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a%2eb",
            "a,b",
            "a;b",
            "[::1",
            "::1]",
            "[::1]a",
            "[::1]]",
            "[::1]:b",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "[192.0.2.1]",
            "[a]",
            "a[::1]",
            "*",
            "*.a",
            "b\u{fc}cher.example",
            "a\0",
            &long_label,
            &long_name,
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
        assert!(!is_host(b"a\xff"));
    }
}
