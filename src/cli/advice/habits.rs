//! What users of other programs type, and what does the same here.

/// Options of programs that do the same, by subcommand: what to do here.
pub(super) const HABITS: &[(&str, &[&str], &str)] = &[
    // curl's.
    ("stat", &["-x", "--proxy"], "set a parent proxy with --via URL"),
    ("stat", &["--socks5"], "set a parent proxy with --via socks5://HOST:PORT"),
    ("stat", &["--socks5-hostname"], "set a parent proxy with --via socks5h://HOST:PORT"),
    (
        "stat",
        &["-U", "--proxy-user"],
        "put the credentials into the proxy's URL: --via http://USER:PASSWORD@HOST:PORT",
    ),
    ("stat", &["--noproxy"], "set the variable no_proxy"),
    ("stat", &["-s", "--silent", "-S", "--show-error"], "print errors only with -q"),
    ("stat", &["-f", "--fail"], "the output has the status; with --json it is http.status"),
    (
        "stat",
        &["-i", "--include", "-D", "--dump-header"],
        "omit it: response headers are printed; with --json they are http.headers",
    ),
    ("stat", &["-j", "--format"], "print JSON with --json"),
    ("stat", &["--max-redirs", "--max-redirect"], "-L follows at most 10 redirects"),
    (
        "stat",
        &["--interface", "--local-port"],
        "the system chooses the local address and port; choose the family with -4 or -6",
    ),
    (
        "stat",
        &["--tlsv1.2", "--tlsv1.3", "--tls-max", "--ciphers"],
        "TLS versions and ciphers cannot be chosen; the output has the ones that were used",
    ),
    (
        "stat",
        &["--no-check-certificate", "--no-verify", "--verify"],
        "skip the verification of certificates with -k",
    ),
    (
        "stat",
        &["-Z", "--parallel", "--concurrency"],
        "requests are sent one after another, with -n N",
    ),
    ("stat", &["-w", "--write-out"], "print all values as JSON with --json"),
    ("stat", &["--trace", "--trace-ascii"], "log every step with -vv"),
    (
        "stat",
        &["-u", "--user"],
        "put the credentials into the URL, http://USER:PASSWORD@HOST, or send them with -H \
         'Authorization: ...'",
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
        "add the name to /etc/hosts, or, for http://, put the address into the URL and the name \
         into -H 'Host: NAME'",
    ),
    ("stat", &["--url"], "give the URL without an option"),
    ("stat", &["-G", "--get"], "put the query into the URL"),
    ("stat", &["-T", "--upload-file"], "upload a file with -X PUT -d @FILE"),
    (
        "stat",
        &["-F", "--form"],
        "send a body with -d @FILE, and its type with -H 'Content-Type: ...'",
    ),
    (
        "stat",
        &["--data-raw", "--data-binary", "--data-urlencode"],
        "send a body with -d DATA, or with -d @FILE",
    ),
    ("stat", &["--key"], "give -E a file with both the certificate and its private key"),
    (
        "stat",
        &["--http2", "--http2-prior-knowledge"],
        "HTTP/2 is offered by default; --http1.1 disables it",
    ),
    ("stat", &["-0", "--http1.0"], "the oldest supported version is HTTP/1.1 (--http1.1)"),
    (
        "stat",
        &["-J", "--remote-header-name"],
        "-O already uses the file name that the server sends",
    ),
    ("stat", &["--retry", "-c"], "repeat the request with -n N"),
    // ssh's.
    ("proxy", &["-R"], "remote forwarding is not supported; listen on this machine with -L or -D"),
    ("proxy", &["-N", "-T"], "omit it: conniver proxy runs no remote command"),
    ("proxy", &["-f"], "run it in the background with the shell's &"),
    (
        "proxy",
        &["-g"],
        "listen on all addresses with -L '*:PORT:HOST:HOSTPORT' and --allow-from CIDR",
    ),
    ("proxy", &["-J", "-x", "--proxy"], "connect through a parent proxy with --via URL"),
    // curl's, tcpdump's, nc's.
    (
        "proxy",
        &["-u", "-U", "--user"],
        "put the clients' user names and passwords into --auth-file FILE",
    ),
    ("proxy", &["-p", "--port"], "give the port to -D or -L, such as -D 1080"),
    (
        "proxy",
        &["-i", "--interface"],
        "conniver does not capture packets; connect to a -D or -L listener",
    ),
    ("proxy", &["-w", "--write"], "write records (lines of JSON) to a file with -o FILE"),
    ("check", &["-o", "--output"], "redirect the output with > FILE"),
    (
        "check",
        &["-j", "--json", "--format"],
        "the output is text, and the exit status is 1 if there are findings; for JSON on the \
         connections, use conniver report --json FILE",
    ),
    (
        "check",
        &["-r", "-R", "--recursive"],
        "give the files themselves, as in conniver check DIR/*",
    ),
    ("check", &["-f", "--file"], "give the file name without an option"),
    (
        "check",
        &["-q", "--quiet", "-s", "--silent"],
        "use the exit status, and redirect the output to /dev/null",
    ),
    ("check", &["-v", "--verbose"], "omit it: all findings are printed"),
    // top's.
    ("top", &["-p", "--process"], "show the sockets of one process with --pid PID"),
    ("top", &["-d", "--delay"], "set the time between updates with -i TIME"),
    ("top", &["-b", "--batch", "--once"], "print once and exit with -n 1"),
    ("top", &["-o"], "set the order with -s COLUMN"),
    (
        "top",
        &["-u", "-U", "--user"],
        "connections cannot be selected by user, but with --pid PID, --cgroup PATH, --to or --from",
    ),
    ("top", &["-H", "-c", "-t", "-a", "--tcp", "--all"], "omit it: all TCP connections are shown"),
    ("top", &["--port", "-P", "--target"], "select connections with --to HOST:PORT or --to :PORT"),
    ("top", &["--where", "--process-name"], "select connections with -f TEXT"),
    (
        "top",
        &["-j", "--json", "--format", "--csv"],
        "the output is text; for JSON, use conniver watch --format ndjson, or conniver report --json FILE",
    ),
    ("top", &["--output"], "write records to a file with conniver watch -o FILE"),
    // watch's, ss's, tcpdump's, tail's.
    (
        "watch",
        &["-n"],
        "set the interval with --interval TIME; for a screen that is updated, use conniver top",
    ),
    ("watch", &["-d", "--differences"], "for a screen that is updated, use conniver top"),
    ("watch", &["-p", "--process"], "select the sockets of one process with --pid PID"),
    (
        "watch",
        &["-u", "-U", "--user"],
        "sockets cannot be selected by user, but with --pid PID, --cgroup PATH, --to or --from",
    ),
    ("watch", &["-f", "-F", "--follow"], "omit it: conniver watch goes on until it is stopped"),
    ("watch", &["-t", "-a", "-e", "--tcp", "--all"], "omit it: all TCP sockets are watched"),
    ("watch", &["-l"], "select accepted connections with --listening"),
    (
        "watch",
        &["-i", "--iface", "--interface"],
        "set the interval with --interval TIME; all interfaces are watched",
    ),
    ("watch", &["-w", "--write"], "write records (lines of JSON) to a file with -o FILE"),
    ("watch", &["-j", "--json"], "print records (lines of JSON) with --format ndjson"),
    (
        "watch",
        &["--port", "-P", "--target", "--dst", "--dport", "--src", "--sport"],
        "select connections by server with --to HOST:PORT or --to :PORT, by client with --from",
    ),
    (
        "watch",
        &["--sample-interval"],
        "set the interval with --interval TIME; write samples with --events socket,sample",
    ),
    (
        "watch",
        &["--html"],
        "pages show connections of conniver proxy and conniver run; for sockets, write records with -o \
         FILE, and print a report with conniver report FILE",
    ),
    (
        "watch",
        &["-c", "--count", "--duration", "--timeout"],
        "conniver watch goes on until it is stopped; to limit its time: timeout 10s conniver watch",
    ),
    ("watch", &["--append"], "omit it: -o FILE appends"),
    // tail's, sort's, top's, jq's.
    (
        "report",
        &["-f", "-F", "--follow"],
        "a report is on what the file has now; to follow the file, use conniver top FILE",
    ),
    (
        "report",
        &["-s", "--sort", "-r", "--reverse"],
        "the slowest connections are listed first, more of them with --slowest N; to sort by other \
         values, print JSON with --json",
    ),
    ("report", &["-n", "--top", "--limit", "--lines"], "set how many are listed with --slowest N"),
    (
        "report",
        &["-o", "--output"],
        "redirect the report with > FILE, or write it as a page with --html FILE",
    ),
    ("report", &["-j", "--format"], "print JSON with --json"),
    (
        "report",
        &["--csv", "--tsv"],
        "make CSV of the JSON: conniver report --json FILE | jq -r '.groups[] | [.name, .connections, \
         .failed] | @csv'",
    ),
    (
        "report",
        &["--compare", "--baseline", "--diff"],
        "compare with earlier files with --against FILE",
    ),
    (
        "report",
        &["--last", "--past", "--newer"],
        "choose connections by time, such as the last 5 minutes with --since 5m",
    ),
    ("report", &["-g", "--group", "--group-by"], "group the connections with --by PROPERTY"),
    (
        "report",
        &["-p", "--port", "--target", "--to", "--pid", "--process", "--client"],
        "choose connections with --where, such as --where target=*:5432",
    ),
    (
        "report",
        &["--filter", "--grep", "-e", "--failed", "--errors", "--outcome"],
        "choose connections with --where, such as --where outcome!=ok",
    ),
    ("report", &["--from", "--start"], "choose connections by time with --since TIME"),
    ("report", &["--end", "--before"], "choose connections by time with --until TIME"),
    ("report", &["-v", "--verbose", "-q", "--quiet"], "omit it: the report is always the same"),
    ("demo", &["-o", "--output", "--json"], "redirect the record (JSON) with > FILE"),
    (
        "demo",
        &["-p", "--port", "--listen", "--target", "--host"],
        "demo uses free ports of this machine; to choose ports and targets, use conniver proxy",
    ),
    (
        "schema",
        &["-o", "--output", "--json"],
        "the output is already JSON; redirect it with > FILE",
    ),
    (
        "schema",
        &["-f", "--format"],
        "the output is JSON Schema, or Markdown tables with --markdown",
    ),
    (
        "stat",
        &["-t", "--timeout"],
        "limit the total time with --max-time TIME, or the time to connect with --connect-timeout \
         TIME",
    ),
    ("stat", &["-p", "--port"], "put the port into the URL, as in HOST:PORT"),
    ("stat", &["--http3"], "HTTP/3 is not supported: it does not use TCP"),
    ("stat", &["--host"], "put the host into the URL, or send another name with -H 'Host: NAME'"),
    // haproxy's, mitmproxy's, socat's, nc's.
    ("proxy", &["-c", "--config"], "there is no configuration file; use command-line options"),
    (
        "proxy",
        &["-d", "--daemon", "--background"],
        "run it in the background with the shell's &, or as a service",
    ),
    (
        "proxy",
        &["-l", "--listen", "--listen-port", "--listen-host", "--bind"],
        "listen with -D PORT, or -L PORT:HOST:HOSTPORT",
    ),
    (
        "proxy",
        &["--upstream", "--target", "--to", "--remote"],
        "give the target with -L PORT:HOST:HOSTPORT",
    ),
    ("proxy", &["-m", "--mode"], "choose the mode with -D, -L, --redirect or --tproxy"),
    ("proxy", &["-S", "--socks", "--socks5", "--http"], "-D PORT accepts both HTTP and SOCKS"),
    (
        "proxy",
        &["--proxyauth", "--proxy-auth"],
        "put the clients' user names and passwords into --auth-file FILE",
    ),
    (
        "proxy",
        &["--log", "--logfile", "--log-file"],
        "write records to a file with -o FILE; redirect the log with 2> FILE",
    ),
    ("proxy", &["--log-level", "--loglevel"], "log more with -v or -vv, less with -q"),
    (
        "proxy",
        &["-j", "--json"],
        "write records (lines of JSON) to a file with -o FILE, or print them with --format ndjson",
    ),
    (
        "proxy",
        &["-t", "--timeout", "--max-time"],
        "use --connect-timeout, --request-timeout, --idle-timeout or --lifetime",
    ),
    ("proxy", &["--interval"], "set the interval between samples with --sample-interval TIME"),
    ("proxy", &["-a", "--append"], "omit it: records are appended to the file of -o"),
    (
        "proxy",
        &["--rotate", "--max-size", "--compress"],
        "rotate the file with logrotate, and send SIGHUP to the proxy, which opens it anew",
    ),
    (
        "proxy",
        &["-k", "--insecure", "-E", "--cert", "--cacert", "--key", "--tls", "--ssl"],
        "omit it: TLS is forwarded as it is, and needs no certificate here",
    ),
    ("proxy", &["-e", "--exec", "--command"], "run a program with conniver run -- COMMAND"),
    // env's, sh's, strace's.
    ("run", &["-i"], "intercept every connection of COMMAND with --intercept"),
    ("run", &["-e", "--env"], "set variables with: conniver run -- env NAME=VALUE COMMAND"),
    ("run", &["-c", "--command"], "run a shell command line with: conniver run -- sh -c 'LINE'"),
    (
        "run",
        &["-p", "--pid"],
        "a running process cannot be attached to; start the program with conniver run -- COMMAND",
    ),
    (
        "run",
        &["--port", "--listen"],
        "the proxy listens on a free port and passes it to COMMAND in http_proxy and https_proxy",
    ),
    ("run", &["--log-level", "--loglevel"], "log more with -v or -vv, less with -q"),
    (
        "run",
        &["-j", "--json", "--format", "-w", "--write", "--record"],
        "write records (lines of JSON) to a file with -o FILE",
    ),
    (
        "run",
        &["-a", "--append"],
        "omit it: records are appended to the file of -o, without --fresh",
    ),
    ("run", &["--truncate", "--overwrite", "--clean"], "truncate the file of -o with --fresh"),
    (
        "run",
        &["-n", "--count", "--repeat"],
        "repeat it with the shell: conniver run -- sh -c 'COMMAND; COMMAND'",
    ),
    ("run", &["-x", "--proxy"], "connect through a parent proxy with --via URL"),
    ("run", &["--interval"], "set the interval between samples with --sample-interval TIME"),
    (
        "run",
        &["-k", "--insecure", "-E", "--cert", "--cacert", "--key", "--tls"],
        "TLS is forwarded as it is; give the option to COMMAND",
    ),
    ("run", &["-d", "--detach", "--background"], "run it in the background with the shell's &"),
    (
        "run",
        &["--timeout", "-t", "-m", "--max-time"],
        "limit COMMAND's run time with: conniver run -- timeout 10s COMMAND",
    ),
    (
        "completions",
        &["--shell", "-s", "-o", "--output"],
        "give the shell without an option, and redirect the output with > FILE",
    ),
    (
        "man",
        &["-o", "--output", "-d", "--dir", "--directory"],
        "give the directory without an option, as in conniver man DIR",
    ),
    ("man", &["-l", "-k", "-f"], "to read a page: conniver man DIR && man -l DIR/conniver.1"),
    (
        "completions",
        &["--bash", "--elvish", "--fish", "--powershell", "--zsh"],
        "give the shell without hyphens, as in conniver completions bash",
    ),
    // nft's, iptables'.
    (
        "rules",
        &["--port", "--ports", "--on", "--not-user"],
        "options follow the kind of rules: conniver rules redirect --port PORT ...",
    ),
    ("rules", &["--dport", "--dports"], "give the ports to divert with --ports LIST"),
    ("rules", &["--to-port", "--to-ports", "-p"], "give the proxy's port with --port PORT"),
    ("rules", &["--user", "--uid-owner", "--uid"], "exclude the proxy's user with --not-user USER"),
    ("rules", &["-i", "--interface", "--iif"], "give the interface with --on INTERFACE"),
    (
        "rules",
        &["-D", "-d", "-F", "--delete", "--remove", "--undo", "--flush"],
        "the first lines of the script show the command that removes the rules",
    ),
    ("rules", &["--apply", "--run", "--add", "-A"], "run the script: conniver rules ... | sudo sh"),
];

