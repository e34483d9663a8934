//! The parent proxy that the environment names.

use conniver::proxy::{Exception, Via};
use zeroize::Zeroizing;

use super::exit::Failure;

/// The parent that the first of these variables names which is set, with its exceptions. The names
/// are in lower case; the same in upper case is read as well.
///
/// # Errors
///
/// What is named is no parent that is spoken to. To go past it would be to go where the network may
/// not lead.
pub(super) fn named_by(variables: &[&str]) -> Result<Option<Via>, Failure> {
    named_in(variables, environment)
}

/// What a variable says, in either case.
pub(super) fn value(name: &str) -> Option<String> {
    value_in(name, environment)
}

fn environment(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}

/// As curl does: lower case first, and what is empty is not set. curl alone does not read HTTP_PROXY;
/// most other programs do, but not where it may be a field of a request that a CGI program serves
/// (httpoxy, CVE-2016-5385).
fn value_in(name: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if name == "http_proxy" && variable("REQUEST_METHOD").is_some() {
        // Windows does not tell the two names apart.
        return if cfg!(windows) { None } else { set(name) };
    }
    set(name).or_else(|| set(&name.to_ascii_uppercase()))
}

fn named_in(
    variables: &[&str],
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Via>, Failure> {
    // One of them may have a password.
    let value = |name| value_in(name, &variable).map(Zeroizing::new);
    let mut values = variables.iter().filter_map(|name| Some((name, value(name)?)));
    let Some((name, url)) = values.next() else { return Ok(None) };
    let mut via: Via = url.parse().map_err(|error| {
        Failure::new(format!("{name}: {error}; unset it, or name a parent with --via"))
    })?;
    let exceptions = value_in("no_proxy", &variable);
    via.except = exceptions.map_or_else(Vec::new, |list| Exception::list(&list));
    Ok(Some(via))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(variables: &[(&str, &str)]) -> Result<Option<Via>, Failure> {
        named_in(&["https_proxy", "all_proxy", "http_proxy"], |name| {
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
            #[cfg(not(windows))]
            (&[("http_proxy", "http://two:2"), ("REQUEST_METHOD", "GET")], Some("http://two:2")),
            (&[("HTTP_PROXY", "http://two:2"), ("REQUEST_METHOD", "GET")], None),
            (&[("HTTP_PROXY", "http://two:2"), ("REQUEST_METHOD", "")], None),
            (&[("HTTPS_PROXY", "http://two:2"), ("REQUEST_METHOD", "GET")], Some("http://two:2")),
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
