//! `conniver run --intercept`: programs that know of no proxy, and nothing left behind.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use conniver::record::{Mode, Outcome};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::arguments::unwrapped;
use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{Upstream, noise, sha256};
use crate::harness::program::{BINARY, wait_for, wait_until};
use crate::run::{Run, curl, page_on, stderr};

/// What the tests of a namespace have in common.
struct Place(Namespace);

impl Place {
    /// `None`, said loudly, where something is missing.
    fn new(what: &str) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        if !mounts.contains(" - cgroup2 ") {
            crate::harness::skip(what, "no cgroup of version 2 is mounted");
            return None;
        }
        let all = available(what) && has_tool("curl", what) && has_tool("nsenter", what);
        all.then(|| Self(Namespace::new()))
    }

    /// `conniver run --intercept` in it.
    fn run(&self, words: &[&str]) -> Run {
        // ip netns exec would hide the cgroups.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.0.path().display())).args(["--", BINARY]);
        Run::by(command, &["--intercept"], words)
    }

    /// A server of one page in it.
    fn page(&self, address: &str) -> Upstream<u64> {
        self.0.enter(|| page_on(address))
    }

    fn has_rules(&self) -> bool {
        !self.0.command("nft").args(["list", "tables"]).output().unwrap().stdout.is_empty()
    }

    fn assert_nothing_is_left_of(&self, pid: u32) {
        assert!(!self.has_rules());
        assert_eq!(cgroups_of(pid), [] as [PathBuf; 0]);
    }
}

/// The cgroups that this run has made.
fn cgroups_of(pid: u32) -> Vec<PathBuf> {
    fn find(directory: &Path, prefix: &str, found: &mut Vec<PathBuf>) {
        // Others come and go meanwhile.
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
                found.push(entry.path());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                find(&entry.path(), prefix, found);
            }
        }
    }
    let mut found = Vec::new();
    find(Path::new("/sys/fs/cgroup"), &format!("conniver-{pid}-"), &mut found);
    found
}

/// Waits for the program's line, by which it says that it is there.
fn wait_to_read(child: &mut Child, line: &str) {
    use std::io::BufRead;
    let mut said = std::io::BufReader::new(child.stdout.as_mut().unwrap());
    let mut first = String::new();
    said.read_line(&mut first).unwrap();
    assert_eq!(first.trim_end(), line);
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

#[test]
fn a_program_that_knows_of_no_proxy_is_intercepted_in_both_families() {
    let what = "a_program_that_knows_of_no_proxy_is_intercepted_in_both_families";
    let Some(place) = Place::new(what) else { return };
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let page = place.page(address);
        let target = page.address.to_string();
        let url = format!("http://{target}/");
        let mut run = place.run(&curl(&["--noproxy", "*"], &url));
        let (pid, output) = run.output_and_pid();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(sha256(&output.stdout), sha256(&noise(10_000)));
        let served = page.join();
        let [record] = &run.records()[..] else { panic!("{output:?}") };
        assert_eq!((record.mode, record.outcome), (Some(Mode::Redirect), Some(Outcome::Ok)));
        assert_eq!(record.target.as_ref(), Some(&target));
        assert_eq!(record.client.tx_bytes, served);
        assert!(stderr(&output).contains(&format!("\n{target} ")), "{output:?}");
        place.assert_nothing_is_left_of(pid);
    }
}

