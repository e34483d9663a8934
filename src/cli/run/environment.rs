//! The variables that lead programs to a proxy: what they say to us, and what COMMAND is told.

use std::net::SocketAddr;

use conniver::proxy::{Exception, Via};
use tokio::process::Command;

use crate::cli::exit::Failure;

/// For which targets a parent is named, in the order in which it becomes ours: what curl would take
/// for https, then for http.
const PARENTS: [&str; 3] = ["https_proxy", "all_proxy", "http_proxy"];

/// The parent proxy that the environment names, with its exceptions.
///
/// # Errors
///
/// What is named is no parent that is spoken to. To go past it would be to go where the network may
/// not lead.
pub(super) fn parent() -> Result<Option<Via>, Failure> {
    parent_in(|name| std::env::var_os(name)?.into_string().ok())
}

fn parent_in(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Via>, Failure> {
    // As curl does: lower case first, and what is empty is not set. curl alone does not read
    // HTTP_PROXY; most other programs do.
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let either = |name: &str| set(name).or_else(|| set(&name.to_ascii_uppercase()));

    let mut named = PARENTS.iter().filter_map(|name| Some((*name, either(name)?)));
    let Some((name, url)) = named.next() else { return Ok(None) };
    for (other, _) in named.filter(|(_, other)| *other != url) {
        tracing::warn!("{other} and {name} differ: everything goes through what {name} names");
    }
    let mut via: Via = url.parse().map_err(|error| {
        Failure::new(format!("{name}: {error}; unset it, or name a parent with --via"))
    })?;
    via.except = either("no_proxy").map_or_else(Vec::new, |list| Exception::list(&list));
    Ok(Some(via))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(variables: &[(&str, &str)]) -> Result<Option<Via>, Failure> {
        parent_in(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_parent_is_what_curl_would_take() {
        for (variables, expected) in [
            (&[][..], None),
            (&[("https_proxy", "")], None),
            (&[("https_proxy", "http://one:1")], Some("http://one:1")),
            (&[("HTTPS_PROXY", "one:1")], Some("http://one:1")),
            (
                &[("HTTPS_PROXY", "http://two:2"), ("https_proxy", "http://one:1")],
                Some("http://one:1"),
            ),
            (&[("https_proxy", ""), ("HTTPS_PROXY", "http://two:2")], Some("http://two:2")),
            (
                &[("ALL_PROXY", "socks5h://one:1"), ("http_proxy", "http://two:2")],
                Some("socks5h://one:1"),
            ),
            (&[("HTTP_PROXY", "http://two:2")], Some("http://two:2")),
        ] {
            let via = parent(variables).unwrap().map(|via| via.to_string());
            assert_eq!(via.as_deref(), expected, "{variables:?}");
        }
    }

    #[test]
    fn its_exceptions_come_with_it() {
        let via = parent(&[("https_proxy", "one:1"), ("NO_PROXY", "localhost,.example.com")]);
        assert_eq!(via.unwrap().unwrap().except, Exception::list("localhost example.com"));
    }

    #[test]
    fn a_parent_that_is_not_spoken_to_is_an_error_that_names_the_variable_and_no_password() {
        let failure = parent(&[("ALL_PROXY", "socks4://user:s3cret@one:1")]).unwrap_err();
        let text = format!("{failure:?}");
        assert!(text.contains("all_proxy") && !text.contains("s3cret"), "{text}");
    }
}
