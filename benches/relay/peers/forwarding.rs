//! Proxies with a port for each service of the origin.

use std::path::Path;
use std::process::Command;

use super::{Peer, forwards, free_addresses, written};
use crate::limits;
use crate::origin::{Origin, Service};

impl Peer {
    pub(super) fn haproxy(name: &str, tuned: bool, origin: &Origin, directory: &Path) -> Self {
        let addresses = free_addresses(Service::FORWARDED.len());
        let (global, defaults) = if tuned {
            ("tune.pipesize 1048576", "option splice-request\n option splice-response")
        } else {
            ("", "option splice-auto")
        };
        let mut config = format!(
            "global\n maxconn {}\n maxpipes 400\n log stdout format raw local0\n {global}\n\
             defaults\n mode tcp\n log global\n option tcplog\n {defaults}\n \
             timeout connect 10s\n timeout client 1h\n timeout server 1h\n",
            limits::most_pairs() + 100
        );
        for (service, address) in Service::FORWARDED.into_iter().zip(&addresses) {
            let target = origin.address(service);
            config += &format!("listen {service:?}\n bind {address}\n server origin {target}\n");
        }
        let mut command = Command::new("haproxy");
        command.arg("-f").arg(written(directory, name, &config));
        Self::started(name, vec![command], forwards(&addresses), directory)
    }

    pub(super) fn nginx(origin: &Origin, directory: &Path) -> Self {
        let addresses = free_addresses(Service::FORWARDED.len());
        let modules = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
        let load = if modules.exists() {
            format!("load_module {};", modules.display())
        } else {
            String::new()
        };
        let at = directory.display();
        let mut config = format!(
            "{load}\ndaemon off; worker_processes auto; pid {at}/nginx.pid; error_log {at}/nginx.error;\n\
             events {{ worker_connections {}; }}\n\
             stream {{\n log_format pair '$remote_addr $upstream_addr $bytes_sent $bytes_received $session_time';\n\
             access_log {at}/nginx.log pair;\n proxy_timeout 1h;\n",
            // One worker may get all of them.
            2 * limits::most_pairs() + 100
        );
        for (service, address) in Service::FORWARDED.into_iter().zip(&addresses) {
            let target = origin.address(service);
            config += &format!(
                "server {{ listen {address} backlog=4096; proxy_pass {target}; tcp_nodelay on; }}\n"
            );
        }
        config += "}\n";
        let mut command = Command::new("nginx");
        command.arg("-c").arg(written(directory, "nginx", &config));
        Self::started("nginx", vec![command], forwards(&addresses), directory)
    }

    pub(super) fn socat(origin: &Origin, directory: &Path) -> Self {
        // Not for many connections: it starts a process for each.
        let services = [Service::Source, Service::Sink, Service::Echo];
        let addresses = free_addresses(services.len());
        let commands = services.into_iter().zip(&addresses).map(|(service, address)| {
            let mut command = Command::new("socat");
            let listen = format!(
                "TCP-LISTEN:{},bind=127.0.0.1,fork,reuseaddr,backlog=4096,nodelay",
                address.port()
            );
            command.args([listen, format!("TCP:{},nodelay", origin.address(service))]);
            command
        });
        let commands = commands.collect();
        Self::started("socat", commands, forwards(&addresses), directory)
    }
}
