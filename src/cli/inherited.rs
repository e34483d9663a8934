//! Listening sockets that whoever started the program hands over (systemd's socket activation,
//! `sd_listen_fds(3)`).

use std::net::{SocketAddr, TcpListener};

use conniver::proxy::ListenOn;

use super::exit::Failure;

/// Those that no option has asked for yet.
#[derive(Debug)]
pub(crate) struct Inherited(Vec<(SocketAddr, TcpListener)>);

impl Inherited {
    /// Takes them all.
    #[cfg(unix)]
    pub(crate) fn take() -> Result<Self, Failure> {
        let mut descriptors = listenfd::ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..descriptors.len() {
            let taken = descriptors.take_tcp_listener(index).and_then(|socket| {
                socket.map(|socket| Ok((socket.local_addr()?, socket))).transpose()
            });
            let taken = taken.map_err(|error| {
                Failure::new(format!(
                    "cannot use inherited socket {} (LISTEN_FDS): {error}; it must be a listening \
                     TCP socket (ListenStream= with a port)",
                    index + 1
                ))
            });
            sockets.extend(taken?);
        }
        Ok(Self(sockets))
    }

    /// Elsewhere there are none.
    #[cfg(not(unix))]
    pub(crate) fn take() -> Result<Self, Failure> {
        Ok(Self(Vec::new()))
    }

    /// The one with this address; if there is none, the address.
    pub(crate) fn at(&mut self, address: SocketAddr) -> ListenOn {
        match self.0.iter().position(|(has, _)| *has == address) {
            Some(index) => self.0.swap_remove(index).1.into(),
            None => address.into(),
        }
    }

    /// Nobody would serve one that is left.
    pub(crate) fn none_left(&self) -> Result<(), Failure> {
        match self.0.first() {
            None => Ok(()),
            Some((address, _)) => Err(Failure::new(format!(
                "cannot use the inherited socket on {address} (LISTEN_FDS): no option listens \
                 there; give its address to -L, -D, --redirect or --tproxy"
            ))),
        }
    }
}
