//! Who may use the proxy, and what may be reached through it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};

use conniver::record::{Mode, Outcome, Phase};

use crate::connect::refused;
use crate::harness::has_tool;
use crate::harness::namespace::{Namespace, available};
use crate::harness::peers::{echo_server, echo_server_on, exchange, read_all, read_until_reset};
use crate::harness::program::{BINARY, Proxy};

/// A proxy whose users stand in a file of the test's.
fn guarded(args: &[&str]) -> Proxy {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    std::fs::write(&users, "# users\nann:swordfish:1\nbob:hunter2\n").unwrap();
    let users = users.display().to_string();
    // The file is read before the proxy listens; it may go away then.
    Proxy::serving(&[&["--auth-file", &users], args].concat())
}

/// curl through the proxy, telling of the echo server's silence by its exit status alone.
fn curl(args: &[&str]) -> Output {
    Command::new("curl")
        .args(["-sS", "-v", "--noproxy", "", "-m", "10"])
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn only_users_get_through_and_no_record_or_log_has_their_passwords() {
    if !has_tool("curl", "only_users_get_through_and_no_record_or_log_has_their_passwords") {
        return;
    }
    let body = b"page".to_vec();
    let proxy = guarded(&["-vv"]);
    let address = proxy.address().to_string();
    let http = ["-p", "-x", &address];
    let socks = ["--socks5-hostname", &address];
    for (count, (way, user, works)) in [
        (&http[..], Some("ann:swordfish:1"), true),
        (&http, Some("bob:wrong-secret"), false),
        (&http, None, false),
        (&socks, Some("bob:hunter2"), true),
        (&socks, Some("bob:wrong-secret"), false),
        (&socks, None, false),
    ]
    .into_iter()
    .enumerate()
    {
        let served = body.clone();
        let upstream = works.then(|| {
            crate::harness::peers::Upstream::once(move |stream| crate::curl::serve(stream, &served))
        });
        let url = match &upstream {
            Some(upstream) => format!("http://{}/", upstream.address),
            None => "http://127.0.0.1:9/".to_owned(),
        };
        let user = user.map_or(Vec::new(), |user| vec!["--proxy-user", user]);
        let output = curl(&[way, &user, &[&url]].concat());
        assert_eq!(output.status.success(), works, "{way:?} {user:?} {output:?}");
        let record = proxy.wait_for_records(count + 1).pop().unwrap();
        if let Some(upstream) = upstream {
            assert_eq!(output.stdout, body);
            upstream.join();
            assert_eq!(record.outcome, Some(Outcome::Ok));
        } else {
            let ending = record.ending.unwrap();
            assert_eq!((record.outcome, ending.phase), (Some(Outcome::Denied), Phase::Request));
            let code = if user.is_empty() { "AUTH_REQUIRED" } else { "AUTH_FAILED" };
            assert_eq!(ending.error_code.as_deref(), Some(code));
        }
    }
    let records = std::fs::read_to_string(proxy.records_file()).unwrap();
    let left = proxy.stop();
    for secret in ["swordfish", "hunter2", "wrong-secret", "YW5uOnN3b3JkZmlzaDox"] {
        assert!(!records.contains(secret) && !left.stderr.contains(secret), "{secret}");
    }
}

#[test]
fn each_language_says_in_its_own_way_that_a_password_is_needed() {
    let proxy = guarded(&[]);
    let answer = refused(&proxy, b"CONNECT 127.0.0.1:9 HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 407 Proxy Authentication Required\r\n"), "{answer}");
    assert!(answer.contains("\r\nProxy-Authenticate: Basic realm=\"conniver\"\r\n"), "{answer}");

    let bytes = |message: &[u8]| {
        let mut client = proxy.connect();
        client.write_all(message).unwrap();
        read_all(&mut client)
    };
    // SOCKS 4 has no passwords.
    assert_eq!(bytes(b"\x04\x01\0\x09\x7f\0\0\x01ann\0"), [0, 0x5b, 0, 0, 0, 0, 0, 0]);
    // No method that is offered will do.
    assert_eq!(bytes(b"\x05\x01\x00"), [5, 0xff]);
    assert_eq!(bytes(b"\x05\x02\x00\x01"), [5, 0xff]);
    assert_eq!(bytes(b"\x05\x01\x02\x01\x03ann\x01x"), [5, 2, 1, 1]);
    let records = proxy.wait_for_records(5);
    assert!(records.iter().all(|record| record.outcome == Some(Outcome::Denied)));
    // What was asked for is known where it came before the refusal.
    let first = records.iter().find(|record| record.seq == 1).unwrap();
    assert_eq!((first.mode, first.target.as_deref()), (Some(Mode::Connect), Some("127.0.0.1:9")));
}

