//! The report on one socket: a leg of the record.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::context::Context;
#[cfg(feature = "proxy")]
use super::meter::is_on_this_machine;
use super::meter::{Meter, OtherPairs};
use crate::clock::CompactInstant;
use crate::fault::Fault;
use crate::nanos;
use crate::tcp_info::{State, TcpInfo, TcpOption};

/// One socket, by its owner's counters and the kernel's TCP information. `rx` is what was received
/// from the peer, `tx` what was sent to it.
///
/// Instants are Unix ns: the wall clock at open plus monotonic time since. Unknown values are
/// `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Report {
    /// Our address and port, read at open. `None` for anything but an IP socket.
    pub local_addr: Option<SocketAddr>,
    /// The peer's address and port, read at open. `None` for anything but an IP socket.
    pub remote_addr: Option<SocketAddr>,
    /// When the socket was accepted, connected or wrapped, Unix ns. A client's socket may carry several
    /// pairs in http mode; all figures here are those of one pair, and this is when it began.
    pub opened_at: i64,
    /// When it was closed, or given up for another pair, Unix ns. `None` while it is open.
    pub closed_at: Option<i64>,
    /// First read that gave bytes, Unix ns. `None` while none did.
    pub first_rx_at: Option<i64>,
    /// First write that took bytes, Unix ns. `None` while none did.
    pub first_tx_at: Option<i64>,
    /// Latest read that gave bytes, Unix ns. `None` while none did.
    pub last_rx_at: Option<i64>,
    /// Latest write that took bytes, Unix ns. `None` while none did.
    pub last_tx_at: Option<i64>,
    /// When the peer's end of stream was seen, Unix ns: when it was read, or, of a proxy's client, when it
    /// came while the upstream was dialled; bytes before it may be read later then. `None` when it was
    /// not.
    pub rx_eof_at: Option<i64>,
    /// Bytes read.
    pub rx_bytes: u64,
    /// Bytes written: taken by the kernel, not necessarily sent or acknowledged.
    pub tx_bytes: u64,
    /// Part of `rxBytes` that the proxy consumed itself.
    pub own_rx_bytes: u64,
    /// Part of `txBytes` that the proxy sent itself.
    pub own_tx_bytes: u64,
    /// First read error, in words; an end of stream is not an error. `None` while there was none.
    pub rx_err: Option<String>,
    /// Its symbol, such as `ECONNRESET`. `None` with `rxErr`.
    pub rx_err_code: Option<String>,
    /// First write error, in words. `None` while there was none.
    pub tx_err: Option<String>,
    /// Its symbol, such as `EPIPE`. `None` with `txErr`.
    pub tx_err_code: Option<String>,
    /// Why the kernel gave no TCP information. `None` when it did.
    pub info_err: Option<String>,
    /// Its symbol. `None` with `infoErr`.
    pub info_err_code: Option<String>,
    /// Attempts that failed before this connection.
    pub reconnects: u32,
    /// Time in which bytes waited because this socket was not writable, ns. `None` for blocking
    /// streams, where waiting cannot be distinguished from writing, and before a tokio stream's
    /// first write.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub write_blocked: Option<Duration>,
    /// Segments that were really lost: those retransmitted since open, without SYNs, minus those
    /// that the peer reported as duplicates. The other retransmissions were spurious. Known at
    /// close, when all is acknowledged; of a peer that reset, an upper bound. `None` while the
    /// socket is open, without selective acknowledgements, and where the system does not tell.
    /// Linux (`tcpi_total_retrans`, `tcpi_dsack_dups`).
    pub lost: Option<u64>,
    /// TCP information right after accept or connect; of a further pair on a client's socket, when it
    /// began, with the counters of all pairs so far. `None` when the kernel gave none, and where it was
    /// not asked: for a client that was refused for its address.
    pub opened_info: Option<TcpInfo>,
    /// Figures that our own end of stream would distort, from right before it. `None` if the peer's
    /// reset came first.
    pub eof_info: Option<EofInfo>,
    /// TCP information right before the socket was closed. `None` while it is open, when the kernel gave
    /// none, and where it was not asked: for a client that was refused for its address.
    pub closed_info: Option<TcpInfo>,
    /// Warnings in the Go package's form: `retransmits=41`; from the latest snapshot only.
    pub warnings: Vec<String>,
    #[serde(skip)]
    pub(super) context: Context,
    /// Other pairs on the same connection.
    #[serde(skip)]
    pub(crate) others: OtherPairs,
}

