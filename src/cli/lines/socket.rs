//! What the line of a watched socket says, whose connection has ended.

use conniver::figures::{short_bytes, short_time};
use conniver::record::{How, Origin, Socket};

use super::Look;
use super::columns::{Line, Piece, Who};
use super::connection::{BAD, PLAIN, bytes, lost_cell};
use super::symbols::Arrow;

/// A socket whose connection has ended.
pub(super) fn ended(look: &Look, socket: &Socket) -> Line {
    let leg = &socket.socket;
    let rtt = leg.eof_info.as_ref().and_then(|info| info.rtt);
    Line {
        time: look.time(socket.header.time),
        who: who(look, socket),
        // Of a socket that is older than the watch, nobody knows how long it was open.
        duration: socket.seen_after.map_or_else(|| "-".to_owned(), |_| short_time(socket.duration)),
        bytes: bytes(leg.tx_bytes, leg.rx_bytes),
        connect: String::new(),
        latency: rtt.map_or_else(String::new, |rtt| format!("RTT {}", short_time(rtt))),
        lost: lost_cell(leg.lost),
        ends: ends(socket),
    }
}

/// The program, or else its address, and the peer. An accepted connection has the listener's port.
fn who(look: &Look, socket: &Socket) -> Who {
    let (local, origin) = (socket.socket.local_addr, socket.header.origin);
    let program = socket.header.process.as_ref();
    let pid = program.and_then(|process| process.pid);
    let (client, detail) = match (program.and_then(|process| process.name.as_deref()), origin) {
        (Some(name), Some(Origin::Accepted)) => (name.to_owned(), format!(" :{}", local.port())),
        (Some(name), _) => {
            (name.to_owned(), pid.map_or_else(String::new, |pid| format!("[{pid}]")))
        }
        (None, Some(Origin::Accepted)) => (format!(":{}", local.port()), String::new()),
        (None, _) => (local.ip().to_string(), format!(":{}", local.port())),
    };
    Who {
        client: look.symbols.text(&client),
        detail,
        number: String::new(),
        target: Some(socket.socket.remote_addr.to_string()),
        arrow: match origin {
            Some(Origin::Connected) => Arrow::ToTarget,
            Some(Origin::Accepted) => Arrow::FromTarget,
            _ => Arrow::Unknown,
        },
    }
}

/// How it ended, as far as that is known, from the longest way to say it to the shortest.
fn ends(socket: &Socket) -> Vec<Vec<Piece>> {
    let undelivered = socket.delivery.undelivered.filter(|&bytes| bytes > 0);
    let (style, how) = match socket.ending.how {
        Some(How::Fin) => (PLAIN, "fin"),
        Some(How::Reset) => (BAD, "reset"),
        Some(How::Refused) => (BAD, "refused"),
        _ => (PLAIN, "ended"),
    };
    let whole = undelivered.map(|bytes| format!("{how}, {} undelivered", short_bytes(bytes)));
    whole.into_iter().chain([how.to_owned()]).map(|end| vec![(style, end)]).collect()
}
