//! Real programs, unmodified: each does its work through the proxy, and the records say what the
//! kernel counted at the program's own server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use conniver::record::{By, How, Mode, Outcome};
use tempfile::TempDir;

use crate::harness::clients::{Counts, Server, assert_tls_tunnelled, assert_tunnelled, client};
use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{Upstream, far_away, noise};
use crate::harness::program::{BINARY, PATIENCE, Proxy, wait_until};
use crate::harness::ssh::{SshKeys, has_sshd};
use crate::harness::tls::{TlsServer, certificate};

/// A program that serves one connection, which it finds at its standard input and output.
fn served_by(mut program: Command) -> Upstream<Counts> {
    Upstream::once(move |stream| {
        let end = || OwnedFd::from(stream.try_clone().unwrap());
        // What its client got is the test's business; sshd calls every end a failure.
        program.stdin(end()).stdout(end()).status().unwrap();
        Counts::of(&stream)
    })
}

/// Serves the directory over HTTP/2 on port 443. It takes no port 0; in a namespace of the test's
/// own, every port is free.
pub(crate) fn nghttpd(
    namespace: &Namespace,
    directory: &Path,
    key: &str,
    certificate: &str,
) -> Server {
    let mut server = namespace.command("nghttpd");
    server.args(["-a", "127.0.0.1", "-d"]).arg(directory).args(["443", key, certificate]);
    let server = Server::start(server.stdout(Stdio::null()));
    wait_until("nghttpd listens", || {
        namespace.enter(|| TcpStream::connect("127.0.0.1:443").is_ok())
    });
    server
}

#[test]
fn curl_speaks_http_2_through_one_tunnel() {
    let name = "curl_speaks_http_2_through_one_tunnel";
    if !["curl", "nghttpd", "openssl"].iter().all(|tool| has_tool(tool, name)) || !available(name) {
        return;
    }
    let files = TempDir::new().unwrap();
    let (key, certificate) = certificate(files.path(), "localhost");
    let page = noise(300_000);
    std::fs::write(files.path().join("page"), &page).unwrap();
    let namespace = Namespace::new();
    let _server = nghttpd(&namespace, files.path(), &key, &certificate);
    let proxy = Proxy::start(&mut namespace.command(BINARY), &[], &["-D", "0"]);

    let mut curl = namespace.command("curl");
    curl.args(["-sS", "--http2", "--cacert", &certificate, "-x", &proxy.address().to_string()]);
    curl.args(["-w", "HTTP/%{http_version}, new connections: %{num_connects}\n"]);
    let copies = [1, 2].map(|number| files.path().join(number.to_string()));
    for copy in &copies {
        curl.arg("-o").arg(copy).arg("https://localhost/page");
    }
    let said = String::from_utf8(client(&mut curl)).unwrap();
    assert_eq!(said, "HTTP/2, new connections: 1\nHTTP/2, new connections: 0\n");
    assert!(copies.iter().all(|copy| std::fs::read(copy).unwrap() == page));
    let record = proxy.the_record();
    assert_tls_tunnelled(&record, "localhost:443");
    assert!(record.upstream.unwrap().rx_bytes > 600_000);
    assert_eq!(proxy.stop().records().len(), 1);
}

