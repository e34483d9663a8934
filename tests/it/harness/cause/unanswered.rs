//! Requests that nobody answers, or whose answers do not arrive.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::super::forwarding::Ends;
use super::super::lossy_path::{Fate, Rule, passes};
use super::super::network::{Network, Way};
use super::super::peers::reset;
use super::lab::{Lab, Pair, path};
use super::talk::{Exchange, converse};
use super::{Case, Cause, Imposed, Turns, Who, cause, ms};

pub(super) const CAUSES: &[Cause] = &[
    cause("hung server, client leaves by FIN", || hung_server(0, Leave::Fin)).idle(),
    cause("hung server, client leaves by reset", || hung_server(0, Leave::Reset)).idle(),
    cause("hung server after 3 answers, client leaves by FIN", || hung_server(3, Leave::Fin))
        .idle(),
    cause("hung server after 3 answers, client leaves by reset", || hung_server(3, Leave::Reset))
        .idle(),
    cause("hung server, idle timeout", || idle_timeout(None)).idle(),
    cause("hung server, client's FIN, idle timeout", || idle_timeout(Some(ms(500)))).idle(),
    cause("MTU black hole from the upstream", black_hole_from_upstream).idle(),
    cause("MTU black hole to the upstream", black_hole_to_upstream).idle(),
    cause("MTU black hole to the client", black_hole_to_client).idle(),
    cause("stream at QoS 0, bursts 1.2 s apart", || only_requests(4, ms(1200), false)).idle(),
    cause("stream at QoS 0, bursts 300 ms apart", || only_requests(8, ms(300), false)).idle(),
    cause("stream at QoS 0 after a CONNACK", || only_requests(4, ms(1200), true)).idle(),
];

/// How the client leaves.
#[derive(Clone, Copy)]
enum Leave {
    Fin,
    Reset,
}

impl Leave {
    fn of(self, client: TcpStream) -> Option<TcpStream> {
        match self {
            Self::Fin => {
                client.shutdown(Shutdown::Write).unwrap();
                Some(client)
            }
            Self::Reset => {
                reset(client);
                None
            }
        }
    }
}

const HUNG: Duration = ms(1500);

/// One wait that no byte ended, after so many answered requests.
fn one_unanswered(answered: u64, wait: Duration) -> Turns {
    Turns {
        // The last one is a turn or is counted beside them.
        count: Some(answered..=answered + 1),
        unanswered: Some(1),
        wait_max: Some(wait.into()),
        shape: None,
    }
}

/// Reads a request and says nothing; returns with the client's end.
fn hangs(mut upstream: &TcpStream) {
    while upstream.read(&mut [0; 100]).is_ok_and(|bytes| bytes > 0) {}
}

fn hung_server(answered: usize, leave: Leave) -> Case {
    let lab = Lab::here(&[]);
    let pair = lab.pair();
    let talk = converse(&pair, &vec![Exchange::INSTANT.after_pause(100); answered]);
    let Pair { ends: Ends { client, upstream }, .. } = pair;
    let (paused, waited) = thread::scope(|scope| {
        scope.spawn(|| {
            hangs(&upstream);
            drop(upstream);
        });
        thread::sleep(ms(100));
        let paused = talk.ended.elapsed();
        let began = Instant::now();
        (&client).write_all(b"hello?").unwrap();
        thread::sleep(HUNG);
        let waited = began.elapsed();
        drop(leave.of(client));
        (paused, waited)
    });
    let imposed = Imposed::on(&["upstream"])
        .time(Who::Upstream, waited)
        .time(Who::Idle, talk.paused() + paused)
        .whole(talk.whole + paused + waited)
        .turns(one_unanswered(answered as u64, waited));
    Case { record: lab.record(), imposed }
}

/// Nobody does anything until the proxy ends it, but for the client's FIN after a while.
fn idle_timeout(fin_after: Option<Duration>) -> Case {
    let lab = Lab::here(&["--idle-timeout", "1500ms"]);
    let Pair { ends: Ends { client, upstream }, .. } = lab.pair();
    let began = Instant::now();
    (&client).write_all(b"hello?").unwrap();
    let mut waited = None;
    if let Some(after) = fin_after {
        thread::sleep(after);
        waited = Some(began.elapsed());
        client.shutdown(Shutdown::Write).unwrap();
    }
    // However the proxy ends it.
    let _ = (&client).read(&mut [0]);
    let waited = waited.unwrap_or(began.elapsed());
    let ended = began.elapsed();
    drop(upstream);
    let imposed = Imposed::on(&["upstream"])
        .time(Who::Upstream, waited)
        .whole(waited)
        .turns(one_unanswered(0, waited))
        .provided(ended >= ms(1400), "the idle timeout ended it");
    Case { record: lab.record(), imposed }
}

