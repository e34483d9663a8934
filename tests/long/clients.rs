//! Programs that need their registry or much room: each does its work through the proxy, and leaves
//! right records.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use conniver::record::{Mode, Outcome, Record};
use tempfile::TempDir;

use crate::harness::clients::{Counts, assert_tls_tunnelled, assert_tunnelled, client};
use crate::harness::namespace::{Namespace, available};
use crate::harness::postgres::{self, Postgres};
use crate::harness::program::{BINARY, Proxy};
use crate::harness::{has_tool, output};

pub(crate) fn need(tool: &str, check: &str) {
    if !has_tool(tool, check) {
        eprintln!("scripts/install-clients installs it");
        std::process::exit(1);
    }
}

/// The proxy of a program that goes beyond this machine; where that takes a proxy, through it.
fn going_out() -> Proxy {
    let parent = ["https_proxy", "HTTPS_PROXY"].iter().find_map(|name| std::env::var(name).ok());
    match parent.filter(|url| !url.is_empty()) {
        Some(url) => Proxy::serving(&["--via", &url]),
        None => Proxy::serving(&[]),
    }
}

/// Lets a program speak to its registry through the proxy at the URL that `command` gets; what it
/// said and the records. Given none, it is to go as this machine lets it.
fn fetch(command: impl Fn(Option<&str>) -> Command) -> (String, Vec<Record>) {
    let proxy = going_out();
    let fetched = command(Some(&format!("http://{}", proxy.address()))).output().unwrap();
    let said = [fetched.stdout, fetched.stderr].map(|said| String::from_utf8(said).unwrap());
    let said = said.join("\n");
    if !fetched.status.success() {
        // Fails with what it says then.
        output(&mut command(None));
        panic!("it works without the proxy, but through it:\n{said}");
    }
    let records = proxy.stop().records();
    assert!(!records.is_empty(), "it went elsewhere:\n{said}");
    for record in &records {
        let (host, target) =
            (record.target_host.as_deref().unwrap(), record.target.as_deref().unwrap());
        assert!(said.contains(host), "it names no {host}:\n{said}");
        match record.mode {
            Some(Mode::Connect) => assert_tls_tunnelled(record, target),
            mode => assert_eq!((mode, record.outcome), (Some(Mode::Http), Some(Outcome::Ok))),
        }
    }
    (said, records)
}

fn received(records: &[Record]) -> u64 {
    records.iter().map(|record| record.upstream.as_ref().unwrap().rx_bytes).sum()
}

fn figures(records: &[Record]) -> String {
    let mut targets: Vec<_> =
        records.iter().map(|record| record.target.clone().unwrap_or_default()).collect();
    targets.sort();
    targets.dedup();
    format!(
        "connections: {}, {} bytes from {}",
        records.len(),
        received(records),
        targets.join(", ")
    )
}

pub(crate) fn pip_downloads() -> String {
    need("pip", "pip_downloads");
    let directory = TempDir::new().unwrap();
    let (_, records) = fetch(|proxy| {
        let mut pip = Command::new("pip");
        pip.args(["download", "-vvv", "--no-deps", "--no-cache-dir", "six", "-d"]);
        pip.arg(directory.path()).env_remove("PIP_FIND_LINKS");
        if let Some(proxy) = proxy {
            pip.args(["--proxy", proxy]).env_remove("no_proxy").env_remove("NO_PROXY");
        }
        pip
    });
    let files = std::fs::read_dir(directory.path()).unwrap();
    let downloaded: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(downloaded > 0 && received(&records) > downloaded, "{downloaded}");
    figures(&records)
}

pub(crate) fn npm_views() -> String {
    need("npm", "npm_views");
    let cache = TempDir::new().unwrap();
    let (_, records) = fetch(|proxy| {
        let mut npm = Command::new("npm");
        npm.args(["view", "semver", "version", "--loglevel", "http", "--cache"]).arg(cache.path());
        if let Some(proxy) = proxy {
            npm.args(["--proxy", proxy, "--https-proxy", proxy, "--noproxy", ""]);
        }
        npm
    });
    figures(&records)
}

pub(crate) fn apt_updates() -> String {
    need("apt-get", "apt_updates");
    // With lists of its own, and all of them new.
    let directory = TempDir::new().unwrap();
    let (_, records) = fetch(|proxy| {
        let mut apt = Command::new("apt-get");
        apt.args(["update", "-o", "APT::Sandbox::User=root", "-o", "APT::Update::Error-Mode=any"]);
        for (setting, name) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")] {
            let own = directory.path().join(name);
            std::fs::create_dir_all(own.join("partial")).unwrap();
            apt.arg("-o").arg(format!("{setting}={}/", own.display()));
        }
        if let Some(proxy) = proxy {
            for scheme in ["http", "https"] {
                apt.arg("-o").arg(format!("Acquire::{scheme}::Proxy={proxy}"));
            }
        }
        apt
    });
    for record in records.iter().filter(|record| record.mode == Some(Mode::Http)) {
        let http = record.http.as_ref().unwrap();
        assert_eq!((http.method.as_deref(), http.status), (Some("GET"), Some(200)));
    }
    figures(&records)
}

