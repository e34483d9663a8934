//! The head of a request to an HTTP proxy: CONNECT, and absolute form (RFC 9112 section 3.2).

use std::borrow::Cow;
use std::net::Ipv6Addr;

use httparse::Header;

use super::body::Framing;
use super::framing;
use super::head::{
    ConnectionOptions, empty_fields, empty_line, end_of_head, is_for_all, is_for_one_hop, list,
    named, persistence, write_field,
};
use super::{BadHead, Status};
use crate::access::Credentials;
use crate::ingress::{ParseTargetError, Parsed, Target};
use crate::record::Mode;

/// A request to a proxy.
#[derive(Debug)]
pub(crate) struct HttpRequest {
    pub(crate) target: Target,
    /// The minor version of HTTP/1 that the client speaks.
    pub(crate) minor: u8,
    /// Credentials in Proxy-Authorization, with the Basic scheme.
    pub(crate) credentials: Option<Credentials>,
    pub(crate) form: Form,
}

/// The form of a request.
#[derive(Debug)]
pub(crate) enum Form {
    /// A tunnel.
    Connect,
    /// One request to pass on.
    Absolute(Box<Absolute>),
}

/// A request in absolute form.
#[derive(Debug)]
pub(crate) struct Absolute {
    pub(crate) method: String,
    /// `host` or `host:port`, as sent to the upstream.
    pub(crate) host: String,
    /// The head for the upstream, in origin form.
    pub(crate) head: Vec<u8>,
    pub(crate) body: Framing,
    /// The client asks for an upgrade to another protocol.
    pub(crate) upgrade: bool,
    /// The client keeps its connection open for another request.
    pub(crate) keep_alive: bool,
    /// The client waits for a 100 before it sends the body (RFC 9110 section 10.1.1).
    pub(crate) expects_continue: bool,
}

/// Parses the head at the beginning of `bytes`, after at most one empty line.
pub(crate) fn parse_request(bytes: &[u8]) -> Parsed<HttpRequest, BadHead> {
    let Some(skipped) = empty_line(bytes) else { return Parsed::Partial };
    let bytes = bytes.get(skipped..).unwrap_or_default();
    match end_of_head(bytes) {
        Ok(None) => Parsed::Partial,
        Ok(Some(end)) => match read_head(bytes.get(..end).unwrap_or_default()) {
            Ok(request) => Parsed::Complete(request, skipped + end),
            Err(bad) => Parsed::Bad(bad),
        },
        Err(bad) => Parsed::Bad(bad),
    }
}

/// The mode of a request, by the beginning of its first line, even if the head is malformed or
/// incomplete. `None` without a complete method.
pub(crate) fn mode_of(bytes: &[u8]) -> Option<Mode> {
    let line = bytes.get(empty_line(bytes)?..)?;
    let end = memchr::memchr3(b' ', b'\r', b'\n', line)?;
    match (line.get(..end)?, line.get(end)?) {
        (b"CONNECT", b' ') => Some(Mode::Connect),
        (_, b' ') => Some(Mode::Http),
        _ => None,
    }
}

