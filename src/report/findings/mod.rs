//! Findings: what the connections to one target have in common, in words, with what it usually is and
//! what to look at next. Each rule has a name, and gathers its evidence in bounded memory.
//!
//! A rule tells nothing where the evidence also fits something else: no finding is better than a wrong
//! one.

mod connecting;
mod endings;
mod exchanges;
mod failures;
mod path;
mod sightings;
mod words;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::connection::Connection;
use super::groups::MAX_GROUPS;
use sightings::Sightings;

/// A rule that finds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rule {
    /// Connections are reset after the same time without data.
    IdleTimeout,
    /// One side resets connections.
    Resets,
    /// The proxy sends requests again, which got no answer.
    RepeatedRequest,
    /// Connections are refused.
    Refused,
    /// The target's name does not exist.
    UnknownName,
    /// SYNs are lost on the way to the target.
    LostSyns,
    /// SYNs to a target are never answered.
    NoAnswer,
    /// A listener on this machine does not accept in time.
    AcceptQueue,
    /// One of the target's addresses does not work.
    BadAddress,
    /// Names take long to look up.
    SlowLookup,
    /// TLS handshakes take much longer than their round trips.
    SlowTls,
    /// Nagle's algorithm at one side waits for the other side's delayed acknowledgement.
    DelayedAck,
    /// Many round trips over a long path.
    ChattyProtocol,
    /// A new connection for each request.
    ConnectionChurn,
    /// A receive window is smaller than the path needs.
    SmallWindow,
    /// Large packets vanish.
    MtuBlackHole,
    /// A large part of the segments is sent again.
    RetransmissionStorm,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 17] = [
        Self::IdleTimeout,
        Self::Resets,
        Self::RepeatedRequest,
        Self::Refused,
        Self::UnknownName,
        Self::LostSyns,
        Self::NoAnswer,
        Self::AcceptQueue,
        Self::BadAddress,
        Self::SlowLookup,
        Self::SlowTls,
        Self::DelayedAck,
        Self::ChattyProtocol,
        Self::ConnectionChurn,
        Self::SmallWindow,
        Self::MtuBlackHole,
        Self::RetransmissionStorm,
    ];

    /// Whether connections fail by it, rather than being slow.
    pub fn is_failure(self) -> bool {
        matches!(
            self,
            Self::IdleTimeout
                | Self::Resets
                | Self::RepeatedRequest
                | Self::Refused
                | Self::UnknownName
                | Self::NoAnswer
                | Self::MtuBlackHole
        )
    }
}

/// Displays as its name in JSON.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Finding {
    /// The rule that found it.
    pub rule: Rule,
    /// The target, `host:port`, or the parent proxy through which it was reached.
    pub target: String,
    /// Connections in which it was seen.
    pub count: u64,
    /// Connections to the target.
    pub of: u64,
    /// When the first of them was accepted, Unix ns. Null where their lines have no time.
    pub first_at: Option<i64>,
    /// When the last of them ended, Unix ns. Null where their lines have no time.
    pub last_at: Option<i64>,
    /// What was seen, and how often.
    pub seen: String,
    /// What that usually is.
    pub usually: String,
    /// What to look at next.
    pub next: String,
    /// Ids of at most three of the connections, for `report --id`.
    pub examples: Vec<String>,
}

/// What one rule has seen of one target.
trait Evidence: fmt::Debug + Send {
    /// Looks at a connection.
    fn see(&mut self, connection: &Connection);

    /// What it all means. `of`: the target and how many connections it has. May be several things.
    fn conclude(&self, of: &Target) -> Vec<Finding>;
}

/// A target.
#[derive(Debug)]
struct Target {
    name: String,
    connections: u64,
}

impl Target {
    /// A finding in these connections.
    fn finding(&self, rule: Rule, seen_in: &Sightings, words: Words) -> Finding {
        Finding {
            rule,
            target: self.name.clone(),
            count: seen_in.count(),
            of: self.connections,
            first_at: seen_in.first_at(),
            last_at: seen_in.last_at(),
            seen: words.seen,
            usually: words.usually.into(),
            next: words.next.into(),
            examples: seen_in.examples().to_vec(),
        }
    }
}

/// The three parts of a finding's text.
#[derive(Debug)]
struct Words {
    seen: String,
    usually: &'static str,
    next: &'static str,
}

fn evidence() -> Vec<Box<dyn Evidence>> {
    vec![
        Box::<endings::Resets>::default(),
        Box::<endings::Repeats>::default(),
        Box::<failures::Failures>::default(),
        Box::<connecting::Syns>::default(),
        Box::<connecting::Addresses>::default(),
        Box::<connecting::Lookups>::default(),
        Box::<connecting::Handshakes>::default(),
        Box::<exchanges::Nagle>::default(),
        Box::<exchanges::RoundTrips>::default(),
        Box::<exchanges::Churn>::default(),
        Box::<path::Windows>::default(),
        Box::<path::LargePackets>::default(),
        Box::<path::Retransmissions>::default(),
    ]
}

/// The evidence for all targets.
#[derive(Debug, Default)]
pub(super) struct Findings {
    targets: HashMap<String, (u64, Vec<Box<dyn Evidence>>)>,
    /// Connections to targets beyond the first [`MAX_GROUPS`], which are not looked at.
    unseen: u64,
}

impl Findings {
    pub(super) fn see(&mut self, connection: &Connection) {
        // What the upstream's socket tells is about the parent proxy, where there is one.
        let peer = connection.via.as_ref().or(connection.target.as_ref());
        let Some(target) = peer else { return };
        if !self.targets.contains_key(target) {
            if self.targets.len() >= MAX_GROUPS {
                self.unseen += 1;
                return;
            }
            self.targets.insert(target.clone(), (0, evidence()));
        }
        if let Some((connections, evidence)) = self.targets.get_mut(target) {
            *connections += 1;
            for evidence in evidence {
                evidence.see(connection);
            }
        }
    }

    /// The findings, failures first, and among them those in most connections; and how many connections went to targets that were
    /// not looked at.
    pub(super) fn finish(self) -> (Vec<Finding>, u64) {
        let mut findings: Vec<Finding> = Vec::new();
        for (name, (connections, evidence)) in self.targets {
            let target = Target { name, connections };
            findings.extend(evidence.iter().flat_map(|evidence| evidence.conclude(&target)));
        }
        findings.sort_by(|a, b| {
            let order = |finding: &Finding| (!finding.rule.is_failure(), Reverse(finding.count));
            order(a).cmp(&order(b)).then_with(|| (&a.target, a.rule).cmp(&(&b.target, b.rule)))
        });
        (findings, self.unseen)
    }
}
