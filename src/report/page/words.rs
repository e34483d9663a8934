//! What a connection met, in sentences.

use super::super::connection::{Connection, Exchanges};
use super::super::totals::Totals;
use super::format;
use crate::record::{LimitedBy, Outcome, Shape, WarningCode};

/// How it ended: `The upstream reset the connection first; the client ended its stream 1.20 ms later.`
pub(super) fn ending(connection: &Connection) -> Option<String> {
    let end = connection.ending.as_ref()?;
    let mut text = format!("{} {}", end.first_by.in_words(), end.first_how.in_words());
    if let (Some(second), Some(second_how)) = (end.second_by, end.second_how) {
        text = format!("{text} first; {} {}", second.in_words(), second_how.in_words());
        if let Some(gap) = end.gap {
            text = format!("{text} {} later", format::time(gap));
        }
    }
    let error = [&end.error, &end.error_code].into_iter().flatten();
    // The symbol alone where the line has no words.
    if let Some(error) = error.clone().next() {
        let code = error_code_after(error, end.error_code.as_deref());
        text = format!("{text}: {}{code}", format::text(error));
    }
    Some(sentence(&text))
}

fn error_code_after(error: &str, code: Option<&str>) -> String {
    code.filter(|code| *code != error)
        .map_or_else(String::new, |code| format!(" ({})", format::text(code)))
}

/// Who was slow: `The upstream took 92 % of the 210 ms in which somebody waited.`
pub(super) fn verdict(connection: &Connection) -> Option<String> {
    let verdict = connection.verdict.as_ref()?;
    let active = format::time(verdict.active);
    Some(match verdict.share {
        Some(share) if verdict.limited_by != LimitedBy::None => {
            let who = sentence_start(verdict.limited_by.in_words());
            let share = format::percent(share, 1.0);
            format!("{who} took {share} of the {active} in which somebody waited.")
        }
        _ => format!("Nobody in particular was slow: somebody waited for {active}."),
    })
}

/// What there is of turns that are not shown one by one: `417 turns; half waited less than 38.0 ms.`
pub(super) fn further_turns(turns: &Exchanges) -> Option<String> {
    let count = format::counted(turns.count, "turn");
    match (turns.shape, turns.wait) {
        (Shape::Mixed, _) => {
            Some(format!("{count}, at least: requests and answers overlap, and cannot be matched."))
        }
        (_, Some(wait)) if turns.count > 3 => Some(format!(
            "{count}; half of them waited up to {}, the longest {}.",
            format::time(wait.p50),
            format::time(wait.max)
        )),
        _ => None,
    }
}

/// A warning's code as words, for lines without its text.
pub(super) fn code(code: WarningCode) -> String {
    let name = serde_json::to_value(code).ok();
    let name = name.as_ref().and_then(|name| name.as_str()).unwrap_or_default().to_owned();
    let mut words = String::new();
    let mut was_lower = false;
    for c in name.chars() {
        if was_lower && c.is_uppercase() {
            words.push(' ');
        }
        was_lower = c.is_lowercase();
        words.push(c);
    }
    words
}

/// The outcome in a word or three: `ok`, `reset by the upstream`, `refused`.
pub(super) fn outcome(connection: &Connection) -> String {
    let Some(outcome) = connection.outcome else { return "unknown".to_owned() };
    match (outcome, connection.reset_by()) {
        (Outcome::Reset, Some(side)) => format!("reset by {}", side.in_words()),
        _ => outcome.to_string(),
    }
}

/// A phrase as a sentence.
pub(super) fn sentence(text: &str) -> String {
    format!("{}.", sentence_start(text).trim_end_matches('.'))
}

fn sentence_start(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// What was lost, in a sentence.
pub(super) fn loss(totals: &Totals) -> String {
    let lost = match totals.lost {
        None => "How many segments were lost is not known.".to_owned(),
        Some(0) => "No segment was lost.".to_owned(),
        Some(lost) => {
            format!("{} lost.", format::counted(lost, "segment"))
        }
    };
    let again = totals
        .retransmits
        .filter(|count| *count > 0)
        .map(|count| format!(" {} sent again.", format::counted(count, "segment")));
    let syns = (totals.syn_retransmits > 0)
        .then(|| format!(" {} sent again.", format::counted(totals.syn_retransmits, "SYN")));
    format!("{lost}{}{}", again.unwrap_or_default(), syns.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_and_verdicts_are_sentences() {
        let parsed = |keys: &str| -> Connection { serde_json::from_str(keys).unwrap() };
        let connection = parsed(
            r#"{"outcome":"reset","ending":{"phase":"relay","firstBy":"upstream","firstHow":"reset","secondBy":"client","secondHow":"fin","gap":1200000,"error":"connection reset","errorCode":"ECONNRESET"},
                "verdict":{"limitedBy":"network-client","share":0.92,"active":210000000}}"#,
        );
        assert_eq!(
            ending(&connection).unwrap(),
            "The upstream reset the connection first; the client ended its stream 1.20 ms later: connection reset (ECONNRESET)."
        );
        assert_eq!(
            verdict(&connection).unwrap(),
            "The network to the client took 92 % of the 210 ms in which somebody waited."
        );
        assert_eq!(outcome(&connection), "reset by the upstream");
        let brief = parsed(
            r#"{"outcome":"refused","ending":{"phase":"connect","firstBy":"upstream","firstHow":"refused","errorCode":"ECONNREFUSED"}}"#,
        );
        assert_eq!(ending(&brief).unwrap(), "The upstream refused the connection: ECONNREFUSED.");
        assert_eq!((verdict(&brief), outcome(&brief).as_str()), (None, "refused"));
    }
}
