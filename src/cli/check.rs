//! `conniver check`: whether files of records are whole.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use conniver::record::{Check, Checked};

use super::exit::{self, Failure};

/// The exit status when something is wrong with the files, or when they cannot be read.
const NOT_WHOLE: u8 = 1;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Files of records, '-' for standard input. What a rotation took apart is best checked together
    #[arg(required = true)]
    file: Vec<PathBuf>,
}

pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let printed = check(&args.file).and_then(|checked| {
        for finding in &checked.findings {
            exit::print(&finding.to_string())?;
        }
        exit::print(&summary(&checked))?;
        Ok(checked.findings.is_empty())
    });
    match printed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_WHOLE),
        Err(failure) => failure.report(NOT_WHOLE),
    }
}

fn check(files: &[PathBuf]) -> Result<Checked, Failure> {
    let mut check = Check::default();
    for file in files {
        read(&mut check, file).map_err(|error| {
            Failure::new(format!("reading records from '{}': {error}", file.display()))
        })?;
    }
    Ok(check.finish())
}

fn read(check: &mut Check, file: &Path) -> io::Result<()> {
    match file.to_str() {
        Some("-") => check.read("standard input", io::stdin().lock()),
        _ => check.read(&file.display().to_string(), File::open(file)?),
    }
}

fn summary(Checked { lines, runs, closed, refused, found, .. }: &Checked) -> String {
    let of = |count: u64, one: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    };
    let found = match found {
        0 => "nothing is wrong".to_owned(),
        count => of(*count, "finding"),
    };
    let refused = match refused {
        0 => String::new(),
        count => format!(", {count} refused without a line of their own"),
    };
    let (lines, runs) = (of(*lines, "line"), of(*runs as u64, "run"));
    format!("{lines} of {runs}, {} closed{refused}: {found}", of(*closed, "pair"))
}
