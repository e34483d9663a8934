//! `conniver top` over the sockets of the machine: without records, and over the lines of `conniver watch`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use crate::harness::has_tool;
use crate::harness::program::BINARY;
use crate::harness::tmux::Terminal;
use crate::harness::watching::Watching;
use crate::run::as_nobody;

/// A program that sends without end, and a thread that reads all of it.
struct Transfer {
    program: Child,
    port: u16,
}

impl Transfer {
    /// `before`: words before the command.
    fn start(before: &[&str]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let target = format!("TCP:{address}");
        let words = [before, &["socat", "-u", "/dev/zero", &target]].concat();
        let mut program = Command::new(words[0]);
        let program = program.args(&words[1..]).stdin(Stdio::null()).spawn().unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        std::thread::spawn(
            move || while stream.read(&mut [0; 65536]).is_ok_and(|read| read > 0) {},
        );
        Self { program, port: address.port() }
    }

    /// The options that select it.
    fn only(&self) -> String {
        format!("--to 127.0.0.1:{}", self.port)
    }

    /// Ends it.
    fn end(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }

    /// The row of the side that sends: its peer is the server.
    fn row<'s>(&self, screen: &'s str) -> Option<&'s str> {
        let peer = format!(" 127.0.0.1:{} ", self.port);
        screen.lines().find(|row| row.contains(&peer))
    }

    /// Whether that row has its program and a rate.
    fn is_shown(&self, screen: &str) -> bool {
        let rate = |row: &str| row.split_whitespace().nth_back(4).unwrap_or_default().to_owned();
        self.row(screen)
            .is_some_and(|row| row.starts_with("socat ") && rate(row).ends_with(['k', 'M', 'G']))
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn a_transfer_of_another_program_is_shown_with_its_rate() {
    let what = "a_transfer_of_another_program_is_shown_with_its_rate";
    if !has_tool("socat", what) {
        return;
    }
    let Some(terminal) = Terminal::new(what, (80, 24), &[]) else { return };
    let mut transfer = Transfer::start(&[]);
    terminal.run(&format!("{BINARY} top -i 100ms {}", transfer.only()));
    let screen = terminal.wait_until("the transfer", |screen| transfer.is_shown(screen));
    for words in ["conniver top: this machine's TCP connections", "2 open  2 with data", "lost"] {
        assert!(screen.contains(words), "{words}:\n{screen}");
    }
    assert!(transfer.row(&screen).unwrap().ends_with("data"), "{screen}");
    // The other end is this program's.
    assert!(
        screen.contains(&format!(":{}", transfer.port)) && screen.contains("← 127."),
        "{screen}"
    );

    terminal.press(&["/", "s", "o", "c", "a", "t", "Enter"]);
    terminal.wait_for("filter: socat (1 shown)");
    terminal.press(&["j", "Enter"]);
    let screen = terminal.wait_for("socket to       peer");
    let pid = format!("socat (PID {}) 127.0.0.1:", transfer.program.id());
    assert!(screen.contains(&pid) && screen.contains("B in all"), "{screen}");
    assert!(!screen.contains("waiting for") && !screen.contains("write blocked"), "{screen}");
    transfer.end();
    terminal.wait_for("ended: ");
    terminal.press(&["Escape"]);
    terminal.wait_for("no connection matches the filter");
    terminal.wait_for("0 open  0 with data");
    terminal.wait_for("2 closed");
    terminal.press(&["q"]);
    terminal.wait_until("the shell", |screen| !screen.contains("closed"));
}

#[test]
fn an_ordinary_user_sees_connections_and_its_own_programs() {
    let what = "an_ordinary_user_sees_connections_and_its_own_programs";
    let Some(nobody) = as_nobody(what) else { return };
    if !has_tool("socat", what) {
        return;
    }
    let Some(terminal) = Terminal::new(what, (80, 24), &[]) else { return };
    let (own, other) = (Transfer::start(&nobody), Transfer::start(&[]));
    terminal.run(&format!(
        "{} {BINARY} top -i 100ms {} {}",
        nobody.join(" "),
        own.only(),
        other.only()
    ));
    let screen = terminal.wait_until("both", |screen| {
        own.is_shown(screen)
            && other.row(screen).is_some()
            && screen.contains("4 open  4 with data")
    });
    let row = other.row(&screen).unwrap();
    assert!(row.starts_with("- "), "another user's program is not known: {screen}");
}

#[test]
fn it_ends_with_the_process_whose_sockets_it_shows() {
    let what = "it_ends_with_the_process_whose_sockets_it_shows";
    if !has_tool("socat", what) {
        return;
    }
    let Some(terminal) = Terminal::new(what, (80, 24), &[]) else { return };
    let mut transfer = Transfer::start(&[]);
    let pid = transfer.program.id();
    terminal.run(&format!("{BINARY} top -i 100ms --pid {pid}; echo status $?"));
    let screen = terminal.wait_until("the transfer", |screen| transfer.is_shown(screen));
    assert!(screen.contains("1 open"), "its own end alone: {screen}");
    transfer.end();
    let screen = terminal.wait_for("status 0");
    assert!(screen.contains("no open connections"), "the last screen stays: {screen}");
    terminal.run(&format!("clear; {BINARY} top --pid {pid}"));
    terminal.wait_for("not running");
}

#[test]
fn lines_of_a_watch_are_shown_from_a_pipe_and_from_a_file() {
    let what = "lines_of_a_watch_are_shown_from_a_pipe_and_from_a_file";
    if !has_tool("socat", what) {
        return;
    }
    let Some(terminal) = Terminal::new(what, (80, 24), &[]) else { return };
    let transfer = Transfer::start(&[]);
    let only = transfer.only();
    terminal.run(&format!(
        "{BINARY} watch {only} --interval 100ms --events socket,sample | {BINARY} top -i 100ms"
    ));
    let screen = terminal.wait_until("the transfer", |screen| transfer.is_shown(screen));
    assert!(screen.contains("conniver top: standard input"), "{screen}");
    terminal.press(&["q"]);

    let only: Vec<&str> = only.split(' ').collect();
    let args = [&only[..], &["--interval", "20ms", "--events", "socket,sample"]].concat();
    let watch = Watching::start(&args);
    terminal.run(&format!("clear; {BINARY} top -i 100ms {}", watch.file().display()));
    terminal.wait_until("the transfer", |screen| transfer.is_shown(screen));
}

fn top(args: &[&str], input: Stdio) -> Output {
    let mut top = Command::new(BINARY);
    top.arg("top").args(args).stdin(input).env("LANG", "C.UTF-8").env_remove("LC_ALL");
    top.output().unwrap()
}

fn printed(args: &[&str], input: Stdio) -> String {
    let output = top(args, input);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn without_a_terminal_the_sockets_are_printed_with_their_rates() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    client.write_all(b"hello").unwrap();
    accepted.read_exact(&mut [0; 5]).unwrap();
    let to = address.to_string();
    for args in [&["-n", "1", "-i", "400ms"][..], &["-i", "400ms"]] {
        let args = [args, &["--to", &to, "--outgoing"]].concat();
        let text = printed(&args, Stdio::null());
        assert!(text.contains("1 open"), "{text}");
        let row = text.lines().last().unwrap();
        assert!(row.contains(&format!("→ {to}")), "{text}");
    }
    let twice = printed(&["-n", "2", "-i", "100ms", "--to", &to, "--listening"], Stdio::null());
    assert_eq!(twice.matches("conniver top: ").count(), 2, "{twice}");
    assert_eq!(twice.matches(&format!("← {}", client.local_addr().unwrap())).count(), 2, "{twice}");
}

#[test]
fn selecting_sockets_among_records_is_wrong_usage() {
    for (args, input, words) in [
        (
            &["--pid", "1", "records.ndjson"][..],
            Stdio::null(),
            "--pid selects sockets of this machine",
        ),
        (&["--listening"], Stdio::piped(), "--listening selects sockets of this machine"),
        (&["--to", "a:b:c"], Stdio::null(), "is not an endpoint"),
        (&["--listening", "--outgoing"], Stdio::null(), "cannot be used with"),
    ] {
        let output = top(args, input);
        let said = String::from_utf8(output.stderr).unwrap();
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
}
