//! A client, a proxy and an upstream on machines of their own.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::forwarding::{Ends, Forwarding};
use super::lossy_path::{self, Mishaps, Path, Rule};
use super::namespace::Namespace;
use super::program::BINARY;

/// Three machines in a row, with cables between them.
pub(crate) struct Network {
    pub(crate) client: Namespace,
    pub(crate) proxy: Namespace,
    pub(crate) upstream: Namespace,
    /// Packets that its path has not carried as they came.
    pub(crate) mishaps: Arc<Mishaps>,
}

/// A path on which payload goes, as the proxy sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    ToClient,
    ToUpstream,
    FromUpstream,
}

/// 40 ms there and back.
pub(crate) const FAR: Path = Path { delay: Duration::from_millis(20), loses: None, rate: None };

/// The same at 40 Mbit/s, and every fiftieth packet is lost.
pub(crate) const FAR_AND_LOSSY: Path = Path { loses: Some(50), rate: Some(5_000_000), ..FAR };

impl Network {
    fn bare() -> Self {
        let [client, proxy, upstream] = [(); 3].map(|()| Namespace::new());
        Self { client, proxy, upstream, mishaps: Arc::default() }
    }

    pub(crate) fn new() -> Self {
        let network = Self::bare();
        network.client.cable(&network.proxy, "client", 1);
        network.proxy.cable(&network.upstream, "upstream", 2);
        network
    }

    /// With a path instead of one of the cables.
    pub(crate) fn with(way: Way, path: Path) -> Self {
        Self::laid(way, |from, to, device, net| lossy_path::lay(from, to, device, net, path))
    }

    /// The same, with rules for what goes this way and for what comes back.
    pub(crate) fn with_rules(way: Way, path: Path, rules: [Rule; 2]) -> Self {
        Self::laid(way, |from, to, device, net| {
            lossy_path::lay_with_rules(from, to, device, net, path, rules)
        })
    }

    fn laid(way: Way, lay: impl FnOnce(&Namespace, &Namespace, &str, u8) -> Arc<Mishaps>) -> Self {
        let network = Self::bare();
        let Self { client, proxy, upstream, .. } = &network;
        let (from, to) = match way {
            Way::ToClient => (proxy, client),
            Way::ToUpstream => (proxy, upstream),
            Way::FromUpstream => (upstream, proxy),
        };
        let (device, net) = way.device();
        let mishaps = lay(from, to, device, net);
        match way {
            Way::ToClient => proxy.cable(upstream, "upstream", 2),
            Way::ToUpstream | Way::FromUpstream => client.cable(proxy, "client", 1),
        }
        Self { mishaps, ..network }
    }

    /// The congestion control of what is sent on this way.
    pub(crate) fn control(&self, way: Way, congestion: &str) {
        let sender = match way {
            Way::ToClient | Way::ToUpstream => &self.proxy,
            Way::FromUpstream => &self.upstream,
        };
        let (device, net) = way.device();
        let route = format!("10.{net}.0.0/24");
        sender.ip(&["route", "change", &route, "dev", device, "congctl", congestion]);
    }

    /// Limits what the proxy sends on this way.
    pub(crate) fn limit(&self, way: Way) {
        let (device, _) = way.device();
        self.proxy
            .sh(&format!("tc qdisc add dev {device} root tbf rate 40mbit burst 32kb latency 40ms"));
    }

    /// A proxy on the machine in the middle, and a listener on the upstream's.
    pub(crate) fn forwarding(&self, args: &[&str]) -> Forwarding {
        // Which end of a path has which address differs from one network to the other.
        let upstream = self.upstream.address_on("upstream");
        let listener = self.upstream.enter(|| TcpListener::bind((upstream, 0)).unwrap());
        let local = self.proxy.address_on("client").into();
        let args = [&["--allow-from", "10.1.0.0/24"], args].concat();
        Forwarding::through(local, listener, &mut self.proxy.command(BINARY), &args)
    }

    /// A new pair of it.
    pub(crate) fn pair(&self, forwarding: &Forwarding) -> Ends {
        self.pair_with_receive_buffer(forwarding, None)
    }

    /// A new pair, its client with a receive buffer of this size.
    pub(crate) fn pair_with_receive_buffer(
        &self,
        forwarding: &Forwarding,
        size: Option<usize>,
    ) -> Ends {
        let client = self.client.enter(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            // The window scale is in the SYN.
            if let Some(size) = size {
                socket.set_recv_buffer_size(size).unwrap();
            }
            socket.connect(&forwarding.proxy.address().into()).unwrap();
            TcpStream::from(socket)
        });
        forwarding.pair_of(client)
    }
}

impl Way {
    fn device(self) -> (&'static str, u8) {
        match self {
            Way::ToClient => ("client", 1),
            Way::ToUpstream | Way::FromUpstream => ("upstream", 2),
        }
    }
}
