//! `conniver top`, as a person uses it: in a terminal, with keys, over a real proxy.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use conniver::top::{self, Ended, Options, Sort, Source, Theme};
use nix::sys::signal::Signal;

use crate::harness::forwarding::Forwarding;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{deaf_port, echo_server, exchange};
use crate::harness::postgres::{self, Postgres};
use crate::harness::program::{BINARY, PATIENCE, Proxy, wait_until};
use crate::harness::tmux::Terminal;
use crate::harness::{has_tool, output};

const EVENTS: [&str; 4] =
    ["--events", "start,open,sample,turn,close", "--sample-interval", "100ms"];

/// Seconds of a wait for the server on the screen.
fn waited_for_server(screen: &str) -> Option<f64> {
    let after = screen.lines().find_map(|line| line.split("server ").nth(1))?;
    after.trim().strip_suffix('s')?.parse().ok()
}

/// Starts top in a terminal over this file.
fn top_over(terminal: &Terminal, file: &std::path::Path, options: &str) {
    terminal.run(&format!("{BINARY} top {options} {}", file.display()));
}

#[test]
fn a_stuck_request_is_shown_as_a_wait_for_the_server() {
    let Some(terminal) = Terminal::new("a stuck request in top", (80, 24), &[]) else { return };
    let forwarding = Forwarding::new(&EVENTS);
    let ends = forwarding.pair();
    (&ends.client).write_all(b"a request that is never answered").unwrap();
    top_over(&terminal, &forwarding.proxy.records_file(), "");
    let is_long = |screen: &str| waited_for_server(screen).is_some_and(|seconds| seconds >= 2.0);
    let screen = terminal.wait_until("the wait", is_long);
    for words in ["1 open", "waiting: 1 server", "conniver top: records.ndjson"] {
        assert!(screen.contains(words), "{screen}");
    }
    // It goes on although no sample comes.
    let after = waited_for_server(&screen).unwrap();
    terminal.wait_until("a longer wait", |screen| waited_for_server(screen) > Some(after + 1.0));
    drop(ends);
    terminal.wait_for("no open connections");
    terminal.press(&["q"]);
    terminal.wait_until("the shell", |screen| !screen.contains("open"));
}

#[test]
fn a_query_in_pg_sleep_is_shown_with_its_program() {
    const WHAT: &str = "a_query_in_pg_sleep_is_shown_with_its_program";
    if !available(WHAT) || !has_tool("psql", WHAT) {
        return;
    }
    let is_found = |tool: &str| postgres::program(tool).exists() || has_tool(tool, WHAT);
    if !["initdb", "postgres", "setpriv"].into_iter().all(is_found) {
        return;
    }
    let Some(terminal) = Terminal::new(WHAT, (120, 30), &[]) else { return };
    let namespace = Namespace::new();
    let _server = Postgres::start(&namespace);
    let forward = format!("0:{}", Postgres::ADDRESS);
    let proxy = Proxy::start(&mut namespace.command(BINARY), &[&forward], &EVENTS);
    let mut psql = Postgres::psql(&namespace, proxy.address().port());
    let mut psql = psql.args(["-c", "select pg_sleep(60)", "postgres"]).spawn().unwrap();
    top_over(&terminal, &proxy.records_file(), "");
    let screen = terminal.wait_until("the wait", |screen| waited_for_server(screen) >= Some(2.0));
    psql.kill().unwrap();
    psql.wait().unwrap();
    let row = screen.lines().find(|line| line.contains("server ") && line.starts_with("psql"));
    assert!(row.is_some_and(|row| row.contains(Postgres::ADDRESS)), "{screen}");
}

