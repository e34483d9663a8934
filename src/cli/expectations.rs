//! What is said of `--expect` at the end of a command.

use conniver::expect::Expectations;

use super::exit;

/// Whether all expectations are met. Otherwise says which are not, and why, in lines that are not broken: for
/// programs to find.
pub(super) fn are_met(expectations: &Expectations) -> bool {
    let broken = expectations.broken();
    for broken in &broken {
        exit::say(&broken.to_string());
    }
    if !broken.is_empty() {
        let (count, all) = (broken.len(), expectations.len());
        exit::say(&format!("conniver: expectation failed ({count} of {all})"));
    }
    broken.is_empty()
}
