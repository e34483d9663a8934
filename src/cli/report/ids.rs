//! Connections found by their ids, or by parts of these.

use std::path::PathBuf;

use conniver::report::Connection;

use crate::cli::advice::quoted;
use crate::cli::files::is_stdin;

/// As many connections are kept as are named when several match.
const NAMED: usize = 5;

/// Fewer characters are no beginning of an id, but a number.
const SHORTEST_BEGINNING: usize = 4;

/// Connections that an id, or a part of one, may mean.
pub(super) struct Matches<'i> {
    id: &'i str,
    /// Those with this id, or with one that ends so.
    ending: Found,
    /// Those whose id begins so, as abbreviated ids of git commits do.
    beginning: Found,
}

#[derive(Default)]
pub(super) struct Found {
    pub(super) count: u64,
    /// The first of them.
    pub(super) first: Vec<Connection>,
}

impl<'i> Matches<'i> {
    pub(super) fn new(id: &'i str) -> Self {
        Self { id, ending: Found::default(), beginning: Found::default() }
    }

    /// Adds a connection if it matches.
    pub(super) fn add(&mut self, connection: &Connection) {
        let id = &connection.id;
        if is_end(id, self.id) {
            self.ending.add(connection);
        } else if self.id.len() >= SHORTEST_BEGINNING && id.starts_with(self.id) {
            self.beginning.add(connection);
        }
    }

    /// What was found, and how the ids have the part. An end comes first: it may be a number.
    pub(super) fn found(self) -> (Found, &'static str) {
        match self.ending.count {
            0 => (self.beginning, "begin with"),
            _ => (self.ending, "end in"),
        }
    }
}

impl Found {
    fn add(&mut self, connection: &Connection) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(connection.clone());
        }
    }

    /// The ids of several.
    pub(super) fn ids(&self) -> String {
        let mut ids: Vec<_> = self.first.iter().map(|one| one.id.clone()).collect();
        let more = self.count.saturating_sub(ids.len() as u64);
        ids.extend((more > 0).then(|| format!("and {more} more")));
        ids.join(", ")
    }
}

/// Whether `wanted` is an id, or its end from a whole part on: the number alone, or with digits before.
fn is_end(id: &str, wanted: &str) -> bool {
    match id.strip_suffix(wanted) {
        Some(before) => before.is_empty() || wanted.contains('-') || before.ends_with('-'),
        None => false,
    }
}

/// What prints the lines of a socket with this id, or of those that it may mean.
pub(super) fn jq_command(id: &str, files: &[PathBuf]) -> String {
    let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
    let string = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let condition = match is_number {
        true => format!("endswith({})", string(&format!("-{id}"))),
        false => format!("startswith({0}) or endswith({0})", string(id)),
    };
    let file = match files {
        [file] if !is_stdin(file) => quoted(&file.display().to_string()),
        _ => "FILE".to_owned(),
    };
    format!("jq {} {file}", quoted(&format!("select(.id | {condition})")))
}
