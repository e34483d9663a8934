//! Lines for people: what `proxy`, `watch` and `demo` show on a terminal.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anstream::adapter::strip_str;
use conniver::record::{Line, SocketSample};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use unicode_width::UnicodeWidthStr;

use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{deaf_port, echo_server, exchange, read_until_reset, reset};
use crate::harness::program::{BINARY, PATIENCE, closed, read_lines, wait_until};
use crate::harness::terminal::Terminal;

fn proxy(args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("proxy").args(args);
    command
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Asks a SOCKS 5 proxy for a host by its name: the connection, and the code of the reply.
fn socks(proxy: SocketAddr, host: &[u8], port: u16) -> (TcpStream, u8) {
    let mut client = connect(proxy);
    client.write_all(b"\x05\x01\x00").unwrap();
    client.read_exact(&mut [0; 2]).unwrap();
    let length = [u8::try_from(host.len()).unwrap()];
    let request = [&[5, 1, 0, 3], &length[..], host, &port.to_be_bytes()].concat();
    client.write_all(&request).unwrap();
    let mut reply = [0; 10];
    client.read_exact(&mut reply).unwrap();
    (client, reply[1])
}

/// An upstream that takes a request and resets.
fn resetting() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        reset(stream);
    });
    address
}

/// A line without styles.
fn plain(line: &str) -> String {
    strip_str(line).to_string()
}

/// Two connections that are good, and one that fails, in each of four ways.
fn mixed(address: SocketAddr) {
    let echo = echo_server();
    for _ in 0..2 {
        let (mut client, _) = socks(address, b"localhost", echo.port());
        assert_eq!(exchange(&mut client, b"hello"), b"hello");
    }
    let (_held, deaf) = deaf_port();
    drop(socks(address, b"127.0.0.1", deaf.port()));
    drop(socks(address, b"no-such-host.of-a-department.invalid", 443));
    drop(socks(address, b"10.1.2.3", 80));
    let (mut client, _) = socks(address, b"localhost", resetting().port());
    client.write_all(b"x").unwrap();
    read_until_reset(&mut client);
}

const DENY: [&str; 4] = ["-D", "0", "--deny", "10.0.0.0/8"];

/// What ends in each of the ways of [`mixed`].
const ENDS: [&str; 4] =
    ["refused", "no such name", "denied by --deny 10.0.0.0/8", "reset by upstream"];

#[test]
fn proxy_shows_a_line_per_connection_and_totals_on_a_terminal() {
    for width in [60, 80, 100, 120, 200] {
        let terminal = Terminal::start(width, &mut proxy(&DENY));
        mixed(terminal.address());
        terminal.wait_to_see("reset by upstream");
        let (status, shown) = terminal.stop();
        assert_eq!(status.code(), Some(0), "{shown}");
        let lines: Vec<String> = shown.lines().map(plain).collect();
        let widest = lines.iter().map(|line| line.width()).max().unwrap();
        assert!(widest <= width.into(), "{width}: {widest}\n{shown}");
        assert!(!shown.contains('{'), "{shown}");
        // On a busy machine one may have been slow.
        let is_good = |line: &&String| line.ends_with("  ok") || line.contains("slow by ");
        assert_eq!(lines.iter().filter(is_good).count(), 2, "{shown}");
        for end in ENDS.iter().filter(|_| width >= 80) {
            assert_eq!(
                lines.iter().filter(|line| line.ends_with(end)).count(),
                1,
                "{end}\n{shown}"
            );
        }
        let port_is_whole = |line: &&String| line.contains("invalid:443") || line.contains("d:443");
        assert_eq!(lines.iter().filter(port_is_whole).count(), 1, "{shown}");

        // A line for Ctrl-C, which a terminal shows, and the totals.
        let at = lines.iter().position(|line| line.starts_with("6 connections in ")).unwrap();
        assert_eq!(lines[at - 1], "", "{shown}");
        let totals = lines[at..].join(" ");
        let totals = totals.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(totals.contains(", 4 failed: 1 denied, 1 dns, 1 refused, 1 reset"), "{totals}");
        assert!(totals.contains(" sent, ") && totals.contains(" received, "), "{totals}");
        assert!(totals.contains(" on average in 3 requests, at most "), "{totals}");
        if width >= 80 {
            assert_eq!(lines.len() - at, 3, "{shown}");
        }
    }
}

