//! `conniver check`: what is wrong with a file of records is found, and nothing else.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use conniver::record::Line;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::arguments::unwrapped;
use crate::harness::has_tool;
use crate::harness::peers::{echo_server, exchange};
use crate::harness::program::{BINARY, Proxy, read_lines, wait_until};

/// What is said where there are no records.
const SOURCES: &str = "records are written by conniver proxy -o FILE, conniver run -o FILE, conniver watch -o FILE and conniver stat --json";

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn check(files: &[&Path]) -> Output {
    Command::new(BINARY).arg("check").args(files).output().unwrap()
}

/// The status and the lines of what a check of this text says.
fn check_text(text: &str) -> (i32, Vec<String>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let output = check(&[file.path()]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let said = String::from_utf8(output.stdout).unwrap();
    let said = said.replace(file.path().to_str().unwrap(), "FILE");
    (output.status.code().unwrap(), said.lines().map(str::to_owned).collect())
}

/// The lines of a run with four pairs, and its id: start, two for each pair, stop.
fn a_run() -> (Vec<String>, String) {
    let proxy = Proxy::forwarding_to(echo_server(), &["--events", "start,open,close,stop"]);
    for count in 1..=4 {
        exchange(&mut proxy.connect(), b"x");
        proxy.wait_for_records(count);
    }
    let file = proxy.records_file();
    proxy.signal(Signal::SIGTERM);
    let mut text = String::new();
    wait_until("the run has ended", || {
        text = std::fs::read_to_string(&file).unwrap_or_default();
        text.contains("\"event\":\"stop\"") && text.ends_with('\n')
    });
    let left = proxy.wait();
    let Some(Line::Start(start)) = left.lines.first() else { panic!("{:?}", left.lines) };
    (text.lines().map(str::to_owned).collect(), start.run_id.to_string())
}

#[test]
fn a_whole_file_has_nothing_wrong_also_when_it_was_rotated_or_has_two_runs() {
    let (lines, _) = a_run();
    assert_eq!(lines.len(), 10);
    let all = lines.join("\n");
    let clean = |summary: &str| (0, vec![summary.to_owned()]);
    assert_eq!(check_text(&all), clean("10 lines of 1 run, 4 connections closed: no findings"));
    let (others, _) = a_run();
    let mixed: Vec<_> = lines.iter().zip(&others).flat_map(|(a, b)| [&**a, &**b]).collect();
    let summary = "20 lines of 2 runs, 8 connections closed: no findings";
    assert_eq!(check_text(&mixed.join("\n")), clean(summary));
    let nothing = format!("no records in 'FILE'; {SOURCES}");
    assert_eq!(check_text(""), clean(&nothing));

    let directory = tempfile::TempDir::new().unwrap();
    let files = ["new", "old"].map(|name| directory.path().join(name));
    std::fs::write(&files[0], lines[3..].join("\n")).unwrap();
    std::fs::write(&files[1], lines[..3].join("\n")).unwrap();
    let output = check(&[&files[0], &files[1]]);
    assert!(output.status.success(), "{output:?}");
    assert!(!String::from_utf8(output.stdout).unwrap().contains("note: "));
}

#[test]
fn what_a_file_cannot_tell_is_noted_and_is_no_finding() {
    let (lines, run) = a_run();
    let earlier = format!(
        "note: run {run}: lines 1 to 5 are not in these files: rotated into another file, or \
             lost"
    );
    let summary = "5 lines of 1 run, 2 connections closed: no findings in these lines".to_owned();
    assert_eq!(check_text(&lines[5..].join("\n")), (0, vec![earlier, summary]));

    let (other_lines, other) = a_run();
    let unended = format!(
        "note: run {run} has no stop line: it is still running, was killed, or ran without \
         --events stop; connections open at its end may have no record"
    );
    let summary = "9 lines of 1 run, 4 connections closed: no findings in these lines".to_owned();
    assert_eq!(check_text(&lines[..9].join("\n")), (0, vec![unended, summary]));
    let both = [&lines[..9], &other_lines[..9]].concat().join("\n");
    let (status, said) = check_text(&both);
    assert!(said[0].starts_with("note: 2 runs have no stop line: each is"), "{other} {said:?}");
    assert_eq!((status, said.len()), (0, 2));
}

#[test]
fn a_pair_open_at_a_kill_is_missed_though_only_closes_are_written() {
    let proxy = Proxy::forwarding_to(echo_server(), &[]);
    let mut held = proxy.connect();
    exchange(&mut held, b"x");
    exchange(&mut proxy.connect(), b"x");
    proxy.wait_for_records(1);
    proxy.signal(Signal::SIGKILL);
    let output = check(&[&proxy.records_file()]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("; at least 1 accepted connection has no record\n"), "{said}");
    assert!(said.ends_with("1 connection closed: no findings in these lines\n"), "{said}");
    assert_eq!(output.status.code(), Some(0));
}

/// What `program` makes of this text: one member or frame, as log rotation appends them.
fn compressed(program: &str, text: &str) -> Vec<u8> {
    let mut command = Command::new(program);
    command.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = text.to_owned();
    let writing = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    output.stdout
}

/// The status and the lines of what a check of these bytes on standard input says.
fn check_bytes(bytes: &[u8]) -> (i32, Vec<String>) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let output = Command::new(BINARY).args(["check", "-"]).stdin(file).output().unwrap();
    let [said, failed] = [output.stdout, output.stderr].map(|b| String::from_utf8(b).unwrap());
    let said = said + &unwrapped(&failed);
    (output.status.code().unwrap(), said.lines().map(str::to_owned).collect())
}

