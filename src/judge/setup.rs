//! What the time before relaying was spent on: hearing the client, looking up, connecting.

use std::time::Duration;

use crate::dial::DialLog;
use crate::record::{Attempt, AttemptOutcome, Outcome, Report};

/// The time before relaying, divided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(super) resolver: Duration,
    pub(super) client: Duration,
    pub(super) upstream: Duration,
    pub(super) network_upstream: Duration,
    /// Of the path's.
    pub(super) in_doubt: Duration,
    pub(super) proxy: Duration,
    pub(super) idle: Duration,
}

/// What is known of it.
pub(crate) struct Course<'c> {
    /// From the client's acceptance until relaying began. `None` if that never came.
    pub(crate) total: Option<Duration>,
    /// How long the client's request took, and how long its first byte, if there was a request to read.
    pub(crate) request: Option<Duration>,
    pub(crate) until_first_byte: Option<Duration>,
    pub(crate) dialled: &'c DialLog,
    pub(crate) attempts: &'c [Attempt],
    /// The connection that came of it.
    pub(crate) upstream: Option<&'c Report>,
}

impl Setup {
    pub(crate) fn of(course: &Course<'_>) -> Self {
        let mut setup = Self::default();
        // No part may make the whole longer than it was.
        let mut left = course.total.unwrap_or(Duration::MAX);
        let mut part = |time: Duration| {
            let time = time.min(left);
            left -= time;
            time
        };
        // Until a client speaks, nobody waits for it.
        let request = course.request.unwrap_or_default();
        let silent = course.until_first_byte.unwrap_or(request).min(request);
        setup.idle = part(silent);
        setup.client = part(request - silent);
        setup.resolver = part(course.dialled.resolve().unwrap_or_default());

        let connect = course.dialled.connect().unwrap_or_default();
        let parents = course.dialled.asking_took().min(connect);
        let connecting = part(connect - parents);
        let parents = part(parents);
        let round_trip = course.round_trip();
        let is_local = course.leads_nowhere_far();
        // On one machine there is no path, and a SYN that is sent again found a full accept queue.
        let on_path = if is_local { Duration::ZERO } else { round_trip.min(parents) };
        setup.upstream = parents - on_path;
        match is_local {
            true => setup.upstream += connecting,
            false => setup.network_upstream = connecting + on_path,
        }
        let is_certain = is_local || course.is_certain();
        let certain = if is_certain { connecting } else { round_trip.min(connecting) };
        setup.in_doubt = connecting - certain;
        setup.proxy = course.total.map_or(Duration::ZERO, |_| left);
        setup
    }
}

impl Course<'_> {
    /// What a SYN and its answer took: as the kernel measured it, or as long as a refusal took.
    fn round_trip(&self) -> Duration {
        let refusal = |attempt: &&Attempt| attempt.error_code.as_deref() == Some("ECONNREFUSED");
        let refused = self.attempts.iter().find(refusal).map(|attempt| attempt.duration);
        let opened = self.upstream.and_then(|leg| leg.opened_info.as_ref());
        let linux = opened.and_then(|info| info.sys_info.linux());
        let measured = linux.and_then(|linux| linux.min_rtt.or(linux.rtt));
        measured.or(refused).unwrap_or_default()
    }

    /// Every attempt was to this machine.
    fn leads_nowhere_far(&self) -> bool {
        match self.upstream {
            Some(leg) => leg.is_local(),
            None => {
                !self.attempts.is_empty()
                    && self.attempts.iter().all(|attempt| attempt.addr.ip().is_loopback())
            }
        }
    }

    /// A router has said that there is no way.
    fn is_certain(&self) -> bool {
        let unreachable = |attempt: &Attempt| {
            let code = attempt.error_code.as_deref();
            attempt.outcome == AttemptOutcome::Error
                && code.is_some_and(|code| Outcome::of_error(code) == Outcome::Unreachable)
        };
        self.upstream.is_none() && self.attempts.iter().any(unreachable)
    }
}
