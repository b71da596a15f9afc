//! The search domains of `/etc/resolv.conf`.

use hickory_resolver::proto::rr::Name;

use super::error::Failure;

/// The domains in which a relative name is searched, and the number of dots from which a name is tried as it is first.
#[derive(Debug, Default)]
pub(super) struct SearchList {
    domains: Vec<Name>,
    ndots: usize,
}

impl SearchList {
    /// Takes the search list from a parsed `resolv.conf`. Invalid domains are ignored.
    pub(super) fn new(file: &resolv_conf::Config) -> Self {
        let domains = file.get_last_search_or_domain().filter_map(|domain| Name::from_ascii(domain).ok());
        Self { domains: domains.collect(), ndots: file.ndots.try_into().unwrap_or(usize::MAX) }
    }

    /// Returns the absolute names to look up for a name, in order; none if it is invalid.
    pub(super) fn candidates(&self, name: &str) -> Vec<Name> {
        let Ok(mut given) = Name::from_ascii(name) else { return Vec::new() };
        if given.is_fqdn() {
            return vec![given];
        }
        let searched = self.domains.iter().filter_map(|domain| given.clone().append_domain(domain).ok());
        let mut names: Vec<_> = searched.map(absolute).collect();
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        given = absolute(given);
        let place = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(place, given);
        names
    }
}

/// A search for the first of the absolute names that has records.
#[derive(Debug, Default)]
pub(super) struct Search {
    negative: Option<Failure>,
}

impl Search {
    /// Takes the result of a look-up. Returns it if the search ends with it. A failure ends the search, because the name
    /// might exist there: going on could find another service of the same name.
    pub(super) fn step<T>(&mut self, result: Result<T, Failure>) -> Option<Result<T, Failure>> {
        let failure = match result {
            Err(failure) if failure.is_negative() => failure,
            result => return Some(result),
        };
        self.negative = Some(match self.negative.take() {
            Some(earlier) => earlier.and(failure),
            None => failure,
        });
        None
    }

    /// Returns the failure of a search that found nothing.
    pub(super) fn failure(self) -> Failure {
        self.negative.unwrap_or(Failure::InvalidName)
    }
}

fn absolute(mut name: Name) -> Name {
    name.set_fqdn(true);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(file: &str, name: &str) -> Vec<String> {
        let list = SearchList::new(&resolv_conf::Config::parse_with_errors(file.as_bytes()).0);
        list.candidates(name).iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn search_domains_apply_to_names_with_few_dots_first() {
        let cluster = "search web.svc.cluster.local svc.cluster.local\noptions ndots:5";
        for (file, name, expected) in [
            ("", "orders", vec!["orders."]),
            (
                cluster,
                "orders.shop",
                vec!["orders.shop.web.svc.cluster.local.", "orders.shop.svc.cluster.local.", "orders.shop."],
            ),
            (cluster, "orders.shop.", vec!["orders.shop."]),
            ("search example", "www", vec!["www.example.", "www."]),
            ("search example", "www.shop", vec!["www.shop.", "www.shop.example."]),
            ("domain example.", "www", vec!["www.example.", "www."]),
            ("domain one\nsearch other", "www", vec!["www.other.", "www."]),
            ("search ..", "a_b", vec!["a_b."]),
            ("", "a..b", vec![]),
        ] {
            assert_eq!(candidates(file, name), expected, "{file:?} {name}");
        }
    }
}