#[test]
fn compressed_files_are_checked_whatever_their_names() {
    let (lines, _) = a_run();
    for program in ["gzip", "zstd"] {
        if !has_tool(program, "compressed_files_are_checked_whatever_their_names") {
            continue;
        }
        let part = |part: &[String]| compressed(program, &(part.join("\n") + "\n"));
        let whole = [part(&lines[..3]), part(&lines[3..7]), part(&lines[7..])].concat();
        let summary = "10 lines of 1 run, 4 connections closed: no findings".to_owned();
        assert_eq!(check_bytes(&whole), (0, vec![summary.clone()]), "{program}");
        // Beside what is not compressed yet.
        let directory = tempfile::TempDir::new().unwrap();
        let files = ["records", "records.1"].map(|name| directory.path().join(name));
        std::fs::write(&files[0], lines[7..].join("\n")).unwrap();
        std::fs::write(&files[1], part(&lines[..7])).unwrap();
        let output = check(&[&files[0], &files[1]]);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), summary + "\n", "{program}");
        assert_eq!(
            check_bytes(&compressed(program, "")).1,
            [format!("no records in standard input; {SOURCES}")]
        );
    }
}

#[test]
fn truncated_or_damaged_compressed_files_are_findings() {
    let (lines, _) = a_run();
    for program in ["gzip", "zstd"] {
        if !has_tool(program, "truncated_or_damaged_compressed_files_are_findings") {
            continue;
        }
        let [first, second] =
            [&lines[..7], &lines[7..]].map(|part| compressed(program, &(part.join("\n") + "\n")));
        let cut = [&first, &second[..second.len() - 1]].concat();
        let (status, said) = check_bytes(&cut);
        let words = format!("standard input: the {program} data are truncated; ");
        assert!(said[0].starts_with(&words), "{said:?}");
        assert_eq!(status, 1, "{said:?}");
        // What comes before is checked.
        let read = said[0].strip_prefix(&words).unwrap().split(' ').next().unwrap();
        assert!(read.parse::<u64>().unwrap() >= 7, "{said:?}");
        assert!(said.last().unwrap().starts_with(&format!("{read} lines of 1 run")), "{said:?}");

        let mut damaged = [&first[..], &second].concat();
        let last = damaged.len() - 1;
        // gzip ends with a length, zstd with a checksum.
        damaged[last] ^= 1;
        let (status, said) = check_bytes(&damaged);
        let words = format!("standard input: the {program} data are corrupt; ");
        assert!(said[0].starts_with(&words), "{said:?}");
        assert_eq!(status, 1, "{said:?}");
    }
}

