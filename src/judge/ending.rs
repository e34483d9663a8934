//! The ending of a pair, by the state of its two sockets.

use super::delivery::OpenKind;
use crate::catch_panic::CaughtPanic;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::record::{By, Delivered, Ending, How, Outcome, Phase, Report};
use crate::relay::{LegState, PeerEnd, ProgressAtFin, RelayEnd, TimeBreakdown};

/// Maximum size of closing messages: a TLS close_notify, or an HTTP/2 GOAWAY followed by one.
const MAX_CLOSING_MESSAGE: u64 = 256;

/// How a pair ended.
pub(crate) enum PairEnd {
    /// It was never relayed.
    Failed(Failure),
    /// It was relayed; with what its time was spent on.
    Relayed(RelayEnd, Box<TimeBreakdown>),
}

/// The outcome and the ending for the record, by the state and the report of each socket. `is_tls`:
/// the client began with TLS.
pub(crate) fn ending(
    client: (&LegState, &Report),
    upstream: Option<(&LegState, &Report)>,
    is_tls: bool,
    finish: PairEnd,
) -> (Outcome, Ending) {
    match finish {
        PairEnd::Failed(failure) => {
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
        PairEnd::Relayed(end, _) => relayed(client, upstream, is_tls, end),
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
                // Its kernel may already have the closing message, unread at close.
                _ => missed_closing_message(OpenKind::Passive, leg) || has_arrived(leg),
            },
            How::Reset if is_tls => {
                // Each side closed while the other one's closing message was in transit, or unread in the
                // client's kernel.
                (missed_closing_message(OpenKind::Passive, client.1) || has_arrived(client.1))
                    && report(By::Upstream)
                        .is_some_and(|leg| missed_closing_message(OpenKind::Active, leg))
            }
            How::Reset => false,
            _ => had_closed(*side, end, leg),
        };
        end.fault.is_none() || report(*side).is_some_and(is_harmless)
    };
    let by = |(side, end): &(By, PeerEnd)| {
        if is_unreachable(end) { By::Network } else { *side }
    };

    let cut = ProxyCut::from_end(end);
    let peers_fault = ends.iter().find_map(|(_, end)| end.fault.as_ref());
    let fault = peers_fault.or(cut.as_ref().and_then(|cut| cut.fault.as_ref()));
    let outcome = match (&cut, &ends[..], fault) {
        (Some(cut), ..) => cut.outcome,
        (_, _, None) => Outcome::Ok,
        _ if ends.iter().any(|(_, end)| is_unreachable(end)) => Outcome::Unreachable,
        _ if ends.iter().all(is_good) => Outcome::Ok,
        (_, _, Some(fault)) => Outcome::from_error_code(&fault.code),
    };
    // If neither side ended before the proxy, it has sent its end of stream after a complete
    // answer.
    let cut_how = cut.as_ref().map_or(How::Fin, |cut| cut.how);
    let nobody = match end {
        RelayEnd::Switched => (By::Client, How::Switched),
        _ => (By::Proxy, cut_how),
    };
    let first = ends.first();
    let second = ends.get(1);
    let ending = Ending {
        phase: Phase::Relay,
        first_by: first.map_or(nobody.0, by),
        first_how: first.map_or(nobody.1, |(_, end)| end.how),
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

/// How a peer ended, by the final state of its socket.
///
/// A socket returns `EPIPE` if the peer's end of stream came before its reset. But it also does
/// when the first error of the reset is lost, as in a splice(2) that has written something before.
/// And after our own end of stream it returns `ECONNRESET`, whether or not the peer's end of stream
/// came before. In these cases the kernel's count of the end of stream decides.
fn peer_end((leg, report): (&LegState, &Report)) -> Option<PeerEnd> {
    let mut end = leg.ended.as_deref()?.clone();
    let code = end.fault.as_ref().map(|fault| &*fault.code);
    let kernel = report.closed_info.as_ref().and_then(|info| info.sys_info.linux());
    let received = kernel.and_then(|kernel| kernel.bytes_received);
    let received = received.map(|bytes| bytes.saturating_sub(report.others.rx_bytes));
    match (end.how, code) {
        (How::Fin, Some("EPIPE")) if received.is_none_or(|bytes| bytes <= report.rx_bytes) => {
            end.how = How::Reset;
        }
        (How::Reset, Some("ECONNRESET")) if received == Some(report.rx_bytes + 1) => {
            end.how = How::Fin;
        }
        _ => {}
    }
    if leg.is_complete {
        end.fault = None;
    }
    Some(end)
}

/// The ending of a pair that the proxy itself ended.
struct ProxyCut {
    outcome: Outcome,
    how: How,
    fault: Option<Fault>,
}

impl ProxyCut {
    fn from_end(end: RelayEnd) -> Option<Self> {
        let fault = |code: &'static str, text: &'static str| {
            Some(Fault { code: code.into(), text: text.into() })
        };
        let (outcome, how, fault) = match end {
            RelayEnd::ByPeers | RelayEnd::Switched => return None,
            RelayEnd::ByStop => (Outcome::Shutdown, How::Shutdown, None),
            RelayEnd::Idle => {
                let text = "no traffic for the maximum idle time (--idle-timeout)";
                (Outcome::Timeout, How::Timeout, fault("IDLE_TIMEOUT", text))
            }
            RelayEnd::Expired => {
                let text = "the connection reached its maximum lifetime (--lifetime)";
                (Outcome::Limit, How::Limit, fault("LIFETIME", text))
            }
            RelayEnd::Panicked => (Outcome::Error, How::Error, Some(CaughtPanic::fault())),
        };
        Some(Self { outcome, how, fault })
    }
}

/// Whether a peer had closed its socket with its end of stream, so that the later reset is only its
/// kernel's answer to data that still came. Data sent to a side that has ended is lost without
/// harm. TLS ends like this: a side that gets a closing message has already closed, or answers one
/// that has.
///
/// A socket that was closed, with nothing left unread, acknowledges nothing that comes after its
/// FIN and answers it with a reset (RFC 9293 section 3.6.1). So the peer aborted the connection if
/// it has acknowledged anything since its FIN, because it was still reading; if nothing was in
/// transit to it, because its reset answers nothing; and if its window is closed, because it has
/// not read what it received.
///
/// A client that closes has what it wanted. An upstream that closes while data is sent to it has
/// gone in the middle of an upload: unless the client has only sent a closing message, the last
/// data must have been the upstream's, with nothing in transit to it.
fn had_closed(by: By, end: &PeerEnd, leg: &Report) -> bool {
    let is_reset =
        end.fault.as_ref().is_some_and(|fault| matches!(&*fault.code, "ECONNRESET" | "EPIPE"));
    let kernel = leg.closed_info.as_ref().and_then(|info| info.sys_info.linux());
    let Some(kernel) = kernel.filter(|_| is_reset && end.how == How::Fin) else { return false };
    let opened = if by == By::Upstream { OpenKind::Active } else { OpenKind::Passive };
    let Some(acked) = Delivered::from_leg(leg, opened, false).acked else { return false };
    let sent = kernel.not_sent_bytes.map(|rest| leg.tx_bytes.saturating_sub(rest.into()));
    let is_answer = sent > Some(acked) && kernel.tx_window != Some(0);
    let is_closing_message = leg.tx_bytes - acked <= MAX_CLOSING_MESSAGE;
    is_answer
        && match end.progress {
            Some(ProgressAtFin { acked: Some((before, unacked)), peer_was_last }) => {
                let was_spoken_to = unacked > MAX_CLOSING_MESSAGE || !peer_was_last;
                acked == before && (by != By::Upstream || is_closing_message || !was_spoken_to)
            }
            // The end of stream was not read before the reset.
            Some(ProgressAtFin { acked: None, .. }) | None => is_closing_message,
        }
}

/// Whether a side of TLS closed while the other one's closing message was in transit. With that
/// unread, its close is a reset without an end of stream before it.
fn missed_closing_message(opened: OpenKind, leg: &Report) -> bool {
    let acked = Delivered::from_leg(leg, opened, false).acked;
    acked.is_some_and(|acked| (1..=MAX_CLOSING_MESSAGE).contains(&(leg.tx_bytes - acked)))
}

/// Whether all bytes written to the client were acknowledged.
fn has_arrived(client: &Report) -> bool {
    Delivered::from_leg(client, OpenKind::Passive, false).undelivered == Some(0)
}

/// Whether a TLS client ended its stream when the server had sent everything except its closing
/// message. Clients do not half-close TLS to wait for an answer. A server that closes with the
/// client's closing message unread, or receives it before its own end of stream was sent, resets.
fn has_left((state, report): (&LegState, &Report)) -> bool {
    let end = state.ended.as_ref().filter(|end| end.how == How::Fin);
    let acked = end.and_then(|end| end.progress?.acked);
    acked.is_some_and(|(acked, unacked)| {
        let written = acked + unacked;
        written > 0 && report.tx_bytes.saturating_sub(written) <= MAX_CLOSING_MESSAGE
    })
}

/// Whether a router reported that the peer is unreachable.
fn is_unreachable(end: &PeerEnd) -> bool {
    let fault = end.fault.as_ref();
    fault.is_some_and(|fault| Outcome::from_error_code(&fault.code) == Outcome::Unreachable)
}
