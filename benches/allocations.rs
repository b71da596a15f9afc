//! Counts the allocations of a decision.
//!
//! `cargo bench --bench allocations` prints allocations and bytes of each policy and of the whole chain, and fails if
//! one that admits allocates. It counts on the deciding thread, including the drop of the admission, after one
//! decision to warm up.
//!
//! Does not measure time, or the allocations of servers around a decision (parsing a head, a connection's buffers).
//! The last three lines are for comparison: the cost of rendering a denial, and the Tower face's cost of carrying an
//! admission.

use std::{
    convert::Infallible,
    pin::pin,
    process::ExitCode,
    task::{Context, Waker},
};

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use portcullis::{
    Admission, Denial,
    clock::Clock,
    problem::{self, Problem},
    tower::PortcullisLayer,
};
use portcullis_test::directory::{
    DirectoryFixture,
    cases::{ample, cases, chain, key_on, request},
};
use tower::{Layer, Service, service_fn};

fn main() -> ExitCode {
    let (quiet, busy) = (DirectoryFixture::new(), DirectoryFixture::new());
    let now = quiet.clock.now();
    println!("{:<28}{:>12}{:>8}", "", "allocations", "bytes");
    let mut admitted_allocates = false;
    for case in cases(&quiet, &busy, now) {
        let mut admission = Some(case.admission());
        let counted = measure(|| {
            let outcome = admission.as_mut().map(|admission| case.decide(admission, now));
            drop((outcome, admission.take()));
        });
        line(case.name, &counted);
        admitted_allocates |= case.admits && counted.count_total > 0;
    }
    println!();
    let unauthenticated = Denial::unavailable("closed", 60);
    line(
        "write a refusal",
        &measure(|| drop(problem::render(&unauthenticated, &Problem, &Admission::default()))),
    );
    line("Tower face: bare service", &through_tower(&quiet, ()));
    line("Tower face: whole chain", &through_tower(&quiet, chain(&quiet)));
    if admitted_allocates {
        eprintln!("an admitted request allocates");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn line(name: &str, counted: &AllocationInfo) {
    println!("{name:<28}{:>12}{:>8}", counted.count_total, counted.bytes_total);
}

/// A service that responds immediately, inside of a layer; the request is created beforehand.
fn through_tower(world: &DirectoryFixture, policy: impl portcullis::Policy) -> AllocationInfo {
    let key = key_on(world, &ample(world));
    let layer = PortcullisLayer::new(policy).clock(world.clock.clone()).without_strict_http().pass_through();
    let mut service = layer.layer(service_fn(async |_: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let mut once = || {
        let parts = request("GET", &key, &[("accept", "application/json")]);
        let mut request = Some(Request::from_parts(parts, Empty::<Bytes>::new()));
        measure(|| {
            let Some(request) = request.take() else { return };
            let response = pin!(service.call(request));
            let answered = response.poll(&mut Context::from_waker(Waker::noop()));
            assert!(answered.is_ready(), "the service answers at once");
        })
    };
    once();
    once()
}
