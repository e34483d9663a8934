//! How a pair ended, from what was seen of its two sockets.

use super::delivery::Opened;
use crate::caught::Panicked;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::record::{By, Delivered, Ending, How, Outcome, Phase, Report};
use crate::relay::{LegState, PassedBefore, PeerEnd, RelayEnd, Story};

/// A protocol's last words have no more bytes: a close_notify of TLS, a GOAWAY of HTTP/2 and one behind
/// it.
const FAREWELL: u64 = 256;

/// How a pair came to its end.
pub(crate) enum Finish {
    /// It never got to relaying.
    Failed(Failure),
    /// It was relayed, and this is its story.
    Relayed(RelayEnd, Box<Story>),
}

/// What the record says of it, from what was seen of each socket and what the record says of it. `is_tls`:
/// the client began with TLS.
pub(crate) fn ending(
    client: (&LegState, &Report),
    upstream: Option<(&LegState, &Report)>,
    is_tls: bool,
    finish: Finish,
) -> (Outcome, Ending) {
    match finish {
        Finish::Failed(failure) => {
            let fault = failure.fault;
            let ending = Ending {
                phase: failure.phase,
                first_by: failure.by,
                first_how: failure.how,
                second_by: None,
                second_how: None,
                gap: None,
                error: fault.as_ref().map(|fault| fault.text.to_string()),
                error_code: fault.map(|fault| fault.code.to_string()),
            };
            (failure.outcome, ending)
        }
        Finish::Relayed(end, _) => relayed(client, upstream, is_tls, end),
    }
}

fn relayed(
    client: (&LegState, &Report),
    upstream: Option<(&LegState, &Report)>,
    is_tls: bool,
    end: RelayEnd,
) -> (Outcome, Ending) {
    let sides = [(By::Client, Some(client)), (By::Upstream, upstream)];
    let ends = sides.into_iter().filter_map(|(by, leg)| Some((by, peer_end(leg?)?)));
    let mut ends: Vec<(By, PeerEnd)> = ends.collect();
    ends.sort_by_key(|(_, end)| end.at);
    let report = |side| match side {
        By::Upstream => upstream.map(|(_, report)| report),
        _ => Some(client.1),
    };
    let other_ended = |side| ends.iter().any(|(other, end)| *other != side && end.how == How::Fin);
    let is_good = |(side, end): &(By, PeerEnd)| {
        let is_harmless = |leg: &Report| match end.how {
            How::Reset if is_tls && other_ended(*side) => match side {
                By::Upstream => has_left(client),
                // Its kernel may have the farewell already, unread when it closed.
                _ => missed_farewell(Opened::Passively, leg) || has_arrived(leg),
            },
            How::Reset if is_tls => {
                // Each closed while the other one's farewell came.
                missed_farewell(Opened::Passively, client.1)
                    && report(By::Upstream)
                        .is_some_and(|leg| missed_farewell(Opened::Actively, leg))
            }
            How::Reset => false,
            _ => had_closed(*side, end, leg),
        };
        end.fault.is_none() || report(*side).is_some_and(is_harmless)
    };
    let by = |(side, end): &(By, PeerEnd)| {
        if is_unreachable(end) { By::Network } else { *side }
    };

    let cut = Cut::of(end);
    let peers_fault = ends.iter().find_map(|(_, end)| end.fault.as_ref());
    let fault = peers_fault.or(cut.as_ref().and_then(|cut| cut.fault.as_ref()));
    let outcome = match (&cut, &ends[..], fault) {
        (Some(cut), ..) => cut.outcome,
        (_, _, None) => Outcome::Ok,
        _ if ends.iter().any(|(_, end)| is_unreachable(end)) => Outcome::Unreachable,
        _ if ends.iter().all(is_good) => Outcome::Ok,
        (_, _, Some(fault)) => Outcome::of_error(&fault.code),
    };
    // Where nobody ended before the proxy, it has sent its end of stream behind a whole answer.
    let cut_how = cut.as_ref().map_or(How::Fin, |cut| cut.how);
    let first = ends.first();
    let second = ends.get(1);
    let ending = Ending {
        phase: Phase::Relay,
        first_by: first.map_or(By::Proxy, by),
        first_how: first.map_or(cut_how, |(_, end)| end.how),
        second_by: second.map(by),
        second_how: second.map(|(_, end)| end.how),
        gap: first
            .zip(second)
            .map(|((_, first), (_, second))| second.at.saturating_since(first.at)),
        error: fault.map(|fault| fault.text.to_string()),
        error_code: fault.map(|fault| fault.code.to_string()),
    };
    (outcome, ending)
}

/// How a peer ended, by all that is known of its socket in the end.
///
/// `EPIPE` is what a socket says that had the peer's end of stream before its reset. But it says the
/// same to a write when its first word on the reset is lost, and splice(2) loses it when it had
/// written something before. And behind our own end of stream it says `ECONNRESET`, whether or not the
/// peer's came before. Then the kernel's count of the end of stream decides.
fn peer_end((leg, report): (&LegState, &Report)) -> Option<PeerEnd> {
    let mut end = leg.ended.as_deref()?.clone();
    let code = end.fault.as_ref().map(|fault| &*fault.code);
    let kernel = report.closed_info.as_ref().and_then(|info| info.sys_info.linux());
    let received = kernel.and_then(|kernel| kernel.bytes_received);
    match (end.how, code) {
        (How::Fin, Some("EPIPE")) if received.is_none_or(|bytes| bytes <= report.rx_bytes) => {
            end.how = How::Reset;
        }
        (How::Reset, Some("ECONNRESET")) if received == Some(report.rx_bytes + 1) => {
            end.how = How::Fin;
        }
        _ => {}
    }
    if leg.said_all {
        end.fault = None;
    }
    Some(end)
}

