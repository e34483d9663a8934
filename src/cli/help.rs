//! What -h and --help show: options under headings, the ones that matter most, and examples.

use clap::builder::StyledStr;
use clap::{Command, CommandFactory};

use super::Cli;

/// The help of one subcommand.
struct Page {
    command: &'static str,
    /// Headings, each with the options under it by their ids. Others stand under "Options".
    headings: &'static [(&'static str, &'static [&'static str])],
    /// The options that -h shows as well. With none it shows all.
    short: &'static [&'static str],
    /// What somebody wants, and how to have it.
    examples: &'static [(&'static str, &'static str)],
}

const PAGES: &[Page] = &[
    Page {
        command: "proxy",
        headings: &[
            ("Ways in", &["forward", "dynamic", "redirect", "tproxy", "accept_proxy"]),
            ("Who may use it", &["allow_from", "auth_file", "allow", "deny"]),
            ("Ways out", &["via", "ipv4", "ipv6", "send_proxy", "mark"]),
            (
                "Output",
                &[
                    "output",
                    "output_mode",
                    "queue",
                    "events",
                    "sample_interval",
                    "turn_min",
                    "detail",
                    "raw",
                    "label",
                    "host",
                    "no_process",
                ],
            ),
            (
                "Timeouts",
                &[
                    "request_timeout",
                    "connect_timeout",
                    "idle_timeout",
                    "lifetime",
                    "drain",
                    "linger",
                    "keepalive",
                    "keepalive_interval",
                    "keepalive_probes",
                    "user_timeout",
                ],
            ),
            ("Limits", &["max_connections", "max_per_client"]),
            ("Monitoring", &["metrics", "metrics_targets"]),
        ],
        short: &[
            "forward",
            "dynamic",
            "allow_from",
            "via",
            "output",
            "events",
            "detail",
            "metrics",
            "verbose",
            "quiet",
        ],
        examples: &[
            (
                "Forward port 15432 to a database, and read its records with jq",
                "conniver proxy -L 15432:db.example:5432 | jq .verdict",
            ),
            (
                "Be an HTTP and SOCKS proxy that appends to a file and shows metrics",
                "conniver proxy -D 1080 -o records.ndjson --metrics 9090",
            ),
            (
                "Log requests whose answers took 100 ms or more",
                "conniver proxy -L 16379:cache.example:6379 --events turn --turn-min 100ms",
            ),
        ],
    },
    Page {
        command: "run",
        headings: &[
            ("Ways in", &["intercept"]),
            ("Ways out", &["via", "ipv4", "ipv6"]),
            (
                "Output",
                &[
                    "output",
                    "events",
                    "sample_interval",
                    "turn_min",
                    "detail",
                    "raw",
                    "label",
                    "host",
                    "no_process",
                ],
            ),
            ("Timeouts", &["connect_timeout", "drain", "linger"]),
        ],
        short: &["intercept", "via", "output", "events", "detail", "drain", "verbose", "quiet"],
        examples: &[
            ("Say what a command's connections met", "conniver run -- curl https://example.com"),
            ("Keep the records of a test suite", "conniver run -o records.ndjson -- pytest"),
            (
                "Take connections of a program that knows no proxies, as root",
                "conniver run --intercept -- psql -h db.example",
            ),
        ],
    },
    Page {
        command: "stat",
        headings: &[
            ("Request", &["request", "data", "location", "head", "header"]),
            ("TLS", &["insecure", "cert", "cacert"]),
            ("Connection", &["http1", "ipv4", "ipv6", "via", "connect_timeout", "max_time"]),
            ("Repetition", &["count", "interval"]),
            ("Output", &["output", "remote_name", "json"]),
        ],
        short: &[
            "request", "data", "location", "header", "insecure", "output", "json", "count",
            "max_time", "verbose",
        ],
        examples: &[
            ("Draw the phases of one request", "conniver stat https://example.com"),
            (
                "Ask 100 times, ten times a second, for percentiles",
                "conniver stat -n 100 --interval 100ms https://example.com",
            ),
            (
                "Print who was slow as JSON",
                "conniver stat --json https://example.com | jq .verdict",
            ),
        ],
    },
    Page {
        command: "demo",
        headings: &[],
        short: &[],
        examples: &[
            ("Show one record", "conniver demo | jq ."),
            ("Send 100 MiB each way", "conniver demo --size 100"),
            (
                "Show what the kernel knew of the upstream",
                "conniver demo | jq .upstream.closedInfo",
            ),
        ],
    },
    Page {
        command: "check",
        headings: &[],
        short: &[],
        examples: &[
            ("Check a file", "conniver check records.ndjson"),
            (
                "Check it with what log rotation took away from it",
                "conniver check records.ndjson.2.gz records.ndjson.1 records.ndjson",
            ),
            ("Check what another program prints", "zcat records.ndjson.2.gz | conniver check -"),
        ],
    },
    Page {
        command: "rules",
        headings: &[],
        short: &[],
        examples: &[
            (
                "Divert what programs here send to ports 80 and 443",
                "conniver rules redirect --port 15001 --ports 80,443 --mark 1 > divert.sh",
            ),
            (
                "Divert what comes in by an interface, addresses kept",
                "conniver rules tproxy --port 15001 --on eth1 > divert.sh",
            ),
            ("Read about the options of one way", "conniver rules redirect --help"),
        ],
    },
    Page {
        command: "schema",
        headings: &[],
        short: &[],
        examples: &[
            ("Keep the schema in a file", "conniver schema > record.schema.json"),
            ("Print it for lines of --detail brief", "conniver schema --detail brief"),
            ("Read what each key means", "conniver schema --markdown"),
        ],
    },
];

