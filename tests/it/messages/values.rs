//! Values that are malformed: each message says what was expected, with an example.

use crate::arguments::refused;

const LISTEN: &str = "expected [BIND:]PORT, such as 1080";
const FORWARD: &str = "expected [BIND:]PORT:HOST:HOSTPORT, such as 8080:example.com:80";
const BIND: &str = "'h' is not an address to listen on; use an IPv4 address, an IPv6 address in \
                    brackets, localhost, or * for all addresses";
const RULE: &str = "expected a network (10.0.0.0/8), a host name, *.SUFFIX or *, optionally \
                    followed by :PORT (then with IPv6 in brackets)";
const TIME: &str = "expected a time such as 5s, 250ms, 1m or 24h, at most a year";
const PORT: &str = "expected a whole number from 1 to 65535, such as 15001";
const LIMIT: &str = "expected a whole number such as 1000, or 0 for no limit";
const MARK: &str = "expected a number from 1 to 4294967295, in decimal or hexadecimal, such as 7 \
                    or 0x7";
const PARENT: &str = "expected [http|socks5|socks5h]://[USER:PASSWORD@]HOST[:PORT]";
const URL: &str = "expected [http|https]://HOST[:PORT][/PATH]";

fn assert_invalid(typed: &[&str], said: &str) {
    let expected = format!("error: invalid value {said}\n\nFor more information, try '--help'.\n");
    assert_eq!(refused(typed), (Some(2), expected), "conniver {typed:?}");
}

/// The last word is the value of the option before it, which is shown as `option`.
fn assert_expected(typed: &str, option: &str, expected: &str) {
    let words: Vec<&str> = typed.split(' ').collect();
    let value = words[words.len() - 1];
    assert_invalid(&words, &format!("'{value}' for '{option}': {expected}"));
}

#[test]
fn addresses_say_the_form_that_is_expected() {
    let parts = "a part is missing, or an IPv6 address has no brackets";
    let url = "an address to listen on is not a URL";
    for (typed, option, problem, form) in [
        ("proxy -L 8080", "-L <[BIND:]PORT:HOST:HOSTPORT>", parts, FORWARD),
        ("proxy -L 8080::1:80", "-L <[BIND:]PORT:HOST:HOSTPORT>", parts, FORWARD),
        ("proxy -L 8080::80", "-L <[BIND:]PORT:HOST:HOSTPORT>", parts, FORWARD),
        (
            "proxy -L 8081:::1:80",
            "-L <[BIND:]PORT:HOST:HOSTPORT>",
            "an IPv6 address must be in brackets, as in '8081:[::1]:80'",
            FORWARD,
        ),
        (
            "proxy -L 8081:2001:db8::1:80",
            "-L <[BIND:]PORT:HOST:HOSTPORT>",
            "an IPv6 address must be in brackets, as in '8081:[2001:db8::1]:80'",
            FORWARD,
        ),
        (
            "proxy -L ::1:8080:h:80",
            "-L <[BIND:]PORT:HOST:HOSTPORT>",
            "an IPv6 address must be in brackets, as in '[::1]:8080:h:80'",
            FORWARD,
        ),
        (
            "proxy -D ::1:1080",
            "-D <[BIND:]PORT>",
            "an IPv6 address must be in brackets, as in '[::1]:1080'",
            LISTEN,
        ),
        (
            "proxy -L 8080:/run/x.sock",
            "-L <[BIND:]PORT:HOST:HOSTPORT>",
            "only TCP ports can be forwarded, not UNIX sockets",
            FORWARD,
        ),
        ("proxy -D http://localhost:1080", "-D <[BIND:]PORT>", url, LISTEN),
        (
            "proxy -D 1,2",
            "-D <[BIND:]PORT>",
            "'1,2' is not a single port; repeat the option for each port",
            LISTEN,
        ),
        (
            "proxy -D 0 --metrics http://localhost:9090/metrics",
            "--metrics <[BIND:]PORT>",
            url,
            LISTEN,
        ),
        (
            "proxy -L x:h:1",
            "-L <[BIND:]PORT:HOST:HOSTPORT>",
            "'x' is not a port to listen on (0 to 65535)",
            FORWARD,
        ),
        ("proxy -L h:1:h:1", "-L <[BIND:]PORT:HOST:HOSTPORT>", BIND, FORWARD),
        (
            "proxy -L 1:http://h:1",
            "-L <[BIND:]PORT:HOST:HOSTPORT>",
            "a target is HOST:HOSTPORT, not a URL",
            FORWARD,
        ),
        (
            "proxy -L 1:h:0",
            "-L <[BIND:]PORT:HOST:HOSTPORT>",
            "'h:0' is not a valid target: the port is not a number from 1 to 65535",
            FORWARD,
        ),
        ("proxy -D h:1", "-D <[BIND:]PORT>", BIND, LISTEN),
        (
            "proxy --redirect 1:2:3",
            "--redirect <[BIND:]PORT>",
            "too many parts, or an IPv6 address without brackets",
            LISTEN,
        ),
        (
            "proxy --tproxy 70000",
            "--tproxy <[BIND:]PORT>",
            "'70000' is not a port to listen on (0 to 65535)",
            LISTEN,
        ),
        (
            "proxy -D 0 --metrics x",
            "--metrics <[BIND:]PORT>",
            "'x' is not a port to listen on (0 to 65535)",
            LISTEN,
        ),
    ] {
        assert_expected(typed, option, &format!("{problem}; {form}"));
    }
    assert_expected(
        "proxy -D 0 --allow-from x",
        "--allow-from <CIDR>",
        "'x' is not a network; expected one such as 10.0.0.0/8 or 2001:db8::/32, or an address",
    );
    for option in ["allow", "deny"] {
        assert_expected(
            &format!("proxy -D 0 --{option} a:b:c"),
            &format!("--{option} <RULE>"),
            &format!("'a:b:c' is not a valid rule; {RULE}"),
        );
        assert_expected(
            &format!("proxy -D 0 --{option} localhost,h"),
            &format!("--{option} <RULE>"),
            &format!("'localhost,h' is not a valid rule; {RULE}; for several, repeat the option"),
        );
        assert_expected(
            &format!("proxy -D 0 --{option} http://h:1/"),
            &format!("--{option} <RULE>"),
            &format!(
                "'http://h:1/' is a URL; a rule has only a host and optionally a port; {RULE}"
            ),
        );
    }
}