pub(crate) fn psql_queries() -> String {
    let check = "psql_queries";
    need("psql", check);
    need("setpriv", check);
    need(postgres::program("initdb").to_str().unwrap(), check);
    if !available(check) {
        std::process::exit(1);
    }
    let namespace = Namespace::new();
    let _server = Postgres::start(&namespace);
    let target = Postgres::ADDRESS;
    let proxy = Proxy::start(&mut namespace.command(BINARY), &[&format!("0:{target}")], &[]);
    let mut psql = Postgres::psql(&namespace, proxy.address().port());
    psql.args(["-c", "create table lines as select generate_series(1, 1000000) as number"]);
    psql.args(["-c", "\\copy lines to stdout", "-c", "select sum(number) from lines", "postgres"]);
    let lines = client(&mut psql);
    let expected: String = (1..=1_000_000).map(|number| format!("{number}\n")).collect();
    assert!(lines == (expected + "500000500000\n").as_bytes());
    let record = proxy.the_record();
    assert_tunnelled(&record, target, Mode::Forward);
    assert!(received(std::slice::from_ref(&record)) > lines.len() as u64);
    figures(&[record])
}

/// The page as it is served, and what it becomes once its script has run.
const PAGE: &str = "<!doctype html><link rel=icon href=data:,><script src=/script.js></script>\
                    <img src=/image.svg><p id=said>nothing</p>";
const SCRIPT: &str = "addEventListener('load', () => fetch('/said').then(answer => answer.text())\
                      .then(text => document.getElementById('said').textContent = text));";
const IMAGE: &str = "<svg xmlns='http://www.w3.org/2000/svg'/>";
const SAID: &str = "it all came";

/// Serves the page and its parts; what was counted of each connection that asked for something.
fn web_server() -> (u16, Receiver<Counts>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, counts) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || serve(&stream, &sender));
        }
    });
    (port, counts)
}

fn serve(mut stream: &TcpStream, counts: &Sender<Counts>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    lines.find(|line| line.is_empty());
    let (kind, body) = match request.split(' ').nth(1) {
        Some("/") => ("text/html", PAGE),
        Some("/script.js") => ("text/javascript", SCRIPT),
        Some("/image.svg") => ("image/svg+xml", IMAGE),
        Some("/said") => ("text/plain", SAID),
        _ => panic!("nobody should ask for {request}"),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}");
    write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}").unwrap();
    // The check may have stopped listening.
    let _ = counts.send(Counts::of(stream));
}

/// Chromium without what it tells its makers; what it shows of a page.
fn chromium(browser: &str, proxy: &str, profile: &Path, url: &str) -> String {
    let mut chromium = Command::new(browser);
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    chromium.args(["--disable-background-networking", "--disable-component-update"]);
    chromium.arg(format!("--user-data-dir={}", profile.display()));
    chromium.arg(format!("--proxy-server={proxy}")).arg("--proxy-bypass-list=<-loopback>");
    // It goes on until the script has nothing to wait for.
    chromium.args(["--virtual-time-budget=10000", "--dump-dom", url]).stdin(Stdio::null());
    String::from_utf8(client(&mut chromium)).unwrap()
}

pub(crate) fn chromium_loads_a_page() -> String {
    let found = ["chromium-headless-shell", "chromium"].into_iter().find(|browser| {
        let paths = std::env::var("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|path| path.join(browser).exists())
    });
    let browser = found.unwrap_or("chromium");
    need(browser, "chromium_loads_a_page");
    let mut all = Vec::new();
    for (scheme, mode) in [("http", Mode::Http), ("socks5", Mode::Socks5)] {
        let (port, counts) = web_server();
        let target = format!("localhost:{port}");
        let proxy = Proxy::serving(&[]);
        let profile = TempDir::new().unwrap();
        let via = format!("{scheme}://{}", proxy.address());
        let shown = chromium(browser, &via, profile.path(), &format!("http://{target}/"));
        assert!(shown.contains(&format!(">{SAID}<")), "{shown}");

        let mut records = proxy.stop().records();
        // It may look for other servers and connect before it knows what for.
        records.retain(|record| record.target.as_ref() == Some(&target));
        records.retain(|record| record.upstream.as_ref().is_some_and(|leg| leg.tx_bytes > 0));
        assert!(records.len() >= 4, "the page and its three parts: {records:?}");
        for record in &records {
            assert_eq!((record.mode, record.outcome), (Some(mode), Some(Outcome::Ok)));
        }
        Counts::assert_recorded(&records, &counts);
        all.extend(records);
    }
    figures(&all)
}
