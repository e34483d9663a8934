use std::borrow::Cow;
use std::time::Instant;

use proptest::prelude::*;

use super::super::finish::{LegEnd, TimeBreakdown};
use super::*;
use crate::record::{Awaited, LimitedBy};
use crate::tcp_info::LinuxInfo;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Both sockets as the kernel shows them.
#[derive(Debug, Clone, Default)]
struct Shown {
    client: LinuxInfo,
    upstream: LinuxInfo,
}

impl InfoSource for Shown {
    fn info(&self, peer: Peer) -> Option<Cow<'_, LinuxInfo>> {
        let info = match peer {
            Peer::Client => &self.client,
            Peer::Upstream => &self.upstream,
        };
        Some(Cow::Borrowed(info))
    }
}

/// A pair whose clock goes as the test says.
struct Pair {
    turns: TurnTracker,
    start: Instant,
    now: Duration,
    client_last: Option<CompactInstant>,
    client_has_ended: bool,
    shown: Shown,
}

impl Pair {
    fn new(is_local: [bool; 2], min_rtt: Duration) -> Self {
        let start = Instant::now() + ms(1000);
        let mut shown = Shown::default();
        for info in [&mut shown.client, &mut shown.upstream] {
            info.min_rtt = Some(min_rtt);
            (info.un_acked, info.not_sent_bytes) = (Some(0), Some(0));
            info.sacked = Some(0);
        }
        let turns = TurnTracker::new(None, start.into(), is_local);
        Self {
            turns,
            start,
            now: Duration::ZERO,
            client_last: None,
            client_has_ended: false,
            shown,
        }
    }

    fn far() -> Self {
        Self::new([false; 2], ms(20))
    }

    fn local() -> Self {
        Self::new([true; 2], Duration::ZERO)
    }

    fn moment(&self) -> CompactInstant {
        (self.start + self.now).into()
    }

    /// Goes by: nothing was sent meanwhile.
    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        for info in [&mut self.shown.client, &mut self.shown.upstream] {
            info.last_tx_at = Some(info.last_tx_at.unwrap_or_default() + time);
        }
        self
    }

    fn event(&self, bytes: usize, content_kind: ContentKind) -> ReadEvent {
        ReadEvent {
            bytes,
            content_kind,
            client_last: self.client_last,
            client_has_ended: self.client_has_ended,
        }
    }

    fn client(&mut self, bytes: usize) -> &mut Self {
        self.client_says(bytes, ContentKind::Payload)
    }

    fn client_says(&mut self, bytes: usize, content_kind: ContentKind) -> &mut Self {
        let (event, now) = (self.event(bytes, content_kind), self.moment());
        self.turns.on_read_blocked(Direction::ToUpstream);
        self.turns.on_client_read(event, &self.shown, now);
        self.turns.on_request_write(written(bytes), &self.shown, now);
        self.client_last = Some(now);
        self.shown.upstream.last_tx_at = Some(Duration::ZERO);
        self
    }

    fn upstream(&mut self, bytes: usize) -> &mut Self {
        self.upstream_says(bytes, ContentKind::Payload)
    }

    fn upstream_says(&mut self, bytes: usize, content_kind: ContentKind) -> &mut Self {
        let (event, now) = (self.event(bytes, content_kind), self.moment());
        self.turns.on_read_blocked(Direction::ToClient);
        self.turns.on_upstream_read(event, &self.shown, now);
        self.turns.on_answer_write(written(bytes), &self.shown, now);
        self.shown.client.last_tx_at = Some(Duration::ZERO);
        self
    }

    fn breakdown(self) -> TimeBreakdown {
        let began = self.start.into();
        let breakdown = self.turns.into_breakdown(false);
        assert_eq!(breakdown.began(), began, "every moment is charged once");
        breakdown
    }
}

