//! Habits of other programs at `report`, `check`, `top`, `watch`, `man` and `completions`.

use serde_json::Value;
use tempfile::TempDir;

use super::assert_wrong_usage;
use crate::arguments::refused;
use crate::harness::program::BINARY;

const WATCH: &str = "conniver watch [OPTIONS]";
const TOP: &str = "conniver top [OPTIONS] [FILE]";

/// This option is unknown: what to do instead, whatever the usage line.
fn assert_tip(typed: &str, unknown: &str, tip: &str) {
    let (status, said) = refused(&typed.split(' ').collect::<Vec<_>>());
    let said = said.split("\n\nUsage: ").next();
    let expected = format!("error: unexpected argument '{unknown}' found\n\n  tip: {tip}");
    assert_eq!((status, said), (Some(2), Some(&*expected)), "conniver {typed}");
}

#[test]
fn options_of_other_programs_are_answered_with_what_does_the_same_here() {
    let duration =
        "conniver watch goes on until it is stopped; to limit its time: timeout 10s conniver watch";
    let csv = "make CSV of the JSON: conniver report --json FILE | jq -r '.groups[] | [.name, \
               .connections, .failed] | @csv'";
    for (typed, tip) in [
        (
            "top --json",
            "the output is text; for JSON, use conniver watch --format ndjson, or conniver report \
             --json FILE",
        ),
        ("top --output f", "write records to a file with conniver watch -o FILE"),
        (
            "check --json f",
            "the output is text, and the exit status is 1 if there are findings; for JSON on the \
             connections, use conniver report --json FILE",
        ),
        ("check --recursive d", "give the files themselves, as in conniver check DIR/*"),
        (
            "watch --sample-interval 1s",
            "set the interval with --interval TIME; write samples with --events socket,sample",
        ),
        (
            "watch --html f",
            "pages show connections of conniver proxy and conniver run; for sockets, write records \
             with -o FILE, and print a report with conniver report FILE",
        ),
        ("watch --count 5", duration),
        ("watch --duration 5s", duration),
        ("watch --append -o f", "omit it: -o FILE appends"),
        (
            "watch --dport 443",
            "select connections by server with --to HOST:PORT or --to :PORT, by client with --from",
        ),
        (
            "report --last 5m f",
            "choose connections by time, such as the last 5 minutes with --since 5m",
        ),
        ("report --csv f", csv),
        ("report --format json f", "print JSON with --json"),
        ("report --baseline a f", "compare with earlier files with --against FILE"),
        ("check -q f", "use the exit status, and redirect the output to /dev/null"),
        ("man --output d", "give the directory without an option, as in conniver man DIR"),
        ("man -l proxy", "to read a page: conniver man DIR && man -l DIR/conniver.1"),
        ("completions --zsh", "give the shell without hyphens, as in conniver completions bash"),
    ] {
        let option = typed.split(' ').find(|word| word.starts_with('-')).unwrap();
        assert_tip(typed, option, tip);
    }
}

#[test]
fn the_csv_of_the_tip_has_a_line_for_each_target() {
    if !crate::harness::has_tool("jq", "the_csv_of_the_tip_has_a_line_for_each_target") {
        return;
    }
    let demo = crate::harness::run(BINARY, &["demo"]);
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("f"), &demo).unwrap();
    let (_, said) = refused(&["report", "--csv", "f"]);
    let (_, command) = said.split_once("JSON: conniver").unwrap();
    let command = command.split("\n\n").next().unwrap().replace("FILE", "f");
    let line = format!("cd {} && {BINARY}{command}", directory.path().display());
    let demo: Value = serde_json::from_str(&demo).unwrap();
    let expected = format!("\"{}\",1,0\n", demo["target"].as_str().unwrap());
    assert_eq!(crate::harness::run("sh", &["-c", &line]), expected);
}

