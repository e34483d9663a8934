//! The parent proxies that the environment names.

use conniver::proxy::{Exception, ParseViaError, Via};
use zeroize::Zeroizing;

use super::exit::Failure;

/// The parents for `http` URLs and for `https` URLs, with their exceptions, as curl takes them from
/// the environment. A target for whose scheme none is named is reached directly.
///
/// # Errors
///
/// What is named is no parent that is spoken to. To go past it would be to go where the network may
/// not lead.
pub(super) fn of_environment() -> Result<(Option<Via>, Option<Via>), Failure> {
    both_in(|name| std::env::var_os(name)?.into_string().ok())
}

fn both_in(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(Option<Via>, Option<Via>), Failure> {
    let named_by = |variables: [&str; 2]| named_in(&variables, &variable);
    Ok((named_by(["http_proxy", "all_proxy"])?, named_by(["https_proxy", "all_proxy"])?))
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

/// The parent that the first of these variables names which is set. The names are in lower case; the
/// same in upper case is read as well.
fn named_in(
    variables: &[&str],
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Via>, Failure> {
    // One of them may have a password.
    let value = |name| value_in(name, &variable).map(Zeroizing::new);
    let mut values = variables.iter().filter_map(|name| Some((name, value(name)?)));
    let Some((name, url)) = values.next() else { return Ok(None) };
    let mut via: Via = url.parse().map_err(|error: ParseViaError| {
        Failure::new(format!(
            "the variable {name} does not name a parent proxy: {}; unset it, or name a parent with \
             --via URL",
            error.problem()
        ))
    })?;
    let exceptions = value_in("no_proxy", &variable);
    via.except = exceptions.map_or_else(Vec::new, |list| Exception::list(&list));
    Ok(Some(via))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parents(variables: &[(&str, &str)]) -> Result<(Option<Via>, Option<Via>), Failure> {
        both_in(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn parents_are_what_curl_would_take() {
        const ONE: Option<&str> = Some("http://one:1");
        const TWO: Option<&str> = Some("http://two:2");
        const SOCKS: Option<&str> = Some("socks5h://one:1");
        for (variables, http, https) in [
            (&[][..], None, None),
            (&[("https_proxy", "")], None, None),
            (&[("https_proxy", "http://one:1")], None, ONE),
            (&[("HTTPS_PROXY", "one:1")], None, ONE),
            (&[("HTTPS_PROXY", "http://two:2"), ("https_proxy", "http://one:1")], None, ONE),
            (&[("https_proxy", ""), ("HTTPS_PROXY", "http://two:2")], None, TWO),
            (&[("ALL_PROXY", "socks5h://one:1"), ("http_proxy", "http://two:2")], TWO, SOCKS),
            (&[("all_proxy", "one:1")], ONE, ONE),
            (&[("http_proxy", "one:1"), ("https_proxy", "two:2")], ONE, TWO),
            (&[("HTTP_PROXY", "http://two:2")], TWO, None),
            #[cfg(not(windows))]
            (&[("http_proxy", "http://two:2"), ("REQUEST_METHOD", "GET")], TWO, None),
            (&[("HTTP_PROXY", "http://two:2"), ("REQUEST_METHOD", "GET")], None, None),
            (&[("HTTP_PROXY", "http://two:2"), ("REQUEST_METHOD", "")], None, None),
            (&[("HTTPS_PROXY", "http://two:2"), ("REQUEST_METHOD", "GET")], None, TWO),
            (&[("http_proxy", "one:1/"), ("https_proxy", "http://two:2//")], ONE, TWO),
            (&[("http_proxy", "http://one:1/path"), ("https_proxy", "two:2/?x#y")], ONE, TWO),
        ] {
            let shown = |via: Option<Via>| via.map(|via| via.to_string());
            let (for_http, for_https) = parents(variables).unwrap();
            let found = (shown(for_http), shown(for_https));
            assert_eq!((found.0.as_deref(), found.1.as_deref()), (http, https), "{variables:?}");
        }
    }

    #[test]
    fn its_exceptions_come_with_it() {
        let parents = parents(&[("https_proxy", "one:1"), ("NO_PROXY", "localhost,.example.com")]);
        assert_eq!(parents.unwrap().1.unwrap().except, Exception::list("localhost example.com"));
    }

    #[test]
    fn a_parent_that_is_not_spoken_to_is_an_error_that_names_the_variable_and_no_password() {
        let failure = parents(&[("ALL_PROXY", "socks4://user:s3cret@one:1")]).unwrap_err();
        let text = format!("{failure:?}");
        assert!(text.contains("all_proxy") && !text.contains("s3cret"), "{text}");
    }
}
