//! The causes that impose one thing on a whole transfer.

use std::time::Duration;

use conniver::record::Record;

use super::super::causes;
use super::{Case, Cause, Imposed, Who, cause, ms};

macro_rules! causes {
    ($($name:ident: $imposed:expr,)+) => {
        &[$(cause(stringify!($name), || case(causes::$name(), $imposed)),)+]
    };
}

pub(super) const CAUSES: &[Cause] = causes! {
    a_client_that_reads_slowly: whole(CLIENT),
    an_upstream_that_thinks: slept(UPSTREAM, Who::Upstream, 8 * 60),
    an_upstream_that_sends_slowly: slept(UPSTREAM, Who::Upstream, 39 * 10),
    a_client_that_uploads_slowly: slept(CLIENT, Who::Client, 39 * 10),
    a_client_that_idles_between_instant_answers: slept(NONE, Who::Idle, 8 * 60),
    a_proxy_that_is_paused_while_little_comes: whole(PROXY),
    a_proxy_that_is_paused_in_a_fast_stream: whole(PROXY),
    a_short_exchange_without_pauses: whole(NONE),
    a_rate_limited_path_to_the_client: whole(NETWORK_CLIENT),
    a_rate_limited_path_to_the_client_under_cubic: whole(NETWORK_CLIENT),
    a_rate_limited_path_to_the_upstream: whole(NETWORK_UPSTREAM),
    a_rate_limited_path_to_the_upstream_under_cubic: whole(NETWORK_UPSTREAM),
    a_client_on_another_machine_that_reads_slowly: whole(CLIENT),
    a_client_on_another_machine_that_reads_slowly_under_cubic: whole(CLIENT),
    a_client_far_away_that_reads_slowly: whole(CLIENT),
    a_client_far_away_that_reads_slowly_under_cubic: whole(CLIENT),
    a_sender_that_paces_over_a_rate_limited_path: paced(29 * 15),
    a_sender_that_paces_small_messages_over_a_long_path: paced(29 * 30),
    a_sender_that_paces_small_messages_from_afar: paced(29 * 30),
    a_long_lossy_path_to_the_client_under_cubic: whole(NETWORK_CLIENT),
    a_long_lossy_path_to_the_client_under_bbr: whole(NETWORK_CLIENT),
    a_long_lossy_path_to_the_upstream_under_cubic: whole(NETWORK_UPSTREAM),
    a_long_lossy_path_to_the_upstream_under_bbr: whole(NETWORK_UPSTREAM),
    a_long_lossy_path_from_the_upstream_under_cubic: whole(FROM_UPSTREAM),
    a_long_lossy_path_from_the_upstream_under_bbr: whole(FROM_UPSTREAM),
    a_long_path_from_the_upstream_that_loses_little: whole(FROM_UPSTREAM),
    a_fast_clean_transfer: whole(&["proxy", "client", "none"]),
};

type Names = &'static [&'static str];

const CLIENT: Names = &["client"];
const UPSTREAM: Names = &["upstream"];
const NETWORK_CLIENT: Names = &["network-client"];
const NETWORK_UPSTREAM: Names = &["network-upstream"];
const PROXY: Names = &["proxy"];
const NONE: Names = &["none"];

/// What may be read of a path that loses in the direction in which the proxy receives.
const FROM_UPSTREAM: Names = &["network-upstream", "none"];

fn case(record: Record, imposed: Imposed) -> Case {
    Case { record: serde_json::to_value(record).unwrap(), imposed }
}

/// Nothing outside tells how the whole divides.
fn whole(names: Names) -> Imposed {
    Who::ALL
        .into_iter()
        .filter(|who| *who != Who::Resolver)
        .fold(Imposed::on(names), Imposed::untold)
}

/// One side's sleeps, which last a little longer than they should.
fn slept(names: Names, who: Who, millis: u64) -> Imposed {
    Imposed::on(names).time(who, slightly_longer(millis))
}

/// An upstream's pauses on a path that takes its own time.
fn paced(millis: u64) -> Imposed {
    let path = ms(0)..=ms(millis / 4);
    Imposed::on(UPSTREAM)
        .time(Who::Upstream, slightly_longer(millis))
        .time(Who::NetworkClient, path.clone())
        .time(Who::NetworkUpstream, path)
        .untold(Who::Idle)
}

fn slightly_longer(millis: u64) -> std::ops::RangeInclusive<Duration> {
    ms(millis)..=ms(millis) * 6 / 5
}
