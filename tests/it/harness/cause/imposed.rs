//! What was done to a connection.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Whom time is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Resolver,
    Client,
    Upstream,
    NetworkClient,
    NetworkUpstream,
    Proxy,
    Idle,
}

impl Who {
    pub(crate) const ALL: [Self; 7] = [
        Self::Resolver,
        Self::Client,
        Self::Upstream,
        Self::NetworkClient,
        Self::NetworkUpstream,
        Self::Proxy,
        Self::Idle,
    ];

    /// The key in `verdict.time`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Resolver => "resolver",
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::NetworkClient => "networkClient",
            Self::NetworkUpstream => "networkUpstream",
            Self::Proxy => "proxy",
            Self::Idle => "idle",
        }
    }
}

/// A duration, or the limits that it lies between where the outside cannot tell more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) least: Duration,
    pub(crate) most: Duration,
}

impl Span {
    /// What lies outside of it may deviate by 20 ms or a tenth, whichever is larger.
    pub(crate) fn slack(limit: Duration) -> Duration {
        Duration::from_millis(20).max(limit / 10)
    }

    /// How far `found` lies outside of it, ms.
    pub(crate) fn deviation(self, found: Duration) -> f64 {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        if found < self.least {
            ms(found) - ms(self.least)
        } else {
            (ms(found) - ms(self.most)).max(0.0)
        }
    }

    pub(crate) fn is_met_by(self, found: Duration) -> bool {
        found + Self::slack(self.least) >= self.least && found <= self.most + Self::slack(self.most)
    }
}

impl From<Duration> for Span {
    fn from(exact: Duration) -> Self {
        Self { least: exact, most: exact }
    }
}

impl From<RangeInclusive<Duration>> for Span {
    fn from(range: RangeInclusive<Duration>) -> Self {
        Self { least: *range.start(), most: *range.end() }
    }
}

/// What the turns must look like.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns {
    /// With 0, there may be no turns at all.
    pub(crate) count: Option<RangeInclusive<u64>>,
    pub(crate) unanswered: Option<u64>,
    /// The longest wait.
    pub(crate) wait_max: Option<Span>,
    pub(crate) shape: Option<&'static str>,
}

impl Turns {
    /// So many, all answered, the longest after this wait.
    pub(crate) fn answered(count: u64, wait_max: impl Into<Span>) -> Self {
        Self {
            count: Some(count..=count),
            unanswered: Some(0),
            wait_max: Some(wait_max.into()),
            shape: Some("exchange"),
        }
    }
}

/// What was done to a connection, as it was measured outside of the program.
#[derive(Debug, Clone)]
pub(crate) struct Imposed {
    /// Who may be named.
    pub(crate) names: &'static [&'static str],
    /// In the order of [`Who::ALL`]; none where the outside cannot tell.
    pub(crate) times: [Option<Span>; 7],
    /// From the client's arrival to the end of the last wait.
    pub(crate) whole: Option<Span>,
    pub(crate) turns: Turns,
    /// Warnings that the record must have, and must not have.
    pub(crate) warnings: (&'static [&'static str], &'static [&'static str]),
    /// What is wrong with the experiment itself.
    pub(crate) failures: Vec<String>,
}

impl Imposed {
    /// One of these may be named; time of nobody's.
    pub(crate) fn on(names: &'static [&'static str]) -> Self {
        let none = Some(Span::from(Duration::ZERO));
        let turns = Turns::default();
        Self {
            names,
            times: [none; 7],
            whole: None,
            turns,
            warnings: (&[], &[]),
            failures: Vec::new(),
        }
    }

    /// So much time is this one's.
    pub(crate) fn time(mut self, who: Who, time: impl Into<Span>) -> Self {
        self.times[who as usize] = Some(time.into());
        self
    }

    /// Nobody outside can tell how much time is this one's.
    pub(crate) fn untold(mut self, who: Who) -> Self {
        self.times[who as usize] = None;
        self
    }

    /// So long it was from the client's arrival to the end of the last wait.
    pub(crate) fn whole(self, whole: impl Into<Span>) -> Self {
        Self { whole: Some(whole.into()), ..self }
    }

    pub(crate) fn turns(self, turns: Turns) -> Self {
        Self { turns, ..self }
    }

    /// The experiment is worth something only if this is so.
    pub(crate) fn provided(mut self, is_so: bool, what: impl Into<String>) -> Self {
        if !is_so {
            self.failures.push(format!("EXPERIMENT FAILED: it is not so that {}", what.into()));
        }
        self
    }
}
