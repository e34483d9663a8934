//! `--intercept`: the kernel's rules divert every TCP connection of COMMAND and of what it starts.

mod cgroup;
mod nft;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use conniver::ingress::ListenAddr;
use conniver::proxy::Listener;
use tokio::process::Command;

use crate::cli::exit::Failure;
use cgroup::Cgroup;
use nft::Table;

/// The rules, and what they know COMMAND by. Nothing of it outlives this process, however it ends,
/// but an empty cgroup, which the next run removes.
pub(super) struct Interception {
    cgroup: Cgroup,
    table: Table,
}

impl Interception {
    /// Diverts what `command` will connect to; and where that arrives.
    ///
    /// # Errors
    ///
    /// Rights, tools or parts of the kernel are missing.
    pub(super) async fn of(command: &mut Command) -> Result<(Self, Vec<Listener>), Failure> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Failure::new(
                "--intercept creates a cgroup and nftables rules; run it as root",
            ));
        }
        let cgroup = Cgroup::make()?;
        cgroup.enter_by(command)?;
        let listen = |ip: IpAddr| Listener::redirect(ListenAddr((ip, 0).into()));
        let mut listeners = vec![listen(Ipv4Addr::LOCALHOST.into()).map_err(Failure::new)?];
        match listen(Ipv6Addr::LOCALHOST.into()) {
            Ok(listener) => listeners.push(listener),
            Err(error) => tracing::error!("{error}; IPv6 connections will not be intercepted"),
        }
        let table = Table::hold(cgroup.name(), &rules(&cgroup, &listeners)).await?;
        Ok((Self { cgroup, table }, listeners))
    }

    /// The process that holds the rules.
    pub(super) fn helper(&self) -> Option<u32> {
        self.table.process()
    }

    /// Takes the rules and the cgroup away.
    pub(super) async fn end(self) {
        self.table.release().await;
        self.cgroup.remove().await;
    }
}

/// REDIRECT in the output hook leads to the loopback address of the packet's family. Link-local
/// targets are left alone: the kernel does not tell by which interface they were to be reached.
fn rules(cgroup: &Cgroup, listeners: &[Listener]) -> String {
    let of_cgroup = format!("socket cgroupv2 level {} \"{}\"", cgroup.level(), cgroup.nft_path());
    let redirect = |listener: &Listener| {
        let family = match listener.local_addr().is_ipv4() {
            true => "meta nfproto ipv4",
            false => "ip6 daddr != fe80::/10",
        };
        let port = listener.local_addr().port();
        format!("{family} meta l4proto tcp {of_cgroup} redirect to :{port};")
    };
    let rules: String = listeners.iter().map(redirect).collect();
    // One before the usual place, so that ours is the first to rewrite.
    format!("chain output {{ type nat hook output priority -101; policy accept; {rules} }};")
}