#[test]
fn sessions_of_tls_end_well_although_curl_waits_for_no_last_words() {
    let name = "sessions_of_tls_end_well_although_curl_waits_for_no_last_words";
    if !["curl", "nghttpd", "openssl"].iter().all(|tool| has_tool(tool, name)) || !available(name) {
        return;
    }
    const SESSIONS: usize = 200;
    const AT_ONCE: usize = 8;
    let files = TempDir::new().unwrap();
    let (key, certificate) = certificate(files.path(), "localhost");
    std::fs::write(files.path().join("page"), noise(3000)).unwrap();
    let namespace = Namespace::new();
    let _server = nghttpd(&namespace, files.path(), &key, &certificate);
    // A server on the same machine may answer the client's goodbye before the client has closed.
    let far =
        namespace.enter(|| far_away("127.0.0.1:443".parse().unwrap(), Duration::from_millis(20)));
    let proxy = Proxy::start(&mut namespace.command(BINARY), &[&format!("0:{far}")], &[]);

    let connect = format!("localhost:443:{}", proxy.address());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                for _ in 0..SESSIONS / AT_ONCE {
                    let mut curl = namespace.command("curl");
                    curl.args(["-sS", "--http2", "--cacert", &certificate, "-o", "/dev/null"]);
                    curl.args(["--connect-to", &connect, "https://localhost/page"]);
                    client(&mut curl);
                }
            });
        }
    });
    let records = proxy.wait_for_records(SESSIONS);
    assert_eq!(records.len(), SESSIONS);
    for record in &records {
        assert_eq!(record.outcome, Some(Outcome::Ok), "{record:?}");
        let ending = record.ending.as_ref().unwrap();
        assert_eq!((ending.first_by, ending.first_how), (By::Client, How::Fin), "{record:?}");
        // The answer to the server's last words is told all the same.
        assert_eq!(ending.error_code.as_deref(), Some("EPIPE"), "{record:?}");
        let undelivered = record.delivery.to_client.as_ref().unwrap().undelivered.unwrap();
        assert!((1..100).contains(&undelivered), "{record:?}");
    }
}

#[test]
fn curl_finds_the_proxy_at_an_ipv6_literal() {
    if !has_tool("curl", "curl_finds_the_proxy_at_an_ipv6_literal") {
        return;
    }
    let proxy = Proxy::start(&mut Command::new(BINARY), &[], &["-D", "[::1]:0"]);
    let ways = [
        ("http", &[][..], Mode::Http),
        ("http", &["-p"], Mode::Connect),
        ("socks4a", &[], Mode::Socks4),
        ("socks5h", &[], Mode::Socks5),
    ];
    for (count, (scheme, options, mode)) in ways.into_iter().enumerate() {
        let upstream = Upstream::once(|stream| crate::curl::serve(stream, b"page"));
        let url = format!("http://{}/", upstream.address);
        let via = format!("{scheme}://{}", proxy.address());
        let mut curl = Command::new("curl");
        assert_eq!(client(curl.args(["-sS", "-x", &via, &url]).args(options)), b"page");
        let served = upstream.join();
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        assert_eq!((record.mode, record.outcome), (Some(mode), Some(Outcome::Ok)));
        assert_eq!(record.target, Some(url["http://".len()..].trim_end_matches('/').to_owned()));
        assert_eq!(record.client_host.as_deref(), Some("::1"));
        assert_eq!(record.upstream.unwrap().rx_bytes, served);
    }
}

#[test]
fn wget_fetches_https_through_connect() {
    let name = "wget_fetches_https_through_connect";
    if !has_tool("wget", name) || !has_tool("openssl", name) {
        return;
    }
    let server = TlsServer::start();
    let proxy = Proxy::serving(&[]);
    let mut wget = Command::new("wget");
    wget.args(["-q", "-O", "-", "--ca-certificate", &server.certificate]);
    wget.args(["-e", "use_proxy=on", "-e", &format!("https_proxy=http://{}/", proxy.address())]);
    let target = format!("localhost:{}", server.address.port());
    let page = client(wget.arg(format!("https://{target}/")));
    assert!(String::from_utf8_lossy(&page).contains("Ciphers supported"));
    assert_tls_tunnelled(&proxy.the_record(), &target);
}

