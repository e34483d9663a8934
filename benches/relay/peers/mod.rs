//! This proxy and the ones that people use instead, each with a port a service or one where clients
//! ask for their target, each logging every connection to a file where it can.

mod asked;
mod forwarding;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::cpu;
use crate::origin::{self, Origin, Service};

/// A way into a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A port that leads to one service of the origin.
    Forward(Service),
    /// A port where clients ask for their target by HTTP CONNECT.
    Connect,
    /// The same by SOCKS 5.
    Socks5,
    /// A port for requests of `http://` URLs.
    Http,
}

/// A running proxy.
pub(crate) struct Peer {
    name: String,
    children: Vec<Child>,
    entries: Vec<(Entry, SocketAddr)>,
    /// Memory and pipes right after the start, before any load.
    at_start: (f64, usize),
}

impl Peer {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Of the ways in that it has.
    pub(crate) fn address(&self, entry: Entry) -> Option<SocketAddr> {
        self.entries.iter().find_map(|&(e, address)| (e == entry).then_some(address))
    }

    pub(crate) fn cpu_seconds(&self) -> f64 {
        match self.children.is_empty() {
            true => f64::NAN,
            false => self.children.iter().map(|child| cpu::seconds(child.id())).sum(),
        }
    }

    /// Whether it is something beside the origin and the load.
    pub(crate) fn has_processes(&self) -> bool {
        !self.children.is_empty()
    }

    /// Memory above what it had before any load: what earlier works left behind counts as well.
    pub(crate) fn resident_bytes(&self) -> f64 {
        resident_bytes(&self.children) - self.at_start.0
    }

    /// Waits until it has done what remains of earlier works, such as writing its log.
    pub(crate) fn wait_until_quiet(&self) {
        cpu::wait_until_quiet(|| self.cpu_seconds());
    }

    /// Pipes that it did not have at its start.
    pub(crate) fn pipes(&self) -> usize {
        pipes(&self.children).saturating_sub(self.at_start.1)
    }

    fn new(name: &str, children: Vec<Child>, entries: Vec<(Entry, SocketAddr)>) -> Self {
        let at_start = (resident_bytes(&children), pipes(&children));
        Self { name: name.to_owned(), children, entries, at_start }
    }

    /// This proxy, writing full records of every pair.
    pub(crate) fn conniver(
        name: &str,
        binary: &Path,
        options: &[String],
        origin: &Origin,
        directory: &Path,
    ) -> Self {
        let mut command = Command::new(binary);
        command.args(["proxy", "-D", "0", "-o"]).arg(records(directory, name));
        command.args(options);
        for service in Service::FORWARDED {
            command.args(["-L", &format!("0:{}", origin.address(service))]);
        }
        let mut child = command.stderr(Stdio::piped()).spawn().expect("conniver starts");
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        let addresses: Vec<SocketAddr> = said
            .map(|line| line.unwrap())
            .inspect(|line| eprintln!("{name}: {line}"))
            .filter_map(|line| line.strip_prefix("listening on ")?.split(',').next()?.parse().ok())
            .take(Service::FORWARDED.len() + 1)
            .collect();
        let (asked, forwarding) = addresses.split_last().expect("conniver listens");
        let mut entries = forwards(forwarding);
        entries.extend([Entry::Connect, Entry::Socks5, Entry::Http].map(|entry| (entry, *asked)));
        Self::new(name, vec![child], entries)
    }

    /// No proxy at all: what the origin and the load do alone. It has no processor time of its own.
    fn direct(origin: &Origin) -> Self {
        let addresses: Vec<_> =
            Service::FORWARDED.into_iter().map(|service| origin.address(service)).collect();
        let mut entries = forwards(&addresses);
        entries.push((Entry::Http, origin.address(Service::Http)));
        Self::new("direct", Vec::new(), entries)
    }

    /// No proxy: a program that does the origin's services itself, its streams "wrapped" or "bare".
    pub(crate) fn server(streams: &str) -> Self {
        let (child, addresses) = origin::started(&["server", streams], Service::FORWARDED.len());
        Self::new(streams, vec![child], forwards(&addresses))
    }

    /// Starts the processes and waits until every port answers.
    fn started(
        name: &str,
        commands: Vec<Command>,
        entries: Vec<(Entry, SocketAddr)>,
        directory: &Path,
    ) -> Self {
        let log = File::create(directory.join(format!("{name}.out"))).unwrap();
        let start = |mut command: Command| {
            let (out, err) = (log.try_clone().unwrap(), log.try_clone().unwrap());
            command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().expect("the peer starts")
        };
        let children: Vec<Child> = commands.into_iter().map(start).collect();
        for (_, address) in &entries {
            let mut tries = 0;
            while TcpStream::connect(address).is_err() {
                tries += 1;
                assert!(tries < 500, "{name} does not listen on {address}");
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
        Self::new(name, children, entries)
    }
}

fn resident_bytes(children: &[Child]) -> f64 {
    children.iter().map(|child| cpu::resident_bytes(child.id())).sum()
}

fn pipes(children: &[Child]) -> usize {
    children.iter().map(|child| cpu::pipes(child.id())).sum()
}

impl Drop for Peer {
    fn drop(&mut self) {
        for child in &mut self.children {
            // SIGTERM, so that masters take their workers along.
            let pid = nix::unistd::Pid::from_raw(child.id() as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let _ = child.wait();
        }
    }
}

/// Those that are installed (and asked for).
pub(crate) fn start_all(only: Option<&[String]>, origin: &Origin, directory: &Path) -> Vec<Peer> {
    let wanted = |name: &str| only.is_none_or(|names| names.iter().any(|n| n == name));
    let installed = |tool: &str| {
        let found = Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", tool]).status();
        let found = found.is_ok_and(|status| status.success());
        if !found {
            eprintln!("{tool} is not installed; scripts/install-peers installs all peers");
        }
        found
    };
    let mut peers = Vec::new();
    if wanted("direct") {
        peers.push(Peer::direct(origin));
    }
    if wanted("haproxy-tuned") && installed("haproxy") {
        peers.push(Peer::haproxy("haproxy-tuned", true, origin, directory));
    }
    if wanted("haproxy") && installed("haproxy") {
        peers.push(Peer::haproxy("haproxy", false, origin, directory));
    }
    if wanted("nginx") && installed("nginx") {
        peers.push(Peer::nginx(origin, directory));
    }
    if wanted("socat") && installed("socat") {
        peers.push(Peer::socat(origin, directory));
    }
    if wanted("tinyproxy") && installed("tinyproxy") {
        peers.push(Peer::tinyproxy(directory));
    }
    if wanted("microsocks") && installed("microsocks") {
        peers.push(Peer::microsocks(directory));
    }
    if wanted("squid") && installed("squid") {
        peers.push(Peer::squid(directory));
    }
    if wanted("privoxy") && installed("privoxy") {
        peers.push(Peer::privoxy(directory));
    }
    peers
}

/// The file that conniver writes its records to.
pub(crate) fn records(directory: &Path, name: &str) -> std::path::PathBuf {
    directory.join(format!("{name}.ndjson"))
}

/// One address for each of the services that are forwarded.
fn forwards(addresses: &[SocketAddr]) -> Vec<(Entry, SocketAddr)> {
    Service::FORWARDED.into_iter().map(Entry::Forward).zip(addresses.iter().copied()).collect()
}

/// Ports that are free now; peers cannot be asked to choose for themselves.
fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

fn written(directory: &Path, name: &str, config: &str) -> std::path::PathBuf {
    let path = directory.join(format!("{name}.conf"));
    std::fs::write(&path, config).unwrap();
    path
}
