//! Databases and their clients.

use std::time::Instant;

use super::super::clients::client;
use super::super::namespace::Namespace;
use super::super::postgres::Postgres;
use super::lab::{proxy_in, record};
use super::{Case, Cause, Imposed, Turns, Who, cause, ms};

pub(super) const CAUSES: &[Cause] = &[
    cause("PostgreSQL by psql, pg_sleep", || psql(0)).needs(TOOLS),
    cause("PostgreSQL by psql, pg_sleep among 12 queries with pauses", || psql(10)).needs(TOOLS),
];

const TOOLS: &[&str] = &["psql", "initdb", "postgres", "setpriv"];

/// A slow query between two others, and so many more with pauses of 50 ms after it.
fn psql(more: usize) -> Case {
    let namespace = Namespace::new();
    let _server = Postgres::start(&namespace);
    let proxy = proxy_in(&namespace, Postgres::ADDRESS);
    let mut psql = Postgres::psql(&namespace, proxy.address().port());
    psql.args(["-c", "select 1", "-c", "select pg_sleep(0.5)", "-c", "select 1"]);
    for _ in 0..more {
        psql.args(["-c", "\\! sleep 0.05", "-c", "select 1"]);
    }
    let began = Instant::now();
    client(psql.arg("postgres"));
    let besides = began.elapsed() - ms(500);
    let paused = ms(50) * u32::try_from(more).unwrap();
    // Besides the queries, TLS is asked for and the session begins; Terminate has no answer.
    let queries = 3 + more as u64;
    let turns = Turns { count: Some(queries + 2..=queries + 3), ..Turns::answered(0, ms(500)) };
    let imposed = Imposed::on(&["upstream"])
        // A process begins for the session.
        .time(Who::Upstream, ms(500)..=ms(500) + besides - paused)
        .time(Who::Client, ms(0)..=ms(0))
        .time(Who::Idle, paused..=besides)
        .turns(Turns { unanswered: None, ..turns });
    Case { record: record(&proxy), imposed }
}
