//! What went wrong, for people: what was being done, to what, and what to do about it.

use conniver::record::stat::{Exchange, Phase};

use super::StatArgs;

/// A sentence on an exchange that failed.
pub(super) fn sentence(exchange: &Exchange, args: &StatArgs) -> String {
    let Exchange { url, target, target_host, via, ending, .. } = exchange;
    let through = via.as_ref().map_or_else(String::new, |via| format!(" through {via}"));
    let doing = match ending.phase {
        Phase::Resolve => format!("looking up {target_host}"),
        Phase::Connect => format!("connecting to {target}{through}"),
        Phase::Tls => format!("making a TLS connection with {target}{through}"),
        Phase::Server => format!("waiting for an answer to {} {url}", exchange.http.method),
        _ => format!("receiving {url}"),
    };
    let error = ending.error.as_deref().unwrap_or("it failed");
    match advice(exchange, args) {
        Some(advice) => format!("{doing}: {error}; {advice}"),
        None => format!("{doing}: {error}"),
    }
}

fn advice(exchange: &Exchange, args: &StatArgs) -> Option<String> {
    let certificate = exchange.tls.as_ref().and_then(|tls| tls.certificates.first());
    // It was reached, and asked.
    let is_silent = matches!(exchange.ending.phase, Phase::Tls | Phase::Server)
        && exchange.upstream.as_ref().is_some_and(|leg| leg.rx_bytes == 0);
    let connect = args.connect_timeout;
    let all = format!("--max-time {:?}", args.max_time.unwrap_or_default());
    let advice = match exchange.ending.error_code.as_deref()? {
        "EAI_NONAME" | "EAI_NODATA" => "check how it is written",
        "EAI_AGAIN" | "EAI_FAIL" => "check that this machine reaches its resolver",
        "RESOLVE_TIMEOUT" => {
            return Some(format!(
                "--connect-timeout {connect:?} was over: check that this machine reaches its resolver"
            ));
        }
        "ECONNREFUSED" => "nothing listens there, or a firewall refuses it: check the port",
        "EHOSTUNREACH" | "ENETUNREACH" => "check the route to it, or try -4 or -6",
        "ADDRESS_FAMILY" => "leave -4 and -6 out",
        "CONNECT_TIMEOUT" if exchange.ending.phase == Phase::Connect => {
            return Some(format!(
                "--connect-timeout {connect:?} was over: a firewall may drop it, or it is too far"
            ));
        }
        "CONNECT_TIMEOUT" => {
            return Some(format!("--connect-timeout {connect:?} was over: give it longer"));
        }
        "HTTP_407" | "SOCKS5_AUTH" | "SOCKS5_FF" => {
            "write them into the proxy's URL: http://USER:PASSWORD@HOST"
        }
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
        "EOF" | "ECONNRESET" | "EPIPE" if is_silent => match exchange.ending.phase {
            Phase::Tls => "it sent nothing at all: perhaps it does not speak TLS",
            // Some servers of TLS leave so when they are spoken to without.
            _ => "it sent nothing at all: perhaps it speaks TLS (https://), or another protocol",
        },
        "MAX_TIME" if is_silent => {
            return Some(format!("the server has sent nothing so far; {all} was over"));
        }
        "MAX_TIME" => return Some(format!("{all} was over: give it longer")),
        "ECONNRESET" | "EPIPE" => "the server broke it off, or something on the way did",
        "EISDIR" | "EACCES" if exchange.ending.phase == Phase::Transfer => {
            "choose another file with -o FILE"
        }
        "EEXIST" => "choose another file with -o FILE",
        _ => return None,
    };
    Some(advice.to_owned())
}
