//! What is said when `stat` does not reach a server, or reaches another one than expected.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use super::failures::assert_fails;
use crate::harness::dns::{Reply, serve_names};
use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{Upstream, read_all};
use crate::harness::program::BINARY;
use crate::harness::tls::{Authority, TlsServer};

fn stat(args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["stat", "-q"]).args(args);
    command
}

#[test]
fn an_address_of_the_other_family_is_said_with_the_option_to_leave_out() {
    for (option, url, target, is, alone) in [
        ("-6", "http://127.0.0.1/", "127.0.0.1:80", "IPv4", "IPv6"),
        ("-4", "https://[::1]/", "[::1]:443", "IPv6", "IPv4"),
    ] {
        let said = format!(
            "conniver: cannot connect to {target}: the address is an {is} address, and only \
             {alone} is allowed ({option}); omit {option}\n"
        );
        assert_fails(&mut stat(&[option, url]), 1, &said);
    }
}

#[test]
fn a_name_of_the_other_family_alone_is_not_said_not_to_exist() {
    if !available("a_name_of_the_other_family_alone_is_not_said_not_to_exist") {
        return;
    }
    let namespace = Namespace::new();
    serve_names(&namespace, "", |name| match name {
        "four.test." => Reply::Addresses(vec!["127.0.0.1".parse().unwrap()]),
        "six.test." => Reply::Addresses(vec!["::1".parse().unwrap()]),
        _ => Reply::NoSuchName,
    });
    let advice = "check the spelling";
    for (option, name, error, advice) in [
        ("-6", "four.test", "the name has only IPv4 addresses", "omit -6"),
        ("-4", "six.test", "the name has only IPv6 addresses", "omit -4"),
        ("-6", "none.test", "the name does not exist", advice),
        ("--http1.1", "none.test", "the name does not exist", advice),
    ] {
        let mut command = namespace.command(BINARY);
        let said = format!("conniver: cannot resolve {name}: {error}; {advice}\n");
        assert_fails(command.args(["stat", "-q", option, name]), 1, &said);
    }
}

#[test]
fn a_time_that_was_over_is_said_once_with_its_option() {
    let silent = || Upstream::once(|mut stream| read_all(&mut stream));
    for (option, scheme, doing, error, advice) in [
        ("--max-time", "http", "GET ", "the time limit was reached", "the server has sent no data"),
        (
            "--connect-timeout",
            "https",
            "TLS handshake with ",
            "the TLS handshake timed out",
            "increase the timeout",
        ),
    ] {
        let server = silent();
        let url = format!("{scheme}://{}/", server.address);
        let what = if scheme == "http" { url.clone() } else { server.address.to_string() };
        let said = format!("conniver: {doing}{what} failed: {error} ({option} 1s); {advice}\n");
        assert_fails(&mut stat(&[option, "1s", &url]), 1, &said);
        server.join();
    }
}

#[test]
fn a_server_of_something_else_is_said_with_the_port_to_check() {
    for (scheme, first, expected) in [
        ("http", "SSH-2.0-x", "the server speaks SSH, not HTTP"),
        ("https", "SSH-2.0-x", "the server speaks SSH, not TLS"),
        ("http", "<html></html>", "the server does not speak HTTP"),
        ("https", "<html></html>", "the server does not speak TLS"),
        ("https", "HTTP/1.1 400 Bad Request", "the server speaks plain HTTP, not TLS"),
    ] {
        let server = Upstream::once(move |mut stream| {
            stream.write_all(format!("{first}\r\n").as_bytes()).unwrap();
            // Until the client leaves, so that nothing is purged by a reset.
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let address = server.address;
        let doing = match scheme {
            "http" => format!("GET http://{address}/ failed"),
            _ => format!("TLS handshake with {address} failed"),
        };
        let advice = match first.starts_with("HTTP") {
            true => "use http://, or another port",
            false => "check the port",
        };
        let said = format!("conniver: {doing}: {expected}: \"{first}\"; {advice}\n");
        assert_fails(&mut stat(&[&format!("{scheme}://{address}/")]), 1, &said);
        server.join();
    }
}

#[test]
fn a_certificate_that_is_not_accepted_is_said_with_what_to_do() {
    let name = "a_certificate_that_is_not_accepted_is_said_with_what_to_do";
    if !has_tool("openssl", name) {
        return;
    }
    let signer = Authority::new();
    let cacert = signer.certificate();
    let expired = TlsServer::start_with(signer.sign("localhost", 2001..2002), &[]);
    let future = TlsServer::start_with(signer.sign("localhost", 2040..2041), &[]);
    let other = TlsServer::start_with(signer.sign("other.test", 2020..2040), &[]);
    let validity = "renew it, check this machine's clock, or ignore this with -k";
    for (server, trusted, said) in [
        (
            &other,
            false,
            "the certificate's issuer is not trusted; give its CA certificate with --cacert FILE, or \
             ignore this with -k"
                .to_owned(),
        ),
        (
            &other,
            true,
            "the certificate is not valid for this name; use one of its names (other.test), or ignore \
             this with -k"
                .to_owned(),
        ),
        (
            &expired,
            true,
            format!(
                "the certificate has expired; it is valid from 2001-01-01T00:00:00Z to \
                 2002-01-01T00:00:00Z; {validity}"
            ),
        ),
        (
            &future,
            true,
            format!(
                "the certificate is not valid yet; it is valid from 2040-01-01T00:00:00Z to \
                 2041-01-01T00:00:00Z; {validity}"
            ),
        ),
    ] {
        let target = format!("localhost:{}", server.address.port());
        let url = format!("https://{target}/");
        let trust: &[&str] = if trusted { &["--cacert", &cacert] } else { &[] };
        let said = format!("conniver: TLS handshake with {target} failed: {said}\n");
        assert_fails(&mut stat(&[&["-4", &*url][..], trust].concat()), 1, &said);
    }
}
