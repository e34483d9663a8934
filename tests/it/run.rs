//! `conniver run`: what the program around which it runs sees, and what is told at its end.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use conniver::record::{By, How, Mode, Outcome, Phase, Record};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::arguments::unwrapped;
use crate::harness::clients::without_proxies;
use crate::harness::peers::{Upstream, deaf_port, noise, sha256};
use crate::harness::program::{
    BINARY, Proxy, closed, read_lines, reset_ignored_signals, wait_for, wait_until,
};
use crate::harness::tls::TlsServer;
use crate::harness::{has_tool, skip};

/// `conniver run` with its records in a file.
pub(crate) struct Run {
    pub(crate) command: Command,
    directory: TempDir,
}

impl Run {
    pub(crate) fn new(options: &[&str], words: &[&str]) -> Self {
        Self::by(Command::new(BINARY), options, words)
    }

    /// Started by `command`, which may put it elsewhere.
    pub(crate) fn by(mut command: Command, options: &[&str], words: &[&str]) -> Self {
        reset_ignored_signals();
        let directory = TempDir::new().unwrap();
        command.args(["run", "-o"]).arg(directory.path().join("records.ndjson"));
        command.args(options).arg("--").args(words);
        without_proxies(&mut command);
        // A group of its own: no terminal speaks to it, and nothing of it is to be left.
        command.process_group(0).stdin(Stdio::null());
        Self { command, directory }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn records_file(&self) -> PathBuf {
        self.directory.path().join("records.ndjson")
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        closed(read_lines(&self.records_file()))
    }

    /// Runs it to its end; no process of it is left then.
    pub(crate) fn output(&mut self) -> Output {
        self.output_and_pid().1
    }

    /// The same, and which process it was.
    pub(crate) fn output_and_pid(&mut self) -> (u32, Output) {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.command.spawn().unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        let group = Pid::from_raw(pid.cast_signed());
        wait_until("no process is left", || killpg(group, None) == Err(Errno::ESRCH));
        (pid, output)
    }

    /// Starts it with its standard input and output in our hands.
    pub(crate) fn start(&mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A server of one page on `address`.
pub(crate) fn page_on(address: &str) -> Upstream<u64> {
    let listener = std::net::TcpListener::bind(address).unwrap();
    Upstream::on(listener, |stream| crate::curl::serve(stream, &noise(10_000)))
}

fn page() -> Upstream<u64> {
    page_on("127.0.0.1:0")
}

/// curl that fetches this page to its standard output.
pub(crate) fn curl<'a>(options: &[&'a str], url: &'a str) -> Vec<&'a str> {
    [&["curl", "-sS", "-m", "20"], options, &[url]].concat()
}

#[test]
fn the_exit_status_is_the_programs_or_tells_why_there_is_none() {
    let directory = TempDir::new().unwrap();
    let no_program = directory.path().join("text");
    std::fs::write(&no_program, "text").unwrap();
    let no_program = no_program.to_str().unwrap();
    for (words, status, said) in [
        (&["true"][..], 0, ""),
        (&["sh", "-c", "exit 42"], 42, ""),
        (&["sh", "-c", "kill -TERM $$"], 128 + 15, ""),
        (&["sh", "-c", "kill -KILL $$"], 128 + 9, ""),
        (
            &["no-such-program"],
            127,
            "conniver: cannot run 'no-such-program': not found; it is not in PATH; run shell\n    \
             built-ins and aliases with sh -c 'LINE'\n",
        ),
        (&[no_program], 126, "it is not executable"),
    ] {
        let output = Run::new(&["-q"], words).output();
        assert_eq!(output.status.code(), Some(status), "{words:?} {output:?}");
        assert!(stderr(&output).contains(said), "{output:?}");
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn the_exit_status_is_125_when_it_is_conniver_that_fails() {
    for (options, environment, said) in [
        (&["-o", "/no/such/file"][..], "", "cannot open '/no/such/file' for records"),
        (&[], "socks4://ann:s3cret@127.0.0.1:9", "ALL_PROXY is not a valid parent proxy"),
    ] {
        let mut command = Command::new(BINARY);
        command.arg("run").args(options).args(["--", "echo", "it ran"]);
        command.env_remove("https_proxy").env_remove("HTTPS_PROXY").env_remove("all_proxy");
        let output = command.env("ALL_PROXY", environment).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        assert!(stderr(&output).contains(said), "{output:?}");
        assert!(!stderr(&output).contains("s3cret"), "{output:?}");
        assert_eq!(stdout(&output), "", "the program was not run");
    }
}

#[test]
fn standard_output_for_records_is_wrong_usage() {
    for args in [&["run", "-o", "-", "--", "true"][..], &["run"]] {
        let output = Command::new(BINARY).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}

#[test]
fn standard_input_and_output_are_the_programs_alone() {
    let mut run = Run::new(&["--events", "start,open,close,stop"], &["cat"]);
    let mut child = run.start();
    let bytes = noise(1_000_000);
    let mut stdin = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let sending = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    sending.join().unwrap();
    assert_eq!(sha256(&output.stdout), sha256(&bytes));
    assert_eq!(read_lines(&run.records_file()).len(), 2, "start and stop");
}

#[test]
fn the_program_sees_the_proxy_in_every_variable_and_all_others_as_they_were() {
    let output = Run::new(&[], &["env"])
        .env("NO_PROXY", "localhost,127.0.0.1")
        .env("no_proxy", "*")
        .env("https_proxy", "http://parent.invalid:3128")
        .env("OTHER", "kept")
        .output();
    let variables = stdout(&output);
    let value = |name: &str| {
        let prefix = format!("{name}=");
        variables.lines().find_map(|line| line.strip_prefix(&prefix))
    };
    let proxy = value("http_proxy").unwrap();
    assert!(proxy.starts_with("http://127.0.0.1:"), "{proxy}");
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        assert_eq!(value(name), Some(proxy), "{name}");
        assert_eq!(value(&name.to_ascii_uppercase()), Some(proxy), "{name}");
    }
    assert_eq!((value("NO_PROXY"), value("no_proxy")), (None, None));
    assert_eq!(value("OTHER"), Some("kept"));
}

#[test]
fn curl_in_every_language_leaves_a_record_and_a_row_of_the_table() {
    if !has_tool("curl", "curl_in_every_language_leaves_a_record_and_a_row_of_the_table") {
        return;
    }
    for (options, mode) in [(&["-p"][..], Mode::Connect), (&[], Mode::Http)] {
        let page = page();
        let target = page.address.to_string();
        let mut run = Run::new(&["--label", "a=b"], &curl(options, &format!("http://{target}/")));
        let output = run.output();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(sha256(&output.stdout), sha256(&noise(10_000)));

        let served = page.join();
        let [record] = &run.records()[..] else { panic!("{output:?}") };
        assert_eq!((record.mode, record.outcome), (Some(mode), Some(Outcome::Ok)));
        assert_eq!(record.target.as_ref(), Some(&target));
        assert_eq!(record.labels["a"], "b");
        let sent = record.upstream.as_ref().unwrap();
        assert_eq!(sent.rx_bytes, served);

        let said = stderr(&output);
        let lines: Vec<&str> = said.lines().collect();
        let [count, header, row, ..] = lines[..] else { panic!("{said}") };
        assert_eq!(count, "conniver: 1 connection");
        let header = header.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(header, "target sent received connect wait lost verdict ended");
        let cells: Vec<&str> = row.split_whitespace().collect();
        let bytes = sent.tx_bytes.to_string();
        assert_eq!(cells[..5], [&*target, &*bytes, "B", "10.1", "kB"]);
        assert_eq!(cells[7..], ["0", "-", "ok"]);
    }
}

#[test]
fn what_failed_stands_in_the_table_with_its_reason_and_quiet_shows_none() {
    if !has_tool("curl", "what_failed_stands_in_the_table_with_its_reason_and_quiet_shows_none") {
        return;
    }
    let (_held, deaf) = deaf_port();
    let url = format!("http://{deaf}/");
    for (options, shown) in [(&[][..], true), (&["-q"], false)] {
        let output = Run::new(options, &curl(&["-p"], &url)).output();
        assert_eq!(output.status.code(), Some(56), "curl's own: {output:?}");
        let said = stderr(&output);
        assert_eq!(said.contains("refused (ECONNREFUSED)"), shown, "{said}");
        assert_eq!(said.contains("conniver:"), shown, "{said}");
    }
}

#[test]
fn without_connections_the_table_says_so_and_why_that_may_be() {
    let said = |options: &[&str], command: &str| {
        unwrapped(&stderr(&Run::new(options, &[command]).output()))
    };
    let none = "conniver: no connections\n";
    let hint = "conniver: programs that ignore http_proxy and https_proxy bypass the proxy; see -L, \
                --url-var and --intercept\n";
    assert_eq!(said(&[], "true"), format!("{none}{hint}"));
    // A failure may be one of connections that bypassed the proxy.
    assert_eq!(said(&[], "false"), format!("{none}{hint}"));
    let mut run = Run::new(&["--url-var", "DB"], &["true"]).env("DB", "postgres://db.invalid/x");
    let said = unwrapped(&stderr(&run.output()));
    let nobody = said.strip_prefix(&format!("{none}conniver: nobody connected to 127.0.0.1:"));
    assert!(nobody.unwrap_or_default().ends_with(", the listener for db.invalid:5432\n"), "{said}");
}

#[test]
fn the_environments_proxy_becomes_the_parent_and_its_exceptions_are_reached_without_it() {
    let what =
        "the_environments_proxy_becomes_the_parent_and_its_exceptions_are_reached_without_it";
    if !has_tool("curl", what) {
        return;
    }
    let parent = Proxy::serving(&[]);
    let url = format!("http://{}", parent.address());
    for (host, via) in [("127.0.0.1", Some(&url)), ("127.0.0.2", None)] {
        let page = page_on(&format!("{host}:0"));
        let words = curl(&["-p"], "http://PAGE/").join(" ");
        let words = words.replace("PAGE", &page.address.to_string());
        let mut run = Run::new(&[], &words.split(' ').collect::<Vec<_>>())
            .env("HTTPS_PROXY", &url)
            .env("no_proxy", "127.0.0.2");
        let output = run.output();
        assert!(output.status.success(), "{output:?}");
        page.join();
        let [record] = &run.records()[..] else { panic!("{output:?}") };
        assert_eq!((record.outcome, record.via.as_ref()), (Some(Outcome::Ok), via));
    }
    let records = parent.stop().records();
    assert_eq!(records.len(), 1, "the exception went past it");
}

/// Of each kind of URL, the parent through which curl reached it within `conniver run`.
fn parents_taken(options: &[&str], variables: &[(&str, &str)]) -> [Option<String>; 2] {
    let server = TlsServer::start();
    let page = page_on("127.0.0.1:0");
    let secure = format!("https://{}/", server.address);
    let plain = format!("http://{}/", page.address);
    [plain, secure].map(|url| {
        let words = curl(&["-k"], &url);
        let mut run = Run::new(options, &words);
        for (name, value) in variables {
            run = run.env(name, value);
        }
        let output = run.output();
        assert!(output.status.success(), "{output:?}");
        let [record] = &run.records()[..] else { panic!("{output:?}") };
        record.via.clone()
    })
}

#[test]
fn each_scheme_goes_through_the_parent_that_names_it() {
    let what = "each_scheme_goes_through_the_parent_that_names_it";
    if !has_tool("curl", what) || !has_tool("openssl", what) {
        return;
    }
    let (one, two) = (Proxy::serving(&[]), Proxy::serving(&[]));
    let [one, two] = [&one, &two].map(|proxy| format!("http://{}", proxy.address()));
    let (with_path, with_slashes) = (format!("{two}/path"), format!("{one}//"));
    let (to_one, to_two) = (Some(one.clone()), Some(two.clone()));
    for (options, variables, expected) in [
        (&[][..], &[("http_proxy", &*one)][..], [to_one.clone(), None]),
        (&[], &[("https_proxy", &one)], [None, to_one.clone()]),
        (&[], &[("http_proxy", &one), ("https_proxy", &two)], [to_one.clone(), to_two.clone()]),
        (
            &[],
            &[("all_proxy", &with_slashes), ("http_proxy", &with_path)],
            [to_two, to_one.clone()],
        ),
        (&["--via", &one], &[("http_proxy", &two)], [to_one.clone(), to_one]),
    ] {
        assert_eq!(parents_taken(options, variables), expected, "{options:?} {variables:?}");
    }
}

/// Words before a command's, by which it runs as nobody; `None`, said loudly, where that cannot be.
pub(crate) fn as_nobody(what: &str) -> Option<[&'static str; 4]> {
    if !nix::unistd::geteuid().is_root() {
        skip(what, "it becomes another user, which needs root");
        return None;
    }
    let all = has_tool("curl", what) && has_tool("setpriv", what);
    all.then_some(["setpriv", "--reuid", "65534", "--clear-groups"])
}

#[test]
fn another_users_program_is_refused_with_a_record() {
    let Some(nobody) = as_nobody("another_users_program_is_refused_with_a_record") else { return };
    let mut run = Run::new(&["-q"], &["sh", "-c", "echo $http_proxy; read go"]);
    let mut child = run.start();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let proxy = said.next().unwrap().unwrap();

    let (_held, deaf) = deaf_port();
    let url = format!("http://{deaf}/");
    let words = [&nobody[..], &curl(&["-p", "-x", &proxy], &url)].concat();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    drop(child.stdin.take());
    wait_for(&mut child);

    let [record] = &run.records()[..] else { panic!("{output:?}") };
    let ending = record.ending.as_ref().unwrap();
    assert_eq!((record.outcome, ending.phase), (Some(Outcome::Denied), Phase::Accept));
    assert_eq!((ending.first_by, ending.first_how), (By::Proxy, How::Denied));
    assert_eq!(ending.error_code.as_deref(), Some("CLIENT_DENIED"));
    assert_eq!((record.client.tx_bytes, record.attempts.len()), (0, 0));
}

#[test]
fn what_the_program_starts_may_become_another_user() {
    let Some(nobody) = as_nobody("what_the_program_starts_may_become_another_user") else { return };
    let page = page();
    let url = format!("http://{}/", page.address);
    let words =
        [&["sh", "-c", "\"$@\"; exit $?", "sh"], &nobody[..], &curl(&["-p"], &url)].concat();
    let output = Run::new(&[], &words).output();
    assert!(output.status.success(), "{output:?}");
    page.join();
}

#[test]
fn signals_are_passed_on_and_the_program_decides_what_they_do() {
    let words = [
        "sh",
        "-c",
        "for s in HUP INT QUIT ALRM USR1 USR2; do trap \"echo $s\" $s; done; trap 'echo TERM; exit 7' TERM
         echo ready; while :; do sleep 0.01; done",
    ];
    let mut run = Run::new(&["-q"], &words);
    let mut child = run.start();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || said.next().unwrap().unwrap();
    assert_eq!(next(), "ready");
    for signal in ["HUP", "INT", "QUIT", "ALRM", "USR1", "USR2", "TERM"] {
        kill_by_name(&child, signal);
        assert_eq!(next(), signal);
    }
    assert_eq!(wait_for(&mut child).code(), Some(7));
}

fn kill_by_name(child: &Child, signal: &str) {
    let signal = format!("SIG{signal}").parse::<Signal>().unwrap();
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored_for_the_program() {
    let words = ["sh", "-c", "\"$0\" run -q -- grep SigIgn /proc/self/status", BINARY];
    reset_ignored_signals();
    let run = |script: &str| {
        let output = Command::new("sh").args(["-c", script]).args(words).output().unwrap();
        let mask = stdout(&output);
        u64::from_str_radix(mask.trim().rsplit('\t').next().unwrap(), 16).unwrap()
    };
    let hangup = 1 << (Signal::SIGHUP as i32 - 1);
    assert_eq!(run("trap '' HUP; exec \"$0\" \"$@\"") & hangup, hangup);
    assert_eq!(run("exec \"$0\" \"$@\"") & hangup, 0);
}

#[test]
fn a_terminals_interrupt_is_for_the_program_and_conniver_outlives_it() {
    let what = "a_terminals_interrupt_is_for_the_program_and_conniver_outlives_it";
    if !has_tool("script", what) {
        return;
    }
    // Without `exec`, some shells stay and die of the interrupt themselves.
    let inside = format!(
        "exec {BINARY} run -q -- sh -c 'trap \"echo interrupted; exit 9\" INT; echo ready; while :; do sleep 0.01; done'"
    );
    reset_ignored_signals();
    let mut terminal = Command::new("script")
        .args(["-qec", &inside, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(terminal.stdout.take().unwrap()).lines();
    let mut wait_to_read = |words: &str| {
        assert!(said.any(|line| line.unwrap().contains(words)), "{words} was not said");
    };
    wait_to_read("ready");
    let mut keyboard = terminal.stdin.take().unwrap();
    keyboard.write_all(b"\x03").unwrap();
    wait_to_read("interrupted");
    assert_eq!(wait_for(&mut terminal).code(), Some(9));
}

#[test]
fn what_the_program_left_in_the_background_is_drained_and_then_reset() {
    let what = "what_the_program_left_in_the_background_is_drained_and_then_reset";
    if !has_tool("curl", what) {
        return;
    }
    let (accepted, arrived) = std::sync::mpsc::channel::<TcpStream>();
    let upstream = Upstream::once(move |stream| accepted.send(stream).unwrap());
    let script = format!("curl -sp http://{}/ & read line", upstream.address);
    let mut run = Run::new(&["--drain", "100ms"], &["sh", "-c", &script]);
    let mut child = run.start();
    let held = arrived.recv().unwrap();
    // The program ends; its curl goes on waiting for an answer.
    drop(child.stdin.take());
    let group = Pid::from_raw(child.id().cast_signed());
    assert_eq!(wait_for(&mut child).code(), Some(1), "read's own, at the end of its input");
    wait_until("no process is left", || killpg(group, None) == Err(Errno::ESRCH));
    let [record] = &run.records()[..] else { panic!("one record") };
    assert_eq!(record.outcome, Some(Outcome::Shutdown));
    drop(held);
}

#[test]
fn what_held_up_the_end_is_said_with_what_to_do() {
    let name = "what_held_up_the_end_is_said_with_what_to_do";
    if !has_tool("curl", name) {
        return;
    }
    for (drain, hint) in [("0", false), ("1100ms", true)] {
        let (accepted, arrived) = std::sync::mpsc::channel::<TcpStream>();
        let upstream = Upstream::once(move |stream| accepted.send(stream).unwrap());
        let target = upstream.address;
        let script = format!("curl -sp http://{target}/ >/dev/null 2>&1 & read line; exit 0");
        let mut run = Run::new(&["--drain", drain], &["sh", "-c", &script]);
        run.command.stderr(Stdio::piped());
        let mut child = run.start();
        let held = arrived.recv().unwrap();
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        let said = stderr(&output).replace("\n    ", " ");
        let open = said.lines().find(|line| line.starts_with("conniver: 1 connection was still"));
        let open = open.unwrap_or_else(|| panic!("{said}"));
        assert!(open.contains(&format!("after COMMAND's end: {target}")), "{said}");
        assert_eq!(open.contains("--drain 0 does not wait"), hint, "{said}");
        drop(held);
    }
}

#[test]
fn a_fresh_file_has_this_runs_records_alone() {
    let earlier = "{\"event\":\"close\",\"schema\":1,\"time\":\"2026-01-01T00:00:00Z\"}\n";
    let run = |options: &[&str], command: &str| {
        let run = Run::new(&[&["--events", "start"], options].concat(), &[command]);
        std::fs::write(run.records_file(), earlier).unwrap();
        run
    };
    for (options, has_earlier) in [(&[][..], true), (&["--fresh"], false)] {
        let mut run = run(options, "true");
        assert!(run.output().status.success());
        let written = std::fs::read_to_string(run.records_file()).unwrap();
        assert_eq!(written.starts_with(earlier), has_earlier, "{written}");
        assert!(written.contains("\"event\":\"start\""), "{written}");
    }
    // What cannot be run takes nothing away.
    for (command, status) in [("/no/such/program", 127), ("/dev/null", 126)] {
        let mut run = run(&["--fresh"], command);
        assert_eq!(run.output().status.code(), Some(status));
        assert_eq!(std::fs::read_to_string(run.records_file()).unwrap(), earlier);
    }
    // Neither a file that is not there, nor one that keeps nothing, is an obstacle.
    assert!(Run::new(&["--fresh"], &["true"]).output().status.success());
    let mut pipe = Command::new(BINARY);
    pipe.args(["run", "-q", "--fresh", "-o", "/dev/null", "--", "true"]);
    assert!(pipe.status().unwrap().success());
    let output = Command::new(BINARY).args(["run", "--fresh", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).contains("--fresh has no effect without an output file"), "{output:?}");
}

#[test]
fn the_table_uses_the_width_of_its_terminal() {
    let what = "the_table_uses_the_width_of_its_terminal";
    if !has_tool("curl", what) || !has_tool("script", what) || !has_tool("stty", what) {
        return;
    }
    let (_held, deaf) = deaf_port();
    let red = "\u{1b}[31mrefused\u{1b}[0m";
    for (columns, no_color, head, ended) in [
        (30, "1", "ended", "refused"),
        (80, "1", "connect ", "refused (ECONNREFUSED)"),
        (120, "1", "received ", "refused (ECONNREFUSED)"),
        (30, "", "ended", red),
    ] {
        let inside = format!(
            "stty rows 24 cols {columns}; unset http_proxy https_proxy all_proxy; \
             TERM=xterm NO_COLOR={no_color} exec {BINARY} run -- curl -sp -m 20 http://{deaf}/"
        );
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &inside, "/dev/null"]).stdin(Stdio::null());
        let shown = stdout(&without_proxies(&mut terminal).output().unwrap());
        let table: Vec<&str> = shown.lines().skip_while(|line| !line.contains("target")).collect();
        let [header, row, ..] = table[..] else { panic!("{shown}") };
        assert!(header.contains(head), "{shown}");
        assert!(row.ends_with(ended), "{shown}");
        let is_plain = |line: &&str| !line.contains('\u{1b}');
        let mut plain = table.iter().filter(|line| is_plain(line));
        assert!(plain.all(|line| line.chars().count() <= columns), "{shown}");
    }
}

#[test]
fn orphans_are_reaped_and_the_programs_status_is_kept() {
    let what = "orphans_are_reaped_and_the_programs_status_is_kept";
    let namespace = ["--pid", "--fork", "--mount-proc"];
    if !has_tool("unshare", what) {
        return;
    }
    if !Command::new("unshare").args(namespace).arg("true").status().unwrap().success() {
        skip(what, "it makes a namespace of processes, which needs root");
        return;
    }
    // conniver is process 1, whose children orphans become. Zombies would stay in /proc.
    let script = "
        orphans=$(for n in 1 2 3; do (sh -c 'exit 3' >/dev/null & echo $!); done)
        for orphan in $orphans; do
            tries=2000
            while [ -e /proc/$orphan ] && [ $tries -gt 0 ]; do sleep 0.01; tries=$((tries - 1)); done
            [ -e /proc/$orphan ] && exit 1
        done
        exit 7";
    let mut command = Command::new("unshare");
    command.args(namespace).arg(BINARY);
    let output = Run::by(command, &["-q"], &["sh", "-c", script]).output();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}
