//! What is said when something fails at run time.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::arguments::{refused, unwrapped};
use crate::harness::clients::without_proxies;
use crate::harness::has_tool;
use crate::harness::peers::Upstream;
use crate::harness::program::BINARY;
use crate::harness::tls::certificate;
use crate::run::as_nobody;

/// The exit status, and what is said on standard error.
pub(super) fn assert_fails(command: &mut Command, status: i32, said: &str) {
    let output = without_proxies(command).output().unwrap();
    let text = unwrapped(&String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), &*text), (Some(status), said), "{command:?}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let directory = TempDir::new().unwrap();
    let text = directory.path().join("text");
    std::fs::write(&text, "no user\n").unwrap();
    let text = text.to_str().unwrap();
    let gone = "No such file or directory";
    let nowhere = "the directory '/no' does not exist; create it, or choose";
    for (args, status, said) in [
        (
            &["proxy", "-D", "0", "-o", "/no/such"][..],
            1,
            format!("cannot open '/no/such' for records: {nowhere} another file with -o"),
        ),
        (
            &["run", "-o", "/no/such", "true"],
            125,
            format!("cannot open '/no/such' for records: {nowhere} another file with -o"),
        ),
        (
            &["proxy", "-D", "0", "--auth-file", "/no/such"],
            1,
            format!(
                "cannot read users from '/no/such': {gone}; --auth-file expects a file of \
                 user:password lines"
            ),
        ),
        (
            &["proxy", "-D", "0", "--auth-file", text],
            1,
            format!(
                "cannot read users from '{text}': line 1 is not user:password with at most 255 \
                 bytes each"
            ),
        ),
        (
            &["proxy", "-D", "0", "--auth-file", "/dev/null"],
            1,
            "cannot read users from '/dev/null': the file has none; expected lines of \
             user:password"
                .to_owned(),
        ),
        (
            &["check", "/no/such"],
            2,
            format!(
                "cannot read records from '/no/such': {gone}; check the name, or give '-' for \
                 standard input"
            ),
        ),
        (
            &["stat", "-d", "@/no/such", "http://h"],
            1,
            format!(
                "cannot read the request body from '/no/such': {gone}; -d @FILE reads a file, -d \
                 @- standard input"
            ),
        ),
        (
            &["stat", "--cacert", "/no/such", "https://h"],
            1,
            format!(
                "cannot read certificates from '/no/such': {gone}; give another file with --cacert"
            ),
        ),
        (
            &["stat", "--cacert", text, "https://h"],
            1,
            format!(
                "cannot read certificates from '{text}': none found; expected PEM, -----BEGIN \
                 …-----"
            ),
        ),
        (
            &["stat", "-E", "/no/such", "https://h"],
            1,
            format!(
                "cannot read a certificate and its private key from '/no/such': {gone}; give \
                 another file with -E"
            ),
        ),
        (
            &["stat", "-E", text, "https://h"],
            1,
            format!(
                "cannot read a private key from '{text}': none found; -E expects a PEM file with \
                 the certificate and its private key"
            ),
        ),
        (
            &["stat", "-o", "/no/such/x", "http://h"],
            1,
            "cannot open '/no/such/x' for the body: the directory '/no/such' does not exist; create it, \
             or choose another file with -o FILE"
                .to_owned(),
        ),
        (
            &["stat", "-o", ".", "http://h"],
            1,
            "cannot open '.' for the body: Is a directory; choose another file with -o FILE"
                .to_owned(),
        ),
    ] {
        assert_eq!(refused(args), (Some(status), format!("conniver: {said}\n")), "{args:?}");
    }
}

#[test]
fn keys_and_passwords_of_another_form_are_told() {
    if !has_tool("openssl", "keys_and_passwords_of_another_form_are_told") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let read = |path: &String| std::fs::read_to_string(path).unwrap();
    let one = read(&certificate(directory.path(), "one").1);
    // Over the same files.
    let (two, _) = certificate(directory.path(), "two");
    let mixed = file("mixed", &(one.clone() + &read(&two)));
    let key = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted = file("encrypted", &(one + key));
    let hash = "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/";
    let hashed = file("htpasswd", &format!("# users\nalice:{hash}\n"));
    for (args, said) in [
        (
            ["stat", "-E", &mixed, "https://h"].map(str::to_owned),
            format!(
                "cannot read a private key from '{mixed}': it does not belong to the certificate; -E takes a \
                 file with both"
            ),
        ),
        (
            ["stat", "-E", &encrypted, "https://h"].map(str::to_owned),
            format!(
                "cannot read a private key from '{encrypted}': it is encrypted; decrypt it first, as with: \
                 openssl pkey -in '{encrypted}' -out NEW"
            ),
        ),
        (
            ["proxy", "-D0", "--auth-file", &hashed].map(str::to_owned),
            format!(
                "cannot read users from '{hashed}': line 2 has a hash instead of a password; store the \
                 password itself, in a file that only its owner can read"
            ),
        ),
    ] {
        assert_fails(Command::new(BINARY).args(args), 1, &format!("conniver: {said}\n"));
    }
}