#[test]
fn a_parent_that_refuses_is_named_in_the_line() {
    let (_held, parent) = deaf_port();
    let via = format!("http://{parent}");
    let terminal = Terminal::start(200, &mut proxy(&["-D", "0", "--via", &via]));
    drop(socks(terminal.address(), b"name.invalid", 443));
    terminal.wait_to_see(&format!("parent proxy {via}: refused"));
    terminal.stop();
}

#[test]
fn what_is_right_of_the_target_stands_in_columns() {
    let terminal = Terminal::start(140, &mut proxy(&DENY));
    mixed(terminal.address());
    terminal.wait_to_see("reset by upstream");
    let (_, shown) = terminal.stop();
    let relayed: Vec<String> =
        shown.lines().map(plain).filter(|line| line.contains("connect ")).collect();
    assert_eq!(relayed.len(), 3, "{shown}");
    for part in ["↑", "↓", "connect ", "wait ", "lost "] {
        let at = |line: &String| line.split(part).next().unwrap().width();
        let columns: Vec<usize> = relayed.iter().map(at).collect();
        assert!(columns.iter().all(|column| *column == columns[0]), "{part}: {shown}");
    }
}

#[test]
fn only_what_is_wrong_has_colours_and_none_with_no_color() {
    let terminal = Terminal::start(80, &mut proxy(&DENY));
    mixed(terminal.address());
    terminal.wait_to_see("reset by upstream");
    let (_, shown) = terminal.stop();
    let coloured = shown.lines().filter(|line| line.contains("\u{1b}[31m")).count();
    assert_eq!(coloured, ENDS.len() + 1, "{shown}");
    assert!(shown.lines().all(|line| !line.ends_with("ok") || !line.contains('\u{1b}')), "{shown}");

    let terminal = Terminal::start(80, proxy(&DENY).env("NO_COLOR", "1"));
    mixed(terminal.address());
    terminal.wait_to_see("reset by upstream");
    let (_, shown) = terminal.stop();
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn a_terminal_without_unicode_gets_ascii() {
    let terminal = Terminal::start(120, proxy(&DENY).env("LC_ALL", "C"));
    mixed(terminal.address());
    drop(socks(terminal.address(), "bücher.invalid".as_bytes(), 80));
    terminal.wait_to_see("b?cher");
    terminal.wait_to_see("-> 127.0.0.1:");
    terminal.wait_to_see(">5 B ");
    let (_, shown) = terminal.stop();
    assert!(shown.is_ascii(), "{shown}");
}

#[test]
fn the_format_is_chosen_by_hand_and_by_where_records_go() {
    let files = TempDir::new().unwrap();
    let file = files.path().join("records");
    let file = file.to_str().unwrap();
    let echo = echo_server();
    let forward = format!("0:{echo}");
    // On a terminal, with these options: whether lines are shown, and whether records.
    for (args, has_lines, has_records) in [
        (&[][..], true, false),
        (&["--format", "line"], true, false),
        (&["--format", "ndjson"], false, true),
        (&["-o", "-"], false, true),
        (&["-o", file], true, false),
        (&["-o", file, "-q"], false, false),
        (&["-o", file, "--format", "ndjson"], false, false),
        (&["-q"], true, false),
    ] {
        let terminal = Terminal::start(80, proxy(&["-L", &forward]).args(args));
        exchange(&mut connect(terminal.address()), b"hello");
        let (status, shown) = terminal.stop();
        assert_eq!(status.code(), Some(0), "{shown}");
        let target = format!("→ {echo}");
        assert_eq!(shown.contains(&target), has_lines, "{args:?}: {shown}");
        assert_eq!(shown.contains("1 connection in "), has_lines, "{args:?}: {shown}");
        assert_eq!(shown.contains("{\"event\":\"close\""), has_records, "{args:?}: {shown}");
    }
    assert_eq!(closed(read_lines(file.as_ref())).len(), 3, "a file has them all");

    // In a pipe.
    for (args, begin) in [(&[][..], "{\"event\":\"close\""), (&["--format", "line"], "")] {
        let mut child = proxy(&["-L", &forward])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (address, _said) = crate::harness::program::listening(&mut child);
        exchange(&mut connect(address), b"hello");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGTERM)
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with(begin) && !text.contains('\u{1b}'), "{text}");
        let is_json = text.lines().all(|line| line.ends_with('}'));
        assert_eq!(
            (is_json, text.lines().count()),
            if args.is_empty() { (true, 1) } else { (false, 4) },
            "{text}"
        );
    }
}

