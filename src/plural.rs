//! Counts with their nouns.

/// `1 segment`, `2 segments`.
pub fn counted(count: u64, one: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {one}{plural}")
}

/// The count, its noun and a verb: `1 byte was`, `2 bytes were`.
#[cfg(feature = "proxy")]
pub(crate) fn counted_were(count: u64, one: &str) -> String {
    format!("{} {}", counted(count, one), if count == 1 { "was" } else { "were" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_all_other_counts_are_plural() {
        let texts = [0, 1, 2].map(|count| counted(count, "segment"));
        assert_eq!(texts, ["0 segments", "1 segment", "2 segments"]);
    }
}
