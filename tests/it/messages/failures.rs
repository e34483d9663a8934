//! What is said when something fails at run time.

use std::fs::File;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::arguments::refused;
use crate::harness::clients::without_proxies;
use crate::harness::has_tool;
use crate::harness::program::BINARY;
use crate::run::as_nobody;

/// The exit status, and what is said on standard error.
fn assert_fails(command: &mut Command, status: i32, said: &str) {
    let output = without_proxies(command).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*text), (Some(status), said), "{command:?}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let directory = TempDir::new().unwrap();
    let text = directory.path().join("text");
    std::fs::write(&text, "no user\n").unwrap();
    let text = text.to_str().unwrap();
    let gone = "No such file or directory";
    for (args, status, said) in [
        (
            &["proxy", "-D", "0", "-o", "/no/such"][..],
            1,
            format!("opening '/no/such' for records: {gone}; choose another file with -o"),
        ),
        (
            &["run", "-o", "/no/such", "true"],
            125,
            format!("opening '/no/such' for records: {gone}; choose another file with -o"),
        ),
        (
            &["proxy", "-D", "0", "--auth-file", "/no/such"],
            1,
            format!("reading users from '/no/such': {gone}"),
        ),
        (
            &["proxy", "-D", "0", "--auth-file", text],
            1,
            format!(
                "reading users from '{text}': line 1 is not user:password, with at most 255 bytes \
                 each"
            ),
        ),
        (&["check", "/no/such"], 2, format!("reading records from '/no/such': {gone}")),
        (
            &["stat", "-d", "@/no/such", "http://h"],
            1,
            format!("reading '/no/such' for the request's body: {gone}"),
        ),
        (
            &["stat", "--cacert", "/no/such", "https://h"],
            1,
            format!("reading certificates from '/no/such': {gone}"),
        ),
        (
            &["stat", "--cacert", text, "https://h"],
            1,
            format!(
                "reading certificates from '{text}': it has none; PEM is expected, -----BEGIN …-----"
            ),
        ),
        (
            &["stat", "-E", "/no/such", "https://h"],
            1,
            format!("reading a private key from '/no/such': {gone}"),
        ),
        (&["run", "--", text], 126, format!("running '{text}': Permission denied")),
        (&["run", "--", "--version"], 127, "running '--version': it was not found".to_owned()),
    ] {
        assert_eq!(refused(args), (Some(status), format!("conniver: {said}\n")), "{args:?}");
    }
}

#[test]
fn an_address_in_use_or_elsewhere_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let port = taken.port().to_string();
    for args in [&["proxy", "-D", &port][..], &["proxy", "-D", "0", "--metrics", &port]] {
        let said = format!(
            "conniver: listening on {taken}: Address already in use; another program listens \
             there, or choose port 0 for any free one\n"
        );
        assert_eq!(refused(args), (Some(1), said), "{args:?}");
    }
    // TEST-NET-1, RFC 5737.
    assert_eq!(
        refused(&["proxy", "-D", "192.0.2.1:0", "--allow-from", "10.0.0.0/8"]),
        (
            Some(1),
            "conniver: listening on 192.0.2.1:0: Cannot assign requested address; this machine has \
             no such address\n"
                .to_owned()
        )
    );
}

#[test]
fn keepalive_beyond_what_the_kernel_takes_says_what_it_takes() {
    assert_eq!(
        refused(&["proxy", "-D", "0", "--keepalive", "40000"]),
        (
            Some(1),
            "conniver: setting keepalive: Invalid argument; Linux takes whole seconds from 1 to \
             32767, and 1 to 127 probes\n"
                .to_owned()
        )
    );
}

#[test]
fn a_parent_in_the_environment_that_is_none_names_the_variable() {
    for (args, status, variable) in
        [(&["run", "true"][..], 125, "https_proxy"), (&["stat", "http://h"], 1, "http_proxy")]
    {
        let mut command = Command::new(BINARY);
        without_proxies(&mut command).args(args).env(variable, "socks4://u:s3cret@h:1");
        let output = command.output().unwrap();
        let said = format!(
            "conniver: {variable}: this is no parent proxy: its scheme is not one that is spoken to \
             parents; expected [http|socks5|socks5h]://[USER:PASSWORD@]HOST[:PORT]; unset it, or \
             name a parent with --via\n"
        );
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), text), (Some(status), said));
    }
}

#[test]
fn an_output_without_room_is_said() {
    let said = "conniver: writing to standard output: No space left on device\n";
    for args in [
        &["schema"][..],
        &["schema", "--markdown"],
        &["rules", "redirect", "--port", "1", "--mark", "7"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_fails(Command::new(BINARY).args(args).stdout(Stdio::from(full)), 1, said);
    }
}

#[test]
fn sockets_that_were_handed_over_and_do_not_fit_are_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" proxy -D 0 3<&0";
    let with = |stdin: Stdio| {
        let mut command = Command::new("sh");
        command.args(["-c", script, BINARY]).stdin(stdin);
        command
    };
    let said = format!(
        "conniver: a socket on {address} was handed over (LISTEN_FDS), and no option listens there; \
         give its address to -L, -D, --redirect or --tproxy\n"
    );
    let socket = std::os::fd::OwnedFd::from(listener);
    assert_fails(&mut with(Stdio::from(socket)), 1, &said);
    let output = with(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let begins = "conniver: taking socket 1 of those that were handed over (LISTEN_FDS): ";
    let ends = "; it must be a listening TCP socket (ListenStream= with a port)\n";
    assert!(text.starts_with(begins) && text.ends_with(ends), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_takes_privileges_says_which() {
    let Some(_) = as_nobody("what_takes_privileges_says_which") else { return };
    if !has_tool("setpriv", "what_takes_privileges_says_which") {
        return;
    }
    // Where nobody may read the program, the shell's descriptor can.
    let directory = tempfile::Builder::new().prefix("program").tempdir_in("/tmp").unwrap();
    let program = directory.path().join("conniver");
    std::fs::copy(BINARY, &program).unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let root = "which root has";
    for (args, status, said) in [
        (
            &["proxy", "-D", "0", "--mark", "7"][..],
            1,
            format!(
                "marking connections with 7: Operation not permitted; it needs CAP_NET_ADMIN, {root}"
            ),
        ),
        (
            &["proxy", "--tproxy", "0"],
            1,
            format!(
                "listening on 127.0.0.1:0: Operation not permitted; taking what TPROXY diverts \
                 needs CAP_NET_ADMIN, {root}"
            ),
        ),
        (
            &["run", "--intercept", "true"],
            125,
            "--intercept makes a cgroup and rules of nftables, for which it must be run as root"
                .to_owned(),
        ),
    ] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--clear-groups", "--"]).arg(&program).args(args);
        assert_fails(&mut command, status, &format!("conniver: {said}\n"));
    }
}

#[test]
fn a_malformed_level_of_the_log_is_said_in_our_words() {
    let run = |level: &str| {
        let mut command = Command::new(BINARY);
        let output = command.env("RUST_LOG", level).args(["run", "-q", "--", "true"]).output();
        String::from_utf8(output.unwrap().stderr).unwrap()
    };
    let said = run("conniver=loud");
    assert!(
        said.ends_with(
            "ERROR RUST_LOG is ignored: expected off, error, warn, info, debug or trace, or such for \
             parts of the program, as in conniver::dial=debug\n"
        ),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(run("warn"), "");
}
