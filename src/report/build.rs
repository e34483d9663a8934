//! From files of records to a report.

use std::io::{self, Read};

use super::compare::Observation;
use super::connection::Connection;
use super::file_read::FileRead;
use super::findings::{Finding, Findings};
use super::groups::{Group, GroupBy, Groups};
use super::kept::{Kept, Largest, sampling_rank};
use super::parse::{self, FileEnd, Other, Parsed, Refused};
use super::redact::Redactor;
use super::seen::Seen;
use super::selection::Selection;
use super::totals::Totals;
use crate::record::{BadLine, Record};

/// What a report is made of.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The property by which connections are grouped.
    pub by: GroupBy,
    /// Which connections are in the report.
    pub selection: Selection,
    /// How many of the slowest connections, and of the slowest turns, are kept.
    pub slowest: usize,
    /// How many failed connections are kept: a sample of all.
    pub failed: usize,
    /// How many of the connections with most lost segments are kept.
    pub lossy: usize,
    /// How many connections are kept as a sample of all.
    pub sample: usize,
    /// Of how many connections the figures are kept, as a sample, for a comparison.
    pub observations: usize,
    /// Whether names, addresses, users and labels are replaced; kept connections have no lines then.
    pub redact: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            by: GroupBy::default(),
            selection: Selection::default(),
            slowest: 5,
            failed: 0,
            lossy: 0,
            sample: 0,
            observations: 0,
            redact: false,
        }
    }
}

/// Most hosts and processes whose names are told.
const MAX_HOSTS: usize = 100;

/// Reads files, one after the other, and makes a [`Summary`] of them. The memory used is bounded by the
/// numbers of [`Options`], whatever the size of the files.
#[derive(Debug)]
pub struct Builder {
    selection: Selection,
    totals: Totals,
    groups: Groups,
    sockets: Totals,
    socket_groups: Groups,
    findings: Findings,
    hosts: Vec<String>,
    more_hosts: bool,
    seen: Seen,
    refused: Seen,
    lines: Lines,
    missed: Vec<Missed>,
    left_out_at: Option<(i64, i64)>,
    files: Vec<FileRead>,
    slowest: Largest<u64, Kept>,
    failed: Largest<u64, Kept>,
    lossy: Largest<u64, Kept>,
    sample: Largest<u64, Kept>,
    turns: Largest<u64, SlowTurn>,
    observations: Largest<u64, Observation>,
    redactor: Option<Redactor>,
}

/// A connection, or a socket of `conniver watch`, that was read and is in the report.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Chosen<'c> {
    /// The connection, with stand-ins if names are replaced.
    pub connection: &'c Connection,
    /// Its line. Empty of a socket, and if names are replaced.
    pub line: &'c str,
    /// Its target as requested, even if names are replaced.
    pub requested: Option<&'c str>,
    /// Whether it is a socket.
    pub is_socket: bool,
}

/// Lines of the files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Lines {
    /// All of them, but empty ones.
    pub read: u64,
    /// Connections that are in the report.
    pub selected: u64,
    /// Sockets of `conniver watch` that are in the report.
    pub sockets: u64,
    /// Connections and sockets that were left out by `--where`, `--since` or `--until`.
    pub left_out: u64,
    /// `open` lines.
    pub open: u64,
    /// `start`, `stop` and `overflow` lines.
    pub runs: u64,
    /// `turn` lines.
    pub turns: u64,
    /// `sample` and `socketSample` lines.
    pub samples: u64,
    /// `stat` lines, which are in no report.
    pub stat: u64,
    /// Connections that were refused without lines of their own.
    pub refused: u64,
    /// Connections and sockets that were already read, as when a file is given twice: each counts once.
    pub repeated: u64,
    /// There were too many runs and gaps to tell all connections that were already read.
    pub repeated_unknown: bool,
}

/// A key of a condition, and some of the values that did not match.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missed {
    /// The key.
    pub key: String,
    /// At most five of its values.
    pub values: Vec<String>,
    /// Connections and sockets that did not match because they have no value.
    pub without: u64,
    /// Sockets of `conniver watch` among these.
    pub without_of_sockets: u64,
    /// Whether only a proxy's connections can have a value.
    pub is_of_pairs: bool,
}

