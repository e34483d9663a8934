//! `conniver check`: whether files of records are whole.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use conniver::plural::counted;
use conniver::record::{Check, CheckReport, Finding};

use super::exit::{self, Failure};
use super::files;
use super::terminal;
use super::wrap::wrap_message;

/// Where all lines come from that are checked.
const SOURCES: &str = "records are written by conniver proxy -o FILE, conniver run -o FILE, conniver watch -o FILE and conniver stat --json";

/// The exit status when something is wrong with the files.
const NOT_WHOLE: u8 = 1;

/// The exit status when a file could not be read, as of wrong usage.
const UNREAD: u8 = 2;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if there are no findings, 1 if there are, 2 for wrong usage or \
                  if a file could not be read."
)]
pub(crate) struct CheckArgs {
    /// Files of records, plain or compressed by gzip or zstd; '-' for standard input. Check the
    /// files of one log rotation together
    #[arg(required = true)]
    file: Vec<PathBuf>,
}

pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    files::check_stdin("check", args.file.iter());
    files::check_names("check", args.file.iter());
    let mut check = Check::default();
    let mut read_files = Vec::new();
    for file in &args.file {
        match read(&mut check, file) {
            Ok(()) => read_files.push(file),
            Err(error) => files::unread(file, "check", &error).say(),
        }
    }
    let read_in = match read_files.as_slice() {
        [] => return ExitCode::from(UNREAD),
        [file] => format!("in {}", files::name(file)),
        files => format!("in any of the {} files", files.len()),
    };
    let checked = check.finish();
    match (print(&checked, &read_in), args.file.len() - read_files.len()) {
        (Err(failure), _) => failure.report(NOT_WHOLE),
        (Ok(()), 1..) => ExitCode::from(UNREAD),
        (Ok(()), 0) if checked.findings.is_empty() => ExitCode::SUCCESS,
        (Ok(()), 0) => ExitCode::from(NOT_WHOLE),
    }
}

fn read(check: &mut Check, file: &Path) -> io::Result<()> {
    match files::is_stdin(file) {
        true => check.read("standard input", io::stdin().lock()),
        false => check.read(&file.display().to_string(), File::open(file)?),
    }
}

/// `read_in` says which files they are.
fn print(checked: &CheckReport, read_in: &str) -> Result<(), Failure> {
    let width = terminal::width(io::stdout());
    // Each has a line of its own, unless it is for people alone.
    let print = |line: &str| match width {
        Some(width) => exit::print(&wrap_message(line, width)),
        None => exit::print(line),
    };
    for finding in &checked.findings {
        print(&finding.to_string())?;
    }
    if checked.findings.iter().any(|finding| matches!(finding, Finding::NoRecords { .. })) {
        print(&format!("note: {SOURCES}"))?;
    }
    for remark in &checked.remarks {
        print(&format!("note: {remark}"))?;
    }
    print(&summary(checked, read_in))
}

fn summary(checked: &CheckReport, read_in: &str) -> String {
    let CheckReport { lines, runs, closed, refused, found, remarks, .. } = checked;
    let found = match (found, lines) {
        (0, 0) => return format!("no records {read_in}; {SOURCES}"),
        (0, _) if remarks.is_empty() => "no findings".to_owned(),
        (0, _) => "no findings in these lines".to_owned(),
        (count, _) => counted(*count, "finding"),
    };
    let refused = match refused {
        0 => String::new(),
        count => format!(", {count} refused without a record"),
    };
    let (lines, runs) = (counted(*lines, "line"), counted(*runs as u64, "run"));
    format!("{lines} of {runs}, {} closed{refused}: {found}", counted(*closed, "connection"))
}
