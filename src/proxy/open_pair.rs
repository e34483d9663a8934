//! A pair in http mode whose exchange is over.

use std::io;
use std::mem::MaybeUninit;
use std::time::Instant;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::connection_log::ConnectionLog;
use super::relaying::record_relayed;
use super::sampler::sample_waiting;
use crate::clock::{self, CompactInstant};
use crate::conn::OtherPairs;
use crate::relay::{Leg, LegState, RelayEnd, TurnTracker};
use crate::target::Target;
use crate::tcp_info::{LinuxInfo, Snapshot};

/// Size of a read of what an upstream sends unasked.
const READ: usize = 4 * 1024;

/// A pair whose exchange is over. Its client's socket is used by other pairs as well.
pub(super) struct OpenPair {
    pub(super) conn_log: Box<ConnectionLog>,
    /// The state of the client's socket for this pair.
    pub(super) client: LegState,
    pub(super) upstream: Box<Leg>,
    pub(super) turns: TurnTracker,
    /// The upstream is a parent proxy that takes the client's own requests.
    pub(super) is_parent: bool,
}

impl OpenPair {
    /// Whether this target is the pair's.
    pub(super) fn is_for(&self, target: Option<&Target>) -> bool {
        let own = self.conn_log.request_info.target.as_ref();
        own.zip(target).is_some_and(|(own, target)| is_same(own, target))
    }

    /// Takes the last snapshot of the client's socket before another pair uses it.
    pub(super) fn release_client(&mut self, client: &TcpStream) {
        self.client.meter.snapshot_close(client);
    }

    /// Takes the client's socket back. All pairs have read and written `bytes` on it.
    pub(super) fn regain_client(&mut self, client: &TcpStream, [read, written]: [u64; 2]) {
        let meter = &mut self.client.meter;
        let released = meter.close_snapshot.take().and_then(|snapshot| snapshot.linux());
        meter.eof_snapshot = None;
        let now = Snapshot::structure(client).ok().and_then(|snapshot| snapshot.linux());
        let others = meter.others.get_or_insert_default();
        if let Some(now) = &now {
            self.turns.begin_client_at(now);
        }
        if let (Some(released), Some(now)) = (released, now) {
            let more = |of: fn(&LinuxInfo) -> Option<u32>| {
                u64::from(of(&now).unwrap_or(0).saturating_sub(of(&released).unwrap_or(0)))
            };
            others.retransmits += more(|info| info.total_retrans);
            others.duplicates += more(|info| info.dsack_dups);
        }
        **others = OtherPairs {
            rx_bytes: read.saturating_sub(meter.rx.bytes),
            tx_bytes: written.saturating_sub(meter.tx.bytes),
            ..**others
        };
    }

    /// Whether the upstream's connection is open, and nothing has come that nobody asked for.
    pub(super) fn is_upstream_quiet(&mut self) -> bool {
        let read = read_unasked(&self.upstream.stream);
        self.note_unasked(read)
    }

    /// Notes what was read from the upstream. `false` if its connection can carry no other exchange.
    fn note_unasked(&mut self, read: io::Result<usize>) -> bool {
        let state = &mut self.upstream.state;
        match read {
            Ok(0) => state.note_fin(),
            Ok(bytes) => {
                state.meter.rx.count(bytes, CompactInstant::now());
                state.meter.own_rx += bytes as u64;
                if let Some(exchange) = &self.conn_log.request_info.exchange {
                    exchange.count_discarded_of_upstream(bytes as u64);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(error) => state.note_read_error(&error),
        }
        false
    }

    /// Waits until the upstream's connection can carry no other exchange; meanwhile, takes samples.
    pub(super) async fn upstream_leaves(&mut self) {
        loop {
            let sample_due = self.sample_due();
            let stream = &self.upstream.stream;
            let ready = tokio::select! {
                biased;
                ready = stream.readable() => ready,
                () = clock::sleep_until(sample_due) => {
                    self.sample();
                    continue;
                }
            };
            let read = match ready {
                Ok(()) => stream.try_io(Interest::READABLE, || read_unasked(stream)),
                Err(error) => Err(error),
            };
            if !self.note_unasked(read) {
                return;
            }
        }
    }

    /// When the next sample is due. `None` if no samples are written.
    fn sample_due(&self) -> Option<Instant> {
        let meters = [&self.client.meter, &self.upstream.state.meter];
        let state = self.conn_log.sampler.as_ref()?;
        Some(state.next_due(self.conn_log.has_new_data(meters)))
    }

    /// Writes the samples that are due, without the client's socket.
    fn sample(&mut self) {
        let meters = [&self.client.meter, &self.upstream.state.meter];
        sample_waiting(&mut self.conn_log, meters, &self.upstream.stream, &self.turns);
    }

    /// Ends the pair, and writes its record. The client's socket has been released.
    pub(super) fn end(self, end: RelayEnd) {
        let Self { mut conn_log, mut client, upstream, turns, .. } = self;
        client.meter.closed = Some(CompactInstant::now());
        conn_log.client_stays = true;
        let upstream = upstream.close(!matches!(end, RelayEnd::ByPeers | RelayEnd::Switched));
        record_relayed(&mut conn_log, end, &client, &upstream, turns);
    }
}

/// Whether two targets are reached by the same connections.
pub(super) fn is_same(one: &Target, other: &Target) -> bool {
    (one.host(), one.port()) == (other.host(), other.port())
}

/// Reads once from a socket, whether or not the runtime has seen it readable.
fn read_unasked(stream: &TcpStream) -> io::Result<usize> {
    SockRef::from(stream).recv(&mut [MaybeUninit::uninit(); READ])
}