#[test]
fn keys_select_filter_sort_and_pause() {
    let Some(terminal) = Terminal::new("keys in top", (80, 24), &[]) else { return };
    let (echo, (_held, deaf)) = (echo_server(), deaf_port());
    let forwards =
        [format!("0:{echo}"), format!("0:localhost:{}", echo.port()), format!("0:{deaf}")];
    let forwards = forwards.each_ref().map(String::as_str);
    let proxy = Proxy::start(&mut Command::new(BINARY), &forwards, &EVENTS);
    let mut one = TcpStream::connect(proxy.addresses()[0]).unwrap();
    let mut two = TcpStream::connect(proxy.addresses()[1]).unwrap();
    exchange(&mut one, b"hello");
    exchange(&mut two, b"hello");
    let by_name = format!("localhost:{}", echo.port());
    top_over(&terminal, &proxy.records_file(), "-i 100ms");
    terminal.wait_until("both", |screen| {
        screen.contains("2 open") && screen.contains(&by_name) && screen.contains(&echo.to_string())
    });

    terminal.press(&["/", "l", "o", "c", "a", "l", "h"]);
    terminal.wait_for("filter: localh");
    terminal.press(&["Enter"]);
    let screen = terminal.wait_for("filter: localh (1 shown)");
    assert!(screen.contains(&by_name) && !screen.contains(&echo.to_string()), "{screen}");
    terminal.press(&["Down", "Enter"]);
    // The bytes come with a sample.
    let screen = terminal.wait_for("5B, 5B");
    for words in [&*by_name, "socket to", "received, sent", "write blocked", "no turns so far"] {
        assert!(screen.contains(words), "{words}:\n{screen}");
    }
    exchange(&mut two, b"again");
    terminal.wait_for("turn at");
    terminal.press(&["Escape"]);
    terminal.wait_for("waiting for");
    terminal.press(&["/"]);
    terminal.wait_for("filter: localh");
    terminal.press(&["C-u", "Enter"]);
    terminal.wait_until("both again", |screen| {
        screen.contains(&echo.to_string()) && !screen.contains("filter:")
    });

    terminal.press(&["s"]);
    terminal.wait_for("by program");
    terminal.press(&["r"]);
    terminal.wait_for("by program, reversed");
    terminal.press(&["?"]);
    terminal.wait_for("pause the screen; reading goes on");
    terminal.press(&["?"]);

    terminal.press(&["p"]);
    terminal.wait_for("PAUSED");
    let mut refused = TcpStream::connect(proxy.addresses()[2]).unwrap();
    // It is reset.
    let _ = refused.read(&mut [0]);
    drop(one);
    proxy.wait_for_records(2);
    let paused = terminal.screen();
    assert!(paused.contains("2 open") && paused.contains("PAUSED"), "{paused}");
    terminal.press(&["p"]);
    let screen = terminal.wait_for("1 open");
    assert!(screen.contains("2 closed"), "{screen}");
    let screen = terminal.wait_for("refused ECONNREFUSED");
    assert!(screen.contains("failed in the last minute: 1"), "{screen}");

    terminal.resize(50, 12);
    let screen = terminal.wait_until("the small screen", |screen| screen.lines().count() == 12);
    terminal.wait_until("a fitting title", |screen| {
        screen.lines().next().is_some_and(|line| line.ends_with("UTC"))
    });
    assert!(screen.lines().all(|line| line.chars().count() <= 50), "{screen}");
    terminal.press(&["q"]);
    terminal.wait_until("the shell", |screen| !screen.contains("UTC"));
}

/// The settings of the terminal, as stty(1) has them.
fn settings(terminal: &Terminal) -> String {
    terminal.run("clear; stty -a > settings; echo settings are there");
    terminal
        .wait_until("the shell", |screen| screen.lines().any(|line| line == "settings are there"));
    fs::read_to_string(terminal.directory().join("settings")).unwrap()
}