/// A pair that is closed now, and the two sides as they were then.
fn ended(
    pair: Pair,
    sides: impl FnOnce(CompactInstant, &mut LegEnd, &mut LegEnd),
) -> TimeBreakdown {
    let (began, now) = (pair.start.into(), pair.moment());
    let last = |info: &LinuxInfo| LegEnd {
        ended: None,
        broken_at: None,
        closed: now,
        info: Some(Box::new(info.clone())),
        sampled_at: now,
        is_undelivered: false,
        acked: Some(100),
        acked_at_end: None,
    };
    let [mut client, mut upstream] = [last(&pair.shown.client), last(&pair.shown.upstream)];
    sides(now, &mut client, &mut upstream);
    let breakdown = pair.turns.finish_with(&client, &upstream, false);
    assert_eq!(breakdown.began(), began, "every moment is charged once");
    breakdown
}

fn written(bytes: usize) -> WriteEvent {
    WriteEvent { bytes, is_short: false, was_blocked: false }
}

fn charged(breakdown: &TimeBreakdown) -> Vec<(Cause, u128)> {
    let times = Cause::ALL.map(|cause| (cause, breakdown.charges[cause].get().as_millis()));
    times.into_iter().filter(|(_, time)| *time > 0).collect()
}

#[test]
fn waits_between_request_and_answer_are_the_upstreams_and_pauses_between_turns_nobodys() {
    let mut pair = Pair::local();
    pair.after(ms(50)).client(10).after(ms(300)).upstream(10).after(ms(1000));
    pair.client(10).after(ms(400)).upstream(10);
    let breakdown = pair.breakdown();
    assert_eq!(charged(&breakdown), [(Cause::UpstreamThinks, 700), (Cause::Idle, 1050)]);
    let tally = breakdown.tally.unwrap();
    assert_eq!((tally.count, tally.unanswered, tally.crossed), (2, 0, 0));
    assert_eq!(tally.slowest[0].wait, ms(400));
    assert_eq!(tally.slowest[0].limited_by, LimitedBy::Upstream);
    assert_eq!(tally.slowest[1].wait, ms(300));
    assert_eq!(tally.slowest[1].limited_by, LimitedBy::Upstream);
}

#[test]
fn a_request_in_pieces_is_one_and_its_pauses_are_the_clients() {
    let mut pair = Pair::local();
    pair.client(10).after(ms(200)).client(10).after(ms(300)).upstream(10);
    let breakdown = pair.breakdown();
    assert_eq!(charged(&breakdown), [(Cause::ClientSends, 200), (Cause::UpstreamThinks, 300)]);
    let turn = breakdown.tally.unwrap().slowest[0];
    assert_eq!((turn.request, turn.wait, turn.request_bytes), (ms(200), ms(300), 20));
}

#[test]
fn an_answer_in_pieces_is_one_and_its_pauses_are_the_upstreams() {
    let mut pair = Pair::local();
    pair.client(10).after(ms(100)).upstream(10).after(ms(200)).upstream(10);
    let breakdown = pair.breakdown();
    assert_eq!(charged(&breakdown), [(Cause::UpstreamThinks, 100), (Cause::UpstreamSends, 200)]);
    let turn = breakdown.tally.unwrap().slowest[0];
    assert_eq!((turn.wait, turn.answer, turn.answer_bytes), (ms(100), Some(ms(200)), 20));
}

#[test]
fn while_the_proxy_stands_still_who_has_spoken_is_not_waited_for() {
    // The window opens with the read, and the next bytes come at once.
    let came_at_once = Some(Duration::ZERO);
    let finished = |bytes, has_been_there| {
        let mut pair = Pair::local();
        let late = StallDetector::late(pair.start + ms(100), pair.start + ms(1000));
        pair.turns.stall_detector = Some(Arc::new(late));
        pair.client(10).upstream(10);
        pair.shown.upstream.last_rx_at = has_been_there;
        pair.after(ms(1000)).upstream(bytes);
        let breakdown = pair.breakdown();
        (breakdown.charges[Cause::UpstreamSends].get(), breakdown.charges[Cause::Proxy].get())
    };
    assert_eq!(finished(64 * 1024, came_at_once), (ms(100), ms(900)), "it took what was queued");
    assert_eq!(finished(10, Some(ms(600))), (ms(400), ms(600)));
    assert_eq!(finished(10, came_at_once), (ms(1000), ms(0)), "it spoke only then");
}

