//! Notes below a report: what is to be known of the files, and of what is not in it.

use conniver::plural::counted;
use conniver::record::Printable;
use conniver::report::{FileRead, Lines, Summary};

use super::time;
use crate::cli::files::SOURCES;
use crate::cli::wrap::wrap;

/// What is to be known of the files, and of those that they are compared with.
pub(super) fn section(summary: &Summary, before: Option<&Summary>, width: usize) -> Option<String> {
    let lines = summary.lines;
    let mut notes = Vec::new();
    for summary in [Some(summary), before].into_iter().flatten() {
        notes.extend(summary.files.iter().flat_map(file_notes));
        notes.extend(repetitions(&summary.lines));
    }
    notes.extend(missed(summary));
    if lines.sockets > 0 {
        notes.push(
            "a socket does not show who was slow, nor who ended the connection; conniver proxy and \
             conniver run do"
                .to_owned(),
        );
    }
    if lines.refused > 0 {
        let refused = counted(lines.refused, "connection");
        notes.push(format!("{refused} more refused on arrival, without records of their own"));
    }
    if lines.stat > 0 {
        let stat = counted(lines.stat, "line");
        notes.push(format!(
            "{stat} of conniver stat left out: a report is of connections of conniver proxy, run and watch; \
             each of those lines is the measurement of one request, to be read with jq"
        ));
    }
    notes.extend(none_ended(&lines));
    if summary.without_findings > 0 {
        let unseen = counted(summary.without_findings, "connection");
        notes.push(format!("too many targets: no findings were sought in {unseen}"));
    }
    if lines.read == 0 {
        notes.push(format!("no lines; {SOURCES}"));
    }
    let notes: Vec<_> = notes.iter().map(|note| wrap(&format!("note: {note}"), width)).collect();
    (!notes.is_empty()).then(|| notes.join("\n"))
}

/// Connections that are in several files, or may be.
fn repetitions(lines: &Lines) -> Option<String> {
    let more = match lines.repeated_unknown {
        true => "; there may be more, but too many runs and gaps between their numbers to tell",
        false => "",
    };
    let repeated = counted(lines.repeated, "line");
    (lines.repeated > 0 || lines.repeated_unknown).then(|| {
        format!("{repeated} of connections that were already read left out: each counts once{more}")
    })
}

/// That there are lines of open connections alone.
fn none_ended(lines: &Lines) -> Option<String> {
    let (open, turns) = (counted(lines.open, "open line"), counted(lines.turns, "turn line"));
    let samples = counted(lines.samples, "sample");
    let parts = [(lines.open, open), (lines.turns, turns), (lines.samples, samples)];
    let parts: Vec<_> = parts.into_iter().filter(|(count, _)| *count > 0).collect();
    let parts: Vec<_> = parts.into_iter().map(|(_, text)| text).collect();
    let ended = lines.selected + lines.sockets + lines.left_out + lines.repeated;
    let is_said = ended + lines.refused + lines.stat > 0;
    let has_lines = lines.runs > 0 || !parts.is_empty();
    let found = match parts.is_empty() {
        true => String::new(),
        false => format!(": the files have {}", parts.join(", ")),
    };
    (!is_said && has_lines).then(|| {
        format!(
            "no connection has ended yet, or --events leaves out the close lines of a proxy and the socket \
             lines of a watch{found}; conniver top FILE shows open connections"
        )
    })
}

/// Where no connection fits: what could be given instead.
fn missed(summary: &Summary) -> Option<String> {
    if summary.lines.selected + summary.lines.sockets > 0 {
        return None;
    }
    let selection = &summary.selection;
    let has_span = selection.since.is_some() || selection.until.is_some();
    let accepted = summary.left_out_at.filter(|_| has_span).map(|(first, last)| {
        format!("the files have connections of {}, {}", time::span(first, last), time::zone(first))
    });
    let missed = summary.missed.iter().filter_map(|missed| {
        let key = Printable(&missed.key);
        let values: Vec<_> = missed.values.iter().map(|v| Printable(v).to_string()).collect();
        match (values.is_empty(), missed.without, missed.without_of_sockets) {
            (false, ..) => Some(format!("{key} is, for example, {}", values.join(", "))),
            (true, 0, _) => None,
            (true, without, sockets) if without == sockets => Some(format!(
                "the sockets of conniver watch have no {key}{}",
                if missed.is_of_pairs { "; conniver proxy and conniver run record it" } else { "" }
            )),
            (true, ..) => Some(format!("the connections have no {key}")),
        }
    });
    let reasons: Vec<_> = accepted.into_iter().chain(missed).collect();
    (!reasons.is_empty()).then(|| format!("no connection fits; {}", reasons.join("; ")))
}

fn file_notes(file: &FileRead) -> Vec<String> {
    let name = Printable(&file.name);
    let mut notes = Vec::new();
    if file.no_records().is_some() {
        // Said as an error.
        return notes;
    }
    if file.torn > 0 {
        let torn = counted(file.torn, "line");
        notes.push(format!("{name}: {torn} incomplete and left out; see conniver check"));
    }
    if file.bad > 0 {
        let bad = counted(file.bad, "line");
        notes.push(format!("{name}: {bad} not a record and left out; see conniver check"));
    }
    for (how, what) in [(file.truncated, "truncated"), (file.damaged, "damaged")] {
        if let Some(how) = how {
            notes.push(format!(
                "{name}: the {how} data are {what}; what could be read is in the report"
            ));
        }
    }
    notes
}
