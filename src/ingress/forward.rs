//! `-L [BIND:]PORT:HOST:HOSTPORT`: one port here, one target there, as ssh writes it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::listen::{ParseListenError, listen_on, split_outside_brackets, with_brackets};
use super::{ParseTargetError, Target};

/// A listening address and the target that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Where to listen; port 0 asks for any free port.
    pub listen: SocketAddr,
    /// Where connections go.
    pub target: Target,
}

/// Why a text is not a valid forwarding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseForwardError {
    /// There are too few parts or too many.
    Parts,
    /// There are commas, as between several.
    Several,
    /// An IPv6 address has no brackets; the corrected text.
    Brackets(String),
    /// The address or port to listen on is invalid.
    Listen(ParseListenError),
    /// The target is invalid.
    Target(ParseTargetError),
    /// The text contains a URL.
    Url,
    /// The text contains a path.
    Path,
}

impl fmt::Display for ParseForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parts => f.write_str("a part is missing, or an IPv6 address has no brackets"),
            Self::Several => {
                f.write_str("it is one forwarding, without commas; repeat the option for each")
            }
            Self::Listen(error) => f.write_str(&error.problem()),
            Self::Target(error) => write!(f, "{}", error.problem()),
            Self::Brackets(meant) => {
                write!(f, "an IPv6 address must be in brackets, as in '{meant}'")
            }
            Self::Url => f.write_str("a target is HOST:HOSTPORT, not a URL"),
            Self::Path => f.write_str("only TCP ports can be forwarded, not UNIX sockets"),
        }?;
        f.write_str("; expected [BIND:]PORT:HOST:HOSTPORT, such as 8080:example.com:80")
    }
}

impl std::error::Error for ParseForwardError {}

impl FromStr for Forward {
    type Err = ParseForwardError;

    fn from_str(text: &str) -> Result<Self, ParseForwardError> {
        if text.contains("://") {
            return Err(ParseForwardError::Url);
        }
        if text.contains('/') {
            return Err(ParseForwardError::Path);
        }
        if text.contains(',') {
            return Err(ParseForwardError::Several);
        }
        let in_parts = || match with_brackets::<Self>(text) {
            Some(meant) => ParseForwardError::Brackets(meant),
            None => ParseForwardError::Parts,
        };
        let parts = split_outside_brackets(text);
        let (bind, port, target) = match parts[..] {
            [port, host, host_port] => (None, port, (host, host_port)),
            [bind, port, host, host_port] => (Some(bind), port, (host, host_port)),
            _ => return Err(in_parts()),
        };
        if [port, target.0, target.1].contains(&"") {
            return Err(in_parts());
        }
        let listen = listen_on(bind, port).map_err(ParseForwardError::Listen)?;
        let target =
            format!("{}:{}", target.0, target.1).parse().map_err(ParseForwardError::Target)?;
        Ok(Self { listen, target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_that_ssh_takes_are_taken() {
        for (text, listen, target) in [
            ("8080:example.com:80", "127.0.0.1:8080", "example.com:80"),
            ("0:[2001:db8::1]:80", "127.0.0.1:0", "[2001:db8::1]:80"),
            ("[::1]:8080:localhost:80", "[::1]:8080", "localhost:80"),
            ("192.0.2.1:53:ns:53", "192.0.2.1:53", "ns:53"),
            ("localhost:53:ns:53", "127.0.0.1:53", "ns:53"),
            ("*:53:[::1]:53", "[::]:53", "[::1]:53"),
            (":53:ns:53", "[::]:53", "ns:53"),
        ] {
            let forward: Forward = text.parse().unwrap();
            assert_eq!(forward.listen.to_string(), listen);
            assert_eq!(forward.target.to_string(), target);
        }
    }

    #[test]
    fn what_is_no_forwarding_is_refused_with_the_form_that_is_expected() {
        for text in [
            "",
            "8080",
            "8080:host",
            "x:host:80",
            "70000:host:80",
            "::1:8080:host:80",
            "host:8080:host:80",
            "[::1:8080:host:80",
            "8080:host:0",
            "8080::80",
            "8080:http://example.com:80",
            "8080:a:1,8081:b:2",
        ] {
            let error = text.parse::<Forward>().expect_err(text).to_string();
            assert!(error.contains("expected [BIND:]PORT:HOST:HOSTPORT"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[\\[\\]:a-z0-9.*]{0,40}|\\PC{0,40}") {
            let _ = text.parse::<Forward>();
        }
    }
}