#[test]
fn who_is_waited_for_is_told_as_soon_as_it_can_be() {
    fn waited_for(pair: &Pair) -> Option<Awaited> {
        let infos = [Some(&pair.shown.client), Some(&pair.shown.upstream)];
        pair.turns.waiting_for(infos, pair.moment()).map(|waiting| waiting.who)
    }
    let mut pair = Pair::far();
    assert_eq!(waited_for(pair.after(ms(10_000))), None, "nobody has spoken");
    pair.client(100);
    assert_eq!(waited_for(pair.after(ms(30))), Some(Awaited::Upstream));
    pair.shown.upstream.un_acked = Some(1);
    assert_eq!(waited_for(&pair), Some(Awaited::Upstream), "an acknowledgement may be delayed");
    (pair.shown.upstream.tx_mss, pair.shown.upstream.tx_window) = (Some(1000), Some(64_000));
    assert_eq!(waited_for(pair.after(ms(600))), Some(Awaited::NetworkUpstream));
    pair.shown.upstream.tx_window = Some(0);
    assert_eq!(waited_for(&pair), Some(Awaited::Upstream), "it takes nothing");
    pair.shown.upstream.un_acked = Some(0);
    pair.upstream(100);
    assert_eq!(waited_for(pair.after(ms(4900))), None, "the answer may go on");
    assert_eq!(waited_for(pair.after(ms(100))), Some(Awaited::Idle));
}

#[test]
fn a_greeting_is_waited_for_and_is_no_turn() {
    let mut pair = Pair::local();
    pair.after(ms(300)).upstream(80);
    let breakdown = pair.breakdown();
    assert_eq!(charged(&breakdown), [(Cause::UpstreamThinks, 300)]);
    assert!(breakdown.tally.is_none());
}

#[test]
fn what_comes_unasked_after_a_silence_is_in_no_turn() {
    let mut pair = Pair::local();
    pair.client(10).after(ms(100)).upstream(10).after(ms(5000)).upstream(10);
    pair.after(ms(6000)).upstream(10).after(ms(500)).client(10).after(ms(100)).upstream(5);
    let breakdown = pair.breakdown();
    assert_eq!(charged(&breakdown), [(Cause::UpstreamThinks, 200), (Cause::Idle, 11_500)]);
    let tally = breakdown.tally.unwrap();
    assert_eq!(tally.count, 2);
    assert!(tally.slowest.iter().all(|turn| turn.answer == Some(ms(0))), "{:?}", tally.slowest);
}

#[test]
fn of_a_far_upstreams_wait_a_round_trip_is_the_paths() {
    let mut pair = Pair::far();
    pair.client(10).after(ms(20)).upstream(10).after(ms(100)).client(10).after(ms(320)).upstream(1);
    let breakdown = pair.breakdown();
    let expected = [
        (Cause::RequestOnPath, 40),
        (Cause::UpstreamThinks, 300),
        (Cause::AnswerOnPath, 20),
        (Cause::Idle, 80),
    ];
    assert_eq!(charged(&breakdown), expected);
    let slowest = breakdown.tally.unwrap().slowest;
    assert_eq!((slowest[0].on_path, slowest[1].on_path), (ms(20), ms(20)));
    assert_eq!(slowest[1].limited_by, LimitedBy::NetworkUpstream);
}

#[test]
fn a_request_that_was_sent_again_was_on_the_path_until_then() {
    let mut pair = Pair::far();
    pair.client(10).after(ms(250));
    pair.shown.upstream.last_tx_at = Some(ms(45));
    pair.shown.upstream.total_retrans = Some(1);
    pair.upstream(10);
    let expected = [(Cause::RequestOnPath, 225), (Cause::UpstreamThinks, 25)];
    assert_eq!(charged(&pair.breakdown()), expected);
}

#[test]
fn a_retransmission_that_was_needless_costs_nothing() {
    let mut pair = Pair::far();
    pair.client(10).after(ms(620));
    pair.shown.upstream.last_tx_at = Some(ms(410));
    (pair.shown.upstream.total_retrans, pair.shown.upstream.dsack_dups) = (Some(1), Some(1));
    pair.upstream(10);
    let expected = [(Cause::RequestOnPath, 20), (Cause::UpstreamThinks, 600)];
    assert_eq!(charged(&pair.breakdown()), expected);
}