#[test]
fn every_end_leaves_the_terminal_as_it_was() {
    let Some(terminal) = Terminal::new("ends of top", (80, 24), &[]) else { return };
    let before = settings(&terminal);
    let records = terminal.directory().join("records");
    fs::write(&records, "").unwrap();
    let shown = "no records yet";
    let end = |command: &str, end: &dyn Fn()| {
        terminal.run("clear; echo this was on the screen");
        terminal.wait_until("the shell", |screen| {
            screen.lines().any(|line| line == "this was on the screen")
        });
        terminal.run(&format!("{command}; echo it has ended"));
        terminal.wait_for(shown);
        assert!(!terminal.screen().contains("this was"), "{}", terminal.screen());
        end();
        // What is typed before that may still be read as keys.
        terminal.wait_until("its end", |screen| {
            screen.contains("this was on the screen")
                && screen
                    .lines()
                    .any(|line| line.ends_with("it has ended") && !line.contains("echo"))
        });
        assert_eq!(settings(&terminal), before, "{command}");
    };
    let top = format!("{BINARY} top records");
    end(&top, &|| terminal.press(&["q"]));
    end(&top, &|| terminal.press(&["C-c"]));
    let terminate = || {
        let mut kill = Command::new("sh");
        output(kill.args(["-c", "kill -TERM $(cat pid)"]).current_dir(terminal.directory()));
    };
    // The shell's name for what runs in its place.
    let with_pid = format!("sh -c 'echo $$ > pid; exec {top}'");
    end(&with_pid, &terminate);
    // The end of the input: what was known last stays on the screen.
    end(&format!("(while ! [ -e go ]; do sleep 0.02; done) | {BINARY} top"), &|| {
        fs::write(records.with_file_name("go"), "").unwrap();
        terminal.wait_until("both", |screen| {
            screen.contains("this was on the screen") && screen.contains("top: standard input")
        });
    });
    // Panics of the thread that draws, and of the one that reads.
    let tests = std::env::current_exe().unwrap();
    for place in ["drawing", "reading"] {
        let go = records.with_file_name(format!("panic-{place}"));
        let command = format!(
            "CONNIVER_PANIC={place} CONNIVER_PANIC_AT={} RUST_BACKTRACE=0 {} --exact top::panic_on_purpose --nocapture",
            go.display(),
            tests.display()
        );
        end(&command, &|| {
            fs::write(&go, "").unwrap();
            terminal.wait_until("the screen, and the message after it", |screen| {
                screen.contains("this was on the screen")
                    && screen.lines().any(|line| line == "on purpose")
            });
        });
    }
}

#[test]
fn it_ends_with_its_terminal() {
    let Some(terminal) = Terminal::new("top without its terminal", (80, 24), &[]) else { return };
    let records = terminal.directory().join("records");
    fs::write(&records, "").unwrap();
    // Not even a program that ignores SIGHUP stays.
    for ignore in ["", "trap '' HUP; "] {
        let Some(terminal) = Terminal::new("top", (80, 24), &[]) else { return };
        let pid = terminal.directory().join("pid");
        let (pid_name, file) = (pid.display(), records.display());
        terminal.run(&format!("sh -c '{ignore}echo $$ > {pid_name}; exec {BINARY} top {file}'"));
        terminal.wait_for("no records yet");
        let process = format!("/proc/{}/stat", fs::read_to_string(&pid).unwrap().trim());
        drop(terminal);
        wait_until("the program has ended", || {
            let stat = fs::read_to_string(&process).unwrap_or_default();
            stat.is_empty() || stat.rsplit(") ").next().unwrap().starts_with('Z')
        });
    }
}

/// Run by the test before that one in a terminal of its own.
#[test]
fn panic_on_purpose() {
    let Ok(place) = std::env::var("CONNIVER_PANIC") else { return };
    let at = std::env::var_os("CONNIVER_PANIC_AT").unwrap();
    let panics = move || std::path::Path::new(&at).exists();
    struct Panicking<F>(F);
    impl<F: Fn() -> bool> Read for Panicking<F> {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            wait_until("it may panic", &self.0);
            panic!("on purpose");
        }
    }
    let options = Options {
        sort: Sort::Worst,
        is_reversed: false,
        filter: String::new(),
        interval: Duration::from_millis(100),
        theme: Theme { has_colours: true, has_unicode: true },
    };
    let reader = Panicking(panics.clone());
    if place == "reading" {
        let ended = top::show(Source::stream("test", reader), &options, || false);
        assert!(matches!(ended, Ok(Ended::Records(_, Some(_)))), "{ended:?}");
        return;
    }
    let never = Source::stream("test", Panicking(|| false));
    let stops = || {
        assert!(!panics(), "on purpose");
        false
    };
    top::show(never, &options, stops).unwrap();
}

#[test]
fn a_pipe_is_read_while_the_screen_is_paused() {
    let Some(terminal) = Terminal::new("a paused top", (80, 24), &[]) else { return };
    let directory = terminal.directory();
    // Far more than a pipe holds.
    let line = "{\"event\":\"none\",\"padding\":\"0123456789012345678901234567890123456789\"}\n";
    fs::write(directory.join("many"), line.repeat(20_000)).unwrap();
    terminal.run(&format!(
        "(while ! [ -e go ]; do sleep 0.02; done; cat many; touch written; sleep 1000) | {BINARY} top"
    ));
    terminal.wait_for("no records yet");
    terminal.press(&["p"]);
    terminal.wait_for("PAUSED");
    fs::write(directory.join("go"), "").unwrap();
    wait_until("all is written", || directory.join("written").exists());
    assert!(terminal.screen().contains("no records yet"), "{}", terminal.screen());
    terminal.press(&["p"]);
    terminal.wait_for("no open connections");
}

