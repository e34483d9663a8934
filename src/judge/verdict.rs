//! The verdict: who was waited for, by what the time was spent on.

use std::time::Duration;

use super::setup::Setup;
use crate::record::{Basis, Direction, Evidence, LimitedBy, Report, Verdict, VerdictTime};
use crate::relay::{Cause, TimeBreakdown};

/// Minimum certain share of the active time to be named. In experiments with one slow side, its
/// share was at least 0.6, and nearly always more than 0.9.
const SHARE: f64 = 0.5;

/// A path is not named if the receiver's window was the limit for more than this share of the
/// blocked time: 0.69 or more for slow readers; at most 0.04 for slow or lossy paths, but up to
/// 0.35 if the reader got no CPU time for a while.
const WINDOW: f64 = 0.3;

/// A charged time.
#[derive(Debug, Clone, Copy)]
struct Charge {
    who: LimitedBy,
    time: Duration,
    /// Direction of the bytes that were waited for, and the basis of the measurement.
    shown: Option<(Direction, Basis)>,
}

/// The time of a pair; all of it is charged exactly once.
#[derive(Debug, Default)]
struct TimeCharges {
    charges: Vec<Charge>,
    idle: Duration,
    doubts: Vec<(LimitedBy, Duration)>,
}

/// The verdict on a pair that has ended. `breakdown` is `None` if it was not relayed. Returns
/// `None` if the kernel lacks the figures.
pub(crate) fn verdict(
    setup: &Setup,
    breakdown: Option<&TimeBreakdown>,
    client: &Report,
    upstream: Option<&Report>,
) -> Option<Verdict> {
    let mut times = TimeCharges::default();
    times.set_up(setup);
    let mut evidence = Evidence::default();
    if let Some(breakdown) = breakdown {
        times.relayed(breakdown);
        evidence = evidence_of(breakdown);
    }
    let upstreams_payload = upstream.map_or(0, Report::payload_sent);
    let (source, sink) = match upstreams_payload > client.payload_sent() {
        true => (Some(client), upstream),
        false => (upstream, Some(client)),
    };
    let has_payload = upstreams_payload + client.payload_sent() > 0;
    add_socket_figures(&mut evidence, source, sink?, has_payload)?;
    Some(times.into_verdict(evidence))
}

/// The verdict on an exchange of our own client, with its one socket.
#[cfg(feature = "stat")]
pub(crate) fn exchange_verdict(
    setup: &Setup,
    breakdown: &TimeBreakdown,
    leg: &Report,
) -> Option<Verdict> {
    let mut times = TimeCharges::default();
    times.set_up(setup);
    times.relayed(breakdown);
    // The client is conniver itself.
    for charge in &mut times.charges {
        if charge.who == LimitedBy::Proxy {
            charge.who = LimitedBy::Client;
        }
    }
    let mut evidence = evidence_of(breakdown);
    add_socket_figures(&mut evidence, Some(leg), leg, true)?;
    Some(times.into_verdict(evidence))
}

impl TimeCharges {
    fn set_up(&mut self, setup: &Setup) {
        let mut charge = |who, time| self.charges.push(Charge { who, time, shown: None });
        charge(LimitedBy::Resolver, setup.resolver);
        charge(LimitedBy::Client, setup.client);
        charge(LimitedBy::Upstream, setup.upstream);
        charge(LimitedBy::NetworkUpstream, setup.network_upstream);
        charge(LimitedBy::Proxy, setup.proxy);
        self.idle += setup.idle;
        self.doubts.push((LimitedBy::NetworkUpstream, setup.in_doubt));
    }

