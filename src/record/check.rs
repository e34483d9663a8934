//! Checks files of records for torn, missing, repeated and never closed lines.

use std::collections::BTreeMap;
use std::io::{self, Read};

use uuid::Uuid;

use super::finding::{BadLine, Finding, MAX_BAD_LINES, OpenPair};
use super::numbers::Numbers;
use super::read_error::ReadError;
use super::reader::{EmptyLines, lines};
use super::{BriefLine, Remark};

/// Memory limit of a check, bytes: enough for some 400,000 runs, or a million open pairs. A file of
/// one proxy needs a few kilobytes, and some 200 bytes for each open pair.
const CAPACITY: usize = 256 << 20;

/// Estimated size of a run, including its map entry.
const RUN_SIZE: usize = 640;

/// Estimated size of a range of numbers.
const RANGE_SIZE: usize = 32;

/// Estimated size of an open pair, without its strings.
const OPEN_PAIR_SIZE: usize = 64 + size_of::<OpenPair>();

/// Reads files of records, in any order, and finds what is wrong with them. A file may contain
/// several runs, also interleaved. The memory used is bounded, whatever the content.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// let mut check = conniver::record::Check::default();
/// check.read("records.ndjson", std::fs::File::open("records.ndjson")?)?;
/// for finding in check.finish().findings {
///     println!("{finding}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Check {
    lines: u64,
    runs: BTreeMap<Uuid, Run>,
    /// Estimated memory of the runs, bytes.
    size: usize,
    /// Limit on that memory, bytes.
    capacity: usize,
    /// The limit was reached: later lines are not in the runs.
    is_full: bool,
    findings: Vec<Finding>,
    /// Further findings that were only counted.
    only_counted: u64,
}

/// The result of a check.
#[derive(Debug)]
#[non_exhaustive]
pub struct CheckReport {
    /// Lines that were read, including bad ones.
    pub lines: u64,
    /// Number of runs.
    pub runs: usize,
    /// Pairs with a `close` line, and sockets with a `socket` line.
    pub closed: u64,
    /// Pairs that were refused and have no `close` line: `refused` lines count them.
    pub refused: u64,
    /// Findings: bad lines in their order, then those of each run.
    pub findings: Vec<Finding>,
    /// Number of findings, including those counted by [`Finding::More`].
    pub found: u64,
    /// Open questions that are not errors.
    pub remarks: Vec<Remark>,
}

#[derive(Debug, Default)]
struct Run {
    lines: Numbers,
    repeated: Numbers,
    open: BTreeMap<u64, Box<OpenPair>>,
    closed: Numbers,
    closed_again: Numbers,
    /// Pairs that `refused` lines count.
    refused: u64,
    /// Bytes of the open pairs' texts.
    texts: usize,
    /// The largest pair number in any line.
    accepted: u64,
    /// `pairs` and `linesLost` of its `stop` line.
    stopped: Option<(u64, u64)>,
    /// Pairs have `open` or `close` lines, which `--events` can leave out.
    has_pairs: bool,
    /// The run of a proxy, which may write a `stop` line.
    is_proxy: bool,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            lines: 0,
            runs: BTreeMap::new(),
            size: 0,
            capacity: CAPACITY,
            is_full: false,
            findings: Vec::new(),
            only_counted: 0,
        }
    }
}