#[test]
fn a_command_that_cannot_be_run_says_why_and_what_to_write() {
    let directory = TempDir::new().unwrap();
    let file = |name: &str, content: &[u8], mode: u32| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (text, orphan) = (file("text", b"x", 0o600), file("orphan", b"#!/no/such\n", 0o700));
    let binary = file("binary", b"\x01\x02", 0o700);
    let here = directory.path().to_str().unwrap();
    let lost = "not found";
    for (words, status, why) in [
        (&["ls -l"][..], 127, format!("{lost}; write: conniver run -- ls -l")),
        (&["ls -l", "a"], 127, format!("{lost}; write: conniver run -- ls -l a")),
        (&["ls | wc"], 127, format!("{lost}; write: conniver run -- sh -c 'ls | wc'")),
        (
            &["KEY=s3cret", "ls"],
            127,
            format!("{lost}; to set a variable: conniver run -- env KEY=VALUE COMMAND"),
        ),
        (&["--version"], 127, format!("{lost}; options of conniver go before the --")),
        (
            &["s", "--", "true"],
            127,
            format!(
                "{lost}; only options of conniver go before the --; it may be part of an option's \
                 value"
            ),
        ),
        (&["/no/such"], 127, format!("{lost}; check the path")),
        (&["–q"], 127, format!("{lost}; '–q' begins with a typographic dash; write -q")),
        (
            &["http://u:s3cret@h/p"],
            127,
            format!("{lost}; to fetch a URL: conniver stat http://…@h/p"),
        ),
        (&[""], 127, format!("{lost}; give a program after the --")),
        (&[here], 126, "it is a directory; give a program".to_owned()),
        (
            &[&*text],
            126,
            format!(
                "it is not executable; run: chmod +x {text}, or give its interpreter, such as: sh \
                 {text}"
            ),
        ),
        (
            &[&*orphan],
            127,
            "its interpreter does not exist; check its first line (#!), or whether it was built \
             for this system"
                .to_owned(),
        ),
        (
            &[&*binary],
            126,
            "it is not an executable for this system; a script needs #! and its interpreter in \
             its first line"
                .to_owned(),
        ),
    ] {
        let args = [&["run", "-q", "--"], words].concat();
        let shown = words[0].replace("KEY=s3cret", "KEY=…").replace("u:s3cret", "…");
        let said = format!("conniver: cannot run '{shown}': {why}\n");
        assert_eq!(refused(&args), (Some(status), said), "{words:?}");
    }
}

#[test]
fn an_output_of_stat_is_tried_before_the_request_and_left_as_it_is() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", server.local_addr().unwrap());
    let (status, said) = refused(&["stat", "-o", "/no/such/x", &url]);
    assert_eq!(status, Some(1), "{said}");
    server.set_nonblocking(true).unwrap();
    let asked = server.accept().map_err(|error| error.kind());
    assert_eq!(asked.err(), Some(std::io::ErrorKind::WouldBlock));
    // Nobody listens any more: the file keeps what it had, and no new one is made.
    drop(server);
    let directory = TempDir::new().unwrap();
    let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
    std::fs::write(&old, "x").unwrap();
    for file in [&old, &new] {
        let output = refused_anyhow(&["stat", "-o", file.to_str().unwrap(), &url]);
        assert!(output.contains("Connection refused"), "{output}");
    }
    assert_eq!(std::fs::read(&old).unwrap(), b"x");
    assert!(!new.exists());
}

#[test]
fn a_body_that_does_not_fit_is_told_with_its_file() {
    for is_quiet in [true, false] {
        let server = Upstream::once(|mut stream| {
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        });
        let url = format!("http://{}/", server.address);
        let said = format!(
            "conniver: transfer of {url} failed: cannot write the body to '/dev/full', which is \
             incomplete: No space left on device\n"
        );
        let mut command = Command::new(BINARY);
        command.args(["stat", "-o", "/dev/full", &url]).args(is_quiet.then_some("-q"));
        if is_quiet {
            assert_fails(&mut command, 1, &said);
        } else {
            let output = without_proxies(&mut command).output().unwrap();
            let shown = String::from_utf8(output.stdout).unwrap();
            assert!(shown.ends_with("\nbody: 2 B received; /dev/full is incomplete\n"), "{shown}");
        }
        server.join();
    }
}

