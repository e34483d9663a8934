//! What the readers of records say of files in other formats, and of what they cannot write or select.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::failures::assert_fails;
use crate::arguments::{refused, unwrapped};
use crate::harness::dns::{Reply, serve_names};
use crate::harness::namespace::{Namespace, available};
use crate::harness::program::BINARY;

/// A close line, as far as readers need it to take it for one.
const RECORD: &str = r#"{"event":"close","schema":1,"time":"2026-01-01T00:00:00Z"}"#;

#[test]
fn formats_that_are_not_read_are_named_with_what_reads_them() {
    let capture = "it is a capture of packets, which has no records; read it with tcpdump -r FILE";
    let utf_16 = "it is UTF-16 text; convert it first with iconv -f UTF-16 -t UTF-8 FILE";
    let compressed = |by: &str| format!("it is compressed; decompress it first with {by} -dc FILE");
    let tar = [&[b'a'; 257][..], b"ustar\0"].concat();
    let array = format!("[{RECORD}]");
    let prefixed = format!("web1 {RECORD}\n");
    let quoted = format!("{{\"log\":{}}}", serde_json::to_string(&format!("{RECORD}\n")).unwrap());
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    for (bytes, said) in [
        (&b"\xfd7zXZ\0\0"[..], compressed("xz")),
        (b"BZh9", compressed("bzip2")),
        (b"\x04\x22\x4d\x18", compressed("lz4")),
        (b"\x1f\x9d\x90", compressed("uncompress")),
        (b"PK\x03\x04", "it is a zip archive; extract it first with unzip -p FILE".to_owned()),
        (&tar, "it is a tar archive; extract it first with tar -xOf FILE".to_owned()),
        (b"\xff\xfe{\0", utf_16.to_owned()),
        (b"\xfe\xff\0{", utf_16.to_owned()),
        (b"\xd4\xc3\xb2\xa1", capture.to_owned()),
        (b"\xa1\xb2\xc3\xd4", capture.to_owned()),
        (b"\x4d\x3c\xb2\xa1", capture.to_owned()),
        (b"\x0a\x0d\x0d\x0a", capture.to_owned()),
        (
            array.as_bytes(),
            "it is a JSON array; write each element on one line: jq -c '.[]' FILE".to_owned(),
        ),
        (
            prefixed.as_bytes(),
            "it is text with other words before each record; remove these first with sed -n \
             's/^[^{]*{/{/p' FILE"
                .to_owned(),
        ),
        (
            quoted.as_bytes(),
            "it is JSON with the records in strings; take these out first with jq -r .log FILE"
                .to_owned(),
        ),
        // A window descriptor of 2^28 bytes, and an identifier of a dictionary (RFC 8878 section 3.1.1.1).
        (
            b"\x28\xb5\x2f\xfd\x00\x90",
            "its zstd window of 256 MiB is larger than 64 MiB; decompress it first with zstd -dc \
             --long=31 FILE"
                .to_owned(),
        ),
        (
            b"\x28\xb5\x2f\xfd\x01\x00\x05",
            "it was compressed with a zstd dictionary; decompress it first with zstd -dc -D \
             DICTIONARY FILE"
                .to_owned(),
        ),
    ] {
        fs::write(&file, bytes).unwrap();
        for (command, status) in [("check", 2), ("report", 1)] {
            let said = format!("conniver: cannot read records from '{}': {said}\n", file.display());
            assert_fails(Command::new(BINARY).arg(command).arg(&file), status, &said);
        }
    }
}

#[test]
fn pages_and_comparisons_that_cannot_be_made_are_named() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let [records, empty, gone] = ["records", "empty", "gone"].map(path);
    let page = format!("{gone}/page");
    fs::write(&records, format!("{RECORD}\n")).unwrap();
    fs::write(&empty, "").unwrap();
    let here = directory.path().to_str().unwrap();
    for (options, said) in [
        (
            ["--html", here],
            format!("cannot write the page to '{here}': is a directory; name a file in it"),
        ),
        (
            ["--html", &page],
            format!(
                "cannot write the page to '{page}': the directory '{gone}' does not exist; create it, or \
                 choose another file"
            ),
        ),
        (
            ["--against", &empty],
            "there is nothing to compare with: no connections in the files of --against".to_owned(),
        ),
    ] {
        let mut command = Command::new(BINARY);
        command.args(["report", &records]).args(options);
        assert_fails(&mut command, 1, &format!("conniver: {said}\n"));
    }
}

#[test]
fn options_that_do_not_fit_together_or_their_files_are_named() {
    let directory = TempDir::new().unwrap();
    let text = directory.path().join("text");
    fs::write(&text, "text\n").unwrap();
    let text = text.to_str().unwrap();
    let (report, top) = ("conniver report [OPTIONS] <FILE>...", "conniver top [OPTIONS] [FILE]");
    for (words, said, usage) in [
        (
            &["check", "-", "-"][..],
            "'-' is given twice, but standard input can be read only once",
            "conniver check <FILE>...",
        ),
        (
            &["report", "-", "-"],
            "'-' is given twice, but standard input can be read only once",
            report,
        ),
        (
            &["report", "x", "--json", "--html", "-"],
            "--json and --html - both print to standard output; give --html a file, or omit one of \
             them",
            report,
        ),
        (
            &["report", "x", "--html", text],
            &format!(
                "--html: '{text}' exists and is not a page of conniver; name another file, or remove \
                 it"
            ),
            report,
        ),
        (
            &["report", "x", "--where", "x"],
            "--where: 'x' has no '=' or '!='; write, for example, target=db* and outcome!=ok",
            report,
        ),
        (
            &["report", "x", "--where", "outcome"],
            "--where: 'outcome' has no '=' or '!=' with a value; write outcome=PATTERN, or outcome=?* \
             for any value",
            report,
        ),
        (
            &["report", "x", "--where", "port=1"],
            "--where: unknown key 'port'; give target, process, listener, outcome, client, host, mode, \
             limitedBy, error, id or label.KEY",
            report,
        ),
        (
            &["report", "x", "--where", "\u{201c}outcome=ok\u{201d}"],
            "--where: \u{201c} is a typographic quote; write ' or \"",
            report,
        ),
        (
            &["top", text, "--to", "h:1"],
            "--to selects sockets of this machine, but there is a file or a pipe of records; --filter \
             selects among those",
            top,
        ),
    ] {
        let expected =
            format!("error: {said}\n\nUsage: {usage}\n\nFor more information, try '--help'.\n");
        assert_eq!(refused(words), (Some(2), expected), "{words:?}");
    }
    assert_eq!(fs::read_to_string(text).unwrap(), "text\n");
}

#[test]
fn a_name_that_selects_sockets_and_does_not_exist_is_said_by_the_systems_words() {
    if !available("a_name_that_selects_sockets_and_does_not_exist_is_said_by_the_systems_words") {
        return;
    }
    let namespace = Namespace::new();
    serve_names(&namespace, "", |_| Reply::NoSuchName);
    let output =
        namespace.command(BINARY).args(["watch", "--to", "db.test:5432"]).output().unwrap();
    let said = unwrapped(&String::from_utf8(output.stderr).unwrap());
    let expected = "conniver: cannot look up 'db.test': Name or service not known; give its address \
                    instead\n";
    assert_eq!((output.status.code(), &*said), (Some(1), expected));
}
