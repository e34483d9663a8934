//! TCP information of a connection: a view that is the same on every system, with the system's
//! whole structure beside it.
//!
//! [`TcpInfo::of`] asks for it; [`Snapshot`] keeps only the bytes that the kernel returned, to be
//! decoded when there is time. The decoders ([`LinuxInfo::decode`] and its kin) are pure functions
//! of bytes and exist on every system.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let address = listener.local_addr()?;
//! let stream = std::net::TcpStream::connect(address)?;
//! let info = conniver::TcpInfo::of(&stream)?;
//! println!("RTT {:?}, {} retransmissions", info.rtt, info.retransmits.unwrap_or(0));
//! # Ok(())
//! # }
//! ```
//!
//! # Sources of the figures
//!
//! Where the figures of [`TcpInfo`] come from, and the system's unit; in JSON all durations are ns.
//! `–`: the system does not provide the figure, and it is `None`. Other figures may also be `None`:
//! the structure of an older kernel ends before them, or the value means "unknown". All else that a
//! structure holds is in [`SysInfo`].
//!
//! | key | Linux | macOS | FreeBSD | Windows |
//! | --- | --- | --- | --- | --- |
//! | `state` | `tcpi_state` | `tcpi_state` | `tcpi_state` | `State` |
//! | `txOptions` | `tcpi_options`, `tcpi_rcv_wscale` | `tcpi_options`, `tcpi_rcv_wscale` | `tcpi_options`, `tcpi_rcv_wscale` | `TimestampsEnabled` |
//! | `rxOptions` | `tcpi_options`, `tcpi_snd_wscale` | `tcpi_options`, `tcpi_snd_wscale` | `tcpi_options`, `tcpi_snd_wscale` | `TimestampsEnabled` |
//! | `txMSS` | `tcpi_snd_mss`, bytes | `tcpi_maxseg`, bytes | `tcpi_snd_mss`, bytes | `Mss`, bytes |
//! | `rxMSS` | `tcpi_rcv_mss`, bytes | – | `tcpi_rcv_mss`, bytes | – |
//! | `rtt` | `tcpi_rtt`, µs | `tcpi_srtt`, ms | `tcpi_rtt`, µs | `RttUs`, µs |
//! | `rttVar` | `tcpi_rttvar`, µs | `tcpi_rttvar`, ms | `tcpi_rttvar`, µs | – |
//! | `rto` | `tcpi_rto`, µs | `tcpi_rto`, ms | `tcpi_rto`, µs | – |
//! | `ato` | `tcpi_ato`, µs | – | – | – |
//! | `lastTxAt` | `tcpi_last_data_sent`, ms | – | – | – |
//! | `lastRxAt` | `tcpi_last_data_recv`, ms | – | `tcpi_last_data_recv`, µs | – |
//! | `lastTxAckAt` | – | – | – | – |
//! | `lastRxAckAt` | `tcpi_last_ack_recv`, ms | – | – | – |
//! | `rxWindow` | `tcpi_rcv_wnd`, bytes | `tcpi_rcv_wnd`, bytes | `tcpi_rcv_space`, bytes | `RcvWnd`, bytes |
//! | `txSSThreshold` | `tcpi_snd_ssthresh`, segments | `tcpi_snd_ssthresh`, bytes | `tcpi_snd_ssthresh`, bytes | – |
//! | `rxSSThreshold` | `tcpi_rcv_ssthresh`, bytes | – | – | – |
//! | `txCWindowBytes` | – | `tcpi_snd_cwnd`, bytes | `tcpi_snd_cwnd`, bytes | `Cwnd`, bytes |
//! | `txCWindowSegs` | `tcpi_snd_cwnd`, segments | – | – | – |
//! | `retransmits` | `tcpi_total_retrans`, segments | `tcpi_txretransmitpackets`, segments | `tcpi_snd_rexmitpack`, segments | – |

