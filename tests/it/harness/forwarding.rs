//! A proxy between a listener and clients of the test's own: pairs whose two ends it holds.

use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;

use conniver::record::By;

use super::namespace::Namespace;
use super::program::{BINARY, PATIENCE, Proxy};

/// A listener, and a proxy that forwards to it.
pub(crate) struct Forwarding {
    pub(crate) proxy: Proxy,
    pub(crate) listener: TcpListener,
}

/// The two ends of a pair: what the proxy stands between.
pub(crate) struct Ends {
    pub(crate) client: TcpStream,
    pub(crate) upstream: TcpStream,
}

impl Forwarding {
    pub(crate) fn new(args: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::to(listener, &mut Command::new(BINARY), args)
    }

    /// With a listener that the test has prepared and a proxy that `command` starts.
    pub(crate) fn to(listener: TcpListener, command: &mut Command, args: &[&str]) -> Self {
        Self::through(Ipv4Addr::LOCALHOST.into(), listener, command, args)
    }

    /// All in a namespace, on its loopback, and a first pair.
    pub(crate) fn with_pair_in(namespace: &Namespace, args: &[&str]) -> (Self, Ends) {
        let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
        let forwarding = Self::to(listener, &mut namespace.command(BINARY), args);
        let client = namespace.enter(|| TcpStream::connect(forwarding.proxy.address()).unwrap());
        let ends = forwarding.pair_of(client);
        (forwarding, ends)
    }

    /// With a proxy that listens on this address.
    pub(crate) fn through(
        local: IpAddr,
        listener: TcpListener,
        command: &mut Command,
        args: &[&str],
    ) -> Self {
        let forward = format!("{local}:0:{}", listener.local_addr().unwrap());
        Self { proxy: Proxy::start(command, &[&forward], args), listener }
    }

    /// A new pair.
    pub(crate) fn pair(&self) -> Ends {
        self.pair_of(TcpStream::connect(self.proxy.address()).unwrap())
    }

    /// The pair of a client that has just connected, the only one that does.
    pub(crate) fn pair_of(&self, client: TcpStream) -> Ends {
        let upstream = self.accept();
        for end in [&client, &upstream] {
            end.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Ends { client, upstream }
    }

    /// The upstream end of the pair that has just been connected.
    pub(crate) fn accept(&self) -> TcpStream {
        self.listener.accept().unwrap().0
    }

    /// The upstream ends of all pairs that nobody has asked for yet.
    pub(crate) fn waiting(&self) -> Vec<TcpStream> {
        self.listener.set_nonblocking(true).unwrap();
        let ends = std::iter::from_fn(|| self.listener.accept().ok());
        let ends = ends.map(|(end, _)| end).collect();
        self.listener.set_nonblocking(false).unwrap();
        ends
    }
}

impl Ends {
    /// This side first, then the other one.
    pub(crate) fn from(self, side: By) -> (TcpStream, TcpStream) {
        match side {
            By::Client => (self.client, self.upstream),
            By::Upstream => (self.upstream, self.client),
            other => panic!("{other:?} has no end of a pair"),
        }
    }
}