/// Loses what is longer than any packet that passes a tunnel.
fn black_hole() -> Rule {
    Box::new(|packet| if packet.len() > 1000 { Fate::IsLost } else { Fate::Passes })
}

/// A client asks and leaves by a reset when nothing came of it.
fn through_black_hole(lab: &Lab, request: usize, answer: usize) -> (Duration, Duration) {
    let Pair { ends: Ends { client, mut upstream }, began } = lab.pair();
    let set_up = began.elapsed();
    let waited = thread::scope(|scope| {
        scope.spawn(move || {
            let mut first = [0; 1];
            if upstream.read(&mut first).is_ok_and(|bytes| bytes == 1) {
                // It may come to nothing.
                let _ = upstream.write_all(&vec![7; answer]);
            }
            while upstream.read(&mut [0; 4096]).is_ok_and(|bytes| bytes > 0) {}
            reset(upstream);
        });
        let asked = Instant::now();
        (&client).write_all(&vec![7; request]).unwrap();
        thread::sleep(HUNG);
        let waited = asked.elapsed();
        reset(client);
        waited
    });
    let lost = &lab.network().mishaps.lost;
    assert!(lost.load(std::sync::atomic::Ordering::Relaxed) > 0, "nothing was lost");
    (set_up, waited)
}

const NEAR: Duration = ms(10);

/// Three full segments vanish, a short one does not.
fn black_hole_from_upstream() -> Case {
    let rules = [black_hole(), passes()];
    let lab = Lab::over(Network::with_rules(Way::FromUpstream, path(NEAR), rules), &[]);
    let (set_up, waited) = through_black_hole(&lab, 40, 3 * 1448 + 300);
    let imposed = Imposed::on(&["network-upstream"])
        .time(Who::NetworkUpstream, waited..=set_up + waited)
        .whole(set_up + waited)
        .turns(one_unanswered(0, waited));
    Case { record: lab.record(), imposed }
}

fn black_hole_to_upstream() -> Case {
    let lab = Lab::with_rules(Way::ToUpstream, path(NEAR), [black_hole(), passes()]);
    let (set_up, waited) = through_black_hole(&lab, 20_000, 1);
    let imposed = Imposed::on(&["network-upstream"])
        .time(Who::NetworkUpstream, waited..=set_up + waited)
        .whole(set_up + waited)
        .turns(one_unanswered(0, waited));
    Case { record: lab.record(), imposed }
}

fn black_hole_to_client() -> Case {
    let lab = Lab::with_rules(Way::ToClient, path(NEAR), [black_hole(), passes()]);
    let (_, waited) = through_black_hole(&lab, 40, 200_000);
    let imposed = Imposed::on(&["network-client"]).time(Who::NetworkClient, waited).whole(waited);
    Case { record: lab.record(), imposed }
}

/// A client sends bursts that nobody answers, and nobody waits for an answer.
fn only_requests(bursts: u32, pause: Duration, is_greeted: bool) -> Case {
    let lab = Lab::here(&[]);
    let pair = lab.pair();
    let talk = converse(&pair, &[Exchange::INSTANT][..usize::from(is_greeted)]);
    let Pair { ends: Ends { mut client, mut upstream }, .. } = pair;
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            upstream.read_exact(&mut vec![0; 600 * bursts as usize]).unwrap();
            hangs(&upstream);
        });
        for _ in 0..bursts {
            thread::sleep(pause);
            for _ in 0..3 {
                client.write_all(&[7; 200]).unwrap();
            }
        }
        client.shutdown(Shutdown::Write).unwrap();
        let _ = client.read(&mut [0]);
    });
    // The last byte is the end of it, or nothing is.
    let whole = ms(0)..=began.elapsed() + talk.set_up;
    let imposed = if pause < ms(1000) {
        // It might as well be one slow upload.
        Imposed::on(&["client", "none"]).time(Who::Client, whole.clone())
    } else {
        Imposed::on(&["none"])
    };
    Case { record: lab.record(), imposed: imposed.time(Who::Idle, whole) }
}
