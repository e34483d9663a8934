use super::*;
use proptest::prelude::*;

const LISTENER: &str = "127.0.0.1:40001";

fn forwarded(url: &str) -> Result<(String, String), String> {
    let server = Server::of_url(url)?;
    let replaced = server.replaced(url, LISTENER.parse().unwrap());
    Ok((server.target.to_string(), replaced))
}

#[test]
fn host_and_port_are_replaced_and_all_else_stays() {
    for (url, target, replaced) in [
        ("postgres://db", "db:5432", "postgres://127.0.0.1:40001"),
        ("postgresql://me@db:5433/x", "db:5433", "postgresql://me@127.0.0.1:40001/x"),
        (
            "postgresql+psycopg2://me:p%40ss%2F@db.example/x?sslmode=require&a=b",
            "db.example:5432",
            "postgresql+psycopg2://me:p%40ss%2F@127.0.0.1:40001/x?sslmode=require&a=b",
        ),
        ("redis://:p@ss@[2001:db8::1]/0", "[2001:db8::1]:6379", "redis://:p@ss@127.0.0.1:40001/0"),
        ("rediss://cache:6380", "cache:6380", "rediss://127.0.0.1:40001"),
        ("amqps://a:b@mq/%2fvhost", "mq:5671", "amqps://a:b@127.0.0.1:40001/%2fvhost"),
        ("mysql://db:/x", "db:3306", "mysql://127.0.0.1:40001/x"),
        ("mongodb://db/x?host=y", "db:27017", "mongodb://127.0.0.1:40001/x?host=y"),
        (
            "HTTPS://Api.Example?q=//a:1@b#f",
            "Api.Example:443",
            "HTTPS://127.0.0.1:40001?q=//a:1@b#f",
        ),
        ("http://api#f", "api:80", "http://127.0.0.1:40001#f"),
        ("jdbc:postgresql://db:1/x?user=me", "db:1", "jdbc:postgresql://127.0.0.1:40001/x?user=me"),
        ("tcp://10.0.0.1:99", "10.0.0.1:99", "tcp://127.0.0.1:40001"),
        ("mqtt://b", "b:1883", "mqtt://127.0.0.1:40001"),
        ("nats://b", "b:4222", "nats://127.0.0.1:40001"),
    ] {
        assert_eq!(forwarded(url), Ok((target.to_owned(), replaced.to_owned())), "{url}");
    }
}

#[test]
fn what_cannot_be_forwarded_is_said_without_its_password() {
    for (url, said) in [
        ("", "its value is empty"),
        (" ", "begins with a blank"),
        ("http://db\r", "ends with a carriage return"),
        ("http://db/\n", "ends with a line feed"),
        ("http://s3cret:65536/", "port is not a number from 1 to 65535"),
        ("s3cret", "is not a URL"),
        ("db:5432", "-L PORT:HOST:HOSTPORT"),
        ("://db", "is not a URL"),
        ("host=db password=s3cret url=a://b", "is not a URL"),
        ("postgres:///x", "names no host"),
        ("postgres://me:s3cret@/x", "names no host"),
        ("postgres://me:s3cret@:5432/x", "names no host"),
        ("sqlite:///s3cret.db", "names no host"),
        ("postgres://%2Fvar%2Frun/x", "UNIX socket"),
        ("redis+unix://h/s3cret", "UNIX socket"),
        ("unix://s3cret", "UNIX socket"),
        ("postgres://me:s3cret@a:1,b:2/x", "several hosts"),
        ("mongodb+srv://me:s3cret@cluster.example/x", "in DNS"),
        ("redis+sentinel://:s3cret@a:26379/x", "bypass"),
        ("foo://me:s3cret@db/x", "default port of foo URLs is not known"),
        ("postgres://me:s3cret@db:x/x", "port is not a number"),
        ("postgres://me:s3cret@db:0/x", "port is not a number"),
        ("postgres://me:s3cret@db:+1/x", "port is not a number"),
        ("postgres://me:s3cret/x@db/x", "percent-encoded"),
        ("postgres://db/x?host=s3cret", "its query has 'host'"),
        ("mysql://db/x?a=b&unix_socket=/s3cret", "its query has 'unix_socket'"),
        ("\"redis://s3cret\"", "begins with a quotation mark"),
        ("'redis://s3cret'", "remove the quotation marks"),
        ("redis://:s3cret@$HOST:6379", "variable that was not expanded"),
        ("redis://:s3cret@${HOST}/1", "variable that was not expanded"),
        ("redis://me:s3cret@h:$PORT/1", "variable that was not expanded"),
        ("redis://::1:6379/s3cret", "in brackets, as in SCHEME://[::1]:6379"),
        ("redis://2001:db8::1/s3cret", "in brackets, as in SCHEME://[2001:db8::1]"),
        ("postgres:///s3cret?host=db", "its query has 'host'"),
        ("redis://s3 cret", "neither a name nor an address"),
        ("redis://[s3cret]", "neither a name nor an address"),
    ] {
        let problem = forwarded(url).expect_err(url);
        assert!(problem.contains(said), "{url}: {problem}");
        assert!(!problem.contains("s3cret") && !problem.contains("s3 cret"), "{problem}");
    }
}

#[test]
fn what_has_the_hosts_certificate_checked_is_found() {
    for (url, parameter) in [
        ("postgres://db/x?a=b&sslmode=verify-full", Some("sslmode=verify-full")),
        ("postgres://db/x?sslmode=verify-ca", None),
        ("postgres://db/x?sslrootcert=system#f", Some("sslrootcert=system")),
        ("mysql://db/x?ssl-mode=VERIFY_IDENTITY", Some("ssl-mode=VERIFY_IDENTITY")),
        ("jdbc:mysql://db/x?sslMode=VERIFY_IDENTITY", Some("sslMode=VERIFY_IDENTITY")),
        ("postgres://db/x", None),
    ] {
        assert_eq!(checks_name(url), parameter, "{url}");
    }
}

proptest! {
    #[test]
    fn any_text_is_forwarded_or_refused(url in "[a-z+:]{0,8}(://)?\\PC{0,40}") {
        let _ = forwarded(&url);
    }

    /// Whatever stands around it: what is before the host and what is behind the port is as it was.
    #[test]
    fn all_other_bytes_are_kept(
        user in "([^/?#]{0,12}@)?",
        host in "[a-z]{1,8}(\\.[a-z]{1,8})?",
        port in proptest::option::of(1_u16..),
        rest in "([/#?](\\PC{0,19}[\\PC&&\\S])?)?",
    ) {
        let server = port.map_or(host.clone(), |port| format!("{host}:{port}"));
        let url = format!("redis://{user}{server}{rest}");
        let target = format!("{host}:{}", port.unwrap_or(6379));
        prop_assert_eq!(forwarded(&url), Ok((target, format!("redis://{user}{LISTENER}{rest}"))));
    }
}