/// Options that exclude each other: why, or what to do.
pub(super) const CONFLICTS: &[([&str; 2], &str)] = &[
    (["--output", "--count"], "only a single request can save the body; omit -n or -o"),
    (["--remote-name", "--count"], "only a single request can save the body; omit -n or -O"),
    (["--remote-name", "--output"], "-o sets the file name, -O takes it from the server"),
    (["--head", "--request"], "-I sends a HEAD request; omit it, or -X"),
    (["--head", "--data"], "-I sends a HEAD request, which has no body"),
    (["--intercept", "--url-var"], "--intercept diverts every connection; omit --url-var"),
    (["--intercept", "-L"], "--intercept diverts every connection; omit -L"),
    (["--ipv4", "--ipv6"], "omit both to try IPv4 and IPv6"),
    (["--not-user", "--on"], "forwarded connections have no local user"),
    (
        ["--id", "--json"],
        "--id prints text; for the JSON of connection 7: jq 'select(.id | endswith(\"-7\"))' FILE",
    ),
    (["--id", "--by"], "--id shows one connection; omit --by"),
    (["--id", "--slowest"], "--id shows one connection; omit --slowest"),
    (["--id", "--html"], "--id shows one connection as text; a page shows all of them"),
    (["--id", "--against"], "--id shows one connection; omit --against"),
    (["--html", "--against"], "pages have no comparison; omit --html for the text, or --against"),
    (["--listening", "--outgoing"], "omit both to select accepted and opened connections"),
];

/// Options that can be given once, where somebody may give several: what to do here.
pub(super) const REPEATED: &[(&str, &str)] =
    &[("--pid", "several processes can be selected by their --cgroup")];

/// Words that other programs have for a subcommand: what to do here.
pub(super) const COMMANDS: &[(&[&str], &str)] = &[
    (&["version"], "to print the version, use conniver --version"),
    (
        &["start", "serve", "server", "listen", "forward", "daemon"],
        "to start the proxy, use conniver proxy",
    ),
    (
        &["stop", "restart", "reload"],
        "send the proxy a signal: SIGTERM stops it, SIGHUP reopens its output file",
    ),
    (&["exec", "wrap", "trace"], "to run a program, use conniver run -- COMMAND"),
    (&["fetch", "request", "ping"], "to fetch a URL, use conniver stat URL"),
    (&["verify", "validate", "lint"], "to check files of records, use conniver check FILE"),
    (&["manual", "docs"], "for the help of a subcommand, use conniver help SUBCOMMAND"),
];

#[cfg(test)]
mod tests;
