//! The program and the library under real conditions: real sockets, real tools, the real kernel.
//!
//! On Linux: they rest on its /proc, its namespaces and its tools.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod harness;

mod access;
mod arguments;
mod bad_requests;
mod causes;
mod check;
mod check_bounds;
mod clients;
mod clock;
mod collectors;
mod connect;
mod connector;
mod contract;
mod curl;
mod dead_peers;
mod delivery;
mod demo;
mod detail;
mod dialling;
mod diverted;
mod documents;
mod endings;
mod examples;
mod failures;
mod half_close;
mod http_mode;
mod http_responses;
mod injection;
mod intercept;
mod kernel_looks;
mod last_words;
mod layers;
mod library;
mod limits;
mod loops;
mod lost;
mod messages;
mod metrics;
mod metrics_clients;
mod metrics_open;
mod monitoring;
mod namespaces;
mod observed;
mod output;
mod people_lines;
mod phases;
mod process;
mod proxy_protocol;
mod recipes;
mod refused;
mod resets;
mod resolving;
mod run;
mod run_users;
mod samples;
mod secrets;
mod service;
mod shared_file;
mod shell;
mod socks;
mod spellings;
mod stat;
mod stopping;
mod streaming;
mod turn_lines;
mod unwritable;
mod verdict;
mod via;
mod warnings;
mod wrapper;
mod zero;
