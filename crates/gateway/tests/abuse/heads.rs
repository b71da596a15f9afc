//! Cases that are bytes of HTTP/1.1, by class.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    case::{self, Case},
    setup::{Run, Setup},
};

#[test]
fn request_is_never_split() {
    every("smuggling");
}

#[test]
fn headers_are_unambiguous() {
    every("header-normalisation");
}

#[test]
fn paths_are_unambiguous() {
    every("path-normalisation");
}

#[test]
fn hop_by_hop_headers_are_not_forwarded() {
    every("hop-by-hop");
}

#[test]
fn client_cannot_set_its_address() {
    every("client-ip");
}

#[test]
fn denied_request_gets_no_100_continue() {
    every("body");
}

/// Runs every case of a class, and reports all failures.
fn every(class: &str) {
    let setup = Setup::new();
    let cases = case::heads(class);
    assert!(!cases.is_empty(), "{class}");
    let mut failed = Vec::new();
    for case in &cases {
        let run = setup.run(case);
        let checked = catch_unwind(AssertUnwindSafe(|| check(&setup, case, &run)));
        if checked.is_err() {
            failed.push(format!("{}: {:?}\nlog: {:#?}\n", case.id, run.exchange, run.log));
        }
    }
    assert!(failed.is_empty(), "{class}: {} of {}:\n{}", failed.len(), cases.len(), failed.concat());
}

fn check(setup: &Setup, case: &Case, run: &Run) {
    let (id, exchange) = (&case.id, &run.exchange);
    setup.check_admitted(&run.seen, &run.log);
    case.check_status(exchange.status());
    assert!(exchange.answers.iter().all(|answer| answer.status() < 500), "{id}: nothing here is our fault");
    let (checked, requests) = (case.checked(), run.requests());
    if let Some(count) = checked.upstream_requests {
        assert_eq!(requests.len(), count, "{id}: {requests:?}");
    }
    if checked.connection.as_deref() == Some("close") {
        assert!(exchange.closed, "{id}: the connection is open");
        assert!(exchange.answers.len() <= 1, "{id}: something behind the request was answered");
    }
    by_hand(id, run);
}

/// Checks the invariants of single cases, in addition to those of all cases.
fn by_hand(id: &str, run: &Run) {
    match id {
        // The upstream receives one request. The bytes after it are a request of their own: not found, without a
        // caller.
        "SMG-21" => {
            assert_eq!(run.only_request().target(), "/v1/echo");
            assert!(run.exchange.answers[1..].iter().all(|answer| answer.status() == 404), "{id}");
        }
        "SMG-05" => assert_eq!(run.only_request().values("content-length"), ["5"], "{id}"),
        "SMG-22" => assert_eq!(run.only_request().text(), "hello"),
        "SMG-30" => {
            let request = run.only_request();
            assert_eq!((request.values("content-length"), &*request.text()), (vec!["10"], "1234567890"));
        }
        "HDR-05" | "HOP-02" | "HOP-03" => {
            for request in run.requests() {
                assert_eq!(request.values("x-consumer-id"), ["caller-a"], "{id}");
            }
        }
        "HDR-16" => assert_eq!(run.only_request().method(), "POST", "{id}"),
        "BDY-09" => assert!(run.exchange.interim.is_empty(), "{id}: the content was asked for"),
        _ => {}
    }
    // A head that was denied because of its body is not parsed as the beginning of another request.
    for request in run.requests().iter().filter(|request| !request.whole) {
        assert_eq!(request.target(), "/v1/echo", "{id}: {request:?}");
    }
}
