//! Options that are missing, that exclude each other, or that would have no effect.

use std::process::Command;

use super::{PROXY, RUN, STAT, assert_wrong_usage};
use crate::arguments::refused;
use crate::harness::program::{BINARY, Proxy};

#[test]
fn options_that_exclude_each_other_are_named() {
    let given =
        |one: &str, other: &str| format!("the argument '{one}' cannot be used with '{other}'");
    let tip = |tip: &str| match tip {
        "" => String::new(),
        tip => format!("\n\n  tip: {tip}"),
    };
    let families = "omit both to try IPv4 and IPv6";
    let once = "only a single request can save the body; omit -n or -o";
    for (typed, one, other, why, usage) in [
        ("proxy -4 -6 -D 0", "--ipv4", "--ipv6", families, PROXY),
        ("proxy -q -v -D 0", "--quiet", "--verbose...", "", PROXY),
        ("stat -4 -6 http://h", "--ipv4", "--ipv6", families, STAT),
        (
            "stat -I -X GET http://h",
            "--head",
            "--request <METHOD>",
            "-I sends a HEAD request; omit it, or -X",
            STAT,
        ),
        (
            "stat -I -d x http://h",
            "--head",
            "--data <DATA>",
            "-I sends a HEAD request, which has no body",
            STAT,
        ),
        ("stat -o f -n 2 http://h", "--output <FILE>", "--count <N>", once, STAT),
        ("stat -n 2 -o f http://h", "--count <N>", "--output <FILE>", once, STAT),
        (
            "stat -O -n 2 http://h",
            "--remote-name",
            "--count <N>",
            "only a single request can save the body; omit -n or -O",
            STAT,
        ),
        (
            "stat -O -o f http://h",
            "--remote-name",
            "--output <FILE>",
            "-o sets the file name, -O takes it from the server",
            STAT,
        ),
    ] {
        assert_wrong_usage(typed, &(given(one, other) + &tip(why)), usage);
    }
    assert_wrong_usage(
        "rules redirect --port 1 --not-user a --on b",
        &(given("--not-user <USER>", "--on <INTERFACE>")
            + &tip("forwarded connections have no local user")),
        "conniver rules redirect [OPTIONS] --port <PORT>",
    );
}

#[test]
fn what_is_missing_is_named() {
    for (typed, missing, usage) in [
        ("run", "<COMMAND>...", RUN),
        ("stat", "<URL>", STAT),
        ("rules redirect", "--port <PORT>", "conniver rules redirect [OPTIONS] --port <PORT>"),
        ("rules tproxy --mark 7", "--port <PORT>", "conniver rules tproxy [OPTIONS] --port <PORT>"),
    ] {
        let said = format!("the following required arguments were not provided:\n  {missing}");
        assert_wrong_usage(typed, &said, usage);
    }
    assert_wrong_usage(
        "check",
        "the following required arguments were not provided:\n  <FILE>...\n\n  tip: to check \
         standard input: conniver check -",
        "conniver check <FILE>...",
    );
}

#[test]
fn a_value_that_is_missing_is_named() {
    for (words, option, choices) in [
        (&["rules", "redirect", "--port"][..], "--port <PORT>", ""),
        (&["stat", "-H"], "--header <NAME: VALUE>", ""),
        (&["proxy", "-D", "0", "-o"], "--output <FILE>", ""),
        (
            &["proxy", "-D", "0", "--send-proxy"],
            "--send-proxy <VERSION>",
            "\n  [possible values: v1, v2]",
        ),
    ] {
        let expected = format!(
            "error: a value is required for '{option}' but none was supplied{choices}\n\nFor more \
             information, try '--help'.\n"
        );
        assert_eq!(refused(words), (Some(2), expected), "{words:?}");
    }
}

#[test]
fn a_proxy_without_a_way_in_is_told_all_of_them() {
    let said = "no listener: give -D PORT, -L PORT:HOST:HOSTPORT, --redirect PORT or --tproxy PORT";
    for typed in ["proxy", "proxy -v", "proxy --allow x"] {
        assert_wrong_usage(typed, said, PROXY);
    }
}

