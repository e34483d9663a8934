//! Parses ClientHello and ServerHello, as far as they are not encrypted (RFC 8446 section 4.1, RFC
//! 5246 section 7.4.1).

use crate::observe::host_name;

/// Longest hello that is read, bytes. With post-quantum keys one has 2,000.
const MAX_HELLO: usize = 16 * 1024;

/// Type and length of a handshake message.
const HEADER: usize = 4;

/// Most entries of a list that are kept.
const MAX_ENTRIES: usize = 16;

/// A HelloRetryRequest is a ServerHello of this random (RFC 8446 section 4.1.3).
const HELLO_RETRY_REQUEST: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Extensions, in IANA's registry "TLS ExtensionType Values".
mod extension {
    pub(super) const SERVER_NAME: u16 = 0;
    pub(super) const ALPN: u16 = 16;
    pub(super) const EARLY_DATA: u16 = 42;
    pub(super) const SUPPORTED_VERSIONS: u16 = 43;
    pub(super) const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
}

/// The visible part of a ClientHello.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClientHello {
    pub(super) server_name: Option<String>,
    pub(super) alpn: Vec<String>,
    pub(super) versions: Vec<u16>,
    /// It contains an encrypted ClientHello, or GREASE for one.
    pub(super) encrypted: bool,
    /// It requests early data.
    pub(super) early_data: bool,
}

/// The visible part of a ServerHello.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerHello {
    pub(super) version: u16,
    pub(super) cipher: u16,
    pub(super) alpn: Option<String>,
}

/// The sender of a hello, with its message type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum HelloSender {
    Client = 1,
    Server = 2,
}

/// An incomplete hello, assembled from records.
#[derive(Debug)]
pub(super) struct Message {
    sender: HelloSender,
    bytes: Vec<u8>,
}

/// The message is not a hello, or is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoHello;

impl Message {
    pub(super) fn new(sender: HelloSender) -> Self {
        Self { sender, bytes: Vec::new() }
    }

    /// Consumes the message's bytes from `content`; returns the body once it is complete.
    pub(super) fn add(&mut self, content: &mut &[u8]) -> Result<Option<&[u8]>, NoHello> {
        loop {
            let wanted = match *self.bytes {
                [message_type, ..] if message_type != self.sender as u8 => return Err(NoHello),
                [_, high, middle, low, ..] => {
                    HEADER + u32::from_be_bytes([0, high, middle, low]) as usize
                }
                _ => HEADER,
            };
            if wanted > MAX_HELLO {
                return Err(NoHello);
            }
            if self.bytes.len() >= wanted && wanted > HEADER {
                return Ok(self.bytes.get(HEADER..));
            }
            let missing = wanted.saturating_sub(self.bytes.len());
            // An empty body is not a hello.
            if missing == 0 {
                return Err(NoHello);
            }
            if content.is_empty() {
                return Ok(None);
            }
            let (mine, rest) = content.split_at(missing.min(content.len()));
            self.bytes.extend_from_slice(mine);
            *content = rest;
        }
    }
}

impl ClientHello {
    /// Parses a message's body; `None` if it is malformed.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let mut body = Reader(body);
        let version = body.u16()?;
        body.take(32)?; // random
        body.vector8()?; // session
        let suites = body.vector16()?;
        let compressions = body.vector8()?;
        if version.to_be_bytes()[0] != 3 || suites.0.is_empty() || compressions.0.is_empty() {
            return None;
        }
        let mut hello = Self::default();
        let mut has_versions = false;
        for extension in body.extensions()? {
            let (kind, mut data) = extension?;
            match kind {
                extension::SERVER_NAME => hello.server_name = data.server_name(),
                extension::ALPN => hello.alpn = data.vector16()?.protocols()?,
                extension::SUPPORTED_VERSIONS => {
                    has_versions = true;
                    hello.versions = data.vector8()?.versions()?;
                }
                extension::EARLY_DATA => hello.early_data = true,
                extension::ENCRYPTED_CLIENT_HELLO => hello.encrypted = true,
                _ => {}
            }
        }
        if !has_versions {
            hello.versions.push(version);
        }
        Some(hello)
    }
}

impl ServerHello {
    /// Parses a message's body; `None` if it is malformed, `Some(None)` for a HelloRetryRequest.
    pub(super) fn read(body: &[u8]) -> Option<Option<Self>> {
        let mut body = Reader(body);
        let mut version = body.u16()?;
        let random = body.take(32)?;
        body.vector8()?; // session
        let cipher = body.u16()?;
        body.take(1)?; // compression method
        let mut alpn = None;
        for extension in body.extensions()? {
            let (kind, mut data) = extension?;
            match kind {
                extension::SUPPORTED_VERSIONS => version = data.u16()?,
                extension::ALPN => alpn = data.vector16()?.protocols()?.pop(),
                _ => {}
            }
        }
        Some((random != HELLO_RETRY_REQUEST).then_some(Self { version, cipher, alpn }))
    }
}

/// A parser for the presentation language of RFC 8446 section 3.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// A vector with a length of one byte.
    fn vector8(&mut self) -> Option<Self> {
        let length = self.u8()?;
        self.take(length.into()).map(Self)
    }

    /// A vector with a length of two bytes.
    fn vector16(&mut self) -> Option<Self> {
        let length = self.u16()?;
        self.take(length.into()).map(Self)
    }

    /// The extensions at the end of a hello, which may lack them; `None` for a malformed one, after
    /// which there are none that can be read.
    fn extensions(mut self) -> Option<impl Iterator<Item = Option<(u16, Self)>>> {
        let mut list = if self.0.is_empty() { Self(&[]) } else { self.vector16()? };
        self.0.is_empty().then_some(())?;
        Some(std::iter::from_fn(move || {
            (!list.0.is_empty()).then(|| Some((list.u16()?, list.vector16()?)))
        }))
    }

    /// The host in a ServerNameList (RFC 6066 section 3); `None` also if it is not a host name.
    fn server_name(mut self) -> Option<String> {
        const HOST_NAME: u8 = 0;
        let mut list = self.vector16()?;
        (list.u8()? == HOST_NAME).then_some(())?;
        host_name(list.vector16()?.0)
    }

    /// The entries of a ProtocolNameList (RFC 7301 section 3.1) that are printable.
    fn protocols(mut self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        while !self.0.is_empty() {
            let name = self.vector8()?.0;
            let is_text = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
            let is_grease = <[u8; 2]>::try_from(name).is_ok_and(is_grease);
            if is_text && !is_grease && names.len() < MAX_ENTRIES {
                names.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        Some(names)
    }

    fn versions(mut self) -> Option<Vec<u16>> {
        let mut versions = Vec::new();
        while !self.0.is_empty() {
            let version = self.u16()?;
            if !is_grease(version.to_be_bytes()) && versions.len() < MAX_ENTRIES {
                versions.push(version);
            }
        }
        Some(versions)
    }
}

/// Whether a value is GREASE (RFC 8701).
fn is_grease([first, second]: [u8; 2]) -> bool {
    first == second && first & 0x0f == 0x0a
}
