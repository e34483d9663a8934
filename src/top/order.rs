//! Which connections are listed, and in which order.

use std::cmp::Ordering;
use std::time::Duration;

use super::connection::{Activity, Connection, Rates};
use super::model::Model;
use crate::record::Awaited;

/// What the list is sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// Longest wait for somebody first; then the fastest transfers; idle connections last.
    #[default]
    Worst,
    /// By program.
    Program,
    /// By target, or by the peer of a watched socket.
    Target,
    /// The oldest first.
    Age,
    /// The fastest to the upstream first.
    Up,
    /// The fastest to the client first.
    Down,
    /// The longest round-trip time to the upstream first.
    Rtt,
    /// The most retransmitted segments first.
    Retransmits,
    /// The most lost segments first; of a connection of a proxy, they are not known while it is open.
    Lost,
}

impl Sort {
    /// In the order in which a key steps through them.
    pub const ALL: [Self; 9] = [
        Self::Worst,
        Self::Program,
        Self::Target,
        Self::Age,
        Self::Up,
        Self::Down,
        Self::Rtt,
        Self::Retransmits,
        Self::Lost,
    ];

    /// Its name on the command line and on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Worst => "worst",
            Self::Program => "program",
            Self::Target => "target",
            Self::Age => "age",
            Self::Up => "up",
            Self::Down => "down",
            Self::Rtt => "rtt",
            Self::Retransmits => "retr",
            Self::Lost => "lost",
        }
    }

    pub(super) fn next(self) -> Self {
        let place = Self::ALL.iter().position(|&sort| sort == self).unwrap_or(0);
        Self::ALL[(place + 1) % Self::ALL.len()]
    }
}

/// A connection with what it does now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'m> {
    pub(super) connection: &'m Connection,
    pub(super) activity: Activity,
    /// `None` before its first sample.
    pub(super) rates: Option<Rates>,
}

/// Sums over all connections.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) open: usize,
    pub(super) rates: Rates,
    /// How many wait for the upstream, for the client, and for the network to either.
    pub(super) server: usize,
    pub(super) client: usize,
    pub(super) network: usize,
    pub(super) idle: usize,
    /// How many move data.
    pub(super) moving: usize,
}

/// The connections that are listed, in order, and the sums over all.
pub(super) fn rows<'m>(
    model: &'m Model,
    now: i64,
    sort: Sort,
    is_reversed: bool,
    filter: &str,
) -> (Vec<Row<'m>>, Totals) {
    let mut totals = Totals::default();
    let filter = filter.to_lowercase();
    let mut rows = Vec::new();
    for connection in model.connections() {
        let interval = model.interval(connection.key.run);
        let rates = connection.rates(now, interval);
        let activity = connection.activity(now, interval);
        totals.add(activity, rates);
        let row = Row { connection, activity, rates };
        if filter.is_empty() || row.matches(&filter) {
            rows.push(row);
        }
    }
    rows.sort_unstable_by(|one, two| {
        let order = one.compare(two, sort);
        let order = if is_reversed { order.reverse() } else { order };
        order.then_with(|| one.connection.key.cmp(&two.connection.key))
    });
    (rows, totals)
}

impl Totals {
    fn add(&mut self, activity: Activity, rates: Option<Rates>) {
        self.open += 1;
        let rates = rates.unwrap_or_default();
        self.rates.to_upstream += rates.to_upstream;
        self.rates.to_client += rates.to_client;
        match activity {
            Activity::WaitsFor(Awaited::Upstream, _) => self.server += 1,
            Activity::WaitsFor(Awaited::Client, _) => self.client += 1,
            Activity::WaitsFor(..) => self.network += 1,
            Activity::Idle(_) => self.idle += 1,
            Activity::Moves => self.moving += 1,
            Activity::Quiet(_) | Activity::Unknown => {}
        }
    }
}

impl Row<'_> {
    /// Whether what is shown of it has this text in it, which is in lower case.
    fn matches(&self, filter: &str) -> bool {
        let connection = self.connection;
        let has =
            |text: Option<&str>| text.is_some_and(|text| text.to_lowercase().contains(filter));
        let socket = connection.socket.as_ref();
        has(connection.target_or_peer())
            || has(socket.map(|socket| &*socket.local))
            || has(connection.program.as_deref())
            || has(connection.client_address.as_deref())
            || has(Some(self.activity.word()))
    }

    fn compare(&self, other: &Self, sort: Sort) -> Ordering {
        let key = |row: &Self| {
            let connection = row.connection;
            let rates = row.rates.unwrap_or_default();
            match sort {
                Sort::Age => -(connection.opened_at as f64),
                Sort::Up => rates.to_upstream,
                Sort::Down => rates.to_client,
                Sort::Rtt => connection.rtt().map_or(-1.0, |rtt| rtt as f64),
                Sort::Retransmits => connection.retransmits().map_or(-1.0, |count| count as f64),
                Sort::Lost => connection.upstream.lost.map_or(-1.0, |count| count as f64),
                Sort::Worst | Sort::Program | Sort::Target => 0.0,
            }
        };
        match sort {
            Sort::Worst => other.badness().partial_cmp(&self.badness()).unwrap_or(Ordering::Equal),
            Sort::Program => {
                by_name(self.connection.program.as_deref(), other.connection.program.as_deref())
            }
            Sort::Target => {
                by_name(self.connection.target_or_peer(), other.connection.target_or_peer())
            }
            _ => key(other).total_cmp(&key(self)),
        }
    }

    /// The class of what it does, and how much of that.
    fn badness(&self) -> (u8, f64) {
        let rates = self.rates.unwrap_or_default();
        match self.activity {
            Activity::WaitsFor(_, lasts) => (4, lasts.as_secs_f64()),
            Activity::Moves => (3, rates.to_upstream + rates.to_client),
            Activity::Unknown => (2, 0.0),
            Activity::Quiet(lasts) => (1, -lasts.as_secs_f64()),
            Activity::Idle(lasts) => (0, -lasts.as_secs_f64()),
        }
    }
}

/// Unknown names last.
fn by_name(one: Option<&str>, two: Option<&str>) -> Ordering {
    one.is_none().cmp(&two.is_none()).then_with(|| one.cmp(&two))
}

impl Activity {
    /// Who is waited for, in one word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::WaitsFor(Awaited::Upstream, _) => "server",
            Self::WaitsFor(Awaited::Client, _) => "client",
            Self::WaitsFor(..) => "network",
            Self::Moves => "data",
            Self::Quiet(_) => "quiet",
            Self::Idle(_) => "idle",
            Self::Unknown => "-",
        }
    }

    /// How long that has lasted. `None` where that is not known.
    pub(super) fn lasts(self) -> Option<Duration> {
        match self {
            Self::WaitsFor(_, lasts) | Self::Quiet(lasts) | Self::Idle(lasts) => Some(lasts),
            Self::Moves | Self::Unknown => None,
        }
    }
}