#[test]
fn any_password_will_do_where_none_is_asked_for() {
    let proxy = Proxy::serving(&[]);
    let mut client = proxy.connect();
    let echo = echo_server();
    client.write_all(b"\x05\x01\x02\x01\x03ann\x01x").unwrap();
    client
        .write_all(&[&[5, 1, 0, 1, 127, 0, 0, 1], &echo.port().to_be_bytes()[..]].concat())
        .unwrap();
    let mut answer = [0; 4 + 10];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..6], [5, 2, 1, 0, 5, 0]);
    assert_eq!(exchange(&mut client, b"hello"), b"hello");
}

#[test]
fn a_client_from_elsewhere_than_is_allowed_is_reset_in_every_way_in() {
    let echo = echo_server().to_string();
    let forward = format!("0:{echo}");
    let proxy = Proxy::start(
        &mut Command::new(BINARY),
        &[&forward],
        &["-D", "0", "--allow-from", "192.0.2.0/24", "--allow-from", "2001:db8::1"],
    );
    for &address in proxy.addresses() {
        assert_eq!(read_until_reset(&mut TcpStream::connect(address).unwrap()), b"");
    }
    for record in proxy.wait_for_records(2) {
        let ending = record.ending.unwrap();
        assert_eq!((record.outcome, ending.phase), (Some(Outcome::Denied), Phase::Accept));
        assert_eq!(ending.error_code.as_deref(), Some("CLIENT_DENIED"));
        assert_eq!(record.phases.request, None);
    }
}

#[test]
fn rules_on_targets_decide_by_name_port_and_address() {
    let echo = echo_server();
    let port = echo.port();
    let proxy = Proxy::serving(&[
        "--allow",
        &format!("localhost:{port}"),
        "--allow",
        &format!("127.0.0.1:{port}"),
        "--deny",
        "*.example.com",
    ]);
    for (target, words) in [
        (format!("127.0.0.2:{port}"), "no --allow rule matches"),
        ("localhost:9".to_owned(), "no --allow rule"),
        ("www.Example.com:443".to_owned(), "a --deny rule matches"),
    ] {
        let answer = refused(&proxy, format!("CONNECT {target} HTTP/1.1\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{target}: {answer}");
        assert!(answer.contains(words) && answer.contains(&target), "{target}: {answer}");
    }
    let records = proxy.wait_for_records(3);
    assert!(records.iter().all(|record| record.outcome == Some(Outcome::Denied)));
    // A name that is denied is not even looked up.
    assert_eq!(records[2].phases.resolve, None);
    let mut client = crate::connect::connect(&proxy, format!("LOCALHOST:{port}"));
    assert_eq!(exchange(&mut client, b"allowed"), b"allowed");
}

#[test]
fn a_client_of_another_machine_reaches_no_loopback_unless_a_rule_names_it() {
    let what = "a_client_of_another_machine_reaches_no_loopback_unless_a_rule_names_it";
    if !available(what) {
        return;
    }
    // Two addresses of one namespace: a client at one of them comes to the other as from elsewhere.
    let namespace = Namespace::new();
    for address in ["192.0.2.1/32", "192.0.2.2/32"] {
        namespace.ip(&["addr", "add", address, "dev", "lo"]);
    }
    let open = |args: &[&str]| {
        let args = [&["-D", "192.0.2.1:0", "--allow-from", "192.0.2.0/24"], args].concat();
        Proxy::start(&mut namespace.command(BINARY), &[], &args)
    };
    let echo = namespace.enter(|| echo_server_on("127.0.0.1:0"));
    let ask = |proxy: &Proxy, from: [u8; 4], target: &str| {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&proxy.address().into()).unwrap();
        let mut client = TcpStream::from(socket);
        write!(client, "CONNECT {target}:{} HTTP/1.1\r\n\r\n", echo.port()).unwrap();
        let mut status = [0; 12];
        client.read_exact(&mut status).unwrap();
        String::from_utf8(status[9..].to_vec()).unwrap()
    };
    let (own, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    namespace.enter(|| {
        let proxy = open(&[]);
        for target in ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "169.254.1.1"] {
            assert_eq!(ask(&proxy, other, target), "403", "{target}");
        }
        assert_eq!(ask(&proxy, own, "127.0.0.1"), "200");
        assert_eq!(ask(&open(&["--allow", "127.0.0.0/8"]), other, "127.0.0.1"), "200");
        assert_eq!(ask(&open(&["--allow", "*"]), other, "127.0.0.1"), "403");
    });
}

