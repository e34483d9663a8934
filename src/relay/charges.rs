//! Where the time of a pair went: every moment is charged to one cause, once.

use std::ops::{Index, IndexMut};

use crate::clock::{Moment, Nanos};
use crate::record::LimitedBy;

/// What a moment was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The client had begun to say something and sent no more.
    ClientSends,
    /// The path from the client: what it sent came late.
    FromClient,
    /// The upstream took no more of a request: its window held the socket.
    UpstreamTakes,
    /// The path to the upstream took no more of a request.
    ToUpstream,
    /// A request that was written, and its answer, were on the path to the upstream and back.
    RequestOnPath,
    /// The upstream had a request and did not answer yet.
    UpstreamThinks,
    /// The upstream had begun to say something and sent no more.
    UpstreamSends,
    /// The path from the upstream: what it sent came late.
    FromUpstream,
    /// The client took no more of an answer: its window held the socket.
    ClientTakes,
    /// The path to the client took no more of an answer.
    ToClient,
    /// The answer's last byte, and the next request, were on the path to the client and back.
    AnswerOnPath,
    /// The proxy was at work, or stood still.
    Proxy,
    /// Nobody waited.
    Idle,
}

impl Cause {
    const COUNT: usize = Self::Idle as usize + 1;

    /// Whom it is charged to. Nobody is [`LimitedBy::None`].
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

    /// All of them.
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
pub(crate) struct Charges([Nanos; Cause::COUNT]);

/// What was charged at an earlier moment.
#[derive(Debug)]
pub(super) struct ChargedThen {
    pub(super) charges: Charges,
    /// Everything before this.
    pub(super) until: Moment,
}

impl Charges {
    /// Charges to `to` what was charged to `from`, as much as there is of `time`.
    pub(crate) fn move_to(&mut self, from: Cause, to: Cause, time: Nanos) {
        let time = time.min(self[from]);
        self[from] -= time;
        self[to] += time;
    }

    /// Who took more than half of what was charged since `before`; [`LimitedBy::None`] if nobody did.
    pub(crate) fn most_since(&self, before: &Self) -> LimitedBy {
        let mut times = [Nanos::default(); LimitedBy::None as usize + 1];
        for cause in Cause::ALL {
            times[cause.who() as usize] += self[cause] - before[cause];
        }
        times[LimitedBy::None as usize] = Nanos::default();
        let all = times.iter().fold(Nanos::default(), |all, &time| all + time);
        let most = Cause::ALL.into_iter().max_by_key(|cause| times[cause.who() as usize]);
        most.map(Cause::who)
            .filter(|&who| times[who as usize] > all - times[who as usize])
            .unwrap_or(LimitedBy::None)
    }
}

impl Index<Cause> for Charges {
    type Output = Nanos;

    fn index(&self, cause: Cause) -> &Nanos {
        // As many as there are causes.
        &self.0[cause as usize]
    }
}

impl IndexMut<Cause> for Charges {
    fn index_mut(&mut self, cause: Cause) -> &mut Nanos {
        &mut self.0[cause as usize]
    }
}
