//! The variables that lead programs to a proxy: what they say to us, and what COMMAND is told.

use std::net::SocketAddr;

use conniver::proxy::Via;
use tokio::process::Command;

use crate::cli::exit::Failure;
use crate::cli::parent;

/// For which targets a parent is named, in the order in which it becomes ours: what curl would take
/// for https, then for http.
const PARENTS: [&str; 3] = ["https_proxy", "all_proxy", "http_proxy"];

/// The parent proxy that the environment names, with its exceptions.
pub(super) fn parent() -> Result<Option<Via>, Failure> {
    let mut named = PARENTS.iter().filter_map(|name| Some((*name, parent::value(name)?)));
    if let Some((name, url)) = named.next() {
        for (other, _) in named.filter(|(_, other)| *other != url) {
            tracing::warn!("{other} and {name} differ: everything goes through what {name} names");
        }
    }
    parent::named_by(&PARENTS)
}

/// Leads the program to this proxy, and with nothing past it: the former exceptions are ours to
/// make.
pub(super) fn point_at(command: &mut Command, proxy: SocketAddr) {
    // Not socks5h for all_proxy: programs that have no SOCKS would fail for the sake of a variable
    // that they do not need (Python's httpx does), and those that need it know CONNECT.
    let url = format!("http://{proxy}");
    for name in PARENTS {
        command.env(name, &url).env(name.to_ascii_uppercase(), &url);
    }
    command.env_remove("no_proxy").env_remove("NO_PROXY");
}
