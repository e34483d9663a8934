//! TLS, and HTTP/2 over it.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpStream};

use conniver::record::Outcome;
use conniver::record::stat::Phase;
use tempfile::TempDir;

use super::{failure, record, record_of, serve, stat_failing};
use crate::clients::nghttpd;
use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{noise, reset, sha256};
use crate::harness::program::{BINARY, wait_until};
use crate::harness::tls::{Authority, TlsServer, authority, certificate};

#[test]
fn a_certificate_is_trusted_when_its_authority_is_and_it_is_for_this_name_now() {
    let name = "a_certificate_is_trusted_when_its_authority_is_and_it_is_for_this_name_now";
    if !has_tool("openssl", name) {
        return;
    }
    let signer = Authority::new();
    let cacert = signer.certificate();
    let now = 2020..2090;
    let good = TlsServer::start_with(signer.sign("localhost", now.clone()), &["-tls1_2"]);
    let expired = TlsServer::start_with(signer.sign("localhost", 2001..2002), &[]);
    let early = TlsServer::start_with(signer.sign("localhost", 2080..2081), &[]);
    let other = TlsServer::start_with(signer.sign("other.test", now), &[]);
    let files = TempDir::new().unwrap();
    let itself = TlsServer::start_with(authority(files.path(), "localhost"), &[]);
    let url = |server: &TlsServer| format!("https://localhost:{}/", server.address.port());

    for (server, cacert, version) in
        [(&good, &cacert, "TLSv1.2"), (&itself, &itself.certificate, "TLSv1.3")]
    {
        let (stat, is_ok) = record(&["-4", "--cacert", cacert, &url(server)]);
        assert!(is_ok, "{stat:?}");
        let tls = stat.exchange.tls.unwrap();
        assert_eq!((tls.verified, tls.version.as_deref()), (Some(true), Some(version)));
        assert_eq!(tls.server_name.as_deref(), Some("localhost"));
        assert_eq!(tls.certificates[0].subject, "CN=localhost");
        assert_eq!(tls.certificates[0].names, ["localhost"]);
        assert!(tls.cipher.unwrap().starts_with("TLS_"));
    }
    for (server, cacert, code, words) in [
        (&good, None, "CERT_UNKNOWN_ISSUER", "--cacert"),
        (&itself, None, "CERT_UNKNOWN_ISSUER", "--cacert"),
        (&expired, Some(&cacert), "CERT_EXPIRED", "to 2002-01-01T00:00:00Z"),
        (&early, Some(&cacert), "CERT_NOT_YET_VALID", "from 2080-01-01T00:00:00Z"),
        (&other, Some(&cacert), "CERT_OTHER_NAME", "use one of its names (other.test)"),
    ] {
        let url = url(server);
        let args = match cacert {
            Some(cacert) => vec!["-4", "--cacert", cacert, &url],
            None => vec!["-4", &url],
        };
        let (outcome, phase, found, sentence) = failure(&args);
        assert_eq!((outcome, phase, &*found), (Outcome::Error, Phase::Tls, code), "{sentence}");
        assert!(sentence.contains(words), "{sentence}");
        // It was seen all the same, and -k goes on.
        let (stat, _) = record(&args);
        assert!(!stat.exchange.tls.unwrap().certificates.is_empty());
        let (stat, is_ok) = record(&[&args[..], &["-k"]].concat());
        assert!(is_ok, "{stat:?}");
        let tls = stat.exchange.tls.unwrap();
        assert_eq!((tls.verified, tls.verify_error_code.as_deref()), (Some(false), Some(code)));
        assert!(tls.version.is_some() && stat.exchange.http.status == Some(200));
    }
}

#[test]
fn a_client_is_known_by_its_certificate() {
    let name = "a_client_is_known_by_its_certificate";
    if !has_tool("openssl", name) {
        return;
    }
    let signer = Authority::new();
    let (key, certificate) = signer.sign("client.test", 2020..2090);
    let both = TempDir::new().unwrap();
    let both = both.path().join("both");
    let together = [&certificate, &key].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    std::fs::create_dir_all(both.parent().unwrap()).unwrap();
    std::fs::write(&both, together).unwrap();
    let both = both.display().to_string();
    let files = signer.sign("localhost", 2020..2090);
    let cacert = signer.certificate();
    let server = TlsServer::start_with(files, &["-Verify", "1", "-CAfile", &cacert]);
    let url = format!("https://localhost:{}/", server.address.port());
    let (stat, is_ok) = record(&["-4", "--cacert", &cacert, "-E", &both, &url]);
    assert!(is_ok, "{stat:?}");
    // TLS 1.3 refuses it after the handshake, perhaps together with a reset.
    let files = signer.sign("localhost", 2021..2090);
    let older = ["-Verify", "1", "-CAfile", &cacert, "-tls1_2"];
    let server = TlsServer::start_with(files, &older);
    let url = format!("https://localhost:{}/", server.address.port());
    let (_, _, code, sentence) = failure(&["-4", "--cacert", &cacert, &url]);
    assert_eq!(code, "TLS_ALERT", "{sentence}");
    assert!(sentence.contains("-E FILE"), "{sentence}");

    let output = stat_failing(&["-E", &certificate, &url]);
    assert!(
        output.contains("cannot read a private key from") && output.contains("PEM"),
        "{output}"
    );
}

