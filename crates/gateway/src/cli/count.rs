//! Counts in messages.

/// Returns a count with the singular or the plural of its noun.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noun_agrees_with_its_count() {
        assert_eq!(
            [0, 1, 2].map(|count| counted(count, "entry", "entries")),
            ["0 entries", "1 entry", "2 entries"]
        );
    }
}
