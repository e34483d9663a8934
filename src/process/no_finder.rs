//! Looking for the programs of clients: this system does not tell.

use std::net::SocketAddr;

use super::Answer;

#[derive(Debug)]
pub(crate) enum Finder {}

impl Finder {
    pub(crate) fn start() -> Option<Self> {
        None
    }

    pub(crate) fn ask(&self, _client: SocketAddr, _peer: SocketAddr) -> Option<Answer> {
        match *self {}
    }
}