#[test]
fn targets_that_are_none_say_which_part_is_wrong() {
    for (target, problem) in [
        ("h:http", "the port is not a number from 1 to 65535"),
        ("a..b:80", "the host name has an empty label"),
        ("a\\b:80", "the host contains a character that host names cannot have"),
        ("[x]:80", "the text in brackets is not an IPv6 address"),
        ("[fe80::1%lo]:80", "IPv6 zones (%) are not supported"),
    ] {
        assert_expected(
            &format!("proxy -L 1:{target}"),
            "-L <[BIND:]PORT:HOST:HOSTPORT>",
            &format!("'{target}' is not a valid target: {problem}; {FORWARD}"),
        );
    }
    assert_expected(
        "proxy -L 1:h:1,2:h:2",
        "-L <[BIND:]PORT:HOST:HOSTPORT>",
        &format!("it is one forwarding, without commas; repeat the option for each; {FORWARD}"),
    );
}

#[test]
fn addresses_that_can_be_read_in_two_ways_are_told_with_each() {
    let two = "can be an address, or an address and a port; write ::1:8899/128 or";
    for (typed, option, forms) in [
        ("proxy -D 0 --deny ::1:8899", "--deny <RULE>", &format!("{two} [::1]:8899")),
        ("proxy -D 0 --allow ::1:8899", "--allow <RULE>", &format!("{two} [::1]:8899")),
        (
            "proxy -D 0 --allow-from ::1:8899",
            "--allow-from <CIDR>",
            &format!("{two} ::1 without a port"),
        ),
        ("watch --to ::1:8899", "--to <ENDPOINT>", &format!("{two} [::1]:8899")),
        ("top --from ::1:8899", "--from <ENDPOINT>", &format!("{two} [::1]:8899")),
    ] {
        assert_expected(typed, option, &format!("'::1:8899' {forms}"));
    }
    let short = "'10' is short for 0.0.0.10; write 0.0.0.10 or 10.0.0.0/8";
    assert_expected("proxy -D 0 --allow-from 10", "--allow-from <CIDR>", short);
    let form = "is not a network; expected one such as 10.0.0.0/8 or 2001:db8::/32, or an address";
    for (value, more) in [
        ("any", "; for everyone, give 0.0.0.0/0 and ::/0"),
        ("*", "; for everyone, give 0.0.0.0/0 and ::/0"),
        ("localhost", "; for this machine, give 127.0.0.0/8 and ::1"),
        ("web1", ""),
    ] {
        let said = format!("'{value}' {form}{more}");
        let typed = format!("proxy -D 0 --allow-from {value}");
        assert_expected(&typed, "--allow-from <CIDR>", &said);
    }
    let network = "'10/8' is not a network of four numbers; write 10.0.0.0/8";
    assert_expected("proxy -D 0 --allow-from 10/8", "--allow-from <CIDR>", network);
    assert_expected("proxy -D 0 --deny 10", "--deny <RULE>", &format!("{short} or *:10"));
    assert_expected("watch --to 10", "--to <ENDPOINT>", &format!("{short} or :10"));
}

