//! Options that have no effect without another one: wrong usage, because whoever gives them expects
//! one.

use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::shared_options::Event;
use super::usage::usage_error;

/// Of one subcommand, options by their ids, whether they have an effect, and what that takes.
struct Requirement {
    command: &'static str,
    options: &'static [&'static str],
    is_met: fn(&ArgMatches) -> bool,
    what: &'static str,
}

const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        command: "proxy",
        options: &["sample_interval"],
        is_met: has_samples,
        what: "sample in --events, such as --events sample,close",
    },
    Requirement {
        command: "proxy",
        options: &["turn_min"],
        is_met: has_turns,
        what: "turn in --events, such as --events turn,close",
    },
    Requirement {
        command: "proxy",
        options: &["auth_file"],
        is_met: |proxy| is_given(proxy, "dynamic"),
        what: "-D",
    },
    Requirement {
        command: "proxy",
        options: &["allow"],
        is_met: |proxy| ["dynamic", "redirect", "tproxy"].iter().any(|way| is_given(proxy, way)),
        what: "-D, --redirect or --tproxy: the targets of -L are always allowed",
    },
    Requirement {
        command: "proxy",
        options: &["request_timeout"],
        is_met: |proxy| is_given(proxy, "dynamic") || is_given(proxy, "accept_proxy"),
        what: "-D or --accept-proxy: other clients send no request",
    },
    Requirement {
        command: "proxy",
        options: &["output_mode"],
        is_met: has_output_file,
        what: "an output file: add -o FILE",
    },
    Requirement {
        command: "watch",
        options: &["output_mode"],
        is_met: has_output_file,
        what: "an output file: add -o FILE",
    },
    Requirement {
        command: "proxy",
        options: &["metrics_targets"],
        is_met: |proxy| is_given(proxy, "metrics"),
        what: "--metrics",
    },
    Requirement {
        command: "proxy",
        options: &["keepalive_interval", "keepalive_probes"],
        is_met: |proxy| !proxy.get_one("keepalive").is_some_and(std::time::Duration::is_zero),
        what: "keepalive probes, which --keepalive 0 disables",
    },
    Requirement {
        command: "run",
        options: &[
            "fresh",
            "events",
            "sample_interval",
            "turn_min",
            "detail",
            "raw",
            "label",
            "host",
        ],
        is_met: |run| is_given(run, "output"),
        what: "an output file: add -o FILE",
    },
    Requirement {
        command: "run",
        options: &["expect_status"],
        is_met: |run| is_given(run, "expect"),
        what: "--expect, such as --expect lost=0",
    },
    Requirement {
        command: "run",
        options: &["sample_interval"],
        is_met: has_samples,
        what: "sample in --events, such as --events sample,close",
    },
    Requirement {
        command: "run",
        options: &["turn_min"],
        is_met: has_turns,
        what: "turn in --events, such as --events turn,close",
    },
    Requirement {
        command: "stat",
        options: &["interval"],
        is_met: |stat| is_given(stat, "count"),
        what: "-n, such as -n 10",
    },
];

/// Whether every option that was given has an effect.
pub(super) fn check(matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some((command, matches)) = matches.subcommand() else { return Ok(()) };
    let without_effect = |requirement: &Requirement| {
        let given = requirement.options.iter().find(|option| is_given(matches, option));
        given.filter(|_| requirement.command == command && !(requirement.is_met)(matches)).copied()
    };
    let mut found = REQUIREMENTS.iter().filter_map(|r| Some((without_effect(r)?, r.what)));
    let Some((option, what)) = found.next() else { return Ok(()) };
    let option = option.replace('_', "-");
    Err(usage_error(&[command], &format!("--{option} has no effect without {what}")))
}

/// What shapes the records of `proxy`, and has no effect where lines for people stand in for them.
const OF_RECORDS: [&str; 7] =
    ["queue", "events", "sample_interval", "detail", "raw", "label", "host"];

/// Those that were given. Of the events, lines show turns and closed connections.
pub(super) fn given_of_records(proxy: &ArgMatches) -> Vec<String> {
    let mut events = proxy.get_many("events").into_iter().flatten();
    let has_others = events.any(|event| !matches!(event, Event::Turn | Event::Close));
    let given = OF_RECORDS.into_iter().filter(|option| is_given(proxy, option));
    let given = given.filter(|option| *option != "events" || has_others);
    given.map(|option| format!("--{}", option.replace('_', "-"))).collect()
}

/// Whether it was typed; a default is not.
fn is_given(matches: &ArgMatches, option: &str) -> bool {
    // Not every subcommand has every option.
    let known = matches.try_contains_id(option).is_ok();
    known && matches.value_source(option) == Some(ValueSource::CommandLine)
}

fn has_output_file(matches: &ArgMatches) -> bool {
    matches.get_one("output").is_some_and(|file: &PathBuf| file.as_os_str() != "-")
}

fn has_samples(matches: &ArgMatches) -> bool {
    has_event(matches, Event::Sample)
}

fn has_turns(matches: &ArgMatches) -> bool {
    has_event(matches, Event::Turn)
}

fn has_event(matches: &ArgMatches, wanted: Event) -> bool {
    matches.get_many("events").into_iter().flatten().any(|&event: &Event| event == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::advice::assert_options_exist;

    #[test]
    fn every_option_that_is_required_exists() {
        for Requirement { command, what, .. } in REQUIREMENTS {
            assert_options_exist(&[command], what);
        }
    }
}
