//! What went wrong, and what nearly did.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use conniver::record::stat::Phase;
use conniver::record::{Outcome, WarningCode};
use tempfile::TempDir;

use super::{failure, ok, record, record_of, request, serve};
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{deaf_port, reset};
use crate::harness::program::{BINARY, wait_until};

#[test]
fn what_goes_wrong_is_told_with_its_phase_its_code_and_a_remedy() {
    let (_held, deaf) = deaf_port();
    let silent = serve(|stream| {
        request(&stream);
        // Until the client leaves.
        let _ = (&stream).read(&mut [0]);
    });
    let mute = serve(|stream| _ = std::io::copy(&mut &stream, &mut std::io::sink()));
    let breaking = serve(|stream| {
        request(&stream);
        (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
        // When that has arrived: a reset purges what has not.
        wait_until("the answer arrived", || {
            conniver::TcpInfo::of(&stream).unwrap().sys_info.linux().unwrap().un_acked == Some(0)
        });
        reset(stream);
    });
    let ending = serve(|stream| {
        request(&stream);
        (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
    });
    let strange = serve(|stream| {
        request(&stream);
        (&stream).write_all(b"SSH-2.0-x\r\n\r\n").unwrap();
    });
    let url = |address: SocketAddr| format!("http://{address}/");
    let secure = |address: SocketAddr| format!("https://{address}/");
    use Outcome::*;
    for (args, outcome, phase, code, words) in [
        (&[&*url(deaf)][..], Refused, Phase::Connect, "ECONNREFUSED", "nothing listens"),
        (&["http://no-such-host.invalid/"], Dns, Phase::Resolve, "", "no-such-host.invalid"),
        (
            &["--max-time", "700ms", &url(silent)],
            Timeout,
            Phase::Server,
            "MAX_TIME",
            " (--max-time 700ms); the server has sent no data",
        ),
        (
            &["--connect-timeout", "700ms", &secure(mute)],
            Timeout,
            Phase::Tls,
            "CONNECT_TIMEOUT",
            " (--connect-timeout 700ms); increase the timeout",
        ),
        (&[&url(breaking)], Reset, Phase::Transfer, "ECONNRESET", "on the path reset"),
        (&[&url(ending)], Error, Phase::Transfer, "EOF", "too early"),
        (&[&url(strange)], Protocol, Phase::Server, "HTTP_MALFORMED", "SSH, not HTTP"),
        (&["-6", &url(deaf)], Denied, Phase::Connect, "ADDRESS_FAMILY", "omit -6"),
    ] {
        let (found, at, symbol, sentence) = failure(args);
        assert_eq!((found, at), (outcome, phase), "{sentence}");
        assert!(symbol == code || code.is_empty() && symbol.starts_with("EAI_"), "{symbol}");
        assert!(sentence.contains(words), "{sentence}");
    }
    // Of what came before the reset, nothing is lost.
    let (stat, _) = record(&[&url(breaking)]);
    let exchange = stat.exchange;
    assert_eq!((exchange.http.status, exchange.http.body_bytes), (Some(200), 4));
    assert_eq!(exchange.upstream.unwrap().rx_err_code.as_deref(), Some("ECONNRESET"));
}

#[test]
fn a_path_that_loses_packets_is_warned_of() {
    let name = "a_path_that_loses_packets_is_warned_of";
    if !available(name) {
        return;
    }
    let namespace = Namespace::new();
    let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:80").unwrap());
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut all = vec![0; 500_000];
        (&stream).read_exact(&mut all).unwrap();
        (&stream).write_all(ok("").as_bytes()).unwrap();
        let _ = (&stream).read(&mut [0]);
    });
    // One of ten packets towards the server is gone.
    namespace.nft(
        "add table ip loss; add chain ip loss in { type filter hook input priority 0; }; \
         add rule ip loss in tcp dport 80 numgen inc mod 10 == 9 drop",
    );
    let files = TempDir::new().unwrap();
    let body = files.path().join("body");
    std::fs::write(&body, vec![b'x'; 500_000]).unwrap();
    let mut command = namespace.command(BINARY);
    command.args(["stat", "--json", "-d", &format!("@{}", body.display()), "127.0.0.1"]);
    let (stat, is_ok) = record_of(&mut command);
    assert!(is_ok, "{stat:?}");
    let leg = stat.exchange.upstream.unwrap();
    let sent_again = leg.closed_info.unwrap().retransmits.unwrap();
    let warned = stat.exchange.warnings.iter().find(|w| w.code == WarningCode::Retransmits);
    assert!(sent_again > 0);
    assert_eq!(warned.unwrap().value, sent_again);
}