/// Figures from right before our own FIN or RST: a delayed acknowledgement of it would enter the
/// round-trip time, and the wait for it would count as busy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EofInfo {
    /// Smoothed round-trip time, ns. `None` without a sample.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub rtt: Option<Duration>,
    /// Its mean deviation, ns. `None` without a sample, and on Windows.
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub rtt_var: Option<Duration>,
    /// Smallest round-trip time, ns. Linux (`tcpi_min_rtt`).
    #[serde(rename = "minRTT", with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub min_rtt: Option<Duration>,
    /// Time in which there was data to send or in flight, ns. Linux (`tcpi_busy_time`).
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub busy_time: Option<Duration>,
    /// Part of it limited by the peer's window, ns. Linux (`tcpi_rwnd_limited`).
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub rx_window_limited: Option<Duration>,
    /// Part of it limited by our send buffer, ns. Linux (`tcpi_sndbuf_limited`).
    #[serde(with = "nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub tx_buffer_limited: Option<Duration>,
    /// Segments in flight. Linux (`tcpi_unacked`).
    pub un_acked: Option<u32>,
    /// Bytes written and never sent so far. Linux (`tcpi_notsent_bytes`).
    pub not_sent_bytes: Option<u32>,
    /// Connection state. `None` for one that is not known here.
    pub state: Option<State>,
    /// The system's structure of that moment, in hexadecimal. Absent unless requested (`--raw`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub sys_info_raw: Option<String>,
}

impl EofInfo {
    /// `None` unless the state shows that our end had not been sent and the connection was not gone.
    pub(crate) fn from_info(info: &TcpInfo) -> Option<Self> {
        if !matches!(info.state, Some(State::Established | State::CloseWait)) {
            return None;
        }
        let linux = info.sys_info.linux();
        Some(Self {
            rtt: info.rtt,
            rtt_var: info.rtt_var,
            min_rtt: linux.and_then(|l| l.min_rtt),
            busy_time: linux.and_then(|l| l.busy_time),
            rx_window_limited: linux.and_then(|l| l.rx_window_limited),
            tx_buffer_limited: linux.and_then(|l| l.tx_buffer_limited),
            un_acked: linux.and_then(|l| l.un_acked),
            not_sent_bytes: linux.and_then(|l| l.not_sent_bytes),
            state: info.state,
            sys_info_raw: None,
        })
    }
}

impl Report {
    /// The smoothed round-trip time from right before our own end of stream, whose acknowledgement
    /// may be delayed; otherwise from the latest snapshot. `None` where the system does not tell.
    pub fn undisturbed_rtt(&self) -> Option<Duration> {
        let before_our_end = self.eof_info.as_ref().and_then(|info| info.rtt);
        before_our_end.or_else(|| self.closed_info.as_ref()?.rtt)
    }

    /// Whether the peer is on this machine.
    #[cfg(feature = "proxy")]
    pub(crate) fn is_local(&self) -> bool {
        is_on_this_machine(self.remote_addr, self.local_addr)
    }

    /// The part of `tx_bytes` that the proxy only passed on. Saturates, because a report read from
    /// a file may be inconsistent.
    #[cfg(feature = "proxy")]
    pub(crate) fn payload_sent(&self) -> u64 {
        self.tx_bytes.saturating_sub(self.own_tx_bytes)
    }

