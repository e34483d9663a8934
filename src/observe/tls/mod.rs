//! What a TLS handshake shows to anyone on the path (RFC 8446, RFC 5246). Nothing is decrypted.

mod cipher_suites;
mod hello;
mod record;

use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::OnceLock;
use std::time::Instant;

use crate::record::Tls;
use crate::relay::ContentKind;
use hello::{ClientHello, HelloSender, Message, NoHello, ServerHello};
use record::{ContentType, NotTls, Piece, Records};

/// The first byte of a connection that begins with a ClientHello: a handshake record.
pub(super) const FIRST_BYTE: u8 = 22;

const TLS_1_3: u16 = 0x0304;

/// A handshake, as seen by the observers of both directions. Boxed, because many connections have
/// none.
#[derive(Debug, Default)]
pub(super) struct Handshake(OnceLock<Box<HandshakeState>>);

/// A handshake from its ClientHello on.
#[derive(Debug)]
struct HandshakeState {
    at: Instant,
    client: ClientHello,
    server: OnceLock<ServerHello>,
    /// When the Finished messages began.
    client_finished: OnceLock<Instant>,
    server_finished: OnceLock<Instant>,
}

impl Handshake {
    /// Whether the client's hello was seen.
    pub(super) fn has_begun(&self) -> bool {
        self.0.get().is_some()
    }

    /// The handshake for the record; `None` without a ClientHello.
    pub(super) fn seen(&self) -> Option<Tls> {
        let HandshakeState { at, client, server, client_finished, server_finished } =
            &**self.0.get()?;
        let server = server.get();
        let client_finished = client_finished.get().copied();
        // In TLS 1.3 the client's comes after the server's.
        let finished = match server.map(|server| server.version) {
            Some(TLS_1_3) => client_finished,
            _ => client_finished.zip(server_finished.get().copied()).map(|(c, s)| c.max(s)),
        };
        Some(Tls {
            server_name: client.server_name.clone(),
            alpn: server.and_then(|server| server.alpn.clone()),
            alpn_offered: client.alpn.clone(),
            version: server.map(|server| version_name(server.version)),
            versions_offered: client.versions.iter().copied().map(version_name).collect(),
            cipher: server.map(|server| cipher_name(server.cipher)),
            encrypted_client_hello: client.encrypted,
            handshake: finished.map(|finished| finished.saturating_duration_since(*at)),
        })
    }

    /// Whether HTTP/2 was negotiated, as far as that is visible: TLS 1.3 encrypts it.
    pub(super) fn is_http2(&self) -> bool {
        let server = self.0.get().and_then(|begun| begun.server.get());
        server.and_then(|server| server.alpn.as_deref()) == Some("h2")
    }

    fn version(&self) -> Option<u16> {
        self.0.get()?.server.get().map(|server| server.version)
    }

    /// Set only once for each connection.
    fn set_client_hello(&self, at: Instant, client: ClientHello) {
        let [client_finished, server_finished] = Default::default();
        let server = OnceLock::new();
        let begun = HandshakeState { at, client, server, client_finished, server_finished };
        let _ = self.0.set(begun.into());
    }

    fn set_server_hello(&self, server: ServerHello) {
        if let Some(begun) = self.0.get() {
            let _ = begun.server.set(server);
        }
    }

    fn set_finished(&self, at: impl Fn(&HandshakeState) -> &OnceLock<Instant>) {
        if let Some(begun) = self.0.get() {
            let _ = at(begun).set(Instant::now());
        }
    }
}

/// The version for records.
pub(crate) fn version_name(version: u16) -> String {
    match version {
        0x0300 => "SSLv3".to_owned(),
        0x0301 => "TLSv1".to_owned(),
        0x0302 => "TLSv1.1".to_owned(),
        0x0303 => "TLSv1.2".to_owned(),
        TLS_1_3 => "TLSv1.3".to_owned(),
        other => format!("{other:#06x}"),
    }
}

/// The cipher suite for records.
pub(crate) fn cipher_name(suite: u16) -> String {
    cipher_suites::name(suite).map_or_else(|| format!("{suite:#06x}"), str::to_owned)
}

/// Observes the client's direction from the ClientHello to the first record after the Finished
/// message.
#[derive(Debug)]
pub(super) struct ClientSide {
    begun: Instant,
    records: Records,
    /// `None` once it was parsed.
    hello: Option<Message>,
    changed_cipher: bool,
    has_finished: bool,
    /// The bytes seen last are more than handshake.
    is_payload: bool,
}

impl ClientSide {
    pub(super) fn new(begun: Instant) -> Self {
        let hello = Some(Message::new(HelloSender::Client));
        Self {
            begun,
            records: Records::default(),
            hello,
            changed_cipher: false,
            has_finished: false,
            is_payload: false,
        }
    }

    /// Observes the next bytes; breaks when it has seen enough.
    pub(super) fn observe(&mut self, mut bytes: &[u8], handshake: &Handshake) -> ControlFlow<()> {
        loop {
            match self.records.next(&mut bytes) {
                Ok(Some(Piece::Begins(content_type))) => self.begins(content_type, handshake)?,
                Ok(Some(Piece::Content(_, content))) => self.content(content, handshake)?,
                Ok(None) => return Continue(()),
                Err(NotTls) => return self.is_over(),
            }
        }
    }