fn read_head(head: &[u8]) -> Result<HttpRequest, BadHead> {
    let mut fields = empty_fields();
    let mut request = httparse::Request::new(&mut fields);
    request.parse(head).map_err(|error| BadHead::malformed(reason(error)))?;
    let (Some(method), Some(uri), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(BadHead::malformed("the request line is missing"));
    };
    let fields: &[Header<'_>] = request.headers;
    let framing = framing::for_request(fields, minor)?;
    let hosts = named(fields, "host").count();
    if hosts > 1 {
        return Err(BadHead::malformed("more than one Host field"));
    }
    let mut authorizations = named(fields, "proxy-authorization");
    let credentials = authorizations.next().and_then(|field| Credentials::from_basic(field.value));
    if authorizations.next().is_some() {
        return Err(BadHead::malformed("more than one Proxy-Authorization field"));
    }

    if method == "CONNECT" {
        let target = connect_target(uri)?;
        // RFC 9110 section 9.3.6: it has no content, and what follows is the tunnel's, whatever
        // Content-Length says. Chunks would send their last line into the tunnel.
        if let Framing::Chunked(_) = framing {
            return Err(BadHead::malformed(
                "CONNECT has no body, so it cannot have a Transfer-Encoding",
            ));
        }
        return Ok(HttpRequest { target, minor, credentials, form: Form::Connect });
    }
    // A CONNECT needs no Host, because nothing of its head is passed on.
    if hosts == 0 && minor > 0 {
        return Err(BadHead::malformed("the Host field is missing"));
    }
    let mut place = AbsoluteUri::parse(uri, method)?;
    let target = place.target()?;
    place.normalise_host(&target);
    let options = ConnectionOptions::from_fields(fields);
    let upgrade = match minor > 0 && options.contains("upgrade") {
        true => protocols(fields),
        false => Vec::new(),
    };
    let keep_alive = options.keeps_alive(minor, fields);
    let connection = Connection { options: &options, upgrade: &upgrade, keep_alive };
    let absolute = Absolute {
        method: method.to_owned(),
        host: place.authority.clone().into_owned(),
        head: origin_form(method, &place, minor, fields, &connection)?,
        body: framing,
        upgrade: !upgrade.is_empty(),
        keep_alive,
        expects_continue: named(fields, "expect").next().is_some(),
    };
    Ok(HttpRequest { target, minor, credentials, form: Form::Absolute(Box::new(absolute)) })
}

/// The target of CONNECT, `host:port`. wget, Python's http.client and openssl leave out the
/// brackets of an IPv6 address: then everything before the last colon must be one address.
fn connect_target(authority: &str) -> Result<Target, BadHead> {
    match authority.rsplit_once(':') {
        Some((host, port)) if host.contains(':') && !host.starts_with('[') => {
            let address = host.parse::<Ipv6Addr>().ok();
            let target = address.and_then(|_| format!("[{host}]:{port}").parse().ok());
            target.ok_or_else(|| {
                BadHead::malformed(
                    "the target of CONNECT is not HOST:PORT, or [ADDRESS]:PORT for IPv6",
                )
            })
        }
        _ => {
            authority.parse().map_err(|error: ParseTargetError| BadHead::malformed(error.reason()))
        }
    }
}

/// The reason for an error of httparse.
fn reason(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => {
            "a header field has an invalid name, or is folded onto a second line"
        }
        httparse::Error::HeaderValue => "a header field has an invalid value",
        httparse::Error::NewLine => "a carriage return is not followed by a line feed",
        httparse::Error::Version => "the version is neither HTTP/1.1 nor HTTP/1.0",
        httparse::Error::Token => "the request line is not METHOD TARGET VERSION",
        _ => "malformed HTTP/1 request",
    }
}

/// A URI in absolute form.
struct AbsoluteUri<'u> {
    /// `host` or `host:port`, without user and password.
    authority: Cow<'u, str>,
    /// In origin form, or `*`.
    path: String,
}

impl<'u> AbsoluteUri<'u> {
    fn parse(uri: &'u str, method: &str) -> Result<Self, BadHead> {
        let Some((scheme, rest)) = uri.split_once("://").filter(|_| !uri.starts_with('/')) else {
            return Err(BadHead::malformed(
                "this is a proxy; use CONNECT host:port, or other methods with http://host/path",
            ));
        };
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(BadHead::new(
                Status::NotImplemented,
                "only http:// URIs are supported; use CONNECT for https://",
            ));
        }
        if rest.contains('#') {
            return Err(BadHead::malformed("the URI has a fragment"));
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let authority = authority.rsplit_once('@').map_or(authority, |(_user, host)| host);
        let path = match path.chars().next() {
            // RFC 9112 section 3.2.4.
            None if method == "OPTIONS" => "*".to_owned(),
            None => "/".to_owned(),
            Some('?') => format!("/{path}"),
            Some(_) => path.to_owned(),
        };
        Ok(Self { authority: authority.strip_suffix(':').unwrap_or(authority).into(), path })
    }

    fn target(&self) -> Result<Target, BadHead> {
        let authority = &*self.authority;
        let has_port = match authority.rsplit_once(']') {
            Some((_, rest)) => !rest.is_empty(),
            None => authority.contains(':'),
        };
        let target = if has_port { authority.parse() } else { format!("{authority}:80").parse() };
        target.map_err(|error: ParseTargetError| BadHead::malformed(error.reason()))
    }

    /// Replaces an unusual spelling of an address by the usual one: the upstream must not read
    /// another address than the one that was checked here.
    fn normalise_host(&mut self, target: &Target) {
        if let Some(address) = target.literal().filter(|_| target.has_unusual_spelling()) {
            self.authority = match self.authority.contains(':') {
                true => address.to_string().into(),
                false => address.ip().to_string().into(),
            };
        }
    }
}

