//! What was probably meant by a command line that is not understood.

use super::{ANY, PROXY, RUN, STAT, assert_wrong_usage};

#[test]
fn a_subcommand_that_was_left_out_is_shown() {
    for (typed, meant) in [
        ("5432", "proxy -L 15432:localhost:5432"),
        ("60000", "proxy -L 0:localhost:60000"),
        ("db.example:5432", "proxy -L 15432:db.example:5432"),
        ("localhost 5432", "proxy -L 15432:localhost:5432"),
        ("8080:host:80", "proxy -L 8080:host:80"),
        ("https://example.com", "stat https://example.com"),
        ("https://example.com -L", "stat https://example.com -L"),
        ("example.com/page", "stat example.com/page"),
        ("sh -c true", "run -- sh -c true"),
        ("Cargo.toml --json", "report Cargo.toml --json"),
    ] {
        let word = typed.split(' ').next().unwrap();
        let said =
            format!("unrecognized subcommand '{word}'\n\n  tip: did you mean: conniver {meant}");
        assert_wrong_usage(typed, &said, ANY);
    }
    for (typed, unknown, meant) in [
        ("-L 8080:host:80", "-L", "proxy -L 8080:host:80"),
        ("-D 1080 -v", "-D", "proxy -D 1080 -v"),
        ("--intercept sh", "--intercept", "run --intercept sh"),
        ("-I https://example.com", "-I", "stat -I https://example.com"),
        ("-v proxy -D 1080", "-v", "proxy -v -D 1080"),
        ("-q run -- true", "-q", "run -q -- true"),
    ] {
        let said = format!(
            "unexpected argument '{unknown}' found\n\n  tip: did you mean: conniver {meant}"
        );
        assert_wrong_usage(typed, &said, ANY);
    }
    assert_wrong_usage(
        "-L 8080",
        "unexpected argument '-L' found\n\n  \
         tip: forward a port with: conniver proxy -L PORT:HOST:HOSTPORT",
        ANY,
    );
    // It is no program to run.
    assert_wrong_usage("-v report x", "unexpected argument '-v' found", ANY);
}

#[test]
fn a_long_option_behind_one_hyphen_is_shown_with_two() {
    let said = |first: &str, name: &str| {
        format!(
            "unexpected argument '{first}' found\n\n  tip: write --{name}: long options have two \
             hyphens"
        )
    };
    assert_wrong_usage("run -no-process -- true", &said("-n", "no-process"), RUN);
    assert_wrong_usage("proxy -allow=x", &said("-a", "allow"), PROXY);
    let said = |name: &str| {
        format!(
            "unexpected argument '--{name}' found\n\n  \
             tip: write -{name}: options of one letter have one hyphen"
        )
    };
    assert_wrong_usage("proxy --D 1080", &said("D"), PROXY);
    assert_wrong_usage("stat --n 5 http://h", &said("n"), STAT);
}

#[test]
fn a_target_without_its_option_is_shown_with_it() {
    for (typed, word, meant) in [
        ("proxy localhost:5432", "localhost:5432", "proxy -L 15432:localhost:5432"),
        ("proxy db.example 5432 -v", "db.example", "proxy -L 15432:db.example:5432 -v"),
        ("proxy 8080:host:80 -v", "8080:host:80", "proxy -L 8080:host:80 -v"),
        ("proxy -v 5432 -o a;b", "5432", "proxy -v -L 15432:localhost:5432 -o 'a;b'"),
        ("proxy https://example.com", "https://example.com", "stat https://example.com"),
        ("proxy -D 0 sh -c true", "sh", "run -- sh -c true"),
        ("proxy -L 8080 example.com:80 -v", "example.com:80", "proxy -L 8080:example.com:80 -v"),
    ] {
        let said =
            format!("unexpected argument '{word}' found\n\n  tip: did you mean: conniver {meant}");
        assert_wrong_usage(typed, &said, PROXY);
    }
}