    fn relayed(&mut self, breakdown: &TimeBreakdown) {
        use Direction::{ToClient, ToUpstream};
        let time = |cause| breakdown.charges[cause].get();
        for cause in Cause::ALL {
            let shown = match cause {
                Cause::ClientSends | Cause::FromClient => Some((ToUpstream, Basis::Receiver)),
                Cause::UpstreamTakes | Cause::ToUpstream | Cause::RequestOnPath => {
                    Some((ToUpstream, Basis::Sender))
                }
                Cause::UpstreamThinks | Cause::UpstreamSends | Cause::FromUpstream => {
                    Some((ToClient, Basis::Receiver))
                }
                Cause::ClientTakes | Cause::ToClient | Cause::AnswerOnPath => {
                    Some((ToClient, Basis::Sender))
                }
                Cause::Proxy => None,
                Cause::Idle => {
                    self.idle += time(cause);
                    continue;
                }
            };
            self.charges.push(Charge { who: cause.who(), time: time(cause), shown });
        }

        let doubts = &breakdown.doubts;
        let by_window = |window, path| {
            let (window, path) = (time(window), time(path));
            if window > (window + path).mul_f64(WINDOW) { path } else { Duration::ZERO }
        };
        self.doubts.extend([
            (LimitedBy::Client, doubts.client.get()),
            (LimitedBy::NetworkClient, doubts.from_client.get()),
            (LimitedBy::Upstream, doubts.upstream.get()),
            (LimitedBy::NetworkUpstream, doubts.from_upstream.get()),
            (LimitedBy::NetworkClient, by_window(Cause::ClientTakes, Cause::ToClient)),
            (LimitedBy::NetworkUpstream, by_window(Cause::UpstreamTakes, Cause::ToUpstream)),
        ]);
    }

    fn time_of(&self, who: LimitedBy) -> Duration {
        let of = self.charges.iter().filter(|charge| charge.who == who);
        of.map(|charge| charge.time).sum()
    }

    /// The uncertain part of the time charged to `who`.
    fn in_doubt(&self, who: LimitedBy) -> Duration {
        let of = self.doubts.iter().filter(|(of, _)| *of == who);
        of.map(|(_, time)| *time).sum::<Duration>().min(self.time_of(who))
    }

    fn into_verdict(self, evidence: Evidence) -> Verdict {
        let active: Duration = self.charges.iter().map(|charge| charge.time).sum();
        let whose = self.charges.iter().map(|charge| charge.who);
        let heaviest = whose.max_by_key(|&who| self.time_of(who));
        let named = heaviest.filter(|&who| {
            let certain = self.time_of(who) - self.in_doubt(who);
            active >= LimitedBy::MIN_ACTIVE && certain.div_duration_f64(active) >= SHARE
        });
        let shown = named.and_then(|who| {
            let of = self.charges.iter().filter(|charge| charge.who == who);
            let shown = of.filter_map(|charge| Some((charge.time, charge.shown?)));
            shown.max_by_key(|(time, _)| *time).filter(|(time, _)| !time.is_zero())
        });
        let shown = shown.map(|(_, shown)| shown);
        let doubted = [
            LimitedBy::Client,
            LimitedBy::Upstream,
            LimitedBy::NetworkClient,
            LimitedBy::NetworkUpstream,
        ];
        Verdict {
            limited_by: named.unwrap_or(LimitedBy::None),
            share: named.map(|who| self.time_of(who).div_duration_f64(active)),
            direction: shown.map(|(direction, _)| direction),
            active,
            time: VerdictTime {
                resolver: self.time_of(LimitedBy::Resolver),
                client: self.time_of(LimitedBy::Client),
                upstream: self.time_of(LimitedBy::Upstream),
                network_client: self.time_of(LimitedBy::NetworkClient),
                network_upstream: self.time_of(LimitedBy::NetworkUpstream),
                proxy: self.time_of(LimitedBy::Proxy),
                idle: self.idle,
            },
            basis: shown.map(|(_, basis)| basis),
            evidence: Evidence {
                doubtful: doubted.iter().map(|&who| self.in_doubt(who)).sum(),
                ..evidence
            },
        }
    }
}