#[test]
fn a_body_is_not_written_over_a_file_that_stat_reads() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let [file, link] = [&file, &link].map(|path| path.to_str().unwrap());
    for [option, read] in [["-d", &format!("@{file}")], ["--cacert", file], ["--cert", file]] {
        let (status, said) = refused(&["stat", option, read, "-o", link, "http://h.invalid"]);
        assert_eq!(status, Some(2), "{said}");
        let why = format!("-o would overwrite '{file}', which {option} reads; choose another file");
        assert!(said.contains(&why), "{said}");
        assert_eq!(std::fs::read(file).unwrap(), b"x");
    }
}

/// What it says on standard error, whatever it prints.
fn refused_anyhow(args: &[&str]) -> String {
    let output = without_proxies(&mut Command::new(BINARY)).args(args).output().unwrap();
    unwrapped(&String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_home_that_the_shell_has_not_expanded_is_told() {
    let home = "the shell expands '~' only at the beginning of a word, not behind '=' or '@'; write \
                $HOME instead of '~'";
    let gone = "No such file or directory";
    for (args, status, said) in [
        (
            &["proxy", "-D", "0", "--output=~/f"][..],
            1,
            format!("cannot open '~/f' for records: {home}, or choose another file with -o"),
        ),
        (
            &["run", "--output=~/f", "true"],
            125,
            format!("cannot open '~/f' for records: {home}, or choose another file with -o"),
        ),
        (
            &["run", "--html=~root/f", "true"],
            125,
            format!("cannot write the page to '~root/f': {home}, or choose another file"),
        ),
        (
            &["stat", "--output=~/f", "http://h"],
            1,
            format!("cannot open '~/f' for the body: {home}, or choose another file with -o FILE"),
        ),
        (
            &["proxy", "-D", "0", "--auth-file=~/f"],
            1,
            format!("cannot read users from '~/f': {gone}; {home}"),
        ),
        (
            &["stat", "--cacert=~/f", "https://h"],
            1,
            format!("cannot read certificates from '~/f': {gone}; {home}"),
        ),
        (
            &["stat", "-d", "@~/f", "http://h"],
            1,
            format!("cannot read the request body from '~/f': {gone}; {home}"),
        ),
    ] {
        assert_eq!(refused(args), (Some(status), format!("conniver: {said}\n")), "{args:?}");
    }
}

#[test]
fn an_address_in_use_or_elsewhere_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let port = taken.port().to_string();
    for args in [&["proxy", "-D", &port][..], &["proxy", "-D", "0", "--metrics", &port]] {
        let said = format!(
            "conniver: cannot listen on {taken}: Address already in use; stop the program that \
             listens there, or choose another port (0 picks a free one)\n"
        );
        assert_eq!(refused(args), (Some(1), said), "{args:?}");
    }
    // COMMAND could not know which one is free.
    let said = format!(
        "conniver: cannot listen on {taken}: Address already in use; stop the program that \
         listens there, or choose another port\n"
    );
    assert_eq!(refused(&["run", "-L", &format!("{port}:h:1"), "true"]), (Some(125), said));
    // TEST-NET-1, RFC 5737.
    assert_eq!(
        refused(&["proxy", "-D", "192.0.2.1:0", "--allow-from", "10.0.0.0/8"]),
        (
            Some(1),
            "conniver: cannot listen on 192.0.2.1:0: Cannot assign requested address; this \
             machine has no such address\n"
                .to_owned()
        )
    );
}

#[test]
fn keepalive_beyond_what_the_kernel_takes_says_what_it_takes() {
    assert_eq!(
        refused(&["proxy", "-D", "0", "--keepalive", "40000"]),
        (
            Some(1),
            "conniver: cannot set keepalive: Invalid argument; Linux accepts whole seconds from 1 \
             to 32767, and 1 to 127 probes\n"
                .to_owned()
        )
    );
}

#[test]
fn a_parent_in_the_environment_that_is_none_names_the_variable() {
    let scheme = "the scheme is not http, socks5 or socks5h";
    let port = "the port is not a number from 1 to 65535";
    for (args, status, variable, value, problem) in [
        (&["run", "true"][..], 125, "https_proxy", "socks4://u:s3cret@h:1", scheme),
        (&["stat", "http://h"], 1, "http_proxy", "socks4://u:s3cret@h:1", scheme),
        (&["stat", "http://h"], 1, "http_proxy", "http://u:s3cret@h:99999", port),
        (&["stat", "https://h"], 1, "ALL_PROXY", "h:http", port),
    ] {
        let mut command = Command::new(BINARY);
        without_proxies(&mut command).args(args).env(variable, value);
        let output = command.output().unwrap();
        let said = format!(
            "conniver: the variable {variable} is not a valid parent proxy: {problem}; unset it, \
             or give a parent proxy with --via URL\n"
        );
        let text = unwrapped(&String::from_utf8(output.stderr).unwrap());
        assert_eq!((output.status.code(), text), (Some(status), said));
    }
}

#[test]
fn an_output_without_room_is_said() {
    let said = "conniver: cannot write to standard output: No space left on device\n";
    for args in [
        &["schema"][..],
        &["schema", "--markdown"],
        &["rules", "redirect", "--port", "1", "--mark", "7"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_fails(Command::new(BINARY).args(args).stdout(Stdio::from(full)), 1, said);
    }
}

#[test]
fn sockets_that_were_handed_over_and_do_not_fit_are_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" proxy -D 0 3<&0";
    let with = |stdin: Stdio| {
        let mut command = Command::new("sh");
        command.args(["-c", script, BINARY]).stdin(stdin);
        command
    };
    let said = format!(
        "conniver: cannot use the inherited socket on {address} (LISTEN_FDS): no option listens \
         there; give its address to -L, -D, --redirect or --tproxy\n"
    );
    let socket = std::os::fd::OwnedFd::from(listener);
    assert_fails(&mut with(Stdio::from(socket)), 1, &said);
    let output = with(Stdio::null()).output().unwrap();
    let text = unwrapped(&String::from_utf8(output.stderr).unwrap());
    let begins = "conniver: cannot use inherited socket 1 (LISTEN_FDS): ";
    let ends = "; it must be a listening TCP socket (ListenStream= with a port)\n";
    assert!(text.starts_with(begins) && text.ends_with(ends), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_takes_privileges_says_which() {
    let Some(_) = as_nobody("what_takes_privileges_says_which") else { return };
    if !has_tool("setpriv", "what_takes_privileges_says_which") {
        return;
    }
    // Where nobody may read the program, the shell's descriptor can.
    let directory = tempfile::Builder::new().prefix("program").tempdir_in("/tmp").unwrap();
    let program = directory.path().join("conniver");
    std::fs::copy(BINARY, &program).unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    for (args, status, said) in [
        (
            &["proxy", "-D", "0", "--mark", "7"][..],
            1,
            "cannot set firewall mark 7: Operation not permitted; this needs root or CAP_NET_ADMIN"
                .to_owned(),
        ),
        (
            &["proxy", "--tproxy", "0"],
            1,
            "cannot listen on 127.0.0.1:0: Operation not permitted; TPROXY needs root or \
             CAP_NET_ADMIN"
                .to_owned(),
        ),
        (
            &["run", "--intercept", "true"],
            125,
            "--intercept creates a cgroup and nftables rules; run it as root".to_owned(),
        ),
    ] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--clear-groups", "--"]).arg(&program).args(args);
        assert_fails(&mut command, status, &format!("conniver: {said}\n"));
    }
}

#[test]
fn a_malformed_level_of_the_log_is_said_in_our_words() {
    let with = |level: &str, said: &str| {
        let mut command = Command::new(BINARY);
        command.env("RUST_LOG", level).args(["run", "-q", "--", "true"]);
        assert_fails(&mut command, 0, said);
    };
    for (level, wrong) in [
        ("conniver=loud", "conniver=loud"),
        ("verbos", "verbos"),
        ("Verbose", "Verbose"),
        ("warn,inof", "inof"),
        ("hyper=debug,conniver=lots", "conniver=lots"),
    ] {
        let said = format!(
            "conniver: RUST_LOG is ignored: '{wrong}' is not a log level; expected off, error, \
             warn, info, debug or trace, or a level for one module, such as \
             conniver::dial=debug\n"
        );
        with(level, &said);
    }
    // Other programs read the variable, too.
    for level in ["", "warn", "WARN,my_server", "conniver=error,hyper", "mio", "1"] {
        with(level, "");
    }
}

#[test]
fn without_descriptors_it_says_what_to_raise() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 8; exec \"$0\" proxy -D 0", BINARY]);
    assert_fails(
        &mut command,
        1,
        "conniver: cannot start the runtime: Too many open files; raise the limit on file \
         descriptors (ulimit -n)\n",
    );
}

#[test]
fn any_number_of_descriptors_is_enough_or_an_error() {
    for limit in 4..40 {
        for args in ["run -q -- true", "stat http://127.0.0.1:9/", "watch --pid 1 -o /no/such/file"]
        {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" {args}"), BINARY]);
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code().is_some(), "{limit}, {args}: {said}");
            assert!(!said.contains("panicked"), "{limit}, {args}: {said}");
        }
    }
}
