//! Observes the first bytes of a tunnel: what TLS and plain HTTP/1 show to anyone on the path.
//!
//! Each direction has an observer that changes nothing and is dropped as soon as it has seen
//! enough.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod http;
mod tls;

use std::ops::ControlFlow::{self, Break};
use std::sync::Arc;
use std::time::Instant;

use crate::record::{Http, Tls};
use crate::relay::{ContentKind, Observe};
#[cfg(feature = "stat")]
pub(crate) use tls::{cipher_name, version_name};

/// What was observed so far. Both observers and the record are handled by one task, so there is no
/// contention.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    tls: tls::Handshake,
    http: http::FirstExchange,
}

impl Observations {
    /// TLS for the record.
    pub(crate) fn tls(&self) -> Option<Tls> {
        self.tls.seen()
    }

    /// Whether the protocol carries many conversations at once, as far as can be seen.
    pub(crate) fn is_multiplexed(&self) -> bool {
        self.tls.is_http2() || self.http.is_multiplexed()
    }

    /// HTTP for the record.
    pub(crate) fn http(&self) -> Option<Http> {
        self.http.seen()
    }
}

/// Observes the client's direction.
#[derive(Debug)]
pub(crate) struct ClientObserver {
    observations: Arc<Observations>,
    protocol: Option<ClientProtocol>,
}

#[derive(Debug)]
enum ClientProtocol {
    Tls(tls::ClientSide),
    Http(http::ClientSide),
}

impl ClientObserver {
    pub(crate) fn new(observations: Arc<Observations>) -> Self {
        Self { observations, protocol: None }
    }
}

impl Observe for ClientObserver {
    fn content_kind(&self) -> ContentKind {
        match &self.protocol {
            Some(ClientProtocol::Tls(client)) => client.content_kind(),
            _ => ContentKind::Payload,
        }
    }

    fn observe(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let protocol = match (&mut self.protocol, bytes.first()) {
            (Some(protocol), _) => protocol,
            (none, Some(&tls::FIRST_BYTE)) => {
                none.insert(ClientProtocol::Tls(tls::ClientSide::new(Instant::now())))
            }
            (none, Some(b'A'..=b'Z')) => none.insert(ClientProtocol::Http(Default::default())),
            _ => return Break(()),
        };
        match protocol {
            ClientProtocol::Tls(client) => client.observe(bytes, &self.observations.tls),
            ClientProtocol::Http(client) => client.observe(bytes, &self.observations.http),
        }
    }
}

/// Observes the upstream's direction: the reply to what the client began with.
#[derive(Debug)]
pub(crate) struct UpstreamObserver {
    observations: Arc<Observations>,
    protocol: Option<ServerProtocol>,
}

#[derive(Debug)]
enum ServerProtocol {
    Tls(tls::ServerSide),
    Http(http::ServerSide),
}

impl UpstreamObserver {
    pub(crate) fn new(observations: Arc<Observations>) -> Self {
        Self { observations, protocol: None }
    }
}

impl Observe for UpstreamObserver {
    fn content_kind(&self) -> ContentKind {
        match &self.protocol {
            Some(ServerProtocol::Tls(server)) => server.content_kind(),
            _ => ContentKind::Payload,
        }
    }

    fn observe(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let protocol = match &mut self.protocol {
            Some(protocol) => protocol,
            none if self.observations.tls.has_begun() => {
                none.insert(ServerProtocol::Tls(tls::ServerSide::new()))
            }
            none if self.observations.http.has_begun() => {
                none.insert(ServerProtocol::Http(Default::default()))
            }
            // The upstream sends first, or the client uses another protocol.
            _ => return Break(()),
        };
        match protocol {
            ServerProtocol::Tls(server) => server.observe(bytes, &self.observations.tls),
            ServerProtocol::Http(server) => server.observe(bytes, &self.observations.http),
        }
    }
}

/// A host for the record: a name or an address, perhaps with a port, in lower case; `None` if it is
/// too long or has invalid characters.
fn host_name(bytes: &[u8]) -> Option<String> {
    // A name (RFC 1035 section 2.3.4), a colon, a port.
    const MAX: usize = 255 + 6;
    let is_of_a_host = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(byte);
    let is_host = (1..=MAX).contains(&bytes.len()) && bytes.iter().all(is_of_a_host);
    is_host.then(|| String::from_utf8_lossy(bytes).to_ascii_lowercase())
}
