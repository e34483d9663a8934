//! What the time before relaying was spent on: reading the request, name resolution, connecting.

use std::time::Duration;

use crate::dial::DialLog;
use crate::record::{Attempt, AttemptOutcome, Outcome, Report};

/// The time before relaying, by who took it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(super) resolver: Duration,
    pub(super) client: Duration,
    pub(super) upstream: Duration,
    pub(super) network_upstream: Duration,
    /// Uncertain part of the path's time.
    pub(super) in_doubt: Duration,
    pub(super) proxy: Duration,
    pub(super) idle: Duration,
}

/// Measurements of the time before relaying.
pub(crate) struct SetupInput<'c> {
    /// From accept until relaying began. `None` if it never did.
    pub(crate) total: Option<Duration>,
    /// Time until the client's request was complete, and until its first byte, if there was a
    /// request to read.
    pub(crate) request: Option<Duration>,
    pub(crate) until_first_byte: Option<Duration>,
    pub(crate) dial_log: &'c DialLog,
    pub(crate) attempts: &'c [Attempt],
    /// The established connection.
    pub(crate) upstream: Option<&'c Report>,
}

impl Setup {
    pub(crate) fn new(input: &SetupInput<'_>) -> Self {
        let mut setup = Self::default();
        // No part may make the whole longer than it was.
        let mut left = input.total.unwrap_or(Duration::MAX);
        let mut part = |time: Duration| {
            let time = time.min(left);
            left -= time;
            time
        };
        // Until the client sends data, nobody waits for it.
        let request = input.request.unwrap_or_default();
        let silent = input.until_first_byte.unwrap_or(request).min(request);
        setup.idle = part(silent);
        setup.client = part(request - silent);
        setup.resolver = part(input.dial_log.resolve().unwrap_or_default());

        let connect = input.dial_log.connect().unwrap_or_default();
        let parents = input.dial_log.tunnel_setup_time().min(connect);
        let connecting = part(connect - parents);
        let parents = part(parents);
        let round_trip = input.round_trip();
        let is_local = input.is_all_local();
        // On one machine there is no network path, and a retransmitted SYN means a full accept
        // queue.
        let on_path = if is_local { Duration::ZERO } else { round_trip.min(parents) };
        setup.upstream = parents - on_path;
        match is_local {
            true => setup.upstream += connecting,
            false => setup.network_upstream = connecting + on_path,
        }
        let is_certain = is_local || input.is_certain();
        let certain = if is_certain { connecting } else { round_trip.min(connecting) };
        setup.in_doubt = connecting - certain;
        setup.proxy = input.total.map_or(Duration::ZERO, |_| left);
        setup
    }
}

impl SetupInput<'_> {
    /// The round-trip time of connecting: as measured by the kernel, or the duration of a refused
    /// attempt.
    fn round_trip(&self) -> Duration {
        let refusal = |attempt: &&Attempt| attempt.error_code.as_deref() == Some("ECONNREFUSED");
        let refused = self.attempts.iter().find(refusal).map(|attempt| attempt.duration);
        let opened = self.upstream.and_then(|leg| leg.opened_info.as_ref());
        let linux = opened.and_then(|info| info.sys_info.linux());
        let measured = linux.and_then(|linux| linux.min_rtt.or(linux.rtt));
        measured.or(refused).unwrap_or_default()
    }

    /// Whether every attempt was to this machine.
    fn is_all_local(&self) -> bool {
        match self.upstream {
            Some(leg) => leg.is_local(),
            None => {
                !self.attempts.is_empty()
                    && self.attempts.iter().all(|attempt| attempt.addr.ip().is_loopback())
            }
        }
    }

    /// Whether a router reported the target as unreachable.
    fn is_certain(&self) -> bool {
        let unreachable = |attempt: &Attempt| {
            let code = attempt.error_code.as_deref();
            attempt.outcome == AttemptOutcome::Error
                && code.is_some_and(|code| Outcome::from_error_code(code) == Outcome::Unreachable)
        };
        self.upstream.is_none() && self.attempts.iter().any(unreachable)
    }
}
