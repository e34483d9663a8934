//! Makes lines of sockets, and hands them to the recorder.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Settings;
use super::known::{Age, KnownSocket, Sampled};
use crate::clock::{CompactInstant, Epoch};
use crate::conn::EofInfo;
use crate::hook::Hook;
use crate::judge::{Counters, SocketState, SocketWarningInput, socket_warnings};
use crate::output::Recorder;
use crate::record::{
    Line, Origin, Overflow, Process, SCHEMA, SampleReason, SampledSocket, Socket, SocketDelta,
    SocketHeader, SocketLeg, SocketSample, SocketSource, Start, Stop, changes, sampled_keys,
};
use crate::tcp_info::{PackedSnapshot, Snapshot, State, TcpInfo};

/// All that is known of a socket whose connection has ended.
#[derive(Debug)]
pub(super) struct EndedSocket {
    pub(super) seq: Option<u64>,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) origin: Option<Origin>,
    pub(super) listener: Option<SocketAddr>,
    pub(super) process: Option<Arc<Process>>,
    pub(super) age: Age,
    /// The state in the last dump.
    pub(super) dumped: Option<State>,
    pub(super) first: Option<PackedSnapshot>,
    pub(super) before_end: Option<Snapshot>,
    pub(super) last: Snapshot,
    pub(super) send_queue: u32,
    pub(super) closed_at: i64,
    pub(super) source: SocketSource,
    pub(super) is_aborted: bool,
    /// Bytes received and written that samples have told.
    pub(super) sampled: (u64, u64),
}

/// Makes the lines of a run.
#[derive(Debug)]
pub(super) struct LineMaker {
    settings: Settings,
    recorder: Recorder,
    epoch: Epoch,
    /// The number of the latest socket with a line.
    seq: u64,
    /// Lines of ended sockets.
    pub(super) ended: u64,
    /// Called with each ended socket that fits the filter.
    pub(super) on_socket: Hook<Socket>,
}

