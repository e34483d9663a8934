//! What takes too long for every `cargo test`. `scripts/full-check` runs each check by its name:
//!
//! `cargo test --release --test long -- NAME`
//!
//! A check panics with what is wrong, or returns its figures, which are printed.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[cfg(target_os = "linux")]
mod bulk;
#[cfg(target_os = "linux")]
mod causes;
#[cfg(target_os = "linux")]
mod clients;
#[cfg(target_os = "linux")]
mod counts;
#[cfg(target_os = "linux")]
mod dead_peers;
#[cfg(target_os = "linux")]
mod endings;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
#[path = "../it/harness/mod.rs"]
#[allow(dead_code, reason = "the other test target uses the rest")]
mod harness;
#[cfg(target_os = "linux")]
mod idle;
#[cfg(target_os = "linux")]
mod messages;
#[cfg(target_os = "linux")]
mod neighbours;
#[cfg(target_os = "linux")]
mod page;
#[cfg(target_os = "linux")]
mod role;
#[cfg(target_os = "linux")]
mod slow_loris;
#[cfg(target_os = "linux")]
mod soak;

/// Returns its figures.
type Check = fn() -> String;

#[cfg(target_os = "linux")]
const CHECKS: &[(&str, Check)] = &[
    ("ten_gibibytes_each_way_through_one_pair", bulk::ten_gibibytes_each_way_through_one_pair),
    ("sixty_four_pairs_of_100_mib_at_once", bulk::sixty_four_pairs_of_100_mib_at_once),
    ("messages_of_random_sizes_at_random_paces", messages::of_random_sizes_at_random_paces),
    ("nine_thousand_idle_pairs", idle::nine_thousand_pairs),
    ("causes_of_the_gate", causes::of_the_gate),
    ("causes_twenty_times_each", causes::twenty_times_each),
    ("ten_thousand_random_endings", endings::ten_thousand_random),
    ("dead_peers_found_by_keepalive", dead_peers::found_by_keepalive),
    ("ten_seconds_of_a_full_disk", faults::ten_seconds_of_a_full_disk),
    ("ten_seconds_of_a_stopped_reader", faults::ten_seconds_of_a_stopped_reader),
    ("five_thousand_slow_clients", slow_loris::five_thousand_slow_clients),
    ("silent_names", neighbours::silent_names),
    ("unanswered_lookups_of_one_client", neighbours::unanswered_lookups_of_one_client),
    ("unanswered_lookups_of_many_clients", neighbours::unanswered_lookups_of_many_clients),
    ("metrics_clients", neighbours::metrics_clients),
    ("refused_clients", neighbours::refused_clients),
    ("foreign_user", neighbours::foreign_user),
    ("pip_downloads", clients::pip_downloads),
    ("npm_views", clients::npm_views),
    ("apt_updates", clients::apt_updates),
    ("psql_queries", clients::psql_queries),
    ("chromium_loads_a_page", clients::chromium_loads_a_page),
    ("report_in_chromium", page::report_in_chromium),
];

#[cfg(target_os = "linux")]
fn main() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    // For this process and those that it starts.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();

    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["role", name, ref args @ ..] => role::play(name, args),
        ["soak", seconds] => println!("{}", soak::soak(seconds.parse().unwrap(), None)),
        ["soak", seconds, records] => {
            println!("{}", soak::soak(seconds.parse().unwrap(), Some(records.as_ref())));
        }
        [name] if CHECKS.iter().any(|(check, _)| *check == name) => {
            let (_, check) = CHECKS.iter().find(|(check, _)| *check == name).unwrap();
            println!("{}", check());
        }
        _ => {
            let names = CHECKS.iter().map(|(name, _)| format!("  {name}\n")).collect::<String>();
            let names = format!("{names}  soak SECONDS [FILE]\n");
            eprint!("one of these, please, or scripts/full-check for all:\n{names}");
            std::process::exit(2);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("these checks rest on Linux: its /proc, its namespaces and its tools");
    std::process::exit(2);
}