#[test]
fn a_stray_word_is_shown_in_its_place() {
    let proxy = |meant: &str| format!("proxy {meant}");
    let tproxy = "conniver rules tproxy [OPTIONS] --port <PORT>";
    for (typed, word, meant, usage) in [
        ("proxy -D 0 --drain 5 min", "min", proxy("-D 0 --drain 5min"), PROXY),
        ("proxy -D 0 --queue 64 MiB -v", "MiB", proxy("-D 0 --queue 64MiB -v"), PROXY),
        ("proxy -D 0 --events open close", "close", proxy("-D 0 --events open,close"), PROXY),
        (
            "proxy --events open sample close -D 0",
            "sample",
            proxy("--events open,sample,close -D 0"),
            PROXY,
        ),
        ("proxy -L 8080 host 80", "host", proxy("-L 8080:host:80"), PROXY),
        ("proxy -D 1080 1081 -v", "1081", proxy("-D 1080 -D 1081 -v"), PROXY),
        ("proxy -L 8080:a:1 8081:b:2", "8081:b:2", proxy("-L 8080:a:1 -L 8081:b:2"), PROXY),
        ("stat h 9", "9", "stat h:9".to_owned(), STAT),
        ("stat GET http://h", "http://h", "stat -X GET http://h".to_owned(), STAT),
        ("stat HEAD http://h -v", "http://h", "stat -I http://h -v".to_owned(), STAT),
        ("demo 8", "8", "demo --size 8".to_owned(), "conniver demo [OPTIONS]"),
        ("schema brief", "brief", "schema --detail brief".to_owned(), "conniver schema [OPTIONS]"),
        ("rules tproxy 1080", "1080", "rules tproxy --port 1080 --mark 7".to_owned(), tproxy),
        (
            "rules tproxy 1080 --mark 9",
            "1080",
            "rules tproxy --port 1080 --mark 9".to_owned(),
            tproxy,
        ),
    ] {
        let said =
            format!("unexpected argument '{word}' found\n\n  tip: did you mean: conniver {meant}");
        assert_wrong_usage(typed, &said, usage);
    }
    assert_wrong_usage(
        "rules 1080",
        "unrecognized subcommand '1080'\n\n  \
         tip: did you mean: conniver rules redirect --port 1080 --mark 7",
        "conniver rules <COMMAND>",
    );
}

#[test]
fn typographic_dashes_are_told_with_the_hyphens_to_write() {
    for (typed, unknown, dashed, meant, usage) in [
        ("proxy –D 1080", "–D", "–D", "-D", PROXY),
        ("proxy -D 1080 —via h:1", "—via", "—via", "--via", PROXY),
        ("proxy −L8080:h:1", "−L8080:h:1", "−L8080:h:1", "-L8080:h:1", PROXY),
        ("stat –6 http://h", "http://h", "–6", "-6", STAT),
        ("stat http://h –-json", "–-json", "–-json", "--json", STAT),
        ("—version", "—version", "—version", "--version", ANY),
    ] {
        let what = if usage == ANY { "unrecognized subcommand" } else { "unexpected argument" };
        let found = if usage == ANY { "" } else { " found" };
        let said = format!(
            "{what} '{unknown}'{found}\n\n  tip: '{dashed}' begins with a typographic dash; write \
             {meant}"
        );
        assert_wrong_usage(typed, &said, usage);
    }
    let (_, said) = crate::arguments::refused(&["demo", "–size=s3cret"]);
    let tip = "\n\n  tip: '–size' begins with a typographic dash; write --size\n\n";
    assert!(said.contains(tip), "{said}");
}

#[test]
fn a_file_of_records_for_another_subcommand_is_told_with_check() {
    assert_wrong_usage(
        "schema Cargo.toml",
        "unexpected argument 'Cargo.toml' found\n\n  \
         tip: did you mean: conniver check Cargo.toml",
        "conniver schema [OPTIONS]",
    );
}

#[test]
fn values_with_blanks_are_told_to_be_quoted() {
    for (typed, word, tip) in [
        (
            "stat -H Authorization: s3cret http://h",
            "http://h",
            "quote the header field: -H 'NAME: VALUE'",
        ),
        (
            "stat http://h http://i",
            "http://i",
            "give one URL, and quote values that contain spaces",
        ),
    ] {
        let said = format!("unexpected argument '{word}' found\n\n  tip: {tip}");
        assert_wrong_usage(typed, &said, STAT);
    }
}

#[test]
fn an_option_that_took_what_is_missing_is_told() {
    for (typed, missing, option, usage) in [
        ("stat -H http://h", "<URL>", "-H", STAT),
        ("stat -n 2 --cacert http://h", "<URL>", "--cacert", STAT),
        ("run -o ls", "<COMMAND>...", "-o", RUN),
    ] {
        let said = format!(
            "the following required arguments were not provided:\n  {missing}\n\n  tip: the last \
             word was taken as the value of {option}; that value may be missing"
        );
        assert_wrong_usage(typed, &said, usage);
    }
}

