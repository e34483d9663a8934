//! What is asked for: of whom, by which way, and where the answer goes.

use std::path::Path;

use conniver::record::Outcome;
use conniver::record::stat::Phase;
use tempfile::TempDir;

use crate::arguments::unwrapped;

use super::{answering, failure, ok, record, record_of, redirect, said, stat};
use crate::harness::has_tool;
use crate::harness::peers::deaf_port;
use crate::harness::program::{PATIENCE, Proxy};
use crate::harness::tls::TlsServer;

#[test]
fn method_body_and_fields_are_sent_as_asked_for() {
    let (url, requests) = answering(|_| ok(""));
    let files = TempDir::new().unwrap();
    let file = files.path().join("body");
    std::fs::write(&file, "from a file\n").unwrap();
    let file = format!("@{}", file.display());
    let with_login = url.replace("http://", "http://me:p%40ss@");
    for (args, starts, has) in [
        (&[&*url][..], "GET / HTTP/1.1\r\n", "\r\naccept: */*\r\n"),
        (&["-I", &url], "HEAD / HTTP/1.1\r\n", "\r\nuser-agent: conniver/"),
        (&["-X", "PATCH", &url], "PATCH / HTTP/1.1\r\n", "\r\n"),
        (&["-d", "a=b", &url], "POST / HTTP/1.1\r\n", "\r\ncontent-length: 3\r\n"),
        (&["-d", "a=b", &url], "POST / ", "content-type: application/x-www-form-urlencoded\r\n"),
        (&["-d", &file, "-X", "PUT", &url], "PUT / ", "\r\n\r\nfrom a file\n"),
        (&["-H", "Host: other.test", "-H", "X-A: b", &url], "GET / ", "\r\nhost: other.test\r\n"),
        (&["-H", "User-Agent: me", &url], "GET / ", "\r\nuser-agent: me\r\n"),
        (&[&with_login], "GET / ", "\r\nauthorization: Basic bWU6cEBzcw==\r\n"),
    ] {
        let (stat, is_ok) = record(args);
        assert!(is_ok, "{args:?} {stat:?}");
        let request = requests.recv_timeout(PATIENCE).unwrap();
        assert!(request.starts_with(starts) && request.contains(has), "{args:?}\n{request}");
        assert!(!stat.exchange.url.contains("me:"));
    }
}

