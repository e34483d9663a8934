//! What becomes of lines that a full disk cuts short.

use super::*;

/// A file with sinks on it, as many as processes have it open.
fn sinks<const N: usize>() -> (tempfile::TempDir, PathBuf, [Sink; N]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.ndjson");
    let sinks = [(); N].map(|()| Sink::open(Output::file(path.clone())).unwrap());
    (directory, path, sinks)
}

fn write(sink: &mut Sink, lines: &str) {
    assert_eq!(sink.write(lines.as_bytes()).unwrap(), lines.len());
}

fn append(path: &PathBuf, text: &str) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_line_that_was_cut_short_is_completed_and_nobody_writes_into_it() {
    let (_directory, path, [mut ours, mut theirs]) = sinks();
    write(&mut ours, "one\ntw");
    let error = theirs.write(b"three\n").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(ours.take_incomplete(), 0);
    // The rest alone, so that it is known where it went.
    assert_eq!(ours.write(b"o\nfour\n").unwrap(), 2);
    write(&mut theirs, "three\n");
    write(&mut ours, "four\n");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\nthree\nfour\n");
}

#[test]
fn a_line_that_cannot_be_completed_is_written_again() {
    let (_directory, path, [mut ours]) = sinks();
    write(&mut ours, "one\ntw");
    // By a process that knows no lock.
    append(&path, "\nstranger\n");
    assert_eq!(ours.take_incomplete(), 2);
    write(&mut ours, "two\nthr");
    // As logrotate's copytruncate does.
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    assert_eq!(ours.take_incomplete(), 3);
    write(&mut ours, "three\nfo");
    std::fs::write(&path, "half a line").unwrap();
    assert_eq!(ours.take_incomplete(), 2);
    write(&mut ours, "four\n");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "half a line\nfour\n");
}

#[test]
fn a_rest_that_lands_behind_something_else_completes_nothing() {
    let (_directory, path, [mut ours]) = sinks();
    write(&mut ours, "one\ntw");
    append(&path, "\nstranger\n");
    // It was not seen in time.
    assert_eq!(ours.write(b"o\n").unwrap(), 0);
    assert_eq!(ours.take_incomplete(), 2);
    write(&mut ours, "two\n");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntw\nstranger\no\ntwo\n");
}

#[test]
fn a_line_that_will_not_be_completed_becomes_blank_where_it_is_the_last() {
    let (_directory, path, [mut ours]) = sinks();
    write(&mut ours, "one\ntwo, in pa");
    ours.blank_incomplete_line();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n         \n");
    append(&path, "stranger\n");
    ours.blank_incomplete_line();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n         \nstranger\n");
}

#[test]
fn a_line_that_was_cut_short_goes_on_when_the_same_file_is_opened_anew() {
    let (_directory, path, [mut ours]) = sinks();
    write(&mut ours, "one\ntw");
    ours.reopen();
    assert_eq!(ours.take_incomplete(), 0);
    write(&mut ours, "o\n");
    write(&mut ours, "thr");
    // Rotated, it is written again to the new file.
    let rotated = path.with_extension("1");
    std::fs::rename(&path, &rotated).unwrap();
    ours.reopen();
    assert_eq!(ours.take_incomplete(), 3);
    write(&mut ours, "three\n");
    assert_eq!(std::fs::read_to_string(rotated).unwrap(), "one\ntwo\n  \n");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "three\n");
}
