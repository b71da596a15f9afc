//! Selects an endpoint for a request. Each worker thread has a picker for each upstream.

use std::{sync::Arc, time::Duration};

use super::{
    endpoint::{Endpoint, Monotonic},
    endpoint_set::EndpointSet,
};

/// The algorithm of the selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    RoundRobin,
    LeastRequests,
    Hash,
}

/// The rules of the selection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) slow_start: Option<Duration>,
    /// The key of the request for consistent hashing.
    pub(super) key: Option<&'a [u8]>,
    /// The endpoints that the request was already sent to.
    pub(super) tried: &'a [Arc<Endpoint>],
}

/// The endpoints that are eligible, in the order in which they are considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Eligible {
    /// Available, and not only a fallback.
    Preferred,
    Available,
    /// All: it is better to try an endpoint that seems to fail than to reject the request.
    Any,
}

/// The state of the selection.
#[derive(Debug, Default)]
pub(super) struct Picker {
    /// The index of the endpoint whose turn it is. Retries do not change it: otherwise, with two endpoints, the one that
    /// fails would receive every request first.
    next: usize,
    /// The current weights of the smooth weighted round robin.
    current: Vec<f64>,
}

impl Picker {
    /// Creates a picker that starts at an endpoint, so that the threads do not start with the same one.
    pub(super) fn starting_at(next: usize) -> Self {
        Self { next, current: Vec::new() }
    }

    /// Returns the index of an endpoint that was not tried, if there is one.
    pub(super) fn pick(&mut self, set: &EndpointSet, selection: &Selection<'_>) -> Option<usize> {
        if set.endpoints.len() == 1 && selection.tried.is_empty() {
            return Some(0);
        }
        [Eligible::Preferred, Eligible::Available, Eligible::Any]
            .into_iter()
            .find_map(|eligible| self.pick_among(set, selection, eligible))
    }

    fn pick_among(
        &mut self,
        set: &EndpointSet,
        selection: &Selection<'_>,
        eligible: Eligible,
    ) -> Option<usize> {
        let is_eligible = |index: usize| {
            let endpoint = &set.endpoints[index];
            (eligible == Eligible::Any || endpoint.health.is_available(Monotonic::now))
                && (eligible != Eligible::Preferred || !endpoint.is_fallback)
                && !selection.tried.iter().any(|tried| Arc::ptr_eq(tried, endpoint))
        };
        if selection.algorithm == Algorithm::Hash
            && let (Some(ring), Some(key)) = (&set.ring, selection.key)
        {
            // Endpoints with the same address share a place on the ring. The others are found below.
            if let Some(found) = ring.find(key, is_eligible) {
                return Some(found);
            }
        }
        let count = set.endpoints.len();
        if selection.algorithm == Algorithm::LeastRequests {
            return self.least_requests(set, selection, is_eligible);
        }
        if set.is_uniform && selection.slow_start.is_none() {
            let found =
                (0..count).map(|step| (self.next + step) % count).find(|index| is_eligible(*index))?;
            self.advance(found, selection);
            return Some(found);
        }
        self.smooth_round_robin(set, selection, is_eligible)
    }

    /// Selects endpoints in proportion to their weights and as evenly in time as possible: each gains its weight in each
    /// round, and the one that is selected pays the sum of the weights.
    fn smooth_round_robin(
        &mut self,
        set: &EndpointSet,
        selection: &Selection<'_>,
        is_eligible: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        self.current.resize(set.endpoints.len(), 0.0);
        let (mut total, mut best) = (0.0, None::<usize>);
        for index in (0..set.endpoints.len()).filter(|index| is_eligible(*index)) {
            let weight = weight(&set.endpoints[index], selection.slow_start);
            total += weight;
            self.current[index] += weight;
            if best.is_none_or(|best| self.current[index] > self.current[best]) {
                best = Some(index);
            }
        }
        let best = best?;
        self.current[best] -= total;
        Some(best)
    }

    fn least_requests(
        &mut self,
        set: &EndpointSet,
        selection: &Selection<'_>,
        is_eligible: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let count = set.endpoints.len();
        let load = |index: usize| {
            let endpoint = &set.endpoints[index];
            f64::from(u32::try_from(endpoint.in_flight() + 1).unwrap_or(u32::MAX))
                / weight(endpoint, selection.slow_start)
        };
        // Starts at another endpoint each time, so that equal endpoints take turns.
        let candidates =
            (0..count).map(|step| (self.next + step) % count).filter(|index| is_eligible(*index));
        let found =
            candidates.map(|index| (index, load(index))).min_by(|one, other| one.1.total_cmp(&other.1));
        let (index, _) = found?;
        self.advance(index, selection);
        Some(index)
    }

    /// Passes the turn on to the endpoint after the selected one.
    fn advance(&mut self, selected: usize, selection: &Selection<'_>) {
        if selection.tried.is_empty() {
            self.next = selected + 1;
        }
    }
}