#[test]
fn a_name_in_records_is_no_address_to_listen_on() {
    let said = "it is the machine's name in records; an address to listen on stands before the port: -D ADDRESS:PORT or \
                -L ADDRESS:PORT:HOST:HOSTPORT";
    for typed in ["proxy -D 0 --host 0.0.0.0", "run --host ::1", "watch --host 127.0.0.1"] {
        assert_expected(typed, "--host <NAME>", said);
    }
}

#[test]
fn times_say_which_ones_are_expected() {
    for option in [
        "request-timeout",
        "connect-timeout",
        "idle-timeout",
        "lifetime",
        "user-timeout",
        "drain",
        "linger",
        "keepalive",
        "keepalive-interval",
        "sample-interval",
    ] {
        let shown = format!("--{option} <TIME>");
        assert_expected(&format!("proxy -D 0 --{option} soon"), &shown, TIME);
        assert_expected(&format!("proxy -D 0 --{option} 300y"), &shown, TIME);
    }
    for value in ["1,000ms", "0,5s", "1,5"] {
        let expected = "expected a time without commas, such as 1.5s or 1500ms";
        assert_expected(&format!("proxy -D 0 --drain {value}"), "--drain <TIME>", expected);
    }
    for option in ["connect-timeout", "max-time", "interval"] {
        let shown = format!("--{option} <TIME>");
        assert_expected(&format!("stat -n 1 http://h --{option} soon"), &shown, TIME);
    }
    for (value, expected) in [
        ("sample-interval 0", "10ms"),
        ("sample-interval 9ms", "10ms"),
        ("keepalive-interval 0", "1s"),
    ] {
        let option = value.split(' ').next().unwrap();
        let expected = format!("expected at least {expected}");
        let typed = format!("proxy -D 0 --events sample --{value}");
        assert_expected(&typed, &format!("--{option} <TIME>"), &expected);
    }
    assert_expected(
        "proxy -D 0 --keepalive 10ms",
        "--keepalive <TIME>",
        "expected at least 1s, or 0 to disable keepalive probes",
    );
}

