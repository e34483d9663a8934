//! Who ended a pair, and how: what the records say against what the peers did.

use crate::harness::random_endings;

/// Returns how many there were of each kind.
pub(crate) fn ten_thousand_random() -> String {
    // Other ones each time; who fails says its seed.
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    random_endings::compare(10_000, seed)
}
