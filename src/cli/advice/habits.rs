//! What users of other programs type, and what does the same here.

/// Options of programs that do the same, by subcommand: what to do here.
pub(super) const HABITS: &[(&str, &[&str], &str)] = &[
    // curl's.
    ("stat", &["-x", "--proxy"], "name a parent proxy with --via URL"),
    ("stat", &["--socks5"], "name a parent proxy with --via socks5://HOST:PORT"),
    ("stat", &["--socks5-hostname"], "name a parent proxy with --via socks5h://HOST:PORT"),
    (
        "stat",
        &["-U", "--proxy-user"],
        "write name and password into the parent's URL: --via http://USER:PASSWORD@HOST:PORT",
    ),
    ("stat", &["--noproxy"], "set the variable no_proxy"),
    ("stat", &["-s", "--silent", "-S", "--show-error"], "print errors alone with -q"),
    ("stat", &["-f", "--fail"], "the status is in the output; with --json, it is http.status"),
    ("stat", &["-i", "--include"], "the response's head is always printed"),
    ("stat", &["-w", "--write-out"], "print every figure as JSON with --json"),
    ("stat", &["--trace", "--trace-ascii"], "print every step with -vv"),
    (
        "stat",
        &["-u", "--user"],
        "write name and password into the URL, http://USER:PASSWORD@HOST, or send them with \
         -H 'Authorization: ...'",
    ),
    ("stat", &["--oauth2-bearer"], "send it with -H 'Authorization: Bearer TOKEN'"),
    ("stat", &["-A", "--user-agent"], "send it with -H 'User-Agent: NAME'"),
    ("stat", &["-e", "--referer"], "send it with -H 'Referer: URL'"),
    ("stat", &["-b", "--cookie"], "send it with -H 'Cookie: NAME=VALUE'"),
    ("stat", &["-r", "--range"], "send it with -H 'Range: bytes=0-499'"),
    ("stat", &["--compressed"], "send -H 'Accept-Encoding: gzip'"),
    (
        "stat",
        &["--resolve", "--connect-to"],
        "write the address into the URL and the name into -H 'Host: NAME'",
    ),
    ("stat", &["--url"], "write the URL without an option"),
    ("stat", &["-G", "--get"], "write the query into the URL"),
    ("stat", &["-T", "--upload-file"], "send a file with -X PUT -d @FILE"),
    (
        "stat",
        &["-F", "--form"],
        "send a body with -d @FILE, and its type with -H 'Content-Type: ...'",
    ),
    ("stat", &["--data-raw", "--data-urlencode"], "send a body with -d DATA"),
    ("stat", &["--key"], "give -E a file that has the certificate and its private key"),
    (
        "stat",
        &["--http2", "--http2-prior-knowledge"],
        "HTTP/2 is offered unless --http1.1 is given",
    ),
    ("stat", &["-0", "--http1.0"], "the oldest version that is spoken is --http1.1"),
    ("stat", &["-J", "--remote-header-name"], "-O takes the name that the server gives"),
    ("stat", &["--retry", "-c", "--count"], "repeat the request with -n N"),
    // ssh's.
    ("proxy", &["-R"], "listen on this machine with -L or -D"),
    ("proxy", &["-N", "-T"], "leave it out: nothing is run"),
    ("proxy", &["-f"], "run in the background with your shell's &"),
    (
        "proxy",
        &["-g"],
        "listen on every address with -L '*:PORT:HOST:HOSTPORT' and --allow-from CIDR",
    ),
    ("proxy", &["-J", "-x", "--proxy"], "reach targets through a parent proxy with --via URL"),
    // curl's, tcpdump's, nc's.
    ("proxy", &["-u", "-U", "--user"], "names and passwords of clients stand in --auth-file FILE"),
    ("proxy", &["-p", "--port"], "give the port to -D or -L, such as -D 1080"),
    ("proxy", &["-i", "--interface"], "no packets are captured: send connections to -D or -L"),
    ("proxy", &["-w", "--write"], "write records, which are lines of JSON, to a file with -o FILE"),
    ("check", &["-o", "--output", "--json"], "send what it prints to a file with > FILE"),
    ("check", &["-f", "--file"], "write the file's name without an option"),
    (
        "check",
        &["-q", "--quiet", "-s", "--silent"],
        "its exit status tells: send what it prints to /dev/null",
    ),
    ("check", &["-v", "--verbose"], "leave it out: everything that is found is printed"),
    (
        "demo",
        &["-o", "--output", "--json"],
        "send its record, which is JSON, to a file with > FILE",
    ),
    (
        "demo",
        &["-p", "--port", "--listen", "--target", "--host"],
        "it stays on this machine and takes free ports; for yours there is conniver proxy",
    ),
    ("schema", &["-o", "--output", "--json"], "it is JSON already: send it to a file with > FILE"),
    ("schema", &["-f", "--format"], "it is JSON Schema, or with --markdown tables in Markdown"),
    (
        "stat",
        &["-t", "--timeout"],
        "limit all of it with --max-time TIME, or connecting with --connect-timeout TIME",
    ),
    ("stat", &["-p", "--port"], "write the port into the URL, as in HOST:PORT"),
    ("stat", &["--http3"], "HTTP/3 is not spoken: it does not run over TCP"),
    ("stat", &["--host"], "write the host into the URL, or send another with -H 'Host: NAME'"),
    // haproxy's, mitmproxy's, socat's, nc's.
    (
        "proxy",
        &["-c", "--config"],
        "there is no configuration file: give every setting as an option",
    ),
    (
        "proxy",
        &["-d", "--daemon", "--background"],
        "run in the background with your shell's &, or as a service",
    ),
    (
        "proxy",
        &["-l", "--listen", "--listen-port", "--listen-host", "--bind"],
        "listen with -D PORT, or -L PORT:HOST:HOSTPORT",
    ),
    (
        "proxy",
        &["--upstream", "--target", "--to", "--remote"],
        "name the target with -L PORT:HOST:HOSTPORT",
    ),
    ("proxy", &["-m", "--mode"], "choose it by -D, -L, --redirect or --tproxy"),
    (
        "proxy",
        &["-S", "--socks", "--socks5", "--http"],
        "-D PORT serves HTTP and SOCKS on one port",
    ),
    (
        "proxy",
        &["--proxyauth", "--proxy-auth"],
        "names and passwords of clients stand in --auth-file FILE",
    ),
    (
        "proxy",
        &["--log", "--logfile", "--log-file"],
        "write records to a file with -o FILE, and what else is said with 2> FILE",
    ),
    ("proxy", &["--log-level", "--loglevel"], "say more with -v or -vv, less with -q"),
    ("proxy", &["--json", "--format"], "records are JSON already, one a line"),
    (
        "proxy",
        &["-t", "--timeout"],
        "choose one of --connect-timeout, --request-timeout, --idle-timeout, --lifetime",
    ),
    // env's, sh's, strace's.
    ("run", &["-i"], "every connection of COMMAND is taken with --intercept"),
    ("run", &["-e", "--env"], "set variables with: conniver run -- env NAME=VALUE COMMAND"),
    ("run", &["-c", "--command"], "run a line of a shell with: conniver run -- sh -c 'LINE'"),
    (
        "run",
        &["-p", "--pid"],
        "what runs already cannot be led to the proxy: start it with conniver run -- COMMAND",
    ),
    (
        "run",
        &["--port", "--listen"],
        "it listens on a free port, which COMMAND finds in its variables",
    ),
    ("run", &["--log-level", "--loglevel"], "say more with -v or -vv, less with -q"),
    ("run", &["--timeout", "-t"], "end COMMAND in time with: conniver run -- timeout 10s COMMAND"),
    // nft's, iptables'.
    ("rules", &["--dport", "--dports"], "name the ports that are diverted with --ports LIST"),
    ("rules", &["--to-port", "--to-ports", "-p"], "name the proxy's port with --port PORT"),
    (
        "rules",
        &["--user", "--uid-owner", "--uid"],
        "let the proxy's own user pass with --not-user USER",
    ),
    ("rules", &["-i", "--interface", "--iif"], "name the interface with --on INTERFACE"),
    (
        "rules",
        &["-D", "-d", "-F", "--delete", "--remove", "--undo", "--flush"],
        "the command that undoes the rules stands at the head of their script",
    ),
    ("rules", &["--apply", "--run", "--add", "-A"], "run the script: conniver rules ... | sudo sh"),
];

