//! The page, its JSON, and one connection's screen.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{copies, figures, report, report_text};
use crate::harness::peers::{deaf_port, echo_server, exchange, read_until_reset};
use crate::harness::program::{BINARY, Proxy, wait_until};

/// The lines of a run with good and failed connections, and the text of its file.
pub(super) fn a_run(detail: &str) -> (Vec<Value>, String) {
    let (_deaf, refusing) = deaf_port();
    let forwards = [format!("0:{}", echo_server()), format!("0:{refusing}")];
    let forwards: Vec<&str> = forwards.iter().map(String::as_str).collect();
    let events = ["--events", "start,open,close,stop,turn", "--detail", detail];
    let args = [&events[..], &["--label", "env=test", "--host", "lab"]].concat();
    let proxy = Proxy::start(&mut Command::new(BINARY), &forwards, &args);
    let [good, bad] = proxy.addresses() else { panic!("two listeners") };
    for size in [1, 10, 1000, 100_000] {
        let mut client = TcpStream::connect(good).unwrap();
        exchange(&mut client, &vec![7; size]);
    }
    for _ in 0..2 {
        read_until_reset(&mut TcpStream::connect(bad).unwrap());
    }
    let file = proxy.records_file();
    let mut text = String::new();
    wait_until("the records come", || {
        text = std::fs::read_to_string(&file).unwrap();
        text.matches(r#"{"event":"close""#).count() == 6 && text.ends_with('\n')
    });
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, text)
}

pub(super) fn closed(lines: &[Value]) -> Vec<Value> {
    lines.iter().filter(|line| line["event"] == "close").cloned().collect()
}

