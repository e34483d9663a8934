//! What went wrong, for people: what was being done, to what, and what to do about it.

use std::net::IpAddr;

use conniver::record::AttemptOutcome;
use conniver::record::stat::{Exchange, Phase};

use super::StatArgs;
use crate::cli::parent;

/// A sentence on an exchange that failed.
pub(super) fn sentence(exchange: &Exchange, args: &StatArgs) -> String {
    let Exchange { url, target, target_host, via, ending, .. } = exchange;
    let origin = parent::origin(url.starts_with("https:"), args.via.is_some());
    let via = via.as_ref().map(|via| format!("{via}{origin}"));
    let through = via.as_ref().map_or_else(String::new, |via| format!(" through {via}"));
    let error = ending.error.as_deref().unwrap_or("it failed");
    let (doing, error) = match (ending.phase, parent::own_error(error)) {
        (_, Some(error)) => {
            (format!("cannot connect to the parent proxy {}", via.unwrap_or_default()), error)
        }
        (Phase::Resolve, None) => (format!("cannot resolve {target_host}"), error),
        (Phase::Connect, None) => (format!("cannot connect to {target}{through}"), error),
        (Phase::Tls, None) => (format!("TLS handshake with {target}{through} failed"), error),
        (Phase::Server, None) => {
            let method = &exchange.http.method;
            (format!("{method} {url}{through} failed"), error)
        }
        (_, None) => (format!("transfer of {url}{through} failed"), error),
    };
    let limit = limit(exchange, args).map_or_else(String::new, |limit| format!(" ({limit})"));
    let advice = advice(exchange, args).map_or_else(String::new, |advice| format!("; {advice}"));
    format!("{doing}: {error}{limit}{advice}")
}

/// The time that was over, as the option that sets it.
fn limit(exchange: &Exchange, args: &StatArgs) -> Option<String> {
    match exchange.ending.error_code.as_deref()? {
        "RESOLVE_TIMEOUT" | "CONNECT_TIMEOUT" => {
            Some(format!("--connect-timeout {:?}", args.connect_timeout))
        }
        "MAX_TIME" => Some(format!("--max-time {:?}", args.max_time?)),
        _ => None,
    }
}

fn advice(exchange: &Exchange, args: &StatArgs) -> Option<String> {
    let Exchange { ending, upstream, via, .. } = exchange;
    let code = ending.error_code.as_deref()?;
    let certificate = exchange.tls.as_ref().and_then(|tls| tls.certificates.first());
    let is_reached = exchange.attempts.iter().any(|a| a.outcome == AttemptOutcome::Ok);
    let heard = upstream.as_ref().map(|leg| leg.rx_bytes);
    // It was reached, and asked.
    let is_silent = matches!(ending.phase, Phase::Tls | Phase::Server) && heard == Some(0);
    let is_dialling = matches!(ending.phase, Phase::Resolve | Phase::Connect);
    if let (Some(via), Some(error)) = (via, &ending.error)
        && let Some(advice) = parent::advice(&parent::Failed { via, error, code, heard })
        && is_dialling
    {
        return Some(advice.to_owned());
    }
    let advice = match code {
        "EAI_NONAME" | "EAI_NODATA" => "check the spelling",
        "EAI_AGAIN" | "EAI_FAIL" | "RESOLVE_TIMEOUT" => {
            "check this machine's DNS configuration and connectivity"
        }
        "ECONNREFUSED" => "nothing listens on that port, or a firewall rejects the connection",
        "EINVAL" if is_link_local(exchange) => {
            "a link-local address needs its interface; use a name that resolves to both"
        }
        "EHOSTUNREACH" | "ENETUNREACH" => "check the route, or try -4 or -6",
        "ADDRESS_FAMILY" if args.ipv4 => "omit -4",
        "ADDRESS_FAMILY" => "omit -6",
        "CONNECT_TIMEOUT" if !is_reached => "the host may be down, or a firewall drops the packets",
        "CONNECT_TIMEOUT" => "increase the timeout",
        "CERT_UNKNOWN_ISSUER" => {
            "give its CA certificate with --cacert FILE, or ignore this with -k"
        }
        "CERT_EXPIRED" | "CERT_NOT_YET_VALID" => {
            let certificate = certificate?;
            return Some(format!(
                "it is valid from {} to {}; renew it, check this machine's clock, or ignore this \
                 with -k",
                certificate.not_before, certificate.not_after
            ));
        }
        "CERT_OTHER_NAME" => {
            let names = &certificate?.names;
            return Some(match names.is_empty() {
                true => "it contains no names; -k ignores this".to_owned(),
                false => {
                    format!("use one of its names ({}), or ignore this with -k", names.join(", "))
                }
            });
        }
        "TLS_UNEXPECTED" => "use http://, or another port",
        "TLS_ALERT" => "the server may require a client certificate (-E FILE) or another name",
        "TLS_EXPECTED" => "use https://, or another port",
        "TLS_MALFORMED" => "check the port",
        // What came was not HTTP from its first byte on.
        "HTTP_MALFORMED" if ending.phase == Phase::Server => "check the port",
        "EOF" | "ECONNRESET" | "EPIPE" if is_silent => match ending.phase {
            Phase::Tls => "it sent no data and may not speak TLS",
            // Some servers of TLS leave so when they are spoken to without.
            _ => "it sent no data and may speak TLS (https://) or another protocol",
        },
        "MAX_TIME" if is_silent => "the server has sent no data",
        "MAX_TIME" => "increase the timeout",
        "ECONNRESET" | "EPIPE" => "the server or a device on the path reset the connection",
        "EISDIR" | "EACCES" if ending.phase == Phase::Transfer => {
            "choose another file with -o FILE"
        }
        "EEXIST" => "choose another file with -o FILE",
        _ => return None,
    };
    Some(advice.to_owned())
}

/// Whether an address was dialled that is on any link (RFC 4007 section 6).
fn is_link_local(exchange: &Exchange) -> bool {
    exchange.attempts.iter().any(|attempt| match attempt.addr.ip() {
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    })
}
