//! Servers of HTTP that think, and real programs that ask them.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::super::clients::{Server, client};
use super::super::namespace::Namespace;
use super::super::program::{BINARY, Proxy, wait_until};
use super::lab::{proxy_in, record};
use super::{Case, Cause, Imposed, Turns, Who, cause, ms};

pub(super) const CAUSES: &[Cause] = &[
    cause("HTTP/1.1 keep-alive by curl, forwarded", || curl_asks(Way::Forward))
        .quiet()
        .needs(&["curl"]),
    cause("HTTP/1.1 keep-alive by curl, http mode", || curl_asks(Way::Http))
        .quiet()
        .needs(&["curl"]),
    cause("HTTP/1.1 keep-alive by curl, connect mode", || curl_asks(Way::Connect))
        .quiet()
        .needs(&["curl"]),
    cause("HTTP/2 by curl from nginx", curl_speaks_http_2)
        .quiet()
        .needs(&["curl", "nginx", "openssl"]),
];

/// How long a server thought before each answer.
pub(super) type Thoughts = Arc<Mutex<Vec<Duration>>>;

pub(super) fn sum(thoughts: &Thoughts) -> Duration {
    thoughts.lock().unwrap().iter().sum()
}

pub(super) fn longest(thoughts: &Thoughts) -> Duration {
    thoughts.lock().unwrap().iter().copied().max().unwrap_or_default()
}

/// Answers `/300` after 300 ms, and so on.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    pub(super) thoughts: Thoughts,
}

pub(super) const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

impl Backend {
    pub(super) fn start(namespace: &Namespace) -> Self {
        let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        let thoughts = Thoughts::default();
        let shared = Arc::clone(&thoughts);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let thoughts = Arc::clone(&shared);
                thread::spawn(move || answer(&stream, &thoughts));
            }
        });
        Self { address, thoughts }
    }
}

fn answer(mut stream: &TcpStream, thoughts: &Thoughts) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        let asked = Instant::now();
        let path = request.split(' ').nth(1).unwrap();
        let millis = path.rsplit('/').next().unwrap().parse().unwrap();
        lines.find(|line| line.is_empty());
        think(millis, asked, thoughts);
        if stream.write_all(ANSWER.as_bytes()).is_err() {
            return;
        }
    }
}

/// Waits until so long after `asked`, and notes how long it was.
pub(super) fn think(millis: u64, asked: Instant, thoughts: &Thoughts) {
    thread::sleep((asked + ms(millis)).saturating_duration_since(Instant::now()));
    thoughts.lock().unwrap().push(asked.elapsed());
}

/// How curl comes to the proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Http,
    Connect,
}

/// Three requests over one connection.
fn curl_asks(way: Way) -> Case {
    let namespace = Namespace::new();
    let backend = Backend::start(&namespace);
    let proxy = match way {
        Way::Forward => proxy_in(&namespace, backend.address),
        Way::Http | Way::Connect => Proxy::start(&mut namespace.command(BINARY), &[], &["-D", "0"]),
    };
    let mut curl = namespace.command("curl");
    curl.arg("-sS");
    let asked_for = match way {
        Way::Forward => proxy.address(),
        Way::Http | Way::Connect => {
            curl.args(["-x", &format!("http://{}", proxy.address())]);
            backend.address
        }
    };
    if way == Way::Connect {
        curl.arg("-p");
    }
    let thoughts = [100, 300, 50];
    curl.args(thoughts.iter().map(|millis| format!("http://{asked_for}/{millis}")));
    let began = Instant::now();
    let said = client(&mut curl);
    let elapsed = began.elapsed();
    assert_eq!(said, b"ok\n".repeat(thoughts.len()));
    let thought = sum(&backend.thoughts);
    let imposed = Imposed::on(&["upstream"])
        .time(Who::Upstream, thought)
        .time(Who::Idle, ms(0)..=elapsed - thought)
        .turns(Turns::answered(thoughts.len() as u64, longest(&backend.thoughts)));
    Case { record: record(&proxy), imposed }
}

/// Stands before a backend and speaks TLS on port 443 of a namespace.
pub(super) struct Nginx {
    _process: Server,
    _directory: TempDir,
}

impl Nginx {
    /// `listen` are further words of that directive, `settings` further lines of the server.
    pub(super) fn start(
        namespace: &Namespace,
        (key, certificate): (&str, &str),
        backend: SocketAddr,
        listen: &str,
        settings: &str,
    ) -> Self {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", path(kind)))
            .concat();
        let user = if nix::unistd::geteuid().is_root() { "user root;\n" } else { "" };
        let configuration = format!(
            "{user}daemon off;\nworker_processes 1;\npid {pid};\nerror_log {log};\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}server {{\nlisten 127.0.0.1:443 ssl {listen};\n\
             ssl_certificate {certificate};\nssl_certificate_key {key};\n{settings}\n\
             location / {{ proxy_pass http://{backend}; }}\n}}\n}}\n",
            pid = path("pid"),
            log = path("error.log"),
        );
        std::fs::write(path("nginx.conf"), configuration).unwrap();
        let mut command: Command = namespace.command("nginx");
        command.args(["-e", &path("error.log"), "-c", &path("nginx.conf")]).stdout(Stdio::null());
        let process = Server::start(&mut command);
        wait_until("nginx listens", || {
            namespace.enter(|| TcpStream::connect("127.0.0.1:443").is_ok())
        });
        Self { _process: process, _directory: directory }
    }
}

fn curl_speaks_http_2() -> Case {
    let namespace = Namespace::new();
    let files = TempDir::new().unwrap();
    let (key, certificate) = super::super::tls::certificate(files.path(), "localhost");
    let backend = Backend::start(&namespace);
    let _nginx = Nginx::start(&namespace, (&key, &certificate), backend.address, "http2", "");
    let proxy = proxy_in(&namespace, "127.0.0.1:443");
    let mut curl = namespace.command("curl");
    curl.args(["-sS", "--http2", "--cacert", &certificate, "-w", "%{http_version}\n"]);
    curl.args(["--connect-to", &format!("localhost:443:{}", proxy.address())]);
    curl.args(["https://localhost/400", "https://localhost/100"]);
    let began = Instant::now();
    let said = client(&mut curl);
    let elapsed = began.elapsed();
    assert_eq!(said, b"ok\n2\nok\n2\n");
    let thought = sum(&backend.thoughts);
    // What a multiplexed connection waits for has no certain asker.
    let imposed = Imposed::on(&["upstream", "none"])
        .time(Who::Upstream, ms(0)..=elapsed)
        .time(Who::Client, ms(0)..=elapsed - thought)
        .time(Who::Idle, ms(0)..=elapsed)
        .turns(Turns { shape: Some("mixed"), ..Turns::default() });
    Case { record: record(&proxy), imposed }
}
