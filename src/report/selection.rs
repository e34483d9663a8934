//! Which connections are in a report: conditions on a handful of keys, and a span of time.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use wildmatch::WildMatch;

use super::connection::Connection;
use crate::record::{LimitedBy, Mode, Outcome, words};

/// Which connections are in a report. The default has all of them.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Selection {
    /// All of these must hold.
    pub conditions: Vec<Condition>,
    /// Connections that were accepted before are left out.
    pub since: Option<Timestamp>,
    /// Connections that were accepted at this time or later are left out.
    pub until: Option<Timestamp>,
}

impl Selection {
    /// Hides the patterns that may have names in them. What it selects is no more known then.
    pub(super) fn redact(&mut self) {
        self.conditions.iter_mut().for_each(Condition::redact);
    }

    /// Whether a connection is in the report. One whose line has no time is not if there is a span of time.
    pub fn has(&self, connection: &Connection) -> bool {
        let opened = || connection.opened_at().map(i128::from);
        let is_since = |since: Timestamp| opened().is_some_and(|at| at >= since.as_nanosecond());
        let is_until = |until: Timestamp| opened().is_some_and(|at| at < until.as_nanosecond());
        self.since.is_none_or(is_since)
            && self.until.is_none_or(is_until)
            && self.conditions.iter().all(|condition| condition.holds(connection))
    }
}

/// A condition: a key, `=` or `!=`, and a pattern with `*` and `?`.
#[derive(Debug, Clone)]
pub struct Condition {
    key: Key,
    is_equal: bool,
    pattern: WildMatch,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Target,
    Process,
    Listener,
    Outcome,
    Client,
    Host,
    Mode,
    LimitedBy,
    Error,
    Id,
    Label(String),
}

/// The keys that a condition may have.
const KEYS: &str =
    "target, process, listener, outcome, client, host, mode, limitedBy, error, id or label.KEY";

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "target",
            Self::Process => "process",
            Self::Listener => "listener",
            Self::Outcome => "outcome",
            Self::Client => "client",
            Self::Host => "host",
            Self::Mode => "mode",
            Self::LimitedBy => "limitedBy",
            Self::Error => "error",
            Self::Id => "id",
            Self::Label(key) => return write!(f, "label.{key}"),
        })
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "target" => Self::Target,
            "process" => Self::Process,
            "listener" => Self::Listener,
            "outcome" => Self::Outcome,
            "client" => Self::Client,
            "host" => Self::Host,
            "mode" => Self::Mode,
            // Tables have the second name.
            "limitedBy" | "slow-by" => Self::LimitedBy,
            "error" => Self::Error,
            "id" => Self::Id,
            "label" | "labels" => {
                return Err(format!("'{text}' has no KEY; write label.KEY=PATTERN"));
            }
            _ => match text.strip_prefix("label.") {
                Some(label) if !label.is_empty() => Self::Label(label.to_owned()),
                _ => {
                    return Err(match meant_key(text) {
                        Some(key) => format!("unknown key '{text}'; the key is {key}"),
                        None => format!("unknown key '{text}'; give {KEYS}"),
                    });
                }
            },
        })
    }
}

/// The key that somebody means who writes another word for it.
fn meant_key(text: &str) -> Option<String> {
    if let Some(label) = text.strip_prefix("labels.") {
        return Some(format!("label.{label}"));
    }
    let lower = text.to_ascii_lowercase().replace(['-', '_'], "");
    let key = match &*lower {
        "target" | "server" | "upstream" | "dst" | "dest" | "destination" | "to" => "target",
        "process" | "program" | "command" | "comm" | "processname" => "process",
        "listener" | "listen" => "listener",
        "outcome" | "status" | "result" | "state" => "outcome",
        "client" | "src" | "source" | "clienthost" | "from" => "client",
        "host" | "hostname" | "machine" => "host",
        "mode" => "mode",
        "limitedby" | "slowby" | "slow" => "limitedBy",
        "error" | "errorcode" | "code" => "error",
        "id" | "connection" => "id",
        _ => return None,
    };
    Some(key.to_owned())
}

impl Key {
    /// The values of a key that has no others. `None` if it may have any.
    fn words(&self) -> Option<Vec<String>> {
        Some(match self {
            Self::Outcome => words(Outcome::ALL),
            Self::Mode => words(Mode::ALL),
            Self::LimitedBy => words(LimitedBy::ALL),
            _ => return None,
        })
    }

