//! What `run` says of what it cannot forward, and of expectations that are none.

use std::process::Command;

use super::RUN;
use super::failures::assert_fails;
use crate::arguments::{refused, unwrapped};
use crate::harness::clients::without_proxies;
use crate::harness::program::BINARY;

#[test]
fn a_url_that_cannot_be_forwarded_is_said_with_what_to_do() {
    let quoted = "its value begins with a quotation mark, which a shell would have removed and \
                  --env-file of containers does not; remove the quotation marks";
    let port = "its port is not a number from 1 to 65535; '/', '?', '#' and '@' in a password must be \
                percent-encoded";
    let query = "its query has 'host', which overrides the server in front of it; put host and port \
                 into scheme://HOST:PORT/";
    for (value, said) in [
        ("", "its value is empty"),
        (
            "text",
            "its value is not a URL (SCHEME://HOST:PORT/...); to forward a port: -L \
             PORT:HOST:HOSTPORT",
        ),
        ("x://h", "the default port of x URLs is not known; put the port into the URL"),
        ("postgres://u:s3cret@h:99999/d", port),
        ("postgres://u:s3cret/w@h:5/d", port),
        ("\"postgres://h\"", quoted),
        ("'postgres://h'", quoted),
        ("postgres://h/d?host=x", query),
        ("postgres:///d?host=/run/pg", query),
        (
            "postgres:///d",
            "its URL names no host; only TCP connections can be forwarded, not UNIX sockets",
        ),
        (
            "postgres://h1,h2/d",
            "its URL names several hosts, and one of them only can be forwarded; use --intercept, or \
             a URL with one host",
        ),
        (
            "mongodb+srv://h/d",
            "mongodb+srv finds its servers in DNS, so there is none in the URL to forward; use \
             --intercept, or a URL with one server",
        ),
        (
            "rediss+sentinel://h/d",
            "with rediss+sentinel the server tells its clients which others to connect to, and they \
             would bypass the forwarding; use --intercept",
        ),
        (
            "redis://$HOST:1",
            "its host or port is a variable that was not expanded; a shell expands $NAME in double \
             quotes, and not in single ones",
        ),
        ("http://::1:80/", "an IPv6 address in a URL must be in brackets, as in SCHEME://[::1]:80"),
        ("unix:///run/x", "its URL names a UNIX socket; only TCP connections can be forwarded"),
        ("postgres://h/d ", "its value ends with a blank; remove it"),
    ] {
        let mut command = Command::new(BINARY);
        command.args(["run", "--url-var", "DB_URL", "--", "true"]).env("DB_URL", value);
        let said = format!("conniver: cannot forward the URL in DB_URL (--url-var): {said}\n");
        assert_fails(&mut command, 125, &said);
    }
    let said = "conniver: cannot forward the URL in DB_URL (--url-var): it is not set in conniver's \
                environment; export it, or write DB_URL=URL conniver run --url-var DB_URL -- COMMAND\n";
    let mut command = Command::new(BINARY);
    command.args(["run", "--url-var", "DB_URL", "--", "true"]).env_remove("DB_URL");
    assert_fails(&mut command, 125, said);
}

#[test]
fn names_of_variables_that_are_none_are_refused() {
    for (value, said) in [
        ("", "expected the name of an environment variable that holds a URL, such as DATABASE_URL"),
        (
            "A=B",
            "expected the name of an environment variable that holds a URL, such as DATABASE_URL",
        ),
        ("A,B", "it takes one name; repeat it for each: --url-var A --url-var B"),
    ] {
        let expected = format!(
            "error: invalid value for '--url-var <NAME>': {said}\n\nFor more information, try \
             '--help'.\n"
        );
        assert_eq!(
            refused(&["run", "--url-var", value, "--", "true"]),
            (Some(2), expected),
            "{value}"
        );
    }
}

#[test]
fn ports_and_variables_that_command_could_not_use_are_refused() {
    for (options, said) in [
        (
            &["-L", "0:h:1"][..],
            "-L 127.0.0.1:0:h:1: COMMAND cannot know which port is free; choose one, or use --url-var",
        ),
        (
            &["-L", "0.0.0.0:9999:h:1"],
            "-L 0.0.0.0:9999:h:1 can be reached from other machines; listen on 127.0.0.1, or use \
             conniver proxy",
        ),
        (
            &["--url-var", "http_proxy"],
            "--url-var http_proxy: COMMAND gets the proxy's own address in this variable; its value \
             is already used as the parent proxy",
        ),
        (
            &["--intercept", "-L", "1:h:1"],
            "the argument '--intercept' cannot be used with '-L <[BIND:]PORT:HOST:HOSTPORT>'\n\n  \
             tip: --intercept diverts every connection; omit -L",
        ),
        (
            &["--intercept", "--url-var", "A"],
            "the argument '--intercept' cannot be used with '--url-var <NAME>'\n\n  \
             tip: --intercept diverts every connection; omit --url-var",
        ),
        (
            &["--expect-status", "3"],
            "--expect-status has no effect without --expect, such as --expect lost=0",
        ),
    ] {
        let mut command = Command::new(BINARY);
        without_proxies(&mut command).arg("run").args(options).args(["--", "true"]);
        let output = command.env("http_proxy", "http://h:1").output().unwrap();
        let text = unwrapped(&String::from_utf8(output.stderr).unwrap());
        let expected =
            format!("error: {said}\n\nUsage: {RUN}\n\nFor more information, try '--help'.\n");
        assert_eq!((output.status.code(), text), (Some(2), expected), "{options:?}");
    }
}

#[test]
fn what_is_no_expectation_is_said_with_the_form() {
    let form = "expected [HOST:PORT ]METRIC OPERATOR VALUE, such as lost=0 or 'db:5432 \
                turns.wait.max<=300ms'";
    let no_operator =
        format!("it has no operator; {form}, in quotes because of the shell's < and >");
    let metrics = "the metrics are connections, failed, resets, lost, retransmits, warnings, sent, \
                   received, resolve.max, connect.max, firstByte.max, duration.max, turns.count, \
                   turns.unanswered, turns.wait.max, turns.wait.p50, turns.wait.p99, turns.wait.total, \
                   endedBy, outcome, limitedBy";
    for (typed, said) in [
        ("lost", no_operator.as_str()),
        ("lost~0", &no_operator),
        ("a b lost=0", form),
        ("lost==0", "'==' is not an operator; the operators are =, !=, <, <=, > and >="),
        ("lost=x", "lost: 'x' is not a number; expected one such as 0 or 12"),
        ("sent<=x", "sent: 'x' is not a size; expected one such as 1500, 64kB or 10MiB"),
        (
            "connect.max<=x",
            "connect.max: 'x' is not a time; expected one with its unit, such as 300ms or 1.5s",
        ),
        ("loss=0", &format!("unknown metric 'loss'; {metrics}")),
        ("http://h/ lost=0", "a target is HOST:PORT, not a URL; write 'h:80 lost=0'"),
        (
            "lost=0 and retransmits=0",
            "there are several expectations in it; write --expect 'lost=0' --expect 'retransmits=0'",
        ),
        (
            "outcome=okay",
            "outcome: 'okay' is not one of its values: ok, dns, refused, unreachable, timeout, reset, \
             denied, protocol, limit, shutdown, error",
        ),
    ] {
        let expected = format!(
            "error: invalid value '{typed}' for '--expect <EXPR>': {said}\n\nFor more information, try \
             '--help'.\n"
        );
        let words = ["run", "--expect", typed, "--", "true"];
        assert_eq!(refused(&words), (Some(2), expected), "{typed}");
    }
}
