//! URLs (RFC 3986) of `http` and `https`.

use std::fmt;
use std::str::FromStr;

use fluent_uri::{Uri, UriRef};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::secret::Secret;
use crate::target::Target;

/// An `http` or `https` URL. `Display` and `Debug` show neither user name and password nor the
/// fragment, which a server never gets.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    is_secure: bool,
    target: Target,
    /// Host and port as in the URL.
    authority: String,
    path: String,
    query: Option<String>,
    /// The value of Authorization (RFC 7617), if the URL has a user name.
    authorization: Option<Secret>,
}

/// Why a text is not a valid URL. It does not repeat the text, which may contain a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseUrlError(&'static str);

impl fmt::Display for ParseUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; expected [http|https]://HOST[:PORT][/PATH]", self.0)
    }
}

impl std::error::Error for ParseUrlError {}

/// Characters that are invalid in URLs but often used.
const STRAY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

impl Url {
    /// Whether it is `https`.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Its host and port.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The host, and the port if it is not the scheme's default.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query: the request's target in origin form (RFC 9112 section 3.2.1).
    pub(super) fn origin_form(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The value of Authorization for the user name and password.
    pub(super) fn authorization(&self) -> Option<&[u8]> {
        self.authorization.as_deref()
    }

    /// The last segment of the path, decoded; empty if the path ends with a slash.
    pub(super) fn last_segment(&self) -> String {
        let segment = self.path.rsplit('/').next().unwrap_or_default();
        percent_decode_str(segment).decode_utf8_lossy().into_owned()
    }

    /// Whether both have the same origin (RFC 6454). A name with a final dot is different from one
    /// without: a search domain may apply to the latter.
    pub(super) fn has_origin_of(&self, other: &Self) -> bool {
        self.is_secure == other.is_secure
            && self.target.lookup_name() == other.target.lookup_name()
            && self.target.port() == other.target.port()
    }

    /// Resolves a Location field of a response to this URL (RFC 9110 section 10.2.2). User name and
    /// password are kept for the same origin only, and never taken from a redirect.
    pub(super) fn join(&self, location: &str) -> Result<Self, ParseUrlError> {
        let base = self.to_string();
        let base = Uri::parse(base.as_str()).map_err(|_| MALFORMED)?;
        let location = encode_invalid(location.trim());
        let reference = UriRef::parse(location.as_str()).map_err(|_| MALFORMED)?;
        let joined = reference.resolve_against(&base).map_err(|_| MALFORMED)?;
        let mut joined = Self::try_from(joined)?;
        joined.authorization = self.authorization.clone().filter(|_| joined.has_origin_of(self));
        Ok(joined)
    }
}

const MALFORMED: ParseUrlError = ParseUrlError("it is not a URL");

const PORT: ParseUrlError = ParseUrlError("the port is not a number from 1 to 65535");

const COLONS: ParseUrlError =
    ParseUrlError("write an IPv6 address in brackets, as in http://[::1]/, and give only one port");

/// Percent-encodes invalid characters of a URL, a `%` that encodes nothing, and brackets after the
/// authority.
fn encode_invalid(text: &str) -> String {
    let encoded = utf8_percent_encode(text, STRAY).to_string();
    let (authority, rest) = encoded.split_at(authority_end(&encoded));
    let rest = rest.replace('[', "%5B").replace(']', "%5D");
    let mut pieces = rest.split('%');
    let mut encoded = authority.to_owned();
    encoded.extend(pieces.next());
    for piece in pieces {
        let encodes = piece.len() >= 2 && piece.bytes().take(2).all(|b| b.is_ascii_hexdigit());
        encoded.push_str(if encodes { "%" } else { "%25" });
        encoded.push_str(piece);
    }
    encoded
}

/// The end of the authority; 0 if there is none.
fn authority_end(text: &str) -> usize {
    let begin = match text.split_once("//") {
        Some(("", _)) => 2,
        Some((scheme, _)) if is_scheme(scheme) => scheme.len() + 2,
        _ => return 0,
    };
    let rest = text.get(begin..).unwrap_or_default();
    rest.find(['/', '?', '#']).map_or(text.len(), |end| begin + end)
}

/// Whether it is `http:/host`, `http:host` or `http//host`. `http:80` is a host and its port.
fn lacks_slashes(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (scheme, rest) = text.split_at(end);
    let is_scheme = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    // A host may have this name, with a port behind it.
    let is_port = |after: &str| {
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        end > 0 && after.split_at(end).1.chars().next().is_none_or(|c| "/?#".contains(c))
    };
    let is_cut = match rest.strip_prefix(':') {
        Some(after) => !after.starts_with("//") && !is_port(after),
        None => rest.starts_with("//"),
    };
    is_scheme && is_cut
}

/// Whether something other than digits follows the host's colon.
fn has_strange_port(authority: &str) -> bool {
    let host = authority.rsplit('@').next().unwrap_or_default();
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    !port.ends_with(']') && !port.bytes().all(|byte| byte.is_ascii_digit())
}

/// `https:`, or another word and a colon.
fn is_scheme(text: &str) -> bool {
    let word = text.strip_suffix(':').unwrap_or_default();
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

impl TryFrom<Uri<String>> for Url {
    type Error = ParseUrlError;

    fn try_from(uri: Uri<String>) -> Result<Self, ParseUrlError> {
        let uri = uri.normalize();
        let is_secure = match uri.scheme().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(ParseUrlError("the scheme is neither http nor https")),
        };
        let authority = uri.authority().ok_or(ParseUrlError("the host is missing"))?;
        let host = authority.host();
        if host.contains('%') {
            return Err(ParseUrlError(
                "the host contains a character that host names cannot have (write international \
                 names as xn--…)",
            ));
        }
        let own_port = if is_secure { 443 } else { 80 };
        let port = match authority.port() {
            Some(port) if !port.as_str().is_empty() => port.as_str().parse().ok(),
            _ => Some(own_port),
        };
        let port = port.filter(|&port| port != 0);
        let port = port.ok_or(PORT)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let target = Target::new(bare.unwrap_or(host), port)
            .map_err(|_| ParseUrlError("the host is not valid"))?;
        let path = match uri.path().as_str() {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        Ok(Self {
            is_secure,
            target,
            authority: match port == own_port {
                true => host.to_owned(),
                false => format!("{host}:{port}"),
            },
            path,
            query: uri.query().map(|query| query.as_str().to_owned()),
            authorization: authority.userinfo().map(|userinfo| basic(userinfo.as_str())),
        })
    }
}

/// RFC 7617 section 2, for `user`, `user:password`, each percent-encoded.
fn basic(userinfo: &str) -> Secret {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let decoded = |text: &str| Secret::collect(text.len(), percent_decode_str(text));
    Secret::basic(&decoded(user), &decoded(password))
}

/// Parses a URL as typed by users: without a scheme it is `http`.
impl FromStr for Url {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, ParseUrlError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ParseUrlError("it is empty"));
        }
        // As a number it would be the address 0.0.x.x, which is never meant.
        if text.parse::<u16>().is_ok() {
            return Err(ParseUrlError("the host is missing, as in localhost:8080"));
        }
        if lacks_slashes(text) {
            return Err(ParseUrlError(
                "the scheme must be followed by ://, as in http://localhost/",
            ));
        }
        let text = match text.split_once("//") {
            Some((scheme, _)) if is_scheme(scheme) => encode_invalid(text),
            _ => encode_invalid(&format!("http://{text}")),
        };
        let authority = text.split('/').nth(2).unwrap_or_default();
        let is_bracketed = authority.contains('[') && authority.contains(']');
        let has_brackets = is_bracketed || authority.contains('@');
        let malformed = match authority.matches(':').count() {
            2.. if is_bracketed && authority.contains('%') => {
                ParseUrlError("a URL cannot contain an IPv6 zone (%eth0)")
            }
            2.. if !has_brackets => COLONS,
            _ if has_strange_port(authority) => PORT,
            _ => MALFORMED,
        };
        Uri::parse(text.as_str()).map_err(|_| malformed)?.to_owned().try_into()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.origin_form())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_url_is_shown_as_it_is_asked_for_and_without_secrets() {
        for (text, shown, target) in [
            ("example.com", "http://example.com/", "example.com:80"),
            (
                "HTTPS://User:s3cret@EXAMPLE.com:443/a/../b?q#f",
                "https://example.com/b?q",
                "example.com:443",
            ),
            ("localhost:8080/x y", "http://localhost:8080/x%20y", "localhost:8080"),
            ("http://[::1]:81?a[]=1&b=100%", "http://[::1]:81/?a%5B%5D=1&b=100%25", "[::1]:81"),
            ("http://h/\u{fc}%C3%BC", "http://h/%C3%BC%C3%BC", "h:80"),
            ("https://h:/", "https://h/", "h:443"),
            ("h/?u=http://[x]", "http://h/?u=http://%5Bx%5D", "h:80"),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!(
                (url.to_string().as_str(), url.target().to_string().as_str()),
                (shown, target)
            );
            assert!(!format!("{url:?}").contains("s3cret"));
        }
        let url: Url = "http://a%20b:p%40@h".parse().unwrap();
        assert_eq!(url.authorization(), Some(&b"Basic YSBiOnBA"[..]));
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused_without_repeating_it() {
        for text in [
            "",
            "http://",
            "http:///path",
            "ftp://u:s3cret@host/",
            "http://u:s3cret@host:0/",
            "http://u:s3cret@host:99999/",
            "http://b\u{fc}cher.example/",
            "http://[::1/",
            "http://ho st/",
            "file:///etc/passwd",
        ] {
            let error = text.parse::<Url>().expect_err(text).to_string();
            assert!(error.contains("expected") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_redirect_is_relative_and_credentials_stay_with_their_server() {
        let url: Url = "http://me:pw@one.test:81/a/b?c".parse().unwrap();
        for (location, shown, keeps) in [
            ("d", "http://one.test:81/a/d", true),
            ("/e f?g[]", "http://one.test:81/e%20f?g%5B%5D", true),
            ("../../../x", "http://one.test:81/x", true),
            ("?h", "http://one.test:81/a/b?h", true),
            ("//two.test/i", "http://two.test/i", false),
            ("https://one.test:81/", "https://one.test:81/", false),
            ("http://you:pw@two.test/", "http://two.test/", false),
        ] {
            let joined = url.join(location).expect(location);
            assert_eq!(
                (joined.to_string().as_str(), joined.authorization().is_some()),
                (shown, keeps)
            );
        }
        for location in ["ftp://one.test/", "http://", "javascript:alert(1)"] {
            assert!(url.join(location).is_err(), "{location}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_and_what_is_parsed_reads_back(
            text in "\\PC{0,40}|https?://[a-z0-9:@%/?#\\[\\]. ]{0,30}",
            location in "\\PC{0,40}|[a-z:/?#%.\\[\\] ]{0,20}",
        ) {
            if let Ok(url) = text.parse::<Url>() {
                let again: Url = url.to_string().parse().unwrap();
                prop_assert_eq!(again.to_string(), url.to_string());
                prop_assert!(url.to_string().parse::<hyper::Uri>().is_ok(), "{}", url);
                let _ = url.join(&location);
            }
        }
    }
}