#[test]
fn a_reader_of_lines_that_leaves_ends_the_program_quietly() {
    let mut child = proxy(&["-D", "0", "--format", "line"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(0), 1), "{said}");
}

#[test]
fn a_drain_is_said_while_it_lasts_and_what_it_cuts_off_too() {
    let echo = echo_server();
    let forward = format!("0:{echo}");
    let terminal = Terminal::start(80, &mut proxy(&["-L", &forward, "--drain", "200ms"]));
    let mut client = connect(terminal.address());
    exchange(&mut client, b"hello");
    terminal.signal(Signal::SIGINT);
    terminal.wait_to_see("waiting up to 200ms for 1 open connection to finish (--drain)");
    let (status, shown) = terminal.wait();
    let shown = plain(&shown);
    assert_eq!(status.code(), Some(0), "{shown}");
    assert!(shown.contains("closed by the proxy's stop\n1 connection in "), "{shown}");
    assert!(shown.contains(", 1 failed: 1 shutdown\n"), "{shown}");
}

#[test]
fn a_slow_request_has_a_line_while_its_connection_is_open() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let upstream = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for pause in [0, 150, 0] {
            stream.read_exact(&mut [0; 5]).unwrap();
            std::thread::sleep(Duration::from_millis(pause));
            stream.write_all(b"hello").unwrap();
        }
        stream
    });
    let forward = format!("0:{target}");
    let args = ["-L", &forward, "--events", "turn", "--turn-min", "100ms"];
    let terminal = Terminal::start(120, &mut proxy(&args));
    let mut client = connect(terminal.address());
    for _ in 0..3 {
        exchange(&mut client, b"hello");
    }
    let line = plain(&terminal.wait_to_see("#2 → "));
    assert!(line.ends_with("ok, slow by upstream") && line.contains("↑5 B    ↓5 B  "), "{line}");
    drop((client, upstream.join().unwrap()));
    let (_, shown) = terminal.stop();
    assert_eq!(shown.matches(" → ").count(), 1, "only what was asked for: {shown}");
    assert!(shown.contains("1 connection in "), "{shown}");
}

#[test]
fn hostile_names_stay_text_and_wide_ones_stay_in_their_columns() {
    let name = "hostile_names_stay_text_and_wide_ones_stay_in_their_columns";
    if !has_tool("bash", name) {
        return;
    }
    // A program is free to choose its name.
    let files = TempDir::new().unwrap();
    let program = files.path().join("a\u{1b}[31m日本");
    std::fs::copy("/bin/bash", &program).unwrap();
    let echo = echo_server();
    let terminal = Terminal::start(200, &mut proxy(&["-L", &format!("0:{echo}")]));
    let port = terminal.address().port();
    // It is looked up while it is connected.
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; echo hi >&3; read -u 3; read -t 0.3 -u 3; true"
    );
    crate::harness::output(Command::new(&program).args(["-c", &script]));
    exchange(&mut connect(terminal.address()), b"hello");
    let hostile = terminal.wait_to_see("a\\u{1b}");
    assert!(!hostile.contains('\u{1b}') && hostile.contains('日'), "{hostile}");
    let other = terminal.wait_to_see("connect ");
    let column = |line: &str| line.split("connect ").next().unwrap().width();
    assert_eq!(column(&hostile), column(&other), "{hostile}\n{other}");
}

