//! Servers that speak something else than HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use conniver::record::Outcome;
use conniver::record::stat::Phase;
use tempfile::TempDir;

use super::{failure, record, request, said, serve, stat};
use crate::harness::tls::TlsServer;
use crate::harness::{has_tool, run};

fn url(address: SocketAddr) -> String {
    format!("http://{address}/")
}

/// A server that says this when a client comes, and more when it has read a request.
fn saying(greeting: &'static [u8], answer: &'static [u8]) -> SocketAddr {
    serve(move |stream| {
        (&stream).write_all(greeting).unwrap();
        if !answer.is_empty() {
            request(&stream);
            (&stream).write_all(answer).unwrap();
        }
        // Until the client leaves, so that nothing is purged by a reset.
        let _ = std::io::copy(&mut &stream, &mut std::io::sink());
    })
}

#[test]
fn another_protocol_is_named_with_what_its_server_said() {
    for (greeting, answer, words) in [
        (
            &b"220 mx.test ESMTP Postfix\r\n"[..],
            &b""[..],
            "SMTP, not HTTP: \"220 mx.test ESMTP Postfix\"",
        ),
        (b"", b"-ERR unknown command 'GET'\r\n", "Redis, not HTTP: \"-ERR unknown command 'GET'\""),
        (b"* OK IMAP4rev1 ready\r\n", b"", "IMAP, not HTTP: \"* OK IMAP4rev1 ready\""),
        (b"I\0\0\0\x0a8.0.36\0", b"", "MySQL, not HTTP"),
        (b"", b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64", "HTTP/2, not HTTP/1.1"),
    ] {
        let (outcome, phase, code, sentence) = failure(&[&url(saying(greeting, answer))]);
        let found = (outcome, phase, &*code);
        assert_eq!(found, (Outcome::Protocol, Phase::Server, "HTTP_MALFORMED"), "{sentence}");
        assert!(
            sentence.ends_with(&format!("the server speaks {words}; check the port\n")),
            "{sentence}"
        );
    }
    // What commands a terminal does not, and there is an end to it.
    let evil = saying(
        b"",
        b"\x1b]0;title\x07evil evil evil evil evil evil evil evil evil evil evil evil evil\r\n",
    );
    let (.., sentence) = failure(&[&url(evil)]);
    assert!(sentence.contains("does not speak HTTP: \".]0;title.evil evil"), "{sentence}");
    assert!(sentence.ends_with("…\"; check the port\n") && sentence.len() < 200, "{sentence}");
}

#[test]
fn a_server_of_ssh_is_told_with_its_version() {
    let name = "a_server_of_ssh_is_told_with_its_version";
    if !has_tool("sshd", name) || !has_tool("ssh-keygen", name) {
        return;
    }
    let keys = TempDir::new().unwrap();
    let key = keys.path().join("host").display().to_string();
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]);
    // It must be called by its full path.
    let sshd = run("sh", &["-c", "command -v sshd"]).trim_end().to_owned();
    let server = serve(move |stream| {
        let end = |stream: &TcpStream| Stdio::from(OwnedFd::from(stream.try_clone().unwrap()));
        let mut command = Command::new(&sshd);
        command.args(["-i", "-f", "/dev/null", "-h", &key]);
        command.stdin(end(&stream)).stdout(end(&stream)).stderr(Stdio::null());
        // It is not pleased with its client.
        let _ = command.status().unwrap();
    });
    let (outcome, _, _, sentence) = failure(&[&url(server)]);
    assert_eq!(outcome, Outcome::Protocol);
    assert!(sentence.contains("the server speaks SSH, not HTTP: \"SSH-2.0-"), "{sentence}");
    let (.., sentence) = failure(&[&format!("https://{server}/")]);
    assert!(sentence.contains("the server speaks SSH, not TLS: \"SSH-2.0-"), "{sentence}");
}

#[test]
fn http_and_tls_on_each_others_ports_are_told_apart() {
    let name = "http_and_tls_on_each_others_ports_are_told_apart";
    if !has_tool("openssl", name) {
        return;
    }
    let plain = saying(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", b"");
    let (_, phase, code, sentence) = failure(&[&format!("https://{plain}/")]);
    assert_eq!((phase, &*code), (Phase::Tls, "TLS_UNEXPECTED"));
    assert!(sentence.contains("speaks plain HTTP, not TLS: \"HTTP/1.1 400"), "{sentence}");
    assert!(sentence.contains("use http://"), "{sentence}");
    // OpenSSL's own server closes without a word, or with a reset.
    let (.., code, sentence) = failure(&[&url(TlsServer::start().address)]);
    let is_told = ["TLS_EXPECTED", "EOF", "ECONNRESET", "EPIPE"].contains(&&*code);
    assert!(is_told && sentence.contains("https://"), "{code} {sentence}");
    // An alert, that the message was unexpected.
    let (outcome, phase, code, sentence) =
        failure(&[&url(saying(b"", b"\x15\x03\x01\0\x02\x02\x0a"))]);
    let found = (outcome, phase, &*code);
    assert_eq!(found, (Outcome::Protocol, Phase::Server, "TLS_EXPECTED"), "{sentence}");
    assert!(sentence.contains("speaks TLS, not HTTP; use https://"), "{sentence}");
}

#[test]
fn a_server_that_closes_without_a_word_is_said_to_be_silent() {
    // As PostgreSQL does: a startup packet cannot be as long as "GET " says.
    let silent = || serve(|stream| (&stream).read_exact(&mut [0; 4]).unwrap_or_default());
    let (_, phase, code, sentence) = failure(&[&url(silent())]);
    assert_eq!(phase, Phase::Server);
    assert!(["EOF", "ECONNRESET", "EPIPE"].contains(&&*code), "{code}");
    let words = "it sent no data and may speak TLS (https://) or another protocol";
    assert!(sentence.contains(words), "{sentence}");
    let (.., sentence) = failure(&[&format!("https://{}/", silent())]);
    assert!(sentence.contains("it sent no data and may not speak TLS"), "{sentence}");
}

#[test]
fn a_response_that_never_came_has_no_time_at_which_it_began() {
    let silent = serve(|stream| {
        request(&stream);
        // Until the client leaves.
        let _ = (&stream).read(&mut [0]);
    });
    for server in [silent, saying(b"SSH-2.0-x\r\n", b"")] {
        let args = ["--max-time", "300ms", &url(server)];
        let (stat, _) = record(&args);
        let phases = stat.exchange.phases;
        assert!(phases.server.is_some() && phases.transfer.is_none(), "{phases:?}");
        let output = self::stat(&args).output().unwrap();
        let text = said(&output.stdout);
        assert!(text.contains("starttransfer:-  "), "{text}");
        assert!(!text.contains("total:-"), "{text}");
    }
}
