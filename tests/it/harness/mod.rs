//! What the tests share: the program under test, peers, namespaces, and skipping loudly.

#[allow(dead_code, reason = "the other test target uses the rest")]
pub(crate) mod cause;
pub(crate) mod causes;
pub(crate) mod clients;
pub(crate) mod clock;
pub(crate) mod dns;
pub(crate) mod errors;
pub(crate) mod forwarding;
pub(crate) mod load;
pub(crate) mod lossy_path;
pub(crate) mod namespace;
pub(crate) mod network;
pub(crate) mod noise;
pub(crate) mod outputs;
pub(crate) mod peers;
pub(crate) mod postgres;
pub(crate) mod program;
pub(crate) mod prometheus;
pub(crate) mod queues;
pub(crate) mod random_endings;
pub(crate) mod ssh;
pub(crate) mod terminal;
pub(crate) mod tls;
pub(crate) mod tmux;
pub(crate) mod watching;
pub(crate) mod within;

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Says on the test's real standard error that a test did not run, and why. Under CI, where
/// everything is installed, it fails instead.
pub(crate) fn skip(what: &str, why: &str) {
    if std::env::var_os("CI").is_some() {
        panic!("{what} cannot run: {why}");
    }
    // Not eprintln!, which the test runner keeps to itself.
    let said = format!("\nSKIPPED {what}: {why}\n");
    std::io::stderr().write_all(said.as_bytes()).unwrap();
}

/// Whether this is the body of a response that the proxy made itself.
pub(crate) fn is_own_body(body: &[u8]) -> bool {
    let body = String::from_utf8_lossy(body);
    body.contains("\n\nThis response is from the proxy conniver, not from the server.\nReason: ")
}

/// Whether a tool is installed; says so when it is not.
pub(crate) fn has_tool(tool: &str, what: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", tool])
        .stdout(Stdio::null())
        .status()
        .unwrap()
        .success();
    if !found {
        skip(what, &format!("{tool} is not installed"));
    }
    found
}

/// The standard output of a command.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    String::from_utf8(output(Command::new(program).args(args)).stdout).unwrap()
}

/// Runs a command to its end; fails with all that it said.
pub(crate) fn output(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}
