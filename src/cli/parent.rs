//! The parent proxies that the environment names, and what to do when one of them fails.

use conniver::proxy::{Exception, ParseViaError, Via};
use conniver::record::{By, Mode, Outcome, Phase, Record};
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
    Ok((named_in(variables(false), &variable)?, named_in(variables(true), &variable)?))
}

/// What is said behind a parent for `https` URLs, or else for `http` URLs: the variable that names
/// it, as it is spelled; nothing where an option does.
pub(super) fn origin(is_secure: bool, is_named_by_option: bool) -> String {
    let set = |name: &str| std::env::var_os(name)?.into_string().ok();
    let mut named = variables(is_secure).into_iter().filter_map(|name| value_in(name, set));
    match named.next().filter(|_| !is_named_by_option) {
        Some((variable, _)) => format!(" ({variable})"),
        None => String::new(),
    }
}

/// What may name the parent, in the order in which it counts. The names are in lower case; the same
/// in upper case is read as well.
fn variables(is_secure: bool) -> [&'static str; 2] {
    [if is_secure { "https_proxy" } else { "http_proxy" }, "all_proxy"]
}

/// What an error begins with that is about the parent's own name or address.
const ITS_OWN: &str = "the parent proxy: ";

/// The rest of an error that is about the parent's own name or address.
pub(super) fn own_error(error: &str) -> Option<&str> {
    error.strip_prefix(ITS_OWN)
}

/// A failure on the way through a parent proxy.
#[derive(Debug)]
pub(super) struct Failed<'f> {
    /// The parent, as a URL.
    pub(super) via: &'f str,
    pub(super) error: &'f str,
    pub(super) code: &'f str,
    /// Bytes that it sent, where it was reached.
    pub(super) heard: Option<u64>,
}

impl<'r> Failed<'r> {
    /// The one that this record tells of.
    fn in_record(record: &'r Record) -> Option<Self> {
        let ending = record.ending.as_ref().filter(|_| record.outcome != Some(Outcome::Ok))?;
        let is_here = matches!(ending.phase, Phase::Resolve | Phase::Connect);
        Some(Self {
            via: record.via.as_deref().filter(|_| is_here && ending.first_by != By::Client)?,
            error: ending.error.as_deref()?,
            code: ending.error_code.as_deref()?,
            heard: record.upstream.as_ref().map(|leg| leg.rx_bytes),
        })
    }
}

/// The parent proxy, as a URL, through which a connection failed. `None` of others, and of what this proxy itself
/// refused or ended.
pub(super) fn failed_via(record: &Record) -> Option<&str> {
    let failed = Failed::in_record(record)?;
    let by_proxy = record.ending.as_ref().is_some_and(|ending| ending.first_by == By::Proxy);
    Some(failed.via).filter(|_| !by_proxy || record.outcome == Some(Outcome::Timeout))
}

/// What a record says of a connection that failed on the way through a parent proxy, which an option
/// named or else the environment. `None` of others.
pub(super) fn failure(record: &Record, is_named_by_option: bool) -> Option<String> {
    let failed = Failed::in_record(record)?;
    let Failed { via, error, .. } = failed;
    let from = origin(record.mode != Some(Mode::Http), is_named_by_option);
    let advice = advice(&failed).map_or_else(String::new, |advice| format!("; {advice}"));
    Some(match (own_error(error), &record.target) {
        (None, Some(target)) => {
            format!(
                "cannot connect to {target} through the parent proxy {via}{from}: {error}{advice}"
            )
        }
        (own, _) => {
            format!(
                "cannot connect to the parent proxy {via}{from}: {}{advice}",
                own.unwrap_or(error)
            )
        }
    })
}

/// What to do about it.
pub(super) fn advice(failed: &Failed<'_>) -> Option<&'static str> {
    let Failed { via, error, code, heard } = *failed;
    let is_socks = via.starts_with("socks");
    let looks_up_here = via.starts_with("socks5://") && own_error(error).is_none();
    Some(match (code, heard) {
        ("EAI_NONAME" | "EAI_NODATA" | "ADDRESS_FAMILY", None) if looks_up_here => {
            "if only the proxy can resolve the name, use socks5h:// instead of socks5://"
        }
        ("SOCKS5_AUTH" | "SOCKS5_FF", _) => {
            "check the credentials in its URL, socks5h://USER:PASSWORD@HOST"
        }
        ("HTTP_407", _) => "check the credentials in its URL, http://USER:PASSWORD@HOST",
        ("PARENT_PROTOCOL", _) => "check the port and the scheme of the proxy's URL",
        ("EOF" | "ECONNRESET" | "EPIPE" | "CONNECT_TIMEOUT", Some(0)) if is_socks => {
            "if it is an HTTP proxy, its URL must begin with http://"
        }
        ("EOF" | "ECONNRESET" | "EPIPE", Some(0)) => {
            "if it is a SOCKS proxy, its URL must begin with socks5h://"
        }
        _ => return None,
    })
}

/// The variable as it is spelled, and its value. As curl does: lower case first, and what is empty is
/// not set. curl alone does not read HTTP_PROXY; most other programs do, but not where it may be a
/// field of a request that a CGI program serves (httpoxy, CVE-2016-5385).
fn value_in(
    name: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<(String, Zeroizing<String>)> {
    let set = |name: &str| {
        // It may have a password.
        let value = variable(name).filter(|value| !value.is_empty()).map(Zeroizing::new)?;
        Some((name.to_owned(), value))
    };
    if name == "http_proxy" && variable("REQUEST_METHOD").is_some() {
        // Windows does not tell the two names apart.
        return if cfg!(windows) { None } else { set(name) };
    }
    set(name).or_else(|| set(&name.to_ascii_uppercase()))
}

/// The parent that the first of these variables names which is set.
fn named_in(
    variables: [&str; 2],
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Via>, Failure> {
    let mut values = variables.into_iter().filter_map(|name| value_in(name, &variable));
    let Some((name, url)) = values.next() else { return Ok(None) };
    let mut via: Via = url.parse().map_err(|error: ParseViaError| {
        Failure::new(format!(
            "the variable {name} is not a valid parent proxy: {}; unset it, or give a parent \
             proxy with --via URL",
            error.problem()
        ))
    })?;
    let exceptions = value_in("no_proxy", &variable);
    via.except = exceptions.map_or_else(Vec::new, |(_, list)| Exception::list(&list));
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
        assert!(text.contains("ALL_PROXY") && !text.contains("s3cret"), "{text}");
    }
}