#[test]
fn packets_out_of_order_cost_what_their_repair_can_take_and_no_more() {
    let mut pair = Pair::far();
    pair.client(10).after(ms(20)).upstream(10);
    for packets in 1..=5 {
        pair.after(ms(100));
        pair.shown.upstream.rx_out_of_order = Some(packets);
        pair.upstream(10);
    }
    let breakdown = pair.breakdown();
    let expected =
        [(Cause::RequestOnPath, 20), (Cause::UpstreamSends, 375), (Cause::FromUpstream, 125)];
    assert_eq!(charged(&breakdown), expected);
    assert_eq!(breakdown.doubts.from_upstream.get(), ms(0));
}

#[test]
fn bursts_a_round_trip_apart_are_what_a_congestion_window_lets_through() {
    let mut pair = Pair::far();
    (pair.shown.upstream.rx_mss, pair.shown.upstream.rx_window) = (Some(1000), Some(65_000));
    pair.client(10).after(ms(20)).upstream(10_000).after(ms(21)).upstream(20_000);
    // A program that sends so little paces it.
    pair.after(ms(19)).upstream(1_000).after(ms(21)).upstream(1_000);
    let breakdown = pair.breakdown();
    let expected =
        [(Cause::RequestOnPath, 20), (Cause::UpstreamSends, 21), (Cause::FromUpstream, 40)];
    assert_eq!(charged(&breakdown), expected);
}

#[test]
fn pauses_within_a_round_trip_are_doubtful_as_long_as_a_congestion_window_may_be_opening() {
    let doubted = |pieces: u64| {
        let mut pair = Pair::new([false; 2], ms(200));
        (pair.shown.upstream.rx_mss, pair.shown.upstream.rx_window) = (Some(1000), Some(650_000));
        pair.client(10).after(ms(200)).upstream(5000);
        for _ in 0..pieces {
            pair.after(ms(50)).upstream(5000);
        }
        let breakdown = pair.breakdown();
        (breakdown.charges[Cause::UpstreamSends].get(), breakdown.doubts.upstream.get())
    };
    assert_eq!(doubted(8), (ms(400), ms(400)));
    // 20 kB come in a round trip, and 80 kB so far.
    assert_eq!(doubted(100), (ms(5000), ms(16 * 50)), "a window has opened by now");
}

#[test]
fn an_answer_that_doubles_every_round_trip_waits_for_a_congestion_window() {
    let paced_in = |round_trips: u32| {
        let mut pair = Pair::new([false; 2], ms(200));
        (pair.shown.upstream.rx_mss, pair.shown.upstream.rx_window) = (Some(1000), Some(650_000));
        pair.client(10).after(ms(200)).upstream(5000);
        for round_trip in 0..round_trips {
            for _ in 0..4 {
                pair.after(ms(50)).upstream(5000 << round_trip);
            }
        }
        let breakdown = pair.breakdown();
        let limited_by = breakdown.tally.as_ref().unwrap().slowest[0].limited_by;
        let sender = breakdown.charges[Cause::UpstreamSends].get();
        let path = breakdown.charges[Cause::FromUpstream].get();
        (sender, path, breakdown.doubts.upstream.get(), limited_by)
    };
    // A program may send like this for so long.
    assert_eq!(paced_in(3), (ms(600), ms(0), ms(600), LimitedBy::None));
    assert_eq!(paced_in(5), (ms(0), ms(1000), ms(0), LimitedBy::NetworkUpstream));
}

#[test]
fn a_handshake_is_charged_and_not_counted() {
    let mut pair = Pair::local();
    pair.client_says(300, ContentKind::Handshake)
        .after(ms(30))
        .upstream_says(3000, ContentKind::Payload);
    pair.after(ms(1)).client_says(80, ContentKind::Handshake).after(ms(10)).client(100);
    pair.after(ms(300)).upstream(500);
    let breakdown = pair.breakdown();
    let tally = breakdown.tally.as_ref().unwrap();
    assert_eq!((tally.count, tally.slowest[0].wait), (1, ms(300)));
    assert_eq!(tally.slowest[0].request_bytes, 100);
    assert_eq!(breakdown.charges[Cause::UpstreamThinks].get(), ms(330));
}

