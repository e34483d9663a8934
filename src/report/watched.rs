//! Sockets of `conniver watch`, as far as reports need them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::connection::{Connection, Program, Warning};
use super::socket::Socket;
use crate::nanos;
use crate::record::{How, Origin, Outcome};

/// A `socket` line. Fields have the names and meanings of [`record::Socket`](crate::record::Socket).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WatchedSocket {
    time: String,
    host: String,
    labels: BTreeMap<String, String>,
    seq: u64,
    id: String,
    origin: Option<Origin>,
    listener: Option<String>,
    process: Option<Program>,
    opened_at: i64,
    #[serde(with = "nanos")]
    duration: Duration,
    socket: Socket,
    ending: Ended,
    warnings: Vec<Warning>,
}

#[derive(Debug, Deserialize)]
struct Ended {
    how: Option<How>,
}

impl From<WatchedSocket> for Connection {
    /// What one socket shows of a connection: its figures are those of `upstream`. The target is the server: the
    /// peer of a socket that connected, the listener of one that was accepted, and unknown where that is.
    fn from(watched: WatchedSocket) -> Self {
        let mut socket = watched.socket;
        if socket.eof_info.is_none()
            && let Some(info) = &mut socket.closed_info
        {
            // Our end of stream may have distorted it: its acknowledgement may be delayed.
            info.rtt = None;
        }
        let [local, remote] = [socket.local_addr, socket.remote_addr];
        let (target, client) = match watched.origin {
            Some(Origin::Connected) => (remote.map(|addr| addr.to_string()), local),
            Some(Origin::Accepted) => {
                let listener = watched.listener.clone();
                (listener.or_else(|| local.map(|addr| addr.to_string())), remote)
            }
            None => (None, None),
        };
        Self {
            time: watched.time,
            host: watched.host,
            labels: watched.labels,
            seq: watched.seq,
            id: watched.id,
            listener: watched.listener.unwrap_or_default(),
            client_host: client.map(|addr| addr.ip().to_string()),
            client_port: client.map(|addr| addr.port()),
            target,
            outcome: match watched.ending.how {
                Some(How::Fin) => Some(Outcome::Ok),
                Some(How::Reset) => Some(Outcome::Reset),
                Some(How::Refused) => Some(Outcome::Refused),
                _ => None,
            },
            accepted_at: Some(watched.opened_at),
            duration: watched.duration,
            upstream: Some(socket),
            process: watched.process,
            warnings: watched.warnings,
            ..Self::default()
        }
    }
}