#[test]
fn other_compressed_files_are_named_with_what_reads_them() {
    let (status, said) = check_bytes(b"\xfd7zXZ\0\0");
    let words = "conniver: cannot read records from standard input: it is compressed; decompress \
                 it first with xz -dc FILE";
    assert_eq!((status, said), (2, vec![words.to_owned()]));
}

#[test]
fn what_is_torn_or_missing_or_there_twice_is_named() {
    let (lines, run) = a_run();
    let mut broken: Vec<&str> = lines.iter().map(String::as_str).collect();
    // Lines 4 and 5 get lost, line 7 comes twice, line 8 breaks off, something else is behind it.
    broken.insert(7, broken[6]);
    let torn = &lines[7][..lines[7].len() / 2];
    broken[8] = torn;
    broken.insert(9, "\u{1b}[31m nonsense");
    broken.drain(3..5);
    let (status, said) = check_text(&broken.join("\n"));
    assert_eq!(status, 1);
    assert_eq!(said[0], "FILE:7: the line is truncated");
    assert_eq!(said[1], "FILE:8: the line is not a record");
    assert_eq!(said[2], format!("run {run}: lines 4 to 5 are missing"));
    assert_eq!(said[3], format!("run {run}: line 8 is missing"));
    assert_eq!(said[4], format!("run {run}: line 7 is duplicated"));
    assert_eq!(said.last().unwrap(), "10 lines of 1 run, 3 connections closed: 5 findings");
}

#[test]
fn lines_of_turns_alone_say_nothing_of_open_connections() {
    let proxy = Proxy::forwarding_to(echo_server(), &["--events", "turn"]);
    exchange(&mut proxy.connect(), b"x");
    let file = proxy.records_file();
    wait_until("the turn is recorded", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n'))
    });
    let text = std::fs::read_to_string(&file).unwrap();
    let (status, said) = check_text(&text);
    assert_eq!((status, said.len()), (0, 2), "{said:?}");
}

#[test]
fn runs_without_close_lines_are_noted() {
    let proxy = Proxy::forwarding_to(echo_server(), &["--events", "open,stop"]);
    for _ in 0..2 {
        exchange(&mut proxy.connect(), b"x");
    }
    wait_until("both are open", || read_lines(&proxy.records_file()).len() == 2);
    let running = std::fs::read_to_string(proxy.records_file()).unwrap();
    let file = proxy.records_file();
    proxy.signal(Signal::SIGTERM);
    let mut stopped = String::new();
    wait_until("the run has ended", || {
        stopped = std::fs::read_to_string(&file).unwrap_or_default();
        stopped.contains("\"event\":\"stop\"") && stopped.ends_with('\n')
    });
    let first: Value = serde_json::from_str(stopped.lines().next().unwrap()).unwrap();
    let run = first["runId"].as_str().unwrap();
    let note = format!(
        "note: run {run} has no close lines: none of 2 connections had ended, or --events left close \
         out, so that the lines do not tell which have ended"
    );
    // All connections of a run that has ended are closed.
    let summary = "3 lines of 1 run, 0 connections closed: no findings in these lines".to_owned();
    assert_eq!(check_text(&stopped), (0, vec![note.clone(), summary]));
    let (status, said) = check_text(&running);
    assert_eq!((status, said.len(), &said[2]), (1, 5, &note));
    for (line, seq) in said.iter().zip(1..=2) {
        assert!(line.starts_with(&format!("connection {run}-{seq} is not closed: ")), "{line}");
    }
}

