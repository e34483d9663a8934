//! What is said of a parent proxy that fails, and of where it was named.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;

use super::failures::assert_fails;
use crate::arguments::unwrapped;
use crate::harness::clients::without_proxies;
use crate::harness::dns::{Reply, serve_names};
use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{Upstream, deaf_port};
use crate::harness::program::BINARY;

/// A parent that sends this when it has been asked, and then leaves, or waits for the other side to
/// leave.
fn parent(answer: &'static [u8], leaves: bool) -> Upstream<()> {
    Upstream::once(move |mut stream| {
        // A greeting of SOCKS, or the beginning of a request; all of it, so that no reset purges the answer.
        let mut asked = [0; 4096];
        let _ = stream.read(&mut asked).unwrap();
        stream.write_all(answer).unwrap();
        if !leaves {
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    })
}

#[test]
fn a_parent_that_speaks_something_else_is_said_with_what_it_sent() {
    let check = "check the port and the scheme of the proxy's URL";
    let tunnel = |scheme: &str| format!("cannot connect to name.invalid:443 through {scheme}://");
    let ssh = "speaks SSH, not HTTP: \"SSH-2.0-x\"";
    for (scheme, url, answer, doing, error, advice) in [
        (
            "socks5h",
            "https://name.invalid/",
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            tunnel("socks5h"),
            "speaks plain HTTP, not SOCKS 5: \"HTTP/1.1 400 Bad Request\"",
            check,
        ),
        (
            "socks5h",
            "https://name.invalid/",
            b"\x05\x03",
            tunnel("socks5h"),
            "'s answer is malformed SOCKS 5",
            check,
        ),
        ("http", "https://name.invalid/", b"SSH-2.0-x\r\n", tunnel("http"), ssh, check),
        (
            "http",
            "https://name.invalid/",
            b"\x05\xff",
            tunnel("http"),
            "does not speak HTTP",
            check,
        ),
        (
            "http",
            "http://name.invalid/",
            b"SSH-2.0-x\r\n",
            "GET http://name.invalid/ through http://".to_owned(),
            ssh,
            "check the port",
        ),
    ] {
        let parent = parent(answer, false);
        let address = parent.address;
        let error = match error.strip_prefix('\'') {
            Some(error) => format!("the parent proxy'{error}"),
            None => format!("the parent proxy {error}"),
        };
        let failed = if url.starts_with("https") { "" } else { " failed" };
        let said = format!("conniver: {doing}{address}{failed}: {error}; {advice}\n");
        let via = format!("{scheme}://{address}");
        assert_fails(Command::new(BINARY).args(["stat", "-q", "--via", &via, url]), 1, &said);
        parent.join();
    }
}

#[test]
fn a_parent_that_says_nothing_may_be_of_the_other_kind() {
    let http = "if it is an HTTP proxy, its URL must begin with http://";
    let socks = "if it is a SOCKS proxy, its URL must begin with socks5h://";
    let left = "the parent proxy closed the connection without an answer";
    for (scheme, leaves, error, advice) in [
        (
            "socks5h",
            false,
            "the parent proxy did not answer the SOCKS greeting in time (--connect-timeout 1s)",
            http,
        ),
        (
            "http",
            false,
            "the parent proxy did not answer in time (--connect-timeout 1s)",
            "increase the timeout",
        ),
        ("socks5h", true, left, http),
        ("http", true, left, socks),
    ] {
        let parent = parent(b"", leaves);
        let via = format!("{scheme}://{}", parent.address);
        let said = format!(
            "conniver: cannot connect to name.invalid:443 through {via}: {error}; {advice}\n"
        );
        let mut command = Command::new(BINARY);
        command.args(["stat", "-q", "--via", &via, "https://name.invalid/"]);
        if !leaves {
            command.args(["--connect-timeout", "1s"]);
        }
        assert_fails(&mut command, 1, &said);
        parent.join();
    }
}

#[test]
fn names_that_only_the_parent_knows_are_left_to_it_by_socks5h() {
    if !available("names_that_only_the_parent_knows_are_left_to_it_by_socks5h") {
        return;
    }
    let namespace = Namespace::new();
    serve_names(&namespace, "", |_| Reply::NoSuchName);
    let lost = "the name does not exist";
    for (via, said) in [
        (
            "socks5://127.0.0.1:1",
            format!(
                "cannot resolve inner.test: {lost}; if only the proxy can resolve the name, use \
                 socks5h:// instead of socks5://"
            ),
        ),
        (
            "http://no.test:1",
            format!(
                "cannot connect to the parent proxy http://no.test:1: {lost}; check the spelling"
            ),
        ),
        (
            "socks5h://no.test",
            format!(
                "cannot connect to the parent proxy socks5h://no.test:1080: {lost}; check the \
                 spelling"
            ),
        ),
    ] {
        let mut command = namespace.command(BINARY);
        command.args(["stat", "-q", "--via", via, "http://inner.test/"]);
        assert_fails(&mut command, 1, &format!("conniver: {said}\n"));
    }
}

/// What it says on standard error with this variable.
fn said_with(variable: &str, parent: SocketAddr, args: &[&str]) -> String {
    let mut command = Command::new(BINARY);
    without_proxies(&mut command).args(args).env(variable, format!("http://u:s3cret@{parent}"));
    unwrapped(&String::from_utf8(command.output().unwrap().stderr).unwrap())
}

#[test]
fn a_parent_of_the_environment_that_fails_is_said_with_the_variable() {
    let (_held, deaf) = deaf_port();
    let refused =
        "Connection refused; nothing listens on that port, or a firewall rejects the connection";
    for (variable, url, target) in [
        ("http_proxy", "http://name.invalid", "name.invalid:80"),
        ("HTTPS_PROXY", "https://name.invalid", "name.invalid:443"),
        ("ALL_PROXY", "https://name.invalid", "name.invalid:443"),
    ] {
        assert_eq!(
            said_with(variable, deaf, &["stat", "-q", url]),
            format!(
                "conniver: cannot connect to {target} through http://{deaf} ({variable}): \
                 {refused}\n"
            )
        );
    }
    let name = "a_parent_of_the_environment_that_fails_is_said_with_the_variable";
    if !has_tool("curl", name) {
        return;
    }
    for (variable, url, target) in [
        ("http_proxy", "http://name.invalid", "name.invalid:80"),
        ("ALL_PROXY", "https://name.invalid", "name.invalid:443"),
    ] {
        let said = said_with(variable, deaf, &["run", "--", "curl", "-s", "-o", "/dev/null", url]);
        assert!(said.contains("parent proxy: refused (ECONNREFUSED)"), "{said}");
        let last = said.lines().last().unwrap();
        assert_eq!(
            last,
            format!(
                "conniver: cannot connect to {target} through the parent proxy http://{deaf} \
                 ({variable}): Connection refused"
            )
        );
    }
}
