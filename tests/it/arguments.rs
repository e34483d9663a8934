//! What is said, and with which exit status, when the command line cannot be followed.

use std::net::TcpListener;
use std::process::Command;

use crate::harness::clients::without_proxies;
use crate::harness::program::BINARY;
use crate::harness::run;

/// Runs it to its end: exit status and what it said on standard error, see [`unwrapped`].
pub(crate) fn refused(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    without_proxies(&mut command);
    let output = command.args(args).output().unwrap();
    assert!(output.stdout.is_empty(), "nothing but records goes to standard output");
    (output.status.code(), unwrapped(&String::from_utf8(output.stderr).unwrap()))
}

/// Messages without the breaks that fit them into 80 columns, for which only single words may be too
/// long.
pub(crate) fn unwrapped(text: &str) -> String {
    for line in text.lines() {
        let is_word = !line.trim().contains(' ');
        assert!(is_word || line.chars().count() <= 80, "too wide: {line}");
    }
    let mut whole = String::new();
    for line in text.split_inclusive('\n') {
        // What goes on is indented by four at least.
        match line.strip_prefix("    ") {
            Some(continued) => {
                whole.truncate(whole.trim_end_matches('\n').len());
                whole.push(' ');
                whole.push_str(continued.trim_start_matches(' '));
            }
            None => whole.push_str(line),
        }
    }
    whole
}

#[test]
fn a_malformed_forwarding_is_wrong_usage_and_shows_the_form() {
    for forward in ["8080", "8080:host", "x:host:80", "::1:80:host:80", "1:host:0"] {
        let (status, said) = refused(&["proxy", "-L", forward]);
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains(forward) && said.contains("expected"), "{said}");
    }
}

#[test]
fn a_proxy_without_a_way_in_is_wrong_usage() {
    let (status, said) = refused(&["proxy"]);
    assert_eq!(status, Some(2));
    assert!(said.contains("-L"), "{said}");
}

#[test]
fn a_malformed_label_event_or_time_is_wrong_usage() {
    for (option, value) in [
        ("--label", "novalue"),
        ("--label", "=x"),
        ("--events", "closed"),
        ("--drain", "soon"),
        ("--linger", "-1s"),
        ("--linger", "1e19"),
        ("--connect-timeout", "300y"),
    ] {
        let option_value = format!("{option}={value}");
        let (status, said) = refused(&["proxy", "-L", "0:localhost:1", &option_value]);
        assert_eq!(status, Some(2), "{option_value}: {said}");
        assert!(said.contains(value), "{said}");
    }
}

#[test]
fn a_malformed_parent_is_wrong_usage_and_its_password_is_not_repeated() {
    for url in ["https://user:s3cret@host:1", "http://user:s3cret@host:0", "http://user:s3/cret@h"]
    {
        let (status, said) = refused(&["proxy", "-L", "0:localhost:1", "--via", url]);
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains("--via") && said.contains("expected"), "{said}");
        assert!(!said.contains("cret"), "{said}");
    }
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (status, said) = refused(&["proxy", "-L", &format!("{port}:localhost:1")]);
    assert_eq!(status, Some(1));
    assert_eq!(
        said,
        format!(
            "conniver: cannot listen on 127.0.0.1:{port}: Address already in use; stop the \
             program that listens there, or choose another port (0 picks a free one)\n"
        )
    );
}

#[test]
fn an_address_that_is_not_this_machines_is_an_error_that_says_so() {
    // TEST-NET-1, RFC 5737.
    let (status, said) =
        refused(&["proxy", "-L", "192.0.2.1:0:localhost:1", "--allow-from", "10.0.0.0/8"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("this machine has no such address"), "{said}");
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_that_names_it() {
    let (status, said) = refused(&["proxy", "-L", "0:localhost:1", "-o", "/no/such/place/records"]);
    assert_eq!(status, Some(1));
    assert!(
        said.contains(
            "cannot open '/no/such/place/records' for records: the directory '/no/such/place'"
        ),
        "{said}"
    );
}

#[test]
fn the_version_is_the_packages() {
    let said = run(BINARY, &["--version"]);
    assert_eq!(said, concat!("conniver ", env!("CARGO_PKG_VERSION"), "\n"));
}
