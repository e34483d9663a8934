//! What programs see with and without `conniver run`: the table in docs/run.md.
//!
//! `UPDATE_DOCS=1 cargo test --test it run_programs` writes the rows of the programs that are installed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::harness::clients::without_proxies;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{deaf_port, reset};
use crate::harness::postgres::{self, Postgres};
use crate::harness::program::BINARY;
use crate::harness::ssh::{SshKeys, has_sshd};
use crate::harness::tls::certificate;
use crate::harness::{has_tool, output, skip};

const NAME: &str = "the_page_has_what_programs_see_with_and_without_run";
const PAGE: &str = "docs/run.md";
const MARKS: [&str; 2] = ["<!-- begin: programs -->\n\n", "\n<!-- end: programs -->\n"];
const HEAD: &str = "| program | recorded | success | refused | unknown name | reset | untrusted certificate |\n\
                    | --- | --- | --- | --- | --- | --- | --- |\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Success,
    Refused,
    UnknownName,
    Reset,
    Untrusted,
}

const CASES: [Case; 5] =
    [Case::Success, Case::Refused, Case::UnknownName, Case::Reset, Case::Untrusted];

/// A program, and how it is run with a URL in $URL and a directory of its own as the current one. It prints the class of
/// its error, if it has one.
struct Program {
    name: &'static str,
    /// Each must be successful for the program to be there.
    needs: &'static [&'static str],
    /// Prints the version last in its first line.
    version: &'static str,
    /// A file of source that `make` needs, and its text.
    source: (&'static str, &'static str),
    /// Makes what all runs need, in the directory that they find in $MADE.
    make: &'static str,
    script: &'static str,
    /// Added to `$URL` for a server whose certificate is not trusted: to trust any.
    trust: &'static str,
    schemes: &'static [&'static str],
}

/// Programs that take seconds: of their errors there is one.
const SLOW: [&str; 2] = ["npm", "pip"];

/// What most programs need beside.
const PLAIN: Program = Program {
    name: "",
    needs: &[],
    version: "",
    source: ("", ""),
    make: "",
    script: "",
    trust: "",
    schemes: &["http"],
};

