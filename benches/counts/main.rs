//! What does a decision cost, counted in instructions and allocations rather than in time?
//!
//! Counts are the same on a busy machine and on an idle one, so they can be kept: `make counts` compares
//! them with `benches/counts.toml` and names what grew, `make counts-record` writes that file anew. The
//! list of what is counted is [`scenarios`]; a scenario prepares what it needs and hands over the work to be
//! counted.
//!
//! Instructions are callgrind's, of the thread that decides, the middle one of a few rounds. SHA-256's
//! compression is left out: valgrind knows no processor's own SHA instructions, so the library would
//! fall back to code that no server runs, six times as long as all the rest. Allocations are counted by the allocator, in a run
//! of their own.
//!
//! It does not measure time, caches or several threads: `benches/policy.rs` and `benches/stack.rs` do. For
//! orientation, `cargo bench --bench counts` prints allocations, bytes and the shortest time of many rounds.

mod callgrind;
mod figures;
mod scenarios;
#[path = "../../tests/world/mod.rs"]
mod world;

use std::{collections::BTreeMap, hint::black_box, process::ExitCode, time::Instant};

use allocation_counter::measure;
use figures::{Figure, Figures};
use scenarios::Scenario;

/// Rounds counted of each scenario.
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--under-callgrind"] => scenarios::all().iter().for_each(under_callgrind),
        ["--check", dumps, file] => return figures::check(&counted(dumps), file),
        ["--record", dumps, file] => return figures::record(&counted(dumps), file),
        _ => show(),
    }
    ExitCode::SUCCESS
}

fn under_callgrind(scenario: &Scenario) {
    // Whatever is made at the first use, by the scenario or by what it uses, is made before it counts.
    (0..ROUNDS).for_each(|_| scenario.once(&mut |work| work()));
    (0..ROUNDS).for_each(|_| scenario.once(&mut counted_by_callgrind));
}

/// The name that callgrind is told to count within, and to write a dump after.
#[inline(never)]
fn counted_by_callgrind(work: &mut dyn FnMut()) {
    work();
    // Without something to come back to, the call would be a jump, and this function over before it.
    black_box(());
}

fn counted(dumps: &str) -> Figures {
    let instructions = callgrind::instructions(dumps);
    let scenarios = scenarios::all();
    assert_eq!(instructions.len(), scenarios.len() * ROUNDS, "one dump of each round is in {dumps}");
    let figures = scenarios.iter().zip(instructions.chunks(ROUNDS)).map(|(scenario, rounds)| {
        let mut rounds = rounds.to_vec();
        rounds.sort_unstable();
        let figure = Figure { instructions: rounds[ROUNDS / 2], allocations: allocations(scenario).0 };
        (scenario.name().to_owned(), figure)
    });
    figures.collect::<BTreeMap<_, _>>()
}

/// How often a scenario allocates, and how many bytes in all.
fn allocations(scenario: &Scenario) -> (u64, u64) {
    let mut counted = (0, 0);
    for _ in 0..ROUNDS {
        scenario.once(&mut |work| {
            let info = measure(work);
            counted = (info.count_total, info.bytes_total);
        });
    }
    counted
}

fn show() {
    println!("{:<34}{:>12}{:>8}{:>10}", "", "allocations", "bytes", "best, ns");
    for scenario in scenarios::all() {
        let (count, bytes) = allocations(&scenario);
        println!("{:<34}{count:>12}{bytes:>8}{:>10}", scenario.name(), shortest(&scenario));
    }
}

/// The shortest of many rounds, less what reading the timer takes: what disturbs a round only adds to it.
fn shortest(scenario: &Scenario) -> u128 {
    let mut best = u128::MAX;
    let mut timed = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_nanos());
    };
    let mut timer = u128::MAX;
    for _ in 0..20_000 {
        scenario.once(&mut timed);
        let start = Instant::now();
        timer = timer.min(start.elapsed().as_nanos());
    }
    best.saturating_sub(timer)
}
