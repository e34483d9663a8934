//! Where the time of a pair went: every moment is charged to one cause, once.

use std::ops::{Index, IndexMut};

use crate::clock::{CompactDuration, CompactInstant};
use crate::record::LimitedBy;

/// What a period of time was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The client had begun a request and sent no more of it.
    ClientSends,
    /// The path from the client: its data arrived late.
    FromClient,
    /// The upstream accepted no more of a request: its receive window was full.
    UpstreamTakes,
    /// The path to the upstream accepted no more of a request.
    ToUpstream,
    /// A request and its answer were in transit to the upstream and back.
    RequestOnPath,
    /// The upstream had a request and had not answered yet.
    UpstreamThinks,
    /// The upstream had begun an answer and sent no more of it.
    UpstreamSends,
    /// The path from the upstream: its data arrived late.
    FromUpstream,
    /// The client accepted no more of an answer: its receive window was full.
    ClientTakes,
    /// The path to the client accepted no more of an answer.
    ToClient,
    /// The answer's last byte and the next request were in transit to the client and back.
    AnswerOnPath,
    /// The proxy was working, or was stalled.
    Proxy,
    /// Nobody waited.
    Idle,
}

impl Cause {
    const COUNT: usize = Self::Idle as usize + 1;

    /// Who is charged for this cause; [`LimitedBy::None`] is nobody.
    pub(crate) const fn who(self) -> LimitedBy {
        match self {
            Self::ClientSends | Self::ClientTakes => LimitedBy::Client,
            Self::FromClient | Self::ToClient | Self::AnswerOnPath => LimitedBy::NetworkClient,
            Self::UpstreamTakes | Self::UpstreamThinks | Self::UpstreamSends => LimitedBy::Upstream,
            Self::ToUpstream | Self::RequestOnPath | Self::FromUpstream => {
                LimitedBy::NetworkUpstream
            }
            Self::Proxy => LimitedBy::Proxy,
            Self::Idle => LimitedBy::None,
        }
    }

    /// All causes.
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::ClientSends,
        Self::FromClient,
        Self::UpstreamTakes,
        Self::ToUpstream,
        Self::RequestOnPath,
        Self::UpstreamThinks,
        Self::UpstreamSends,
        Self::FromUpstream,
        Self::ClientTakes,
        Self::ToClient,
        Self::AnswerOnPath,
        Self::Proxy,
        Self::Idle,
    ];
}

/// The time that was charged to each cause.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Charges([CompactDuration; Cause::COUNT]);

/// The charges at an earlier instant.
#[derive(Debug)]
pub(super) struct ChargesAt {
    pub(super) charges: Charges,
    /// Everything before this instant is charged.
    pub(super) until: CompactInstant,
}

impl Charges {
    /// Moves at most `time` from one cause to another, as far as `from` has been charged.
    pub(crate) fn move_to(&mut self, from: Cause, to: Cause, time: CompactDuration) {
        let time = time.min(self[from]);
        self[from] -= time;
        self[to] += time;
    }

    /// Who was charged more than half of the time since `before`, without what is doubtful;
    /// [`LimitedBy::None`] if nobody was.
    pub(super) fn dominant_since(&self, before: &Self, doubts: &Doubts) -> LimitedBy {
        let mut times = [CompactDuration::default(); LimitedBy::None as usize + 1];
        for cause in Cause::ALL {
            times[cause.who() as usize] += self[cause] - before[cause];
        }
        times[LimitedBy::None as usize] = CompactDuration::default();
        let all = times.iter().fold(CompactDuration::default(), |all, &time| all + time);
        let most = Cause::ALL.into_iter().max_by_key(|cause| times[cause.who() as usize]);
        most.map(Cause::who)
            .filter(|&who| {
                let certain = times[who as usize] - doubts.of(who);
                certain > all - certain
            })
            .unwrap_or(LimitedBy::None)
    }
}

impl Index<Cause> for Charges {
    type Output = CompactDuration;

    fn index(&self, cause: Cause) -> &CompactDuration {
        // As many as there are causes.
        &self.0[cause as usize]
    }
}

impl IndexMut<Cause> for Charges {
    fn index_mut(&mut self, cause: Cause) -> &mut CompactDuration {
        &mut self.0[cause as usize]
    }
}

/// Time that may have been charged to the wrong cause, by the cause that was charged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doubts {
    pub(crate) client: CompactDuration,
    pub(crate) from_client: CompactDuration,
    pub(crate) upstream: CompactDuration,
    pub(crate) from_upstream: CompactDuration,
}

impl Doubts {
    pub(super) fn get_mut(&mut self, cause: Cause) -> &mut CompactDuration {
        match cause {
            Cause::ClientSends => &mut self.client,
            Cause::FromClient => &mut self.from_client,
            Cause::FromUpstream => &mut self.from_upstream,
            _ => &mut self.upstream,
        }
    }

    /// What was added since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            client: self.client - before.client,
            from_client: self.from_client - before.from_client,
            upstream: self.upstream - before.upstream,
            from_upstream: self.from_upstream - before.from_upstream,
        }
    }

    /// The time that was charged to this side or path.
    pub(super) fn of(&self, who: LimitedBy) -> CompactDuration {
        match who {
            LimitedBy::Client => self.client,
            LimitedBy::NetworkClient => self.from_client,
            LimitedBy::Upstream => self.upstream,
            LimitedBy::NetworkUpstream => self.from_upstream,
            LimitedBy::Resolver | LimitedBy::Proxy | LimitedBy::None => CompactDuration::default(),
        }
    }
}
