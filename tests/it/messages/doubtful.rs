//! What is warned of where values are valid, but hardly what was meant.

use std::process::Command;

use crate::harness::clients::without_proxies;
use crate::harness::program::BINARY;

/// What a program logs that ends because it cannot write, without the times.
fn logged(typed: &str) -> Vec<String> {
    let mut command = Command::new(BINARY);
    without_proxies(&mut command).env_remove("RUST_LOG");
    let output = command.args(typed.split(' ')).args(["-o", "/no/such"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let warnings = said.lines().filter_map(|line| Some(line.split_once(" WARN ")?.1.to_owned()));
    warnings.collect()
}

#[test]
fn values_that_are_hardly_meant_are_warned_of() {
    let path = "the path in the URL of --via is ignored";
    for (typed, said) in [
        (
            "proxy -D 0 --events turn --turn-min 100",
            "--turn-min 100 is 100 seconds; write 100ms for milliseconds, or 100s",
        ),
        (
            "proxy -D 0 --events sample --sample-interval 250",
            "--sample-interval 250 is 250 seconds; write 250ms for milliseconds, or 250s",
        ),
        (
            "proxy -D 0 --user-timeout 30000",
            "--user-timeout 30000 is 30000 seconds; write 30000ms for milliseconds, or 30000s",
        ),
        (
            "watch --interval 500",
            "--interval 500 is 500 seconds; write 500ms for milliseconds, or 500s",
        ),
        (
            "proxy -D 0 --label a=1,b=2",
            "--label a=1,b=2 is one label, 'a' with the value '1,b=2'; for several: --label a=1 \
             --label b=2",
        ),
        ("proxy -D 0 --via http://u:s3cret@h:3128/p/q", path),
        (
            "proxy -D 0 --allow-from 192.0.2.0/24",
            "-D 127.0.0.1:0 can be reached from this machine only, and --allow-from refuses its \
             clients; add --allow-from 127.0.0.1, or, for other machines, listen on '*:0'",
        ),
        (
            "proxy -L *:0:h:1 -L [::1]:9:h:1 --allow-from 192.0.2.0/24",
            "-L [::1]:9 can be reached from this machine only, and --allow-from refuses its \
             clients; add --allow-from ::1, or, for other machines, listen on '*:9'",
        ),
    ] {
        assert_eq!(logged(typed), [said], "{typed}");
    }
}

#[test]
fn a_method_in_lower_case_and_records_in_a_page_are_warned_of() {
    let said = |args: &[&str]| {
        let mut command = Command::new(BINARY);
        let output = without_proxies(command.args(args)).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let method = said(&["stat", "-X", "post", "--cacert", "/no/such", "https://h"]);
    assert!(
        method.contains(" WARN methods are case-sensitive: for POST, write -X POST\n"),
        "{method}"
    );
    let page = "'/no/such/x.html' will hold records (lines of JSON); for a page, use";
    for (args, option) in [
        (&["proxy", "-D", "0", "-o", "/no/such/x.html"][..], "conniver report --html FILE"),
        (&["run", "-o", "/no/such/x.html", "true"], "--html FILE"),
    ] {
        let said = said(args);
        assert!(said.contains(&format!(" WARN {page} {option}\n")), "{said}");
    }
}

#[test]
fn values_that_are_well_meant_are_not_warned_of() {
    for typed in [
        "proxy -D 0 --events turn --turn-min 100s",
        "proxy -D 0 --events turn --turn-min 9",
        "proxy -D 0 --connect-timeout 60 --idle-timeout 3600",
        "proxy -D 0 --label a=1 --label b=x,y --label c=p=q,r",
        "proxy -D 0 --via http://h:3128/",
        "proxy -D 0 --allow-from 192.0.2.0/24 --allow-from 127.0.0.0/8",
        "proxy -L *:0:h:1 --allow-from 192.0.2.0/24",
        "proxy --redirect 0 --allow-from 192.0.2.0/24",
        "proxy -q -D 0 --events turn --turn-min 100",
    ] {
        assert_eq!(logged(typed), [""; 0], "{typed}");
    }
}
