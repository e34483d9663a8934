//! Where a cause is imposed: a proxy between a client and an upstream, near or far.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::forwarding::{Ends, Forwarding};
use super::super::lossy_path::{Path, Rule};
use super::super::namespace::Namespace;
use super::super::network::{Network, Way};
use super::super::program::{BINARY, Proxy, wait_until};

/// A proxy and the machines around it.
pub(super) struct Lab {
    // The proxy ends before its machine does.
    pub(super) forwarding: Forwarding,
    place: Place,
}

enum Place {
    Here,
    Apart(Namespace),
    Network(Box<Network>),
}

/// A connection, and when its client began to connect.
pub(super) struct Pair {
    pub(super) ends: Ends,
    pub(super) began: Instant,
}

/// A path with so much delay there and back.
pub(super) fn path(round_trip: Duration) -> Path {
    Path { delay: round_trip / 2, loses: None, rate: None }
}

impl Lab {
    /// All on this machine.
    pub(super) fn here(args: &[&str]) -> Self {
        Self { forwarding: Forwarding::new(args), place: Place::Here }
    }

    /// All on the loopback of a namespace with this congestion control.
    pub(super) fn on_loopback(congestion: &str) -> Self {
        let namespace = Namespace::new();
        namespace.control_loopback(congestion);
        let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
        let forwarding = Forwarding::to(listener, &mut namespace.command(BINARY), &[]);
        Self { forwarding, place: Place::Apart(namespace) }
    }

    /// Three machines, with a path on this way.
    pub(super) fn far(way: Way, round_trip: Duration) -> Self {
        Self::over(Network::with(way, path(round_trip)), &[])
    }

    /// The same, where packets meet these rules: on this way, and on the way back.
    pub(super) fn with_rules(way: Way, path: Path, rules: [Rule; 2]) -> Self {
        Self::over(Network::with_rules(way, path, rules), &[])
    }

    pub(super) fn over(network: Network, args: &[&str]) -> Self {
        let forwarding = network.forwarding(args);
        Self { forwarding, place: Place::Network(Box::new(network)) }
    }

    pub(super) fn network(&self) -> &Network {
        match &self.place {
            Place::Network(network) => network,
            _ => panic!("there is no network"),
        }
    }

    /// A connection whose ends send at once what is written to them.
    pub(super) fn pair(&self) -> Pair {
        self.pair_with_receive_buffer(None)
    }

    /// The same, its client with a receive buffer of this size; for that, it takes a network.
    pub(super) fn pair_with_receive_buffer(&self, size: Option<usize>) -> Pair {
        let began = Instant::now();
        let ends = match &self.place {
            Place::Here => self.forwarding.pair(),
            Place::Apart(namespace) => {
                let proxy = &self.forwarding.proxy;
                self.forwarding.pair_of(namespace.enter(|| proxy.connect()))
            }
            Place::Network(network) => network.pair_with_receive_buffer(&self.forwarding, size),
        };
        for end in [&ends.client, &ends.upstream] {
            end.set_nodelay(true).unwrap();
        }
        Pair { ends, began }
    }

    pub(super) fn record(&self) -> Value {
        record(&self.forwarding.proxy)
    }
}

/// A proxy in a namespace that forwards to this address in it.
pub(super) fn proxy_in(namespace: &Namespace, target: impl ToString) -> Proxy {
    let mut command: Command = namespace.command(BINARY);
    Proxy::start(&mut command, &[&format!("0:{}", target.to_string())], &[])
}

/// The close line of the one connection, as it stands in the file.
pub(super) fn record(proxy: &Proxy) -> Value {
    let mut found = None;
    wait_until("the record comes", || {
        let text = std::fs::read_to_string(proxy.records_file()).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        found = whole
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .find(|line| line["event"] == "close");
        found.is_some()
    });
    found.unwrap()
}