const PROGRAMS: &[Program] = &[
    Program {
        name: "curl",
        needs: &["command -v curl"],
        version: "curl --version | cut -d' ' -f1,2",
        script: "curl -sS -m 20 $TRUST -o one $URL -o two $URL",
        trust: "-k",
        schemes: &["http", "https"],
        ..PLAIN
    },
    Program {
        name: "wget",
        needs: &["command -v wget"],
        version: "wget --version | head -1 | cut -d' ' -f1-3",
        script: "wget -q -T 20 -t 1 $TRUST -O one $URL $URL",
        trust: "--no-check-certificate",
        schemes: &["http", "https"],
        ..PLAIN
    },
    Program {
        name: "Python urllib.request",
        needs: &["python3 -c 'import urllib.request'"],
        version: "python3 --version",
        script: r#"python3 -c '
import os, ssl, sys, urllib.request
context = ssl._create_unverified_context() if os.environ["TRUST"] else None
try:
    for _ in range(2):
        urllib.request.urlopen(os.environ["URL"], timeout=20, context=context).read()
except Exception as error:
    sys.exit(print(type(error).__name__) or 1)'"#,
        trust: "any",
        schemes: &["http", "https"],
        ..PLAIN
    },
    Program {
        name: "Python requests",
        needs: &["python3 -c 'import requests'"],
        version: "python3 -c 'import requests; print(requests.__version__)'",
        script: r#"python3 -W ignore -c '
import os, sys, requests
session = requests.Session()
try:
    for _ in range(2):
        session.get(os.environ["URL"], timeout=20, verify=not os.environ["TRUST"]).raise_for_status()
except Exception as error:
    sys.exit(print(type(error).__name__) or 1)'"#,
        trust: "any",
        schemes: &["http", "https"],
        ..PLAIN
    },
    Program {
        name: "Python urllib3",
        needs: &["python3 -c 'import urllib3'"],
        version: "python3 -c 'import urllib3; print(urllib3.__version__)'",
        script: r#"python3 -c '
import os, sys, urllib3
pool = urllib3.PoolManager(retries=False, timeout=20)
try:
    for _ in range(2):
        pool.request("GET", os.environ["URL"])
except Exception as error:
    sys.exit(print(type(error).__name__) or 1)'"#,
        ..PLAIN
    },
    Program {
        name: "Node.js fetch",
        needs: &["node -e 'fetch'"],
        version: "node --version",
        script: r#"node -e '
(async () => {
    for (let n = 0; n < 2; n++) await (await fetch(process.env.URL)).text();
})().catch(error => { console.log(error.cause?.code ?? error.name); process.exitCode = 1; })'"#,
        ..PLAIN
    },
    Program {
        name: "Java HttpClient",
        needs: &["command -v javac", "command -v java"],
        version: "java --version | head -1 | cut -d' ' -f1,2",
        source: ("Client.java", JAVA),
        make: "javac Client.java",
        script: "exec java -cp $MADE Client",
        ..PLAIN
    },
    Program {
        name: "Go net/http",
        needs: &["command -v go"],
        version: "go version | sed s/go1/1/",
        source: ("client.go", GO),
        make: "GOCACHE=$PWD/cache go build client.go",
        // It uses no proxy for what is called localhost.
        script: "URL=$(echo $URL | sed s/localhost/LOCALHOST/) exec $MADE/client",
        trust: "any",
        schemes: &["http", "https"],
    },
    Program {
        name: "git ls-remote",
        needs: &["command -v git"],
        version: "git --version",
        script: "GIT_TERMINAL_PROMPT=0 git $TRUST ls-remote $URL",
        trust: "-c http.sslVerify=false",
        schemes: &["http", "https"],
        ..PLAIN
    },
    Program {
        name: "pip",
        needs: &["command -v pip"],
        version: "pip --version | cut -d' ' -f1,2",
        script: "PIP_CONFIG_FILE=/dev/null PIP_NO_INPUT=1 PIP_FIND_LINKS= PIP_CERT= pip --retries 0 --timeout 20 \
                 index versions --disable-pip-version-check --trusted-host no-such-host.invalid \
                 -i $URL x",
        ..PLAIN
    },
    Program {
        name: "npm",
        needs: &["command -v npm"],
        version: "npm --version",
        script: "npm view x version --registry $URL --fetch-retries 0 --no-update-notifier --cache cache \
                 --userconfig none --globalconfig no",
        ..PLAIN
    },
    Program {
        name: "redis-cli",
        needs: &["command -v redis-cli"],
        version: "redis-cli --version",
        script: "redis-cli -u $URL ping",
        schemes: &["redis"],
        ..PLAIN
    },
];

const JAVA: &str = r#"
import java.net.URI;
import java.net.http.*;
public class Client {
    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(System.getenv("URL"))).build();
        try {
            for (int n = 0; n < 2; n++) client.send(request, HttpResponse.BodyHandlers.ofString());
        } catch (Exception error) {
            System.out.println(error.getClass().getSimpleName());
            System.exit(1);
        }
    }
}
"#;

const GO: &str = r#"
package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
)

func main() {
	trust := &tls.Config{InsecureSkipVerify: os.Getenv("TRUST") != ""}
	http.DefaultTransport.(*http.Transport).TLSClientConfig = trust
	for n := 0; n < 2; n++ {
		response, err := http.Get(os.Getenv("URL"))
		if err != nil {
			fmt.Println(class(err))
			os.Exit(1)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
}

// The innermost error: its type, or the name of an errno.
func class(err error) string {
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	switch err {
	case syscall.ECONNREFUSED:
		return "ECONNREFUSED"
	case syscall.ECONNRESET:
		return "ECONNRESET"
	}
	name := strings.Split(fmt.Sprintf("%T", err), ".")
	return name[len(name)-1]
}
"#;

/// What programs ask for, in one text: a list of Git's, a page of links, a package.
const PAGE_OF_LINKS: &str = "<!doctype html><a href='x-1.0.tar.gz'>x-1.0.tar.gz</a>";
const REFS: &str = "0123456789012345678901234567890123456789\trefs/heads/main\n";
const PACKAGE: &str = "{\"name\":\"x\",\"dist-tags\":{\"latest\":\"1.0.0\"},\
                       \"versions\":{\"1.0.0\":{\"name\":\"x\",\"version\":\"1.0.0\"}}}";

fn serve(stream: impl Read + Write) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        let request = std::mem::take(&mut line);
        if let Some(words) = request.strip_prefix('*') {
            // RESP: PING, and whatever redis-cli asks before.
            for _ in 0..2 * words.trim().parse::<usize>().unwrap() {
                stream.read_line(&mut line)?;
            }
            line.clear();
            stream.get_mut().write_all(b"+PONG\r\n")?;
            continue;
        }
        while stream.read_line(&mut line)? > 2 {
            line.clear();
        }
        line.clear();
        let (kind, body) = match request.split(' ').nth(1).unwrap_or_default() {
            path if path.contains("info/refs") => ("text/plain", REFS),
            path if path.contains("HEAD") => ("text/plain", "ref: refs/heads/main\n"),
            "/x/" => ("text/html", PAGE_OF_LINKS),
            "/x" => ("application/json", PACKAGE),
            _ => ("text/plain", "a page"),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}");
        stream.get_mut().write_all(format!("{head}\r\n\r\n{body}").as_bytes())?;
    }
    Ok(())
}