#[test]
fn tickets_end_no_wait() {
    let mut pair = Pair::local();
    pair.client_says(300, ContentKind::Handshake).after(ms(3)).upstream(3000);
    pair.after(ms(1)).client_says(80, ContentKind::Handshake).client(100);
    pair.after(ms(2)).upstream(250).after(ms(1)).upstream(250);
    pair.after(ms(297)).upstream(500).after(ms(30)).upstream(500);
    let tally = pair.breakdown().tally.unwrap();
    assert_eq!((tally.count, tally.slowest[0].wait), (1, ms(300)));
    assert_eq!(tally.slowest[0].answer, Some(ms(30)));
}

#[test]
fn tickets_end_no_wait_for_a_request_that_came_with_the_handshakes_end() {
    let mut pair = Pair::local();
    pair.client_says(300, ContentKind::Handshake).after(ms(3)).upstream(3000);
    pair.after(ms(1)).client(180).after(ms(2)).upstream(250).after(ms(298)).upstream(500);
    let tally = pair.breakdown().tally.unwrap();
    assert_eq!((tally.count, tally.slowest[0].wait), (1, ms(300)));
}

#[test]
fn a_ticket_after_the_request_ends_no_wait_if_another_came_before_it() {
    let mut pair = Pair::local();
    pair.client_says(300, ContentKind::Handshake).after(ms(3)).upstream(3000);
    pair.after(ms(1)).client_says(80, ContentKind::Handshake).after(ms(1)).upstream(287);
    pair.client(100).after(ms(2)).upstream(287).after(ms(298)).upstream(170);
    let tally = pair.breakdown().tally.unwrap();
    assert_eq!((tally.count, tally.slowest[0].wait), (1, ms(300)));
    // Both came before it.
    let mut pair = Pair::local();
    pair.client_says(300, ContentKind::Handshake).after(ms(3)).upstream(3000);
    pair.after(ms(1)).client_says(80, ContentKind::Handshake).after(ms(1)).upstream(574);
    pair.client(100).after(ms(300)).upstream(170).after(ms(2000)).upstream(24);
    let tally = pair.breakdown().tally.unwrap();
    assert_eq!((tally.count, tally.slowest[0].wait), (1, ms(300)));
}

#[test]
fn an_upload_that_goes_on_when_it_is_answered_early_is_one_turn() {
    let mut pair = Pair::local();
    pair.client(100_000).after(ms(5)).upstream(80).after(ms(1)).client(1000).after(ms(1));
    pair.upstream(10);
    let tally = pair.breakdown().tally.unwrap();
    assert_eq!((tally.count, tally.crossed), (1, 1));
}

#[test]
fn what_came_before_the_first_turn_is_none_of_it() {
    let mut pair = Pair::local();
    pair.after(ms(500)).upstream(80);
    pair.after(ms(10)).client(10).after(ms(100)).client(10).after(ms(20)).upstream(10);
    let breakdown = pair.breakdown();
    assert_eq!(breakdown.tally.unwrap().slowest[0].limited_by, LimitedBy::Client);
}

#[test]
fn turns_that_are_known_to_be_mixed_are_not_kept() {
    let mut pair = Pair::far();
    pair.turns.keep_finished();
    for _ in 0..10 {
        pair.after(ms(300)).client(10).after(ms(1)).upstream(10);
    }
    // The third one shows it.
    assert_eq!(pair.turns.take_finished().len(), 2);
}

#[test]
fn answers_that_come_before_their_requests_can_have_arrived_are_others() {
    let mut pair = Pair::far();
    for _ in 0..4 {
        pair.after(ms(300)).client(10).after(ms(1)).upstream(10);
    }
    assert_eq!(pair.breakdown().tally.unwrap().crossed, 4);
}

#[test]
fn a_wait_that_no_answer_ends_counts_until_the_client_leaves() {
    let mut pair = Pair::local();
    pair.client(10).after(ms(100)).upstream(10).after(ms(50)).client(10).after(ms(3000));
    let breakdown = ended(pair, |now, client, _| client.ended = Some(now));
    assert_eq!(charged(&breakdown), [(Cause::UpstreamThinks, 3100), (Cause::Idle, 50)]);
    let tally = breakdown.tally.unwrap();
    assert_eq!((tally.count, tally.unanswered), (2, 1));
    assert_eq!((tally.slowest[0].wait, tally.slowest[0].answer), (ms(3000), None));
}

