//! What was probably meant by a command line that is not understood.

use super::{ANY, PROXY, RUN, STAT, assert_wrong_usage};

#[test]
fn a_subcommand_that_was_left_out_is_shown() {
    for (typed, meant) in [
        ("5432", "proxy -L 15432:localhost:5432"),
        ("60000", "proxy -L 0:localhost:60000"),
        ("db.example:5432", "proxy -L 15432:db.example:5432"),
        ("8080:host:80", "proxy -L 8080:host:80"),
        ("https://example.com", "stat https://example.com"),
        ("https://example.com -L", "stat https://example.com -L"),
        ("example.com/page", "stat example.com/page"),
        ("sh -c true", "run -- sh -c true"),
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
}

#[test]
fn a_target_without_its_option_is_shown_with_it() {
    for (typed, word, meant) in [
        ("proxy localhost:5432", "localhost:5432", "proxy -L 15432:localhost:5432"),
        ("proxy 8080:host:80 -v", "8080:host:80", "proxy -L 8080:host:80 -v"),
        ("proxy -v 5432 -o a;b", "5432", "proxy -v -L 15432:localhost:5432 -o 'a;b'"),
        ("proxy https://example.com", "https://example.com", "stat https://example.com"),
        ("proxy -L 8080 example.com:80 -v", "example.com:80", "proxy -L 8080:example.com:80 -v"),
    ] {
        let said =
            format!("unexpected argument '{word}' found\n\n  tip: did you mean: conniver {meant}");
        assert_wrong_usage(typed, &said, PROXY);
    }
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
        ("run -L 1:h:1 -- true", "-L", "proxy", RUN),
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
    assert_wrong_usage("-v", "unexpected argument '-v' found", ANY);
    assert_wrong_usage(
        "prxy -D 1",
        "unrecognized subcommand 'prxy'\n\n  tip: a similar subcommand exists: 'proxy'",
        ANY,
    );
}

#[test]
fn options_of_curl_and_ssh_are_answered_with_ours() {
    for (typed, option, tip, usage) in [
        ("stat -x p:1 h", "-x", "name a parent proxy with --via URL", STAT),
        ("stat --proxy p:1 h", "--proxy", "name a parent proxy with --via URL", STAT),
        ("stat -sS h", "-s", "print errors alone with -q", STAT),
        ("stat -A me h", "-A", "send it with -H 'User-Agent: NAME'", STAT),
        ("stat -b a=b h", "-b", "send it with -H 'Cookie: NAME=VALUE'", STAT),
        ("stat -w x h", "-w", "print every figure as JSON with --json", STAT),
        (
            "stat -u me:pw h",
            "-u",
            "write name and password into the URL, http://USER:PASSWORD@HOST, or send them with \
             -H 'Authorization: ...'",
            STAT,
        ),
        ("proxy -N -L 1:h:1", "-N", "leave it out: nothing is run", PROXY),
        ("proxy -R 1:h:1", "-R", "listen on this machine with -L or -D", PROXY),
    ] {
        let said = format!("unexpected argument '{option}' found\n\n  tip: {tip}");
        assert_wrong_usage(typed, &said, usage);
    }
}

#[test]
fn an_unknown_option_before_the_command_is_wrong_usage() {
    for (option, similar) in [("--detial", "--detail"), ("--interecpt", "--intercept")] {
        let said = format!(
            "unexpected argument '{option}' found\n\n  tip: a similar argument exists: '{similar}'"
        );
        assert_wrong_usage(&format!("run {option} true"), &said, RUN);
    }
}