/// A server of TLS whose certificate signed itself.
fn tls() -> Arc<ServerConfig> {
    let directory = TempDir::new().unwrap();
    let (key, certificate) = certificate(directory.path(), "localhost");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    Arc::new(config.with_single_cert(vec![certificate], key).unwrap())
}

/// What a site speaks, beside what `serve` knows.
#[derive(Clone)]
enum Wrapping {
    Nothing,
    Tls(Arc<ServerConfig>),
    Ssh(Arc<SshKeys>),
}

/// Where a program is sent, and how many connections came there.
struct Site {
    authority: String,
    connections: Arc<AtomicUsize>,
    _held: Option<socket2::Socket>,
}

impl Site {
    fn new(case: Case, wrapping: Wrapping, bind: impl FnOnce() -> TcpListener) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let mut site = Self { authority: String::new(), connections, _held: None };
        match case {
            Case::UnknownName => site.authority = "no-such-host.invalid:8999".to_owned(),
            Case::Refused => {
                let (held, address) = deaf_port();
                site._held = Some(held);
                site.authority = format!("localhost:{}", address.port());
            }
            Case::Success | Case::Reset | Case::Untrusted => {
                let listener = bind();
                site.authority = format!("localhost:{}", listener.local_addr().unwrap().port());
                site.listen(listener, case, wrapping);
            }
        }
        site
    }

    fn listen(&self, listener: TcpListener, case: Case, wrapping: Wrapping) {
        let connections = Arc::clone(&self.connections);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, SeqCst);
                let wrapping = wrapping.clone();
                std::thread::spawn(move || match (case, wrapping) {
                    (Case::Reset, _) => {
                        let _ = (&stream).read(&mut [0; 1000]);
                        reset(stream);
                    }
                    // A client may end before it has read all.
                    (_, Wrapping::Nothing) => _ = serve(&stream),
                    (_, Wrapping::Tls(tls)) => {
                        let session = ServerConnection::new(tls).unwrap();
                        _ = serve(StreamOwned::new(session, stream));
                    }
                    (_, Wrapping::Ssh(keys)) => {
                        let end = || OwnedFd::from(stream.try_clone().unwrap());
                        keys.sshd().stdin(end()).stdout(end()).status().unwrap();
                    }
                });
            }
        });
    }
}

/// What a program saw, and whether conniver recorded it.
struct Seen {
    text: String,
    recorded: bool,
}

/// Runs a script with this URL, within `conniver run` or not.
fn see(
    mut command: Command,
    program: &Program,
    case: Case,
    url: &str,
    site: &Site,
    with: bool,
) -> Seen {
    let directory = TempDir::new().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
    let records = directory.path().join("records.ndjson");
    let before = site.connections.load(SeqCst);
    if with {
        command.arg(BINARY).args(["run", "-q", "--drain", "0", "-o"]).arg(&records);
        if url.contains("://") && !url.starts_with("http") {
            command.args(["--url-var", "URL"]);
        }
        command.arg("--");
    }
    command.args(["sh", "-c", program.script]).current_dir(directory.path());
    let trust = if case == Case::Untrusted { "" } else { program.trust };
    command.env("URL", url).env("TRUST", trust).env("LC_ALL", "C.UTF-8");
    let output = without_proxies(&mut command).stdin(Stdio::null()).output().unwrap();
    let status = output.status.code().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let is_class = status != 0 && !said.is_empty() && said.chars().all(char::is_alphanumeric);
    let connections = site.connections.load(SeqCst) - before;
    let text = match status {
        // What it is after a failure depends on retries alone.
        0 if connections > 0 => format!("0 ({connections})"),
        _ if is_class || said.starts_with("E") && status != 0 => said,
        _ => status.to_string(),
    };
    let recorded = std::fs::read_to_string(&records).is_ok_and(|lines| !lines.is_empty());
    Seen { text, recorded }
}

