//! The relay against what people use instead, on this machine, in one run.
//!
//! `cargo bench --bench relay` starts an origin and the load in processes of their own, this
//! proxy and whichever peers are installed, and goes through the works in interleaved rounds:
//! every round does each work once with each proxy that can, in turning order. It prints medians, and the
//! ratios of this proxy to each peer, taken within rounds. `--against OLD` compares with an older
//! build of this proxy alone and gives the 95 % interval of the median ratio.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod cpu;
mod load;
mod origin;
mod peers;
mod stats;
mod table;
mod work;

use std::path::PathBuf;

use clap::Parser;

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
    /// Only these works, separated by commas
    #[arg(long, value_delimiter = ',')]
    works: Vec<Work>,
    /// Only these peers, separated by commas: haproxy, haproxy-tuned, nginx, socat, tinyproxy,
    /// microsocks
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
        _ => {}
    }
    if cfg!(debug_assertions) {
        eprintln!("relay: a debug build says nothing about speed; use `cargo bench --bench relay`");
    }
    let works = if args.works.is_empty() { Work::ALL.to_vec() } else { args.works.clone() };
    let origin = origin::Origin::start();
    let directory = tempfile::TempDir::new().unwrap();
    let peers = match &args.against {
        Some(old) => vec![
            Peer::conniver(
                "new",
                env!("CARGO_BIN_EXE_conniver").as_ref(),
                &origin,
                directory.path(),
            ),
            Peer::conniver("old", old, &origin, directory.path()),
        ],
        None => peers::start_all(args.peers.as_deref(), &origin, directory.path()),
    };

    let mut measured = Measured::default();
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
                measured.add(work, peer, work.measure(peer, &origin));
            }
        }
    }
    eprintln!();
    let names: Vec<&str> = peers.iter().map(Peer::name).collect();
    table::print_medians(&measured, &works, &names);
    table::print_ratios(&measured, &works, &names);
}