/// What it means that the proxy itself ended a pair.
struct Cut {
    outcome: Outcome,
    how: How,
    fault: Option<Fault>,
}

impl Cut {
    fn of(end: RelayEnd) -> Option<Self> {
        let fault = |code: &'static str, text: &'static str| {
            Some(Fault { code: code.into(), text: text.into() })
        };
        let (outcome, how, fault) = match end {
            RelayEnd::ByPeers => return None,
            RelayEnd::ByStop => (Outcome::Shutdown, How::Shutdown, None),
            RelayEnd::Idle => {
                let text = "no traffic for the maximum idle time (--idle-timeout)";
                (Outcome::Timeout, How::Timeout, fault("IDLE_TIMEOUT", text))
            }
            RelayEnd::Expired => {
                let text = "the connection reached its maximum lifetime (--lifetime)";
                (Outcome::Limit, How::Limit, fault("LIFETIME", text))
            }
            RelayEnd::Panicked => (Outcome::Error, How::Error, Some(Panicked::fault())),
        };
        Some(Self { outcome, how, fault })
    }
}

/// Whether a peer's end of stream was its last act, and the reset that followed is no more than its
/// kernel's answer to what still came: what is sent to a side that has ended is lost without harm. TLS
/// ends so: who gets the other one's last words has closed already, or answers a side that has.
///
/// A socket that was closed, with nothing left unread, acknowledges nothing that comes after its
/// FIN and answers it with a reset (RFC 9293 section 3.6.1). So a peer broke the connection off
/// when it has acknowledged anything since its FIN, because then it was still reading; when nothing
/// was under way to it, because then its reset answers nothing; and when its window is closed,
/// because then it has not read what it got.
///
/// A client that closes has what it wanted. An upstream that closes while it is spoken to has gone in
/// the middle of an upload: unless the client has only said farewell, the last word must have been the
/// upstream's, and nothing under way to it.
fn had_closed(by: By, end: &PeerEnd, leg: &Report) -> bool {
    let is_reset =
        end.fault.as_ref().is_some_and(|fault| matches!(&*fault.code, "ECONNRESET" | "EPIPE"));
    let kernel = leg.closed_info.as_ref().and_then(|info| info.sys_info.linux());
    let Some(kernel) = kernel.filter(|_| is_reset && end.how == How::Fin) else { return false };
    let opened = if by == By::Upstream { Opened::Actively } else { Opened::Passively };
    let Some(acked) = Delivered::of(leg, opened, false).acked else { return false };
    let sent = kernel.not_sent_bytes.map(|rest| leg.tx_bytes.saturating_sub(rest.into()));
    let is_answer = sent > Some(acked) && kernel.tx_window != Some(0);
    let is_farewell = leg.tx_bytes - acked <= FAREWELL;
    is_answer
        && match end.passed {
            Some(PassedBefore { acked: Some((before, unacked)), peer_was_last }) => {
                let was_spoken_to = unacked > FAREWELL || !peer_was_last;
                acked == before && (by != By::Upstream || is_farewell || !was_spoken_to)
            }
            // It came unread, with the reset behind it.
            Some(PassedBefore { acked: None, .. }) | None => is_farewell,
        }
}

/// Whether a side of TLS closed while the other one's farewell came, behind which that has ended: with
/// that unread, its close is a reset without an end of stream before it.
fn missed_farewell(opened: Opened, leg: &Report) -> bool {
    let acked = Delivered::of(leg, opened, false).acked;
    acked.is_some_and(|acked| (1..=FAREWELL).contains(&(leg.tx_bytes - acked)))
}

/// Whether all that was written to the client has arrived.
fn has_arrived(client: &Report) -> bool {
    Delivered::of(client, Opened::Passively, false).undelivered == Some(0)
}

/// Whether a client of TLS ended its stream when the server had said all but its farewell. Nobody ends a
/// half of TLS to ask for something. A server resets that closes with the client's farewell unread, or meets
/// it before its own end of stream has gone.
fn has_left((state, report): (&LegState, &Report)) -> bool {
    let end = state.ended.as_ref().filter(|end| end.how == How::Fin);
    let acked = end.and_then(|end| end.passed?.acked);
    acked.is_some_and(|(acked, unacked)| {
        let written = acked + unacked;
        written > 0 && report.tx_bytes.saturating_sub(written) <= FAREWELL
    })
}

/// A router's word that the peer cannot be reached.
fn is_unreachable(end: &PeerEnd) -> bool {
    let fault = end.fault.as_ref();
    fault.is_some_and(|fault| Outcome::of_error(&fault.code) == Outcome::Unreachable)
}