/// The first line that a shell prints; `None` where it fails.
fn shell(script: &str) -> Option<String> {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| printed.lines().next().unwrap_or_default().to_owned())
}

/// The version in what a program says of itself.
fn version(program: &Program) -> String {
    let said = shell(program.version).unwrap_or_default();
    let is_version =
        |word: &&str| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit());
    said.split_whitespace().find(is_version).unwrap_or_default().trim_start_matches('v').to_owned()
}

/// `0`, or `7 → 56` where the program sees something else with `run`.
fn compared(without: &Seen, with: &Seen) -> String {
    match without.text == with.text {
        true => with.text.clone(),
        false => format!("{} → {}", without.text, with.text),
    }
}

/// The row of a program: its name, and its cells. A program that fails at a server that works is not
/// run as people run it, and its errors mean nothing.
fn row(name: String, seen: &[Option<(Seen, Seen)>]) -> (String, String) {
    if let Some((without, _)) = &seen[0] {
        assert!(without.text.starts_with('0'), "{name} fails without run: {}", without.text);
    }
    let recorded = seen.iter().flatten().all(|(_, with)| with.recorded);
    let cells = seen
        .iter()
        .map(|both| both.as_ref().map_or(String::new(), |(without, with)| compared(without, with)));
    let cells: Vec<_> = cells.collect();
    let recorded = if recorded { "yes" } else { "no" };
    let line = format!("| {name} | {recorded} | {} |\n", cells.join(" | ")).replace("|  |", "| |");
    (name, line)
}

fn loopback() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn rows_of(program: &Program) -> Vec<(String, String)> {
    let version = version(program);
    let made = TempDir::new().unwrap();
    let (file, text) = program.source;
    if !file.is_empty() {
        std::fs::write(made.path().join(file), text).unwrap();
        let mut make = Command::new("sh");
        output(make.args(["-c", program.make]).current_dir(made.path()));
    }
    let rows = program.schemes.iter().map(|scheme| {
        let seen = CASES.map(|case| {
            let is_left_out = SLOW.contains(&program.name) && case != Case::Refused;
            if case == Case::Untrusted && *scheme != "https" || case != Case::Success && is_left_out
            {
                return None;
            }
            let wrapping = match *scheme {
                "https" => Wrapping::Tls(tls()),
                _ => Wrapping::Nothing,
            };
            let site = Site::new(case, wrapping, loopback);
            let url = format!("{scheme}://{}/", site.authority);
            let see = |with| {
                let mut command = Command::new("env");
                command.env("MADE", made.path());
                see(command, program, case, &url, &site, with)
            };
            Some((see(false), see(true)))
        });
        let of_scheme =
            if program.schemes.len() > 1 { format!(", {scheme}") } else { String::new() };
        row(format!("{} {version}{of_scheme}", program.name), &seen)
    });
    rows.collect()
}

/// psql, in a namespace, where PostgreSQL's port is free.
fn rows_of_psql() -> Vec<(String, String)> {
    let initdb = postgres::program("initdb");
    if !available(NAME) || !has_tool("psql", NAME) || !has_tool(initdb.to_str().unwrap(), NAME) {
        return Vec::new();
    }
    let psql = Program {
        name: "psql",
        version: "psql --version",
        script: "psql -X -q -At \"$URL\" -c 'select 1' >/dev/null",
        schemes: &["postgres"],
        ..PLAIN
    };
    let namespace = Namespace::new();
    let _server = Postgres::start(&namespace);
    let seen = CASES.map(|case| {
        if case == Case::Untrusted {
            return None;
        }
        let site = Site::new(case, Wrapping::Nothing, || {
            namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap())
        });
        let authority = if case == Case::Success { Postgres::ADDRESS } else { &site.authority };
        let url = format!("postgres://me@{authority}/postgres");
        let see = |with| see(namespace.command("env"), &psql, case, &url, &site, with);
        Some((see(false), see(true)))
    });
    vec![row(format!("psql {}", version(&psql)), &seen)]
}