#[test]
fn words_of_other_programs_for_a_subcommand_are_answered() {
    for (typed, tip) in [
        ("help stats", "did you mean: conniver help stat"),
        ("help prxy", "did you mean: conniver help proxy"),
        ("version", "to print the version, use conniver --version"),
        ("serve", "to start the proxy, use conniver proxy"),
        ("validate f", "to check files of records, use conniver check FILE"),
        ("manual", "for the help of a subcommand, use conniver help SUBCOMMAND"),
    ] {
        let word = typed.strip_prefix("help ").unwrap_or(typed).split(' ').next().unwrap();
        let said = format!("unrecognized subcommand '{word}'\n\n  tip: {tip}");
        assert_wrong_usage(typed, &said, ANY);
    }
    assert_wrong_usage(
        "help rules redirct",
        "unrecognized subcommand 'redirct'\n\n  tip: did you mean: conniver help rules redirect",
        "conniver rules <COMMAND>",
    );
}

#[test]
fn a_stray_word_without_a_place_is_told_what_there_is() {
    let proxy = "forward a port with -L PORT:HOST:HOSTPORT, or serve HTTP and SOCKS with -D PORT";
    for (typed, word, tip, usage) in [
        ("proxy TCP-LISTEN:8080 TCP:host:80", "TCP-LISTEN:8080", proxy, PROXY),
        ("demo 8MiB", "8MiB", "give the size in MiB with --size 8", "conniver demo [OPTIONS]"),
        (
            "schema json",
            "json",
            "the output is JSON; choose --detail LEVEL or --markdown",
            "conniver schema [OPTIONS]",
        ),
    ] {
        let said = format!("unexpected argument '{word}' found\n\n  tip: {tip}");
        assert_wrong_usage(typed, &said, usage);
    }
    for (typed, word, tip, usage) in [
        (
            "rules iptables",
            "iptables",
            "choose one: conniver rules redirect, or conniver rules tproxy",
            "conniver rules <COMMAND>",
        ),
        (
            "rules redirct",
            "redirct",
            "a similar subcommand exists: 'redirect'",
            "conniver rules <COMMAND>",
        ),
        ("PROXY -D 1", "PROXY", "did you mean: conniver proxy -D 1", ANY),
    ] {
        let said = format!("unrecognized subcommand '{word}'\n\n  tip: {tip}");
        assert_wrong_usage(typed, &said, usage);
    }
}

