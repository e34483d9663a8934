//! How a connection ended, in words.

use conniver::access::Access;
use conniver::ingress::Target;
use conniver::record::{By, Ending, Outcome, Phase, Record};

use crate::cli::parent;

/// Why a connection failed, and who ended it. `None` of one that is ok. `denying` has the proxy's `--deny` rules.
pub(super) fn failure(record: &Record, denying: &Access) -> Option<String> {
    let outcome = record.outcome.filter(|outcome| *outcome != Outcome::Ok)?;
    let Some(ending) = &record.ending else { return Some(outcome.to_string()) };
    let error = ending.error.as_deref().unwrap_or_default();
    let code = ending.error_code.as_deref().unwrap_or_default();
    let by = ending.first_by;
    let via = parent::failed_via(record);
    if let (Some(via), Some(error)) = (via, parent::own_error(error)) {
        return Some(format!("parent proxy {via}: {}", lower(error)));
    }
    let words = match code {
        "EAI_NONAME" => "no such name".to_owned(),
        "EAI_NODATA" | "EAI_FAMILY" => "the name has no address".to_owned(),
        "EAI_AGAIN" => "no answer from the name servers".to_owned(),
        "RESOLVE_TIMEOUT" => "lookup timed out".to_owned(),
        "ECONNREFUSED" => "refused".to_owned(),
        "CONNECT_TIMEOUT" => "connect timed out".to_owned(),
        "REQUEST_TIMEOUT" => "no request from the client in time".to_owned(),
        "IDLE_TIMEOUT" => "closed by --idle-timeout".to_owned(),
        "LIFETIME" => "closed by --lifetime".to_owned(),
        "ETIMEDOUT" => format!("no answer from the {}", by),
        "TARGET_DENIED" => denied(record, denying, error),
        "CLIENT_DENIED" => "client denied by --allow-from".to_owned(),
        "CLIENT_LIMIT" => "refused by --max-per-client".to_owned(),
        "AUTH_REQUIRED" => "denied: no user name and password".to_owned(),
        "AUTH_FAILED" => "denied: wrong user name or password".to_owned(),
        "LOOP" => "denied: a loop through this proxy".to_owned(),
        "MALFORMED_RESPONSE" => format!("malformed response: {error}"),
        _ => match outcome {
            Outcome::Reset => reset(ending),
            Outcome::Shutdown => "closed by the proxy's stop".to_owned(),
            Outcome::Protocol => format!("malformed request: {error}"),
            Outcome::Unreachable => format!("unreachable: {}", lower(error)),
            Outcome::Error if by == By::Client && ending.phase != Phase::Relay => {
                let phase = if ending.phase == Phase::Request { "its request" } else { "connect" };
                format!("client gone before {phase}")
            }
            outcome if error.is_empty() => format!("{outcome}, by the {}", by),
            _ => format!("{}, by the {}", lower(error), by),
        },
    };
    let words = match via {
        Some(via) => format!("parent proxy {via}: {words}"),
        None => words,
    };
    let tried = record.attempts.iter().filter(|attempt| attempt.error.is_some()).count();
    match ending.phase {
        Phase::Connect if tried > 1 => Some(format!("{words}, {tried} addresses")),
        _ => Some(words),
    }
}

/// Error texts of the system begin like sentences.
fn lower(error: &str) -> String {
    let mut chars = error.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => error.to_owned(),
    }
}

/// The side that reset. Where it had ended its stream before, that is not told.
fn reset(ending: &Ending) -> String {
    match ending.reset_by() {
        Some(by) => format!("reset by {by}"),
        None => format!("reset after the {}'s end", ending.first_by),
    }
}

/// The `--deny` rule that matched, by the target's name or by one of its addresses.
fn denied(record: &Record, denying: &Access, error: &str) -> String {
    let named = record.target.as_deref().and_then(|target| target.parse::<Target>().ok());
    let addresses = record.attempts.iter().map(|attempt| Target::from(attempt.addr));
    let mut targets = named.into_iter().chain(addresses);
    match targets.find_map(|target| denying.denied_by(&target).map(ToString::to_string)) {
        Some(rule) if error.contains("--deny rule") => format!("denied by --deny {rule}"),
        _ => format!("denied: {error}"),
    }
}
