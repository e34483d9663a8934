//! What was already read, so that it counts once, although it is in several of the files.

use std::collections::HashMap;

use crate::record::Numbers;

/// Limit on the memory used, bytes: enough for some 100,000 runs, or 500,000 gaps between numbers.
const CAPACITY: usize = 16 << 20;

/// Estimated size of a run, without its name.
const RUN_SIZE: usize = 128;

/// Estimated size of a range of numbers.
const RANGE_SIZE: usize = 32;

/// Numbers that were read, by run; in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Seen {
    runs: HashMap<Box<str>, Numbers>,
    /// Estimated memory, bytes.
    size: usize,
}

impl Seen {
    /// Notes an id, `<run>-<number>`; whether it is new. Every other text is.
    pub(super) fn is_new_id(&mut self, id: &str) -> bool {
        match id.rsplit_once('-').map(|(run, number)| (run, number.parse())) {
            Some((run, Ok(number))) => self.is_new(run, number),
            _ => true,
        }
    }

    /// Notes a number of a run; whether it is new. Beyond the memory limit nothing more is noted, and
    /// [`Seen::is_full`].
    pub(super) fn is_new(&mut self, run: &str, number: u64) -> bool {
        let Some(numbers) = self.runs.get_mut(run) else {
            if !self.is_full() {
                self.size += RUN_SIZE + RANGE_SIZE + run.len();
                self.runs.entry(run.into()).or_default().insert(number);
            }
            return true;
        };
        if self.size >= CAPACITY {
            return !numbers.contains(number);
        }
        let before = numbers.len();
        let is_new = numbers.insert(number);
        self.size = (self.size + numbers.len() * RANGE_SIZE).saturating_sub(before * RANGE_SIZE);
        is_new
    }

    /// Whether there was more than it could note.
    pub(super) fn is_full(&self) -> bool {
        self.size >= CAPACITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_a_run_is_new_once() {
        let mut seen = Seen::default();
        for (id, is_new) in [
            ("a-b-1", true),
            ("a-b-2", true),
            ("a-b-1", false),
            ("a-c-1", true),
            ("a-b-2", false),
            ("nonsense", true),
            ("nonsense", true),
            ("", true),
        ] {
            assert_eq!(seen.is_new_id(id), is_new, "{id}");
        }
    }

    #[test]
    fn memory_is_bounded_and_what_was_noted_stays_known() {
        let mut seen = Seen::default();
        for number in 0..1_000_000 {
            assert!(seen.is_new("run", 2 * number));
        }
        assert!(seen.is_full() && seen.size <= CAPACITY + RANGE_SIZE, "{}", seen.size);
        assert!(!seen.is_new("run", 0) && seen.is_new("another", 0));
        assert!(seen.runs.len() == 1 && seen.is_new("run", 1));
    }
}
