//! Reads records line by line. A bad line is an error of its own; reading continues after it.

use std::io::Read;

use ndjson_stream::config::{EmptyLineHandling, NdjsonConfig};
use ndjson_stream::engine::NdjsonEngine;
use serde::de::DeserializeOwned;

use super::input::{BLOCK, Input};
use super::read_error::{MAX_LINE, ReadError};
use super::{BriefLine, Line};

/// Reads the lines of `input`, as written with `--detail` `full` or `normal`. A last line without a
/// line feed is read as well; if it is incomplete, it is an error. Input compressed by gzip or zstd
/// is decompressed.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use conniver::record::{self, Line};
/// for line in record::read(std::fs::File::open("records.ndjson")?) {
///     if let Line::Close(record) = line? {
///         println!("{} {:?}", record.target.unwrap_or_default(), record.duration);
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub fn read<R: Read>(input: R) -> impl Iterator<Item = Result<Line, ReadError>> {
    lines(input, EmptyLines::Skip)
}

/// Reads lines of any level of detail, as far as `brief` has them.
pub fn read_brief<R: Read>(
    input: R,
) -> impl Iterator<Item = Result<BriefLine<'static>, ReadError>> {
    lines(input, EmptyLines::Skip)
}

/// Reads the lines as a type that holds less of them.
#[cfg(feature = "cli")]
pub(crate) fn read_as<L: DeserializeOwned, R: Read>(
    input: R,
) -> impl Iterator<Item = Result<L, ReadError>> {
    lines(input, EmptyLines::Skip)
}

/// How to treat empty lines.
pub(super) enum EmptyLines {
    /// They are ignored.
    Skip,
    /// They are bad lines, so that line numbers are correct.
    Count,
}

pub(super) fn lines<L: DeserializeOwned, R: Read>(
    input: R,
    empty: EmptyLines,
) -> impl Iterator<Item = Result<L, ReadError>> {
    Lines::new(input, empty)
}

/// Iterator over the lines of a reader. Buffers one block and one line.
struct Lines<L, R> {
    input: Input<R>,
    /// The last block; from `next` on it is still to be parsed.
    block: Vec<u8>,
    next: usize,
    parser: NdjsonEngine<L>,
    config: NdjsonConfig,
    /// Bytes of the current line in the parser.
    held: usize,
    /// The current line is too long: the rest of it is skipped.
    is_skipping: bool,
    is_over: bool,
}

impl<L: DeserializeOwned, R: Read> Lines<L, R> {
    fn new(input: R, empty: EmptyLines) -> Self {
        let handling = match empty {
            EmptyLines::Skip => EmptyLineHandling::IgnoreBlank,
            EmptyLines::Count => EmptyLineHandling::ParseAlways,
        };
        let config =
            NdjsonConfig::default().with_empty_line_handling(handling).with_parse_rest(true);
        Self {
            input: Input::new(input),
            block: Vec::with_capacity(BLOCK),
            next: 0,
            parser: NdjsonEngine::with_config(config),
            config,
            held: 0,
            is_skipping: false,
            is_over: false,
        }
    }

    /// Reads the next block; returns its length, 0 at the end.
    fn read_block(&mut self) -> Result<usize, ReadError> {
        self.next = 0;
        self.block.resize(BLOCK, 0);
        let read = self.input.read(&mut self.block);
        self.block.truncate(*read.as_ref().unwrap_or(&0));
        read
    }

    /// Parses the part of the current line in the block.
    fn parse_piece(&mut self) -> Result<(), ReadError> {
        let rest = self.block.get(self.next..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest);
        let piece = end.and_then(|end| rest.get(..=end)).unwrap_or(rest);
        self.next += piece.len();
        let is_too_long = !self.is_skipping && self.held + piece.len() > MAX_LINE;
        if is_too_long {
            // Discards the buffered part of the line.
            self.parser = NdjsonEngine::with_config(self.config);
        } else if !self.is_skipping {
            self.parser.input(piece);
        }
        let ends = end.is_some();
        self.held = if ends { 0 } else { self.held + piece.len() };
        self.is_skipping = !ends && (self.is_skipping || is_too_long);
        if is_too_long { Err(ReadError::TooLong) } else { Ok(()) }
    }
}

impl<L: DeserializeOwned, R: Read> Iterator for Lines<L, R> {
    type Item = Result<L, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(line) = self.parser.pop() {
                return Some(line.map_err(ReadError::Line));
            }
            if self.next < self.block.len() {
                if let Err(error) = self.parse_piece() {
                    return Some(Err(error));
                }
                continue;
            }
            if self.is_over {
                return None;
            }
            match self.read_block() {
                Ok(0) => {
                    self.is_over = true;
                    self.parser.finalize();
                }
                Ok(_) => {}
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// What becomes of each line, a word each.
    fn read_lines(input: impl Read) -> Vec<&'static str> {
        let lines = lines::<serde_json::Value, _>(input, EmptyLines::Count);
        lines
            .map(|line| match line {
                Ok(_) => "ok",
                Err(ReadError::Line(error)) if error.is_eof() => "torn",
                Err(ReadError::Line(_)) => "bad",
                Err(ReadError::TooLong) => "long",
                Err(ReadError::Io(_)) => "error",
                Err(ReadError::Truncated(_)) => "truncated",
                Err(ReadError::Damaged(_)) => "damaged",
            })
            .collect()
    }

    /// A line of so many bytes, its end included.
    fn line_of(length: usize) -> Vec<u8> {
        [b"\"", &vec![b'x'; length - 3][..], b"\"\n"].concat()
    }

    #[test]
    fn a_line_beyond_the_limit_is_skipped_to_its_end_and_the_next_one_is_read() {
        let lines = [
            &b"1\n"[..],
            &line_of(MAX_LINE),
            &line_of(MAX_LINE + 1),
            b"2\n\n",
            &line_of(2 * MAX_LINE),
            b"3",
        ];
        let words = ["ok", "ok", "long", "ok", "torn", "long", "ok"];
        assert_eq!(read_lines(&lines.concat()[..]), words);
    }

    #[test]
    fn a_line_without_end_is_told_once() {
        assert_eq!(read_lines(io::repeat(0).take(3 * MAX_LINE as u64)), ["long"]);
        assert_eq!(read_lines(io::repeat(b'\n').take(3)), ["torn"; 3]);
        assert_eq!(read_lines(io::empty()), [""; 0]);
    }

    #[test]
    fn an_error_of_the_input_ends_the_lines() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::TimedOut.into())
            }
        }
        assert_eq!(read_lines((&b"1\n2"[..]).chain(Broken)), ["ok", "error"]);
    }
}
