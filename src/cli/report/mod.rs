//! `conniver report`: what files of records tell, in a page of text.

mod changes;
mod ids;
mod notes;
mod one;
mod progress;
mod style;
mod table;
mod text;
mod time;
mod unquoted;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use conniver::expect::{Expectation, Expectations};
use conniver::plural::counted;
use conniver::report::{
    Builder, Chosen, Comparison, Condition, FileRead, GroupBy, Options, Pictures, Selection,
    Summary,
};
use jiff::Timestamp;
use serde::Serialize;

use super::advice::{quoted, typography};
use super::exit::Failure;
use super::page_file::PageFile;
use super::usage::wrong_usage;
use super::{expectations, files, terminal, values};
use progress::Progress;

/// Connections of each side whose figures are compared.
const COMPARED: usize = 5000;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if it worked, 1 if a file could not be read or there is no \
                  connection with the ID, 3 (--expect-status) if an --expect is not met, 2 for \
                  wrong usage."
)]
pub(crate) struct ReportArgs {
    /// Files of records, plain or compressed by gzip or zstd; '-' for standard input
    #[arg(required = true)]
    file: Vec<PathBuf>,

    /// Compare with these files, which were recorded before
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "id")]
    against: Vec<PathBuf>,

    /// Property by which connections are grouped: target, process, listener, outcome or label.KEY
    #[arg(long, value_name = "PROPERTY", default_value = "target", value_parser = parse_by)]
    by: GroupBy,

    /// Only connections for which all conditions hold: KEY=PATTERN or KEY!=PATTERN, joined by 'and',
    /// with * and ? in patterns. Keys: target, process, listener, outcome, client, host, mode,
    /// limitedBy, error, id, label.KEY
    #[arg(long = "where", id = "conditions", value_name = "CONDITIONS")]
    conditions: Vec<String>,

    /// Only connections accepted at or after TIME: local time (14:00, '2026-11-29 14:00'), how long
    /// ago (10m, 2h), RFC 3339, or Unix time in seconds, ms or ns
    #[arg(long, value_name = "TIME", value_parser = time::parse, allow_hyphen_values = true)]
    since: Option<Timestamp>,

    /// Only connections accepted before TIME
    #[arg(long, value_name = "TIME", value_parser = time::parse, allow_hyphen_values = true)]
    until: Option<Timestamp>,

    /// Number of the slowest connections, and of the slowest turns, to list
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = parse_slowest)]
    slowest: usize,

    /// Show one connection: its timeline, both sockets, verdict and warnings. ID may be the beginning
    /// or the end of an id
    #[arg(long, value_name = "ID", conflicts_with_all = ["by", "slowest", "json"])]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    id: Option<String>,

    /// Fail if the connections in the report do not meet this: a metric, an operator and a value, such
    /// as lost=0 or 'turns.wait.max<=300ms', optionally after HOST:PORT for the connections to one
    /// target; repeatable
    #[arg(long, value_name = "EXPR", conflicts_with = "id")]
    expect: Vec<Expectation>,

    /// Exit status when all files were read but an --expect is not met
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = values::number(1..=255_u8, 3))]
    expect_status: u8,

    /// Write the report as a page, one HTML file with pictures, as well; with '-', to standard output
    /// instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "against"])]
    html: Option<PathBuf>,

    /// Print the report as JSON; times in nanoseconds
    #[arg(long)]
    json: bool,

    /// Replace host names, addresses, users and values of labels with stand-ins
    #[arg(long)]
    redact: bool,
}

fn parse_by(text: &str) -> Result<GroupBy, String> {
    text.parse()
}

fn parse_slowest(text: &str) -> Result<usize, String> {
    let expected = "expected a whole number such as 20; to list all, give a large one";
    text.parse().map_err(|_| expected.to_owned())
}

