//! `--via URL`: a parent proxy.

mod exception;

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::secret::Secret;
use crate::target::{ParseTargetError, Target};
pub use exception::Exception;

/// A parent proxy, and which targets are reached without it.
///
/// Written as a URL: `http://user:password@host:3128`, `socks5://host:1080` (names are looked up
/// here) or `socks5h://host` (the parent looks them up). Without a scheme it is `http`; without a
/// port 80 for `http` and 1080 for SOCKS. Path, query and fragment are ignored. Characters of the
/// user name and the password may be percent-encoded. `Display` and `Debug` show neither of the
/// two.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Via {
    pub(super) protocol: Protocol,
    pub(super) parent: Target,
    pub(super) credentials: Option<Credentials>,
    /// Targets that are reached without the parent. Default: none.
    pub except: Vec<Exception>,
}

/// The protocol of a parent proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP `CONNECT`; the parent looks names up.
    Http,
    /// SOCKS 5 with addresses.
    Socks5,
    /// SOCKS 5 with names.
    Socks5h,
}

/// Credentials for a parent proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: Secret,
    pub(super) password: Secret,
}

/// Why a text is not a valid parent proxy. It does not repeat the text, which may contain a
/// password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseViaError(&'static str);

impl fmt::Display for ParseViaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a parent proxy: {}; expected [http|socks5|socks5h]://[USER:PASSWORD@]HOST[:PORT]",
            self.0
        )
    }
}

impl std::error::Error for ParseViaError {}

impl ParseViaError {
    /// What is wrong, without the form that is expected.
    pub fn problem(&self) -> &'static str {
        self.0
    }
}

impl Via {
    /// Host and port of the parent.
    pub fn parent(&self) -> &Target {
        &self.parent
    }

    /// Whether the parent looks names up, so that their addresses are not known here.
    pub fn looks_names_up(&self) -> bool {
        match self.protocol {
            Protocol::Http | Protocol::Socks5h => true,
            Protocol::Socks5 => false,
        }
    }

    /// The value of Proxy-Authorization for an HTTP parent; `None` without credentials.
    pub(crate) fn authorization(&self) -> Option<Secret> {
        self.credentials.as_ref().map(Credentials::basic)
    }

    /// Whether this target is reached without the parent.
    pub(super) fn bypasses(&self, target: &Target) -> bool {
        self.except.iter().any(|exception| exception.covers(target))
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.protocol.scheme(), self.parent)
    }
}

impl fmt::Debug for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Via")
            .field("url", &format_args!("{self}"))
            .field("has_credentials", &self.credentials.is_some())
            .field("except", &self.except)
            .finish()
    }
}

impl Protocol {
    fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    fn from_scheme(scheme: &str) -> Result<Self, ParseViaError> {
        let known = [Self::Http, Self::Socks5, Self::Socks5h];
        let found = known.into_iter().find(|known| scheme.eq_ignore_ascii_case(known.scheme()));
        found.ok_or(ParseViaError("the scheme is not http, socks5 or socks5h"))
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Socks5 | Self::Socks5h => 1080,
        }
    }
}

impl FromStr for Via {
    type Err = ParseViaError;

    fn from_str(text: &str) -> Result<Self, ParseViaError> {
        let (protocol, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Protocol::from_scheme(scheme)?, rest),
            None => (Protocol::Http, text),
        };
        // RFC 3986 section 3.2: these characters end the authority.
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        // Probably in a password, not in a path: then the host would be the user name.
        if rest.contains('@') {
            return Err(ParseViaError(
                "an @ follows the host (in a password, write / ? # as %2F %3F %23)",
            ));
        }
        let path = rest.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
        if path.ends_with(".pac") || path.ends_with("/wpad.dat") {
            return Err(ParseViaError(
                "it is the address of a PAC file, which is not supported; give the proxy that the \
                 file names",
            ));
        }
        let (userinfo, host) = match authority.rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo), host),
            None => (None, authority),
        };
        if host.matches(':').count() > 1 && !host.starts_with('[') {
            return Err(ParseViaError(
                "an IPv6 address must be in brackets, as in http://[::1]:3128",
            ));
        }
        let has_port = host.contains(':') && !host.ends_with(']');
        let host = match has_port {
            true => host.to_owned(),
            false => format!("{host}:{}", protocol.default_port()),
        };
        let parent =
            host.parse().map_err(|error: ParseTargetError| ParseViaError(error.reason()))?;
        let credentials =
            userinfo.map(|userinfo| Credentials::parse(userinfo, protocol)).transpose()?;
        Ok(Self { protocol, parent, credentials, except: Vec::new() })
    }
}

