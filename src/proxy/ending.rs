//! How a pair ended, from what was seen of its two sockets.

use crate::caught::Panicked;
use crate::dial::Failure;
use crate::fault::Fault;
use crate::record::{By, Ending, How, Outcome, Phase, Report};
use crate::relay::{LegState, PeerEnd, RelayEnd};

/// How a pair came to its end.
pub(super) enum Finish {
    /// It never got to relaying.
    Failed(Failure),
    /// It was relayed.
    Relayed(RelayEnd),
}

/// What the record says of it. `client_leg` is what the record says of the client's socket.
pub(super) fn ending(
    client: &LegState,
    client_leg: &Report,
    upstream: Option<&LegState>,
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
        Finish::Relayed(end) => relayed(client, client_leg, upstream, end),
    }
}

fn relayed(
    client: &LegState,
    client_leg: &Report,
    upstream: Option<&LegState>,
    end: RelayEnd,
) -> (Outcome, Ending) {
    let client = client.ended.as_deref().map(|end| (By::Client, end));
    let upstream = upstream.and_then(|leg| leg.ended.as_deref()).map(|end| (By::Upstream, end));
    let mut ends: Vec<_> = client.into_iter().chain(upstream).collect();
    ends.sort_by_key(|(_, end)| end.at);
    let by = |(side, end): &(By, &PeerEnd)| {
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
        (_, _, Some(fault)) => match &*fault.code {
            "ECONNRESET" | "EPIPE" | "ECONNABORTED" => Outcome::Reset,
            "ETIMEDOUT" => Outcome::Timeout,
            "MALFORMED_REQUEST" => Outcome::Protocol,
            _ => Outcome::Error,
        },
    };
    let cut_how = cut.as_ref().map_or(How::Shutdown, |cut| cut.how);
    let first = ends.first();
    let second = ends.get(1);
    let ending = Ending {
        phase: Phase::Relay,
        first_by: first.map_or(By::Proxy, by),
        first_how: first.map_or(cut_how, |(_, end)| end.how),
        second_by: second.map(by),
        second_how: second.map(|(_, end)| end.how),
        gap: first.zip(second).map(|((_, first), (_, second))| second.at - first.at),
        error: fault.map(|fault| fault.text.to_string()),
        error_code: fault.map(|fault| fault.code.to_string()),
    };
    (outcome, ending)
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
    end.fault.as_ref().is_some_and(|fault| {
        matches!(&*fault.code, "EHOSTUNREACH" | "ENETUNREACH" | "EHOSTDOWN" | "ENETDOWN")
    })
}