#[test]
fn numbers_and_sizes_say_which_ones_are_expected() {
    let probes = "expected a whole number from 1 to 127, such as 6";
    let mib = "expected a whole number from 1 to 65536, such as 8; it is in MiB, without a unit";
    let queue = "expected at least 16kB, or 0; a number without a unit is in bytes";
    let count = "expected a whole number from 1 to 1000000000, such as 10";
    let ports = "expected a port or a range of ports, such as 443 or 8000-8099";
    let since = "give a local time such as 14:00, 2026-11-29 or '2026-11-29 14:00', how long ago it was \
                 such as 10m or 2h, RFC 3339, or Unix time in seconds, ms or ns";
    let one = "expected one name; for several interfaces, repeat the option";
    let mode =
        "expected octal permissions with write permission for the owner, such as 0600 or 0640";
    let targets = "expected a whole number from 0 to 1000, such as 20";
    let word = "expected a name of letters, digits and the characters _ . : @ -, such as eth0 or \
                conniver";
    for (typed, option, expected) in [
        ("proxy -D 0 --max-connections many", "--max-connections <N>", LIMIT),
        ("proxy -D 0 --max-per-client 1.5", "--max-per-client <N>", LIMIT),
        ("proxy -D 0 --keepalive-probes 0", "--keepalive-probes <N>", probes),
        ("proxy -D 0 --keepalive-probes 128", "--keepalive-probes <N>", probes),
        ("proxy -D 0 --mark 0", "--mark <N>", MARK),
        ("proxy -D 0 --mark 0xg", "--mark <N>", MARK),
        (
            "proxy -D 0 --queue lots",
            "--queue <SIZE>",
            "expected a size such as 64MiB, 500kB or 65536",
        ),
        ("proxy -D 0 --queue 64", "--queue <SIZE>", queue),
        ("proxy -D 0 --queue 15999", "--queue <SIZE>", queue),
        ("demo --size 0", "--size <MIB>", mib),
        ("demo --size x", "--size <MIB>", mib),
        ("stat http://h -n 0", "--count <N>", count),
        ("stat http://h -n x", "--count <N>", count),
        ("rules redirect --port 0", "--port <PORT>", PORT),
        ("rules tproxy --port x", "--port <PORT>", PORT),
        ("rules redirect --port 1 --mark 0", "--mark <N>", MARK),
        ("rules redirect --port 1 --ports 9-1", "--ports <LIST>", ports),
        ("rules redirect --port 1 --ports 0", "--ports <LIST>", ports),
        ("rules redirect --port 1 --on eth0;", "--on <INTERFACE>", word),
        ("rules redirect --port 1 --not-user $me", "--not-user <USER>", word),
        ("rules redirect --port 1 --on a,b", "--on <INTERFACE>", one),
        ("proxy -D 0 -o f --output-mode 9", "--output-mode <MODE>", mode),
        ("proxy -D 0 -o f --output-mode 0440", "--output-mode <MODE>", mode),
        ("proxy -D 0 --metrics-targets x", "--metrics-targets <N>", targets),
        ("proxy -D 0 --host ", "--host <NAME>", "expected a name, such as web1"),
        (
            "report x --slowest x",
            "--slowest <N>",
            "expected a whole number such as 20; to list all, give a large one",
        ),
        ("report x --since x", "--since <TIME>", since),
        ("report x --until 25:00", "--until <TIME>", since),
        ("watch --interval 0", "--interval <TIME>", "expected at least 10ms"),
        ("top --interval 0", "--interval <TIME>", "expected at least 100ms"),
    ] {
        assert_expected(typed, option, expected);
    }
}

#[test]
fn words_say_which_ones_are_expected() {
    let label = "expected KEY=VALUE, such as site=fra1";
    for value in ["novalue", "=x"] {
        assert_expected(&format!("proxy -D 0 --label {value}"), "--label <KEY=VALUE>", label);
    }
    assert_invalid(
        &["stat", "-X", "A B", "http://h"],
        "'A B' for '--request <METHOD>': expected a method, such as GET or PUT",
    );
    for (typed, option, choices) in [
        ("proxy -D 0 --send-proxy v3", "--send-proxy <VERSION>", "v1, v2"),
        ("proxy -D 0 --events closed", "--events <LIST>", "start, open, sample, turn, close, stop"),
        ("proxy -D 0 --detail much", "--detail <LEVEL>", "brief, normal, full"),
        ("schema --detail much", "--detail <LEVEL>", "brief, normal, full"),
    ] {
        let words: Vec<&str> = typed.split(' ').collect();
        let value = words[words.len() - 1];
        let values = format!("\n  [possible values: {choices}]");
        let tip = match value {
            "closed" => "\n\n  tip: a similar value exists: 'close'",
            _ => "",
        };
        assert_invalid(&words, &format!("'{value}' for '{option}'{values}{tip}"));
    }
}

#[test]
fn files_of_which_there_can_be_none_are_said_so() {
    let run = "standard output belongs to COMMAND; give a file";
    let stat = "standard output is for the diagram; give a file";
    assert_invalid(&["run", "-o", "-", "true"], &format!("'-' for '--output <FILE>': {run}"));
    assert_invalid(&["stat", "-o", "-", "h"], &format!("'-' for '--output <FILE>': {stat}"));
}

