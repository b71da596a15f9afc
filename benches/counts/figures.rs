//! Comparison with the recorded figures.

use std::{collections::BTreeMap, fmt::Write, fs, process::ExitCode};

use serde::Deserialize;

/// The relative growth of a count that is tolerated: compilers differ a little from one release to the next, and
/// random keys have slightly different places in the hash tables.
const TOLERANCE: f64 = 0.03;
/// The tolerated growth of scenarios that look up one of a thousand paths, where the length of the search depends on
/// chance: eighteen runs of one program counted from 2,724 to 4,518.
const TOLERANCE_OF_CHANCE: f64 = 1.0;
const OF_CHANCE: [&str; 2] = ["lock: 423", "lock: read under a lock"];
/// The growth of a short count that is tolerated in any case.
const MIN_GROWTH: u64 = 12;

const HEADER: &str = "\
# The cost of a decision in instructions (callgrind's, without SHA-256's compression) and allocations.
# Recorded by `make counts-record`; `make counts` fails when one of them grows.
";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    pub instructions: u64,
    pub allocations: u64,
}

/// Figures by the scenario's name.
pub type Figures = BTreeMap<String, Figure>;

/// Compares the figures with the recorded ones; prints all of them, and fails if one grew.
pub fn check(now: &Figures, file: &str) -> ExitCode {
    let text = fs::read_to_string(file).unwrap_or_else(|fault| panic!("{file}: {fault}"));
    let before: Figures = toml::from_str(&text).unwrap_or_else(|fault| panic!("{file}: {fault}"));
    let mut faults = Vec::new();
    println!("{:<34}{:>14}{:>10}{:>14}{:>10}", "", "instructions", "recorded", "allocations", "recorded");
    for (name, figure) in now {
        let Some(old) = before.get(name) else {
            faults.push(format!("{name}: counted but not recorded"));
            continue;
        };
        let Figure { instructions, allocations } = figure;
        println!(
            "{name:<34}{instructions:>14}{:>10}{allocations:>14}{:>10}",
            old.instructions, old.allocations
        );
        faults.extend(grown(name, *old, *figure));
    }
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    faults.extend(gone.map(|name| format!("{name}: recorded but no longer counted")));
    for fault in &faults {
        eprintln!("{fault}");
    }
    if faults.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "A decision costs more than benches/counts.toml allows. To accept that, run make counts-record"
    );
    ExitCode::FAILURE
}

/// Describes the growth of a figure.
fn grown(name: &str, old: Figure, new: Figure) -> Vec<String> {
    let mut faults = Vec::new();
    #[allow(clippy::cast_precision_loss, reason = "counts of some thousands")]
    let (before, after) = (old.instructions as f64, new.instructions as f64);
    let tolerance = if OF_CHANCE.contains(&name) { TOLERANCE_OF_CHANCE } else { TOLERANCE };
    if after > before * (1.0 + tolerance) && new.instructions > old.instructions + MIN_GROWTH {
        let percent = (after / before - 1.0) * 100.0;
        faults.push(format!("{name}: {after} instructions, recorded {before} (+{percent:.1} %)"));
    }
    if new.allocations > old.allocations {
        faults.push(format!("{name}: {} allocations, recorded {}", new.allocations, old.allocations));
    }
    faults
}

/// Writes the current figures.
pub fn record(now: &Figures, file: &str) -> ExitCode {
    let text = now.iter().fold(HEADER.to_owned(), |mut text, (name, figure)| {
        let Figure { instructions, allocations } = figure;
        let _ = write!(text, "\n[{name:?}]\ninstructions = {instructions}\nallocations = {allocations}\n");
        text
    });
    fs::write(file, text).unwrap_or_else(|fault| panic!("{file}: {fault}"));
    println!("{} figures recorded in {file}", now.len());
    ExitCode::SUCCESS
}