#[test]
fn http_2_is_spoken_with_a_server_that_has_it() {
    let name = "http_2_is_spoken_with_a_server_that_has_it";
    if !["nghttpd", "openssl"].iter().all(|tool| has_tool(tool, name)) || !available(name) {
        return;
    }
    let files = TempDir::new().unwrap();
    let signer = Authority::new();
    let (key, certificate) = signer.sign("localhost", 2020..2090);
    let page = noise(3_000_000);
    std::fs::write(files.path().join("page"), &page).unwrap();
    let namespace = Namespace::new();
    let _server = nghttpd(&namespace, files.path(), &key, &certificate);
    let cacert = signer.certificate();
    let copy = files.path().join("copy").display().to_string();
    let mut command = namespace.command(BINARY);
    command.args(["stat", "--json", "-4", "--cacert", &cacert, "-o", &copy]);
    let (stat, is_ok) =
        record_of(command.args(["-H", "Connection: close", "https://localhost/page?q"]));
    assert!(is_ok, "{stat:?}");
    let exchange = stat.exchange;
    assert_eq!(exchange.http.version.as_deref(), Some("HTTP/2"));
    assert_eq!((exchange.http.status, exchange.http.body_bytes), (Some(200), 3_000_000));
    assert_eq!(exchange.tls.unwrap().alpn.as_deref(), Some("h2"));
    assert_eq!(sha256(&std::fs::read(&copy).unwrap()), sha256(&page));
    assert_eq!(stat.saved_to, Some(copy));
    let leg = exchange.upstream.unwrap();
    let kernel = leg.closed_info.unwrap().sys_info.linux().unwrap().clone();
    assert!(leg.rx_bytes > 3_000_000 && kernel.bytes_received.unwrap() >= leg.rx_bytes);

    let mut command = namespace.command(BINARY);
    command.args(["stat", "--json", "-4", "--cacert", &cacert, "--http1.1"]);
    // This server speaks nothing else.
    let (stat, is_ok) = record_of(command.arg("https://localhost/page"));
    assert!(!is_ok && stat.exchange.http.version.is_none(), "{stat:?}");
}

/// Passes bytes on to `target`, and so many from it; then it breaks the connection off.
fn breaking_after(target: SocketAddr, most: u64) -> SocketAddr {
    serve(move |client| {
        let upstream = TcpStream::connect(target).unwrap();
        let (mut reader, mut writer) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
        let sending = std::thread::spawn(move || std::io::copy(&mut reader, &mut writer));
        std::io::copy(&mut (&upstream).take(most), &mut &client).unwrap();
        // A reset purges what has not arrived.
        wait_until("all of it arrived", || {
            let info = conniver::TcpInfo::of(&client).unwrap();
            info.sys_info.linux().unwrap().un_acked == Some(0)
        });
        // Lets go of the other handle of this socket, which would keep it open.
        client.shutdown(Shutdown::Read).unwrap();
        sending.join().unwrap().unwrap();
        reset(client);
    })
}

#[test]
fn a_reset_within_http_2_is_told_as_one() {
    let name = "a_reset_within_http_2_is_told_as_one";
    if !["nghttpd", "openssl"].iter().all(|tool| has_tool(tool, name)) || !available(name) {
        return;
    }
    let files = TempDir::new().unwrap();
    let (key, certificate) = certificate(files.path(), "localhost");
    std::fs::write(files.path().join("page"), noise(3_000_000)).unwrap();
    let namespace = Namespace::new();
    let _server = nghttpd(&namespace, files.path(), &key, &certificate);
    let relay = namespace.enter(|| breaking_after("127.0.0.1:443".parse().unwrap(), 200_000));
    let mut command = namespace.command(BINARY);
    let url = format!("https://localhost:{}/page", relay.port());
    command.args(["stat", "--json", "-4", "--cacert", &certificate, &url]);
    let (stat, is_ok) = record_of(&mut command);
    let exchange = stat.exchange;
    assert!(!is_ok && exchange.http.version.as_deref() == Some("HTTP/2"), "{exchange:?}");
    assert!((1..200_000).contains(&exchange.http.body_bytes), "{}", exchange.http.body_bytes);
    let how = (exchange.outcome, exchange.ending.phase);
    assert_eq!(how, (Outcome::Reset, Phase::Transfer), "{:?}", exchange.ending);
    assert_eq!(exchange.ending.error_code.as_deref(), Some("ECONNRESET"));
}
