//! Causes of slowness, each imposed three times: the verdict names the right one, what it charges to each
//! is what was imposed, and the turns are those that took place. `scripts/full-check` has all causes, 20
//! times each.

use crate::harness::cause;
use crate::harness::namespace::available;

const ROUNDS: usize = 3;

#[track_caller]
fn assert_told_right(name: &str) {
    if !available(name) {
        return;
    }
    let (table, wrong) = cause::all(ROUNDS, name);
    // The heading and the cause.
    assert_eq!(table.lines().count(), 2, "the name of one cause:\n{table}");
    assert_eq!(wrong, 0, "\n{table}");
}

#[test]
fn stuck_client_that_resets_is_charged_with_its_last_wait() {
    assert_told_right("stuck client resets, loopback, cubic");
}

#[test]
fn stuck_upstream_that_resets_is_charged_with_its_last_wait() {
    assert_told_right("stuck upstream resets, 10 ms, bbr");
}

#[test]
fn hung_server_is_charged_until_the_client_leaves() {
    assert_told_right("hung server after 3 answers, client leaves by FIN");
}

#[test]
fn mtu_black_hole_is_charged_to_the_path() {
    assert_told_right("MTU black hole from the upstream");
}

#[test]
fn lost_requests_are_charged_to_the_path() {
    assert_told_right("every 5th request lost, RTT 4 ms");
}

#[test]
fn far_instant_server_is_not_charged_with_its_distance() {
    assert_told_right("far instant server, RTT 20 ms, 15 exchanges");
}

#[test]
fn slow_look_up_is_charged_to_the_resolver() {
    assert_told_right("slow look-up, 1 s");
}

#[test]
fn one_slow_query_is_found_among_150() {
    assert_told_right("one slow query among 150");
}

#[test]
fn greeting_that_is_late_is_charged_to_the_upstream() {
    assert_told_right("late greeting");
}

#[test]
fn pause_of_the_proxy_is_charged_only_where_it_ended_a_wait() {
    assert_told_right("proxy stopped until after a server's answer");
}

#[test]
fn session_tickets_end_no_wait() {
    assert_told_right("TLS 1.3 answer from rustls");
}

#[test]
fn last_words_after_a_silence_are_no_wait() {
    assert_told_right("close_notify after 2 s, TLS 1.3, rustls");
}