/// The text of a report.
fn page(lines: &[Value], args: &[&str]) -> String {
    let output = report(lines, args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn sums_are_those_of_the_lines_at_every_detail() {
    for detail in ["brief", "normal", "full"] {
        let (lines, _) = a_run(detail);
        let report = figures(&lines, &[]);
        let closed = closed(&lines);
        let sum = |key: &str| {
            closed.iter().filter_map(|line| line["upstream"][key].as_u64()).sum::<u64>()
        };
        let totals = &report["totals"];
        assert_eq!(totals["connections"], 6);
        assert_eq!(totals["failed"], 2);
        assert_eq!(totals["outcomes"], json!({"ok": 4, "refused": 2}));
        assert_eq!(totals["sent"], sum("txBytes"));
        assert_eq!(totals["received"], sum("rxBytes"));
        assert_eq!(totals["turns"], 4);
        let connects = closed.iter().filter_map(|line| line["phases"]["connect"].as_u64());
        assert_eq!(totals["connect"]["max"], connects.max().unwrap());
        let waits = closed.iter().filter_map(|line| line["turns"]["wait"]["max"].as_u64());
        assert_eq!(totals["wait"]["max"], waits.max().unwrap());
        assert_eq!(totals["wait"]["count"], 4);
        let idle = closed.iter().filter_map(|line| line["verdict"]["time"]["idle"].as_u64());
        assert_eq!(totals["time"]["idle"], idle.sum::<u64>());
        assert_eq!(report["hosts"], json!(["lab"]));
        let groups = report["groups"].as_array().unwrap();
        let counts: Vec<_> =
            groups.iter().map(|group| group["connections"].as_u64().unwrap()).collect();
        assert_eq!(counts, [4, 2], "{detail}");
        assert_eq!(groups[0]["name"], closed[0]["target"]);
        let (first, last) =
            (totals["firstAt"].as_i64().unwrap(), totals["lastAt"].as_i64().unwrap());
        let time =
            |line: &Value| line["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let end = i64::try_from(time(closed.last().unwrap()).as_nanosecond()).unwrap();
        assert!(first < last && last.abs_diff(end) < 50_000_000, "{first} {last} {end}");
        assert_eq!(report["slowest"].as_array().unwrap().len(), 5);
        assert_eq!(report["lines"]["open"], 4);
    }
}

#[test]
fn the_page_fits_80_columns_and_has_no_styles_in_a_pipe() {
    let (lines, _) = a_run("full");
    let long = copies(&closed(&lines)[0], 30, |record, number| {
        record["target"] =
            format!("a-very-long-name-{number}.of.some.internal.example:65535").into();
        record["process"] = json!({"name": "fifteen-letters"});
        for pointer in ["/phases/connect", "/turns/wait/max", "/turns/slowest/0/wait"] {
            *record.pointer_mut(pointer).unwrap() = 99_900_000_u64.into();
        }
    });
    let text = page(&[lines, long].concat(), &[]);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}\n{text}");
        assert_eq!(line, line.trim_end(), "{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
    for words in [
        "36 connections, 2 failed, on lab",
        "failed: 2 refused",
        "Findings",
        "slowest turns",
        "UTC",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
}

#[test]
fn styles_are_shown_on_a_terminal_unless_they_are_not_wanted() {
    let (_, text) = a_run("brief");
    for (no_color, is_styled) in [(None, true), (Some("1"), false)] {
        let size = nix::pty::Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = nix::pty::openpty(&size, None).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["report", "-"]).stdin(Stdio::piped()).stdout(terminal.slave);
        command
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .envs(no_color.map(|on| ("NO_COLOR", on)));
        let mut child = command.spawn().unwrap();
        drop(command);
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let mut shown = Vec::new();
        // Its end is an error on a terminal.
        let _ = std::fs::File::from(terminal.master).read_to_end(&mut shown);
        assert!(child.wait().unwrap().success());
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(shown.contains('\u{1b}'), is_styled, "{shown}");
        assert!(shown.contains("connect p50"), "the wide form:\n{shown}");
    }
}

#[test]
fn conditions_times_and_groups_choose_connections() {
    let (lines, _) = a_run("full");
    let count = |args: &[&str]| figures(&lines, args)["totals"]["connections"].as_u64().unwrap();
    assert_eq!(count(&["--where", "outcome=ok"]), 4);
    assert_eq!(count(&["--where", "outcome!=ok and label.env=t*"]), 2);
    assert_eq!(count(&["--where", "outcome!=ok", "--where", "label.env=x"]), 0);
    assert_eq!(count(&["--since", "2001-01-01", "--until", "2100-01-01T00:00:00Z"]), 6);
    assert_eq!(count(&["--until", "2001-01-01"]), 0);
    // From the third connection's beginning to the fifth's.
    let closed = closed(&lines);
    let at = |seq: u64| {
        let line = closed.iter().find(|line| line["seq"] == seq).unwrap();
        let nanos = line["openedAt"].as_i64().unwrap();
        jiff::Timestamp::from_nanosecond(nanos.into()).unwrap().to_string()
    };
    assert_eq!(count(&["--since", &at(3), "--until", &at(5)]), 2);
    let text = page(&lines, &["--where", "outcome=ok", "--since", "2001-01-01 12:00"]);
    let said = "only outcome=ok, since 2001-01-01 12:00:00; 2 connections left out";
    assert!(text.contains(said), "{text}");
    for (by, names) in [("outcome", ["ok", "refused"]), ("label.env", ["test", ""])] {
        let report = figures(&lines, &["--by", by]);
        let groups = report["groups"].as_array().unwrap().iter();
        let found: Vec<_> =
            groups.map(|group| group["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(found, names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>());
        assert_eq!(report["by"], by);
    }
}

#[test]
fn a_torn_or_mixed_file_is_read_to_its_end_and_that_is_said() {
    let (_, text) = a_run("full");
    let torn = &text[..text.trim_end().len() - 100];
    let close = text.lines().find(|line| line.starts_with(r#"{"event":"close""#)).unwrap();
    let text = format!("not json\n{text}\n\n{{\"event\":\"later\"}}\n{}\n{torn}", &close[..200]);
    let output = report_text(text.as_bytes(), &[]);
    assert!(output.status.success());
    let page = String::from_utf8(output.stdout).unwrap();
    for words in ["standard input: 2 lines incomplete", "standard input: 1 line not a record"] {
        assert!(page.contains(words), "{words}:\n{page}");
    }
    let report = |bytes: &[u8]| {
        let output = report_text(bytes, &["--json"]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(report(text.as_bytes())["totals"]["connections"], 6, "each once");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    assert_eq!(report(&gzip)["totals"], report(text.as_bytes())["totals"]);
    let cut = report(&gzip[..gzip.len() / 2]);
    assert_eq!(cut["files"][0]["truncated"], "gzip");
    let empty = report_text(b"", &[]);
    assert!(empty.status.success());
    assert!(String::from_utf8(empty.stdout).unwrap().starts_with("no connections\n"));
}

#[test]
fn hostile_texts_stay_text() {
    let (lines, _) = a_run("full");
    let hostile = "\u{1b}]0;title\u{7}\u{202e}x\nnote: forged";
    let lines = copies(&closed(&lines)[0], 25, |record, _| {
        for key in ["target", "host", "listener", "clientHost"] {
            record[key] = hostile.into();
        }
        record["process"] = json!({"name": hostile, "pid": 1});
        record["tls"] =
            json!({"serverName": hostile, "version": hostile, "handshake": 900_000_000});
        record["id"] = format!("{hostile}-7").into();
    });
    for args in [&[][..], &["--by", "process"], &["--id", "7"]] {
        let output = report(&lines[..1 + 24 * usize::from(args.len() < 2)], args);
        assert!(output.status.success(), "{args:?} {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let is_active = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!text.contains(is_active), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("note: forged")), "{text}");
    }
}

#[test]
fn redacted_reports_have_stand_ins_alone() {
    let (lines, _) = a_run("full");
    let lines = copies(&closed(&lines)[0], 3, |record, number| {
        record["target"] = format!("db{number}.jane.example:5432").into();
        record["host"] = "laptop-of-jane".into();
        record["clientHost"] = "192.0.2.7".into();
        record["upstream"]["remoteAddr"] = "192.0.2.8:5432".into();
        record["labels"] = json!({"owner": "jane"});
    });
    let id = lines[0]["id"].as_str().unwrap();
    let of_jane = ["--where", "target=*jane* and label.owner=jane and client=192.0.2.*", "--json"];
    let args =
        [&["--by", "label.owner"][..], &["--json"], &[], &["--id", id], &of_jane, &of_jane[..2]];
    for args in args {
        let text = page(&lines, &[&["--redact"], args].concat());
        for word in ["jane", "192.0.2"] {
            assert!(!text.contains(word), "{word}:\n{text}");
        }
    }
    let text = page(&lines, &["--redact"]);
    assert!(text.contains("host-2:5432") && text.contains("on host-1"), "{text}");
}

#[test]
fn one_connection_is_shown_by_its_id_or_the_end_of_it() {
    let (lines, _) = a_run("full");
    let closed = closed(&lines);
    let good = closed.iter().find(|line| line["seq"] == 4).unwrap();
    let id = good["id"].as_str().unwrap();
    let screen = page(&lines, &["--id", id]);
    for words in [
        "client accepted",
        "connected to 127.0.0.1:",
        "first byte from the client",
        "last byte from the upstream, 100 kB in all",
        "closed: the client ended its stream first, the upstream ended its stream",
        "sockets",
        "Turns: 1, waits p50",
        id,
    ] {
        let unwrapped = screen.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(unwrapped.contains(words), "{words}:\n{screen}");
    }
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    for end in ["4", &id[id.len() - 6..]] {
        assert_eq!(page(&lines, &["--id", end]), screen);
    }
    let refused = page(&lines, &["--id", "5"]);
    assert!(refused.contains("failed: Connection refused"), "{refused}");
    let none = report(&lines, &["--id", "77"]);
    assert_eq!(none.status.code(), Some(1));
    let said = String::from_utf8(none.stderr).unwrap();
    assert!(said.starts_with("conniver: there is no connection with the id '77'"), "{said}");
    let mut twice = [&closed[..], &closed].concat();
    let another_run = "01a2282e-b346-77eb-b828-ce49454761db";
    for line in &mut twice[closed.len()..] {
        line["id"] = format!("{another_run}-{}", line["seq"]).into();
    }
    let several = |wanted: &str| {
        let output = report(&twice, &["--id", wanted]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        String::from_utf8(output.stderr).unwrap().replace("\n    ", " ")
    };
    let said = format!("conniver: 2 connections have ids that end in '4': {id}, {another_run}-4\n");
    assert_eq!(several("4"), said);
    // As of a commit in git.
    let said = several(&another_run[..8]);
    let ids =
        format!("conniver: 6 connections have ids that begin with '01a2282e': {another_run}-");
    assert!(said.starts_with(&ids) && said.ends_with(", and 1 more\n"), "{said}");
    assert_eq!(page(std::slice::from_ref(good), &["--id", &id[..8]]), screen);
    assert!(several("01a").starts_with("conniver: there is no connection with the id '01a'"));
    let (brief, _) = a_run("brief");
    assert!(page(&brief, &["--id", "4"]).contains("closed: the client ended its stream first"));
}

#[test]
fn a_comparison_tells_changes_from_chance() {
    let (lines, _) = a_run("full");
    let good = closed(&lines)[0].clone();
    let waits = |factor: u64| {
        copies(&good, 60, move |record, number| {
            let wait = (number * 7 % 60 + 10) * factor * 100_000;
            for key in ["max", "p50", "p99", "total"] {
                record["turns"]["wait"][key] = wait.into();
            }
        })
    };
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("before.ndjson");
    let before: String = waits(10).iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, before).unwrap();
    // The report reads standard input, which comes last.
    let compare = |lines: &[Value]| {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let args = ["--json", "--against", file.to_str().unwrap(), "--"];
        let output = report_text(text.as_bytes(), &args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let changes = report["against"]["changes"].as_array().unwrap().clone();
        changes.into_iter().find(|change| change["measure"] == "waitP50").unwrap()
    };
    assert_eq!(compare(&waits(10))["isChange"], false);
    let slower = compare(&waits(20));
    assert_eq!(slower["isChange"], true);
    assert_eq!(slower["before"].as_f64().unwrap() * 2.0, slower["after"].as_f64().unwrap());
    assert_eq!(compare(&waits(20)[..10])["isChange"], Value::Null);
}

#[test]
fn head_ends_it_quietly_and_mistakes_are_usage() {
    let (_, text) = a_run("brief");
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("records.ndjson");
    let runs = (0..200).map(|run| text.replace("\"id\":\"", &format!("\"id\":\"{run}-")));
    std::fs::write(&file, runs.collect::<String>()).unwrap();
    let script = format!("{BINARY} report --slowest 500 {} | head -1", file.display());
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("1200 connections"));
    for (args, words) in [
        (&["--by", "colour"][..], "give target, process, listener, outcome or label.KEY"),
        (&["--where", "colour=red"], "unknown key 'colour'"),
        (&["--since", "later"], "give a local time"),
        (&["--since", "14:00", "--until", "13:00"], "--until must be later than --since"),
        (&["--id", "1", "--json"], "cannot be used with"),
    ] {
        let output = report_text(b"", args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = String::from_utf8(output.stderr)
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(said.contains(words), "{said}");
    }
    let missing = directory.path().join("missing");
    let output = Command::new(BINARY).arg("report").args([&file, &missing]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("1200 connections"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot read records from '"));
}

/// All keys of a JSON value.
fn keys(value: &Value, into: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            into.extend(object.keys().cloned());
            object.values().for_each(|value| keys(value, into));
        }
        Value::Array(array) => array.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

#[test]
fn every_key_of_the_json_is_documented() {
    let (lines, _) = a_run("full");
    let mut report = figures(&lines, &[]);
    // Their keys are outcomes, parties and those of a verdict.
    for pointer in ["outcomes", "endedFirst", "resetBy", "time"] {
        report["totals"][pointer] = Value::Null;
        for group in report["groups"].as_array_mut().unwrap() {
            group[pointer] = Value::Null;
        }
    }
    let mut found = std::collections::BTreeSet::new();
    keys(&report, &mut found);
    assert!(found.len() > 50, "{found:?}");
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.md");
    let page = std::fs::read_to_string(page).unwrap();
    for key in found {
        assert!(page.contains(&format!("`{key}`")), "{key} is not in docs/report.md");
    }
}

#[test]
fn every_finding_is_documented() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = |rule: &str| page.matches(&format!("\n| `{rule}` |")).count();
    for rule in conniver::report::Rule::ALL {
        assert_eq!(rows(&rule.to_string()), 1, "{rule}");
    }
}