impl Check {
    /// Reads a file to its end, whatever its content. Files compressed by gzip or zstd are
    /// decompressed.
    ///
    /// # Errors
    ///
    /// Reading fails. Compressed data that are truncated or damaged are a finding instead.
    pub fn read(&mut self, name: &str, input: impl Read) -> io::Result<()> {
        // In the order of the report.
        let mut bad = [(BadLine::Torn, 0_u64), (BadLine::NoRecord, 0), (BadLine::TooLong, 0)];
        let (mut records, mut first_bad, mut first_missing) = (0_u64, None, None);
        let (mut read, mut cut) = (Ok(()), None);
        let before = self.findings.len();
        for (line, number) in lines(input, EmptyLines::Count).zip(1..) {
            let mut missing = None;
            let what = match line {
                Ok(line) => {
                    self.lines += 1;
                    records += 1;
                    self.take(&line, || (name.to_owned(), number));
                    continue;
                }
                Err(ReadError::Io(error)) => {
                    read = Err(error);
                    break;
                }
                Err(ReadError::Line(error)) if error.is_eof() => BadLine::Torn,
                Err(ReadError::Line(error)) => {
                    missing = missing_key(&error);
                    BadLine::NoRecord
                }
                Err(ReadError::TooLong) => BadLine::TooLong,
                Err(ReadError::Truncated(compression)) => {
                    let (file, lines) = (name.to_owned(), number - 1);
                    cut = Some(Finding::Truncated { file, compression, lines });
                    break;
                }
                Err(ReadError::Damaged(compression)) => {
                    let (file, lines) = (name.to_owned(), number - 1);
                    cut = Some(Finding::Damaged { file, compression, lines });
                    break;
                }
            };
            self.lines += 1;
            if first_bad.is_none() {
                (first_bad, first_missing) = (Some(what), missing.clone());
            }
            if let Some((_, count)) = bad.iter_mut().find(|(kind, _)| *kind == what) {
                *count += 1;
                if *count <= MAX_BAD_LINES {
                    self.findings.push(what.at(name, number, missing));
                }
            }
        }
        let lines = bad.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
        if let Some(first) = first_bad.filter(|first| records == 0 && first.is_foreign_file(lines))
        {
            // Not a file of records: one finding instead of one for each line.
            self.findings.truncate(before);
            let (file, missing) = (name.to_owned(), first_missing);
            self.findings.push(Finding::NoRecords { file, lines, first, missing });
            bad = bad.map(|(what, _)| (what, 0));
        }
        self.findings.extend(cut);
        for (what, count) in bad {
            let lines = count.saturating_sub(MAX_BAD_LINES);
            if lines > 0 {
                self.findings.push(Finding::More { file: name.to_owned(), what, lines });
                self.only_counted += lines - 1;
            }
        }
        read
    }

    /// All fields used here are in lines of every level of detail.
    fn take(&mut self, line: &BriefLine<'_>, at: impl FnOnce() -> (String, u64)) {
        if self.is_full {
            return;
        }
        let (run, number) = match line {
            BriefLine::Start(start) => (start.run_id, start.line),
            BriefLine::Stop(stop) => (stop.run_id, stop.line),
            BriefLine::Open(record) | BriefLine::Close(record) => (record.run_id, record.line),
            BriefLine::Sample(sample) => (sample.header.run_id, sample.line),
            BriefLine::Turn(turn) => (turn.header.run_id, turn.line),
            BriefLine::Refused(refused) => (refused.run_id, refused.line),
            // One line each.
            BriefLine::Stat(stat) => (stat.run_id, stat.seq),
            BriefLine::Socket(socket) => (socket.header.run_id, socket.line),
            BriefLine::SocketSample(sample) => (sample.header.run_id, sample.line),
            BriefLine::Overflow(overflow) => (overflow.run_id, overflow.line),
        };
        let known = self.runs.len();
        let run = self.runs.entry(run).or_default();
        let before = run.size();
        run.take(line, number);
        self.size = self.size.saturating_add(run.size()).saturating_sub(before);
        self.size += (self.runs.len() - known) * RUN_SIZE;
        if self.size > self.capacity {
            self.is_full = true;
            let (file, line) = at();
            self.findings.push(Finding::Overflow { file, line });
        }
    }

    /// Returns the findings in all files read.
    pub fn finish(self) -> CheckReport {
        let Self { lines, runs, is_full, mut findings, only_counted, .. } = self;
        // Lines after the limit are unknown.
        let remarks = if is_full { Vec::new() } else { remarks(&runs) };
        let closed = runs.values().map(|run| run.closed.count()).sum();
        let refused = runs.values().fold(0, |sum: u64, run| sum.saturating_add(run.refused));
        let count = runs.len();
        for (id, run) in runs {
            run.findings(id, &mut findings);
        }
        let found = findings.len() as u64 + only_counted;
        CheckReport { lines, runs: count, closed, refused, findings, found, remarks }
    }
}