#[test]
fn what_is_repeated_is_short_and_harmless() {
    let long = "x".repeat(300);
    let short = format!("{}…{}", "x".repeat(30), "x".repeat(29));
    assert_wrong_usage(&long, &format!("unrecognized subcommand '{short}'"), ANY);
    let said = "unrecognized subcommand 'a\\u{a}b\\u{1b}[31m'";
    assert_wrong_usage("a\nb\u{1b}[31m", said, ANY);
    let (_, text) = crate::arguments::refused(&["proxy", "-D", "\u{1b}[31m"]);
    assert!(text.contains("\\u{1b}[31m") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn passwords_are_not_repeated_in_what_was_meant() {
    assert_wrong_usage(
        "https://user:s3cret@example.com/",
        "unrecognized subcommand 'https://…@example.com/'\n\n  \
         tip: did you mean: conniver stat https://…@example.com/",
        ANY,
    );
}

#[test]
fn an_option_of_another_subcommand_is_told_with_it() {
    for (typed, option, command, usage) in [
        ("proxy -D 1080 --intercept", "--intercept", "run", PROXY),
        ("run -D 1080 -- true", "-D", "proxy", RUN),
        ("run --redirect 1 -- true", "--redirect", "proxy", RUN),
    ] {
        let said = format!(
            "unexpected argument '{option}' found\n\n  \
             tip: {option} is an option of conniver {command}"
        );
        assert_wrong_usage(typed, &said, usage);
    }
}

#[test]
fn a_negative_value_is_told_with_its_option() {
    for (typed, value, option, usage) in [
        ("proxy -D 0 --idle-timeout -1", "-1", "--idle-timeout", PROXY),
        ("stat -m -5s h", "-5", "-m", STAT),
    ] {
        let said = format!(
            "unexpected argument '{value}' found\n\n  tip: the value of {option} cannot be negative"
        );
        assert_wrong_usage(typed, &said, usage);
    }
}

#[test]
fn what_means_nothing_gets_no_tip() {
    assert_wrong_usage("no-such-thing", "unrecognized subcommand 'no-such-thing'", ANY);
    assert_wrong_usage(
        "prxy -D 1",
        "unrecognized subcommand 'prxy'\n\n  tip: a similar subcommand exists: 'proxy'",
        ANY,
    );
}

#[test]
fn a_value_of_an_option_that_takes_none_is_told() {
    for (typed, said, usage) in [
        (
            "stat --ipv4=4 http://h",
            "unexpected value '4' for '--ipv4' found; no more were expected\n\n  \
             tip: write --ipv4 alone: it takes no value",
            STAT,
        ),
        (
            "proxy -D 0 --raw=No",
            "unexpected value 'No' for '--raw' found; no more were expected\n\n  \
             tip: omit --raw: it is off by default",
            PROXY,
        ),
        (
            "stat --ipv4 4 http://h",
            "unexpected argument 'http://h' found\n\n  tip: --ipv4 takes no value",
            STAT,
        ),
        ("stat -4 4 h", "unexpected argument 'h' found\n\n  tip: -4 takes no value", STAT),
        (
            "proxy -D 0 --accept-proxy v1",
            "unexpected argument 'v1' found\n\n  tip: --accept-proxy takes no value",
            PROXY,
        ),
        (
            "stat http://h --json http://i",
            "unexpected argument 'http://i' found\n\n  \
             tip: give one URL, and quote values that contain spaces",
            STAT,
        ),
    ] {
        assert_wrong_usage(typed, said, usage);
    }
}

#[test]
fn options_of_other_subcommands_and_programs_are_answered_with_what_does_it() {
    let records = "write records (lines of JSON) to a file with -o FILE";
    let headers = "omit it: response headers are printed; with --json they are http.headers";
    let tls = "omit it: TLS is forwarded as it is, and needs no certificate here";
    for (typed, option, tip, usage) in [
        ("run --json -- true", "--json", records, RUN),
        ("run --format json -- true", "--format", records, RUN),
        (
            "run --append -o f -- true",
            "--append",
            "omit it: records are appended to the file of -o, without --fresh",
            RUN,
        ),
        (
            "run --count 3 -- true",
            "--count",
            "repeat it with the shell: conniver run -- sh -c 'COMMAND; COMMAND'",
            RUN,
        ),
        ("stat --format json http://h", "--format", "print JSON with --json", STAT),
        ("stat -j http://h", "-j", "print JSON with --json", STAT),
        ("stat -D f http://h", "-D", headers, STAT),
        ("stat -i http://h", "-i", headers, STAT),
        ("stat --max-redirs 5 http://h", "--max-redirs", "-L follows at most 10 redirects", STAT),
        (
            "stat --interface eth0 http://h",
            "--interface",
            "the system chooses the local address and port; choose the family with -4 or -6",
            STAT,
        ),
        (
            "stat --resolve h:80:::1 http://h",
            "--resolve",
            "add the name to /etc/hosts, or, for http://, put the address into the URL and the \
             name into -H 'Host: NAME'",
            STAT,
        ),
        ("proxy -D 0 --cert f", "--cert", tls, PROXY),
        (
            "proxy -D 0 --user a:b",
            "--user",
            "put the clients' user names and passwords into --auth-file FILE",
            PROXY,
        ),
        (
            "proxy -D 0 --rotate 10M",
            "--rotate",
            "rotate the file with logrotate, and send SIGHUP to the proxy, which opens it anew",
            PROXY,
        ),
        (
            "proxy -D 0 --json",
            "--json",
            "write records (lines of JSON) to a file with -o FILE, or print them with --format \
             ndjson",
            PROXY,
        ),
        ("-v", "-v", "to print the version, use conniver --version", ANY),
    ] {
        let said = format!("unexpected argument '{option}' found\n\n  tip: {tip}");
        assert_wrong_usage(typed, &said, usage);
    }
}

#[test]
fn options_of_curl_and_ssh_are_answered_with_ours() {
    let undo = "the first lines of the script show the command that removes the rules";
    for (typed, option, tip, usage) in [
        ("stat -x p:1 h", "-x", "set a parent proxy with --via URL", STAT),
        ("stat --proxy p:1 h", "--proxy", "set a parent proxy with --via URL", STAT),
        ("stat -sS h", "-s", "print errors only with -q", STAT),
        ("stat -A me h", "-A", "send it with -H 'User-Agent: NAME'", STAT),
        ("stat -b a=b h", "-b", "send it with -H 'Cookie: NAME=VALUE'", STAT),
        ("stat -w x h", "-w", "print all values as JSON with --json", STAT),
        (
            "stat -u me:pw h",
            "-u",
            "put the credentials into the URL, http://USER:PASSWORD@HOST, or send them with -H \
             'Authorization: ...'",
            STAT,
        ),
        (
            "stat -t 5 h",
            "-t",
            "limit the total time with --max-time TIME, or the time to connect with \
             --connect-timeout TIME",
            STAT,
        ),
        (
            "proxy --listen-port 8080",
            "--listen-port",
            "listen with -D PORT, or -L PORT:HOST:HOSTPORT",
            PROXY,
        ),
        (
            "proxy -D 1 --mode x",
            "--mode",
            "choose the mode with -D, -L, --redirect or --tproxy",
            PROXY,
        ),
        ("run -c true", "-c", "run a shell command line with: conniver run -- sh -c 'LINE'", RUN),
        ("check -f x", "-f", "give the file name without an option", "conniver check <FILE>..."),
        ("check -v x", "-v", "omit it: all findings are printed", "conniver check <FILE>..."),
        (
            "check -q x",
            "-q",
            "use the exit status, and redirect the output to /dev/null",
            "conniver check <FILE>...",
        ),
        (
            "schema --format json",
            "--format",
            "the output is JSON Schema, or Markdown tables with --markdown",
            "conniver schema [OPTIONS]",
        ),
        ("rules --delete", "--delete", undo, "conniver rules <COMMAND>"),
        ("rules redirect -D", "-D", undo, "conniver rules redirect [OPTIONS] --port <PORT>"),
        (
            "demo --port 8",
            "--port",
            "demo uses free ports of this machine; to choose ports and targets, use conniver proxy",
            "conniver demo [OPTIONS]",
        ),
        ("proxy -N -L 1:h:1", "-N", "omit it: conniver proxy runs no remote command", PROXY),
        (
            "proxy -R 1:h:1",
            "-R",
            "remote forwarding is not supported; listen on this machine with -L or -D",
            PROXY,
        ),
    ] {
        let said = format!("unexpected argument '{option}' found\n\n  tip: {tip}");
        assert_wrong_usage(typed, &said, usage);
    }
}

#[test]
fn an_unknown_option_before_the_command_is_wrong_usage() {
    for (typed, option, similar) in [
        ("run --detial brief -- true", "--detial", "--detail"),
        ("run --detial=brief true", "--detial", "--detail"),
        ("run --detial true", "--detial", "--detail"),
        ("run --interecpt true", "--interecpt", "--intercept"),
    ] {
        let said = format!(
            "unexpected argument '{option}' found\n\n  tip: a similar argument exists: '{similar}'"
        );
        assert_wrong_usage(typed, &said, RUN);
    }
}

#[test]
fn habits_of_top_watch_tail_and_ss_are_answered() {
    for (typed, said) in [
        ("top -p 1", "show the sockets of one process with --pid PID"),
        ("top -n 0", "expected a whole number from 1 to 4294967295, such as 1"),
        ("watch -n 1", "set the interval with --interval TIME"),
        ("watch -i eth0", "all interfaces are watched"),
        ("watch :443", "did you mean: conniver watch --to :443"),
        ("watch 4711", "did you mean: conniver watch --pid 4711"),
        ("watch ss -t", "to repeat a command, use watch(1)"),
        ("report -f x", "to follow the file, use conniver top FILE"),
        ("report --sort wait x", "the slowest connections are listed first"),
        ("report x --slowest all", "expected a whole number such as 20"),
        ("report x --where target=a and outcome=ok", "quote it: --where 'target=a and outcome=ok'"),
        ("report x --where outcome=failed", "write outcome!=ok"),
    ] {
        let words: Vec<_> = typed.split(' ').collect();
        let (status, text) = crate::arguments::refused(&words);
        assert_eq!(status, Some(2), "{typed}: {text}");
        assert!(text.contains(said), "{typed}: {text}");
    }
}

#[test]
fn typographic_quotes_and_dashes_are_named() {
    for (typed, said) in [
        (
            "report x \u{2013}slowest 3",
            "'\u{2013}slowest' begins with a typographic dash; write --slowest",
        ),
        ("report x --where \u{201c}outcome=ok\u{201d}", "--where: \u{201c} is a typographic quote"),
        ("report x --since \u{201c}14:00\u{201d}", "tip: \u{201c} is a typographic quote"),
        ("check \u{201c}x\u{201d}", "\u{201c} is a typographic quote"),
        ("top \u{2018}x\u{2019}", "\u{2018} is a typographic quote"),
    ] {
        let words: Vec<_> = typed.split(' ').collect();
        let (status, text) = crate::arguments::refused(&words);
        assert_eq!(status, Some(2), "{typed}: {text}");
        assert!(text.contains(said), "{typed}: {text}");
    }
}
