//! Slow programs and a stopped proxy, on this machine or on the next one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::super::forwarding::Ends;
use super::super::network::Network;
use super::lab::{Lab, Pair};
use super::talk::{Exchange, converse};
use super::{Case, Cause, Imposed, Turns, Who, cause, ms};

pub(super) const CAUSES: &[Cause] = &[
    cause("slow answer, one exchange", || slow_server(1)).idle(),
    cause("slow answer, 5 exchanges with pauses", || slow_server(5)).quiet(),
    cause("idle client, instant server", idle_client).quiet(),
    cause("one slow query among 150", one_slow_query).quiet(),
    cause("delayed ACK meets Nagle at the client", nagle_at_client).quiet(),
    cause("delayed ACK meets Nagle at the upstream", nagle_at_upstream).quiet(),
    cause("late greeting", late_greeting).idle(),
    cause("slow drain after the last upstream byte", slow_drain).quiet(),
    cause("proxy stopped in the middle of a server's wait", stopped_in_wait).idle(),
    cause("proxy stopped until after a server's answer", stopped_over_answer).idle(),
];

fn conversation(exchanges: &[Exchange], names: &'static [&'static str]) -> Case {
    let lab = Lab::here(&[]);
    let pair = lab.pair();
    let talk = converse(&pair, exchanges);
    drop(pair);
    let imposed = Imposed::on(names)
        .time(Who::Upstream, talk.thought()..=talk.thought() + talk.carried())
        .time(Who::Idle, talk.paused()..=talk.paused() + talk.set_up)
        .whole(talk.whole)
        .turns(talk.turns());
    Case { record: lab.record(), imposed }
}

fn slow_server(exchanges: usize) -> Case {
    conversation(&vec![Exchange::with_think(400).after_pause(100); exchanges], &["upstream"])
}

fn idle_client() -> Case {
    conversation(&[Exchange::INSTANT.after_pause(200); 6], &["none"])
}

fn one_slow_query() -> Case {
    let mut exchanges = [Exchange::INSTANT.after_pause(10); 150];
    exchanges[70] = Exchange::with_think(400).after_pause(10);
    let case = conversation(&exchanges, &["upstream"]);
    // To pass a request and its answer on takes the proxy a moment, 150 times.
    let work = Duration::ZERO..=Duration::from_millis(45);
    Case { imposed: case.imposed.time(Who::Proxy, work), ..case }
}

const HALVES: usize = 25;

/// Half of a message.
const HALF: usize = 200;

/// How long the second half came after the first one.
fn receive_halves(mut stream: &TcpStream) -> Duration {
    stream.read_exact(&mut [0; HALF]).unwrap();
    let first = Instant::now();
    stream.read_exact(&mut [0; HALF]).unwrap();
    first.elapsed()
}

/// Writes both halves at once, to a socket that sends one at a time.
fn send_halves(mut stream: &TcpStream) {
    stream.write_all(&[7; HALF]).unwrap();
    stream.write_all(&[7; HALF]).unwrap();
}

fn nagle_at_client() -> Case {
    let lab = Lab::here(&[]);
    let Pair { ends: Ends { mut client, mut upstream }, .. } = lab.pair();
    client.set_nodelay(false).unwrap();
    let held: Duration = thread::scope(|scope| {
        let server = scope.spawn(move || {
            let serve = |_| {
                let held = receive_halves(&upstream);
                upstream.write_all(&[7]).unwrap();
                held
            };
            (0..HALVES).map(serve).sum()
        });
        for _ in 0..HALVES {
            send_halves(&client);
            client.read_exact(&mut [0]).unwrap();
        }
        server.join().unwrap()
    });
    drop(client);
    let imposed = Imposed::on(&["client"])
        .time(Who::Client, held)
        .turns(Turns::answered(HALVES as u64, ms(0)..=ms(40)))
        .provided(held > ms(500), format!("the halves were held ({held:?})"));
    Case { record: lab.record(), imposed }
}

fn nagle_at_upstream() -> Case {
    let lab = Lab::here(&[]);
    let Pair { ends: Ends { mut client, mut upstream }, .. } = lab.pair();
    upstream.set_nodelay(false).unwrap();
    let held: Duration = thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..HALVES {
                upstream.read_exact(&mut [0; HALF]).unwrap();
                send_halves(&upstream);
            }
        });
        let ask = |_| {
            client.write_all(&[7; HALF]).unwrap();
            receive_halves(&client)
        };
        (0..HALVES).map(ask).sum()
    });
    drop(client);
    let imposed = Imposed::on(&["upstream"])
        .time(Who::Upstream, held)
        .turns(Turns::answered(HALVES as u64, ms(0)..=ms(40)))
        .provided(held > ms(500), format!("the halves were held ({held:?})"));
    Case { record: lab.record(), imposed }
}

