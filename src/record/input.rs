//! Input that may be compressed, as by log rotation: recognized by its first bytes, whatever its
//! name, and decompressed while reading.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::read_error::{Compression, ReadError};

/// Size of a read, bytes.
pub(super) const BLOCK: usize = 64 << 10;

/// First bytes of unsupported formats: what they are, and what to do. No record begins with them.
const UNREAD: [(&[u8], &str); 11] = [
    (b"\xfd7zX", "compressed; decompress it first with xz -dc FILE"),
    (b"BZh", "compressed; decompress it first with bzip2 -dc FILE"),
    (b"\x04\x22\x4d\x18", "compressed; decompress it first with lz4 -dc FILE"),
    (b"\x1f\x9d", "compressed; decompress it first with uncompress -dc FILE"),
    (b"PK\x03\x04", "a zip archive; extract it first with unzip -p FILE"),
    (b"\xff\xfe", UTF_16),
    (b"\xfe\xff", UTF_16),
    (b"\xd4\xc3\xb2\xa1", CAPTURE),
    (b"\xa1\xb2\xc3\xd4", CAPTURE),
    (b"\x4d\x3c\xb2\xa1", CAPTURE),
    (b"\x0a\x0d\x0d\x0a", CAPTURE),
];

/// pcap in both byte orders and with nanoseconds, and pcapng.
const CAPTURE: &str = "a capture of packets, which has no records; read it with tcpdump -r FILE";

/// As PowerShell's redirection writes it.
const UTF_16: &str = "UTF-16 text; convert it first with iconv -f UTF-16 -t UTF-8 FILE";

/// Some editors write it before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a tar archive has at its byte 257 (POSIX.1, ustar; GNU's as well).
const TAR: (usize, &[u8]) = (257, b"ustar");

/// The last block of a zstd frame, empty, and a checksum that is not checked (RFC 8878 section 3.1.1.2).
const LAST_BLOCK: [u8; 7] = [1, 0, 0, 0, 0, 0, 0];

/// Largest supported window of a zstd frame: that of `zstd --ultra -21`. It limits the memory used.
const MAX_WINDOW: u64 = 64 << 20;

/// Bytes needed to recognize a compression.
const MAGIC: usize = 4;

/// An input, decompressed.
pub(super) enum Input<R> {
    /// Nothing was read yet. `None` after an unsupported format.
    Unread(Option<R>),
    Plain(Source<R>),
    Gzip(MultiGzDecoder<Source<R>>),
    Zstd(Box<Zstd<R>>),
}

impl<R: Read> Input<R> {
    pub(super) fn new(input: R) -> Self {
        Self::Unread(Some(input))
    }

    /// The next bytes, 0 at the end.
    ///
    /// # Errors
    ///
    /// Nothing more can be read.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        if let Self::Unread(input) = self
            && let Some(input) = input.take()
        {
            *self = Self::recognize(Source::new(input))?;
            return self.read_first(buffer);
        }
        self.decode(buffer)
    }

    /// The first bytes, without a byte order mark.
    fn read_first(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let read = self.decode(buffer)?;
        let begin = buffer.get(..read).unwrap_or_default();
        let (at, magic) = TAR;
        if begin.get(at..).is_some_and(|begin| begin.starts_with(magic)) {
            return Err(unsupported("a tar archive; extract it first with tar -xOf FILE"));
        }
        if let Some(what) = wrapping(begin.strip_prefix(BYTE_ORDER_MARK).unwrap_or(begin)) {
            return Err(unsupported(&what));
        }
        if !begin.starts_with(BYTE_ORDER_MARK) {
            return Ok(read);
        }
        buffer.copy_within(BYTE_ORDER_MARK.len()..read, 0);
        match read - BYTE_ORDER_MARK.len() {
            0 => self.decode(buffer),
            read => Ok(read),
        }
    }

    fn decode(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let read = match self {
            Self::Unread(_) => Ok(0),
            Self::Plain(source) => source.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        };
        read.map_err(|error| match self {
            // An unsupported format is not damage.
            _ if error.kind() == io::ErrorKind::Unsupported => ReadError::Io(error),
            Self::Unread(_) => ReadError::Io(error),
            Self::Plain(source) => ReadError::Io(source.failed.take().unwrap_or(error)),
            Self::Gzip(decoder) => decoder.get_mut().take_error(Compression::Gzip),
            Self::Zstd(decoder) => decoder.source.take_error(Compression::Zstd),
        })
    }

    fn recognize(mut source: Source<R>) -> Result<Self, ReadError> {
        source.fill(MAGIC);
        let begin = source.rest();
        if let Some((_, what)) = UNREAD.iter().find(|(magic, _)| begin.starts_with(magic)) {
            return Err(unsupported(what));
        }
        Ok(match begin {
            [0x1f, 0x8b, ..] => Self::Gzip(MultiGzDecoder::new(source.in_whole_blocks())),
            // A frame, or a skippable frame, as pzstd writes first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Self::Zstd(Box::new(Zstd::new(source.in_whole_blocks())))
            }
            _ => Self::Plain(source),
        })
    }
}

