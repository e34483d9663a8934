//! What deserves a look in a pair.

use std::time::Duration;

use crate::ingress::Exchange;
use crate::nanos;
use crate::record::{Delivered, Delivery, Leg, Phases, Report, Warning, WarningCode};

/// Waits in the accept queue below this are the kernel's clock grain, not a wait (CONFIG_HZ=100
/// counts in 10 ms).
const ACCEPT_QUEUE_GRAIN: Duration = Duration::from_millis(20);

/// The warnings of a pair so far, each once.
pub(super) fn warnings(
    client: &Report,
    upstream: Option<&Report>,
    phases: &Phases,
    delivery: &Delivery,
    exchange: Option<&Exchange>,
) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut note = |code, leg, value: u64, unit: &str, text: String| {
        if value > 0 {
            found.push(Warning { code, leg, value, unit: unit.to_owned(), text });
        }
    };
    if let Some(wait) = phases.accept_queue.filter(|&wait| wait >= ACCEPT_QUEUE_GRAIN) {
        let text = format!("the client waited {} ms to be accepted", wait.as_millis());
        note(WarningCode::AcceptQueue, Some(Leg::Client), nanos::of(wait), "ns", text);
    }
    if let Some(exchange) = exchange {
        let bytes = exchange.discarded();
        let text = format!("{bytes} bytes that came after the request were discarded");
        note(WarningCode::BytesAfterRequest, Some(Leg::Client), bytes, "bytes", text);
        let strange = u64::from(exchange.is_strange());
        let text = "the response is no HTTP/1 that can be read; it was passed on as it came";
        note(
            WarningCode::ResponseNotHttp,
            Some(Leg::Upstream),
            strange,
            "responses",
            text.to_owned(),
        );
    }
    found.extend(of_leg(Leg::Client, client, delivery.to_client.as_ref()));
    if let Some(upstream) = upstream {
        found.extend(of_leg(Leg::Upstream, upstream, delivery.to_upstream.as_ref()));
    }
    found
}

/// The warnings of one socket by its latest look, each once. On the leg to the upstream, which we
/// dialled, SYNs that were sent again are told apart.
pub(crate) fn of_leg(leg: Leg, report: &Report, delivered: Option<&Delivered>) -> Vec<Warning> {
    let opened = report.opened_info.as_ref();
    let closed = report.closed_info.as_ref().or(opened);
    let syns = match leg {
        Leg::Upstream => opened.and_then(|info| info.retransmits).unwrap_or(0),
        Leg::Client => 0,
    };
    let later = closed.and_then(|info| info.retransmits).unwrap_or(0).saturating_sub(syns);
    let linux = closed.and_then(|info| info.sys_info.linux());
    let timeouts = linux.and_then(|l| l.total_rto).unwrap_or(0).into();
    let out_of_order = linux.and_then(|l| l.rx_out_of_order).unwrap_or(0).into();
    let queued = delivered.and_then(Delivered::still_queued).unwrap_or(0);
    let mut found = Vec::new();
    let mut note = |code, value: u64, unit: &str, text: String| {
        if value > 0 {
            found.push(Warning { code, leg: Some(leg), value, unit: unit.to_owned(), text });
        }
    };
    note(WarningCode::SynRetransmits, syns, "segments", format!("{syns} SYNs sent again"));
    note(WarningCode::Retransmits, later, "segments", format!("{later} segments sent again"));
    let text = format!("the retransmission timer ran out {timeouts} times");
    note(WarningCode::RetransmissionTimeouts, timeouts, "timeouts", text);
    let text = format!("{out_of_order} packets came out of order");
    note(WarningCode::OutOfOrder, out_of_order, "packets", text);
    let text = format!("{queued} bytes were not acknowledged when the socket was closed");
    note(WarningCode::QueueNotEmptied, queued, "bytes", text);
    found
}