#[test]
fn a_parent_or_a_target_that_is_the_proxy_itself_is_refused() {
    let round = "so connections would loop; choose another";
    for (typed, shown, own) in [
        ("-D 1080 --via 127.0.0.1:1080", "http://127.0.0.1:1080", "-D 127.0.0.1:1080"),
        ("-D 1080 --via socks5://localhost", "socks5://localhost:1080", "-D 127.0.0.1:1080"),
        ("-L 3128:h:1 --via [::ffff:127.0.0.1]:3128", "", "-L 127.0.0.1:3128"),
        ("-D *:1080 --allow-from ::1 --via 127.0.0.1:1080", "", "-D [::]:1080"),
    ] {
        let shown = match shown {
            "" => format!("http://{}", typed.rsplit(' ').next().unwrap()),
            shown => shown.to_owned(),
        };
        let said =
            format!("--via {shown} is this proxy's own listener {own}, {round} parent proxy");
        assert_wrong_usage(&format!("proxy {typed}"), &said, PROXY);
    }
    for (typed, forward, own) in [
        ("-L 8080:127.0.0.1:8080", "127.0.0.1:8080:127.0.0.1:8080", "-L 127.0.0.1:8080"),
        ("-L 0:0.0.0.0:1080 -D 1080", "127.0.0.1:0:0.0.0.0:1080", "-D 127.0.0.1:1080"),
    ] {
        let said = format!("-L {forward} leads to this proxy's own listener {own}, {round} target");
        assert_wrong_usage(&format!("proxy {typed}"), &said, PROXY);
    }
}

#[test]
fn a_target_that_no_connection_can_reach_is_refused() {
    for (options, target, problem) in [
        ("-4", "[::1]:80", "has an IPv6 address, which -4 excludes; omit -4"),
        ("-6", "127.0.0.1:80", "has an IPv4 address, which -6 excludes; omit -6"),
        (
            "-v",
            "[fe80::1]:80",
            "has a link-local address without its interface; use a name that resolves to both",
        ),
    ] {
        let said = format!("-L 127.0.0.1:8080:{target} {problem}");
        assert_wrong_usage(&format!("proxy {options} -L 8080:{target}"), &said, PROXY);
    }
}

#[test]
fn a_rule_that_forbids_the_only_target_is_warned_of() {
    for (target, rule) in [
        ("10.1.2.3:80", "10.0.0.0/8"),
        ("10.1.2.3:80", "10.1.2.3/32:80"),
        ("[2001:db8::1]:80", "[2001:db8::/32]:80"),
        ("db.example.com:5432", "*.example.com"),
        ("db.example.com:5432", "db.example.com:5432"),
        ("db.example.com:5432", "*"),
    ] {
        let forward = format!("0:{target}");
        let proxy = Proxy::start(&mut Command::new(BINARY), &[&forward], &["--deny", rule]);
        let said = format!(
            "WARN --deny {rule} forbids the only target of -L 127.0.0.1:0:{target}: all its \
             connections will be refused\n"
        );
        let left = proxy.stop();
        assert!(left.stderr.contains(&said), "{}", left.stderr);
    }
}

#[test]
fn rules_that_would_divert_the_proxy_itself_are_refused() {
    for by in ["redirect", "tproxy"] {
        let usage = format!("conniver rules {by} [OPTIONS] --port <PORT>");
        assert_wrong_usage(
            &format!("rules {by} --port 15001"),
            "the rules would divert the proxy's own connections back to it: exclude them with \
             --mark N (and run the proxy with the same --mark), or with --not-user USER",
            &usage,
        );
        assert_wrong_usage(
            &format!("rules {by} --port 15001 --mark 0x636e"),
            "--mark 0x636e is reserved for the rules themselves; choose another mark",
            &usage,
        );
    }
}

#[test]
fn listening_beyond_loopback_says_who_may_be_let_in() {
    let everyone = "'--allow-from 0.0.0.0/0 --allow-from ::/0' allows everyone";
    for (typed, option, or) in [
        ("proxy -D *:0", "-D [::]:0", ", or --auth-file FILE"),
        ("proxy -L 0.0.0.0:0:h:1", "-L 0.0.0.0:0", ""),
        ("proxy -D 0 --metrics *:9", "--metrics [::]:9", ""),
        ("proxy --redirect *:9 --accept-proxy", "--redirect [::]:9", ""),
    ] {
        let said = format!(
            "{option} can be reached from other machines: restrict its clients with --allow-from \
             CIDR{or}; {everyone}"
        );
        assert_wrong_usage(typed, &said, PROXY);
    }
}

