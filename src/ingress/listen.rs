//! `[BIND:]PORT`: where to listen, as ssh writes it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// An address to listen on, 127.0.0.1 unless another is given; port 0 asks for any free port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddr(pub SocketAddr);

/// Why a text is not a valid address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseListenError {
    /// There are too many parts.
    Parts,
    /// An IPv6 address has no brackets; the corrected text.
    Brackets(String),
    /// The text is a URL or contains one.
    Url,
    /// The port is invalid.
    Port(String),
    /// The address is invalid.
    Bind(String),
}

impl ParseListenError {
    /// What is wrong, without the form that is expected.
    pub(super) fn problem(&self) -> String {
        match self {
            Self::Parts => "too many parts, or an IPv6 address without brackets".to_owned(),
            Self::Brackets(meant) => {
                format!("an IPv6 address must be in brackets, as in '{meant}'")
            }
            Self::Url => "an address to listen on is not a URL".to_owned(),
            Self::Port(text) if text.contains(',') => {
                format!("'{text}' is not a single port; repeat the option for each port")
            }
            Self::Port(text) => format!("'{text}' is not a port to listen on (0 to 65535)"),
            Self::Bind(text) => format!(
                "'{text}' is not an address to listen on; use an IPv4 address, an IPv6 address in \
                 brackets, localhost, or * for all addresses"
            ),
        }
    }
}

impl fmt::Display for ParseListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; expected [BIND:]PORT, such as 1080", self.problem())
    }
}

impl std::error::Error for ParseListenError {}

impl FromStr for ListenAddr {
    type Err = ParseListenError;

    fn from_str(text: &str) -> Result<Self, ParseListenError> {
        match split_outside_brackets(text)[..] {
            _ if text.contains("://") => Err(ParseListenError::Url),
            [port] => listen_on(None, port),
            [bind, port] => listen_on(Some(bind), port),
            _ => Err(match with_brackets::<Self>(text) {
                Some(meant) => ParseListenError::Brackets(meant),
                None => ParseListenError::Parts,
            }),
        }
        .map(Self)
    }
}

/// The address of these two parts.
pub(super) fn listen_on(bind: Option<&str>, port: &str) -> Result<SocketAddr, ParseListenError> {
    let port = port.parse().map_err(|_| ParseListenError::Port(port.to_owned()))?;
    let ip = bind.map_or(Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)), parse_bind)?;
    Ok(SocketAddr::new(ip, port))
}

fn parse_bind(text: &str) -> Result<IpAddr, ParseListenError> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match (text, bracketed) {
        // Every address of both families: the socket takes IPv4 too.
        ("*" | "", _) => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        ("localhost", _) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        (_, Some(inner)) => inner.parse().ok().map(IpAddr::V6),
        (_, None) => text.parse().ok().map(IpAddr::V4),
    }
    .ok_or_else(|| ParseListenError::Bind(text.to_owned()))
}

/// `text` as it is understood once an IPv6 address in it has brackets; of several, the longest.
pub(super) fn with_brackets<T: FromStr>(text: &str) -> Option<String> {
    // Longer texts are something else, and an address is cheaply looked for in these.
    let text = Some(text).filter(|text| text.len() < 200 && !text.contains('['))?;
    let colons = || text.match_indices(':').map(|(at, _)| at);
    let starts = [0].into_iter().chain(colons().map(|at| at + 1));
    starts
        .flat_map(|start| colons().chain([text.len()]).rev().map(move |end| (start, end)))
        .filter_map(|(start, end)| {
            let address = text.get(start..end).filter(|part| part.parse::<Ipv6Addr>().is_ok())?;
            let (before, after) = (text.get(..start)?, text.get(end..)?);
            Some(format!("{before}[{address}]{after}"))
        })
        .find(|meant| meant.parse::<T>().is_ok())
}

/// The parts between colons that do not stand in brackets.
pub(super) fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut depth = 0u32;
    text.split(|c| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ':' && depth == 0
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_ssh_takes_are_taken() {
        for (text, listen) in [
            ("1080", "127.0.0.1:1080"),
            ("localhost:0", "127.0.0.1:0"),
            ("192.0.2.1:1080", "192.0.2.1:1080"),
            ("[::1]:1080", "[::1]:1080"),
            ("*:1080", "[::]:1080"),
        ] {
            assert_eq!(text.parse::<ListenAddr>().unwrap().0.to_string(), listen);
        }
        for text in ["", "x", "70000", "host:1080", "::1:1080", "1:2:3"] {
            let error = text.parse::<ListenAddr>().expect_err(text).to_string();
            assert!(error.contains("expected [BIND:]PORT"), "{error}");
        }
    }
}
