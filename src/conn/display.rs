//! A report as one line of text.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::Report;
use crate::plural::counted;

/// One line: the addresses, how long the connection lasted, the bytes each way, the round-trip time with
/// its deviation at its beginning and at its end (from before our own end of stream, which disturbs
/// it), and the warnings. What is not known is a question mark.
///
/// ```text
/// 192.0.2.7:60032 -> 198.51.100.21:443: 273.9ms, sent 1725 bytes, received 5897 bytes, RTT 6.1ms ±3.0ms at open, 6.3ms ±1.2ms at close; retransmits=2
/// ```
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (local, remote) = (OrUnknown(self.local_addr), OrUnknown(self.remote_addr));
        write!(f, "{local} -> {remote}: ")?;
        match self.closed_at {
            Some(closed_at) => {
                let nanos = u64::try_from(closed_at.saturating_sub(self.opened_at)).unwrap_or(0);
                write!(f, "{:.1?}", Duration::from_nanos(nanos))?;
            }
            None => f.write_str("open")?,
        }
        let (sent, received) = (counted(self.tx_bytes, "byte"), counted(self.rx_bytes, "byte"));
        write!(f, ", sent {sent}, received {received}")?;
        let opened = self.opened_info.as_ref().map(|info| (info.rtt, info.rtt_var));
        let closed = self.closed_info.as_ref().map(|info| (info.rtt, info.rtt_var));
        let before_end = self.eof_info.as_ref().map(|info| (info.rtt, info.rtt_var));
        write!(f, ", RTT {} at open", RoundTrip(opened.unwrap_or_default()))?;
        if self.closed_at.is_some() {
            let latest = before_end.or(closed).unwrap_or_default();
            write!(f, ", {} at close", RoundTrip(latest))?;
        }
        if !self.warnings.is_empty() {
            write!(f, "; {}", self.warnings.join(", "))?;
        }
        Ok(())
    }
}

struct OrUnknown(Option<SocketAddr>);

impl fmt::Display for OrUnknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("?"),
        }
    }
}

/// A smoothed round-trip time and its deviation.
struct RoundTrip((Option<Duration>, Option<Duration>));

impl fmt::Display for RoundTrip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            (Some(rtt), Some(deviation)) => write!(f, "{rtt:.1?} ±{deviation:.1?}"),
            (Some(rtt), None) => write!(f, "{rtt:.1?}"),
            (None, _) => f.write_str("?"),
        }
    }
}
