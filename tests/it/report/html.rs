//! The page: one file, whatever the records say. tests/long/page.rs looks at it in a browser.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{copies, report, report_text};
use crate::arguments::unwrapped;
use crate::harness::peers::echo_server;
use crate::harness::program::BINARY;

/// A text that is markup in every context of a page.
const HOSTILE: &str = "</script></style>--><img src=x onerror=alert(1)>'\"&{{1}}\u{202e}\n";

/// A real record.
fn record() -> Value {
    let demo = Command::new(BINARY).arg("demo").output().unwrap();
    serde_json::from_slice(&demo.stdout).unwrap()
}

fn page_of(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn page(lines: &[Value]) -> String {
    page_of(&report(lines, &["--html", "-"]))
}

/// All texts of a record, keys of labels included, become hostile.
fn poison(value: &mut Value) {
    match value {
        Value::String(text) => *text = HOSTILE.to_owned(),
        Value::Array(values) => values.iter_mut().for_each(poison),
        Value::Object(fields) => fields.values_mut().for_each(poison),
        _ => {}
    }
}

/// Fields whose texts are of a closed set, or an address.
const FIXED: [&str; 14] = [
    "event",
    "outcome",
    "mode",
    "resolveSource",
    "addr",
    "localAddr",
    "remoteAddr",
    "phase",
    "firstBy",
    "firstHow",
    "limitedBy",
    "direction",
    "shape",
    "time",
];

fn poison_free_texts(record: &mut Value) {
    let Value::Object(fields) = record else { return };
    for (name, value) in fields {
        match value {
            Value::Object(_) => poison_free_texts(value),
            Value::Array(values) => values.iter_mut().for_each(poison_free_texts),
            _ if !FIXED.contains(&name.as_str()) && !name.starts_with("second") => poison(value),
            _ => {}
        }
    }
}

#[test]
fn the_page_loads_nothing_and_runs_only_what_its_policy_names() {
    let page = page(&copies(&record(), 50, |_, _| {}));
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert!(page.contains("default-src 'none'; style-src 'sha256-"), "{page}");
    let without_names = page.replace("http://www.w3.org/2000/svg", "");
    // What a policy with hashes forbids would be missing in the browser.
    for loads in ["http:", "https:", "url(h", "@import", " src=", " style=", " onclick="] {
        assert!(!without_names.contains(loads), "{loads}");
    }
}

#[test]
fn hostile_texts_of_records_stay_text() {
    let mut hostile = record();
    poison_free_texts(&mut hostile);
    hostile["labels"] = json!({ HOSTILE: HOSTILE });
    hostile["outcome"] = "reset".into();
    hostile["warnings"] = json!([
        { "code": "outOfOrder", "leg": null, "value": 1, "unit": HOSTILE, "text": HOSTILE }
    ]);
    let lines =
        copies(&hostile, 3, |line, number| line["id"] = format!("{HOSTILE}{number}").into());
    let page = page(&lines);
    let count = |text: &str| page.matches(text).count();
    assert_eq!(
        (count("<img"), count("<script"), count("</script"), count("</style")),
        (0, 2, 2, 1)
    );
    assert!(!page.contains('\u{202e}'));
    assert!(page.contains("&#60;img src=x onerror=alert(1)&#62;"), "the names are shown");
}

#[test]
fn the_page_is_below_2_mb_and_says_how_many_connections_it_leaves_out() {
    let record = record();
    let many = page(&copies(&record, 5000, |line, number| {
        line["target"] = format!("host-{}.example.com:443", number % 700).into();
    }));
    assert!(many.len() < 2_000_000, "{}", many.len());
    assert!(many.contains("2,000 of 5,000 connections are listed"), "all that may be");
    let long = page(&copies(&record, 3000, |line, number| {
        line["target"] = format!("{number}{}", HOSTILE.repeat(20)).into();
        line["ending"]["error"] = format!("{}{number}", HOSTILE.repeat(20)).into();
    }));
    assert!(long.len() < 2_000_000, "{}", long.len());
    assert!(long.contains("of 3,000 connections are listed"), "as many as there is room for");
}

#[test]
fn there_is_a_page_of_nothing_and_of_every_detail() {
    assert!(page_of(&report_text(b"", &["--html", "-"])).contains("0 connections"));
    let mut brief = record();
    for key in ["openedAt", "closedAt", "attempts", "http", "resolveSource"] {
        brief.as_object_mut().unwrap().remove(key);
    }
    for leg in ["client", "upstream"] {
        for key in ["firstTxAt", "lastRxAt", "lastTxAt", "openedAt"] {
            brief[leg].as_object_mut().unwrap().remove(key);
        }
    }
    assert!(page(&[brief]).contains("1 connection on"));
}

#[test]
fn the_page_is_a_file_and_the_text_is_printed_as_well() {
    let directory = TempDir::new().unwrap();
    let [records, page] = ["records.ndjson", "page.html"].map(|name| directory.path().join(name));
    let line = format!("{}\n", record());
    fs::write(&records, &line).unwrap();
    let report =
        |page| Command::new(BINARY).arg("report").arg(&records).arg("--html").arg(page).output();
    let both = report(&page).unwrap();
    assert!(both.status.success() && !both.stdout.is_empty(), "the text is printed as well");
    assert!(fs::read_to_string(&page).unwrap().contains("1 connection on"));

    let page = directory.path().join("none/page.html");
    let nowhere = report(&page).unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    let said = unwrapped(&String::from_utf8(nowhere.stderr).unwrap());
    let why = format!("the directory '{}' does not exist", page.parent().unwrap().display());
    let advice = "create it, or choose another file";
    assert_eq!(
        said,
        format!("conniver: cannot write the page to '{}': {why}; {advice}\n", page.display())
    );
}

#[test]
fn run_writes_a_page_without_a_file_of_records() {
    let directory = TempDir::new().unwrap();
    let page = directory.path().join("page.html");
    let target = echo_server();
    // curl's CONNECT, without curl.
    let script = format!(
        "set -- $(echo $http_proxy | sed 's,http://,,; s,/.*,,; s,:, ,')
         exec 3<>/dev/tcp/$1/$2
         printf 'CONNECT {target} HTTP/1.1\\r\\nHost: {target}\\r\\n\\r\\n' >&3
         read -r line <&3"
    );
    let mut run = Command::new(BINARY);
    run.args(["run", "--quiet", "--html"]).arg(&page).args(["--", "bash", "-c", &script]);
    let output = run.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let shown = fs::read_to_string(&page).unwrap();
    assert!(shown.contains("1 connection on") && shown.contains(&target.to_string()), "{shown}");
}

/// What a command says of a page that it refuses, in one line.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    unwrapped(&String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_file_that_is_not_a_page_is_never_overwritten() {
    let directory = TempDir::new().unwrap();
    let [records, link, text, page] = ["records.ndjson", "link.ndjson", "notes.txt", "page.html"]
        .map(|name| directory.path().join(name));
    let line = format!("{}\n", record());
    fs::write(&records, &line).unwrap();
    fs::hard_link(&records, &link).unwrap();
    fs::write(&text, "notes").unwrap();
    let report = |page: &Path| {
        let mut report = Command::new(BINARY);
        report.arg("report").arg("--html").arg(page).arg(&records);
        report
    };
    let run = |page: &Path, output: &Path| {
        let mut run = Command::new(BINARY);
        run.args(["run", "--fresh", "-o"]).arg(output).arg("--html").arg(page);
        run.args(["--", "touch"]).arg(directory.path().join("ran"));
        run
    };
    let new = directory.path().join("new");
    for (mut command, words) in [
        (report(&records), "has records; name another file"),
        (report(&link), "has records; name another file"),
        (report(&text), "is not a page of conniver; name another file, or remove it"),
        (run(&records, &records), "has records; name another file"),
        (run(&new, &new), "has records; name another file"),
        (run(&text, &records), "is not a page of conniver; name another file, or remove it"),
    ] {
        let said = refused(&mut command);
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(fs::read_to_string(&records).unwrap(), line);
    assert_eq!(fs::read_to_string(&text).unwrap(), "notes");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "nothing was created");

    for _ in 0..2 {
        assert!(report(&page).output().unwrap().status.success(), "a page replaces a page");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4);
}