#[test]
fn a_file_of_something_else_is_one_finding() {
    let (lines, _) = a_run();
    let not = "FILE: not a file of records:";
    let json = "is not the JSON of a record";
    for (text, finding) in [
        ("root:x:0:0\n".repeat(3), format!("{not} none of its 3 lines is a record; line 1 {json}")),
        (
            "{\"a\":1}\n[]\n".to_owned(),
            format!("{not} none of its 2 lines is a record; line 1 {json}"),
        ),
        (
            "\n\nx\n".to_owned(),
            format!(
                "{not} none of its 3 lines is a record; line 1 is truncated; if it is JSON on several lines, write each object on one line: jq -c . FILE"
            ),
        ),
        ("nonsense".to_owned(), format!("{not} its only line {json}")),
        // A proxy that was killed at its first record.
        (lines[0][..20].to_owned(), "FILE:1: the line is truncated".to_owned()),
    ] {
        let (status, said) = check_text(&text);
        let note = format!("note: {SOURCES}");
        let notes: &[&str] = if finding.starts_with(not) { &[&note] } else { &[] };
        let [first, said @ .., summary] = &said[..] else { panic!("{said:?}") };
        assert_eq!((status, first, said), (1, &finding, &owned(notes)[..]), "{text}");
        assert!(summary.ends_with(": 1 finding"), "{summary}");
    }
    // Beside a file of records, that one is told as ever.
    let directory = tempfile::TempDir::new().unwrap();
    let files = ["records", "other"].map(|name| directory.path().join(name));
    std::fs::write(&files[0], lines[..2].join("\n") + "\nx\ny").unwrap();
    std::fs::write(&files[1], "x\ny\n").unwrap();
    let said = String::from_utf8(check(&[&files[0], &files[1]]).stdout).unwrap();
    let [records, other] = files.each_ref().map(|file| file.display().to_string());
    assert_eq!(
        said.lines().take(3).collect::<Vec<_>>(),
        [
            format!("{records}:3: the line is not a record"),
            format!("{records}:4: the line is not a record"),
            format!(
                "{other}: not a file of records: none of its 2 lines is a record; line 1 {json}"
            ),
        ]
    );
}

#[test]
fn on_a_terminal_findings_are_broken_to_fit() {
    let size = nix::pty::Winsize { ws_row: 24, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = nix::pty::openpty(&size, None).unwrap();
    let file = tempfile::NamedTempFile::new_in("/tmp").unwrap();
    std::fs::write(file.path(), "a\nb\n").unwrap();
    let mut command = Command::new(BINARY);
    let status = command.arg("check").arg(file.path()).stdout(terminal.slave).status().unwrap();
    // Until nobody has its other end any more.
    drop(command);
    let mut said = Vec::new();
    let _ = std::io::Read::read_to_end(&mut std::fs::File::from(terminal.master), &mut said);
    let said = String::from_utf8(said).unwrap().replace("\r\n", "\n");
    let file = file.path().display().to_string();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.iter().all(|line| line.len() <= 60 || !line.contains(' ')), "{said}");
    assert_eq!(
        unwrapped(&said),
        format!(
            "{file}: not a file of records: none of its 2 lines is a record; line 1 is not the \
             JSON of a record\nnote: {SOURCES}\n2 lines of 0 runs, 0 connections closed: 1 \
             finding\n"
        )
    );
    assert_eq!((status.code(), lines.len() > 3), (Some(1), true), "{said}");
}

