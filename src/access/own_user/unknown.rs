//! Whose program a client is: this system does not tell.

use std::net::SocketAddr;

use super::Owner;
use crate::fault::Fault;

/// Who can be asked whose program a client is.
#[derive(Debug, Default)]
pub(crate) struct Owners;

impl Owners {
    pub(crate) fn of(&self, _client: SocketAddr, _here: SocketAddr) -> Owner {
        Owner::Unknown
    }

    pub(crate) async fn refuse(&self, owner: Owner) -> Option<Fault> {
        owner.refuse()
    }
}
