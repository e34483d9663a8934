//! The relay against what people use instead, on this machine, in one run.
//!
//! `cargo bench --bench relay` starts an origin and the load in processes of their own, this
//! proxy and whichever peers are installed, and goes through the works in interleaved rounds:
//! every round does each work once with each proxy that can, in turning order. It prints medians, and the
//! ratios of this proxy to each peer, taken within rounds. `--against OLD` compares with an older
//! build of this proxy alone, `--beside` with the same while another program runs, `--wrapper` a
//! tokio program whose streams are wrapped with the same one whose streams are bare; of six rounds
//! or more the median ratios get their 95 % intervals.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod beside;
mod cpu;
mod limits;
mod load;
mod origin;
mod peers;
mod server;
mod stats;
mod table;
mod work;

use std::path::{Path, PathBuf};

use clap::Parser;

use beside::Beside;
use peers::Peer;
use work::{Measured, Work};

#[derive(Debug, Parser)]
struct Args {
    /// Rounds; each does every work once with every proxy that can
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Compare with this older build of conniver instead of with other proxies
    #[arg(long, value_name = "BINARY")]
    against: Option<PathBuf>,
    /// More options for this build of conniver, which no other gets: --with "--metrics 0 --lifetime 24h"
    #[arg(long, value_name = "OPTIONS", value_delimiter = ' ', allow_hyphen_values = true)]
    with: Vec<String>,
    /// Run this program of conniver's whenever this build is measured
    #[arg(long)]
    beside: Option<Beside>,
    /// Measure no proxy, but a tokio program that wraps its streams against one that does not
    #[arg(long, conflicts_with_all = ["against", "with", "beside", "peers"])]
    wrapper: bool,
    /// Only these works, separated by commas
    #[arg(long, value_delimiter = ',')]
    works: Vec<Work>,
    /// Only these peers, separated by commas: direct, haproxy, haproxy-tuned, nginx, socat, tinyproxy,
    /// microsocks, squid, privoxy
    #[arg(long, value_delimiter = ',')]
    peers: Option<Vec<String>>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
    /// Run as one of the other processes
    #[arg(long, hide = true)]
    role: Option<String>,
    #[arg(hide = true)]
    rest: Vec<String>,
}

fn main() {
    let args = Args::parse();
    match args.role.as_deref() {
        Some("origin") => return origin::serve(),
        Some("load") => return load::run(&args.rest),
        Some("server") => return server::serve(args.rest[0] == "wrapped"),
        _ => {}
    }
    if cfg!(debug_assertions) {
        eprintln!("relay: a debug build says nothing about speed; use `cargo bench --bench relay`");
    }
    limits::raise();
    let origin = origin::Origin::start();
    let directory = tempfile::TempDir::new().unwrap();
    let conniver = |name: &str, binary: &Path, options: &[String]| {
        Peer::conniver(name, binary, options, &origin, directory.path())
    };
    let new: &Path = env!("CARGO_BIN_EXE_conniver").as_ref();
    let peers = match &args.against {
        _ if args.wrapper => vec![Peer::server("wrapped"), Peer::server("bare")],
        Some(old) => vec![conniver("new", new, &args.with), conniver("old", old, &[])],
        None => {
            let mut peers = vec![conniver("conniver", new, &args.with)];
            peers.extend(peers::start_all(args.peers.as_deref(), &origin, directory.path()));
            peers
        }
    };
    let mut works = if args.works.is_empty() { Work::ALL.to_vec() } else { args.works };
    works.retain(|work| work.connections() <= limits::most_pairs());
    works.retain(|work| peers.iter().any(|peer| work.is_for(peer)));

    let mut measured = Measured::default();
    let mut measure = |work: Work, peer: &Peer| {
        let is_first = peer.name() == peers[0].name();
        let companion = args
            .beside
            .filter(|_| is_first)
            .map(|beside| beside.start(new, &peers::records(directory.path(), peer.name())));
        measured.add(work, peer, work.figures(), &work.measure(peer, &origin));
        if let Some(companion) = companion {
            measured.add(work, peer, &[beside::SHARE], &[companion.end()]);
        }
    };
    // Memory that many connections leave behind would count for `idle`: they come last.
    let (many, few): (Vec<Work>, Vec<Work>) =
        works.iter().partition(|work| work.connections() > 1000);
    for works in [few, many] {
        for round in 0..args.rounds {
            for &work in &works {
                let peers: Vec<&Peer> = peers.iter().filter(|peer| work.is_for(peer)).collect();
                // The order turns, so that none always comes after the same one.
                for index in 0..peers.len() {
                    let peer = peers[(index + round) % peers.len()];
                    eprint!(
                        "\rround {} of {}: {} through {}          ",
                        round + 1,
                        args.rounds,
                        work.name(),
                        peer.name()
                    );
                    measure(work, peer);
                }
            }
        }
    }
    eprintln!();
    let names: Vec<&str> = peers.iter().map(Peer::name).collect();
    table::print_medians(&measured, &works, &names);
    table::print_ratios(&measured, &works, &names);
    if args.beside.is_some() {
        table::print_companion(&measured, &works, names[0]);
    }
}