/// wget, Python and openssl name the target without brackets in CONNECT, curl with them.
#[test]
fn programs_reach_an_ipv6_upstream_through_connect() {
    let name = "programs_reach_an_ipv6_upstream_through_connect";
    if ["wget", "python3", "openssl", "curl", "sh"].iter().any(|tool| !has_tool(tool, name)) {
        return;
    }
    const HTTP_CLIENT: &str = "import http.client, ssl, sys
client = http.client.HTTPSConnection(sys.argv[1], context=ssl._create_unverified_context())
client.set_tunnel('::1', int(sys.argv[2]))
client.request('GET', '/')
print(client.getresponse().read().decode())";
    const URLLIB: &str = "import ssl, sys, urllib.request as r
tls = r.HTTPSHandler(context=ssl._create_unverified_context())
opener = r.build_opener(r.ProxyHandler({'https': 'http://' + sys.argv[1]}), tls)
print(opener.open('https://[::1]:' + sys.argv[2] + '/').read().decode())";
    const S_CLIENT: &str = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | \
        openssl s_client -quiet -proxy $0 -connect [::1]:$1 2>/dev/null";
    let server = TlsServer::start_as("localhost", &["-accept", "[::1]:0"]);
    let proxy = Proxy::serving(&[]);
    let (via, port) = (proxy.address().to_string(), server.address.port().to_string());
    let url = format!("https://[::1]:{port}/");
    let variable = format!("https_proxy=http://{via}/");
    for (count, words) in [
        &["wget", "-q", "-O", "-", "--no-check-certificate", "-e", &variable, &url][..],
        &["python3", "-c", HTTP_CLIENT, &via, &port],
        &["python3", "-c", URLLIB, &via, &port],
        &["sh", "-c", S_CLIENT, &via, &port],
        &["curl", "-sSk", "-x", &via, &url],
    ]
    .into_iter()
    .enumerate()
    {
        let page = client(Command::new(words[0]).args(&words[1..]));
        let page = String::from_utf8_lossy(&page);
        assert!(page.contains("Ciphers supported"), "{words:?}: {page}");
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        assert_tls_tunnelled(&record, &format!("[::1]:{port}"));
    }
}

/// git without this machine's or user's settings.
fn git() -> Command {
    let mut git = Command::new("git");
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    git
}

/// A repository `repo` in the directory, with one large file.
fn make_repository(directory: &Path) -> Vec<u8> {
    let repository = directory.join("repo");
    client(git().arg("init").arg("-q").arg(&repository));
    let content = noise(3_000_000);
    std::fs::write(repository.join("file"), &content).unwrap();
    let here = || {
        let mut git = git();
        git.current_dir(&repository).args(["-c", "user.name=me", "-c", "user.email=me@localhost"]);
        git
    };
    client(here().args(["add", "file"]));
    client(here().args(["commit", "-q", "-m", "A file"]));
    content
}

#[test]
fn git_clones_from_its_daemon_through_a_forwarding() {
    if !has_tool("git", "git_clones_from_its_daemon_through_a_forwarding") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let content = make_repository(directory.path());
    let mut daemon = git();
    daemon.args(["daemon", "--inetd", "--export-all"]);
    daemon.arg(format!("--base-path={}", directory.path().display()));
    let upstream = served_by(daemon);
    let target = upstream.address.to_string();
    let proxy = Proxy::forwarding_to(&target, &[]);
    let clone = directory.path().join("clone");
    let url = format!("git://{}/repo", proxy.address());
    client(git().args(["clone", "-q", &url]).arg(&clone));
    assert!(std::fs::read(clone.join("file")).unwrap() == content);
    let record = proxy.the_record();
    assert_tunnelled(&record, &target, Mode::Forward);
    assert_eq!(Counts::in_record(&record), upstream.join());
}

/// Serves the repositories of a directory over HTTP; what was counted of each connection.
fn git_over_http(directory: &Path) -> (u16, Receiver<Counts>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, counts) = channel();
    let directory = directory.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            git_backend(&stream, &directory);
            // The test may have stopped listening.
            let _ = sender.send(Counts::of(&stream));
        }
    });
    (port, counts)
}

