//! A hostile client: the cases of `tests/data/abuse.json`, against the real binary, with an upstream that records every
//! byte.
//!
//! If the gateway's response differs from the expected one, the case has the members `ours` and `why`, and `ours` is
//! checked. Status 0 stands for a connection or a stream that ends without a response.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod case;
mod frames;
mod h2;
mod heads;
mod http2;
mod in_process;
mod limits;
#[path = "../process/mod.rs"]
mod process;
mod raw_http;
mod refused;
mod setup;
mod upstream;

/// Cases that are not a single head. Each has a test that names it.
const DESCRIBED: [&str; 28] = [
    "BDY-01", "BDY-03", "BDY-08", "BDY-10", "BDY-11", "H2X-01", "H2X-05", "H2X-06", "H2X-08", "H2X-09",
    "H2X-10", "IPX-03", "IPX-05", "LOG-02", "LOG-04", "LOG-05", "ORC-01", "ORC-04", "RES-01", "RES-02",
    "RES-04", "RES-05", "RES-07", "RES-13", "SMG-33", "SMG-34", "SMG-35", "UNI-04",
];
/// Cases of features that the gateway does not have. Each has a reason.
const WITHOUT: [&str; 2] = ["IPX-04", "RES-12"];

#[test]
fn every_case_is_tested_or_has_a_reason() {
    let mut described: Vec<_> = DESCRIBED.into_iter().chain(WITHOUT).collect();
    described.sort_unstable();
    let mut rest: Vec<_> = case::all().into_iter().filter(|case| case.raw.is_none()).collect();
    rest.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(rest.iter().map(|case| case.id.as_str()).collect::<Vec<_>>(), described);
    for case in rest.iter().filter(|case| WITHOUT.contains(&&*case.id)) {
        assert!(case.is_ours(), "{}", case.id);
    }
}
