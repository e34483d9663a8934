//! Level of detail of lines.

#[cfg(feature = "proxy")]
use super::{Line, Record};

/// Level of detail of a pair's lines. Each level is a subset of the next, with the same meaning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Detail {
    /// A [`BriefRecord`](super::BriefRecord).
    Brief,
    /// A [`Record`](super::Record) with few fields of `sysInfo`: at open `ccAlgorithm`; at close
    /// `minRTT`, `txWindow`, `bytesAcked`, `bytesReceived`, `bytesSent`, `bytesRetrans`,
    /// `dataSegsOut`, `dataSegsIn`, `rxOutOfOrder`, `totalRTO`, `deliveryRate`, `busyTime`,
    /// `rxWindowLimited`, `txBufferLimited`.
    Normal,
    /// All of a [`Record`](super::Record).
    #[default]
    Full,
}

#[cfg(feature = "proxy")]
impl Line {
    /// Removes the fields that [`Detail::Normal`] does not have.
    pub(crate) fn cut_to_normal(&mut self) {
        match self {
            Self::Open(record) | Self::Close(record) => record.cut_to_normal(),
            Self::Start(_)
            | Self::Sample(_)
            | Self::Turn(_)
            | Self::Refused(_)
            | Self::Stop(_)
            | Self::Stat(_)
            | Self::Socket(_)
            | Self::SocketSample(_)
            | Self::Overflow(_) => {}
        }
    }
}

#[cfg(feature = "proxy")]
impl Record {
    fn cut_to_normal(&mut self) {
        for leg in [Some(&mut self.client), self.upstream.as_mut()].into_iter().flatten() {
            if let Some(info) = &mut leg.opened_info {
                info.sys_info.retain_fields(|key| key == "ccAlgorithm");
            }
            if let Some(info) = &mut leg.closed_info {
                info.sys_info.retain_fields(is_kept_at_close);
            }
        }
    }
}

#[cfg(feature = "proxy")]
fn is_kept_at_close(key: &str) -> bool {
    matches!(
        key,
        "minRTT"
            | "txWindow"
            | "bytesAcked"
            | "bytesReceived"
            | "bytesSent"
            | "bytesRetrans"
            | "dataSegsOut"
            | "dataSegsIn"
            | "rxOutOfOrder"
            | "totalRTO"
            | "deliveryRate"
            | "busyTime"
            | "rxWindowLimited"
            | "txBufferLimited"
    )
}