#[test]
fn a_proxy_in_the_same_pipeline_is_shown_and_its_messages_are_painted_over() {
    let Some(terminal) = Terminal::new("a proxy piped into top", (80, 24), &[]) else { return };
    let echo = echo_server();
    // Its messages go to the terminal, and to a file for the test.
    terminal.run(&format!(
        "{BINARY} proxy -L 0:{echo} --events start,open,sample,close --sample-interval 100ms -o - \
         2>said | {BINARY} top -i 100ms; cat said"
    ));
    let mut address = None;
    wait_until("the proxy listens", || {
        let said = fs::read_to_string(terminal.directory().join("said")).unwrap_or_default();
        let line = said
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("listening on "))
            .map(str::to_owned);
        address =
            line.and_then(|line| line.split(',').next()?.parse::<std::net::SocketAddr>().ok());
        address.is_some()
    });
    let mut stream = TcpStream::connect(address.unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    exchange(&mut stream, b"hello");
    terminal.wait_until("the connection", |screen| {
        screen.contains("1 open") && screen.contains(&echo.to_string())
    });
    // Whatever else writes to the terminal is painted over.
    let tty = terminal.format("#{pane_tty}");
    fs::OpenOptions::new().write(true).open(tty).unwrap().write_all(b"\r\nWRITTEN").unwrap();
    terminal.wait_until("nothing of that", |screen| {
        !screen.contains("WRITTEN") && screen.starts_with("conniver top")
    });
    drop(stream);
    terminal.wait_for("1 closed");
    terminal.press(&["q"]);
    // The proxy notices that nobody reads.
    terminal.wait_until("the shell", |screen| {
        screen.lines().any(|line| line.starts_with("listening on"))
    });
}

#[test]
fn a_file_is_followed_through_rotation() {
    let Some(terminal) = Terminal::new("a rotated file in top", (80, 24), &[]) else { return };
    let proxy = Proxy::forwarding_to(echo_server(), &EVENTS);
    let file = proxy.records_file();
    top_over(&terminal, &file, "-i 100ms");
    let mut first = proxy.connect();
    exchange(&mut first, b"one");
    terminal.wait_for("1 open");
    fs::rename(&file, file.with_extension("1")).unwrap();
    let mut second = proxy.connect();
    exchange(&mut second, b"two");
    terminal.wait_for("2 open");
    proxy.signal(Signal::SIGHUP);
    wait_until("the file is there again", || file.exists());
    drop(first);
    let screen = terminal.wait_for("1 closed");
    assert!(screen.contains("1 open") && !screen.contains("could not be read"), "{screen}");
}

#[test]
fn locale_and_no_color_are_heeded() {
    let environment = [("LANG", "C"), ("NO_COLOR", "1")];
    let Some(terminal) = Terminal::new("a plain top", (80, 24), &environment) else { return };
    let forwarding = Forwarding::new(&EVENTS);
    let ends = forwarding.pair();
    (&ends.client).write_all(b"?").unwrap();
    top_over(&terminal, &forwarding.proxy.records_file(), "");
    let screen = terminal.wait_for("server ");
    assert!(screen.is_ascii() && screen.contains("upB/s"), "{screen}");
    let screen = terminal.coloured_screen();
    let colours = [30..38, 90..98].into_iter().flatten().map(|colour| format!("\u{1b}[{colour}m"));
    assert!(colours.into_iter().all(|colour| !screen.contains(&colour)), "{screen:?}");
}

fn top(args: &[&str], input: &[u8]) -> Output {
    let mut top = Command::new(BINARY);
    top.arg("top").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut top = top.env("LANG", "C.UTF-8").env_remove("LC_ALL").spawn().unwrap();
    // It may have failed already.
    let _ = top.stdin.take().unwrap().write_all(input);
    top.wait_with_output().unwrap()
}