#[test]
fn a_terminal_that_is_stopped_holds_up_no_connection() {
    const CONNECTIONS: usize = 5000;
    let echo = echo_server();
    let (forward, files) = (format!("127.0.0.1:0:{echo}"), TempDir::new().unwrap());
    let file = files.path().join("records");
    let metrics = ["--metrics", "0", "-o", file.to_str().unwrap(), "--events", "start,close"];
    let mut terminal = Terminal::start_unread(80, proxy(&["-L", &forward]).args(metrics));
    let mut address = None;
    crate::harness::program::wait_until("it listens", || {
        address = read_lines(&file).into_iter().find_map(|line| match line {
            Line::Start(start) => Some(start.listeners[0].listener.parse().unwrap()),
            _ => None,
        });
        address.is_some()
    });
    for _ in 0..CONNECTIONS {
        assert_eq!(exchange(&mut connect(address.unwrap()), b"x"), b"x");
    }
    terminal.read();
    terminal.wait_to_see("left out, more than could be shown");
    let (status, shown) = terminal.stop();
    assert_eq!(status.code(), Some(0), "{shown}");
    assert!(shown.contains(&format!("{CONNECTIONS} connections in ")), "{shown}");
    assert_eq!(closed(read_lines(&file)).len(), CONNECTIONS);
}

#[test]
fn a_loop_is_told_once() {
    if !available("a_loop_is_told_once") {
        return;
    }
    let namespace = Namespace::new();
    let (one, other) = ("127.0.0.1:15001", "127.0.0.1:15002");
    let start = |listen: &str, target: &str| {
        let mut command = namespace.command(BINARY);
        command.args(["proxy", "-L", &format!("{listen}:{target}")]);
        let terminal = Terminal::start(80, &mut command);
        terminal.address();
        terminal
    };
    let terminals = [start(one, other), start(other, one)];
    namespace.enter(|| {
        let mut client = connect(one.parse().unwrap());
        if client.write_all(b"hello").is_ok() {
            read_until_reset(&mut client);
        }
    });
    let shown = terminals.map(|terminal| terminal.stop().1).concat();
    assert_eq!(shown.matches("denied: a loop through this proxy").count(), 1, "{shown}");
    assert!(!shown.contains("WARN"), "{shown}");
}

#[test]
fn other_messages_have_lines_of_their_own_in_the_same_time() {
    let args = ["-D", "0", "--max-connections", "1"];
    let terminal = Terminal::start(100, proxy(&args).env("TZ", "Asia/Tokyo"));
    let echo = echo_server();
    let (mut first, _) = socks(terminal.address(), b"localhost", echo.port());
    let second = connect(terminal.address());
    let warned = plain(&terminal.wait_to_see("the limit of 1 open connections is reached"));
    exchange(&mut first, b"x");
    drop((first, second));
    let line = plain(&terminal.wait_to_see(" → loc"));
    let hour = |line: &str| line[..3].to_owned();
    let tokyo = jiff::Timestamp::now().in_tz("Asia/Tokyo").unwrap();
    assert_eq!(hour(&warned), hour(&line));
    assert!(warned[8..].starts_with("  WARN the limit"), "{warned}");
    let hours = [tokyo.clone(), tokyo.saturating_sub(jiff::Span::new().minutes(1))];
    assert!(hours.iter().any(|now| now.strftime("%H:").to_string() == hour(&line)), "{line}");
}

