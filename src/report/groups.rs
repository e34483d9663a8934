//! Totals of connections by a property of theirs.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::connection::Connection;
use super::totals::Totals;

/// As many groups are told apart; connections of further ones are counted together.
pub const MAX_GROUPS: usize = 500;

/// The property by which connections are grouped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupBy {
    /// The target, `host:port`.
    #[default]
    Target,
    /// The name of the local program.
    Process,
    /// The listener's address.
    Listener,
    /// The outcome.
    Outcome,
    /// The value of a label.
    Label(String),
}

impl GroupBy {
    /// The connection's value. `None` where it has none.
    pub fn value(&self, connection: &Connection) -> Option<String> {
        match self {
            Self::Target => connection.target.clone(),
            Self::Process => connection.process.as_ref()?.name.clone(),
            Self::Listener => Some(connection.listener.clone()),
            Self::Outcome => connection.outcome.map(|outcome| outcome.to_string()),
            Self::Label(key) => connection.labels.get(key).cloned(),
        }
    }

    /// What stands for connections without a value.
    pub fn none(&self) -> String {
        match self {
            Self::Target => "(no target)".to_owned(),
            Self::Process => "(unknown)".to_owned(),
            Self::Listener | Self::Outcome => "(none)".to_owned(),
            Self::Label(key) => format!("(no {key})"),
        }
    }
}

impl fmt::Display for GroupBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target => f.write_str("target"),
            Self::Process => f.write_str("process"),
            Self::Listener => f.write_str("listener"),
            Self::Outcome => f.write_str("outcome"),
            Self::Label(key) => write!(f, "label.{key}"),
        }
    }
}

impl FromStr for GroupBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "target" => Ok(Self::Target),
            "process" => Ok(Self::Process),
            "listener" => Ok(Self::Listener),
            "outcome" => Ok(Self::Outcome),
            _ => match text.strip_prefix("label.") {
                Some(key) if !key.is_empty() => Ok(Self::Label(key.to_owned())),
                _ => Err("give target, process, listener, outcome or label.KEY".to_owned()),
            },
        }
    }
}

/// Totals by group, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by: GroupBy,
    groups: HashMap<String, Totals>,
    others: Option<Totals>,
}

impl Groups {
    pub(super) fn new(by: GroupBy) -> Self {
        Self { by, groups: HashMap::new(), others: None }
    }

    pub(super) fn by(&self) -> &GroupBy {
        &self.by
    }

    pub(super) fn add(&mut self, connection: &Connection) {
        let name = self.by.value(connection).unwrap_or_else(|| self.by.none());
        if let Some(known) = self.groups.get_mut(&name) {
            known.add(connection);
        } else if self.groups.len() < MAX_GROUPS {
            self.groups.entry(name).or_default().add(connection);
        } else {
            self.others.get_or_insert_default().add(connection);
        }
    }

    /// The groups, those with most connections first, and the others together.
    pub(super) fn finish(self) -> (Vec<Group>, Option<Totals>) {
        let groups = self.groups.into_iter().map(|(name, totals)| Group { name, totals });
        let mut groups: Vec<_> = groups.collect();
        groups.sort_by(|a, b| {
            b.totals.connections.cmp(&a.totals.connections).then_with(|| a.name.cmp(&b.name))
        });
        (groups, self.others)
    }
}

/// A group of connections.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Group {
    /// What the connections have in common.
    pub name: String,
    /// Their totals.
    #[serde(flatten)]
    pub totals: Totals,
}
