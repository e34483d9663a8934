//! What the first bytes of a tunnel tell everyone on the path: of TLS, and of plain HTTP/1.
//!
//! An observer of each direction sees what passes, changes nothing, and is dropped as soon as it
//! can learn no more.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod http;
mod tls;

use std::ops::ControlFlow::{self, Break};
use std::sync::Arc;
use std::time::Instant;

use crate::record::{Http, Tls};
use crate::relay::{Observe, Speech};
#[cfg(feature = "stat")]
pub(crate) use tls::{cipher_name, version_name};

/// What was seen of a conversation so far. Both observers are polled by one task and the record is
/// built by it too; nobody waits for anybody.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    tls: tls::Handshake,
    http: http::Exchange,
}

impl Sight {
    /// As the record shows it.
    pub(crate) fn tls(&self) -> Option<Tls> {
        self.tls.seen()
    }

    /// Whether the protocol carries many conversations at once, as far as can be seen.
    pub(crate) fn is_multiplexed(&self) -> bool {
        self.tls.is_http2() || self.http.is_multiplexed()
    }

    /// As the record shows it.
    pub(crate) fn http(&self) -> Option<Http> {
        self.http.seen()
    }
}

/// Sees the client's direction.
#[derive(Debug)]
pub(crate) struct ClientObserver {
    sight: Arc<Sight>,
    language: Option<ClientLanguage>,
}

#[derive(Debug)]
enum ClientLanguage {
    Tls(tls::ClientSide),
    Http(http::ClientSide),
}

impl ClientObserver {
    pub(crate) fn new(sight: Arc<Sight>) -> Self {
        Self { sight, language: None }
    }
}

impl Observe for ClientObserver {
    fn speech(&self) -> Speech {
        match &self.language {
            Some(ClientLanguage::Tls(client)) => client.speech(),
            _ => Speech::Payload,
        }
    }

    fn see(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let language = match (&mut self.language, bytes.first()) {
            (Some(language), _) => language,
            (none, Some(&tls::FIRST_BYTE)) => {
                none.insert(ClientLanguage::Tls(tls::ClientSide::new(Instant::now())))
            }
            (none, Some(b'A'..=b'Z')) => none.insert(ClientLanguage::Http(Default::default())),
            _ => return Break(()),
        };
        match language {
            ClientLanguage::Tls(client) => client.see(bytes, &self.sight.tls),
            ClientLanguage::Http(client) => client.see(bytes, &self.sight.http),
        }
    }
}

/// Sees the upstream's direction: the answer to what the client began with.
#[derive(Debug)]
pub(crate) struct UpstreamObserver {
    sight: Arc<Sight>,
    language: Option<ServerLanguage>,
}

#[derive(Debug)]
enum ServerLanguage {
    Tls(tls::ServerSide),
    Http(http::ServerSide),
}

impl UpstreamObserver {
    pub(crate) fn new(sight: Arc<Sight>) -> Self {
        Self { sight, language: None }
    }
}

impl Observe for UpstreamObserver {
    fn speech(&self) -> Speech {
        match &self.language {
            Some(ServerLanguage::Tls(server)) => server.speech(),
            _ => Speech::Payload,
        }
    }

    fn see(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let language = match &mut self.language {
            Some(language) => language,
            none if self.sight.tls.has_begun() => {
                none.insert(ServerLanguage::Tls(tls::ServerSide::new()))
            }
            none if self.sight.http.has_begun() => {
                none.insert(ServerLanguage::Http(Default::default()))
            }
            // The upstream speaks first, or the client speaks another language.
            _ => return Break(()),
        };
        match language {
            ServerLanguage::Tls(server) => server.see(bytes, &self.sight.tls),
            ServerLanguage::Http(server) => server.see(bytes, &self.sight.http),
        }
    }
}

/// A host as a record may hold it: a name or an address, perhaps with a port, in lower case; `None`
/// if it is longer than a name can be, or has what stands in none.
fn host_name(bytes: &[u8]) -> Option<String> {
    // A name (RFC 1035 section 2.3.4), a colon, a port.
    const MAX: usize = 255 + 6;
    let is_of_a_host = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(byte);
    let is_host = (1..=MAX).contains(&bytes.len()) && bytes.iter().all(is_of_a_host);
    is_host.then(|| String::from_utf8_lossy(bytes).to_ascii_lowercase())
}