fn unsupported(what: &str) -> ReadError {
    ReadError::Io(io::Error::new(io::ErrorKind::Unsupported, format!("it is {what}")))
}

/// What every record has. Programs between may have changed the order of its keys.
const KEY_OF_RECORDS: &[u8] = br#""event":"#;

/// The same within a string of JSON.
const QUOTED_KEY: &[u8] = br#"\"event\":"#;

/// What stands around the records of this text, and how to remove it: other words before each, as `docker
/// compose logs` and syslog write them, the JSON of a log, or an array. `None` if there is nothing.
fn wrapping(text: &[u8]) -> Option<String> {
    let array = text.trim_ascii_start().strip_prefix(b"[");
    if array.is_some_and(|elements| elements.trim_ascii_start().starts_with(b"{")) {
        return Some("a JSON array; write each element on one line: jq -c '.[]' FILE".to_owned());
    }
    let lines = || text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_start);
    // Where its object begins, of a line that has a record.
    let begin = |line: &[u8]| {
        let begin = memchr::memchr(b'{', line)?;
        memchr::memmem::find(line.get(begin..)?, KEY_OF_RECORDS).map(|_| begin)
    };
    if lines().any(|line| begin(line) == Some(0)) {
        return None;
    }
    if lines().any(|line| begin(line).is_some()) {
        let what = "text with other words before each record; remove these first with \
                    sed -n 's/^[^{]*{/{/p' FILE";
        return Some(what.to_owned());
    }
    let key = lines().find_map(key_of_record)?;
    Some(format!("JSON with the records in strings; take these out first with jq -r .{key} FILE"))
}

/// The key of the string of this line that is a record, as `"log"` in Docker's files, or `"MESSAGE"` of
/// journald.
fn key_of_record(line: &[u8]) -> Option<&str> {
    let before = line.get(..memchr::memmem::find(line, QUOTED_KEY)?)?;
    let before = before.get(
        ..memchr::memmem::rfind(before, br#""{\""#).or_else(|| {
            // It is the first key.
            before.strip_suffix(br#""{"#).map(<[u8]>::len)
        })?,
    )?;
    let before = before.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
    let key = before.strip_suffix(b"\"")?.rsplit(|byte| *byte == b'"').next()?;
    std::str::from_utf8(key).ok().filter(|key| key.chars().all(|c| c.is_alphanumeric() || c == '_'))
}

/// The raw bytes. Remembers why reading ended, which decoders do not distinguish.
pub(super) struct Source<R> {
    input: R,
    block: Vec<u8>,
    next: usize,
    /// Minimum number of bytes to read when the block is used up.
    least: usize,
    failed: Option<io::Error>,
    is_over: bool,
}

impl<R: Read> Source<R> {
    fn new(input: R) -> Self {
        let block = Vec::with_capacity(BLOCK);
        Self { input, block, next: 0, least: 1, failed: None, is_over: false }
    }

    /// A decoder loses buffered output before damaged data, depending on the size of its input.
    /// With whole blocks, every reading of a file gives the same result.
    fn in_whole_blocks(mut self) -> Self {
        self.least = BLOCK;
        self
    }

    fn rest(&self) -> &[u8] {
        self.block.get(self.next..).unwrap_or_default()
    }