#[test]
fn options_that_listen_on_the_same_address_are_named() {
    for (typed, said) in [
        ("proxy -D 1080 -D 1080", "-D 127.0.0.1:1080 is given twice"),
        ("proxy -L 1080:h:1 -D 1080", "-L and -D both listen on 127.0.0.1:1080"),
        ("proxy -D 1080 --metrics 1080", "-D and --metrics both listen on 127.0.0.1:1080"),
        (
            "proxy -D 0.0.0.0:1080 -L 1080:h:1",
            "-L 127.0.0.1:1080 and -D 0.0.0.0:1080 both listen on 127.0.0.1:1080",
        ),
        (
            "proxy -D *:1080 --metrics 127.0.0.2:1080",
            "-D [::]:1080 and --metrics 127.0.0.2:1080 both listen on 127.0.0.2:1080",
        ),
    ] {
        assert_wrong_usage(typed, &format!("{said}; choose another port for one of them"), PROXY);
    }
}

#[test]
fn options_without_an_effect_are_wrong_usage_and_say_what_they_need() {
    let samples = "sample in --events, such as --events sample,close";
    let records = "an output file: add -o FILE";
    let turns = "turn in --events, such as --events turn,close";
    let file = "an output file: add -o FILE";
    let repetitions = "-n, such as -n 10";
    let probes = "keepalive probes, which --keepalive 0 disables";
    for (typed, option, needs, usage) in [
        ("proxy -D 0 --sample-interval 5s", "--sample-interval", samples, PROXY),
        ("run -o f --sample-interval 5s true", "--sample-interval", samples, RUN),
        ("proxy -D 0 --turn-min 5s", "--turn-min", turns, PROXY),
        ("run -o f --turn-min 5s true", "--turn-min", turns, RUN),
        ("run --sample-interval 5s true", "--sample-interval", records, RUN),
        ("run --events open true", "--events", records, RUN),
        ("run --detail brief true", "--detail", records, RUN),
        ("run --raw true", "--raw", records, RUN),
        ("run --label a=b true", "--label", records, RUN),
        ("run --host h true", "--host", records, RUN),
        ("proxy -L 0:h:1 --auth-file f", "--auth-file", "-D", PROXY),
        (
            "proxy -L 0:h:1 --allow *",
            "--allow",
            "-D, --redirect or --tproxy: the targets of -L are always allowed",
            PROXY,
        ),
        (
            "proxy -L 0:h:1 --request-timeout 1s",
            "--request-timeout",
            "-D or --accept-proxy: other clients send no request",
            PROXY,
        ),
        ("proxy -D 0 --keepalive 0 --keepalive-interval 4", "--keepalive-interval", probes, PROXY),
        ("proxy -D 0 --keepalive 0 --keepalive-probes 4", "--keepalive-probes", probes, PROXY),
        ("proxy -D 0 --metrics-targets 4", "--metrics-targets", "--metrics", PROXY),
        ("proxy -D 0 --output-mode 0640", "--output-mode", file, PROXY),
        ("proxy -D 0 -o - --output-mode 0640", "--output-mode", file, PROXY),
        ("stat --interval 1 http://h", "--interval", repetitions, STAT),
        ("stat http://h --interval 1", "--interval", repetitions, STAT),
    ] {
        assert_wrong_usage(typed, &format!("{option} has no effect without {needs}"), usage);
    }
}

#[test]
fn own_options_behind_the_command_are_noted() {
    let said = |words: &[&str]| {
        let output = Command::new(BINARY).arg("run").args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let note = "--fresh behind true is an argument of true; options of conniver go before it: \
                conniver run --fresh … -- true …";
    let noted = said(&["true", "--fresh"]);
    assert!(noted.contains(note), "{noted}");
    let separated = said(&["--", "true", "--fresh"]);
    assert!(!separated.contains("--fresh"), "{separated}");
    let note = "--expect behind true is an argument of true; options of conniver go before it: \
                conniver run --expect … -- true …";
    let noted = said(&["--", "true", "--expect", "failed=0"]);
    assert!(noted.contains(note), "{noted}");
}
