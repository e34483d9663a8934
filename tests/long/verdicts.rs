//! Each cause of slowness twenty times: the verdict must hold every time. `VERDICT=WORDS` in the environment
//! keeps to the causes that have these words in their name.

use std::collections::BTreeMap;

use conniver::record::{LimitedBy, Record};

use crate::harness::causes;

const ROUNDS: usize = 20;

/// Names the cause, imposes it, and what may be read then.
type Case = (&'static str, fn() -> Record, &'static [LimitedBy]);

/// What may be read of a path that loses in the direction in which the proxy receives.
const FROM_UPSTREAM: &[LimitedBy] = &[LimitedBy::NetworkUpstream, LimitedBy::None];

macro_rules! cases {
    ($($cause:ident: $expected:expr,)+) => {
        &[$((stringify!($cause), causes::$cause as fn() -> Record, $expected),)+]
    };
}

const CASES: &[Case] = cases! {
    a_client_that_reads_slowly: &[LimitedBy::Client],
    an_upstream_that_thinks: &[LimitedBy::Upstream],
    an_upstream_that_sends_slowly: &[LimitedBy::Upstream],
    a_client_that_uploads_slowly: &[LimitedBy::Client],
    a_client_that_idles_between_instant_answers: &[LimitedBy::Client],
    a_proxy_that_is_paused_while_little_comes: &[LimitedBy::Proxy],
    a_proxy_that_is_paused_in_a_fast_stream: &[LimitedBy::Proxy],
    a_rate_limited_path_to_the_client: &[LimitedBy::NetworkClient],
    a_rate_limited_path_to_the_client_under_cubic: &[LimitedBy::NetworkClient],
    a_rate_limited_path_to_the_upstream: &[LimitedBy::NetworkUpstream],
    a_rate_limited_path_to_the_upstream_under_cubic: &[LimitedBy::NetworkUpstream],
    a_client_on_another_machine_that_reads_slowly: &[LimitedBy::Client],
    a_client_on_another_machine_that_reads_slowly_under_cubic: &[LimitedBy::Client],
    a_client_far_away_that_reads_slowly: &[LimitedBy::Client],
    a_client_far_away_that_reads_slowly_under_cubic: &[LimitedBy::Client],
    a_sender_that_paces_over_a_rate_limited_path: &[LimitedBy::Upstream],
    a_sender_that_paces_small_messages_over_a_long_path: &[LimitedBy::Upstream],
    a_sender_that_paces_small_messages_from_afar: &[LimitedBy::Upstream],
    a_long_lossy_path_to_the_client_under_cubic: &[LimitedBy::NetworkClient],
    a_long_lossy_path_to_the_client_under_bbr: &[LimitedBy::NetworkClient],
    a_long_lossy_path_to_the_upstream_under_cubic: &[LimitedBy::NetworkUpstream],
    a_long_lossy_path_to_the_upstream_under_bbr: &[LimitedBy::NetworkUpstream],
    a_long_lossy_path_from_the_upstream_under_cubic: FROM_UPSTREAM,
    a_long_lossy_path_from_the_upstream_under_bbr: FROM_UPSTREAM,
    a_long_path_from_the_upstream_that_loses_little: FROM_UPSTREAM,
    a_fast_clean_transfer: &[LimitedBy::Proxy, LimitedBy::Client, LimitedBy::None],
};

pub(crate) fn twenty_times_each() -> String {
    let wanted = std::env::var("VERDICT").unwrap_or_default();
    let (mut causes, mut wrong) = (0, 0);
    for (cause, impose, expected) in CASES.iter().filter(|case| case.0.contains(&wanted)) {
        let mut found = BTreeMap::<String, usize>::new();
        for _ in 0..ROUNDS {
            let verdict = impose().verdict.unwrap();
            *found.entry(format!("{:?}", verdict.limited_by)).or_default() += 1;
            if !expected.contains(&verdict.limited_by) {
                wrong += 1;
                println!("{cause}: {verdict:?}");
            }
        }
        causes += 1;
        println!("{cause}: {found:?}");
    }
    assert_eq!(wrong, 0, "wrong verdicts");
    format!("{causes} causes, {ROUNDS} times each, always told rightly")
}
