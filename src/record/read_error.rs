//! Errors of reading lines.

use std::fmt;
use std::io;

/// Longest line that is read, in bytes: 4 MiB, some 400 times a full record. A longer line is
/// skipped, so that the memory used is bounded for any input.
pub const MAX_LINE: usize = 4 << 20;

/// How input is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// gzip (RFC 1952), of one member or several.
    Gzip,
    /// Zstandard (RFC 8878), of one frame or several.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Why a line could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// Reading the input failed. Nothing follows.
    Io(io::Error),
    /// A line is incomplete, not JSON, or not a record. Reading continues with the next line.
    Line(serde_json::Error),
    /// A line is longer than [`MAX_LINE`]. Reading continues with the next line.
    TooLong,
    /// The compressed input is truncated. Nothing follows; some lines before it may be lost.
    Truncated(Compression),
    /// The compressed input is damaged. Nothing follows; some lines before it may be lost.
    Damaged(Compression),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot read records: {error}"),
            Self::Line(error) => write!(f, "cannot read records: a line is not a record: {error}"),
            Self::TooLong => {
                write!(
                    f,
                    "cannot read records: a line is longer than {MAX_LINE} bytes; it is skipped"
                )
            }
            Self::Truncated(compression) => {
                write!(f, "cannot read records: the {compression} data are truncated")
            }
            Self::Damaged(compression) => {
                write!(f, "cannot read records: the {compression} data are corrupt")
            }
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Line(error) => Some(error),
            Self::TooLong | Self::Truncated(_) | Self::Damaged(_) => None,
        }
    }
}
