//! Words that nothing takes: parts of a value that was torn apart, or values without their option.

use std::path::Path;

use conniver::ingress::{Forward, ListenAddr};
use conniver::watch::Endpoint;

use super::without_credentials;
use super::words::{is_program, quoted, reading_a_page};
use crate::cli::wrap::unbroken;

use super::switches::is_switch;

/// Of HTTP (RFC 9110 section 9, RFC 5789).
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

type Line = Vec<String>;

/// Command lines in which this word has a place; most are not understood.
pub(super) fn guesses(words: &[&str], unknown: &str) -> Vec<Line> {
    let mut guesses = by_diversion(words).into_iter().collect::<Vec<_>>();
    if words.first() == Some(&"schema") && Path::new(unknown).is_file() {
        guesses.push(line(&[&["check", unknown]]));
    }
    guesses.extend(packet_filter(words));
    for (at, _) in words.iter().enumerate().filter(|(_, word)| **word == unknown) {
        guesses.extend(endpoints(words, at));
        guesses.extend(with_option(words, at));
        guesses.extend(with_method(words, at));
        guesses.extend(joined(words, at));
        guesses.extend(repeated(words, at));
    }
    guesses
}

/// What to do where no command line is near.
pub(super) fn tip(words: &[&str], unknown: &str) -> Option<String> {
    if unknown.starts_with('-') {
        return None;
    }
    let of_others = match words {
        ["proxy", ..] => {
            "forward a port with -L PORT:HOST:HOSTPORT, or serve HTTP and SOCKS with -D PORT"
        }
        ["rules", "redirect" | "tproxy", ..] => "give the proxy's port with --port PORT",
        ["rules", ..] => "choose one: conniver rules redirect, or conniver rules tproxy",
        ["watch", rest @ ..] => return Some(instead_of_watch(rest, unknown)),
        ["top", rest @ ..] if Path::new(unknown).is_file() => {
            let files = rest.iter().filter(|word| Path::new(word).is_file());
            let files: Vec<_> = files.map(|file| quoted(file)).collect();
            let line = unbroken(&format!("conniver report {}", files.join(" ")));
            return Some(format!("top shows one FILE; to report on several: {line}"));
        }
        ["top", ..] => "give one FILE; select connections with -f TEXT",
        ["man", ..] => {
            let reading = reading_a_page();
            return Some(format!("give one DIR for all manual pages; to read one: {reading}"));
        }
        ["completions", ..] => "give one shell",
        ["demo", ..] => "give the size in MiB with --size 8",
        ["schema", ..] => "the output is JSON; choose --detail LEVEL or --markdown",
        _ => "",
    };
    if !of_others.is_empty() {
        return Some(of_others.to_owned());
    }
    if words.first() != Some(&"stat") {
        return None;
    }
    let is_field = |pair: &[&str]| matches!(pair, ["-H" | "--header", name] if name.ends_with(':'));
    // It may be a secret, and is not repeated.
    let tip = match words.windows(2).any(is_field) {
        true => "quote the header field: -H 'NAME: VALUE'",
        false => "give one URL, and quote values that contain spaces",
    };
    Some(tip.to_owned())
}

/// What to do who has typed a file or a command behind `watch`.
fn instead_of_watch(words: &[&str], unknown: &str) -> String {
    if Path::new(unknown).is_file() {
        let file = quoted(unknown);
        let [top, report] =
            ["top", "report"].map(|name| unbroken(&format!("conniver {name} {file}")));
        return format!("to show the records in a file: {top}, or {report}");
    }
    if is_program(unknown) && words.first() == Some(&unknown) {
        let words: Vec<_> = words.iter().map(|word| quoted(&without_credentials(word))).collect();
        let run = unbroken(&format!("conniver run -- {}", words.join(" ")));
        return format!(
            "to show the connections of a command: {run}; to repeat a command, use watch(1)"
        );
    }
    "select connections with --to HOST:PORT or --pid PID; to repeat a command, use watch(1)"
        .to_owned()
}

fn line(parts: &[&[&str]]) -> Line {
    parts.concat().into_iter().map(str::to_owned).collect()
}

/// The only option that could take the word.
fn with_option(words: &[&str], at: usize) -> Option<Line> {
    let (before, rest) = words.split_at_checked(at)?;
    match before {
        // HOST PORT.
        ["watch", .., "--to" | "--from", _] => None,
        ["watch", ..] => {
            let word = rest.first()?;
            let option = if word.parse::<u32>().is_ok() { "--pid" } else { "--to" };
            let is_endpoint = word.contains([':', '/', '.']) || *word == "localhost";
            let is_selection = option == "--pid" || is_endpoint && !Path::new(word).is_file();
            is_selection.then(|| line(&[before, &[option], rest]))
        }
        ["demo", ..] => Some(line(&[before, &["--size"], rest])),
        ["schema", ..] => Some(line(&[before, &["--detail"], rest])),
        ["rules", ..] => Some(line(&[before, &["--port"], rest, own_mark(words)])),
        _ => None,
    }
}