/// ssh, whose ProxyCommand takes the proxy from the environment.
fn rows_of_ssh() -> Vec<(String, String)> {
    if !has_sshd(NAME) || !has_tool("nc.openbsd", NAME) {
        return Vec::new();
    }
    let ssh = Program {
        version: "ssh -V 2>&1 | sed 's/OpenSSH_\\([^ ,p]*\\).*/\\1/'",
        script: "exec ssh $OPTIONS -o ProxyCommand=\"nc.openbsd \
                 ${http_proxy:+-X connect -x ${http_proxy#http://}} %h %p\" -p ${URL#*:} ${URL%:*} true",
        ..PLAIN
    };
    let keys = Arc::new(SshKeys::new());
    let seen = CASES.map(|case| {
        if case == Case::Untrusted {
            return None;
        }
        let site = Site::new(case, Wrapping::Ssh(Arc::clone(&keys)), loopback);
        let see = |with| {
            let mut command = Command::new("env");
            command.env("OPTIONS", keys.client_options().join(" "));
            see(command, &ssh, case, &site.authority, &site, with)
        };
        Some((see(false), see(true)))
    });
    vec![row(format!("ssh {} by ProxyCommand", version(&ssh)), &seen)]
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)
}

/// A program's name without the version, which is a row's place in the table.
fn unversioned(name: &str) -> String {
    name.split_inclusive([' ', ','])
        .filter(|word| !word.starts_with(|c: char| c.is_ascii_digit()) || word.contains("http"))
        .collect::<String>()
        .trim_end_matches([' ', ','])
        .to_owned()
}

#[test]
fn the_page_has_what_programs_see_with_and_without_run() {
    if !has_tool("openssl", NAME) {
        return;
    }
    let is_there = |program: &&Program| {
        let missing = program.needs.iter().find(|need| shell(need).is_none());
        missing.is_none_or(|need| {
            skip(NAME, &format!("{} is not installed: {need}", program.name));
            false
        })
    };
    let programs: Vec<_> = PROGRAMS.iter().filter(is_there).collect();
    // The slow ones, which come last, are started first.
    let left = Mutex::new(programs);
    let found = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let rows = [rows_of_psql(), rows_of_ssh()].concat();
            found.lock().unwrap().extend(rows);
        });
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some(program) = left.lock().unwrap().pop() else { break };
                    let rows = rows_of(program);
                    found.lock().unwrap().extend(rows);
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap();

    let text = std::fs::read_to_string(page()).unwrap();
    let (before, rest) = text.split_once(MARKS[0]).unwrap();
    let (table, after) = rest.split_once(MARKS[1]).unwrap();
    let present = table.strip_prefix(HEAD).unwrap_or_default();
    let name_of = |line: &str| line.split('|').nth(1).unwrap().trim().to_owned();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        for line in present.split_inclusive('\n') {
            let name = name_of(line);
            let is_new = found.keys().any(|found| unversioned(found) == unversioned(&name));
            if !is_new {
                found.insert(name, line.to_owned());
            }
        }
        let rows: String = found.into_values().collect();
        let text = [before, MARKS[0], HEAD, &rows, MARKS[1], after].concat();
        return std::fs::write(page(), text).unwrap();
    }
    let present: BTreeMap<_, _> =
        present.split_inclusive('\n').map(|line| (name_of(line), line)).collect();
    for (name, line) in &found {
        match present.get(name) {
            Some(present) => assert_eq!(line, present, "{PAGE}"),
            // Another version may see something else.
            None => {
                let other = present.keys().find(|other| unversioned(other) == unversioned(name));
                let other = other.unwrap_or_else(|| panic!("{PAGE} has no row on {name}"));
                let said =
                    format!("\nNOT COMPARED: {PAGE} has {other}, and here is {name}: {line}");
                std::io::stderr().write_all(said.as_bytes()).unwrap();
            }
        }
    }
}
