//! What went wrong, for people: what was being done, to what, and what to do about it.

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
            (format!("reaching the parent proxy {}", via.unwrap_or_default()), error)
        }
        (Phase::Resolve, None) => (format!("looking up {target_host}"), error),
        (Phase::Connect, None) => (format!("connecting to {target}{through}"), error),
        (Phase::Tls, None) => (format!("making a TLS connection with {target}{through}"), error),
        (Phase::Server, None) => {
            let method = &exchange.http.method;
            (format!("waiting for an answer to {method} {url}{through}"), error)
        }
        (_, None) => (format!("receiving {url}{through}"), error),
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
        "EAI_NONAME" | "EAI_NODATA" => "check how it is written",
        "EAI_AGAIN" | "EAI_FAIL" | "RESOLVE_TIMEOUT" => {
            "check that this machine reaches its resolver"
        }
        "ECONNREFUSED" => "nothing listens there, or a firewall refuses it: check the port",
        "EHOSTUNREACH" | "ENETUNREACH" => "check the route to it, or try -4 or -6",
        "ADDRESS_FAMILY" if args.ipv4 => "leave -4 out",
        "ADDRESS_FAMILY" => "leave -6 out",
        "CONNECT_TIMEOUT" if !is_reached => "a firewall may drop it, or it is too far",
        "CONNECT_TIMEOUT" => "give it longer",
        "CERT_UNKNOWN_ISSUER" => {
            "name who signed it with --cacert FILE, or go on without a check with -k"
        }
        "CERT_EXPIRED" | "CERT_NOT_YET_VALID" => {
            let certificate = certificate?;
            return Some(format!(
                "it is valid from {} to {}: renew it, or check this machine's clock; -k goes on",
                certificate.not_before, certificate.not_after
            ));
        }
        "CERT_OTHER_NAME" => {
            let names = &certificate?.names;
            return Some(match names.is_empty() {
                true => "it names none; -k goes on".to_owned(),
                false => {
                    format!("ask for one of them: {}; -k goes on", names.join(", "))
                }
            });
        }
        "TLS_UNEXPECTED" => "ask for http://, or another port",
        "TLS_ALERT" => "the server may want a client's certificate, -E FILE, or another name",
        "TLS_EXPECTED" => "ask for https://, or another port",
        "TLS_MALFORMED" => "check the port",
        // What came was not HTTP from its first byte on.
        "HTTP_MALFORMED" if ending.phase == Phase::Server => "check the port",
        "EOF" | "ECONNRESET" | "EPIPE" if is_silent => match ending.phase {
            Phase::Tls => "it sent nothing at all: perhaps it does not speak TLS",
            // Some servers of TLS leave so when they are spoken to without.
            _ => "it sent nothing at all: perhaps it speaks TLS (https://), or another protocol",
        },
        "MAX_TIME" if is_silent => "the server has sent nothing so far",
        "MAX_TIME" => "give it longer",
        "ECONNRESET" | "EPIPE" => "the server broke it off, or something on the way did",
        "EISDIR" | "EACCES" if ending.phase == Phase::Transfer => {
            "choose another file with -o FILE"
        }
        "EEXIST" => "choose another file with -o FILE",
        _ => return None,
    };
    Some(advice.to_owned())
}
