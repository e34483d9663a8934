//! `conniver check`: whether files of records are whole.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use conniver::record::{Check, Checked};

use super::exit::{self, Failure};
use super::units::counted;

/// The exit status when something is wrong with the files.
const NOT_WHOLE: u8 = 1;

/// The exit status when a file could not be read, as of wrong usage.
const UNREAD: u8 = 2;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Files of records, '-' for standard input; also compressed by gzip or zstd. What a rotation took
    /// apart is best checked together
    #[arg(required = true)]
    file: Vec<PathBuf>,
}

pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let mut check = Check::default();
    let mut unread = 0;
    for file in &args.file {
        if let Err(error) = read(&mut check, file) {
            unread += 1;
            Failure::new(format!("reading records from '{}': {error}", file.display())).say();
        }
    }
    if unread == args.file.len() {
        return ExitCode::from(UNREAD);
    }
    let checked = check.finish();
    match (print(&checked), unread) {
        (Err(failure), _) => failure.report(NOT_WHOLE),
        (Ok(()), 1..) => ExitCode::from(UNREAD),
        (Ok(()), 0) if checked.findings.is_empty() => ExitCode::SUCCESS,
        (Ok(()), 0) => ExitCode::from(NOT_WHOLE),
    }
}

fn read(check: &mut Check, file: &Path) -> io::Result<()> {
    match file.to_str() {
        Some("-") => check.read("standard input", io::stdin().lock()),
        _ => check.read(&file.display().to_string(), File::open(file)?),
    }
}

fn print(checked: &Checked) -> Result<(), Failure> {
    for finding in &checked.findings {
        exit::print(&finding.to_string())?;
    }
    for remark in &checked.remarks {
        exit::print(&format!("note: {remark}"))?;
    }
    exit::print(&summary(checked))
}

fn summary(checked: &Checked) -> String {
    let Checked { lines, runs, closed, refused, found, remarks, .. } = checked;
    let found = match (found, lines) {
        (0, 0) => return "no records: nothing can be said".to_owned(),
        (0, _) if remarks.is_empty() => "nothing is wrong".to_owned(),
        (0, _) => "nothing is wrong in these lines".to_owned(),
        (count, _) => counted(*count, "finding"),
    };
    let refused = match refused {
        0 => String::new(),
        count => format!(", {count} refused without a line of their own"),
    };
    let (lines, runs) = (counted(*lines, "line"), counted(*runs as u64, "run"));
    format!("{lines} of {runs}, {} closed{refused}: {found}", counted(*closed, "pair"))
}