pub(crate) fn run(args: &ReportArgs) -> ExitCode {
    unquoted::check();
    files::check_names("report", args.file.iter().chain(&args.against));
    if let Some(condition) = args.file.iter().find_map(|file| condition(file)) {
        let sentence = format!(
            "there is no file '{condition}'; to choose connections, write --where {}",
            quoted(condition)
        );
        wrong_usage(&["report"], &sentence);
    }
    let selection = match selection(args) {
        Ok(selection) => selection,
        Err(error) => wrong_usage(&["report"], &error),
    };
    files::check_stdin("report", args.file.iter().chain(&args.against));
    if args.json && args.html.as_deref().is_some_and(files::is_stdin) {
        let sentence = "--json and --html - both print to standard output; give --html a file, or \
                        omit one of them";
        wrong_usage(&["report"], sentence);
    }
    let progress = Progress::over(args.file.iter().chain(&args.against).map(PathBuf::as_path));
    let made = match &args.id {
        Some(id) => one::show(args, id, selection, progress),
        None => summarize(args, selection, progress),
    };
    let printed = made.text.and_then(|text| print(&text));
    if let Err(failure) = &printed {
        failure.say();
    }
    let are_met = expectations::are_met(&made.expectations);
    match printed {
        Ok(()) if made.is_whole && are_met => ExitCode::SUCCESS,
        Ok(()) if made.is_whole => ExitCode::from(args.expect_status),
        _ => ExitCode::FAILURE,
    }
}

/// A report, and what the exit status depends on.
struct Made {
    text: Result<String, Failure>,
    /// Whether all files could be read.
    is_whole: bool,
    /// None if nothing could be read that they could be judged by.
    expectations: Expectations,
}

impl Made {
    /// Without anything to judge expectations by.
    fn unjudged(text: Result<String, Failure>, is_whole: bool) -> Self {
        Self { text, is_whole, expectations: Expectations::default() }
    }
}

/// A condition that was given as if it were a file.
fn condition(file: &Path) -> Option<&str> {
    let text = file.to_str().filter(|_| !file.exists())?;
    Condition::parse_all(text).is_ok().then_some(text)
}

fn selection(args: &ReportArgs) -> Result<Selection, String> {
    let mut selection = Selection::default();
    for text in &args.conditions {
        let conditions = Condition::parse_all(text)
            .map_err(|error| format!("--where: {}", typography(&[text]).unwrap_or(error)));
        selection.conditions.extend(conditions?);
    }
    (selection.since, selection.until) = (args.since, args.until);
    if let (Some(since), Some(until)) = (args.since, args.until)
        && since >= until
    {
        return Err("--until must be later than --since".to_owned());
    }
    Ok(selection)
}

fn summarize(args: &ReportArgs, selection: Selection, progress: Progress) -> Made {
    let mut options = Options::default();
    options.by = args.by.clone();
    options.selection = selection;
    options.slowest = args.slowest;
    options.failed = args.slowest;
    options.redact = args.redact;
    if !args.against.is_empty() {
        options.observations = COMPARED;
    }
    let page = args.html.as_deref().map(|file| PageFile::create(file, &args.file, "report"));
    let page = match page.transpose() {
        Ok(page) => page,
        Err(failure) => return Made::unjudged(Err(failure), false),
    };
    if page.is_some() {
        Pictures::keep(&mut options);
    }
    let none = &mut Expectations::default();
    let (before, before_read) = read(&args.against, &progress, options.clone(), none, None);
    let mut pictures = page.is_some().then(Pictures::default);
    let mut expectations = Expectations::new(args.expect.clone());
    let (mut summary, read) =
        read(&args.file, &progress, options, &mut expectations, pictures.as_mut());
    progress.finish();
    let is_whole = read == args.file.len() && before_read == args.against.len();
    if read == 0 || (before_read == 0 && !args.against.is_empty()) {
        return Made::unjudged(Ok(String::new()), false);
    }
    let made = |text| Made { text, is_whole, expectations: expectations.clone() };
    if page.is_some() && summary.totals.connections == 0 && summary.sockets.connections > 0 {
        let sockets = counted(summary.sockets.connections, "socket");
        return made(Err(Failure::new(format!(
            "cannot draw a page: there are no connections of a proxy, but {sockets} of conniver watch; \
             without --html the report has these"
        ))));
    }
    if let (Some(page), Some(pictures)) = (page, pictures) {
        let is_stdout = page.is_stdout();
        match page.write(&pictures, &summary) {
            Ok(()) if is_stdout => return made(Ok(String::new())),
            Ok(()) => {}
            Err(failure) => return made(Err(failure)),
        }
    }
    // A page has more of them.
    summary.slowest.truncate(args.slowest);
    summary.failed.truncate(args.slowest);
    summary.turns.truncate(args.slowest);
    if !args.against.is_empty() && before.totals.connections == 0 {
        let among = match before.lines.left_out {
            0 => String::new(),
            left_out => format!("; {} left out", counted(left_out, "connection")),
        };
        let sentence = format!(
            "there is nothing to compare with: no connections in the files of --against{among}"
        );
        return made(Err(Failure::new(sentence)));
    }
    let comparison = (!args.against.is_empty()).then(|| summary.against(&before));
    made(match args.json {
        true => {
            let against = comparison.as_ref().map(|changes| Against::new(changes, &before));
            json(&summary, against, &expectations)
        }
        false => {
            let width = terminal::width(io::stdout()).unwrap_or(terminal::USUAL_WIDTH);
            Ok(text::page(&summary, comparison.as_ref().map(|changes| (&before, changes)), width))
        }
    })
}