/// One request, by the rules of CGI (RFC 3875).
fn git_backend(mut stream: &TcpStream, directory: &Path) {
    let mut backend = git();
    backend.arg("http-backend").env("GIT_PROJECT_ROOT", directory).env("GIT_HTTP_EXPORT_ALL", "1");
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let request = line();
    let [method, uri, _] = request.split(' ').collect::<Vec<_>>()[..] else { panic!("{request}") };
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    backend.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
    let mut length = 0;
    while let Some((name, value)) = line().split_once(": ") {
        let name = name.to_uppercase().replace('-', "_");
        match &*name {
            "CONTENT_LENGTH" => length = value.parse().unwrap(),
            "CONTENT_TYPE" => _ = backend.env(name, value),
            "GIT_PROTOCOL" => _ = backend.env(name, value),
            "TRANSFER_ENCODING" => panic!("this server reads no chunks"),
            _ => _ = backend.env(format!("HTTP_{name}"), value),
        }
    }
    backend.env("CONTENT_LENGTH", length.to_string());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut child =
        backend.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git http-backend");
    child.stdin.take().unwrap().write_all(&body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n").unwrap();
    std::io::copy(child.stdout.as_mut().unwrap(), &mut stream).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn git_clones_over_http_by_requests_and_by_socks() {
    if !has_tool("git", "git_clones_over_http_by_requests_and_by_socks") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let content = make_repository(directory.path());
    let (port, counts) = git_over_http(directory.path());
    for (scheme, mode) in [("http", Mode::Http), ("socks5h", Mode::Socks5)] {
        let proxy = Proxy::serving(&[]);
        let clone = directory.path().join(scheme);
        let via = format!("http.proxy={scheme}://{}", proxy.address());
        let url = format!("http://localhost:{port}/repo");
        client(git().args(["-c", &via, "clone", "-q", &url]).arg(&clone));
        assert!(std::fs::read(clone.join("file")).unwrap() == content);

        // The references, then the objects, or more: git decides.
        let records = proxy.stop().records();
        assert!(records.len() > 1, "{records:?}");
        for record in &records {
            assert_eq!(record.target, Some(format!("localhost:{port}")));
            assert_eq!((record.mode, record.outcome), (Some(mode), Some(Outcome::Ok)));
        }
        Counts::assert_recorded(&records, &counts);
    }
}

/// ssh to a server of its own by this ProxyCommand, in which `{proxy}` is the proxy's port.
fn ssh_works(keys: &SshKeys, command: &str, mode: Mode) {
    let upstream = served_by(keys.sshd());
    let port = upstream.address.port();
    let proxy = Proxy::serving(&[]);
    let command = command.replace("{proxy}", &proxy.address().port().to_string());
    let sent = noise(2_000_000);
    let file = keys.directory().join("sent");
    std::fs::write(&file, &sent).unwrap();
    let mut ssh = keys.ssh();
    ssh.arg(format!("-oProxyCommand={command}")).args([
        "-p",
        &port.to_string(),
        "localhost",
        "cat",
    ]);
    assert!(client(ssh.stdin(std::fs::File::open(file).unwrap())) == sent, "{command}");
    let record = proxy.the_record();
    assert_tunnelled(&record, &format!("localhost:{port}"), mode);
    assert_eq!(Counts::in_record(&record), upstream.join(), "{command}");
}

#[test]
fn ssh_goes_through_netcat() {
    let name = "ssh_goes_through_netcat";
    // The netcat that knows -X.
    if !has_sshd(name) || !has_tool("nc.openbsd", name) {
        return;
    }
    let keys = SshKeys::new();
    for (language, mode) in [("connect", Mode::Connect), ("5", Mode::Socks5)] {
        let command = format!("nc.openbsd -X {language} -x 127.0.0.1:{{proxy}} %h %p");
        ssh_works(&keys, &command, mode);
    }
}

#[test]
fn ssh_goes_through_socat() {
    let name = "ssh_goes_through_socat";
    if !has_sshd(name) || !has_tool("socat", name) {
        return;
    }
    let keys = SshKeys::new();
    ssh_works(&keys, "socat - PROXY:127.0.0.1:%h:%p,proxyport={proxy}", Mode::Connect);
    ssh_works(&keys, "socat - SOCKS4A:127.0.0.1:%h:%p,socksport={proxy}", Mode::Socks4);
}
