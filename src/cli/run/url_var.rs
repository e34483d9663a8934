//! `--url-var`: a variable of COMMAND that holds the URL of a server, which a forwarding listener takes the
//! place of.

use std::net::{Ipv6Addr, SocketAddr};
use std::ops::Range;

use conniver::ingress::Target;
use tokio::process::Command;

use super::environment;
use crate::cli::exit::Failure;
use crate::cli::usage;
use crate::cli::wrap::unbroken;

/// Default ports of URL schemes, as the programs that take such URLs have them.
const PORTS: &[(&[&str], u16)] = &[
    (&["http", "ws"], 80),
    (&["https", "wss"], 443),
    (&["postgres", "postgresql"], 5432),
    (&["mysql", "mariadb"], 3306),
    (&["redis", "rediss", "valkey", "valkeys"], 6379),
    (&["amqp"], 5672),
    (&["amqps"], 5671),
    (&["mongodb"], 27017),
    (&["mqtt"], 1883),
    (&["mqtts"], 8883),
    (&["nats"], 4222),
    (&["ldap"], 389),
    (&["ldaps"], 636),
    (&["sqlserver", "mssql"], 1433),
    (&["memcached"], 11211),
    (&["bolt"], 7687),
];

/// Schemes of TLS, whose programs check the certificate for the URL's host.
const WITH_TLS: [&str; 7] = ["https", "wss", "rediss", "valkeys", "amqps", "mqtts", "ldaps"];

/// Schemes whose programs look in the URL's query for a server as well, and prefer it.
const WITH_SERVERS_IN_QUERIES: [&str; 4] = ["postgres", "postgresql", "mysql", "mariadb"];

/// Parameters of such queries.
const SERVERS_IN_QUERIES: [&str; 6] =
    ["host", "hostaddr", "port", "service", "socket", "unix_socket"];

/// A variable and the URL in it. Without `Debug`: the URL may have a password.
pub(super) struct UrlVar {
    name: String,
    url: String,
    server: Server,
}

/// The server of a URL, and where the URL has it.
#[derive(Debug, PartialEq, Eq)]
struct Server {
    target: Target,
    /// Host and port, in bytes.
    at: Range<usize>,
}

/// Ends the program for what is no list of variables to forward. Exit status 2.
pub(super) fn check_names(names: &[String]) {
    for (at, name) in names.iter().enumerate() {
        // What was given may be the URL itself, password and all.
        if name.is_empty() || name.contains(['=', ':', '/', '@', '$']) {
            usage::invalid_value(
                "--url-var <NAME>",
                "expected the name of an environment variable that holds a URL, such as \
                 DATABASE_URL",
            );
        }
        if name.contains([',', ' ', ';']) {
            let each = name.split([',', ' ', ';']).filter(|name| !name.is_empty());
            let each: Vec<_> = each.map(|name| format!("--url-var {name}")).collect();
            usage::invalid_value(
                "--url-var <NAME>",
                format!("it takes one name; repeat it for each: {}", each.join(" ")),
            );
        }
        if environment::is_proxy_variable(name) {
            let sentence = format!(
                "--url-var {name}: COMMAND gets the proxy's own address in this variable; its \
                 value is already used as the parent proxy"
            );
            usage::wrong_usage(&["run"], &sentence);
        }
        if names.iter().take(at).any(|other| other == name) {
            usage::wrong_usage(&["run"], &format!("--url-var {name} is given twice"));
        }
    }
}

impl UrlVar {
    /// The variable of this name.
    ///
    /// # Errors
    ///
    /// It is not set, or has no URL of one server that can be forwarded. The sentence does not
    /// have its value.
    pub(super) fn of_environment(name: &str) -> Result<Self, Failure> {
        let problem = match std::env::var_os(name).map(std::ffi::OsString::into_string) {
            None => format!(
                "it is not set in conniver's environment; export it, or write {}",
                unbroken(&format!("{name}=URL conniver run --url-var {name} -- COMMAND"))
            ),
            Some(Err(_)) => "its value is not UTF-8".to_owned(),
            Some(Ok(url)) => match Server::of_url(&url) {
                Ok(server) => {
                    if let Some(parameter) = checks_name(&url) {
                        tracing::warn!(
                            "--url-var {name}: COMMAND connects to 127.0.0.1, for which the certificate of {} is \
                             not valid, and {parameter} has it checked; check only its issuer (Postgres: \
                             sslmode=verify-ca), or use --intercept",
                            server.target.host()
                        );
                    }
                    if is_of_tls(&url) {
                        tracing::warn!(
                            "--url-var {name}: COMMAND connects to 127.0.0.1, for which the \
                             certificate of {} is not valid; if COMMAND uses HTTPS_PROXY, which \
                             run sets, omit --url-var, otherwise use --intercept",
                            server.target.host()
                        );
                    }
                    return Ok(Self { name: name.to_owned(), url, server });
                }
                Err(problem) => problem,
            },
        };
        Err(Failure::new(format!("cannot forward the URL in {name} (--url-var): {problem}")))
    }

