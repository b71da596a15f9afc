//! Measures the memory of a million callers.
//!
//! `cargo bench --bench directory` fills a directory with callers that have a plan of two limits and a key with two
//! scopes each, and prints the allocated memory of each: in total, and without the texts (a caller's id and name, a
//! key's id). The allocator's own overhead (8 bytes for each allocation, rounded up to 16, with glibc) is not
//! included; `blocks` is the number of allocations.
//!
//! Does not measure time, or the memory of the change log and the store.

use allocation_counter::measure;
use portcullis_test::directory::{
    DirectoryFixture,
    cases::{ample, key_on},
};

fn main() {
    let benching = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[u32] = if benching { &[10_000, 100_000, 1_000_000] } else { &[100] };
    println!("{:>10}{:>14}{:>16}{:>10}", "callers", "bytes each", "beside texts", "blocks");
    for size in sizes {
        let world = DirectoryFixture::new();
        let plan = ample(&world);
        let usage = measure(|| (0..*size).for_each(|_| drop(key_on(&world, &plan))));
        // Two ids of 36 characters with the two counts of an `Arc`, and a name of 15 characters.
        let texts = 2.0 * (16.0 + 36.0) + 15.0;
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each = |count: i64| count as f64 / f64::from(*size);
        let bytes = each(usage.bytes_current);
        println!("{size:>10}{bytes:>14.0}{:>16.0}{:>10.1}", bytes - texts, each(usage.count_current));
    }
}
