//! The variables that lead COMMAND to the proxy.

use std::net::SocketAddr;

use tokio::process::Command;

/// They name a proxy for some targets each.
const PROXIES: [&str; 3] = ["http_proxy", "https_proxy", "all_proxy"];

/// Leads the program to this proxy, and with nothing past it: the former exceptions are ours to
/// make.
pub(super) fn point_at(command: &mut Command, proxy: SocketAddr) {
    // Not socks5h for all_proxy: programs that have no SOCKS would fail for the sake of a variable
    // that they do not need (Python's httpx does), and those that need it know CONNECT.
    let url = format!("http://{proxy}");
    for name in PROXIES {
        command.env(name, &url).env(name.to_ascii_uppercase(), &url);
    }
    command.env_remove("no_proxy").env_remove("NO_PROXY");
}