#[test]
fn a_file_or_a_command_that_cannot_stand_there_is_shown_where_it_can() {
    let to_repeat = "to repeat a command, use watch(1)";
    for (typed, unknown, tip, usage) in [
        (
            "watch Cargo.toml",
            "Cargo.toml",
            "to show the records in a file: conniver top Cargo.toml, or conniver report Cargo.toml"
                .to_owned(),
            WATCH,
        ),
        (
            "watch sh -c true",
            "sh",
            format!(
                "to show the connections of a command: conniver run -- sh -c true; {to_repeat}"
            ),
            WATCH,
        ),
        (
            "watch sh http://me:s3cret@h",
            "sh",
            format!(
                "to show the connections of a command: conniver run -- sh http://…@h; {to_repeat}"
            ),
            WATCH,
        ),
        (
            "watch no-such-program",
            "no-such-program",
            format!("select connections with --to HOST:PORT or --pid PID; {to_repeat}"),
            WATCH,
        ),
        (
            "watch db.example",
            "db.example",
            "did you mean: conniver watch --to db.example".to_owned(),
            WATCH,
        ),
        (
            "top Cargo.toml Cargo.lock",
            "Cargo.lock",
            "top shows one FILE; to report on several: conniver report Cargo.toml Cargo.lock"
                .to_owned(),
            TOP,
        ),
        ("top Cargo.toml x", "x", "give one FILE; select connections with -f TEXT".to_owned(), TOP),
        (
            "man 1 conniver",
            "conniver",
            "give one DIR for all manual pages; to read one: conniver man DIR && man -l \
             DIR/conniver.1"
                .to_owned(),
            "conniver man <DIR>",
        ),
        (
            "completions bash zsh",
            "zsh",
            "give one shell".to_owned(),
            "conniver completions <SHELL>",
        ),
    ] {
        let said = format!("unexpected argument '{unknown}' found\n\n  tip: {tip}");
        assert_wrong_usage(typed, &said, usage);
    }
    let (status, said) = refused(&["top", "no-such-program"]);
    let expected = "conniver: cannot read records from 'no-such-program': No such file or directory; \
                    to select connections by a word: conniver top -f no-such-program\n";
    assert_eq!((status, &*said), (Some(1), expected));
}

#[test]
fn endpoints_without_their_option_and_filters_of_tcpdump_are_shown_as_ours() {
    for (typed, unknown, meant) in [
        ("watch :443 10.0.0.1:80", ":443", "watch --to :443,10.0.0.1:80"),
        ("watch --from :443 10.0.0.1:80", "10.0.0.1:80", "watch --from :443 --from 10.0.0.1:80"),
        ("watch --to localhost 443 -v", "443", "watch --to localhost:443 -v"),
        ("watch port 443", "port", "watch --to :443"),
        ("watch tcp and host db and port 443", "tcp", "watch --to db:443"),
        ("watch src net 10.0.0.0/8", "src", "watch --from 10.0.0.0/8"),
    ] {
        assert_tip(typed, unknown, &format!("did you mean: conniver {meant}"));
    }
}

#[test]
fn options_that_exclude_each_other_here_say_which_to_omit() {
    for (typed, other, one, tip) in [
        (
            "report f --id 7 --json",
            "--id <ID>",
            "--json",
            "--id prints text; for the JSON of connection 7: jq 'select(.id | endswith(\"-7\"))' FILE",
        ),
        (
            "report f --id 7 --by process",
            "--id <ID>",
            "--by <PROPERTY>",
            "--id shows one connection; omit --by",
        ),
        (
            "report f --id 7 --html p",
            "--id <ID>",
            "--html <FILE>",
            "--id shows one connection as text; a page shows all of them",
        ),
        (
            "report f --html p --against g",
            "--html <FILE>",
            "--against <FILE>...",
            "pages have no comparison; omit --html for the text, or --against",
        ),
        (
            "watch --listening --outgoing",
            "--listening",
            "--outgoing",
            "omit both to select accepted and opened connections",
        ),
    ] {
        let (status, said) = refused(&typed.split(' ').collect::<Vec<_>>());
        let (first, rest) = said.split_once("\n\n  tip: ").unwrap();
        let order = [(one, other), (other, one)].map(|(one, other)| {
            format!("error: the argument '{one}' cannot be used with '{other}'")
        });
        assert!(order.contains(&first.to_owned()), "{first}");
        assert_eq!((status, rest.split("\n\n").next()), (Some(2), Some(tip)), "{typed}");
    }
}

#[test]
fn events_of_a_proxy_are_told_with_those_of_a_watch() {
    let (status, said) = refused(&["watch", "--events", "socket,close"]);
    let expected = "error: invalid value 'close' for '--events <LIST>'\n  [possible values: start, \
                    socket, sample, stop]\n\n  tip: that is a line of conniver proxy; conniver watch \
                    writes socket when a connection has ended, and sample while it is open\n\nFor \
                    more information, try '--help'.\n";
    assert_eq!((status, &*said), (Some(2), expected));
}
