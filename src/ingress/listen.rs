//! `[BIND:]PORT`: where to listen, as ssh writes it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// An address to listen on, 127.0.0.1 unless another is given; port 0 asks for any free port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddr(pub SocketAddr);

/// Why a text is no address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseListenError {
    /// There are too many parts.
    Parts,
    /// The port is none.
    Port(String),
    /// The address is none.
    Bind(String),
}

impl ParseListenError {
    /// What is wrong, without the form that is expected.
    pub(super) fn problem(&self) -> String {
        match self {
            Self::Parts => "it has too many parts, or an IPv6 address without brackets".to_owned(),
            Self::Port(text) => format!("'{text}' is not a port to listen on (0 to 65535)"),
            Self::Bind(text) => format!(
                "'{text}' is not an address to listen on; give an IPv4 address, an IPv6 address in \
                 brackets, localhost, or * for every address"
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
            [port] => listen_on(None, port),
            [bind, port] => listen_on(Some(bind), port),
            _ => Err(ParseListenError::Parts),
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
