//! A command line that is not understood: what was probably meant.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};
use conniver::ingress::{Forward, Target};

use super::{Cli, requirements};

/// Options of programs that do the same, by subcommand: what to do here.
const HABITS: &[(&str, &[&str], &str)] = &[
    // curl's.
    ("stat", &["-x", "--proxy"], "name a parent proxy with --via URL"),
    ("stat", &["--socks5"], "name a parent proxy with --via socks5://HOST:PORT"),
    ("stat", &["--socks5-hostname"], "name a parent proxy with --via socks5h://HOST:PORT"),
    (
        "stat",
        &["-U", "--proxy-user"],
        "write name and password into the parent's URL: --via http://USER:PASSWORD@HOST:PORT",
    ),
    ("stat", &["--noproxy"], "set the variable no_proxy"),
    ("stat", &["-s", "--silent", "-S", "--show-error"], "print errors alone with -q"),
    ("stat", &["-f", "--fail"], "the status is in the output; with --json, it is http.status"),
    ("stat", &["-i", "--include"], "the response's head is always printed"),
    ("stat", &["-w", "--write-out"], "print every figure as JSON with --json"),
    ("stat", &["--trace", "--trace-ascii"], "print every step with -vv"),
    (
        "stat",
        &["-u", "--user"],
        "write name and password into the URL, http://USER:PASSWORD@HOST, or send them with \
         -H 'Authorization: ...'",
    ),
    ("stat", &["--oauth2-bearer"], "send it with -H 'Authorization: Bearer TOKEN'"),
    ("stat", &["-A", "--user-agent"], "send it with -H 'User-Agent: NAME'"),
    ("stat", &["-e", "--referer"], "send it with -H 'Referer: URL'"),
    ("stat", &["-b", "--cookie"], "send it with -H 'Cookie: NAME=VALUE'"),
    ("stat", &["-r", "--range"], "send it with -H 'Range: bytes=0-499'"),
    ("stat", &["--compressed"], "send -H 'Accept-Encoding: gzip'"),
    (
        "stat",
        &["--resolve", "--connect-to"],
        "write the address into the URL and the name into -H 'Host: NAME'",
    ),
    ("stat", &["--url"], "write the URL without an option"),
    ("stat", &["-G", "--get"], "write the query into the URL"),
    ("stat", &["-T", "--upload-file"], "send a file with -X PUT -d @FILE"),
    (
        "stat",
        &["-F", "--form"],
        "send a body with -d @FILE, and its type with -H 'Content-Type: ...'",
    ),
    ("stat", &["--data-raw", "--data-urlencode"], "send a body with -d DATA"),
    ("stat", &["--key"], "give -E a file that has the certificate and its private key"),
    (
        "stat",
        &["--http2", "--http2-prior-knowledge"],
        "HTTP/2 is offered unless --http1.1 is given",
    ),
    ("stat", &["-0", "--http1.0"], "the oldest version that is spoken is --http1.1"),
    ("stat", &["-J", "--remote-header-name"], "-O takes the name that the server gives"),
    ("stat", &["--retry", "-c", "--count"], "repeat the request with -n N"),
    // ssh's.
    ("proxy", &["-R"], "listen on this machine with -L or -D"),
    ("proxy", &["-N", "-T"], "leave it out: nothing is run"),
    ("proxy", &["-f"], "run in the background with your shell's &"),
    (
        "proxy",
        &["-g"],
        "listen on every address with -L '*:PORT:HOST:HOSTPORT' and --allow-from CIDR",
    ),
    ("proxy", &["-J", "-x", "--proxy"], "reach targets through a parent proxy with --via URL"),
    // curl's, tcpdump's, nc's.
    ("proxy", &["-u", "-U", "--user"], "names and passwords of clients stand in --auth-file FILE"),
    ("proxy", &["-p", "--port"], "give the port to -D or -L, such as -D 1080"),
    ("proxy", &["-i", "--interface"], "no packets are captured: send connections to -D or -L"),
    ("proxy", &["-w", "--write"], "write records, which are lines of JSON, to a file with -o FILE"),
    ("check", &["-o", "--output", "--json"], "send what it prints to a file with > FILE"),
];

/// The command line of this process, as what it means. Help, and wrong usage with what was probably
/// meant, end the process as clap does.
pub(super) fn parse() -> Cli {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let words = typed.get(1..).unwrap_or_default();
    let parsed = Cli::command().try_get_matches_from(&typed).and_then(|matches| {
        requirements::check(&matches)?;
        Cli::from_arg_matches(&matches)
    });
    parsed.unwrap_or_else(|error| explain(error, words).exit())
}

/// An error of wrong usage at the subcommand of this path, with its usage line.
pub(super) fn usage_error(path: &[&str], sentence: &str) -> clap::Error {
    let mut command = Cli::command();
    command.build();
    for name in path {
        command = command.find_subcommand(name).cloned().unwrap_or(command);
    }
    command.error(ErrorKind::MissingRequiredArgument, sentence)
}

/// Adds what was probably meant, and takes away what is not for others.
fn explain(mut error: clap::Error, typed: &[OsString]) -> clap::Error {
    let words: Option<Vec<&str>> = typed.iter().map(|word| word.to_str()).collect();
    let kind = error.kind();
    let is_unknown = matches!(kind, ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand);
    if is_unknown {
        // That an option may be a value, behind `--`, is hardly ever what was meant.
        error.remove(ContextKind::Suggested);
    }
    if let Some(words) = words.filter(|_| is_unknown)
        && let Some(tip) = tip(&error, &words)
    {
        // What clap finds similar is further away.
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidSubcommand, ContextKind::InvalidValue]
    {
        if let Some(ContextValue::String(text)) = error.get(kind) {
            let text = without_credentials(text);
            error.insert(kind, ContextValue::String(text));
        }
    }
    error
}