    /// Every key of the JSON form with its value, as the Go package's `ToMap()` gives them.
    pub fn to_map(&self) -> serde_json::Map<String, serde_json::Value> {
        crate::to_map(self)
    }

    /// Adds the raw structures of its snapshots.
    #[cfg(feature = "proxy")]
    pub(crate) fn add_raw(&mut self, meter: &Meter) {
        if let (Some(info), Some(snapshot)) = (&mut self.opened_info, &meter.open_snapshot) {
            info.sys_info_raw = Some(snapshot.unpack().hex());
        }
        if let (Some(info), Some(snapshot)) = (&mut self.eof_info, &meter.eof_snapshot) {
            info.sys_info_raw = Some(snapshot.hex());
        }
        if let (Some(info), Some(snapshot)) = (&mut self.closed_info, &meter.close_snapshot) {
            info.sys_info_raw = Some(snapshot.hex());
        }
    }

    /// The value that was given to [`Builder::context`](super::Builder::context); no part of the JSON
    /// form. `None` if there was none, or one of another type.
    pub fn context<C: Any>(&self) -> Option<&C> {
        self.context.get()
    }
}

impl From<&Meter> for Report {
    fn from(meter: &Meter) -> Self {
        let unix = |at: Option<CompactInstant>| at.map(|at| meter.epoch.unix_nanos(at));
        let text = |fault: &Option<Box<Fault>>| fault.as_ref().map(|fault| fault.text.to_string());
        let code = |fault: &Option<Box<Fault>>| fault.as_ref().map(|fault| fault.code.to_string());
        let opened_info = meter.open_snapshot.as_ref().map(|snapshot| snapshot.unpack().decode());
        let closed_info = meter.close_snapshot.as_ref().map(|snapshot| snapshot.decode());
        let warnings = warnings(meter.reconnects, closed_info.as_ref().or(opened_info.as_ref()));
        let own_first = meter.own_first.as_deref();
        let until = meter.closed.unwrap_or_else(CompactInstant::now);
        let others = meter.others.as_deref().copied().unwrap_or_default();
        Self {
            local_addr: meter.local,
            remote_addr: meter.remote,
            opened_at: meter.epoch.unix_nanos(meter.opened),
            closed_at: unix(meter.closed),
            first_rx_at: unix(own_first.and_then(|own| own.rx).or(meter.rx.first)),
            first_tx_at: unix(own_first.and_then(|own| own.tx).or(meter.tx.first)),
            last_rx_at: unix(meter.rx.last),
            last_tx_at: unix(meter.tx.last),
            rx_eof_at: unix(meter.rx.ended),
            rx_bytes: meter.rx.bytes,
            tx_bytes: meter.tx.bytes,
            own_rx_bytes: meter.own_rx,
            // A proxy's own bytes come first on each socket: what was not written is counted too early.
            own_tx_bytes: meter.own_tx.min(meter.tx.bytes),
            rx_err: text(&meter.rx.fault),
            rx_err_code: code(&meter.rx.fault),
            tx_err: text(&meter.tx.fault),
            tx_err_code: code(&meter.tx.fault),
            info_err: text(&meter.snapshot_fault),
            info_err_code: code(&meter.snapshot_fault),
            reconnects: meter.reconnects,
            write_blocked: meter.write_blocked.as_ref().map(|blocked| blocked.total(until)),
            eof_info: meter
                .eof_snapshot
                .as_ref()
                .and_then(|snapshot| EofInfo::from_info(&snapshot.decode())),
            lost: lost(opened_info.as_ref(), closed_info.as_ref(), others),
            opened_info,
            closed_info,
            warnings,
            context: Context::default(),
            others,
        }
    }
}

