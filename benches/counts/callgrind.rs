//! Reads the output of callgrind: one file for each counted round, numbered in order.

use std::{fs, path::Path};

/// Returns the instructions of each dump in a folder, in the order of the dumps.
pub fn instructions(folder: &str) -> Vec<u64> {
    let entries = fs::read_dir(folder).unwrap_or_else(|fault| panic!("{folder}: {fault}"));
    let mut dumps: Vec<(u64, u64)> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter_map(|path| Some((number(&path)?, summary(&path))))
        .filter(|(_, instructions)| *instructions > 0)
        .collect();
    dumps.sort_unstable();
    dumps.into_iter().map(|(_, instructions)| instructions).collect()
}

/// Returns the number of a dump. The file without a number covers the end of the program.
fn number(path: &Path) -> Option<u64> {
    path.extension()?.to_str()?.parse().ok()
}

fn summary(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    let line = text.lines().find_map(|line| line.strip_prefix("summary: "));
    line.and_then(|count| count.trim().parse().ok())
        .unwrap_or_else(|| panic!("{} has no summary", path.display()))
}