#[test]
fn a_client_of_another_machine_reaches_no_address_of_this_one_past_its_firewall() {
    let what = "a_client_of_another_machine_reaches_no_address_of_this_one_past_its_firewall";
    if !available(what) {
        return;
    }
    let [here, there] = [(); 2].map(|()| Namespace::new());
    here.cable(&there, "cable", 7);
    // An address that no other machine reaches, and a whole network that is local.
    here.ip(&["addr", "add", "198.51.100.1/32", "dev", "lo"]);
    here.ip(&["addr", "add", "203.0.113.1/24", "dev", "lo"]);
    let own = here.enter(|| echo_server_on("0.0.0.0:0")).port();
    let other = there.enter(|| echo_server_on("10.7.0.2:0")).port();
    let open = |args: &[&str]| {
        let args = [&["-D", "10.7.0.1:0", "--allow-from", "10.7.0.0/24"], args].concat();
        Proxy::start(&mut here.command(BINARY), &[], &args)
    };
    let ask = |proxy: &Proxy, target: &str, port: u16| {
        let mut client = proxy.connect();
        write!(client, "CONNECT {target}:{port} HTTP/1.1\r\n\r\n").unwrap();
        let mut status = [0; 12];
        client.read_exact(&mut status).unwrap();
        String::from_utf8(status[9..].to_vec()).unwrap()
    };
    let addresses = ["10.7.0.1", "198.51.100.1", "203.0.113.1", "203.0.113.9", "0x0a.7.1"];
    let closed = open(&[]);
    for target in addresses {
        assert_eq!(there.enter(|| ask(&closed, target, own)), "403", "{target}");
        // Of this machine's own programs it is no matter.
        assert_eq!(here.enter(|| ask(&closed, target, own)), "200", "{target}");
    }
    assert_eq!(there.enter(|| ask(&closed, "10.7.0.2", other)), "200");
    let opened = open(&["--allow", "10.7.0.1", "--allow", "203.0.113.0/24"]);
    for target in ["10.7.0.1", "203.0.113.9"] {
        assert_eq!(there.enter(|| ask(&opened, target, own)), "200", "{target}");
    }
    assert_eq!(there.enter(|| ask(&opened, "198.51.100.1", own)), "403");

    // A system in which every address can be bound to has still other machines.
    here.sh("sysctl -qw net.ipv4.ip_nonlocal_bind=1");
    assert_eq!(there.enter(|| ask(&closed, "10.7.0.2", other)), "200");
    assert_eq!(there.enter(|| ask(&closed, "10.7.0.1", own)), "403");
}

