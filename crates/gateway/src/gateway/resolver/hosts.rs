//! The hosts file.

use std::{net::IpAddr, path::Path};

/// Returns the addresses of a name in a hosts file; none if there is no such file. The file is read anew for each
/// look-up, so that changes apply.
pub(super) async fn find(file: &Path, name: &str) -> Vec<IpAddr> {
    let (file, name) = (file.to_owned(), name.to_owned());
    let found = tokio::task::spawn_blocking(move || {
        let bytes = std::fs::read(file).unwrap_or_default();
        find_in(&String::from_utf8_lossy(&bytes), &name)
    });
    found.await.unwrap_or_default()
}

/// Lines have the form `address name name… # comment`. Lines with another address, such as one with an interface, are
/// ignored without a warning, which would be repeated with each look-up.
fn find_in(text: &str, name: &str) -> Vec<IpAddr> {
    let name = relative(name);
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| relative(word).eq_ignore_ascii_case(name)).then_some(address)
    });
    addresses.collect()
}

fn relative(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_found_in_every_line_that_has_it() {
        let text = "\u{feff}# a comment\n127.0.0.1\tlocalhost\n::1 localhost ip6-localhost\nfe80::1%lo0 orders\n\
                    10.0.0.1 Orders.shop orders # orders.old\n10.0.0.2 orders.\n10.0.0.3\n\n";
        for (name, found) in [
            ("localhost", vec!["127.0.0.1", "::1"]),
            ("ORDERS", vec!["10.0.0.1", "10.0.0.2"]),
            ("orders.shop.", vec!["10.0.0.1"]),
            ("orders.old", vec![]),
            ("shop", vec![]),
            ("10.0.0.3", vec![]),
        ] {
            let found: Vec<IpAddr> = found.iter().map(|ip| ip.parse().unwrap()).collect();
            assert_eq!(find_in(text, name), found, "{name}");
        }
    }
}