/// The server speaks first, after 300 ms; then all goes at once.
fn late_greeting() -> Case {
    let lab = Lab::here(&[]);
    let pair = lab.pair();
    thread::sleep(ms(300));
    (&pair.ends.upstream).write_all(b"220 ready\r\n").unwrap();
    let late = pair.began.elapsed();
    (&pair.ends.client).read_exact(&mut [0; 11]).unwrap();
    let talk = converse(&pair, &[Exchange::INSTANT.after_pause(50); 3]);
    drop(pair);
    let imposed = Imposed::on(&["upstream"])
        .time(Who::Upstream, ms(300)..=late)
        .time(Who::Idle, talk.paused())
        .whole(talk.whole)
        .turns(talk.turns());
    Case { record: lab.record(), imposed }
}

/// The upstream has sent all, the proxy has taken all, and the client reads on.
fn slow_drain() -> Case {
    const ANSWER: usize = 1_000_000;
    const BUFFER: usize = 32 * 1024;
    const PIECE: usize = 20_000;
    const PACE: Duration = ms(30);
    let lab = Lab::over(Network::new(), &[]);
    let Pair { ends: Ends { mut client, mut upstream }, .. } =
        lab.pair_with_receive_buffer(Some(BUFFER));
    let (written, read, asked) = thread::scope(|scope| {
        let server = scope.spawn(move || {
            upstream.read_exact(&mut [0]).unwrap();
            upstream.write_all(&vec![7; ANSWER]).unwrap();
            (Instant::now(), upstream)
        });
        let asked = Instant::now();
        client.write_all(b"?").unwrap();
        for _ in 0..ANSWER / PIECE {
            thread::sleep(PACE);
            client.read_exact(&mut [0; PIECE]).unwrap();
        }
        let read = Instant::now();
        let (written, _upstream) = server.join().unwrap();
        drop(client);
        (written, read, asked)
    });
    let whole = read - asked;
    // What the client's own kernel holds needs none of the proxy's time.
    let in_buffer = PACE * u32::try_from(2 * BUFFER / PIECE + 1).unwrap();
    let imposed = Imposed::on(&["client"])
        .time(Who::Client, whole.saturating_sub(in_buffer)..=whole)
        .turns(Turns::answered(1, ms(0)))
        .provided(
            read - written > ms(700),
            format!("the upstream was done ({:?})", read - written),
        );
    Case { record: lab.record(), imposed }
}

/// A server thinks so long; the proxy stands still from 300 ms on until `until`.
fn stopped(think: Duration, until: Duration) -> (Lab, Pair, Duration, Duration) {
    let lab = Lab::here(&[]);
    let pair = lab.pair();
    let Ends { client, upstream } = &pair.ends;
    let (thought, stopped_after) = thread::scope(|scope| {
        let server = scope.spawn(move || {
            let mut upstream = upstream;
            upstream.read_exact(&mut [0]).unwrap();
            let heard = Instant::now();
            thread::sleep(think);
            let thought = heard.elapsed();
            upstream.write_all(&[7]).unwrap();
            (thought, Instant::now())
        });
        let mut client: &TcpStream = client;
        let began = Instant::now();
        client.write_all(b"?").unwrap();
        thread::sleep(ms(300));
        lab.forwarding.proxy.pause();
        thread::sleep(until.saturating_sub(began.elapsed()));
        lab.forwarding.proxy.resume();
        let resumed = Instant::now();
        client.read_exact(&mut [0]).unwrap();
        let (thought, answered) = server.join().unwrap();
        (thought, resumed.saturating_duration_since(answered))
    });
    (lab, pair, thought, stopped_after)
}

fn stopped_in_wait() -> Case {
    let (lab, pair, thought, _) = stopped(ms(1000), ms(600));
    drop(pair);
    let imposed =
        Imposed::on(&["upstream"]).time(Who::Upstream, thought).turns(Turns::answered(1, thought));
    Case { record: lab.record(), imposed }
}

fn stopped_over_answer() -> Case {
    let (lab, pair, thought, late) = stopped(ms(500), ms(1300));
    drop(pair);
    let imposed = Imposed::on(&["proxy"])
        .time(Who::Upstream, thought)
        .time(Who::Proxy, late)
        .whole(thought + late)
        .turns(Turns::answered(1, thought + late));
    Case { record: lab.record(), imposed }
}