/// The protocols in Upgrade, without HTTP/2: its settings are hop-by-hop, and the proxy would have
/// to speak it (RFC 9113 section 3.1 has deprecated this upgrade).
fn protocols<'h>(fields: &[Header<'h>]) -> Vec<&'h [u8]> {
    let named = named(fields, "upgrade").flat_map(|field| list(field.value));
    named.filter(|protocol| !protocol.eq_ignore_ascii_case(b"h2c")).collect()
}

/// What a request says about the client's connection.
struct Connection<'h> {
    options: &'h ConnectionOptions<'h>,
    /// The protocols that it asks for.
    upgrade: &'h [&'h [u8]],
    keep_alive: bool,
}

/// The head for the upstream: unchanged, except for hop-by-hop fields.
fn origin_form(
    method: &str,
    place: &AbsoluteUri<'_>,
    minor: u8,
    fields: &[Header<'_>],
    &Connection { options, upgrade, keep_alive }: &Connection<'_>,
) -> Result<Vec<u8>, BadHead> {
    let mut head = format!("{method} {} HTTP/1.{minor}\r\n", place.path).into_bytes();
    let host = place.authority.as_bytes();
    if named(fields, "host").next().is_none() {
        write_field(&mut head, "Host", host);
    }
    // Fields that belong to an upgrade are for the upstream, which grants it.
    let mut connection = vec![&b"Upgrade"[..]];
    let (mut has_length, mut has_upgrade) = (false, false);
    for field in fields {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("host") {
            write_field(&mut head, field.name, host);
        } else if is("content-length") && std::mem::replace(&mut has_length, true) {
            // A repetition of the same value.
        } else if is_for_all(field.name) {
            write_field(&mut head, field.name, field.value);
        } else if is("max-forwards") && ["TRACE", "OPTIONS"].contains(&method) {
            write_field(&mut head, field.name, &decrement_max_forwards(field.value)?);
        } else if is("upgrade") {
            if !upgrade.is_empty() && !std::mem::replace(&mut has_upgrade, true) {
                write_field(&mut head, field.name, &upgrade.join(&b", "[..]));
            }
        } else if is_for_one_hop(field.name) {
            // Not passed on.
        } else if !options.contains(field.name) {
            write_field(&mut head, field.name, field.value);
        } else if !upgrade.is_empty() {
            write_field(&mut head, field.name, field.value);
            if !connection.iter().any(|name| name.eq_ignore_ascii_case(field.name.as_bytes())) {
                connection.push(field.name.as_bytes());
            }
        }
    }
    if !upgrade.is_empty() {
        // With close beside it some servers decline to upgrade.
        write_field(&mut head, "Connection", &connection.join(&b", "[..]));
    } else if let Some(option) = persistence(minor, keep_alive) {
        write_field(&mut head, "Connection", option);
    }
    head.extend_from_slice(b"\r\n");
    Ok(head)
}

/// Converts a head in origin form to absolute form, for a parent proxy, with our authorization.
pub(crate) fn to_absolute_form(head: &[u8], host: &str, authorization: Option<&[u8]>) -> Vec<u8> {
    let end_of_line = memchr::memmem::find(head, b"\r\n").map_or(head.len(), |at| at + 2);
    let (line, fields) = head.split_at(end_of_line);
    let method = memchr::memchr(b' ', line).map_or(line.len(), |at| at + 1);
    let (method, path) = line.split_at(method);
    // RFC 9112 section 3.2.4.
    let path = path.strip_prefix(b"*").unwrap_or(path);
    let mut absolute = [method, b"http://", host.as_bytes(), path].concat();
    if let Some(authorization) = authorization {
        write_field(&mut absolute, "Proxy-Authorization", authorization);
    }
    absolute.extend_from_slice(fields);
    absolute
}

/// Largest Max-Forwards that is passed on. RFC 9110 section 7.6.2 permits a limit; other
/// implementations can parse this value.
const MAX_FORWARDS: u64 = 0x7fff_ffff;

/// RFC 9110 section 7.6.2: a proxy decrements the value, and answers itself at 0.
fn decrement_max_forwards(max_forwards: &[u8]) -> Result<Vec<u8>, BadHead> {
    // A value beyond 64 bits is valid as well.
    let is_number = framing::is_number(max_forwards);
    match is_number.then(|| framing::number(max_forwards).unwrap_or(u64::MAX)) {
        Some(0) => Err(BadHead::new(
            Status::MethodNotAllowed,
            "Max-Forwards is 0, and the proxy does not answer such requests itself",
        )),
        Some(left) => Ok((left - 1).min(MAX_FORWARDS).to_string().into_bytes()),
        None => Err(BadHead::malformed("Max-Forwards is not a number")),
    }
}

#[cfg(test)]
mod tests;
