//! How a pair ended, from what was seen of its two sockets.

use crate::caught::Panicked;
use crate::dial::Failure;
use crate::fault::Fault;
use crate::record::{By, Ending, How, Outcome, Phase, Report};
use crate::relay::{LegState, PeerEnd, RelayEnd, Waited};

/// How a pair came to its end.
pub(crate) enum Finish {
    /// It never got to relaying.
    Failed(Failure),
    /// It was relayed, with these waits of its directions, to upstream and to client.
    Relayed(RelayEnd, [Waited; 2]),
}

/// What the record says of it, from what was seen of each socket and what the record says of it.
pub(crate) fn ending(
    client: (&LegState, &Report),
    upstream: Option<(&LegState, &Report)>,
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
        Finish::Relayed(end, _) => relayed(client, upstream, end),
    }
}

fn relayed(
    client: (&LegState, &Report),
    upstream: Option<(&LegState, &Report)>,
    end: RelayEnd,
) -> (Outcome, Ending) {
    let (_, client_leg) = client;
    let sides = [(By::Client, Some(client)), (By::Upstream, upstream)];
    let ends = sides.into_iter().filter_map(|(by, leg)| Some((by, peer_end(leg?)?)));
    let mut ends: Vec<(By, PeerEnd)> = ends.collect();
    ends.sort_by_key(|(_, end)| end.at);
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
        (_, [(By::Client, first), rest @ ..], _)
            if had_closed(first, client_leg) && rest.iter().all(|(_, end)| end.fault.is_none()) =>
        {
            Outcome::Ok
        }
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
/// written something before. Then the kernel's count of the end of stream decides.
fn peer_end((leg, report): (&LegState, &Report)) -> Option<PeerEnd> {
    let mut end = leg.ended.as_deref()?.clone();
    let is_pipe = end.fault.as_ref().is_some_and(|fault| fault.code == "EPIPE");
    let kernel = report.closed_info.as_ref().and_then(|info| info.sys_info.linux());
    let received = kernel.and_then(|kernel| kernel.bytes_received);
    if end.how == How::Fin && is_pipe && received.is_none_or(|bytes| bytes <= report.rx_bytes) {
        end.how = How::Reset;
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
                let text = "no byte moved for as long as a connection may be idle";
                (Outcome::Timeout, How::Timeout, fault("IDLE_TIMEOUT", text))
            }
            RelayEnd::Expired => {
                let text = "the connection lasted as long as one may";
                (Outcome::Limit, How::Limit, fault("LIFETIME", text))
            }
            RelayEnd::Panicked => (Outcome::Error, How::Error, Some(Panicked::fault())),
        };
        Some(Self { outcome, how, fault })
    }
}

/// Whether the client's end of stream was its last act, and the reset that followed is no more than
/// its kernel's answer to what still came. Clients of TLS end so: they do not wait for the server's
/// last words.
///
/// A socket that was closed, with nothing left unread, acknowledges nothing that comes after its
/// FIN and answers it with a reset (RFC 9293 section 3.6.1). So a client broke the connection off
/// when it has acknowledged anything since its FIN, because then it was still reading; when nothing
/// was under way to it, because then its reset answers nothing; and when its window is closed,
/// because then it has not read what it got.
fn had_closed(client: &PeerEnd, leg: &Report) -> bool {
    let is_reset =
        client.fault.as_ref().is_some_and(|fault| matches!(&*fault.code, "ECONNRESET" | "EPIPE"));
    let kernel = leg.closed_info.as_ref().and_then(|info| info.sys_info.linux());
    let Some(kernel) = kernel.filter(|_| is_reset) else { return false };
    // On a socket that was accepted, it counts no SYN of ours.
    let acked = kernel.bytes_acked;
    let sent = kernel.not_sent_bytes.map(|rest| leg.tx_bytes.saturating_sub(rest.into()));
    let read_all = kernel.tx_window != Some(0);
    acked.is_some() && acked == client.acked && sent > acked && read_all
}

/// A router's word that the peer cannot be reached.
fn is_unreachable(end: &PeerEnd) -> bool {
    let fault = end.fault.as_ref();
    fault.is_some_and(|fault| Outcome::of_error(&fault.code) == Outcome::Unreachable)
}