#[test]
fn without_a_terminal_it_prints_once() {
    let proxy = Proxy::forwarding_to(echo_server(), &EVENTS);
    let mut stream = proxy.connect();
    exchange(&mut stream, b"hello");
    wait_until("there is a sample", || {
        fs::read_to_string(proxy.records_file()).unwrap().contains("\"sample\"")
    });
    let file = proxy.records_file();
    let file = file.to_str().unwrap();
    let records = fs::read(file).unwrap();
    for (args, input) in [
        (&[file][..], &b""[..]),
        (&["-n", "1", file], b""),
        (&["-"], &records),
        (&[], &records),
        (&["-n", "1", "--sort", "target", "--filter", "127"], &records),
    ] {
        let Output { status, stdout, stderr } = top(args, input);
        let text = String::from_utf8(stdout).unwrap();
        assert!(status.success() && stderr.is_empty(), "{args:?}: {stderr:?}");
        assert!(text.starts_with("conniver top: ") && text.contains("1 open"), "{args:?}: {text}");
        let row = text.lines().last().unwrap();
        assert!(row.contains(&proxy.address().ip().to_string()), "{args:?}: {text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
    let twice = String::from_utf8(top(&["-n", "2", "-i", "100ms", file], b"").stdout).unwrap();
    assert_eq!(twice.matches("conniver top: ").count(), 2, "{twice}");
}

#[test]
fn what_is_wrong_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().to_str().unwrap();
    let missing = format!("{directory}/missing.ndjson");
    for (args, status, words) in [
        (
            &[&*missing][..],
            1,
            "No such file or directory; check the name, or start the proxy first",
        ),
        (&[directory], 1, "give a file in it"),
        (&["-i", "1ms", "x"], 2, "100ms"),
        (&["--sort", "size", "x"], 2, "worst, program, target, age, up, down, rtt, retr, lost"),
    ] {
        let output = top(args, b"");
        let said = String::from_utf8(output.stderr).unwrap();
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(status), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
    // A file that has no records.
    let output = top(&["-"], b"GET / HTTP/1.1\r\nHost: x\r\n");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]), "{text}");
    let said = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("none of its 2 lines is a record"), "{said}");
    let Some(terminal) = Terminal::new("top of a terminal", (80, 24), &[]) else { return };
    terminal.run(&format!("{BINARY} top -"));
    terminal.wait_for("standard input is a terminal");
}

#[test]
fn what_a_file_without_open_connections_holds_is_said() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("records.ndjson");
    let top = |text: &[u8]| {
        fs::write(&file, text).unwrap();
        let output = Command::new(BINARY).arg("top").arg(&file).output().unwrap();
        let [said, printed] =
            [output.stderr, output.stdout].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), printed, said)
    };
    let demo = Command::new(BINARY).arg("demo").output().unwrap().stdout;
    let (status, printed, _) = top(&demo);
    assert!(
        printed.contains("ended connections only, none open; conniver report shows them"),
        "{printed}"
    );
    assert!(status == Some(0) && !printed.contains("the newest line is"), "{printed}");
    let time = demo.windows(7).position(|window| window == br#""time":"#).unwrap();
    let old = [&demo[..time + 8], b"2025", &demo[time + 12..]].concat();
    let (_, printed, _) = top(&old);
    assert!(printed.contains("the newest line is "), "{printed}");
    let proxy = Proxy::forwarding_to(echo_server(), &["--events", "open"]);
    exchange(&mut proxy.connect(), b"x");
    let mut open = Vec::new();
    wait_until("there is an open line", || {
        open = fs::read(proxy.records_file()).unwrap();
        open.ends_with(b"\n")
    });
    let mut open: serde_json::Value = serde_json::from_slice(&open).unwrap();
    open["time"] = "2025-01-01T00:00:00.000000Z".into();
    let (status, printed, _) = top(open.to_string().as_bytes());
    let notice = "no close lines: connections that have ended are shown as open";
    assert!(status == Some(0) && printed.contains(notice), "{printed}");
    for foreign in [&b"a,b\n1,2\n"[..], b"{\"a\":1}\n{\"a\":2}\n"] {
        let (status, printed, said) = top(foreign);
        assert_eq!((status, &*printed), (Some(1), ""), "{said}");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in [
            &*format!("{}: not a file of records: none of its 2 lines", file.display()),
            "records are written by conniver proxy -o FILE",
        ] {
            assert!(said.contains(words), "{said}");
        }
    }
}
