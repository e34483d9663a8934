//! Proxies with one port, where clients ask for their target.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{Entry, Peer, free_addresses, written};

impl Peer {
    pub(super) fn tinyproxy(directory: &Path) -> Self {
        let address = free_addresses(1)[0];
        // It syncs its log to the disk after every line; without one it is at its best.
        let config = format!(
            "Listen {}\nPort {}\nMaxClients 1000\nTimeout 600\nLogLevel Error\n",
            address.ip(),
            address.port()
        );
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(written(directory, "tinyproxy", &config));
        Self::started("tinyproxy", vec![command], http(address), directory)
    }

    pub(super) fn microsocks(directory: &Path) -> Self {
        let address = free_addresses(1)[0];
        let mut command = Command::new("microsocks");
        command.args(["-i", &address.ip().to_string(), "-p", &address.port().to_string()]);
        Self::started("microsocks", vec![command], vec![(Entry::Socks5, address)], directory)
    }

    /// It keeps no answers, and logs every request.
    pub(super) fn squid(directory: &Path) -> Self {
        let address = free_addresses(1)[0];
        // As root it becomes another user before it opens its logs.
        let own = directory.join("squid");
        std::fs::create_dir(&own).unwrap();
        for path in [directory, &own] {
            std::fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        }
        let at = own.display();
        let config = format!(
            "http_port {address}\nhttp_access allow all\nvisible_hostname localhost\n\
             cache deny all\naccess_log stdio:{at}/access.log\ncache_log {at}/cache.log\n\
             coredump_dir {at}\npid_filename none\nnetdb_filename none\npinger_enable off\n\
             max_filedescriptors 16384\nshutdown_lifetime 0 seconds\n"
        );
        let mut command = Command::new("squid");
        command.arg("-N").arg("-f").arg(written(directory, "squid", &config));
        Self::started("squid", vec![command], http(address), directory)
    }

    /// Without filters and blocked addresses; it logs every request.
    pub(super) fn privoxy(directory: &Path) -> Self {
        const LOG_REQUESTS: u32 = 512;
        let address = free_addresses(1)[0];
        let config = format!(
            "listen-address {address}\nconfdir /etc/privoxy\ndebug {LOG_REQUESTS}\n\
             keep-alive-timeout 300\nconnection-sharing 1\nmax-client-connections 1000\n"
        );
        let mut command = Command::new("privoxy");
        command.arg("--no-daemon").arg(written(directory, "privoxy", &config));
        Self::started("privoxy", vec![command], http(address), directory)
    }
}

/// The ways into an HTTP proxy.
fn http(address: SocketAddr) -> Vec<(Entry, SocketAddr)> {
    vec![(Entry::Connect, address), (Entry::Http, address)]
}