fn tip(error: &clap::Error, words: &[&str]) -> Option<String> {
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(unknown)) => unknown.as_str(),
        _ => "",
    };
    let habit = HABITS
        .iter()
        .find(|(command, options, _)| words.first() == Some(command) && options.contains(&unknown));
    if let Some((_, _, tip)) = habit {
        return Some((*tip).to_owned());
    }
    if let Some(option) = option_before_negative(words, unknown) {
        return Some(format!("the value of {option} cannot be negative"));
    }
    if let Some(command) = command_with(words.first()?, unknown) {
        return Some(format!("{unknown} is an option of conniver {command}"));
    }
    let meant = guesses(words, unknown).into_iter().find(|guess| {
        let typed = ["conniver"].into_iter().chain(guess.iter().map(String::as_str));
        Cli::command().try_get_matches_from(typed).is_ok()
    })?;
    let shown: Vec<_> = meant.iter().map(|word| quoted(&without_credentials(word))).collect();
    Some(format!("did you mean: conniver {}", shown.join(" ")))
}

/// The option in front of a negative number, which clap takes for an option.
fn option_before_negative<'w>(words: &[&'w str], unknown: &str) -> Option<&'w str> {
    let is_negative = unknown.strip_prefix('-')?.starts_with(|c: char| c.is_ascii_digit());
    // Of -5s clap takes -5 for an option.
    let at = words.iter().position(|word| word.starts_with(unknown))?;
    let option = words.get(at.checked_sub(1)?)?;
    (is_negative && option.starts_with('-')).then_some(option)
}

/// Another subcommand that has this option.
fn command_with(typed: &str, option: &str) -> Option<String> {
    let mut command = Cli::command();
    command.build();
    // It has options in front of a subcommand, or of none.
    command.find_subcommand(typed)?;
    let has = |command: &&clap::Command| {
        command.get_arguments().any(|argument| {
            let long = argument.get_long().map(|long| format!("--{long}"));
            let short = argument.get_short().map(|short| format!("-{short}"));
            [long, short].iter().flatten().any(|name| name == option)
        })
    };
    // "proxy" is what most of them belong to, and comes first.
    command.get_subcommands().find(has).map(|found| found.get_name().to_owned())
}

/// Command lines that may have been meant; most are none.
fn guesses(words: &[&str], unknown: &str) -> Vec<Vec<String>> {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match words {
        // The subcommand was left out, or options stand in front of it.
        [option, ..] if option.starts_with('-') => {
            let is_command = |word: &&str| Cli::command().find_subcommand(word).is_some();
            let at = words.iter().position(is_command);
            let behind = at.map(|at| {
                let (options, rest) = words.split_at(at);
                owned(&[&rest[..1], options, &rest[1..]].concat())
            });
            let with = |command: &str| owned(&[&[command], words].concat());
            behind.into_iter().chain(["proxy", "run", "stat"].map(with)).collect()
        }
        ["proxy", rest @ ..] => {
            let Some(at) = rest.iter().position(|word| *word == unknown) else { return Vec::new() };
            // -L PORT HOST:PORT.
            if let [.., "-L", port] = rest[..at] {
                let forward = format!("{port}:{unknown}");
                let before = &rest[..at - 1];
                return vec![owned(&[&["proxy"], before, &[&forward], &rest[at + 1..]].concat())];
            }
            match meaning(unknown).as_deref() {
                Some([command, option, forward]) if command == "proxy" => {
                    let meant = [option.as_str(), forward.as_str()];
                    vec![owned(&[&["proxy"], &rest[..at], &meant, &rest[at + 1..]].concat())]
                }
                Some(other) => vec![other.to_vec()],
                None => Vec::new(),
            }
        }
        [command, ..] if Cli::command().find_subcommand(command).is_some() => Vec::new(),
        [target, rest @ ..] => {
            let with_rest = |meant: Vec<String>| [meant, owned(rest)].concat();
            meaning(target).map(with_rest).into_iter().collect()
        }
        [] => Vec::new(),
    }
}

/// The beginning of a command line that does what somebody wants who types this word alone.
fn meaning(word: &str) -> Option<Vec<String>> {
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    // A free port is likelier beyond the well-known ones.
    let near = |port: u16| port.checked_add(10_000).unwrap_or(0);
    if word.parse::<Forward>().is_ok() {
        return words(&["proxy", "-L", word]);
    }
    if let Ok(port @ 1..) = word.parse::<u16>() {
        return words(&["proxy", "-L", &format!("{}:localhost:{port}", near(port))]);
    }
    if word.starts_with("http://") || word.starts_with("https://") {
        return words(&["stat", word]);
    }
    if let Ok(target) = word.parse::<Target>() {
        return words(&["proxy", "-L", &format!("{}:{target}", near(target.port()))]);
    }
    if is_program(word) {
        return words(&["run", "--", word]);
    }
    let is_host = word == "localhost" || word.contains('.');
    let host = word.split('/').next().unwrap_or(word);
    if is_host && Target::new(host, 80).is_ok() {
        return words(&["stat", word]);
    }
    None
}

/// Whether a shell would find a program of this name.
fn is_program(name: &str) -> bool {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = std::env::var_os("PATH").unwrap_or_default();
    !name.is_empty()
        && std::env::split_paths(&path).any(|directory| directory.join(&file).is_file())
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@=,+%…".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A URL without the user and password that it may have.
fn without_credentials(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((credentials, rest)) if credentials.contains(':') => {
            let scheme = credentials.split_once("://").map(|(scheme, _)| format!("{scheme}://"));
            format!("{}…@{rest}", scheme.unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}
