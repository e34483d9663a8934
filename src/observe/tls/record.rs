//! The record layer (RFC 8446 section 5.1, RFC 5246 section 6.2.1), in pieces of any size.

/// A record's header: type, version, length.
const HEADER: usize = 5;

/// 2^14 of plaintext, and what encryption may add (RFC 5246 section 6.2.3).
const MAX_LENGTH: usize = (1 << 14) + 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentType {
    ChangeCipherSpec,
    Alert,
    Handshake,
    ApplicationData,
}

/// The next piece of a direction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'b> {
    /// A record begins.
    Begins(ContentType),
    /// A part of its content.
    Content(ContentType, &'b [u8]),
}

/// The bytes are not TLS records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotTls;

/// Splits a stream into records, buffering only headers.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: [u8; HEADER],
    header_len: usize,
    /// Bytes of the current record that are still to come.
    left: usize,
}

impl Records {
    /// Consumes one piece of `bytes`; `None` when none is left.
    pub(super) fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<Piece<'b>>, NotTls> {
        if self.left == 0 && self.header_len == HEADER {
            self.header_len = 0;
        }
        while self.header_len < HEADER {
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(None) };
            *bytes = rest;
            if let Some(place) = self.header.get_mut(self.header_len) {
                *place = byte;
            }
            self.header_len += 1;
            if self.header_len == HEADER {
                return self.begins().map(Some);
            }
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        let (content, rest) = bytes.split_at(self.left.min(bytes.len()));
        *bytes = rest;
        self.left -= content.len();
        Ok(Some(Piece::Content(self.content_type()?, content)))
    }

    fn begins<'b>(&mut self) -> Result<Piece<'b>, NotTls> {
        let [_, major, minor, length @ ..] = self.header;
        self.left = usize::from(u16::from_be_bytes(length));
        let content_type = self.content_type()?;
        // Only application data may be empty.
        let empty = self.left == 0 && content_type != ContentType::ApplicationData;
        if major != 3 || minor > 4 || empty || self.left > MAX_LENGTH {
            return Err(NotTls);
        }
        Ok(Piece::Begins(content_type))
    }

    fn content_type(&self) -> Result<ContentType, NotTls> {
        match self.header[0] {
            20 => Ok(ContentType::ChangeCipherSpec),
            21 => Ok(ContentType::Alert),
            22 => Ok(ContentType::Handshake),
            23 => Ok(ContentType::ApplicationData),
            _ => Err(NotTls),
        }
    }
}
