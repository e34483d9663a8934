//! In which connections something was seen.

use super::super::connection::Connection;

/// Examples that are kept.
const EXAMPLES: usize = 3;

/// The connections in which something was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Sightings {
    count: u64,
    first_at: Option<i64>,
    last_at: Option<i64>,
    examples: Vec<String>,
}

impl Sightings {
    pub(super) fn add(&mut self, connection: &Connection) {
        self.count += 1;
        self.first_at = self.first_at.into_iter().chain(connection.opened_at()).min();
        self.last_at = self.last_at.max(connection.closed_at());
        if self.examples.len() < EXAMPLES {
            self.examples.push(connection.id.clone());
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn first_at(&self) -> Option<i64> {
        self.first_at
    }

    pub(super) fn last_at(&self) -> Option<i64> {
        self.last_at
    }

    pub(super) fn examples(&self) -> &[String] {
        &self.examples
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        self.count += other.count;
        self.first_at = self.first_at.into_iter().chain(other.first_at).min();
        self.last_at = self.last_at.max(other.last_at);
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.iter().take(room).cloned());
    }
}