impl Credentials {
    /// RFC 7617 section 2.
    pub(super) fn basic(&self) -> Secret {
        Secret::basic(&self.user, &self.password)
    }

    fn parse(userinfo: &str, protocol: Protocol) -> Result<Self, ParseViaError> {
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let decoded = |text: &str| Secret::collect(text.len(), percent_decode_str(text));
        let (user, password) = (decoded(user), decoded(password));
        match protocol {
            // RFC 7617 section 2.
            Protocol::Http if user.contains(&b':') => {
                Err(ParseViaError("a user name for HTTP cannot contain a colon"))
            }
            // RFC 1929 section 2: each has its length in one byte.
            Protocol::Socks5 | Protocol::Socks5h
                if !(1..=255).contains(&user.len()) || password.len() > 255 =>
            {
                Err(ParseViaError(
                    "for SOCKS, the user name and the password can have at most 255 bytes each",
                ))
            }
            _ => Ok(Self { user, password }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_parent_is_shown_with_its_port_and_without_credentials() {
        for (text, shown) in [
            ("http://proxy.example.com:3128", "http://proxy.example.com:3128"),
            ("proxy.example.com:3128/", "http://proxy.example.com:3128"),
            ("http://proxy.example.com:3128//", "http://proxy.example.com:3128"),
            ("http://user:s3cret@proxy:3128/path?x#y", "http://proxy:3128"),
            ("socks5h://proxy?x", "socks5h://proxy:1080"),
            ("HTTP://proxy", "http://proxy:80"),
            ("socks5://user@[::1]", "socks5://[::1]:1080"),
            ("socks5h://us%3Aer:s3cret@[::1]:9", "socks5h://[::1]:9"),
            ("http://user:s3cret@192.0.2.1:8080", "http://192.0.2.1:8080"),
        ] {
            let via: Via = text.parse().unwrap();
            assert_eq!(via.to_string(), shown);
            let debug = format!("{via:?}");
            assert!(debug.contains(shown) && !debug.contains("s3cret") && !debug.contains("user"));
        }
    }

    #[test]
    fn credentials_are_decoded_once_and_may_have_any_byte() {
        let via: Via = "http://a%20b:p%40%3A%2525:@@host:1".parse().unwrap();
        let Credentials { user, password } = via.credentials.unwrap();
        assert_eq!((&*user, &*password), (&b"a b"[..], &b"p@:%25:@"[..]));
        assert_eq!(via.parent.to_string(), "host:1");
    }

    #[test]
    fn what_is_no_parent_is_refused_without_repeating_it() {
        let long = format!("socks5://{}:s3cret@host", "u".repeat(256));
        for text in [
            "",
            "http://",
            "https://user:s3cret@host:1",
            "socks4://host:1",
            "http://user:s3cret@host:0",
            "http://user:s3cret@host:",
            "http://user:s3/cret@host",
            "http://user:s3#cret@host",
            "http://user:12/s3cret@host",
            "http://user:s3cret@::1:80",
            "http://us%3Aer:s3cret@host:1",
            "socks5://:s3cret@host",
            &long,
        ] {
            let error = text.parse::<Via>().expect_err(text).to_string();
            assert!(error.contains("expected") && !error.contains("s3cret"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "(http://|socks5://)?[a-z0-9:@%/\\[\\].]{0,40}|\\PC{0,40}") {
            if let Ok(via) = text.parse::<Via>() {
                prop_assert_eq!(via.to_string().parse::<Via>().unwrap().parent, via.parent);
            }
        }
    }
}