#[test]
fn wrong_passwords_are_slowed_by_client_and_right_ones_are_not() {
    let proxy = guarded(&["--accept-proxy", "--drain", "0"]);
    let connect = |client: &str, password: &str| {
        let mut stream = proxy.connect();
        let length = u8::try_from(password.len()).unwrap();
        let header = format!("PROXY TCP4 {client} 192.0.2.100 5000 80\r\n");
        let login = [header.as_bytes(), b"\x05\x01\x02\x01\x03bob", &[length], password.as_bytes()];
        stream.write_all(&login.concat()).unwrap();
        stream.read_exact(&mut [0; 2]).unwrap();
        stream
    };
    let answer = |stream: &mut TcpStream| {
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).unwrap();
        answer[1]
    };
    let mut delays = Vec::new();
    for _ in 0..4 {
        // Before the password is sent: the proxy's delay begins when it has it.
        let began = std::time::Instant::now();
        let mut guess = connect("192.0.2.1", "wrong");
        assert_eq!(answer(&mut guess), 1);
        delays.push(began.elapsed().as_millis());
    }
    assert!(delays[1] >= 250 && delays[2] >= 500 && delays[3] >= 1000, "{delays:?}");
    // Two seconds: in that time others, and the client itself, are answered.
    let mut guess = connect("192.0.2.1", "wrong");
    assert_eq!(answer(&mut connect("192.0.2.2", "hunter2")), 0);
    assert_eq!(answer(&mut connect("192.0.2.1", "hunter2")), 0);
    assert_eq!(answer(&mut connect("192.0.2.3", "wrong")), 1);
    guess.set_nonblocking(true).unwrap();
    let early = guess.read(&mut [0; 2]).unwrap_err();
    assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
    guess.set_nonblocking(false).unwrap();
    assert_eq!(answer(&mut guess), 1);
    // The end waits for none of them.
    let _waiting = connect("192.0.2.1", "wrong");
    let began = std::time::Instant::now();
    assert_eq!(proxy.stop().status.code(), Some(0));
    assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_file_of_passwords_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    for (mode, is_warned_of) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
        let directory = tempfile::tempdir().unwrap();
        let users = directory.path().join("users");
        std::fs::write(&users, "ann:swordfish\n").unwrap();
        std::fs::set_permissions(&users, std::fs::Permissions::from_mode(mode)).unwrap();
        let users = users.display().to_string();
        let said = Proxy::serving(&["--auth-file", &users]).stop().stderr;
        let lines = said.lines().filter(|line| line.contains("can read the passwords")).count();
        assert_eq!(lines, usize::from(is_warned_of), "{mode:o}: {said}");
        assert!(!is_warned_of || said.contains(&format!("chmod 600 '{users}'")), "{said}");
    }
}

#[test]
fn listening_beyond_loopback_without_a_word_on_who_may_is_wrong_usage() {
    let run = |args: &[&str]| Command::new(BINARY).arg("proxy").args(args).output().unwrap();
    for (args, advice) in [
        (["-D", "0.0.0.0:0"], "--allow-from CIDR, or --auth-file FILE"),
        (["-D", "[::]:0"], "--allow-from CIDR, or --auth-file FILE"),
        (["-D", "*:0"], "--allow-from CIDR, or --auth-file FILE"),
        (["-L", "*:0:localhost:1"], "--allow-from CIDR"),
        (["-L", "192.0.2.1:0:localhost:1"], "--allow-from CIDR"),
    ] {
        let output = run(&args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(advice), "{said}");
    }
    // A password guards -D alone.
    let output = run(&["-L", "*:0:localhost:1", "--auth-file", "/dev/null"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_rule_a_network_or_a_file_that_makes_no_sense_is_an_error_that_names_it() {
    for (args, status, words) in [
        (["--allow-from", "10.0.0.0/33"], 2, "10.0.0.0/33"),
        (["--allow", "a b"], 2, "'a b'"),
        (["--deny", "host:x"], 2, "'host:x'"),
        (["--auth-file", "/no/such/file"], 1, "/no/such/file"),
        (["--auth-file", "/dev/null"], 1, "expected lines of user:password"),
        (["-D", "host:1"], 2, "'host'"),
        (["-D", "host"], 2, "expected [BIND:]PORT"),
    ] {
        let output = Command::new(BINARY).args(["proxy", "-D", "0"]).args(args).output().unwrap();
        let said = crate::arguments::unwrapped(&String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(said.contains(words), "{said}");
    }
}