impl Run {
    fn take(&mut self, line: &BriefLine<'_>, number: u64) {
        if !self.lines.insert(number) {
            self.repeated.insert(number);
            return;
        }
        self.is_proxy |= !matches!(line, BriefLine::Stat(_));
        self.has_pairs |= matches!(line, BriefLine::Open(_) | BriefLine::Close(_));
        match line {
            BriefLine::Start(_) | BriefLine::Stat(_) => {}
            BriefLine::Stop(stop) => self.stopped = Some((stop.pairs, stop.lines_lost)),
            BriefLine::Open(record) => self.is_open(record.seq, || OpenPair::opened(record)),
            BriefLine::Sample(sample) => {
                self.is_open(sample.header.seq, || OpenPair::seen(&sample.header))
            }
            BriefLine::Turn(turn) => self.is_open(turn.header.seq, || OpenPair::seen(&turn.header)),
            BriefLine::Close(record) => self.is_closed(record.seq),
            BriefLine::Refused(refused) => {
                self.refused = self.refused.saturating_add(refused.count);
            }
            BriefLine::Socket(socket) => self.note_closed(socket.header.seq),
            // A watch ends before the sockets that it watches.
            BriefLine::SocketSample(_) | BriefLine::Overflow(_) => {}
        }
    }

    /// Estimated memory beyond the fixed size of a run, bytes.
    fn size(&self) -> usize {
        let numbers = [&self.lines, &self.repeated, &self.closed, &self.closed_again];
        let ranges: usize = numbers.iter().map(|numbers| numbers.len()).sum();
        ranges * RANGE_SIZE + self.open.len() * OPEN_PAIR_SIZE + self.texts
    }

    fn is_open(&mut self, seq: u64, pair: impl FnOnce() -> OpenPair) {
        self.accepted = self.accepted.max(seq);
        // Files may be read in any order, so its end may have been read already.
        if !self.closed.contains(seq) && !self.open.contains_key(&seq) {
            let pair = Box::new(pair());
            self.texts += pair.texts();
            self.open.insert(seq, pair);
        }
    }

    fn is_closed(&mut self, seq: u64) {
        self.accepted = self.accepted.max(seq);
        if let Some(pair) = self.open.remove(&seq) {
            self.texts -= pair.texts();
        }
        self.note_closed(seq);
    }

    fn note_closed(&mut self, seq: u64) {
        if !self.closed.insert(seq) {
            self.closed_again.insert(seq);
        }
    }

    /// Whether all lines up to the last one are present.
    fn is_whole(&self) -> bool {
        self.lines.len() == 1 && self.lines.contains(1)
    }

    /// Pairs with lower numbers than a recorded one, but without any line.
    fn unrecorded(&self) -> u64 {
        let accounted = self.closed.count().saturating_add(self.refused);
        // Without any, `close` lines were disabled.
        if !self.is_whole() || accounted == 0 {
            return 0;
        }
        self.accepted.saturating_sub(accounted.saturating_add(self.open.len() as u64))
    }

    fn findings(self, run: Uuid, findings: &mut Vec<Finding>) {
        let missing = self.lines.gaps().map(|(first, last)| Finding::Missing { run, first, last });
        findings.extend(missing);
        let repeated = self.repeated.ranges();
        findings.extend(repeated.map(|(first, last)| Finding::Repeated { run, first, last }));
        let again = self.closed_again.ranges();
        findings.extend(again.map(|(first, last)| Finding::ClosedAgain { run, first, last }));
        if let Some((accepted, lost)) = self.stopped {
            let (closed, refused) = (self.closed.count(), self.refused);
            let accounted = closed.saturating_add(refused);
            // Without any, `close` lines were disabled.
            if self.is_whole() && accounted > 0 && accounted < accepted {
                findings.push(Finding::Unaccounted { run, accepted, closed, refused });
            }
            if lost > 0 {
                findings.push(Finding::Lost { run, lines: lost });
            }
        }
        if self.has_pairs && !self.has_closes_disabled() {
            findings.extend(self.open.into_values().map(Finding::Open));
        }
    }