    /// What is wrong with a pattern, as far as it can be told: one that fits nothing would be a report
    /// of nothing, or with `!=` of everything.
    fn check(&self, pattern: &WildMatch, is_equal: bool, text: &str) -> Result<(), String> {
        if text.starts_with('=') {
            return Err(format!("'{text}': one = is enough"));
        }
        if text.starts_with(['\'', '"', '“', '”', '„', '‘', '’', '«']) {
            return Err(format!("{text}: write the value without quotes"));
        }
        let joins = |word: &str| word.eq_ignore_ascii_case("or") || word == "&&" || word == "||";
        if let Some(word) = text.split_whitespace().find(|word| joins(word)) {
            return Err(format!(
                "'{word}' is not understood; join conditions by 'and', and match several values by * \
                 and ?"
            ));
        }
        if let Some(words) = self.words()
            && !words.iter().any(|word| pattern.matches(word))
        {
            let meant = self.meant(is_equal, text, &words);
            let meant = meant.map_or_else(String::new, |meant| format!("; write {meant}"));
            let words = words.join(", ");
            return Err(format!("'{text}' is not one of the values of {self}: {words}{meant}"));
        }
        match self {
            // What is free text may have all of these.
            Self::Process | Self::Label(_) => Ok(()),
            _ if let Some(word) =
                text.split_whitespace().skip(1).find(|word| is_condition(word)) =>
            {
                Err(format!("'{word}' is within a value; join conditions by 'and'"))
            }
            Self::Id if is_end_of_id(text) => {
                // The number of another connection may end so.
                let hyphen = if text.contains('-') { "" } else { "-" };
                Err(format!(
                    "'{text}' is no whole id; write id=*{hyphen}{text} for one that ends so, or use --id {text}"
                ))
            }
            _ if is_regular_expression(text) => Err(format!(
                "'{text}' is a regular expression; write a pattern with * and ?, such as {self}=*{}*",
                text.trim_matches(['/', '~', '^', '$', '.', '*', ' '])
            )),
            _ if text.contains(',') => Err(format!(
                "'{text}' is a list; write one pattern with * and ?, and join conditions by 'and'"
            )),
            Self::Client | Self::Target | Self::Listener | Self::Host if text.contains('/') => {
                Err(match pattern_of_network(text) {
                    Some(pattern) => format!("'{text}' is a network; write {self}={pattern}"),
                    None => format!(
                        "'{text}' is a network; write an address, or a pattern such as 127.*"
                    ),
                })
            }
            _ => Ok(()),
        }
    }

    /// The condition that somebody means who writes another word for a value.
    fn meant(&self, is_equal: bool, text: &str, words: &[String]) -> Option<String> {
        let operator = if is_equal { "=" } else { "!=" };
        if let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
            return Some(format!("{self}{operator}{word}"));
        }
        let lower = text.to_ascii_lowercase().replace([' ', '-', '_'], "");
        let value = match (self, &*lower) {
            (Self::Outcome, "failed" | "fail" | "failure" | "failures" | "bad" | "notok") => {
                return Some(format!("outcome{}ok", if is_equal { "!=" } else { "=" }));
            }
            (Self::Outcome, "success" | "succeeded" | "closed" | "good" | "fin") => "ok",
            (Self::Outcome, "timedout" | "etimedout") => "timeout",
            (Self::Outcome, "rst" | "econnreset") => "reset",
            (Self::Outcome, "econnrefused") => "refused",
            (Self::LimitedBy, "server" | "target") => "upstream",
            (Self::LimitedBy, "network" | "net") => "network*",
            _ => return None,
        };
        Some(format!("{self}{operator}{value}"))
    }
}

/// Whether a word could be a condition by itself.
fn is_condition(word: &str) -> bool {
    let key = word.split_once('=').map(|(key, _)| key.trim_end_matches('!'));
    key.is_some_and(|key| key.parse::<Key>().is_ok())
}

/// Whether this is a part of an id, which is a UUID, a hyphen and a number.
fn is_end_of_id(text: &str) -> bool {
    let is_part = text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let is_whole = text.rsplit_once('-').is_some_and(|(run, _)| run.parse::<uuid::Uuid>().is_ok());
    is_part && !is_whole
}