/// Segments retransmitted between the two snapshots, minus duplicates (RFC 2883), without those of
/// other pairs.
fn lost(opened: Option<&TcpInfo>, closed: Option<&TcpInfo>, others: OtherPairs) -> Option<u64> {
    let (opened, closed) = (opened?.sys_info.linux()?, closed?.sys_info.linux()?);
    // Without SACK, duplicates are not reported.
    let has_sack = opened.tx_options.as_ref()?.contains(&TcpOption::Sack);
    let resent = closed.total_retrans?.saturating_sub(opened.total_retrans?);
    let twice = closed.dsack_dups?.saturating_sub(opened.dsack_dups?);
    let resent = u64::from(resent).saturating_sub(others.retransmits);
    let twice = u64::from(twice).saturating_sub(others.duplicates);
    has_sack.then(|| resent.saturating_sub(twice))
}

/// From the latest snapshot only: its counters are cumulative.
fn warnings(reconnects: u32, latest: Option<&TcpInfo>) -> Vec<String> {
    let reconnects = (reconnects > 0).then(|| format!("reconnects={reconnects}"));
    let kernel = latest.map(TcpInfo::warnings).unwrap_or_default();
    reconnects.into_iter().chain(kernel).collect()
}

#[cfg(all(test, feature = "proxy"))]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::clock::Epoch;
    use crate::tcp_info::{LinuxInfo, SysInfo};

    #[test]
    fn lost_is_what_was_sent_again_and_did_not_come_twice() {
        let snapshot = |resent, twice| {
            let mut linux = LinuxInfo::default();
            linux.tx_options = Some(vec![TcpOption::Sack]);
            (linux.total_retrans, linux.dsack_dups) = (Some(resent), twice);
            linux
        };
        let lost = |opened: LinuxInfo, closed: LinuxInfo| {
            let [opened, closed] =
                [opened, closed].map(|linux| SysInfo::Linux(Box::new(linux)).normalise(280));
            let others = OtherPairs::default();
            let lost = super::lost(Some(&opened), Some(&closed), others);
            (lost, super::lost(Some(&opened), None, others))
        };
        // Two SYNs were sent again before it was open.
        assert_eq!(lost(snapshot(2, Some(0)), snapshot(9, Some(3))), (Some(4), None));
        assert_eq!(lost(snapshot(0, Some(0)), snapshot(3, Some(3))), (Some(0), None));
        // Packets that the network doubles are reported as well.
        assert_eq!(lost(snapshot(0, Some(0)), snapshot(1, Some(3))), (Some(0), None));
        assert_eq!(lost(snapshot(0, None), snapshot(9, None)), (None, None), "an older kernel");
        let mut without = snapshot(0, Some(0));
        without.tx_options = Some(vec![TcpOption::Timestamps]);
        assert_eq!(lost(without, snapshot(9, Some(0))), (None, None), "nobody would report it");
    }

    #[test]
    fn a_report_that_makes_no_sense_has_no_payload() {
        let mut report = Report::from(&Meter::new(Epoch::now(), CompactInstant::now()));
        (report.tx_bytes, report.own_tx_bytes) = (7, 5);
        assert_eq!(report.payload_sent(), 2);
        report.own_tx_bytes = 8;
        assert_eq!(report.payload_sent(), 0);
    }

    #[test]
    fn a_sockets_first_byte_may_be_one_of_the_proxys_own_conversation() {
        let mut meter = Meter::new(Epoch::now(), CompactInstant::now());
        let (own, payload) = (meter.opened, Instant::from(meter.opened) + Duration::from_secs(1));
        meter.tx.count(3, own);
        meter.payload_begins();
        for flow in [&mut meter.rx, &mut meter.tx] {
            flow.count(5, payload.into());
        }
        assert_eq!(meter.tx.first, Some(payload.into()));
        let report = Report::from(&meter);
        assert_eq!(report.first_tx_at, Some(report.opened_at));
        assert_eq!(report.first_rx_at, Some(report.opened_at + 1_000_000_000));
    }
}
