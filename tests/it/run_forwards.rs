//! `conniver run --url-var` and `-L`: programs that know no proxy are led to forwarding listeners.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use conniver::record::{Mode, Outcome};

use crate::harness::clients::{assert_tunnelled, without_proxies};
use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{noise, sha256};
use crate::harness::postgres::{self, Postgres};
use crate::harness::program::{BINARY, Proxy};
use crate::run::{Run, as_nobody, page_on, stderr, stdout};

#[test]
fn a_url_variable_leads_the_program_to_a_listener_and_stays_as_it_was_otherwise() {
    let name = "a_url_variable_leads_the_program_to_a_listener_and_stays_as_it_was_otherwise";
    if !has_tool("curl", name) {
        return;
    }
    // Past the HTTP proxy, through it, and by CONNECT: each reaches the server.
    for (options, mode) in
        [("--noproxy '*'", Mode::Forward), ("", Mode::Http), ("-p", Mode::Connect)]
    {
        let page = page_on("127.0.0.1:0");
        let target = format!("localhost:{}", page.address.port());
        let url = format!("http://me:p%40:ss@{target}/a%2fb?c=d@e#f");
        let script = format!("echo \"$SERVER_URL\"; curl -sS -m 20 {options} \"$SERVER_URL\"");
        let mut run = Run::new(&["--url-var", "SERVER_URL"], &["sh", "-c", &script]);
        run.command.env("SERVER_URL", url);
        let output = run.output();
        assert!(output.status.success(), "{output:?}");
        let end = output.stdout.iter().position(|byte| *byte == b'\n').unwrap();
        let shown = std::str::from_utf8(&output.stdout[..end]).unwrap();
        let port = shown.strip_prefix("http://me:p%40:ss@127.0.0.1:").unwrap();
        let port = port.strip_suffix("/a%2fb?c=d@e#f").unwrap();
        assert_ne!(port, page.address.port().to_string());
        assert_eq!(sha256(&output.stdout[end + 1..]), sha256(&noise(10_000)), "{options}");
        page.join();
        let [record] = &run.records()[..] else { panic!("{output:?}") };
        assert_eq!((record.mode, record.outcome), (Some(mode), Some(Outcome::Ok)));
        assert_eq!(record.target.as_ref(), Some(&target));
        assert!(!serde_json::to_string(record).unwrap().contains("p%40"), "{record:?}");
    }
}

#[test]
fn a_forwarded_port_goes_to_its_target_past_the_environments_parent() {
    let name = "a_forwarded_port_goes_to_its_target_past_the_environments_parent";
    if !has_tool("curl", name) {
        return;
    }
    let parent = Proxy::serving(&[]);
    let parent_url = format!("http://{}", parent.address());
    for (options, via) in [(&[][..], None), (&["--via", &parent_url], Some(&parent_url))] {
        let page = page_on("127.0.0.1:0");
        // Another test's run may take a free port in between; nothing else gives one to COMMAND.
        let free = std::net::TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
        let forward = format!("{free}:{}", page.address);
        let url = format!("http://{free}/");
        let words = ["curl", "-sS", "-m", "20", "--noproxy", "*", &url];
        let mut run = Run::new(&[&["-L", &forward], options].concat(), &words);
        run.command.env("https_proxy", &parent_url);
        let output = run.output();
        assert!(output.status.success(), "{output:?}");
        page.join();
        let [record] = &run.records()[..] else { panic!("{output:?}") };
        assert_eq!((record.mode, record.via.as_ref()), (Some(Mode::Forward), via));
    }
}

#[test]
fn a_variable_that_cannot_be_forwarded_is_said_without_its_value() {
    for (value, said) in [
        (None, "cannot forward the URL in SERVER_URL (--url-var): it is not set"),
        (Some("host=db password=s3cret"), "its value is not a URL"),
        (Some("postgres://me:s3cret@a:1,b:2/x"), "its URL names several hosts"),
        (Some("postgres:///x?password=s3cret"), "its URL names no host"),
    ] {
        let mut command = Command::new(BINARY);
        command.args(["run", "-vv", "--url-var", "SERVER_URL", "--", "echo", "it ran"]);
        command.env_remove("SERVER_URL").envs(value.map(|value| ("SERVER_URL", value)));
        let output = without_proxies(&mut command).output().unwrap();
        assert_eq!((output.status.code(), stdout(&output)), (Some(125), String::new()));
        let text = stderr(&output).replace("\n    ", " ");
        assert!(text.contains(said) && !text.contains("s3cret"), "{text}");
    }
    for (args, said) in [
        (&["--url-var", "postgres://me:s3cret@db/x"][..], "expected the name of an environment"),
        (&["--url-var", "DATABASE_URL=s3cret"], "expected the name of an environment"),
        (&["--url-var", "A,B"], "repeat it for each: --url-var A --url-var B"),
        (&["--url-var", "https_proxy"], "gets the proxy's own address"),
        (&["--url-var", "A", "--url-var", "A"], "--url-var A is given twice"),
        (&["-L", "0:db:5432"], "choose one, or use --url-var"),
        (&["-L", "*:15432:db:5432"], "can be reached from other machines"),
        (&["-L", "15432:127.0.0.1:15432"], "connections would loop"),
        (&["-L", "15432:a:1", "-L", "15432:b:1"], "-L 127.0.0.1:15432 is given twice"),
        (&["--intercept", "--url-var", "A"], "diverts every connection; omit --url-var"),
        (&["--intercept", "-L", "1:a:1"], "diverts every connection; omit -L"),
    ] {
        let mut command = Command::new(BINARY);
        let output = command.arg("run").args(args).args(["--", "echo"]).output().unwrap();
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), String::new()), "{args:?}");
        let text = stderr(&output).replace("\n    ", " ");
        assert!(text.contains(said) && !text.contains("s3cret"), "{text}");
    }
}

#[test]
fn a_database_is_recorded_for_an_unprivileged_user() {
    let name = "a_database_is_recorded_for_an_unprivileged_user";
    let initdb = postgres::program("initdb");
    if !available(name) || !has_tool("psql", name) || !has_tool(initdb.to_str().unwrap(), name) {
        return;
    }
    let Some(nobody) = as_nobody(name) else { return };
    let namespace = Namespace::new();
    let _server = Postgres::start(&namespace);
    let mut command = namespace.command(nobody[0]);
    command.args(&nobody[1..]).arg(BINARY);
    let script = "psql -X -q -At \"$DATABASE_URL\" -c 'select sum(n) from generate_series(1, 1000) n' \
                  -c 'select pg_sleep(0.2)'";
    let options = ["--url-var", "DATABASE_URL", "--expect", "turns.wait.max>=200ms"];
    let mut run = Run::by(command, &options, &["sh", "-c", script]);
    let directory = run.records_file().parent().unwrap().to_owned();
    std::fs::set_permissions(directory, PermissionsExt::from_mode(0o777)).unwrap();
    // The port is the scheme's.
    run.command.env("DATABASE_URL", "postgresql://me:s3cret@localhost/postgres?sslmode=prefer");
    run.command.env("HOME", "/nonexistent");
    let output = run.output();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stdout(&output), "500500\n\n");
    assert!(!stderr(&output).contains("s3cret"), "{output:?}");
    let [record] = &run.records()[..] else { panic!("{output:?}") };
    assert_tunnelled(record, "localhost:5432", Mode::Forward);
    assert!(record.turns.as_ref().unwrap().count >= 3, "start-up and two queries: {record:?}");
}