mod congestion;
mod error;
mod freebsd;
#[cfg(all(feature = "proxy", any(test, fuzzing)))]
pub(crate) mod fuzzing;
mod linux;
mod macos;
mod option;
mod packed;
mod query;
mod read;
mod snapshot;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod windows;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use error::Error;
pub use freebsd::FreeBsdInfo;
pub use linux::LinuxInfo;
pub use macos::MacosInfo;
pub use option::{TcpOption, UnknownOption};
pub(crate) use packed::PackedSnapshot;
#[cfg(feature = "proxy")]
pub(crate) use query::send_queue;
#[cfg(all(feature = "proxy", any(target_os = "linux", target_os = "android")))]
pub(crate) use query::{Registered, enable_remaining, receive, registered};
pub use snapshot::{Snapshot, Socket};
pub use state::State;
pub use table::Field;
pub use windows::WindowsInfo;

/// TCP information of one socket at one moment, under the same names on every system.
///
/// A figure is `None` if the system does not provide or know it; a zero was measured. Durations are
/// ns in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TcpInfo {
    /// Connection state. `None` for one that is not known here.
    pub state: Option<State>,
    /// Options in use; the window scale is the one that we announced. On Windows
    /// timestamps alone. `None` where the system does not tell.
    pub tx_options: Option<Vec<TcpOption>>,
    /// Options in use; the window scale is the one that the peer announced. On Windows
    /// timestamps alone. `None` where the system does not tell.
    pub rx_options: Option<Vec<TcpOption>>,
    /// Largest segment that we send, bytes. `None` for a listener.
    #[serde(rename = "txMSS")]
    pub tx_mss: Option<u64>,
    /// Largest segment seen from the peer, bytes. Linux and FreeBSD.
    #[serde(rename = "rxMSS")]
    pub rx_mss: Option<u64>,
    /// Smoothed round-trip time, ns. `None` without a sample.
    #[serde(with = "crate::nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub rtt: Option<Duration>,
    /// Its mean deviation, ns. Not on Windows.
    #[serde(with = "crate::nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub rtt_var: Option<Duration>,
    /// Retransmission time-out (RFC 6298), ns. Not on Windows.
    #[serde(with = "crate::nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub rto: Option<Duration>,
    /// Delayed acknowledgement time-out, ns. Linux.
    #[serde(with = "crate::nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub ato: Option<Duration>,
    /// Age of the last data sent, ns; since establishment while none was. Linux.
    #[serde(with = "crate::nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub last_tx_at: Option<Duration>,
    /// Age of the last data received, ns; since establishment while none was. Linux, FreeBSD.
    #[serde(with = "crate::nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub last_rx_at: Option<Duration>,
    /// Age of the last acknowledgement sent, ns. No system fills it today.
    #[serde(with = "crate::nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub last_tx_ack_at: Option<Duration>,
    /// Age of the last acknowledgement received, ns. Linux.
    #[serde(with = "crate::nanos::option")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub last_rx_ack_at: Option<Duration>,
    /// Window that we announce, bytes; on Linux before 6.2 the room of the receive queue.
    /// `None` for a listener.
    pub rx_window: Option<u64>,
    /// Slow start threshold for sending: segments on Linux, bytes elsewhere. `None` while infinite.
    #[serde(rename = "txSSThreshold")]
    pub tx_ss_threshold: Option<u64>,
    /// How far our window may open now, bytes. Linux.
    #[serde(rename = "rxSSThreshold")]
    pub rx_ss_threshold: Option<u64>,
    /// Congestion window, bytes. macOS, FreeBSD, Windows.
    pub tx_c_window_bytes: Option<u64>,
    /// Congestion window, segments. Linux.
    pub tx_c_window_segs: Option<u64>,
    /// Segments retransmitted since the start, on Linux SYNs included. Not on Windows, which counts
    /// bytes and events.
    pub retransmits: Option<u64>,
    /// Bytes of the structure that the kernel returned.
    pub sys_info_length: usize,
    /// The system's whole structure.
    pub sys_info: SysInfo,
    /// The structure's bytes as the kernel returned them, in hexadecimal. Absent unless requested
    /// (`--raw`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub sys_info_raw: Option<String>,
}

/// A system's own structure; in JSON its fields beside `os`, which names the system.
///
/// The variants are boxed: a structure is some 700 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "os", rename_all = "lowercase")]
#[non_exhaustive]
pub enum SysInfo {
    /// Linux and Android.
    Linux(Box<LinuxInfo>),
    /// macOS.
    Macos(Box<MacosInfo>),
    /// FreeBSD.
    FreeBsd(Box<FreeBsdInfo>),
    /// Windows.
    Windows(Box<WindowsInfo>),
}

