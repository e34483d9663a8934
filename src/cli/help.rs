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
            ("Listeners", &["forward", "dynamic", "redirect", "tproxy", "accept_proxy"]),
            ("Access control", &["allow_from", "auth_file", "allow", "deny"]),
            ("Upstream connections", &["via", "ipv4", "ipv6", "send_proxy", "mark"]),
            (
                "Output",
                &[
                    "output",
                    "format",
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
                "Forward port 15432 to a database, and print each verdict",
                "conniver proxy -L 15432:db.example:5432 | jq .verdict",
            ),
            (
                "Run an HTTP and SOCKS proxy, and show a line when a connection ends",
                "conniver proxy -D 1080",
            ),
            (
                "Run an HTTP and SOCKS proxy, with records in a file and metrics on port 9100",
                "conniver proxy -D 1080 -o records.ndjson --metrics 9100",
            ),
            (
                "Log requests that waited at least 100 ms for their answer",
                "conniver proxy -L 16379:cache.example:6379 --events turn --turn-min 100ms",
            ),
        ],
    },
    Page {
        command: "run",
        headings: &[
            ("Programs without proxy support", &["url_var", "forward", "intercept"]),
            ("Expectations", &["expect", "expect_status"]),
            ("Upstream connections", &["via", "ipv4", "ipv6"]),
            (
                "Output",
                &[
                    "output",
                    "fresh",
                    "html",
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
        short: &[
            "url_var",
            "forward",
            "intercept",
            "expect",
            "via",
            "output",
            "drain",
            "verbose",
            "quiet",
        ],
        examples: &[
            ("Summarize the connections of a command", "conniver run -- curl https://example.com"),
            (
                "Write the records of a test suite to a file",
                "conniver run -o records.ndjson -- pytest",
            ),
            (
                "Fail if the tests lost segments or waited long for an answer",
                "conniver run --expect lost=0 --expect 'turns.wait.max<=300ms' -- pytest",
            ),
            (
                "Forward the database whose URL is in DATABASE_URL",
                "conniver run --url-var DATABASE_URL -- ./server",
            ),
            (
                "Intercept a program without proxy support, as root",
                "conniver run --intercept -- psql -h db.example",
            ),
        ],
    },
    #[cfg(feature = "stat")]
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
            ("Show the phases of one request", "conniver stat https://example.com"),
            (
                "Fetch the URL 100 times, ten times a second, and show percentiles",
                "conniver stat -n 100 --interval 100ms https://example.com",
            ),
            (
                "Print the verdict (who was slow) as JSON",
                "conniver stat --json https://example.com | jq .verdict",
            ),
        ],
    },
    Page {
        command: "watch",
        headings: &[
            ("Selection", &["pid", "cgroup", "to", "from", "listening", "outgoing"]),
            (
                "Output",
                &[
                    "output",
                    "format",
                    "output_mode",
                    "interval",
                    "events",
                    "label",
                    "host",
                    "no_process",
                ],
            ),
        ],
        short: &[
            "pid",
            "cgroup",
            "to",
            "from",
            "listening",
            "outgoing",
            "interval",
            "output",
            "verbose",
            "quiet",
        ],
        examples: &[
            ("Show a line when a connection of this machine ends", "conniver watch"),
            (
                "Show which programs lose packets, and to whom",
                "conniver watch | jq -c 'select(.socket.lost > 0) | [.process.name, .socket.remoteAddr, .socket.lost]'",
            ),
            (
                "Write a record of each connection to a database, and of each that a service accepted",
                "conniver watch --to db.example:5432 --to :8080 -o records.ndjson",
            ),
            (
                "Sample the connections of one process ten times a second",
                "conniver watch --pid 4711 --interval 100ms --events socket,sample",
            ),
        ],
    },
    Page {
        command: "demo",
        headings: &[],
        short: &[],
        examples: &[
            ("Print the record", "conniver demo | jq ."),
            ("Send 100 MiB each way", "conniver demo --size 100"),
            (
                "Print the kernel's TCP information of the upstream's socket",
                "conniver demo | jq .upstream.closedInfo",
            ),
        ],
    },
    Page {
        command: "report",
        headings: &[
            ("Selection", &["conditions", "since", "until"]),
            ("Contents", &["by", "slowest", "against", "id"]),
            ("Expectations", &["expect", "expect_status"]),
            ("Output", &["html", "json", "redact"]),
        ],
        short: &[],
        examples: &[
            (
                "Report on a file and its rotated files",
                "conniver report records.ndjson.1.gz records.ndjson",
            ),
            (
                "Report on failed connections to databases since two o'clock, by program",
                "conniver report --where target=db* --since 14:00 --by process records.ndjson",
            ),
            (
                "Write the report as a page, without names of hosts and users",
                "conniver report --html page.html --redact records.ndjson",
            ),
            (
                "Compare the connections after a change with those before",
                "conniver report after.ndjson --against before.ndjson",
            ),
            (
                "Fail if a connection to the database was reset or waited long for an answer",
                "conniver report records.ndjson --expect resets=0 --expect 'turns.wait.max<=1s'",
            ),
        ],
    },
    Page {
        command: "top",
        headings: &[
            ("Sockets", &["pid", "cgroup", "to", "from", "listening", "outgoing"]),
            ("Screen", &["count", "interval", "sort", "reverse", "filter"]),
        ],
        short: &[],
        examples: &[
            ("Show this machine's connections", "conniver top"),
            (
                "Show the connections that a service has accepted",
                "conniver top --listening --to :8080",
            ),
            ("Watch the file of a proxy that writes samples", "conniver top records.ndjson"),
            (
                "Watch a proxy without a file",
                "conniver proxy -D 1080 --events open,sample,close -o - | conniver top",
            ),
            (
                "Print the connections that wait for a server, once",
                "conniver top -n 1 --filter server records.ndjson",
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
                "Check it together with its rotated files",
                "conniver check records.ndjson.2.gz records.ndjson.1 records.ndjson",
            ),
            ("Check standard input", "zcat records.ndjson.2.gz | conniver check -"),
        ],
    },
    Page {
        command: "rules",
        headings: &[],
        short: &[],
        examples: &[
            (
                "Divert connections of local programs to ports 80 and 443",
                "conniver rules redirect --port 15001 --ports 80,443 --mark 1 > divert.sh",
            ),
            (
                "Divert connections that arrive on an interface, and keep their addresses",
                "conniver rules tproxy --port 15001 --on eth1 > divert.sh",
            ),
            ("Show the options of redirect", "conniver rules redirect --help"),
        ],
    },
    Page {
        command: "schema",
        headings: &[],
        short: &[],
        examples: &[
            ("Write the schema to a file", "conniver schema > record.schema.json"),
            ("Print the schema of lines with --detail brief", "conniver schema --detail brief"),
            ("Print the meaning of each key", "conniver schema --markdown"),
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
            let own = own.split(" >").next().unwrap();
            // What a shell makes of them, as long as no quoted word has a blank in it.
            let words = own.split_whitespace().map(|word| match word.strip_prefix('\'') {
                Some(quoted) => quoted.strip_suffix('\'').unwrap(),
                None => {
                    assert!(!word.contains(['<', '>']), "a redirection, without quotes: {example}");
                    word
                }
            });
            let parsed = command().try_get_matches_from(words);
            let is_help = |error: &clap::Error| error.kind() == clap::error::ErrorKind::DisplayHelp;
            assert!(parsed.as_ref().map_or_else(is_help, |_| true), "{example}: {parsed:?}");
        }
    }
}