/// Most values that are named where no connection fits.
const MAX_MISSED: usize = 5;

/// A turn, and the connection that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlowTurn {
    /// The turn.
    pub turn: crate::record::Turn,
    /// The id of the connection.
    pub id: String,
    /// Its target.
    pub target: Option<String>,
    /// The name of the local program.
    pub process: Option<String>,
}

/// A report on files of records.
#[derive(Debug)]
#[non_exhaustive]
pub struct Summary {
    /// Which connections are in it.
    pub selection: Selection,
    /// The hosts on which they were recorded, at most 100.
    pub hosts: Vec<String>,
    /// Whether there are more hosts.
    pub more_hosts: bool,
    /// All connections together.
    pub totals: Totals,
    /// The property by which they are grouped.
    pub by: GroupBy,
    /// The groups, those with most connections first; at most [`MAX_GROUPS`](super::MAX_GROUPS).
    pub groups: Vec<Group>,
    /// Connections in further groups.
    pub others: Option<Totals>,
    /// All sockets of `conniver watch` together. Of each, the figures of one socket are known.
    pub sockets: Totals,
    /// Their groups, as those of connections.
    pub socket_groups: Vec<Group>,
    /// Sockets in further groups.
    pub other_sockets: Option<Totals>,
    /// Findings: failures first, and among them those in most connections.
    pub findings: Vec<Finding>,
    /// Connections to targets that no finding can be on, because there are too many.
    pub without_findings: u64,
    /// Connections in which somebody waited longest, the longest first.
    pub slowest: Vec<Kept>,
    /// A sample of the failed connections, in no order.
    pub failed: Vec<Kept>,
    /// Connections with most lost segments, the most first.
    pub lossy: Vec<Kept>,
    /// A sample of all connections, in no order.
    pub sample: Vec<Kept>,
    /// The turns with the longest waits, the longest first. Lines of `--detail brief` have none.
    pub turns: Vec<SlowTurn>,
    /// The figures of a sample of all connections, in no order.
    pub observations: Vec<Observation>,
    /// Lines of all files.
    pub lines: Lines,
    /// If no connection fits: the keys of the conditions, with values that there are.
    pub missed: Vec<Missed>,
    /// When the first and the last of the connections that were left out were accepted, Unix ns. `None` without
    /// any.
    pub left_out_at: Option<(i64, i64)>,
    /// The files.
    pub files: Vec<FileRead>,
}

impl Builder {
    /// Nothing read yet.
    pub fn new(options: Options) -> Self {
        let missed = options.selection.conditions.iter().map(|condition| Missed {
            key: condition.key(),
            values: Vec::new(),
            without: 0,
            without_of_sockets: 0,
            is_of_pairs: condition.is_of_pairs(),
        });
        Self {
            missed: missed.collect(),
            selection: options.selection,
            totals: Totals::default(),
            groups: Groups::new(options.by.clone()),
            sockets: Totals::default(),
            socket_groups: Groups::new(options.by),
            findings: Findings::default(),
            hosts: Vec::new(),
            more_hosts: false,
            seen: Seen::default(),
            refused: Seen::default(),
            lines: Lines::default(),
            left_out_at: None,
            files: Vec::new(),
            slowest: Largest::new(options.slowest),
            failed: Largest::new(options.failed),
            lossy: Largest::new(options.lossy),
            sample: Largest::new(options.sample),
            turns: Largest::new(options.slowest),
            observations: Largest::new(options.observations),
            redactor: options.redact.then(Redactor::default),
        }
    }

    /// Reads a file to its end, whatever its content; plain, or compressed by gzip or zstd.
    ///
    /// # Errors
    ///
    /// Reading fails. What was read before is in the report.
    pub fn read(&mut self, name: &str, input: impl Read + Send) -> io::Result<()> {
        self.read_and(name, input, |_| {})
    }

