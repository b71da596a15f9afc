//! Measures the time of a decision.
//!
//! `bars`: each policy alone, and the whole chain, admitting and denying; `no policy` is the overhead of the call and
//! of the measurement. `keys`: the API key and the whole chain with directories of 1, 10,000 and 1,000,000 callers
//! with a key each; every decision is about another caller, so that the processor's caches help no more than in
//! production. `around`: the cost that a face adds to every decision (one reading of the clock) and to a denial
//! (rendering it).
//!
//! Requests are created outside of the measured time and are warm in the cache, as in a server that has just parsed
//! them. Policies are called through `Box<dyn Policy>`, like the chain of a gateway's route.
//!
//! Does not measure: a server, sockets, parsing a head, headers added to the response, contention of several threads
//! for one caller's limits, a wait for a shared limit. `cargo bench` fills a million keys once, which takes some
//! seconds; run as a test, it does everything once and skips the large directories.

use std::hint::black_box;

use criterion::{BatchSize, Bencher, Criterion, criterion_group, criterion_main};
use http::request::Parts;
use portcullis::{
    Admission, Policy,
    clock::{Clock, Moment, SystemClock},
    policy::ApiKey,
    problem::{self, Problem},
};
use portcullis_test::directory::{
    DirectoryFixture,
    cases::{ample, cases, chain, decide, key_on, request},
};

/// Requests are created in batches of this size, then timed: few enough to stay in the first-level cache, enough to
/// hide the reading of the timer.
const BATCH: BatchSize = BatchSize::NumIterations(16);

fn bars(criterion: &mut Criterion) {
    let (quiet, busy) = (DirectoryFixture::new(), DirectoryFixture::new());
    let now = quiet.clock.now();
    let mut group = criterion.benchmark_group("bars");
    for case in cases(&quiet, &busy, now) {
        group.bench_function(case.name, |bencher| {
            bencher.iter_batched_ref(
                || case.admission(),
                |admission| drop(black_box(case.decide(black_box(admission), now))),
                BATCH,
            );
        });
    }
}

fn keys(criterion: &mut Criterion) {
    let benching = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[usize] = if benching { &[1, 10_000, 1_000_000] } else { &[1] };
    for size in sizes {
        let world = DirectoryFixture::new();
        let plan = ample(&world);
        let known: Vec<String> = (0..*size).map(|_| key_on(&world, &plan)).collect();
        let elsewhere = DirectoryFixture::new();
        let unknown: Vec<String> = (0..size.min(&4_096).to_owned()).map(|_| elsewhere.key()).collect();
        let now = world.clock.now();
        let api_key: Box<dyn Policy> = Box::new(ApiKey::new(world.directory.clone()));
        let whole: Box<dyn Policy> = Box::new(chain(&world));
        let mut group = criterion.benchmark_group(format!("keys/{size}"));
        for (name, policy, keys) in [
            ("api key: known", &api_key, &known),
            ("api key: unknown", &api_key, &unknown),
            ("whole chain: admitted", &whole, &known),
            ("whole chain: 401", &whole, &unknown),
        ] {
            group.bench_function(name, |bencher| decisions(bencher, policy, keys, now));
        }
    }
}

fn decisions(bencher: &mut Bencher<'_>, policy: &dyn Policy, keys: &[String], now: Moment) {
    let mut at = 0;
    let mut next = || {
        // A prime step visits all keys in an order that no prefetcher predicts.
        at = (at + 611_953) % keys.len();
        let accept = ("accept", "application/json");
        (request("GET", &keys[at], &[accept]), Admission::default())
    };
    bencher.iter_batched_ref(
        &mut next,
        |(request, admission): &mut (Parts, Admission)| {
            drop(black_box(decide(policy, black_box(request), false, admission, now)));
        },
        BATCH,
    );
}

fn around(criterion: &mut Criterion) {
    let clock = SystemClock::new();
    criterion.bench_function("around/clock", |bencher| bencher.iter(|| black_box(&clock).now()));
    let (quiet, busy) = (DirectoryFixture::new(), DirectoryFixture::new());
    let now = quiet.clock.now();
    for case in cases(&quiet, &busy, now).iter().filter(|case| case.name.starts_with("whole chain")) {
        let mut admission = case.admission();
        let Err(denial) = case.decide(&mut admission, now) else { continue };
        criterion.bench_function(&format!("around/write: {}", case.name), |bencher| {
            bencher.iter(|| problem::render(black_box(&denial), &Problem, &admission));
        });
    }
}

criterion_group!(benches, bars, keys, around);
criterion_main!(benches);
