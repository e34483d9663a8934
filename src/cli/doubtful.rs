//! Values that are valid, but hardly what was meant: what to warn of.

use std::ffi::OsStr;
use std::path::Path;

use clap::ArgMatches;

/// Times by their options' ids, and the number from which on it is hardly one of seconds when it stands without a
/// unit.
const TIMES: [(&str, f64); 8] = [
    ("turn_min", 10.0),
    ("sample_interval", 100.0),
    ("interval", 100.0),
    ("connect_timeout", 500.0),
    ("request_timeout", 500.0),
    ("linger", 500.0),
    ("drain", 1000.0),
    ("user_timeout", 1000.0),
];

/// Of HTTP (RFC 9110 section 9, RFC 5789).
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A sentence on each such value of this subcommand.
pub(super) fn warnings(command: &str, matches: &ArgMatches) -> Vec<String> {
    let times = TIMES.iter().flat_map(|(option, from)| {
        let typed = typed(matches, option).into_iter();
        typed.filter_map(move |text| milliseconds(option, text, *from))
    });
    let labels = typed(matches, "label").into_iter().filter_map(joined_labels);
    let parents = typed(matches, "via").into_iter().filter(|url| has_path(url));
    let parents = parents.map(|_| "the path in the URL of --via is ignored".to_owned());
    let methods = typed(matches, "request").into_iter().filter_map(small_method);
    let files =
        typed(matches, "output").into_iter().filter(|file| command != "stat" && is_page(file));
    let files = files.map(|file| {
        format!(
            "'{file}' will hold records (lines of JSON); {}",
            match command {
                "run" => "for a page, use --html FILE",
                _ => "for a page, use conniver report --html FILE",
            }
        )
    });
    times.chain(labels).chain(parents).chain(methods).chain(files).collect()
}

/// A method in lower case, which servers take for another one.
fn small_method(text: &str) -> Option<String> {
    let meant = METHODS.iter().find(|known| known.eq_ignore_ascii_case(text))?;
    (*meant != text).then(|| format!("methods are case-sensitive: for {meant}, write -X {meant}"))
}

fn is_page(file: &str) -> bool {
    let extension = Path::new(file).extension().and_then(OsStr::to_str).unwrap_or_default();
    ["html", "htm"].iter().any(|of| extension.eq_ignore_ascii_case(of))
}

/// The values of an option as they were typed. There are none where the subcommand has no such option.
fn typed<'m>(matches: &'m ArgMatches, option: &str) -> Vec<&'m str> {
    let raw = matches.try_get_raw(option).ok().flatten();
    raw.into_iter().flatten().filter_map(OsStr::to_str).collect()
}

fn milliseconds(option: &str, text: &str, from: f64) -> Option<String> {
    let seconds: f64 = text.parse().ok()?;
    let option = option.replace('_', "-");
    (seconds >= from).then(|| {
        format!("--{option} {text} is {text} seconds; write {text}ms for milliseconds, or {text}s")
    })
}

/// Several labels in one, as other programs take them.
fn joined_labels(text: &str) -> Option<String> {
    let (key, value) = text.split_once('=')?;
    let parts: Vec<_> = text.split(',').collect();
    let are_labels = parts.len() > 1
        && parts.iter().all(|part| part.split_once('=').is_some_and(|(key, _)| !key.is_empty()));
    are_labels.then(|| {
        format!(
            "--label {text} is one label, '{key}' with the value '{value}'; for several: --label {}",
            parts.join(" --label ")
        )
    })
}

/// Whether the URL of a parent proxy has a path, which says nothing of a proxy.
fn has_path(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    rest.split_once('/').is_some_and(|(_, path)| !path.trim_matches('/').is_empty())
}