    /// Where its connections go.
    pub(super) fn target(&self) -> &Target {
        &self.server.target
    }

    /// Gives the program the URL with this listener in it. Every other byte stays as it is.
    pub(super) fn point_at(&self, command: &mut Command, listener: SocketAddr) {
        command.env(&self.name, self.server.replaced(&self.url, listener));
    }
}

impl Server {
    /// The server of a URL, or what is wrong with the URL, and what to do.
    fn of_url(url: &str) -> Result<Self, String> {
        check_ends(url)?;
        let no_url = || {
            "its value is not a URL (SCHEME://HOST:PORT/...); to forward a port: -L \
             PORT:HOST:HOSTPORT"
                .to_owned()
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(no_url)?;
        let is_of_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.:".contains(c);
        if scheme.is_empty() || !scheme.chars().all(is_of_scheme) {
            return Err(no_url());
        }
        let scheme = scheme.to_ascii_lowercase();
        // Java has one scheme around another.
        let scheme = scheme.strip_prefix("jdbc:").unwrap_or(&scheme);
        // SQLAlchemy and others name a driver behind it.
        let (base, driver) = scheme.split_once('+').unwrap_or((scheme, ""));
        check_scheme(base, driver)?;

        // RFC 3986 section 3.2: userinfo has no '@', but many passwords have.
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let server = authority.rsplit('@').next().unwrap_or_default();
        let end = url.len() - rest.len() + authority.len();
        let at = end - server.len()..end;
        // Where no host stands in front of a query, the query may have it.
        check_query(base, rest)?;
        check_server(server)?;
        let (host, port) = split_port(server);
        let port = match port {
            Some(port) => parse_port(port).ok_or_else(|| {
                let advice = match rest.contains('@') {
                    true => "; '/', '?', '#' and '@' in a password must be percent-encoded",
                    false => "",
                };
                format!("its port is not a number from 1 to 65535{advice}")
            })?,
            None => default_port(base).ok_or_else(|| {
                format!("the default port of {base} URLs is not known; put the port into the URL")
            })?,
        };
        let target = Target::new(host, port)
            .map_err(|_| "its host is neither a name nor an address".to_owned())?;
        Ok(Self { target, at })
    }

    /// The URL with this address in place of the server.
    fn replaced(&self, url: &str, address: SocketAddr) -> String {
        let before = url.get(..self.at.start).unwrap_or_default();
        let after = url.get(self.at.end..).unwrap_or_default();
        format!("{before}{address}{after}")
    }
}

/// Whether the value is more than a URL, such as a line of a file.
fn check_ends(value: &str) -> Result<(), String> {
    if value.starts_with(['"', '\'']) {
        return Err("its value begins with a quotation mark, which a shell would have removed and --env-file of \
                    containers does not; remove the quotation marks"
            .to_owned());
    }
    let ends = [("begins", value.chars().next()), ("ends", value.chars().next_back())];
    let blank =
        ends.into_iter().find_map(|(verb, end)| Some((verb, end.filter(|c| c.is_whitespace())?)));
    match blank {
        None if value.is_empty() => Err("its value is empty".to_owned()),
        None => Ok(()),
        Some((verb, end)) => {
            let what = match end {
                '\r' => "a carriage return, as lines of Windows do",
                '\n' => "a line feed",
                _ => "a blank",
            };
            Err(format!("its value {verb} with {what}; remove it"))
        }
    }
}

/// The parameter of a database's URL that has the certificate checked for the URL's host.
fn checks_name(url: &str) -> Option<&str> {
    let query = url.split('#').next()?.split_once('?')?.1;
    query.split('&').find(|pair| {
        let pair = pair.to_ascii_lowercase().replace(['-', '_'], "");
        ["sslmode=verifyfull", "sslmode=verifyidentity", "sslrootcert=system"].contains(&&*pair)
    })
}

/// An IPv6 address without brackets, in brackets; what follows its last colon is the port, where the rest is an
/// address.
fn with_brackets(server: &str) -> Option<String> {
    let is_address = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    match server.rsplit_once(':').filter(|_| !server.contains('[')) {
        Some((host, port)) if is_address(host) => Some(format!("[{host}]:{port}")),
        Some(_) if is_address(server) => Some(format!("[{server}]")),
        _ => None,
    }
}

fn is_of_tls(url: &str) -> bool {
    let scheme = url.split("://").next().unwrap_or_default().to_ascii_lowercase();
    WITH_TLS.contains(&scheme.split('+').next().unwrap_or_default())
}

fn check_scheme(base: &str, driver: &str) -> Result<(), String> {
    if driver == "srv" {
        return Err(format!(
            "{base}+srv finds its servers in DNS, so there is none in the URL to forward; use \
             --intercept, or a URL with one server"
        ));
    }
    if driver == "sentinel" || driver == "cluster" {
        return Err(format!(
            "with {base}+{driver} the server tells its clients which others to connect to, and \
             they would bypass the forwarding; use --intercept"
        ));
    }
    if base == "unix" || driver == "unix" || driver == "socket" {
        return Err(unix_socket());
    }
    Ok(())
}

/// Whether host and port name one server that TCP reaches.
fn check_server(server: &str) -> Result<(), String> {
    if server.contains(['$', '{']) {
        return Err("its host or port is a variable that was not expanded; a shell expands $NAME in double \
                    quotes, and not in single ones"
            .to_owned());
    }
    if let Some(meant) = with_brackets(server) {
        return Err(format!(
            "an IPv6 address in a URL must be in brackets, as in SCHEME://{meant}"
        ));
    }
    if server.is_empty() || server.starts_with(':') {
        return Err("its URL names no host; only TCP connections can be forwarded, not UNIX \
                    sockets"
            .to_owned());
    }
    if server.contains(',') {
        return Err("its URL names several hosts, and one of them only can be forwarded; use \
                    --intercept, or a URL with one host"
            .to_owned());
    }
    if server.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("%2f")) {
        return Err(unix_socket());
    }
    Ok(())
}