impl TcpInfo {
    /// Asks the kernel about `socket` now.
    ///
    /// # Errors
    ///
    /// The kernel has no TCP information on the socket. Never returns an info of zeros.
    pub fn of<S: Socket>(socket: &S) -> Result<Self, Error> {
        Ok(Snapshot::of(socket)?.decode())
    }

    /// Every key of the JSON form with its value, as the Go package's `ToMap()` gives them.
    pub fn to_map(&self) -> serde_json::Map<String, serde_json::Value> {
        crate::to_map(self)
    }

    /// Warnings in the Go package's form `name=value`, each once: retransmissions, packets out of
    /// order, time limited by a window or a buffer. Empty without any.
    pub fn warnings(&self) -> Vec<String> {
        let mut all = warnings([("retransmits", self.retransmits.unwrap_or(0))]);
        all.extend(self.sys_info.warnings());
        all
    }

    /// An info with nothing but the system's structure.
    fn unknown(sys_info: SysInfo, sys_info_length: usize) -> Self {
        Self {
            state: None,
            tx_options: None,
            rx_options: None,
            tx_mss: None,
            rx_mss: None,
            rtt: None,
            rtt_var: None,
            rto: None,
            ato: None,
            last_tx_at: None,
            last_rx_at: None,
            last_tx_ack_at: None,
            last_rx_ack_at: None,
            rx_window: None,
            tx_ss_threshold: None,
            rx_ss_threshold: None,
            tx_c_window_bytes: None,
            tx_c_window_segs: None,
            retransmits: None,
            sys_info_length,
            sys_info,
            sys_info_raw: None,
        }
    }
}

impl SysInfo {
    /// Makes the normalised view, with the structure in it. `length` is the length that the kernel
    /// returned, which may be more than is known here.
    pub fn normalise(self, length: usize) -> TcpInfo {
        match self {
            Self::Linux(info) => info.normalise(length),
            Self::Macos(info) => info.normalise(length),
            Self::FreeBsd(info) => info.normalise(length),
            Self::Windows(info) => info.normalise(length),
        }
    }

    /// Every key of the JSON form with its value.
    pub fn to_map(&self) -> serde_json::Map<String, serde_json::Value> {
        crate::to_map(self)
    }

    /// Retransmitted SYNs, if called before any data could be. `None` where the system does not
    /// tell: macOS and FreeBSD only count segments with data.
    #[cfg(feature = "proxy")]
    pub(crate) fn syn_retransmits(&self) -> Option<u64> {
        match self {
            Self::Linux(info) => info.total_retrans.map(u64::from),
            Self::Windows(info) => info.syn_retransmissions.map(u64::from),
            Self::Macos(_) | Self::FreeBsd(_) => None,
        }
    }

    /// The system's own part of [`TcpInfo::warnings`].
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Linux(info) => info.warnings(),
            Self::Macos(info) => info.warnings(),
            Self::FreeBsd(info) => info.warnings(),
            Self::Windows(info) => info.warnings(),
        }
    }

    /// Removes all fields except those with these keys.
    #[cfg(feature = "proxy")]
    pub(crate) fn retain_fields(&mut self, is_kept: impl Fn(&str) -> bool) {
        match self {
            Self::Linux(info) => info.retain_fields(is_kept),
            Self::Macos(info) => info.retain_fields(is_kept),
            Self::FreeBsd(info) => info.retain_fields(is_kept),
            Self::Windows(info) => info.retain_fields(is_kept),
        }
    }

    /// Linux's structure, if it is one.
    pub fn linux(&self) -> Option<&LinuxInfo> {
        match self {
            Self::Linux(info) => Some(info),
            _ => None,
        }
    }
}

/// Those that are not zero, as `name=value`, the Go package's form.
fn warnings<const N: usize>(counts: [(&str, u64); N]) -> Vec<String> {
    let nonzero = counts.into_iter().filter(|(_, value)| *value > 0);
    nonzero.map(|(name, value)| format!("{name}={value}")).collect()
}