#[test]
fn demo_shows_its_line_and_the_record_indented() {
    for width in [60, 80, 120] {
        let mut command = Command::new(BINARY);
        let terminal = Terminal::start(width, command.args(["demo", "--size", "1"]));
        let (status, shown) = terminal.wait();
        assert_eq!(status.code(), Some(0), "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines.iter().position(|line| *line == "{").unwrap();
        let end = lines.iter().position(|line| *line == "}").unwrap();
        assert!(lines[at - 2].contains(" → 127."), "{shown}");
        let widest = lines[at - 2..=end].iter().map(|line| plain(line).width()).max();
        assert!(widest <= Some(width.into()), "{shown}");
        let json: serde_json::Value = serde_json::from_str(&lines[at..=end].join("\n")).unwrap();
        assert_eq!((&json["event"], &json["line"]), (&"close".into(), &1.into()));
        assert!(lines[at + 1].starts_with("  \"event\": \"close\""), "{shown}");
    }
    let mut command = Command::new(BINARY);
    let terminal = Terminal::start(80, command.args(["demo", "--size", "1", "--format", "ndjson"]));
    let (_, shown) = terminal.wait();
    let records: Vec<&str> = shown.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(records.len(), 1, "{shown}");
    assert!(matches!(serde_json::from_str(records[0]).unwrap(), Line::Close(_)), "{shown}");
}

#[test]
fn lines_on_standard_error_leave_records_as_they_are() {
    let files = TempDir::new().unwrap();
    let file = files.path().join("records");
    let echo = echo_server();
    let args = ["-L", &format!("0:{echo}"), "-o", file.to_str().unwrap(), "--detail", "brief"];
    let terminal = Terminal::start(80, proxy(&args).args(["--events", "start,turn,close,stop"]));
    exchange(&mut connect(terminal.address()), b"hello");
    terminal.stop();
    let shown = std::fs::read_to_string(&file).unwrap();
    let events: Vec<String> = shown
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].to_string())
        .collect();
    assert_eq!(events, ["\"start\"", "\"turn\"", "\"close\"", "\"stop\""]);
}

#[test]
fn options_of_records_without_records_are_warned_of() {
    let files = TempDir::new().unwrap();
    let file = files.path().join("records");
    let file = file.to_str().unwrap();
    let shape = ["--detail", "brief", "--raw", "--label", "a=b", "--host", "x", "--queue", "1MB"];
    let samples = ["--events", "sample,close", "--sample-interval", "100ms"];
    let no_effect = "no effect on lines for people: for records, add -o FILE, or --format ndjson";
    // What is given, and what of it is named.
    for (args, named) in [
        (&shape[..], Some("--queue, --detail, --raw, --label and --host have")),
        (&samples, Some("--events and --sample-interval have")),
        (&["--detail", "full"], Some("--detail has")),
        (&["--format", "line", "--raw"], Some("--raw has")),
        (&["--events", "turn,close", "--turn-min", "1s", "--no-process"], None),
        (&["--detail", "brief", "-o", file], None),
        (&["--detail", "brief", "--format", "ndjson"], None),
        (&["--detail", "brief", "-q"], None),
    ] {
        let terminal = Terminal::start(200, proxy(&["-D", "0"]).args(args));
        terminal.address();
        let (_, shown) = terminal.stop();
        let shown = plain(&shown);
        let warnings: Vec<&str> = shown.lines().filter(|line| line.contains(" WARN ")).collect();
        match named {
            Some(named) => {
                assert_eq!(warnings.len(), 1, "{args:?}: {shown}");
                assert!(warnings[0].ends_with(&format!("WARN {named} {no_effect}")), "{shown}");
            }
            None => assert!(warnings.is_empty(), "{args:?}: {shown}"),
        }
    }
}

/// A watch of the connections to this server, with many dumps.
fn watch(server: SocketAddr, args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    let to = server.to_string();
    command.args(["watch", "--interval", "20ms", "--to", &to]).args(args);
    command
}

