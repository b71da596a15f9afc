//! Counts the instructions and allocations of a decision.
//!
//! Counts are the same on a busy and on an idle machine, so they can be recorded: `make counts` compares them with
//! `benches/counts.toml` and reports growth, and `make counts-record` updates that file. [`scenarios`] lists the
//! counted work; a scenario prepares its input and passes the work to the counter.
//!
//! Instructions are callgrind's, of the deciding thread, the median of a few rounds. SHA-256's compression is
//! excluded: valgrind does not know the SHA instructions of processors, so the library would use fallback code that
//! no server runs and that takes six times as long as everything else. The allocator counts the allocations, in a
//! separate run.
//!
//! Does not measure time, caches or several threads: `benches/policy.rs` and `benches/stack.rs` do. For orientation,
//! `cargo bench --bench counts` prints allocations, bytes and the shortest time of many rounds.

mod callgrind;
mod figures;
mod scenarios;

use std::{collections::BTreeMap, hint::black_box, process::ExitCode, time::Instant};

use allocation_counter::measure;
use figures::{Figure, Figures};
use scenarios::Scenario;

/// Counted rounds of each scenario.
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
    // The first rounds are not counted, because they initialize everything that is created on first use.
    (0..ROUNDS).for_each(|_| scenario.once(&mut |work| work()));
    (0..ROUNDS).for_each(|_| scenario.once(&mut counted_by_callgrind));
}

/// The function in which callgrind counts, and after which it writes a dump.
#[inline(never)]
fn counted_by_callgrind(work: &mut dyn FnMut()) {
    work();
    // Prevents a tail call, which would end this function before the work.
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

/// Returns the number of allocations of a scenario, and their total bytes.
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

/// Returns the shortest of many rounds, minus the time to read the timer: disturbances only add time.
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