fn is_regular_expression(text: &str) -> bool {
    let is_between_slashes = text.len() > 1 && text.starts_with('/') && text.ends_with('/');
    is_between_slashes || text.starts_with(['~', '^']) || text.ends_with('$')
}

/// The pattern of an IPv4 network that ends at a dot.
fn pattern_of_network(text: &str) -> Option<String> {
    let (network, length) = text.split_once('/')?;
    let network: std::net::Ipv4Addr = network.parse().ok()?;
    let count = match length {
        "8" => 1,
        "16" => 2,
        "24" => 3,
        _ => return None,
    };
    let octets: Vec<_> = network.octets().iter().take(count).map(ToString::to_string).collect();
    Some(format!("{}.*", octets.join(".")))
}

impl Condition {
    /// Reads conditions joined by `and`: `target=db* and outcome!=ok`.
    ///
    /// # Errors
    ///
    /// A sentence on what is wrong.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        // Around the operator there may be spaces.
        words
            .split(|word| word.eq_ignore_ascii_case("and"))
            .map(|words| words.join(" ").parse())
            .collect()
    }

    /// Hides the pattern, unless it is a word that says nothing of hosts, users and labels.
    fn redact(&mut self) {
        if self.key.words().is_none() && self.key != Key::Error {
            self.pattern = WildMatch::new("(redacted)");
        }
    }

    /// The key.
    pub(super) fn key(&self) -> String {
        self.key.to_string()
    }

    /// Whether only a proxy's connections have a value, not the sockets of a watch.
    pub(super) fn is_of_pairs(&self) -> bool {
        matches!(self.key, Key::Mode | Key::LimitedBy | Key::Error)
    }

    pub(super) fn holds(&self, connection: &Connection) -> bool {
        self.pattern.matches(&self.value(connection)) == self.is_equal
    }

    /// The value of a connection; empty if it has none.
    pub(super) fn value<'c>(&self, connection: &'c Connection) -> Cow<'c, str> {
        fn text(text: Option<&str>) -> Cow<'_, str> {
            text.unwrap_or_default().into()
        }
        fn word(word: Option<impl fmt::Display>) -> Cow<'static, str> {
            word.map_or_else(String::new, |word| word.to_string()).into()
        }
        let process = connection.process.as_ref();
        let ending = connection.ending.as_ref();
        match &self.key {
            Key::Target => text(connection.target.as_deref()),
            Key::Process => text(process.and_then(|process| process.name.as_deref())),
            Key::Listener => text(Some(&connection.listener)),
            Key::Outcome => word(connection.outcome),
            Key::Client => text(connection.client_host.as_deref()),
            Key::Host => text(Some(&connection.host)),
            Key::Mode => word(connection.mode),
            Key::LimitedBy => word(connection.verdict.as_ref().map(|verdict| verdict.limited_by)),
            Key::Error => text(ending.and_then(|ending| ending.error_code.as_deref())),
            Key::Id => text(Some(&connection.id)),
            Key::Label(key) => text(connection.labels.get(key).map(String::as_str)),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = if self.is_equal { "=" } else { "!=" };
        write!(f, "{}{operator}{}", self.key, self.pattern)
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a condition is missing".to_owned());
        }
        let (key, value) = text.split_once('=').ok_or_else(|| match text.parse::<Key>() {
            Ok(key) => format!(
                "'{text}' has no '=' or '!=' with a value; write {key}=PATTERN, or {key}=?* for any value"
            ),
            Err(_) => format!(
                "'{text}' has no '=' or '!='; write, for example, target=db* and outcome!=ok"
            ),
        })?;
        let (key, is_equal) = match key.strip_suffix('!') {
            Some(key) => (key, false),
            None => (key, true),
        };
        let (key, value) = (key.trim().parse::<Key>()?, value.trim());
        if value.is_empty() {
            return Err(format!(
                "'{text}' has no value; write {key}=?* for those that have one, {key}!=?* for those without"
            ));
        }
        let pattern = WildMatch::new(value);
        key.check(&pattern, is_equal, value)?;
        Ok(Self { key, is_equal, pattern })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let line = r#"{"target":"db1:5432","outcome":"reset","labels":{"env":"test"},
            "openedAt":1700000000000000000,"ending":{"phase":"relay","firstBy":"client",
            "firstHow":"reset","errorCode":"ECONNRESET"}}"#;
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn conditions_are_joined_and_patterns_match() {
        for (text, is_in) in [
            ("target=db*", true),
            ("target=db1", false),
            ("target = db?:5432 and outcome != ok", true),
            ("target=db* AND outcome=ok", false),
            ("label.env=test", true),
            ("label.other=*", true),
            ("label.other!=", false),
            ("process=curl", false),
            ("process!=curl", true),
            ("error=ECONN*", true),
            ("outcome=re*", true),
            ("limitedBy=up*", false),
        ] {
            let Ok(conditions) = Condition::parse_all(text) else {
                assert_eq!(text, "label.other!=");
                continue;
            };
            let selection = Selection { conditions, ..Selection::default() };
            assert_eq!(selection.has(&connection()), is_in, "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_said_with_what_would_be_one() {
        for (text, words) in [
            ("colour=red", "unknown key 'colour'; give target, "),
            ("target", "'target' has no '='"),
            ("target=", "'target=' has no value"),
            ("target=a and", "a condition is missing"),
            ("label.=a", "unknown key 'label.'"),
            ("outcome!=okay", "'okay' is not one of the values of outcome: ok, dns, "),
            ("slow-by=server", "'server' is not one of the values of limitedBy: client, "),
            ("mode=forw", "'forw' is not one of the values of mode: forward, "),
            ("target==db", "'=db': one = is enough"),
            ("target='db:1'", "'db:1': write the value without quotes"),
            ("target=a or target=b", "'or' is not understood; join conditions by 'and'"),
            ("target=a && outcome=ok", "'&&' is not understood"),
            ("target=a,b", "'a,b' is a list; write one pattern"),
            ("target=10.0.0.0/8", "'10.0.0.0/8' is a network"),
            ("client=127.0.0.0/8", "'127.0.0.0/8' is a network"),
            ("", "a condition is missing"),
            ("Target=a", "unknown key 'Target'; the key is target"),
            ("labels.env=a", "unknown key 'labels.env'; the key is label.env"),
            ("label=a", "'label' has no KEY; write label.KEY=PATTERN"),
            (
                "label.env",
                "'label.env' has no '=' or '!=' with a value; write label.env=PATTERN, or ",
            ),
            ("label.env=", "'label.env=' has no value; write label.env=?* for those that have one"),
            ("target=a outcome=ok", "'outcome=ok' is within a value; join conditions by 'and'"),
            ("id=61db-7", "'61db-7' is no whole id; write id=*61db-7 for one that ends so"),
            ("id=7", "'7' is no whole id; write id=*-7 for one that ends so"),
            (
                "target=/db/",
                "'/db/' is a regular expression; write a pattern with * and ?, such as target=*db*",
            ),
            ("client=~127", "'~127' is a regular expression; "),
            ("client=10.1.0.0/16", "'10.1.0.0/16' is a network; write client=10.1.*"),
        ] {
            let error = Condition::parse_all(text).unwrap_err();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }

    #[test]
    fn another_word_for_a_value_is_answered_with_the_value() {
        for (text, words) in [
            ("outcome=failed", "; write outcome!=ok"),
            ("outcome!=failed", "; write outcome=ok"),
            ("outcome=OK", "; write outcome=ok"),
            ("outcome!=timed-out", "; write outcome!=timeout"),
            ("limitedBy=server", "; write limitedBy=upstream"),
            ("slow-by=network", "; write limitedBy=network*"),
        ] {
            let error = Condition::parse_all(text).unwrap_err();
            assert!(error.ends_with(words), "{text}: {error}");
            let meant = error.rsplit("write ").next().unwrap();
            assert!(Condition::parse_all(meant).is_ok(), "{meant}");
        }
        let whole = "id=01a2282e-b346-77eb-b828-ce49454761db-7";
        assert!(["id=*-7", whole].iter().all(|text| Condition::parse_all(text).is_ok()));
    }

    #[test]
    fn a_span_has_its_beginning_but_not_its_end() {
        let at = |second: i64| Some(Timestamp::from_second(second).unwrap());
        let spans = [
            (at(1_700_000_000), None, true),
            (at(1_700_000_001), None, false),
            (None, at(1_700_000_000), false),
            (None, at(1_700_000_001), true),
        ];
        for (since, until, is_in) in spans {
            let selection = Selection { since, until, ..Selection::default() };
            assert_eq!(selection.has(&connection()), is_in);
        }
    }
}