#[test]
fn a_watch_shows_a_line_for_each_ended_socket() {
    let name = "a_watch_shows_a_line_for_each_ended_socket";
    if !has_tool("socat", name) {
        return;
    }
    for width in [40, 80, 140] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let files = TempDir::new().unwrap();
        let file = files.path().join("records");
        let args = ["--events", "socket,sample", "-o", file.to_str().unwrap()];
        let terminal = Terminal::start(width, &mut watch(server, &args));
        terminal.wait_to_see("watching TCP connections");
        let is_sampled = |of: &dyn Fn(&SocketSample) -> bool| {
            let lines = if file.exists() { read_lines(&file) } else { Vec::new() };
            lines.iter().any(|line| matches!(line, Line::SocketSample(sample) if of(sample)))
        };

        let mut socat = Command::new("socat");
        let target = format!("TCP:{server}");
        let mut socat = socat.args(["-", &target]).stdin(Stdio::piped()).spawn().unwrap();
        let (mut accepted, peer) = listener.accept().unwrap();
        let is_named = |sample: &SocketSample| {
            let process = sample.header.process.as_ref();
            process.is_some_and(|process| process.name.as_deref() == Some("socat"))
        };
        wait_until("a dump has shown its program", || is_sampled(&is_named));
        drop(socat.stdin.take());
        accepted.read_to_end(&mut Vec::new()).unwrap();
        drop(accepted);
        socat.wait().unwrap();

        let mut client = connect(server);
        let (accepted, other) = listener.accept().unwrap();
        wait_until("a dump has shown it", || {
            is_sampled(&|sample| sample.socket.local_addr == other)
        });
        reset(accepted);
        read_until_reset(&mut client);
        drop(client);
        terminal.wait_to_see("reset");
        let (status, shown) = terminal.stop();
        assert_eq!(status.code(), Some(0), "{shown}");
        let lines: Vec<String> = shown.lines().map(plain).collect();
        // The first one is the same whatever the terminal.
        let widest = lines.iter().skip(1).map(|line| line.width()).max().unwrap();
        assert!(widest <= width.into(), "{width}: {widest}\n{shown}");
        assert!(!shown.contains('{'), "{shown}");
        let totals = lines.join(" ");
        assert!(totals.contains(" failed: ") && totals.contains(" received"), "{shown}");
        if width < 80 {
            continue;
        }
        let of_socat =
            |line: &&String| line.contains("socat") && line.contains(&format!("→ {server}"));
        let line = lines.iter().find(of_socat).unwrap_or_else(|| panic!("{shown}"));
        assert!(
            line.contains("↑0 B") && line.contains("RTT ") && line.ends_with("  fin"),
            "{line}"
        );
        let accepted = format!(":{} ← {peer}", server.port());
        assert!(
            lines.iter().any(|line| line.contains(&accepted)) || width < 100,
            "{accepted}: {shown}"
        );
    }
}

#[test]
fn the_format_of_a_watch_is_chosen_as_that_of_a_proxy() {
    let files = TempDir::new().unwrap();
    let file = files.path().join("records");
    let file = file.to_str().unwrap();
    // On a terminal, with these options: whether lines are shown, and whether records.
    for (args, has_lines, has_records) in [
        (&[][..], true, false),
        (&["--format", "line"], true, false),
        (&["--format", "ndjson"], false, true),
        (&["-o", "-"], false, true),
        (&["-o", file], true, false),
        (&["-o", file, "-q"], false, false),
        (&["-o", file, "--format", "ndjson"], false, false),
        (&["--events", "start"], false, false),
    ] {
        let echo = echo_server();
        let terminal = Terminal::start(80, &mut watch(echo, args));
        terminal.wait_to_see("watching TCP connections");
        exchange(&mut connect(echo), b"hello");
        if has_lines || has_records {
            terminal.wait_to_see(&echo.to_string());
        }
        let (status, shown) = terminal.stop();
        assert_eq!(status.code(), Some(0), "{shown}");
        assert_eq!(
            shown.contains(" in ") && shown.contains(" sent, "),
            has_lines,
            "{args:?}: {shown}"
        );
        assert_eq!(shown.contains("{\"event\":\"socket\""), has_records, "{args:?}: {shown}");
    }
    let lines = read_lines(file.as_ref());
    assert!(lines.iter().filter(|line| matches!(line, Line::Socket(_))).count() >= 3);
}
