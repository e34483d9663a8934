//! A PostgreSQL of a test's own.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::clients::Server;
use super::namespace::Namespace;
use super::program::wait_until;
use super::{output, run};

/// A server on port 5432 of a namespace's loopback: it takes no port 0, and there every port is free.
pub(crate) struct Postgres {
    _process: Server,
    _directory: TempDir,
}

/// Debian keeps the server's programs away from PATH, one directory a version.
pub(crate) fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions
        .map(|version| version.path().join("bin").join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| name.into())
}

impl Postgres {
    pub(crate) const ADDRESS: &str = "127.0.0.1:5432";

    pub(crate) fn start(namespace: &Namespace) -> Self {
        // PostgreSQL refuses to be root's.
        let directory = TempDir::new().unwrap();
        run("chown", &["nobody", directory.path().to_str().unwrap()]);
        let cluster = directory.path().join("cluster");
        let server = |name: &str| {
            let mut command = namespace.command("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
            command.arg(program(name)).arg("-D").arg(&cluster).current_dir(directory.path());
            command
        };
        output(server("initdb").args(["--no-sync", "-U", "me", "-A", "trust"]));
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut start = server("postgres");
        start.args(["-h", "127.0.0.1", "-k", "", "-p", "5432"]).stderr(log);
        let process = Server::start(&mut start);
        wait_until("PostgreSQL is ready", || {
            let mut ask = namespace.command("psql");
            ask.args(["-h", "127.0.0.1", "-U", "me", "-c", "select 1", "postgres"]);
            ask.output().unwrap().status.success()
        });
        Self { _process: process, _directory: directory }
    }

    /// `psql` that asks through this port of the namespace's; the database is still to be named.
    pub(crate) fn psql(namespace: &Namespace, port: u16) -> Command {
        let mut psql = namespace.command("psql");
        psql.args(["-X", "-q", "-At", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", "me"]);
        psql
    }
}
