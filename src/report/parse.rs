//! Reading files of records on several threads: lines are parsed in parallel and handed on in order.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde::Deserialize;

use super::connection::Connection;
use super::shorten::shorten;
use super::watched::WatchedSocket;
use crate::record::{Blocks, Compression, ReadError};

/// Most threads that parse.
const MAX_PARSERS: usize = 8;

/// Blocks that wait for each thread, and parsed ones that wait to be used.
const QUEUED: usize = 2;

/// What a line is.
pub(super) enum Parsed {
    /// A connection.
    Close(Box<Connection>),
    /// A socket that was watched without a proxy.
    Socket(Box<Connection>),
    /// A line that is no connection.
    Other(Other),
    /// Connections that were refused without lines of their own.
    Refused(Refused),
    /// Its JSON ends too early.
    Torn,
    /// No record.
    Bad,
    /// Longer than any record.
    TooLong,
}

/// A `refused` line.
pub(super) struct Refused {
    /// How many connections it counts.
    pub(super) count: u64,
    /// The run.
    pub(super) run: Box<str>,
    /// Number of the line in the run.
    pub(super) line: u64,
}

/// Lines that tell of no connection's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Other {
    /// An `open` line.
    Open,
    /// A `turn` line.
    Turn,
    /// A `sample` or a `socketSample` line.
    Sample,
    /// A `stat` line.
    Stat,
    /// Another one: of a run, not of a connection.
    Any,
    /// Of a later version, or no record.
    Unknown,
}

/// How a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileEnd {
    Whole,
    Truncated(Compression),
    Damaged(Compression),
}

/// A block with what its lines are.
struct ParsedBlock {
    bytes: Vec<u8>,
    lines: Vec<(Range<usize>, Parsed)>,
}

/// Calls `each` for each line of `input` that is not empty, in order, with its text.
///
/// # Errors
///
/// Reading fails; the lines before were handed on.
pub(super) fn read<R: Read + Send>(
    input: R,
    mut each: impl FnMut(Parsed, &[u8]),
) -> io::Result<FileEnd> {
    let parsers = thread::available_parallelism().map_or(1, usize::from).min(MAX_PARSERS);
    thread::scope(|scope| {
        let (mut to_parsers, mut from_parsers) = (Vec::new(), Vec::new());
        for _ in 0..parsers {
            let (to_parser, blocks) = sync_channel(QUEUED);
            let (parsed, from_parser) = sync_channel(QUEUED);
            scope.spawn(move || parse_blocks(&blocks, &parsed));
            to_parsers.push(to_parser);
            from_parsers.push(from_parser);
        }
        let reader = scope.spawn(move || read_blocks(input, &to_parsers));
        // In turn, as the reader hands them out.
        'all: loop {
            for from_parser in &from_parsers {
                let Ok(block): Result<ParsedBlock, _> = from_parser.recv() else { break 'all };
                for (range, line) in block.lines {
                    each(line, block.bytes.get(range).unwrap_or_default());
                }
            }
        }
        reader.join().unwrap_or_else(|_| Err(io::Error::other("internal error (panic)")))
    })
}

/// Hands the blocks to each parser in turn.
fn read_blocks<R: Read>(
    input: R,
    to_parsers: &[SyncSender<Result<Vec<u8>, ()>>],
) -> io::Result<FileEnd> {
    for (block, parser) in Blocks::new(input).zip(to_parsers.iter().cycle()) {
        let block = match block {
            Ok(block) => Ok(block),
            Err(ReadError::TooLong | ReadError::Line(_)) => Err(()),
            Err(ReadError::Io(error)) => return Err(error),
            Err(ReadError::Truncated(how)) => return Ok(FileEnd::Truncated(how)),
            Err(ReadError::Damaged(how)) => return Ok(FileEnd::Damaged(how)),
        };
        if parser.send(block).is_err() {
            break;
        }
    }
    Ok(FileEnd::Whole)
}

fn parse_blocks(blocks: &Receiver<Result<Vec<u8>, ()>>, parsed: &SyncSender<ParsedBlock>) {
    for block in blocks {
        let (bytes, lines) = match block {
            Ok(bytes) => {
                let lines = parse_lines(&bytes);
                (bytes, lines)
            }
            Err(()) => (Vec::new(), vec![(0..0, Parsed::TooLong)]),
        };
        if parsed.send(ParsedBlock { bytes, lines }).is_err() {
            return;
        }
    }
}

fn parse_lines(bytes: &[u8]) -> Vec<(Range<usize>, Parsed)> {
    let mut lines = Vec::new();
    let mut short = Vec::new();
    let mut begin = 0;
    let ends = memchr::memchr_iter(b'\n', bytes).chain([bytes.len()]);
    for end in ends {
        let line = bytes.get(begin..end).unwrap_or_default();
        if !line.trim_ascii().is_empty() {
            lines.push((begin..end, parse(line, &mut short)));
        }
        begin = end + 1;
    }
    lines
}

/// The key that tells what a line is, and those of lines that are no connection.
#[derive(Deserialize)]
struct Event<'l> {
    #[serde(borrow)]
    event: std::borrow::Cow<'l, str>,
    #[serde(default)]
    count: u64,
    #[serde(borrow, default, rename = "runId")]
    run: std::borrow::Cow<'l, str>,
    #[serde(default, rename = "line")]
    number: u64,
}

/// As the lines begin that this program writes.
const CLOSE: &[u8] = br#"{"event":"close","#;

/// `short`: a buffer.
fn parse(line: &[u8], short: &mut Vec<u8>) -> Parsed {
    if line.starts_with(CLOSE) {
        shorten(line, short);
        // Checked as a whole, which costs a tenth of checking each string.
        if let Ok(short) = std::str::from_utf8(short)
            && let Ok(connection) = serde_json::from_str(short)
        {
            return Parsed::Close(Box::new(connection));
        }
    }
    match serde_json::from_slice::<Event<'_>>(line) {
        Ok(Event { event, count, run, number }) => match &*event {
            "close" => parse_close(line),
            "socket" => parse_socket(line),
            "open" => Parsed::Other(Other::Open),
            "turn" => Parsed::Other(Other::Turn),
            "sample" | "socketSample" => Parsed::Other(Other::Sample),
            "stat" => Parsed::Other(Other::Stat),
            "refused" => Parsed::Refused(Refused { count, run: run.into(), line: number }),
            "start" | "stop" | "overflow" => Parsed::Other(Other::Any),
            _ => Parsed::Other(Other::Unknown),
        },
        Err(error) => failed(&error),
    }
}

fn parse_close(line: &[u8]) -> Parsed {
    match serde_json::from_slice(line) {
        Ok(connection) => Parsed::Close(Box::new(connection)),
        Err(error) => failed(&error),
    }
}

fn parse_socket(line: &[u8]) -> Parsed {
    match serde_json::from_slice::<WatchedSocket>(line) {
        Ok(socket) => Parsed::Socket(Box::new(socket.into())),
        Err(error) => failed(&error),
    }
}

fn failed(error: &serde_json::Error) -> Parsed {
    if error.is_eof() { Parsed::Torn } else { Parsed::Bad }
}