/// The program's command line, with all that its help shows.
pub(super) fn command() -> Command {
    PAGES.iter().fold(Cli::command(), |all, page| {
        // Without a feature there is no such command.
        match all.find_subcommand(page.command) {
            Some(_) => all.mut_subcommand(page.command, |command| page.on(command)),
            None => all,
        }
    })
}

impl Page {
    fn on(&self, command: Command) -> Command {
        let heading_of = |id: &str| {
            self.headings.iter().find(|(_, ids)| ids.contains(&id)).map(|(heading, _)| *heading)
        };
        let command = command.mut_args(|arg| {
            let id = arg.get_id().as_str();
            let is_long =
                !self.short.is_empty() && !self.short.contains(&id) && !arg.is_positional();
            let heading = heading_of(id);
            let arg = arg.hide_short_help(is_long);
            match heading {
                Some(heading) => arg.help_heading(heading),
                None => arg,
            }
        });
        let mut after = StyledStr::from(self.examples());
        if let Some(more) = command.get_after_help() {
            after.push_str("\n\n");
            after.push_str(&more.ansi().to_string());
        }
        command.after_long_help(after)
    }

    fn examples(&self) -> String {
        let examples = self.examples.iter().map(|(what, how)| format!("  {what}:\n    {how}"));
        format!("Examples:\n{}", examples.collect::<Vec<_>>().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_a_page_with_headings_has_its_place() {
        let all = command();
        for page in PAGES.iter().filter(|page| !page.headings.is_empty()) {
            let command = all.find_subcommand(page.command).unwrap();
            for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
                let id = arg.get_id().as_str();
                let is_placed = arg.get_help_heading().is_some();
                assert_eq!(is_placed, !matches!(id, "verbose" | "quiet" | "help"), "{id}");
            }
            let known = |id: &str| command.get_arguments().any(|arg| arg.get_id().as_str() == id);
            let named = page.headings.iter().flat_map(|(_, ids)| ids.iter()).chain(page.short);
            for id in named {
                assert!(known(id), "{} has no {id}", page.command);
            }
            assert!(page.short.len() <= 10, "{}", page.command);
        }
    }

    #[test]
    fn every_example_is_a_command_line_that_is_understood() {
        for (_, example) in PAGES.iter().flat_map(|page| page.examples) {
            let own = example.split('|').find(|part| part.trim().starts_with("conniver")).unwrap();
            let own = own.split('>').next().unwrap();
            let parsed = command().try_get_matches_from(own.split_whitespace());
            let is_help = |error: &clap::Error| error.kind() == clap::error::ErrorKind::DisplayHelp;
            assert!(parsed.as_ref().map_or_else(is_help, |_| true), "{example}: {parsed:?}");
        }
    }
}