#[test]
fn a_request_that_never_arrived_is_the_paths() {
    let mut pair = Pair::far();
    pair.client(10).after(ms(3000));
    let breakdown = ended(pair, |now, client, upstream| {
        (client.ended, upstream.is_undelivered) = (Some(now), true);
    });
    assert_eq!(charged(&breakdown), [(Cause::RequestOnPath, 3000)]);
}

#[test]
fn bytes_that_a_stuck_client_did_not_take_count_until_it_breaks() {
    let mut pair = Pair::local();
    pair.client(10).after(ms(10)).upstream(10);
    let short = WriteEvent { bytes: 10, is_short: true, was_blocked: false };
    let now = pair.moment();
    pair.turns.on_answer_write(short, &pair.shown, now);
    pair.after(ms(5000));
    let breakdown =
        ended(pair, |now, client, _| (client.ended, client.broken_at) = (Some(now), Some(now)));
    assert_eq!(charged(&breakdown), [(Cause::UpstreamThinks, 10), (Cause::ClientTakes, 5000)]);
}

#[test]
fn who_had_left_before_it_was_answered_waited_until_then() {
    let mut pair = Pair::local();
    pair.client(10).after(ms(300));
    let left = pair.moment();
    pair.client_has_ended = true;
    pair.after(ms(700)).upstream(10);
    let acked_nothing = |_, client: &mut LegEnd, _: &mut LegEnd| {
        (client.ended, client.acked_at_end) = (Some(left), client.acked);
    };
    assert_eq!(charged(&ended(pair, acked_nothing)), [(Cause::UpstreamThinks, 300)]);
}

#[test]
fn a_client_that_says_something_now_and_then_to_nobody_is_idle_between() {
    let mut pair = Pair::local();
    pair.client(100).after(ms(10)).upstream(4);
    for _ in 0..3 {
        pair.after(ms(1200)).client(50);
    }
    let breakdown = ended(pair, |_, _, _| ());
    assert_eq!(charged(&breakdown), [(Cause::UpstreamThinks, 10), (Cause::Idle, 3600)]);
    assert_eq!(breakdown.tally.unwrap().count, 1);
}

#[test]
fn last_words_are_neither_turn_nor_wait() {
    let mut pair = Pair::local();
    pair.client(100).after(ms(10)).upstream(400).after(ms(2000)).upstream(31).client(24);
    let breakdown = ended(pair, |now, client, upstream| {
        (client.ended, upstream.ended) = (Some(now), Some(now));
    });
    assert_eq!(charged(&breakdown), [(Cause::UpstreamThinks, 10), (Cause::Idle, 2000)]);
    assert_eq!(breakdown.tally.unwrap().count, 1);
}

#[test]
fn farewells_of_tls_that_answer_each_other_are_no_turn() {
    let mut pair = Pair::local();
    pair.client_says(300, ContentKind::Handshake).after(ms(3)).upstream(3000);
    pair.client(180).after(ms(40)).upstream(500).after(ms(10)).client(24).upstream(24);
    let breakdown = ended(pair, |now, client, _| client.ended = Some(now));
    assert_eq!(breakdown.tally.unwrap().count, 1);
    // A client's that the upstream's kernel answered with a reset.
    let mut pair = Pair::local();
    pair.client_says(300, ContentKind::Handshake).after(ms(3)).upstream(3000);
    pair.client(180).after(ms(40)).upstream(500).after(ms(2000)).upstream(24);
    let upstream_ended = pair.moment();
    pair.after(ms(30)).client(24);
    let breakdown = ended(pair, |_, _, upstream| upstream.ended = Some(upstream_ended));
    let tally = breakdown.tally.unwrap();
    assert_eq!((tally.count, tally.unanswered), (1, 0));
    // Without TLS, as few bytes may be a question and its answer.
    let mut pair = Pair::local();
    pair.client(24).upstream(24).after(ms(10)).client(24).upstream(24);
    let breakdown = ended(pair, |now, client, _| client.ended = Some(now));
    assert_eq!(breakdown.tally.unwrap().count, 2);
}