    /// Reads until `least` bytes are buffered, or the input ends.
    fn fill(&mut self, least: usize) {
        self.block.drain(..self.next);
        self.next = 0;
        while self.block.len() < least && !self.is_over {
            let have = self.block.len();
            self.block.resize(BLOCK.max(least), 0);
            let read = match self.input.read(self.block.get_mut(have..).unwrap_or_default()) {
                Ok(read) => {
                    self.is_over = read == 0;
                    read
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => {
                    self.is_over = true;
                    self.failed = Some(error);
                    0
                }
            };
            self.block.truncate(have + read);
        }
    }

    /// Why decompression has failed.
    fn take_error(&mut self, compression: Compression) -> ReadError {
        match self.failed.take() {
            Some(error) => ReadError::Io(error),
            // The decoder wanted more bytes than there are.
            None if self.is_over && self.rest().is_empty() => ReadError::Truncated(compression),
            None => ReadError::Damaged(compression),
        }
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest().is_empty() {
            self.fill(self.least);
        }
        match &self.failed {
            // The original error is taken by `why`.
            Some(error) if self.rest().is_empty() => Err(error.kind().into()),
            _ => Ok(self.rest()),
        }
    }

    fn consume(&mut self, read: usize) {
        self.next += read;
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

/// Frames, one after the other.
pub(super) struct Zstd<R> {
    source: Source<R>,
    decoder: FrameDecoder,
    is_in_frame: bool,
    /// A block, with its header.
    block: Vec<u8>,
    /// Why there is no next block.
    failed: Option<io::Error>,
}

impl<R: Read> Zstd<R> {
    fn new(source: Source<R>) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Self { source, decoder, is_in_frame: false, block: Vec::new(), failed: None }
    }

    /// Decodes the next block of the frame. At the end of truncated input, the frame ends: the decoder keeps the
    /// bytes that a next block may refer to, and hands them over at the end only.
    fn next_block(&mut self) -> io::Result<()> {
        if let Err(error) = self.read_block() {
            self.failed = Some(error);
            self.block.clear();
            self.block.extend(LAST_BLOCK);
        }
        let mut source = self.block.as_slice().chain(&mut self.source);
        self.decoder
            .decode_blocks(&mut source, BlockDecodingStrategy::UptoBlocks(1))
            .map(drop)
            .map_err(io::Error::other)
    }

    /// Reads a whole block, still compressed (RFC 8878 section 3.1.1.2).
    fn read_block(&mut self) -> io::Result<()> {
        let mut header = [0; 3];
        self.source.read_exact(&mut header)?;
        let [low, middle, high] = header;
        let bits = u32::from_le_bytes([low, middle, high, 0]);
        let (kind, size) = ((bits >> 1) & 3, u64::from(bits >> 3));
        // One byte that is repeated, or as many as it says; the decoder checks all else.
        let size = if kind == 1 { 1 } else { size };
        self.block.clear();
        self.block.extend(header);
        let read = (&mut self.source).take(size).read_to_end(&mut self.block)?;
        if (read as u64) < size { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Advances to the next frame; returns whether there is one.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(FrameDecoderError::WindowSizeTooBig { requested, .. }) => {
                    return Err(io::Error::new(
                        io::ErrorKind::Unsupported,
                        format!(
                            "its zstd window of {} MiB is larger than {} MiB; decompress it first \
                             with zstd -dc --long=31 FILE",
                            requested >> 20,
                            MAX_WINDOW >> 20
                        ),
                    ));
                }
                Err(FrameDecoderError::DictNotProvided { .. }) => {
                    return Err(io::Error::new(
                        io::ErrorKind::Unsupported,
                        "it was compressed with a zstd dictionary; decompress it first with zstd \
                         -dc -D DICTIONARY FILE",
                    ));
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_in_frame && !self.next_frame()? {
                return Ok(0);
            }
            self.is_in_frame = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.next_block()?;
            }
            let decoder = &mut self.decoder;
            let read = decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            self.is_in_frame = false;
            let (said, computed) =
                (decoder.get_checksum_from_data(), decoder.get_calculated_checksum());
            if said.is_some() && said != computed {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}
