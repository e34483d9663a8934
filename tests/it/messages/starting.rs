//! What a proxy says when it starts: where it listens, and what may not be as it was meant.

use std::process::Command;

use tempfile::TempDir;

use crate::harness::program::{BINARY, Proxy};

/// The lines of a proxy with these options, without their times.
fn said(args: &[&str]) -> Vec<String> {
    let stderr = Proxy::serving(args).stop().stderr;
    let message = |line: &str| match line.split_once("  ") {
        Some((time, message)) if time.ends_with('Z') => message.to_owned(),
        _ => line.to_owned(),
    };
    stderr.lines().map(message).collect()
}

#[test]
fn what_may_not_be_as_it_was_meant_is_warned_of() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (users, compressed) = (path("users"), path("records.gz"));
    std::fs::write(&users, "u:p\n").unwrap();
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&users, readable).unwrap();
    let via = ["--via", "http://127.0.0.1:9"];
    for (args, warning) in [
        (
            [&["--auth-file", &users][..], &[]],
            format!(
                "other users can read the passwords in '{users}' (mode 0644); run: chmod 600 '{users}'"
            ),
        ),
        (
            [&via, &["--deny", "10.0.0.0/8"]],
            "the parent proxy http://127.0.0.1:9 resolves names, so --deny cannot be applied to their \
             addresses: names are refused unless an --allow rule matches them"
                .to_owned(),
        ),
        (
            [&via, &["--allow", "10.0.0.0/8"]],
            "the parent proxy http://127.0.0.1:9 resolves names, and --allow has only networks: all \
             names are refused"
                .to_owned(),
        ),
    ] {
        let said = said(&args.concat());
        assert_eq!(said[0], format!("WARN {warning}"), "{said:?}");
    }
    let output =
        Command::new(BINARY).args(["run", "-o", &compressed, "--", "true"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let warning = format!(
        "WARN records are not compressed: '{compressed}' will be plain text; choose a name without \
         .gz, and compress the file later"
    );
    assert!(said.lines().next().unwrap().ends_with(&warning), "{said}");
}

#[test]
fn each_listener_is_said_with_what_it_is_for() {
    let proxy = Proxy::start(
        &mut Command::new(BINARY),
        &["0:example.com:80"],
        &["-D", "0", "--redirect", "0"],
    );
    let expected: Vec<_> = proxy
        .addresses()
        .iter()
        .zip([
            "forwarding to example.com:80",
            "as HTTP and SOCKS proxy",
            "for connections diverted by REDIRECT",
        ])
        .map(|(address, what)| format!("listening on {address}, {what}"))
        .collect();
    let said = proxy.stop().stderr;
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}