/// Returns the current weight of an endpoint.
fn weight(endpoint: &Endpoint, slow_start: Option<Duration>) -> f64 {
    let weight = f64::from(endpoint.weight);
    slow_start.map_or(weight, |slow_start| weight * endpoint.health.share(slow_start, Monotonic::now()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::gateway::upstream::{
        endpoint::InFlight,
        endpoint_set::{
            Endpoints,
            tests::{address, target},
        },
    };

    fn set(weights: &[u16], hashes: bool) -> Arc<EndpointSet> {
        let target = |(at, weight): (usize, &u16)| {
            (target(at, *weight), vec![address(&format!("127.0.0.{}", at + 1))])
        };
        Endpoints::new(weights.iter().enumerate().map(target).collect(), hashes).current().1
    }

    fn rules(algorithm: Algorithm) -> Selection<'static> {
        Selection { algorithm, slow_start: None, key: None, tried: &[] }
    }

    fn picks(set: &EndpointSet, selection: &Selection<'_>, count: usize) -> Vec<usize> {
        let mut picker = Picker::default();
        (0..count).map(|_| picker.pick(set, selection).unwrap()).collect()
    }

    #[test]
    fn equal_endpoints_take_turns() {
        let set = set(&[1, 1, 1], false);
        assert_eq!(picks(&set, &rules(Algorithm::RoundRobin), 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(picks(&set, &rules(Algorithm::LeastRequests), 4), [0, 1, 2, 0]);
    }

    #[test]
    fn endpoints_are_selected_in_proportion_to_their_weights_and_evenly() {
        let set = set(&[5, 1, 1], false);
        assert_eq!(picks(&set, &rules(Algorithm::RoundRobin), 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn endpoint_with_fewest_requests_for_its_weight_is_selected() {
        let set = set(&[1, 3], false);
        let mut picker = Picker::default();
        let mut running = Vec::new();
        for _ in 0..8 {
            let index = picker.pick(&set, &rules(Algorithm::LeastRequests)).unwrap();
            running.push(InFlight::new(&set.endpoints[index]));
        }
        assert_eq!(set.endpoints.iter().map(|one| one.in_flight()).collect::<Vec<_>>(), [2, 6]);
        drop(running);
        assert_eq!(set.endpoints[1].in_flight(), 0);
    }

    #[test]
    fn ejected_endpoint_is_selected_only_without_another() {
        for algorithm in [Algorithm::RoundRobin, Algorithm::LeastRequests] {
            let set = set(&[1, 1], false);
            set.endpoints[0].health.set_failing_checks(true, Monotonic::now());
            assert_eq!(picks(&set, &rules(algorithm), 3), [1, 1, 1]);
            set.endpoints[1].health.set_failing_checks(true, Monotonic::now());
            assert_eq!(picks(&set, &rules(algorithm), 2), [0, 1], "{algorithm:?}");
        }
    }

    #[test]
    fn tried_endpoint_is_not_selected_again() {
        for algorithm in [Algorithm::RoundRobin, Algorithm::LeastRequests, Algorithm::Hash] {
            let set = set(&[1, 1], true);
            let (first, second) = (set.endpoints[0].clone(), set.endpoints[1].clone());
            let mut picker = Picker::default();
            let (one, both) = ([first.clone()], [first, second]);
            let mut selection = Selection { key: Some(b"a"), tried: &one, ..rules(algorithm) };
            assert_eq!(picker.pick(&set, &selection), Some(1));
            selection.tried = &both;
            assert_eq!(picker.pick(&set, &selection), None);
        }
    }

    #[test]
    fn retry_does_not_take_the_turn_of_another_request() {
        for algorithm in [Algorithm::RoundRobin, Algorithm::LeastRequests] {
            let set = set(&[1, 1], false);
            let mut picker = Picker::default();
            let first: Vec<_> = (0..4)
                .map(|_| {
                    let first = picker.pick(&set, &rules(algorithm)).unwrap();
                    let tried = [set.endpoints[first].clone()];
                    let retry = picker.pick(&set, &Selection { tried: &tried, ..rules(algorithm) });
                    assert_eq!(retry, Some(1 - first), "{algorithm:?}");
                    first
                })
                .collect();
            assert_eq!(first, [0, 1, 0, 1], "{algorithm:?}");
        }
    }

    #[test]
    fn fallback_is_selected_if_the_other_addresses_fail() {
        let endpoints =
            Endpoints::new(vec![(target(0, 1), vec![address("::1"), address("127.0.0.1")])], false);
        let set = endpoints.current().1;
        assert_eq!(picks(&set, &rules(Algorithm::RoundRobin), 3), [1, 1, 1]);
        set.endpoints[1].health.set_failing_checks(true, Monotonic::now());
        assert_eq!(picks(&set, &rules(Algorithm::RoundRobin), 2), [0, 0]);
    }

    #[test]
    fn key_stays_with_its_endpoint_when_another_is_removed() {
        let chosen = |set: &EndpointSet| -> BTreeMap<u32, String> {
            let mut picker = Picker::default();
            let pick = |key: u32| {
                let key = key.to_string();
                let selection = Selection { key: Some(key.as_bytes()), ..rules(Algorithm::Hash) };
                let index = picker.pick(set, &selection).unwrap();
                set.endpoints[index].address.to_string()
            };
            let keys = 0..1_000;
            keys.clone().zip(keys.map(pick)).collect()
        };
        let (four, three) = (chosen(&set(&[1; 4], true)), chosen(&set(&[1; 3], true)));
        for (key, address) in &four {
            assert!(address == "127.0.0.4:80" || three[key] == *address, "{key}");
        }
        let moved = four.values().filter(|address| *address == "127.0.0.4:80").count();
        assert!((150..350).contains(&moved), "{moved}");
    }

    #[test]
    fn request_without_a_key_is_served_in_turn() {
        let set = set(&[1, 1], true);
        assert_eq!(picks(&set, &rules(Algorithm::Hash), 4), [0, 1, 0, 1]);
    }

    #[test]
    fn highest_weights_have_a_small_ring() {
        let set = set(&[u16::MAX, 1], true);
        let selection = Selection { key: Some(b"a"), ..rules(Algorithm::Hash) };
        assert!(Picker::default().pick(&set, &selection).is_some());
    }
}