    /// The same; `also` is called for each connection, and each socket, that is in the report.
    ///
    /// # Errors
    ///
    /// As [`Builder::read`].
    pub fn read_and(
        &mut self,
        name: &str,
        input: impl Read + Send,
        mut also: impl FnMut(&Chosen<'_>),
    ) -> io::Result<()> {
        let mut file = FileRead::new(name);
        let end = parse::read(input, |line, text| {
            file.lines += 1;
            self.lines.read += 1;
            match line {
                Parsed::Close(connection) | Parsed::Socket(connection)
                    if !self.seen.is_new_id(&connection.id) =>
                {
                    self.lines.repeated += 1;
                }
                Parsed::Close(mut connection) if self.selection.has(&connection) => {
                    // Its strings were found to be UTF-8, and all else is ASCII.
                    let mut text = std::str::from_utf8(text).unwrap_or_default();
                    let requested = self.redact(&mut connection);
                    if self.redactor.is_some() {
                        text = "";
                    }
                    self.add(&connection, text);
                    also(&Chosen {
                        connection: &connection,
                        line: text,
                        requested: requested.as_deref().or(connection.target.as_deref()),
                        is_socket: false,
                    });
                }
                Parsed::Socket(mut socket) if self.selection.has(&socket) => {
                    let requested = self.redact(&mut socket);
                    self.add_socket(&socket);
                    also(&Chosen {
                        connection: &socket,
                        line: "",
                        requested: requested.as_deref().or(socket.target.as_deref()),
                        is_socket: true,
                    });
                }
                Parsed::Close(connection) => self.leave_out(*connection, false),
                Parsed::Socket(socket) => self.leave_out(*socket, true),
                Parsed::Other(Other::Open) => self.lines.open += 1,
                Parsed::Other(Other::Turn) => self.lines.turns += 1,
                Parsed::Other(Other::Sample) => self.lines.samples += 1,
                Parsed::Other(Other::Stat) => self.lines.stat += 1,
                Parsed::Other(Other::Any) => self.lines.runs += 1,
                Parsed::Other(Other::Unknown) => file.unknown += 1,
                Parsed::Refused(Refused { count, run, line }) => {
                    if self.refused.is_new(&run, line) {
                        self.lines.refused = self.lines.refused.saturating_add(count);
                    }
                }
                Parsed::Torn => file.add_bad(BadLine::Torn),
                Parsed::Bad => file.add_bad(BadLine::NoRecord),
                Parsed::TooLong => file.add_bad(BadLine::TooLong),
            }
        });
        match end {
            Ok(FileEnd::Truncated(how)) => file.truncated = Some(how),
            Ok(FileEnd::Damaged(how)) => file.damaged = Some(how),
            Ok(FileEnd::Whole) | Err(_) => {}
        }
        self.files.push(file);
        end.map(|_| ())
    }

    /// Replaces names, if that is wanted, and returns the target that was requested.
    fn redact(&mut self, connection: &mut Connection) -> Option<String> {
        let redactor = self.redactor.as_mut()?;
        let requested = connection.target.clone();
        redactor.redact(connection);
        requested
    }

    /// A target, `host:port`, as the report has it: its stand-in, if names are replaced.
    pub fn shown_target(&mut self, target: &str) -> String {
        match &mut self.redactor {
            Some(redactor) => redactor.host_and_port(target),
            None => target.to_owned(),
        }
    }

    /// Notes when a connection that was left out was accepted, and why it was.
    fn leave_out(&mut self, connection: Connection, is_socket: bool) {
        self.lines.left_out += 1;
        if let Some(at) = connection.opened_at() {
            let (first, last) = self.left_out_at.unwrap_or((at, at));
            self.left_out_at = Some((first.min(at), last.max(at)));
        }
        self.note_missed(connection, is_socket);
    }

    /// Notes the values of a connection that was left out, while none is in the report.
    fn note_missed(&mut self, mut connection: Connection, is_socket: bool) {
        let has_room = |missed: &Missed| missed.values.len() < MAX_MISSED;
        let is_empty = self.lines.selected == 0 && self.lines.sockets == 0;
        if !is_empty || !self.missed.iter().any(has_room) {
            return;
        }
        let conditions = &self.selection.conditions;
        let fits: Vec<_> = conditions.iter().map(|one| one.holds(&connection)).collect();
        self.redact(&mut connection);
        let conditions = &self.selection.conditions;
        for ((condition, missed), fits) in conditions.iter().zip(&mut self.missed).zip(fits) {
            let value = condition.value(&connection);
            if !fits && value.is_empty() {
                missed.without += 1;
                missed.without_of_sockets += u64::from(is_socket);
            }
            let is_known = value.is_empty() || missed.values.iter().any(|known| *known == value);
            if !fits && !is_known && has_room(missed) {
                missed.values.push(value.into_owned());
            }
        }
    }

    /// Adds a connection that is in no file, if it is one of those that the report is on; `also` is called
    /// with it then.
    pub fn add_record(&mut self, record: &Record, also: impl FnOnce(&Connection)) {
        // A record can always be written, and a connection is a part of it.
        let line = serde_json::to_string(record).unwrap_or_default();
        let Ok(mut connection) = serde_json::from_str::<Connection>(&line) else { return };
        if !self.selection.has(&connection) {
            self.lines.left_out += 1;
            return;
        }
        let mut line = line.as_str();
        self.redact(&mut connection);
        if self.redactor.is_some() {
            line = "";
        }
        self.add(&connection, line);
        also(&connection);
    }

    fn add(&mut self, connection: &Connection, line: &str) {
        self.lines.selected += 1;
        self.totals.add(connection);
        self.groups.add(connection);
        self.findings.see(connection);
        self.note_host(connection);
        let keep = || Kept { connection: connection.clone(), line: line.into() };
        let active = connection.verdict.as_ref().map_or(connection.duration, |v| v.active);
        self.slowest.offer(nanos(active), keep);
        let rank = sampling_rank(&connection.id);
        if connection.is_failed() {
            self.failed.offer(rank, keep);
        }
        if let Some(lost) = connection.lost().filter(|lost| *lost > 0) {
            self.lossy.offer(lost, keep);
        }
        self.sample.offer(rank, keep);
        self.observations.offer(rank, || Observation::from(connection));
        for turn in connection.turns.iter().flat_map(|turns| &turns.slowest) {
            self.turns.offer(nanos(turn.wait), || SlowTurn {
                turn: *turn,
                id: connection.id.clone(),
                target: connection.target.clone(),
                process: connection.program().map(str::to_owned),
            });
        }
    }

    fn add_socket(&mut self, socket: &Connection) {
        self.lines.sockets += 1;
        self.sockets.add(socket);
        self.socket_groups.add(socket);
        self.note_host(socket);
    }

    fn note_host(&mut self, connection: &Connection) {
        if !self.hosts.contains(&connection.host) {
            match self.hosts.len() < MAX_HOSTS {
                true => self.hosts.push(connection.host.clone()),
                false => self.more_hosts = true,
            }
        }
    }

    /// The files that were read.
    pub fn files(&self) -> &[FileRead] {
        &self.files
    }

    /// The report on what was read.
    pub fn finish(mut self) -> Summary {
        if self.redactor.is_some() {
            self.selection.redact();
            for (file, number) in self.files.iter_mut().zip(1..) {
                file.name = format!("file-{number}");
            }
        }
        self.lines.repeated_unknown = self.seen.is_full();
        let by = self.groups.by().clone();
        let (groups, others) = self.groups.finish();
        let (socket_groups, other_sockets) = self.socket_groups.finish();
        let (findings, without_findings) = self.findings.finish();
        Summary {
            selection: self.selection,
            hosts: self.hosts,
            more_hosts: self.more_hosts,
            totals: self.totals,
            by,
            groups,
            others,
            sockets: self.sockets,
            socket_groups,
            other_sockets,
            findings,
            without_findings,
            slowest: self.slowest.finish(),
            failed: self.failed.finish(),
            lossy: self.lossy.finish(),
            sample: self.sample.finish(),
            turns: self.turns.finish(),
            observations: self.observations.finish(),
            lines: self.lines,
            missed: self.missed,
            left_out_at: self.left_out_at,
            files: self.files,
        }
    }
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