/// Whether the URL's query names another server, to which the program would connect instead.
fn check_query(base: &str, rest: &str) -> Result<(), String> {
    let query = rest.split('#').next().and_then(|rest| rest.split_once('?'));
    let Some((_, query)) = query.filter(|_| WITH_SERVERS_IN_QUERIES.contains(&base)) else {
        return Ok(());
    };
    let names = query.split('&').filter_map(|pair| pair.split('=').next());
    match names.into_iter().find(|name| SERVERS_IN_QUERIES.contains(name)) {
        Some(name) => Err(format!(
            "its query has '{name}', which overrides the server in front of it; put host and port \
             into scheme://HOST:PORT/"
        )),
        None => Ok(()),
    }
}

fn unix_socket() -> String {
    "its URL names a UNIX socket; only TCP connections can be forwarded".to_owned()
}

/// The host, and the port behind it if there is one. The colons in brackets are the host's.
fn split_port(server: &str) -> (&str, Option<&str>) {
    let after = server.rfind(']').map_or(0, |bracket| bracket + 1);
    match server.get(after..).and_then(|rest| rest.rfind(':')) {
        Some(colon) => {
            let (host, port) = server.split_at(after + colon);
            // RFC 3986 section 3.2.3: an empty port is the default one.
            (host, port.strip_prefix(':').filter(|port| !port.is_empty()))
        }
        None => (server, None),
    }
}

/// str::parse would take a sign as well.
fn parse_port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port| is_number && port != 0)
}

fn default_port(scheme: &str) -> Option<u16> {
    PORTS.iter().find(|(schemes, _)| schemes.contains(&scheme)).map(|(_, port)| *port)
}

#[cfg(test)]
mod tests;