#[test]
fn empty_files_are_counted_where_there_are_several() {
    let files = [tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap()];
    let output = check(&[files[0].path(), files[1].path()]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("no records in any of the 2 files; {SOURCES}\n"));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_help_of_subcommands_tells_their_exit_status() {
    for (command, meaning) in [
        ("check", "1 if there are"),
        ("run", "127 if it was not found"),
        ("stat", "1 if a request failed"),
        ("proxy", "1 if it could not start"),
    ] {
        let help = crate::harness::run(BINARY, &[command, "--help"]);
        let (_, status) = help.split_once("Exit status: ").unwrap_or_else(|| panic!("{help}"));
        assert!(status.replace('\n', " ").contains(meaning), "{status}");
    }
}

#[test]
fn a_pair_that_a_finished_run_never_closed_is_noticed() {
    let (lines, run) = a_run();
    let text = lines.join("\n").replace("\"pairs\":4", "\"pairs\":5");
    let (status, said) = check_text(&text);
    let finding = format!("run {run}: 5 connections, but 4 closed, although the run has ended");
    assert_eq!((status, &said[0], said.len()), (1, &finding, 2));
    // The same of two, of which one is closed.
    let text = [&lines[0], &lines[1], &lines[2], &lines[9]].map(|line| {
        let line = line.replace("\"pairs\":4", "\"pairs\":2");
        line.replace("\"line\":10}", "\"line\":4}")
    });
    let (_, said) = check_text(&text.join("\n"));
    let finding = format!("run {run}: 2 connections, but 1 closed, although the run has ended");
    assert_eq!(said[0], finding, "{text:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_said_with_its_name() {
    let output = check(&[Path::new("/no/such/file")]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("conniver: cannot read records from '/no/such/file': No such"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn other_files_are_checked_when_one_cannot_be_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "nonsense\n").unwrap();
    let output = check(&[Path::new("/no/such/file"), file.path()]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.ends_with("1 line of 0 runs, 0 connections closed: 1 finding\n"), "{said}");
}

#[test]
fn after_a_kill_under_load_the_file_tells_exactly_which_pairs_were_open() {
    let proxy = Proxy::forwarding_to(echo_server(), &["--events", "open,close"]);
    let mut held: Vec<TcpStream> = (0..5).map(|_| proxy.connect()).collect();
    for client in &mut held {
        exchange(client, b"x");
    }
    proxy.wait_for_open(5);
    let (file, address) = (proxy.records_file(), proxy.address());
    // The ports of each client's connections that had their exchange, one after the other.
    let client = || {
        use std::io::{Read, Write};
        let mut served = Vec::new();
        // It is killed at any moment.
        while let Ok(mut client) = TcpStream::connect(address) {
            let _ = client.write_all(b"x");
            if matches!(client.read(&mut [0]), Ok(1)) {
                served.push(client.local_addr().unwrap().port());
            }
        }
        served
    };
    let served: Vec<Vec<u16>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        proxy.wait_for_records(50);
        proxy.signal(Signal::SIGKILL);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });

    // What the file says of each pair, counted here.
    let (mut opened, mut known) = (BTreeSet::new(), BTreeSet::new());
    for line in read_lines(&file) {
        if let Line::Open(record) | Line::Close(record) = &line {
            known.insert(record.client_port.unwrap());
        }
        match line {
            Line::Open(record) => opened.insert((record.id, record.client_port.unwrap())),
            Line::Close(record) => opened.remove(&(record.id, record.client_port.unwrap())),
            _ => false,
        };
    }
    let ports: BTreeSet<u16> = opened.iter().map(|(_, port)| *port).collect();
    let held_ports: BTreeSet<u16> =
        held.iter().map(|client| client.local_addr().unwrap().port()).collect();
    assert!(ports.is_superset(&held_ports));
    // Only what came last can be missing: what was still in the program's memory.
    for served in served {
        let lost = served.iter().position(|port| !known.contains(port)).unwrap_or(served.len());
        assert!(served[lost..].iter().all(|port| !known.contains(port)), "{served:?}: {known:?}");
    }

    let output = check(&[&file]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    let mut named = BTreeSet::new();
    for line in said.lines().filter(|line| line.starts_with("connection ")) {
        let id = line.split(' ').nth(1).unwrap().to_owned();
        named.insert((id, line.rsplit(' ').next().unwrap().parse().unwrap()));
    }
    assert_eq!(named, opened, "{said}");
    let torn = !std::fs::read(&file).unwrap().ends_with(b"\n");
    // What is left are a note that there is no stop line, and the summary.
    assert_eq!(said.lines().count(), opened.len() + usize::from(torn) + 2, "{said}");
}