/// Something that happens to a pair.
#[derive(Debug, Clone)]
enum Event {
    After(u64),
    Client { bytes: usize, is_handshake: bool },
    Upstream { bytes: usize },
    Request { bytes: usize, is_short: bool, was_blocked: bool },
    Answer { bytes: usize, is_short: bool, was_blocked: bool },
    Reading(bool),
    Shown { age: u64, unsent: u32, out_of_order: u32, again: u32, window: u32 },
}

fn event() -> impl Strategy<Value = Event> {
    let time = prop_oneof![0_u64..50_000, 0_u64..10_000_000_000];
    let bytes = 0_usize..200_000;
    prop_oneof![
        4 => time.prop_map(Event::After),
        2 => (bytes.clone(), any::<bool>())
            .prop_map(|(bytes, is_handshake)| Event::Client { bytes, is_handshake }),
        2 => bytes.clone().prop_map(|bytes| Event::Upstream { bytes }),
        2 => (bytes.clone(), any::<bool>(), any::<bool>()).prop_map(
            |(bytes, is_short, was_blocked)| Event::Request { bytes, is_short, was_blocked }),
        2 => (bytes, any::<bool>(), any::<bool>()).prop_map(
            |(bytes, is_short, was_blocked)| Event::Answer { bytes, is_short, was_blocked }),
        2 => any::<bool>().prop_map(Event::Reading),
        1 => (0_u64..9_000, 0_u32..3, 0_u32..9, 0_u32..9, 0_u32..3).prop_map(
            |(age, unsent, out_of_order, again, window)| Event::Shown {
                age, unsent, out_of_order, again, window
            }),
    ]
}

proptest! {
    /// Whatever happens, and whatever the kernel says.
    #[test]
    fn every_moment_is_charged_once(
        is_local in any::<[bool; 2]>(),
        min_rtt in 0_u64..300,
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut pair = Pair::new(is_local, ms(min_rtt));
        for event in events {
            let now = pair.moment();
            match event {
                Event::After(time) => pair.now += Duration::from_nanos(time),
                Event::Client { bytes, is_handshake } => {
                    let content_kind =
                        if is_handshake { ContentKind::Handshake } else { ContentKind::Payload };
                    let event = pair.event(bytes, content_kind);
                    pair.turns.on_client_read(event, &pair.shown, now);
                    pair.client_last = Some(now);
                }
                Event::Upstream { bytes } => {
                    let event = pair.event(bytes, ContentKind::Payload);
                    pair.turns.on_upstream_read(event, &pair.shown, now);
                }
                Event::Request { bytes, is_short, was_blocked } => {
                    let written = WriteEvent { bytes, is_short, was_blocked };
                    pair.turns.on_request_write(written, &pair.shown, now);
                }
                Event::Answer { bytes, is_short, was_blocked } => {
                    let written = WriteEvent { bytes, is_short, was_blocked };
                    pair.turns.on_answer_write(written, &pair.shown, now);
                }
                Event::Reading(true) => pair.turns.on_read_blocked(Direction::ToUpstream),
                Event::Reading(false) => pair.turns.on_read_blocked(Direction::ToClient),
                Event::Shown { age, unsent, out_of_order, again, window } => {
                    for info in [&mut pair.shown.client, &mut pair.shown.upstream] {
                        info.last_tx_at = Some(ms(age));
                        (info.not_sent_bytes, info.un_acked) = (Some(unsent), Some(unsent));
                        info.rx_out_of_order = Some(out_of_order);
                        (info.total_retrans, info.dsack_dups) = (Some(again), Some(window));
                        info.tx_window = Some(window * 1000);
                        info.rx_window_limited = Some(ms(age));
                    }
                }
            }
        }
        let end = pair.moment();
        let start = CompactInstant::from(pair.start);
        let breakdown = pair.turns.into_breakdown(false);
        prop_assert_eq!(breakdown.began(), start);
        prop_assert!(breakdown.ended <= end);
    }
}
