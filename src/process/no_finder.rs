//! The finder on systems that cannot tell the program of a client.

use std::net::SocketAddr;

use super::ProcessSlot;

#[derive(Debug)]
pub(crate) enum Finder {}

impl Finder {
    pub(crate) fn start() -> Option<Self> {
        None
    }

    pub(crate) fn ask(&self, _client: SocketAddr, _peer: SocketAddr) -> Option<ProcessSlot> {
        match *self {}
    }
}
