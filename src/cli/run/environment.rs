//! The variables that lead COMMAND to the proxy.

use std::net::SocketAddr;

use tokio::process::Command;

/// They name a proxy for some targets each.
const PROXIES: [&str; 3] = ["http_proxy", "https_proxy", "all_proxy"];

/// Targets that no proxy is used for.
const EXCEPTIONS: &str = "no_proxy";

/// Whether Node.js reads these variables.
const NODE: &str = "NODE_USE_ENV_PROXY";

/// Leads the program to this proxy, and with nothing past it: the former exceptions are ours to
/// make.
pub(super) fn point_at(command: &mut Command, proxy: SocketAddr) {
    // Not socks5h for all_proxy: programs that have no SOCKS would fail for the sake of a variable
    // that they do not need (Python's httpx does), and those that need it know CONNECT.
    let url = format!("http://{proxy}");
    for name in PROXIES {
        command.env(name, &url).env(name.to_ascii_uppercase(), &url);
    }
    command.env_remove(EXCEPTIONS).env_remove(EXCEPTIONS.to_ascii_uppercase());
    // Newer versions of Node.js read the others where this one is set.
    if std::env::var_os(NODE).is_none() {
        command.env(NODE, "1");
    }
}

/// Whether [`point_at`] sets or removes this variable.
pub(super) fn is_proxy_variable(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    PROXIES.contains(&&*lower) || lower == EXCEPTIONS
}
