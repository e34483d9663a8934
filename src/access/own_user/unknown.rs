//! The owner of a client program, on systems that cannot tell.

use std::net::SocketAddr;

use super::Owner;
use crate::fault::Fault;

/// Finds the owner of a client program.
#[derive(Debug, Default)]
pub(crate) struct Owners;

impl Owners {
    pub(crate) fn owner_of(&self, _client: SocketAddr, _here: SocketAddr) -> Owner {
        Owner::Unknown
    }

    pub(crate) async fn check(&self, owner: Owner) -> Result<(), Fault> {
        owner.check()
    }
}
