//! Reading records back, line by line; a bad line is an error of its own and stops nothing.

use std::fmt;
use std::io::{self, Read};

use ndjson_stream::config::{EmptyLineHandling, NdjsonConfig};
use ndjson_stream::fallible::FallibleNdjsonError;

use serde::de::DeserializeOwned;

use super::{BriefLine, Line};

/// Why a line could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// Reading the input failed. Nothing follows.
    Io(io::Error),
    /// A line is torn, no JSON, or no record. The next line is read all the same.
    Line(serde_json::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "reading records: {error}"),
            Self::Line(error) => write!(f, "reading records: a line is not a record: {error}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Line(error) => Some(error),
        }
    }
}

/// The lines of `input`, one after the other, as written with the detail `full` or `normal`. A last
/// line without its line feed is read as well: whole, it is a record; torn, it is an error.
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

/// The same for lines of any detail: as much of them as the detail `brief` has.
pub fn read_brief<R: Read>(
    input: R,
) -> impl Iterator<Item = Result<BriefLine<'static>, ReadError>> {
    lines(input, EmptyLines::Skip)
}

/// What becomes of lines without anything on them.
pub(super) enum EmptyLines {
    /// They are not told of.
    Skip,
    /// They are bad lines like others, so that what comes can be counted.
    Count,
}

pub(super) fn lines<L: DeserializeOwned, R: Read>(
    input: R,
    empty: EmptyLines,
) -> impl Iterator<Item = Result<L, ReadError>> {
    let handling = match empty {
        EmptyLines::Skip => EmptyLineHandling::IgnoreBlank,
        EmptyLines::Count => EmptyLineHandling::ParseAlways,
    };
    let config = NdjsonConfig::default().with_empty_line_handling(handling).with_parse_rest(true);
    ndjson_stream::from_fallible_iter_with_config(Blocks { input, over: false }, config).map(
        |line| {
            line.map_err(|error| match error {
                FallibleNdjsonError::InputError(error) => ReadError::Io(error),
                FallibleNdjsonError::JsonError(error) => ReadError::Line(error),
            })
        },
    )
}

/// A reader as blocks of bytes.
struct Blocks<R> {
    input: R,
    over: bool,
}

const BLOCK: usize = 64 * 1024;

impl<R: Read> Iterator for Blocks<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        if self.over {
            return None;
        }
        let mut block = vec![0; BLOCK];
        loop {
            match self.input.read(&mut block) {
                Ok(0) => return None,
                Ok(bytes) => {
                    block.truncate(bytes);
                    return Some(Ok(block));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
