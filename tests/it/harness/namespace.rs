//! Network namespaces that a test makes and that go away with it.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

use super::{has_tool, run, skip};

/// A network namespace with its loopback up.
pub(crate) struct Namespace {
    name: String,
}

/// Whether namespaces can be made here; says so when not.
pub(crate) fn available(what: &str) -> bool {
    if !nix::unistd::geteuid().is_root() {
        skip(what, "it makes network namespaces, which needs root");
        return false;
    }
    has_tool("ip", what) && has_tool("nft", what)
}

impl Namespace {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("conniver-{}-{count}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// `ip ARGS` in it.
    pub(crate) fn ip(&self, args: &[&str]) -> String {
        run("ip", &[&["-n", &self.name], args].concat())
    }

    /// Adds a rule file's worth of nftables rules in it.
    pub(crate) fn nft(&self, rules: &str) {
        run("ip", &["netns", "exec", &self.name, "nft", rules]);
    }

    /// Packets that a counter of the table `ip lossy` in it has counted.
    pub(crate) fn counted(&self, counter: &str) -> u64 {
        let shown = run(
            "ip",
            &["netns", "exec", &self.name, "nft", "list", "counter", "ip", "lossy", counter],
        );
        let packets = shown.split_whitespace().skip_while(|word| *word != "packets").nth(1);
        packets.unwrap().parse().unwrap()
    }

    /// A cable to another namespace: a device of this name at both ends. This end has 10.NET.0.1 and
    /// fd00:NET::1, the other one 10.NET.0.2 and fd00:NET::2.
    pub(crate) fn cable(&self, other: &Self, device: &str, net: u8) {
        let peer = ["peer", "name", device, "netns", &other.name];
        self.ip(&[&["link", "add", device, "type", "veth"], &peer[..]].concat());
        for (end, last) in [(self, 1), (other, 2)] {
            for address in [format!("10.{net}.0.{last}/24"), format!("fd00:{net}::{last}/64")] {
                // Without waiting for duplicate address detection.
                let nodad = if address.contains("::") { &["nodad"][..] } else { &[] };
                end.ip(&[&["addr", "add", &address, "dev", device], nodad].concat());
            }
            end.ip(&["link", "set", device, "up"]);
        }
    }

    /// The IPv4 address of a device in it.
    pub(crate) fn address_on(&self, device: &str) -> Ipv4Addr {
        let shown = self.ip(&["-4", "-o", "addr", "show", "dev", device]);
        let mut words = shown.split_whitespace().skip_while(|word| *word != "inet");
        words.nth(1).unwrap().split('/').next().unwrap().parse().unwrap()
    }

    /// Segments that its TCP has sent again, all connections of it together.
    pub(crate) fn retransmitted(&self) -> u64 {
        let snmp = self.enter(|| std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
        let mut tcp = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = (tcp.next().unwrap(), tcp.next().unwrap());
        let mut figures = names.split(' ').zip(values.split(' '));
        figures.find(|(name, _)| *name == "RetransSegs").unwrap().1.parse().unwrap()
    }

    /// The congestion control of connections over its loopback that begin from here on.
    pub(crate) fn control_loopback(&self, congestion: &str) {
        let route = "route change local 127.0.0.0/8 dev lo table local src 127.0.0.1 congctl";
        self.ip(&[&route.split(' ').collect::<Vec<_>>()[..], &[congestion]].concat());
        self.ip(&["route", "del", "local", "127.0.0.1", "dev", "lo", "table", "local"]);
    }

    /// Runs a shell script in it, to its end.
    pub(crate) fn sh(&self, script: &str) {
        run("ip", &["netns", "exec", &self.name, "sh", "-c", script]);
    }

    /// What a shell script in it prints.
    pub(crate) fn sh_output(&self, script: &str) -> String {
        run("ip", &["netns", "exec", &self.name, "sh", "-c", script])
    }

    /// What /etc/hosts says to the commands that run in it from here on.
    pub(crate) fn hosts(&self, hosts: &str) {
        self.etc("hosts", hosts);
    }

    /// What a file of /etc says to them.
    pub(crate) fn etc(&self, file: &str, content: &str) {
        // ip-netns(8) mounts what is there over /etc.
        let directory = self.own_etc();
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(file), content).unwrap();
    }

    /// The file that stands for it.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/var/run/netns").join(&self.name)
    }

    fn own_etc(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }

    /// Lets every packet of this connection, one in it, vanish from now on.
    pub(crate) fn swallow(&self, connection: &TcpStream) {
        let ports = [connection.local_addr(), connection.peer_addr()].map(|a| a.unwrap().port());
        let [here, there] = ports;
        self.nft(&format!(
            "add table inet vanished; \
             add chain inet vanished in {{ type filter hook input priority 0; }}; \
             add rule inet vanished in tcp sport {here} tcp dport {there} drop; \
             add rule inet vanished in tcp sport {there} tcp dport {here} drop"
        ));
    }

    /// A command that will run in it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs `work` on a thread of its own in it: sockets made there are in the namespace.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let namespace = File::open(self.path()).unwrap();
                setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
        // Most have none.
        let _ = std::fs::remove_dir_all(self.own_etc());
    }
}