/// Several endpoints, from this place on.
fn endpoints(words: &[&str], at: usize) -> Option<Line> {
    let (before, rest) = words.split_at_checked(at)?;
    let is_endpoint = |word: &&&str| word.contains([':', '/']) && word.parse::<Endpoint>().is_ok();
    let count = rest.iter().take_while(is_endpoint).count();
    let (endpoints, after) = rest.split_at_checked(count)?;
    let is_repeated = matches!(before, ["watch", .., "--to" | "--from", _]);
    let option: &[&str] = match before {
        [.., option, _] if is_repeated => &[*option],
        _ => &["--to"],
    };
    (before.first() == Some(&"watch") && count > usize::from(!is_repeated))
        .then(|| line(&[before, option, &[&endpoints.join(",")], after]))
}

/// A filter of tcpdump behind `watch`: `tcp port 443`, `host db and port 5432`.
fn packet_filter(words: &[&str]) -> Option<Line> {
    let ["watch", filter @ ..] = words else { return None };
    let behind = |key: &str| {
        filter.windows(2).find_map(|pair| match pair {
            [first, second] if *first == key => Some(*second),
            _ => None,
        })
    };
    let (host, port) = (behind("host").or_else(|| behind("net")), behind("port"));
    let is_word = |word: &&str| {
        ["tcp", "and", "dst", "src", "host", "net", "port"].contains(word)
            || [host, port].contains(&Some(*word))
    };
    let is_filter = filter.iter().all(is_word) && (host, port) != (None, None);
    let endpoint = match port {
        Some(port) => format!("{}:{port}", host.unwrap_or_default()),
        None => host.unwrap_or_default().to_owned(),
    };
    let option = if filter.contains(&"src") { "--from" } else { "--to" };
    is_filter.then(|| line(&[&["watch", option, &endpoint]]))
}

/// `rules` without saying by what.
fn by_diversion(words: &[&str]) -> Option<Line> {
    let ["rules", rest @ ..] = words else { return None };
    let option: &[&str] = match rest.first()?.parse::<u16>() {
        Ok(_) => &["--port"],
        Err(_) => &[],
    };
    Some(line(&[&["rules", "redirect"], option, rest, own_mark(words)]))
}

/// What rules need that divert what this machine sends.
fn own_mark(words: &[&str]) -> &'static [&'static str] {
    let is_said =
        |word: &&str| ["--mark", "--not-user", "--on"].iter().any(|o| word.starts_with(o));
    if words.iter().any(is_said) { &[] } else { &["--mark", "7"] }
}

/// `stat GET URL`.
fn with_method(words: &[&str], at: usize) -> Option<Line> {
    let (before, rest) = words.split_at_checked(at)?;
    let [before @ .., method] = before else { return None };
    let is_method = METHODS.contains(method);
    let option: &[&str] = if *method == "HEAD" { &["-I"] } else { &["-X", method] };
    (before.first() == Some(&"stat") && is_method).then(|| line(&[before, option, rest]))
}

/// A port or a forwarding behind another one: each needs the option.
fn repeated(words: &[&str], at: usize) -> Option<Line> {
    let (before, [word, rest @ ..]) = words.split_at_checked(at)? else { return None };
    let [.., option, value] = before else { return None };
    let has_form = |text: &str| match *option {
        "-D" | "--redirect" | "--tproxy" => text.parse::<ListenAddr>().is_ok(),
        "-L" => text.parse::<Forward>().is_ok(),
        _ => false,
    };
    (has_form(value) && has_form(word)).then(|| line(&[before, &[*option, *word], rest]))
}

/// The word and some that follow as one with the word before: `5 min`, `open close`, `HOST 80`.
fn joined(words: &[&str], at: usize) -> Vec<Line> {
    let Some((before, [value, rest @ ..])) =
        at.checked_sub(1).and_then(|before| words.split_at_checked(before))
    else {
        return Vec::new();
    };
    let Some(next) = rest.first() else { return Vec::new() };
    let separator = match before {
        [.., "--events" | "--ports"] => ",",
        [.., "-L"] => ":",
        ["stat", ..] | ["watch" | "top", .., "--to" | "--from"]
            if next.parse::<u16>().is_ok() && is_host(value) =>
        {
            ":"
        }
        [.., option] if option.starts_with('-') && is_quantity(value, next) => {
            match is_switch(words, option) {
                true => return Vec::new(),
                false => "",
            }
        }
        _ => return Vec::new(),
    };
    (1..=rest.len())
        .filter_map(|count| {
            let (more, after) = rest.split_at_checked(count)?;
            let value = [&[*value], more].concat().join(separator);
            Some(line(&[before, &[&value], after]))
        })
        .collect()
}

/// Whether a port may follow.
fn is_host(word: &str) -> bool {
    !word.is_empty() && !word.starts_with('-') && !word.contains(['/', ':', '@'])
}

/// A number and its unit.
fn is_quantity(number: &str, unit: &str) -> bool {
    number.ends_with(|c: char| c.is_ascii_digit()) && unit.bytes().all(|b| b.is_ascii_alphabetic())
}
