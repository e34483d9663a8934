//! Input that may be compressed, as by log rotation: recognized by its first bytes, whatever its
//! name, and decompressed while reading.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::read_error::{Compression, ReadError};

/// Size of a read, bytes.
pub(super) const BLOCK: usize = 64 << 10;

/// First bytes of unsupported compressed formats, and the program that reads them. No record begins
/// with them.
const UNREAD: [(&[u8], &str); 4] = [
    (b"\xfd7zX", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x1f\x9d", "uncompress"),
];

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
        }
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
        if let Some((_, program)) = UNREAD.iter().find(|(magic, _)| begin.starts_with(magic)) {
            let text = format!("it is compressed; decompress it first with {program} -dc FILE");
            return Err(ReadError::Io(io::Error::new(io::ErrorKind::Unsupported, text)));
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
}

impl<R: Read> Zstd<R> {
    fn new(source: Source<R>) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Self { source, decoder, is_in_frame: false }
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
                Err(
                    error @ (FrameDecoderError::WindowSizeTooBig { .. }
                    | FrameDecoderError::DictNotProvided { .. }),
                ) => {
                    let text = format!("{error}; decompress it first with zstd -dc FILE");
                    return Err(io::Error::new(io::ErrorKind::Unsupported, text));
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
            let decoder = &mut self.decoder;
            while decoder.can_collect() == 0 && !decoder.is_finished() {
                decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            let read = decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
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