    /// The kind of the bytes seen last.
    pub(super) fn content_kind(&self) -> ContentKind {
        if self.is_payload { ContentKind::Payload } else { ContentKind::Handshake }
    }

    /// The bytes seen last, and all that follow, are payload.
    fn is_over(&mut self) -> ControlFlow<()> {
        self.is_payload = true;
        Break(())
    }

    fn begins(&mut self, content_type: ContentType, handshake: &Handshake) -> ControlFlow<()> {
        if self.hello.is_some() {
            return continue_if(content_type == ContentType::Handshake);
        }
        match (content_type, handshake.version()) {
            (ContentType::Alert, _) => Break(()),
            (ContentType::ApplicationData, Some(TLS_1_3)) if !self.has_finished => {
                self.has_finished = true;
                handshake.set_finished(|begun| &begun.client_finished);
                Continue(())
            }
            (ContentType::Handshake, Some(version))
                if version != TLS_1_3 && self.changed_cipher =>
            {
                handshake.set_finished(|begun| &begun.client_finished);
                Continue(())
            }
            (ContentType::ApplicationData, _) => self.is_over(),
            (ContentType::ChangeCipherSpec, _) => {
                self.changed_cipher = true;
                Continue(())
            }
            (ContentType::Handshake, _) => Continue(()),
        }
    }

    fn content(&mut self, mut content: &[u8], handshake: &Handshake) -> ControlFlow<()> {
        let Some(message) = &mut self.hello else { return Continue(()) };
        match message.add(&mut content) {
            Ok(Some(body)) => {
                let Some(hello) = ClientHello::read(body) else { return self.is_over() };
                // Early data and what follows the handshake look alike.
                let early_data = hello.early_data;
                handshake.set_client_hello(self.begun, hello);
                self.hello = None;
                if early_data { self.is_over() } else { Continue(()) }
            }
            Ok(None) => Continue(()),
            Err(NoHello) => self.is_over(),
        }
    }
}

/// Observes the upstream's direction from the ServerHello to the Finished message, which TLS 1.3
/// encrypts.
#[derive(Debug)]
pub(super) struct ServerSide {
    records: Records,
    /// `None` once it was read.
    hello: Option<Message>,
    changed_cipher: bool,
}

impl ServerSide {
    pub(super) fn new() -> Self {
        let hello = Some(Message::new(HelloSender::Server));
        Self { records: Records::default(), hello, changed_cipher: false }
    }

    /// The kind of the bytes seen last. Until the Finished message, data after the ServerHello does
    /// not answer a request.
    pub(super) fn content_kind(&self) -> ContentKind {
        if self.hello.is_none() && self.changed_cipher {
            ContentKind::Handshake
        } else {
            ContentKind::Payload
        }
    }

    /// Observes the next bytes; breaks when it has seen enough.
    pub(super) fn observe(&mut self, mut bytes: &[u8], handshake: &Handshake) -> ControlFlow<()> {
        loop {
            match self.records.next(&mut bytes) {
                Ok(Some(Piece::Begins(content_type))) => self.begins(content_type, handshake)?,
                Ok(Some(Piece::Content(ContentType::Handshake, content))) => {
                    self.content(content, handshake)?;
                }
                Ok(Some(Piece::Content(..))) => {}
                Ok(None) => return Continue(()),
                Err(NotTls) => return Break(()),
            }
        }
    }

    fn begins(&mut self, content_type: ContentType, handshake: &Handshake) -> ControlFlow<()> {
        match content_type {
            ContentType::Alert | ContentType::ApplicationData => Break(()),
            ContentType::Handshake if self.changed_cipher && self.hello.is_none() => {
                handshake.set_finished(|begun| &begun.server_finished);
                Break(())
            }
            ContentType::Handshake => Continue(()),
            // After a HelloRetryRequest it may come before the ServerHello.
            ContentType::ChangeCipherSpec => {
                self.changed_cipher = true;
                Continue(())
            }
        }
    }

    fn content(&mut self, mut content: &[u8], handshake: &Handshake) -> ControlFlow<()> {
        // A HelloRetryRequest may have the next message behind it in its record.
        while let Some(message) = &mut self.hello {
            match message.add(&mut content) {
                Ok(Some(body)) => match ServerHello::read(body) {
                    None => return Break(()),
                    Some(None) => *message = Message::new(HelloSender::Server),
                    Some(Some(hello)) => {
                        let hides_the_rest = hello.version == TLS_1_3;
                        handshake.set_server_hello(hello);
                        self.hello = None;
                        self.changed_cipher &= !hides_the_rest;
                        return continue_if(!hides_the_rest);
                    }
                },
                Ok(None) => return Continue(()),
                Err(NoHello) => return Break(()),
            }
        }
        Continue(())
    }
}

fn continue_if(goes_on: bool) -> ControlFlow<()> {
    if goes_on { Continue(()) } else { Break(()) }
}

#[cfg(test)]
mod tests;