#[test]
fn a_failure_leaves_the_older_page_as_it_is() {
    use std::os::unix::fs::PermissionsExt;

    let directory = TempDir::new().unwrap();
    let page = directory.path().join("page.html");
    let command = |args: &[&str]| {
        let mut command = Command::new(BINARY);
        command.current_dir(directory.path()).args(args);
        command.output().unwrap()
    };
    fs::write(directory.path().join("records.ndjson"), format!("{}\n", record())).unwrap();
    assert!(command(&["report", "--html", "page.html", "records.ndjson"]).status.success());
    fs::set_permissions(&page, fs::Permissions::from_mode(0o644)).unwrap();
    let older = fs::read_to_string(&page).unwrap();
    for (args, status) in [
        (&["report", "--html", "page.html", "none.ndjson"][..], 1),
        (&["run", "--html", "page.html", "--", "/no/such/program"], 127),
        // Of a killed program only a file beside the page may be left.
        (&["run", "--html", "page.html", "--", "sh", "-c", "kill -9 $PPID"], -1),
    ] {
        assert_eq!(command(args).status.code().unwrap_or(-1), status, "{args:?}");
        assert_eq!(fs::read_to_string(&page).unwrap(), older, "{args:?}");
    }
    let replaced = "rm -r build && mkdir build";
    fs::create_dir(directory.path().join("build")).unwrap();
    let output = command(&["run", "--html", "build/page.html", "--", "sh", "-c", replaced]);
    assert!(output.status.success(), "{output:?}");
    assert!(directory.path().join("build/page.html").exists());

    assert!(command(&["run", "--html", "page.html", "--", "true"]).status.success());
    assert_ne!(fs::read_to_string(&page).unwrap(), older);
    assert_eq!(page.metadata().unwrap().permissions().mode() & 0o777, 0o644, "as it was");
}

#[test]
fn the_page_goes_into_a_pipe_or_device() {
    let output = report(&[record()], &["--html", "/dev/null"]);
    assert!(output.status.success(), "{output:?}");
    assert!(Path::new("/dev/null").metadata().is_ok_and(|null| !null.is_file()));
}