/// Reads files; says which ones it cannot read, and returns how many it could. `expectations` and `pictures` see what
/// is read.
fn read(
    files: &[PathBuf],
    progress: &Progress,
    options: Options,
    expectations: &mut Expectations,
    mut pictures: Option<&mut Pictures>,
) -> (Summary, usize) {
    let mut builder = Builder::new(options);
    let see = |chosen: &Chosen<'_>| {
        expectations.add(chosen);
        if let Some(pictures) = pictures.as_mut().filter(|_| !chosen.is_socket) {
            pictures.add(chosen.connection);
        }
    };
    let read = read_files(files, progress, &mut builder, see);
    expectations.rename_targets(|target| builder.shown_target(target));
    (builder.finish(), read)
}

/// The same, into this builder; `also` is called with what is in the report.
fn read_files(
    files: &[PathBuf],
    progress: &Progress,
    builder: &mut Builder,
    mut also: impl FnMut(&Chosen<'_>),
) -> usize {
    let (mut read, mut foreign) = (0, 0);
    for file in files {
        let input = progress.open(file);
        match input.and_then(|input| builder.read_and(&display_name(file), input, &mut also)) {
            Ok(()) => match builder.files().last().and_then(FileRead::no_records) {
                None => read += 1,
                Some(finding) => {
                    foreign += 1;
                    Failure::new(finding).say();
                }
            },
            Err(error) => files::unread(file, "report", &error).say(),
        }
    }
    if foreign > 0 {
        Failure::new(files::SOURCES).say();
    }
    read
}

fn display_name(file: &Path) -> String {
    match files::is_stdin(file) {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'s> {
    #[serde(flatten)]
    summary: conniver::report::SummaryFigures<'s>,
    /// The comparison with `--against`. Null without it.
    against: Option<Against<'s>>,
    /// Whether each `--expect` is met.
    expectations: Vec<Judged>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Judged {
    /// As it was given.
    expectation: String,
    is_met: bool,
    /// Why it is not.
    reasons: Vec<String>,
}

#[derive(Serialize)]
struct Against<'s> {
    #[serde(flatten)]
    comparison: &'s Comparison,
    lines: conniver::report::Lines,
    files: &'s [FileRead],
}

impl<'s> Against<'s> {
    fn new(comparison: &'s Comparison, before: &'s Summary) -> Self {
        Self { comparison, lines: before.lines, files: &before.files }
    }
}

fn json(
    summary: &Summary,
    against: Option<Against<'_>>,
    expectations: &Expectations,
) -> Result<String, Failure> {
    let judged = expectations.judge().into_iter().map(|(expectation, reasons)| Judged {
        expectation: expectation.to_string(),
        is_met: reasons.is_empty(),
        reasons,
    });
    let json = Json { summary: summary.figures(), against, expectations: judged.collect() };
    serde_json::to_string_pretty(&json)
        .map_err(|error| Failure::new(format!("cannot print the report: {error}")))
}

/// Prints a page, styled on a terminal; a reader that has gone is no failure.
fn print(text: &str) -> Result<(), Failure> {
    if text.is_empty() {
        return Ok(());
    }
    match writeln!(anstream::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
