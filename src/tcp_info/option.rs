//! TCP options of a connection, written the way the Go package writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// One TCP option that is in use on a connection; in text its kind, and for the window scale a
/// colon and two hexadecimal digits: `WindowScale:07`.
///
/// Kernels report which options were negotiated, not who sent them. So `txOptions` and `rxOptions`
/// have the same ones, and only the window scale differs: ours in the first, the peer's in the
/// second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub enum TcpOption {
    /// Timestamps (RFC 7323).
    Timestamps,
    /// Selective acknowledgements permitted (RFC 2018).
    Sack,
    /// Window scaling (RFC 7323) and the shift, in bits, that this side announced.
    WindowScale(u8),
    /// Explicit congestion notification was negotiated (RFC 3168).
    Ecn,
    /// At least one packet came marked as ECN-capable.
    EcnSeen,
    /// Data in the SYN was acknowledged (RFC 7413).
    SynData,
    /// Timestamps count microseconds.
    UsecTs,
    /// The connection was accepted by TCP Fast Open.
    TfoChild,
    /// The network card runs the connection (FreeBSD).
    Toe,
    /// TCP Fast Open is in use (FreeBSD).
    FastOpen,
    /// Accurate ECN was negotiated (FreeBSD).
    AccEcn,
}

impl TcpOption {
    /// Linux `TCPI_OPT_*`.
    pub(super) fn from_linux(flags: u8, scale: u8) -> Vec<Self> {
        let mut options = Self::negotiated(flags.into(), scale);
        let high =
            [(16, Self::EcnSeen), (32, Self::SynData), (64, Self::UsecTs), (128, Self::TfoChild)];
        options.extend(high.into_iter().filter(|(bit, _)| flags & bit != 0).map(|(_, o)| o));
        options
    }

    /// FreeBSD `TCPI_OPT_*`.
    pub(super) fn from_freebsd(flags: u8, scale: u8) -> Vec<Self> {
        let mut options = Self::negotiated(flags.into(), scale);
        let high = [(16, Self::Toe), (32, Self::FastOpen), (64, Self::AccEcn)];
        options.extend(high.into_iter().filter(|(bit, _)| flags & bit != 0).map(|(_, o)| o));
        options
    }

    /// macOS `TCPCI_OPT_*`.
    pub(super) fn from_macos(flags: u32, scale: u8) -> Vec<Self> {
        Self::negotiated(flags, scale)
    }

    /// The four flags that all systems have, with the same bits.
    fn negotiated(flags: u32, scale: u8) -> Vec<Self> {
        let low =
            [(1, Self::Timestamps), (2, Self::Sack), (4, Self::WindowScale(scale)), (8, Self::Ecn)];
        low.into_iter().filter(|(bit, _)| flags & bit != 0).map(|(_, o)| o).collect()
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Timestamps => "Timestamps",
            Self::Sack => "SACK",
            Self::WindowScale(_) => "WindowScale",
            Self::Ecn => "ECN",
            Self::EcnSeen => "ECNSeen",
            Self::SynData => "SYNData",
            Self::UsecTs => "UsecTS",
            Self::TfoChild => "TFOChild",
            Self::Toe => "TOE",
            Self::FastOpen => "TFO",
            Self::AccEcn => "AccECN",
        }
    }
}

impl fmt::Display for TcpOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WindowScale(shift) => write!(f, "WindowScale:{shift:02x}"),
            other => f.write_str(other.kind()),
        }
    }
}

/// A text that is not a TCP option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownOption(String);

impl fmt::Display for UnknownOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is not a TCP option; expected one like 'SACK' or 'WindowScale:07'", self.0)
    }
}

impl std::error::Error for UnknownOption {}

impl FromStr for TcpOption {
    type Err = UnknownOption;

    fn from_str(text: &str) -> Result<Self, UnknownOption> {
        const PLAIN: [TcpOption; 10] = [
            TcpOption::Timestamps,
            TcpOption::Sack,
            TcpOption::Ecn,
            TcpOption::EcnSeen,
            TcpOption::SynData,
            TcpOption::UsecTs,
            TcpOption::TfoChild,
            TcpOption::Toe,
            TcpOption::FastOpen,
            TcpOption::AccEcn,
        ];
        let unknown = || UnknownOption(text.to_owned());
        match text.strip_prefix("WindowScale:") {
            Some(hex) => u8::from_str_radix(hex, 16).map(Self::WindowScale).map_err(|_| unknown()),
            None => PLAIN.into_iter().find(|o| o.kind() == text).ok_or_else(unknown),
        }
    }
}

impl TryFrom<String> for TcpOption {
    type Error = UnknownOption;

    fn try_from(text: String) -> Result<Self, UnknownOption> {
        text.parse()
    }
}

/// The window scales that RFC 7323 allows, as text. A record has four, and formatting each takes
/// as long as ten plain figures.
const WINDOW_SCALES: [&str; 15] = [
    "WindowScale:00",
    "WindowScale:01",
    "WindowScale:02",
    "WindowScale:03",
    "WindowScale:04",
    "WindowScale:05",
    "WindowScale:06",
    "WindowScale:07",
    "WindowScale:08",
    "WindowScale:09",
    "WindowScale:0a",
    "WindowScale:0b",
    "WindowScale:0c",
    "WindowScale:0d",
    "WindowScale:0e",
];

impl Serialize for TcpOption {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::WindowScale(shift) => match WINDOW_SCALES.get(usize::from(*shift)) {
                Some(text) => serializer.serialize_str(text),
                None => serializer.collect_str(self),
            },
            other => serializer.serialize_str(other.kind()),
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for TcpOption {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TcpOption".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A TCP option in use, such as \"SACK\" or \"WindowScale:07\"."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_reads_back_from_its_text() {
        let mut all = TcpOption::from_linux(0xff, 7);
        all.extend(TcpOption::from_freebsd(0xff, 14));
        for option in all {
            assert_eq!(option.to_string().parse(), Ok(option));
        }
        assert_eq!(TcpOption::WindowScale(10).to_string(), "WindowScale:0a");
        for shift in 0..=u8::MAX {
            let option = TcpOption::WindowScale(shift);
            assert_eq!(serde_json::to_value(option).unwrap(), option.to_string());
        }
        assert!("WindowScale:".parse::<TcpOption>().is_err());
        assert!("Sack".parse::<TcpOption>().is_err());
    }
}