fn evidence_of(breakdown: &TimeBreakdown) -> Evidence {
    let time = |causes: &[Cause]| causes.iter().map(|&cause| breakdown.charges[cause].get()).sum();
    let by_path = [Cause::FromClient, Cause::RequestOnPath, Cause::FromUpstream];
    let by_program = [Cause::ClientSends, Cause::UpstreamThinks, Cause::UpstreamSends];
    let by_window = [Cause::UpstreamTakes, Cause::ClientTakes];
    let blocked_by_path = [Cause::ToUpstream, Cause::ToClient];
    Evidence {
        starved: time(&[by_path, by_program].concat()),
        starved_by_path: time(&by_path),
        blocked: time(&[by_window, blocked_by_path].concat()),
        blocked_by_window: time(&by_window),
        ..Evidence::default()
    }
}

/// Adds the figures of the two sockets. `None` if the kernel does not count them.
fn add_socket_figures(
    evidence: &mut Evidence,
    source: Option<&Report>,
    sink: &Report,
    has_payload: bool,
) -> Option<()> {
    let at_close = sink.closed_info.as_ref().or(sink.opened_info.as_ref())?;
    let linux = at_close.sys_info.linux()?;
    // From right before our own end of stream, because the timers would include the wait for its
    // acknowledgement.
    let (busy_time, rx_window_limited, tx_buffer_limited) = match &sink.eof_info {
        Some(eof) => (eof.busy_time, eof.rx_window_limited, eof.tx_buffer_limited),
        None => (linux.busy_time, linux.rx_window_limited, linux.tx_buffer_limited),
    };
    let (busy_time, rx_window_limited) = (busy_time?, rx_window_limited?);
    if has_payload {
        let source = source.and_then(|source| source.closed_info.as_ref());
        let source = source.and_then(|info| info.sys_info.linux());
        (evidence.busy_time, evidence.rx_window_limited) = (busy_time, rx_window_limited);
        evidence.tx_buffer_limited = tx_buffer_limited;
        evidence.retransmits = at_close.retransmits;
        evidence.rx_out_of_order = source.and_then(|source| source.rx_out_of_order);
        evidence.received_ce = source.and_then(|source| source.received_ce);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{CompactDuration, CompactInstant};
    use crate::relay::{Charges, Doubts};

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A pair whose time went to these, in ms.
    fn breakdown(times: &[(Cause, u64)]) -> TimeBreakdown {
        let mut charges = Charges::default();
        for &(cause, time) in times {
            charges[cause] += CompactDuration::new(ms(time));
        }
        let (doubts, ended) = (Doubts::default(), CompactInstant::now());
        TimeBreakdown { charges, doubts, tally: None, is_mixed: false, ended }
    }

    fn judged(setup: &Setup, breakdown: &TimeBreakdown) -> Verdict {
        let mut times = TimeCharges::default();
        times.set_up(setup);
        times.relayed(breakdown);
        let verdict = times.into_verdict(evidence_of(breakdown));
        assert_eq!(verdict.share.is_none(), verdict.limited_by == LimitedBy::None);
        verdict
    }

    fn named(times: &[(Cause, u64)]) -> (LimitedBy, Option<Direction>, Option<Basis>) {
        let verdict = judged(&Setup::default(), &breakdown(times));
        (verdict.limited_by, verdict.direction, verdict.basis)
    }

    #[test]
    fn each_cause_is_somebodys() {
        use Basis::{Receiver, Sender};
        use Direction::{ToClient, ToUpstream};
        for (cause, who, direction, basis) in [
            (Cause::ClientSends, LimitedBy::Client, ToUpstream, Receiver),
            (Cause::FromClient, LimitedBy::NetworkClient, ToUpstream, Receiver),
            (Cause::UpstreamTakes, LimitedBy::Upstream, ToUpstream, Sender),
            (Cause::ToUpstream, LimitedBy::NetworkUpstream, ToUpstream, Sender),
            (Cause::RequestOnPath, LimitedBy::NetworkUpstream, ToUpstream, Sender),
            (Cause::UpstreamThinks, LimitedBy::Upstream, ToClient, Receiver),
            (Cause::UpstreamSends, LimitedBy::Upstream, ToClient, Receiver),
            (Cause::FromUpstream, LimitedBy::NetworkUpstream, ToClient, Receiver),
            (Cause::ClientTakes, LimitedBy::Client, ToClient, Sender),
            (Cause::ToClient, LimitedBy::NetworkClient, ToClient, Sender),
            (Cause::AnswerOnPath, LimitedBy::NetworkClient, ToClient, Sender),
        ] {
            assert_eq!(named(&[(cause, 700)]), (who, Some(direction), Some(basis)), "{cause:?}");
        }
        assert_eq!(named(&[(Cause::Proxy, 700)]), (LimitedBy::Proxy, None, None));
        assert_eq!(named(&[(Cause::Idle, 700)]), (LimitedBy::None, None, None));
    }

    #[test]
    fn idle_time_is_nobodys_and_in_no_share() {
        let times = [(Cause::Idle, 100_000), (Cause::UpstreamThinks, 400), (Cause::Proxy, 1)];
        let verdict = judged(&Setup::default(), &breakdown(&times));
        assert_eq!(verdict.limited_by, LimitedBy::Upstream);
        assert_eq!((verdict.active, verdict.time.idle), (ms(401), ms(100_000)));
        assert_eq!(verdict.share, Some(400.0 / 401.0));
    }

    #[test]
    fn setting_up_counts() {
        let setup = Setup { resolver: ms(5000), client: ms(3), ..Setup::default() };
        let verdict = judged(&setup, &breakdown(&[(Cause::UpstreamThinks, 400)]));
        assert_eq!((verdict.limited_by, verdict.direction), (LimitedBy::Resolver, None));
        assert_eq!(verdict.active, ms(5403));
    }

    #[test]
    fn doubtful_time_stands_with_the_likelier_one_who_is_not_named_for_it() {
        let setup = Setup { network_upstream: ms(3000), in_doubt: ms(2960), ..Setup::default() };
        let verdict = judged(&setup, &breakdown(&[(Cause::UpstreamThinks, 100)]));
        assert_eq!(verdict.limited_by, LimitedBy::None);
        assert_eq!(verdict.time.network_upstream, ms(3000));
        assert_eq!(verdict.evidence.doubtful, ms(2960));
    }

    #[test]
    fn a_path_is_not_named_where_the_window_held_a_part_of_what_was_blocked() {
        let times = [(Cause::ToClient, 600), (Cause::ClientTakes, 200)];
        assert_eq!(named(&times).0, LimitedBy::NetworkClient);
        let times = [(Cause::ToClient, 600), (Cause::ClientTakes, 300)];
        assert_eq!(named(&times).0, LimitedBy::None);
    }

    #[test]
    fn nobody_is_named_for_less_than_half_or_in_too_short_a_time() {
        let times = [(Cause::UpstreamThinks, 400), (Cause::ClientTakes, 400), (Cause::Proxy, 200)];
        assert_eq!(named(&times).0, LimitedBy::None);
        assert_eq!(named(&[(Cause::UpstreamThinks, 40)]).0, LimitedBy::None);
    }

    #[test]
    fn all_times_but_idle_make_up_the_active_one() {
        let times = Cause::ALL.map(|cause| (cause, 7 + cause as u64));
        let setup = Setup {
            resolver: ms(1),
            client: ms(2),
            upstream: ms(3),
            network_upstream: ms(4),
            in_doubt: ms(1),
            proxy: ms(5),
            idle: ms(6),
        };
        let verdict = judged(&setup, &breakdown(&times));
        let time = &verdict.time;
        let sum = time.resolver
            + time.client
            + time.upstream
            + time.network_client
            + time.network_upstream
            + time.proxy;
        assert_eq!(sum, verdict.active);
        let all: u64 = times.iter().map(|(_, time)| time).sum();
        assert_eq!(verdict.active + time.idle, ms(all + 21));
    }
}