#[test]
fn urls_say_what_is_wrong_with_them() {
    let port = "the host is missing, as in localhost:8080";
    let name = "the port is not a number from 1 to 65535";
    let slashes = "the scheme must be followed by ://, as in http://localhost/";
    let colons = "write an IPv6 address in brackets, as in http://[::1]/, and give only one port";
    for (url, said) in [
        ("", "it is empty"),
        ("8080", port),
        ("localhost:http", name),
        ("http://h:99999/", name),
        ("::1", colons),
        ("http://::1/", colons),
        ("2001:db8::1", colons),
        ("localhost:443:80", colons),
        ("http://a b:80:80/", colons),
        ("http://", "the host is not valid"),
        ("http:/h", slashes),
        ("https:h/x", slashes),
        ("http:127.0.0.1:8080", slashes),
        ("http//h", slashes),
        ("http://[::1", colons),
        ("http://[fe80::1%lo]/", "a URL cannot contain an IPv6 zone (%eth0)"),
    ] {
        assert_invalid(&["stat", url], &format!("for 'URL': {said}; {URL}"));
    }
}

#[test]
fn values_that_may_have_a_password_are_not_repeated() {
    for (typed, said) in [
        (
            &["proxy", "-D", "0", "--via", "https://u:s3cret@h"][..],
            format!(
                "for '--via <URL>': not a parent proxy: the scheme is not http, socks5 or \
                 socks5h; {PARENT}"
            ),
        ),
        (
            &["proxy", "-D", "0", "--via", "u:s3cret@::1:80"],
            format!(
                "for '--via <URL>': not a parent proxy: an IPv6 address must be in brackets, as \
                 in http://[::1]:3128; {PARENT}"
            ),
        ),
        (
            &["proxy", "-D", "0", "--via", "u:s3cret@h:99999"],
            format!(
                "for '--via <URL>': not a parent proxy: the port is not a number from 1 to 65535; \
                 {PARENT}"
            ),
        ),
        (
            &["proxy", "-D", "0", "--via", "http://u:s3cret@h/proxy.pac"],
            format!(
                "for '--via <URL>': not a parent proxy: it is the address of a PAC file, which is \
                 not supported; give the proxy that the file names; {PARENT}"
            ),
        ),
        (
            &["proxy", "-D", "0", "--via", "http://u:s3cret/w@h"],
            format!(
                "for '--via <URL>': not a parent proxy: an @ follows the host (in a password, write / \
                 ? # as %2F %3F %23); {PARENT}"
            ),
        ),
        (
            &["proxy", "-D", "0", "--via", "http://u%3av:s3cret@h"],
            format!(
                "for '--via <URL>': not a parent proxy: a user name for HTTP cannot contain a colon; \
                 {PARENT}"
            ),
        ),
        (
            &["stat", "--via", "http://u:s3cret@", "h"],
            format!("for '--via <URL>': not a parent proxy: the host is missing; {PARENT}"),
        ),
        (
            &["stat", "ftp://u:s3cret@h"],
            format!("for 'URL': the scheme is neither http nor https; {URL}"),
        ),
        (
            &["stat", "http://u:s3cret@h:0"],
            format!("for 'URL': the port is not a number from 1 to 65535; {URL}"),
        ),
        (
            &["stat", "-H", "s3cret", "http://h"],
            "for '--header <NAME: VALUE>': expected NAME: VALUE, such as 'Accept: text/html'"
                .to_owned(),
        ),
    ] {
        assert_invalid(typed, &said);
    }
}

#[test]
fn no_parent_proxy_is_said_by_omitting_the_option() {
    let said = "for '--via <URL>': expected the URL of a parent proxy; to connect without one, omit \
                --via, and where http_proxy or https_proxy names one for run or stat, set \
                no_proxy='*'";
    for no in ["", "none", "Direct", "off"] {
        assert_invalid(&["proxy", "-D", "0", "--via", no], said);
        assert_invalid(&["run", "--via", no, "true"], said);
        assert_invalid(&["stat", "--via", no, "h"], said);
    }
}