#[test]
fn the_environment_is_as_it_was_and_another_user_is_intercepted_too() {
    let what = "the_environment_is_as_it_was_and_another_user_is_intercepted_too";
    let Some(place) = Place::new(what) else { return };
    if !has_tool("setpriv", what) {
        return;
    }
    let page = place.page("127.0.0.1:0");
    let url = format!("http://{}/", page.address);
    let nobody = ["setpriv", "--reuid", "65534", "--clear-groups"];
    // curl without --noproxy: a variable of ours would lead it elsewhere.
    let mut run = place.run(&[&nobody[..], &curl(&[], &url)].concat());
    let output = run.output();
    assert!(output.status.success(), "{output:?}");
    page.join();
    let [record] = &run.records()[..] else { panic!("{output:?}") };
    assert_eq!(record.mode, Some(Mode::Redirect));
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other_or_anybody_else() {
    let what = "two_runs_at_once_do_not_disturb_each_other_or_anybody_else";
    let Some(place) = Place::new(what) else { return };
    let script = |url: &str| format!("echo ready; read go; curl -sS --noproxy '*' {url}");
    let pages = ["127.0.0.1:0", "127.0.0.1:0"].map(|address| place.page(address));
    let targets = pages.each_ref().map(|page| page.address.to_string());
    let scripts = targets.each_ref().map(|target| script(&format!("http://{target}/")));
    let mut runs = scripts.each_ref().map(|script| place.run(&["sh", "-c", script]));
    let mut children = runs.each_mut().map(Run::start);
    for child in &mut children {
        wait_to_read(child, "ready");
    }

    // Both are there: whoever belongs to neither is diverted by neither.
    let outsider = place.page("127.0.0.1:0");
    let client = place.0.enter(|| std::net::TcpStream::connect(outsider.address).unwrap());
    let peer = client.peer_addr().unwrap();
    (&client).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(peer, outsider.address);
    outsider.join();

    // One after the other: the end of the first leaves the second its rules.
    for (child, (run, target)) in children.into_iter().zip(runs.iter().zip(&targets)) {
        let pid = child.id();
        let mut child = child;
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let [record] = &run.records()[..] else { panic!("one record each") };
        assert_eq!(record.target.as_ref(), Some(target));
        assert_eq!(cgroups_of(pid), [] as [PathBuf; 0]);
    }
    assert!(!place.has_rules());
    for page in pages {
        page.join();
    }
}

#[test]
fn nothing_is_left_when_the_program_is_killed_or_cannot_be_run() {
    let what = "nothing_is_left_when_the_program_is_killed_or_cannot_be_run";
    let Some(place) = Place::new(what) else { return };
    for (words, status) in [
        (&["sh", "-c", "kill -KILL $$"][..], 128 + 9),
        (&["no-such-program"], 127),
        // It goes on in the background; its cgroup does not.
        (&["sh", "-c", "sleep 0.3 & exit 4"], 4),
    ] {
        let (pid, output) = place.run(words).output_and_pid();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        place.assert_nothing_is_left_of(pid);
    }
}

#[test]
fn when_conniver_is_killed_its_rules_go_at_once_and_its_cgroup_with_the_next_run() {
    let what = "when_conniver_is_killed_its_rules_go_at_once_and_its_cgroup_with_the_next_run";
    let Some(place) = Place::new(what) else { return };
    let mut run = place.run(&["sh", "-c", "echo ready; read go"]);
    let mut child = run.start();
    wait_to_read(&mut child, "ready");
    assert!(place.has_rules());
    let pid = child.id();
    let [cgroup] = &cgroups_of(pid)[..] else { panic!("{:?}", cgroups_of(pid)) };

    // Our end of its standard input stays open, so the program lives on.
    let stdin = child.stdin.take();
    send(pid, Signal::SIGKILL);
    wait_for(&mut child);
    wait_until("the rules are gone", || !place.has_rules());
    assert!(place.run(&["true"]).output().status.success());
    assert!(cgroup.exists(), "the program is still in it");

    drop(stdin);
    let members = cgroup.join("cgroup.procs");
    wait_until("the program ends", || {
        std::fs::read_to_string(&members).unwrap_or_default().is_empty()
    });
    assert!(place.run(&["true"]).output().status.success());
    assert!(!cgroup.exists());
}

#[test]
fn what_is_missing_is_said_and_the_program_is_not_run() {
    let what = "what_is_missing_is_said_and_the_program_is_not_run";
    let Some(place) = Place::new(what) else { return };
    if !has_tool("setpriv", what) {
        return;
    }
    // Where another user can run it.
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let binary = directory.path().join("conniver");
    std::fs::copy(BINARY, &binary).unwrap();
    let words = ["run", "--intercept", "--", "echo", "it ran"];

    let mut without_root = Command::new("setpriv");
    without_root.args(["--reuid", "65534", "--clear-groups"]).arg(&binary);
    let mut without_nft = Command::new(&binary);
    without_nft.env("PATH", "/nowhere");
    let mut without_cgroups = place.0.command(BINARY);
    for (command, said) in [
        (&mut without_root, "run it as root"),
        (&mut without_nft, "nft not found"),
        (&mut without_cgroups, "needs cgroup version 2, which is not mounted"),
    ] {
        let output = command.args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        assert!(unwrapped(&stderr(&output)).contains(said), "{output:?}");
        assert!(output.stdout.is_empty());
    }
}