impl LineMaker {
    pub(super) fn new(settings: Settings, recorder: Recorder, epoch: Epoch) -> Self {
        Self { settings, recorder, epoch, seq: 0, ended: 0, on_socket: Hook::default() }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn start(&self) {
        if self.settings.events.start {
            self.recorder.push(&Line::Start(Start {
                schema: SCHEMA,
                time: Timestamp::now(),
                host: self.settings.host.clone(),
                labels: self.settings.labels.clone(),
                run_id: self.settings.run_id,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                listeners: Vec::new(),
                line: 0,
            }));
        }
    }

    pub(super) fn stop(&self) {
        if self.settings.events.stop {
            self.recorder.push(&Line::Stop(Stop {
                schema: SCHEMA,
                time: Timestamp::now(),
                host: self.settings.host.clone(),
                labels: self.settings.labels.clone(),
                run_id: self.settings.run_id,
                duration: self.epoch.start().elapsed(),
                pairs: self.ended,
                lines_lost: self.recorder.tally().lost,
                line: 0,
            }));
        }
    }

    pub(super) fn overflow(&self, overflows: u64, last_seen: u64) {
        self.recorder.push(&Line::Overflow(Overflow {
            schema: SCHEMA,
            time: Timestamp::now(),
            host: self.settings.host.clone(),
            labels: self.settings.labels.clone(),
            run_id: self.settings.run_id,
            overflows,
            last_seen,
            never_seen: None,
            line: 0,
        }));
    }

    /// The line of an ended socket, if the filter lets it through.
    pub(super) fn ended(&mut self, mut ended: EndedSocket) {
        let info = ended.last.decode();
        let Some(linux) = info.sys_info.linux() else { return };
        let counters = Counters { linux, send_queue: ended.send_queue };
        if ended.origin.is_none() {
            ended.origin = counters.origin().or(ended.listener.map(|_| Origin::Accepted));
        }
        let (origin, filter) = (ended.origin, &self.settings.filter);
        if !self.settings.events.socket || !filter.accepts(ended.local, ended.remote, origin) {
            return;
        }
        self.ended += 1;
        let seq = ended.seq.unwrap_or_else(|| self.next_seq());
        let state = SocketState { origin, dumped: ended.dumped, is_aborted: ended.is_aborted };
        let opened_info = ended.first.as_ref().map(|first| first.unpack().decode());
        let opened = opened_info.as_ref();
        let silent = opened.filter(|info| is_silent(info));
        let delivery = counters.delivered(state);
        let warnings = socket_warnings(&SocketWarningInput {
            opened: silent,
            established: Some(&info).filter(|_| counters.is_established()),
            latest: Some(&info),
            queued: delivery.still_queued(),
            longest_closed: Duration::ZERO,
        });
        let (rx_bytes, tx_bytes) = (counters.received(state), delivery.written);
        let eof_info = ended.before_end.as_ref();
        let duration = ended.closed_at.saturating_sub(ended.age.opened_at);
        let socket = Socket {
            header: self.header(seq, origin, ended.listener, ended.process.as_deref()),
            opened_at: ended.age.opened_at,
            seen_after: ended.age.seen_after,
            closed_at: ended.closed_at.max(ended.age.opened_at),
            duration: Duration::from_nanos(u64::try_from(duration).unwrap_or(0)),
            source: ended.source,
            delivery,
            ending: counters.ending(state),
            warnings,
            delta: SocketDelta {
                rx: rx_bytes.saturating_sub(ended.sampled.0),
                tx: tx_bytes.saturating_sub(ended.sampled.1),
            },
            socket: SocketLeg {
                local_addr: ended.local,
                remote_addr: ended.remote,
                rx_bytes,
                tx_bytes,
                lost: counters.lost(silent.and_then(|info| info.sys_info.linux())),
                eof_info: eof_info.and_then(|before| EofInfo::from_info(&before.decode())),
                opened_info,
                closed_info: Some(info),
            },
            line: 0,
        };
        self.on_socket.call(&socket);
        // Nothing holds the kernel back, so memory has a limit.
        if self.recorder.is_full() {
            return self.recorder.count_lost();
        }
        self.recorder.push(&Line::Socket(Box::new(socket)));
    }

    /// A sample of an open socket, if one is due and the filter lets it through.
    pub(super) fn sample(&mut self, known: &mut KnownSocket) {
        let filter = &self.settings.filter;
        if !filter.accepts(known.local, known.remote, known.origin) || self.recorder.is_full() {
            return;
        }
        let info = known.last.decode();
        let Some(linux) = info.sys_info.linux() else { return };
        let counters = Counters { linux, send_queue: known.send_queue };
        let state = SocketState { origin: known.origin, dumped: known.state, is_aborted: false };
        let (rx_bytes, tx_bytes) = (counters.received(state), counters.written(known.origin));
        let now = CompactInstant::now();
        let process = known.process.as_ref().and_then(|slot| slot.get());
        let before = known.sampled.as_ref();
        let reason = match before {
            Some(before) => {
                let is_same = (before.rx_bytes, before.tx_bytes) == (rx_bytes, tx_bytes);
                let has_news = process.is_some() && !before.has_process;
                let is_due = has_news
                    || now.saturating_since(before.at) >= self.settings.quiet_sample_interval;
                match (is_same && known.send_queue == 0, is_due) {
                    (true, false) => return,
                    (true, true) => SampleReason::Quiet,
                    (false, _) => SampleReason::Interval,
                }
            }
            None => SampleReason::Interval,
        };
        let told = before.map(|before| sampled_keys(&before.snapshot.unpack().decode()));
        let delta = SocketDelta {
            rx: rx_bytes.saturating_sub(before.map_or(0, |before| before.rx_bytes)),
            tx: tx_bytes.saturating_sub(before.map_or(0, |before| before.tx_bytes)),
        };
        let seq = known.seq.unwrap_or_else(|| self.next_seq());
        known.seq = Some(seq);
        let opened = known.first.as_ref().map(|first| first.unpack().decode()).filter(is_silent);
        let duration = self.epoch.unix_nanos(known.last_at).saturating_sub(known.age.opened_at);
        let sample = SocketSample {
            header: self.header(seq, known.origin, known.listener, process.map(|found| &**found)),
            duration: Duration::from_nanos(u64::try_from(duration).unwrap_or(0)),
            seen_after: known.age.seen_after,
            reason,
            socket: SampledSocket {
                local_addr: known.local,
                remote_addr: known.remote,
                rx_bytes,
                tx_bytes,
                lost: counters.lost(opened.as_ref().and_then(|info| info.sys_info.linux())),
                info: Some(changes(&told.unwrap_or_default(), &sampled_keys(&info))),
            },
            delta,
            line: 0,
        };
        known.sampled = PackedSnapshot::pack(&known.last).map(|snapshot| Sampled {
            snapshot,
            rx_bytes,
            tx_bytes,
            has_process: process.is_some(),
            at: now,
        });
        self.recorder.push(&Line::SocketSample(Box::new(sample)));
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    fn header(
        &self,
        seq: u64,
        origin: Option<Origin>,
        listener: Option<SocketAddr>,
        process: Option<&Process>,
    ) -> SocketHeader {
        let listener = listener.filter(|_| origin == Some(Origin::Accepted));
        SocketHeader {
            schema: SCHEMA,
            time: Timestamp::now(),
            host: self.settings.host.clone(),
            labels: self.settings.labels.clone(),
            run_id: self.settings.run_id,
            seq,
            id: format!("{}-{seq}", self.settings.run_id),
            origin,
            listener: listener.map(|listener| listener.to_string()),
            process: process.cloned(),
        }
    }
}

/// Whether no data had been sent yet: what was retransmitted until then were SYNs.
fn is_silent(info: &TcpInfo) -> bool {
    info.sys_info.linux().is_some_and(|linux| linux.data_segs_out == Some(0))
}