    /// Whether no connection has a `close` line.
    fn lacks_closes(&self) -> bool {
        self.has_pairs && self.closed.count() == 0 && !self.open.is_empty()
    }

    /// Whether `--events` left out `close` lines: a run that ends closes all connections, and none of
    /// its lines is missing.
    fn has_closes_disabled(&self) -> bool {
        let is_complete = self.stopped.is_some_and(|(_, lost)| lost == 0) && self.is_whole();
        self.lacks_closes() && is_complete
    }
}

/// The key without which a line of a known event is no record.
fn missing_key(error: &serde_json::Error) -> Option<Box<str>> {
    let text = error.to_string();
    let (key, _) = text.strip_prefix("missing field `")?.split_once('`')?;
    (key != "event").then(|| key.into())
}

/// Open questions about these runs.
fn remarks(runs: &BTreeMap<Uuid, Run>) -> Vec<Remark> {
    let firsts = runs.iter().filter_map(|(&run, Run { lines, .. })| Some((run, lines.first()?)));
    let earlier = firsts.filter(|&(_, first)| first > 1);
    let mut remarks: Vec<_> = earlier.map(|(run, first)| Remark::Earlier { run, first }).collect();
    let mut unclosed = runs.iter().filter(|(_, run)| run.lacks_closes());
    if let Some((&run, first)) = unclosed.next() {
        let (mut runs, mut open) = (1, first.open.len() as u64);
        for (_, run) in unclosed {
            runs += 1;
            open += run.open.len() as u64;
        }
        remarks.push(Remark::Unclosed { runs, run, open });
    }
    let unended = || runs.iter().filter(|(_, run)| run.is_proxy && run.stopped.is_none());
    if let Some((&run, _)) = unended().next() {
        let unrecorded = unended().fold(0, |sum: u64, (_, r)| sum.saturating_add(r.unrecorded()));
        remarks.push(Remark::Unended { runs: unended().count() as u64, run, unrecorded });
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of a run, the shortest that there is.
    fn stop(run: u128, line: u64) -> String {
        let run = Uuid::from_u128(run);
        format!(
            r#"{{"event":"stop","schema":1,"time":"2026-01-01T00:00:00Z","host":"","labels":{{}},"runId":"{run}","duration":0,"pairs":0,"linesLost":0,"line":{line}}}"#
        )
    }

    fn checked(capacity: usize, lines: impl Iterator<Item = String>) -> CheckReport {
        let mut check = Check { capacity, ..Check::default() };
        check.read("file", lines.collect::<Vec<_>>().join("\n").as_bytes()).unwrap();
        check.finish()
    }

    #[test]
    fn more_runs_or_gaps_than_there_is_room_for_are_told_once() {
        let capacity = 100 * RUN_SIZE;
        for lines in [
            (1..=1000).map(|run| stop(run, 1)).collect::<Vec<_>>(),
            (1..=10_000).map(|line| stop(1, 2 * line)).collect(),
        ] {
            let (count, fitting) = (lines.len() as u64, checked(usize::MAX, lines.iter().cloned()));
            assert!(!fitting.findings.iter().any(|f| matches!(f, Finding::Overflow { .. })));
            let checked = checked(capacity, lines.into_iter().chain(["nonsense".to_owned()]));
            assert_eq!(checked.lines, count + 1);
            assert!(checked.runs <= 101, "{}", checked.runs);
            let told = checked.findings.iter().filter(|f| matches!(f, Finding::Overflow { .. }));
            assert_eq!(told.count(), 1);
            // What comes after it is still read.
            let (file, line) = ("file".to_owned(), count + 1);
            let bad = Finding::NoRecord { file, line, missing: None };
            assert!(checked.findings.contains(&bad));
        }
    }
}