/// Options that exclude each other: why, or what to do.
pub(super) const CONFLICTS: &[([&str; 2], &str)] = &[
    (["--output", "--count"], "a body is saved by one request: leave -n out, or -o"),
    (["--remote-name", "--count"], "a body is saved by one request: leave -n out, or -O"),
    (["--remote-name", "--output"], "-o names the file, -O leaves its name to the server"),
    (["--head", "--request"], "-I is -X HEAD"),
    (["--head", "--data"], "-I is -X HEAD, a request without a body"),
    (["--ipv4", "--ipv6"], "without -4 and -6, both families are tried"),
    (["--not-user", "--on"], "what comes in by an interface has no user"),
];

/// Words that other programs have for a subcommand: what to do here.
pub(super) const COMMANDS: &[(&[&str], &str)] = &[
    (&["version"], "print the version with conniver --version"),
    (
        &["start", "serve", "server", "listen", "forward", "daemon"],
        "the proxy is started with conniver proxy",
    ),
    (
        &["stop", "restart", "reload"],
        "send the proxy a signal: SIGTERM stops it, SIGHUP opens its file anew",
    ),
    (&["exec", "wrap", "trace"], "a program is run with conniver run -- COMMAND"),
    (&["fetch", "request", "ping"], "a URL is asked for with conniver stat URL"),
    (&["verify", "validate", "lint"], "files of records are checked with conniver check FILE"),
    (&["manual", "docs"], "the manual of each subcommand is printed by conniver help SUBCOMMAND"),
];