#[test]
fn redirects_are_followed_on_request_and_secrets_stay_behind() {
    let (other, other_requests) = answering(|_| ok("there"));
    let location = format!("{other}/there");
    let (url, requests) = answering(move |path| match path {
        "/a" => redirect(301, "b"),
        "/b" => redirect(307, &location),
        _ => redirect(302, path),
    });
    let first = format!("{url}/a");
    let (stat, is_ok) = record(&[&first]);
    assert!(is_ok && stat.exchange.http.status == Some(301) && stat.redirects.is_empty());
    requests.recv_timeout(PATIENCE).unwrap();

    let (stat, is_ok) = record(&["-L", "-d", "secret=1", "-H", "Authorization: s3cret", &first]);
    assert!(is_ok, "{stat:?}");
    let urls: Vec<_> = stat.redirects.iter().map(|exchange| exchange.url.as_str()).collect();
    assert_eq!(urls, [&first, &format!("{url}/b")]);
    assert_eq!(stat.exchange.url, format!("{other}/there"));
    let seen: Vec<_> = (0..2).map(|_| requests.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(seen[0].starts_with("POST /a ") && seen[0].contains("s3cret"), "{}", seen[0]);
    assert!(seen[1].starts_with("GET /b ") && seen[1].contains("s3cret"), "{}", seen[1]);
    let last = other_requests.recv_timeout(PATIENCE).unwrap();
    assert!(last.starts_with("GET /there ") && !last.contains("s3cret"), "{last}");

    let (outcome, phase, code, _) = failure(&["-L", &format!("{url}/round")]);
    assert_eq!((outcome, phase, &*code), (Outcome::Error, Phase::Transfer, "TOO_MANY_REDIRECTS"));
}

#[test]
fn a_redirect_to_where_there_is_no_http_is_an_error() {
    let (url, _requests) = answering(|_| redirect(302, "file:///etc/passwd"));
    let (_, _, code, sentence) = failure(&["-L", &url]);
    assert_eq!(code, "REDIRECT");
    assert!(sentence.contains("neither http nor https"), "{sentence}");
}

#[test]
fn a_body_is_saved_here_whatever_the_server_calls_it() {
    let (url, _requests) = answering(|path| {
        let name = match path {
            "/up" => "attachment; filename=\"../../up\"",
            "/hidden" => "attachment; filename=.profile",
            "/absolute" => "attachment; filename*=UTF-8''%2Ftmp%2Fabsolute-name",
            "/option" => "attachment; filename=--help",
            "/reordered" => "attachment; filename*=UTF-8''a%E2%80%AEgnp.exe",
            _ => "inline",
        };
        format!("HTTP/1.1 200 OK\r\nContent-Disposition: {name}\r\nContent-Length: 4\r\n\r\nbody")
    });
    let root = TempDir::new().unwrap();
    let here = root.path().join("a/b");
    std::fs::create_dir_all(&here).unwrap();
    for (path, file) in [
        ("up", "up"),
        ("hidden", "_profile"),
        ("absolute", "absolute-name"),
        ("option", "_-help"),
        ("reordered", "a_gnp.exe"),
        ("a/c%2F..%2Fd", "d"),
        ("page.html", "page.html"),
        ("", "index.html"),
    ] {
        let url = format!("{url}/{path}");
        let (stat, is_ok) = record_of(stat(&["--json", "-O", &url]).current_dir(&here));
        assert!(is_ok, "{stat:?}");
        assert_eq!(stat.saved_to.as_deref(), Some(file));
        assert_eq!(std::fs::read(here.join(file)).unwrap(), b"body");
    }
    let files = |at: &Path| std::fs::read_dir(at).unwrap().count();
    assert_eq!((files(root.path()), files(&root.path().join("a")), files(&here)), (1, 1, 8));

    let url = format!("{url}/page.html");
    let output = stat(&["-O", &url]).current_dir(&here).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let sentence = said(&output.stderr);
    assert!(sentence.contains("File exists") && sentence.contains("-o FILE"), "{sentence}");
}

#[test]
fn proxies_of_the_environment_are_gone_through_as_curl_does() {
    let name = "proxies_of_the_environment_are_gone_through_as_curl_does";
    let (plain, requests) = answering(|_| ok("x"));
    let proxy = Proxy::serving(&[]);
    let (http, socks) =
        (format!("http://{}", proxy.address()), format!("socks5h://{}", proxy.address()));
    let mut count = 0;
    for (variable, value) in [("http_proxy", &http), ("ALL_PROXY", &socks)] {
        let (stat, is_ok) = record_of(stat(&["--json", &plain]).env(variable, value));
        assert!(is_ok, "{stat:?}");
        assert_eq!(stat.exchange.via.as_ref(), Some(value));
        let request = requests.recv_timeout(PATIENCE).unwrap();
        assert!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
        count += 1;
        assert_eq!(proxy.wait_for_records(count).len(), count);
    }
    for (variable, value) in [("https_proxy", &*http), ("no_proxy", "127.0.0.1")] {
        let mut command = stat(&["--json", &plain]);
        if variable == "no_proxy" {
            command.env("http_proxy", &http);
        }
        let (stat, is_ok) = record_of(command.env(variable, value));
        assert!(is_ok && stat.exchange.via.is_none(), "{stat:?}");
    }
    // What a CGI program may have got from its client (httpoxy).
    for (variable, is_taken) in [("HTTP_PROXY", false), ("http_proxy", true)] {
        let mut command = stat(&["--json", &plain]);
        let (stat, is_ok) = record_of(command.env(variable, &http).env("REQUEST_METHOD", "GET"));
        assert!(is_ok, "{stat:?}");
        assert_eq!(stat.exchange.via.is_some(), is_taken, "{variable}");
        count += usize::from(is_taken);
    }
    assert_eq!(proxy.wait_for_records(count).len(), count);
    if has_tool("openssl", name) {
        let server = TlsServer::start();
        let url = format!("https://localhost:{}/", server.address.port());
        let mut command = stat(&["--json", "--cacert", &server.certificate, &url]);
        let (stat, is_ok) = record_of(command.env("https_proxy", &http));
        assert!(is_ok, "{stat:?}");
        let leg = stat.exchange.upstream.unwrap();
        assert_eq!(leg.remote_addr, Some(proxy.address()));
        assert!(leg.own_tx_bytes > 0 && leg.own_rx_bytes > 0);
        count += 1;
        let seen = proxy.wait_for_records(count).pop().unwrap();
        assert_eq!(seen.target, Some(format!("localhost:{}", server.address.port())));
        // What the proxy got is what we sent.
        assert_eq!(seen.client.rx_bytes, leg.tx_bytes);
    }
    let refused = stat_with(&[&plain], "http_proxy", "https://user:s3cret@host:1");
    assert!(refused.contains("http_proxy") && !refused.contains("s3cret"), "{refused}");
    let (_held, deaf) = deaf_port();
    let dead = stat_with(&[&plain], "http_proxy", &format!("http://{deaf}"));
    assert!(
        dead.contains(&format!("through http://{deaf} (http_proxy): Connection refused")),
        "{dead}"
    );
}

fn stat_with(args: &[&str], variable: &str, value: &str) -> String {
    let output = stat(args).env(variable, value).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    unwrapped(said(&output.stderr))
}
