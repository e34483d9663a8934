//! Texts that are no expectation, and what was probably meant.

use super::{Expectation, Operator};

/// What stands between several expectations in other languages.
const BETWEEN: [&str; 4] = [",", ";", "&&", " and "];

/// What is wrong with a text that has an operator, and how to write it.
pub(super) fn mistake(text: &str) -> Option<String> {
    let (first, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    if let Some((scheme, after)) = first.split_once("://") {
        return Some(url_as_target(scheme, after, rest.trim_start()));
    }
    if first.contains('*') && !first.contains(Operator::is_part) {
        return Some(format!(
            "'{first}' is not one target: write HOST:PORT as it was requested, an --expect for each, or only \
             '{}' for all connections",
            rest.trim_start()
        ));
    }
    several(text)
}

/// Without the user and the password that it may have.
fn url_as_target(scheme: &str, after: &str, rest: &str) -> String {
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    let server = authority.rsplit('@').next().unwrap_or_default();
    let has_port = server.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let port = match scheme.to_ascii_lowercase().as_str() {
        _ if has_port => "",
        "http" | "ws" => ":80",
        "https" | "wss" => ":443",
        _ => ":PORT",
    };
    format!("a target is HOST:PORT, not a URL; write '{server}{port} {rest}'")
}

/// What is said of several expectations in one text.
fn several(text: &str) -> Option<String> {
    let parts = parts(text);
    if parts.len() < 2 {
        return None;
    }
    let target = parts.first().and_then(|first| first.split_once(' ')).map(|(target, _)| target);
    let each = parts.iter().map(|part| match target {
        Some(target) if !part.contains(' ') => format!("{target} {part}"),
        _ => part.clone(),
    });
    let each: Vec<_> = each.collect();
    let advice = match each.iter().all(|part| part.parse::<Expectation>().is_ok()) {
        true => {
            let options: Vec<_> = each.iter().map(|part| format!("--expect '{part}'")).collect();
            format!("write {}", options.join(" "))
        }
        false => "repeat --expect for each".to_owned(),
    };
    Some(format!("there are several expectations in it; {advice}"))
}

/// The parts with an operator each: what has none, such as a target, belongs to the next one.
fn parts(text: &str) -> Vec<String> {
    let spaced = BETWEEN.iter().fold(text.to_owned(), |text, between| text.replace(between, " "));
    let mut parts = vec![String::new()];
    for word in join_operators(&spaced).split_whitespace() {
        let Some(part) = parts.last_mut() else { break };
        if !part.is_empty() {
            part.push(' ');
        }
        part.push_str(word);
        if word.contains(Operator::is_part) {
            parts.push(String::new());
        }
    }
    parts.retain(|part| part.contains(Operator::is_part));
    parts
}

/// The text without blanks around operators.
fn join_operators(text: &str) -> String {
    let mut joined = String::new();
    for word in text.split_whitespace() {
        let joins = joined.ends_with(Operator::is_part) || word.starts_with(Operator::is_part);
        if !joins && !joined.is_empty() {
            joined.push(' ');
        }
        joined.push_str(word);
    }
    joined
}
