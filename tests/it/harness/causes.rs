//! Pairs of which one part is slow, because the test makes it so: what the record should say.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use conniver::record::Record;

use super::forwarding::{Ends, Forwarding};
use super::lossy_path::Path;
use super::network::{FAR, FAR_AND_LOSSY, Network, Way};
use super::program::BINARY;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Sends `pieces` of `size` bytes with a pause before each but the first.
fn send(mut stream: &TcpStream, pieces: usize, size: usize, pause: Duration) {
    let piece = vec![7; size];
    for number in 0..pieces {
        if number > 0 {
            thread::sleep(pause);
        }
        stream.write_all(&piece).unwrap();
    }
}

/// Reads to the end of stream, with a pause after each read.
fn receive(mut stream: &TcpStream, at_most: usize, pause: Duration) {
    let mut room = vec![0; at_most];
    loop {
        match stream.read(&mut room) {
            Ok(0) => return,
            Ok(_) => thread::sleep(pause),
            // A socket with a time-out for reads gives up at any signal.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// One side sends, the other one receives, each at its pace; the receiver's end comes second.
fn stream(
    from: TcpStream,
    to: TcpStream,
    send: impl FnOnce(&TcpStream) + Send,
    receive: impl FnOnce(&TcpStream),
) {
    thread::scope(|scope| {
        scope.spawn(|| {
            send(&from);
            from.shutdown(Shutdown::Write).unwrap();
        });
        receive(&to);
    });
}

/// Requests of a byte and their answers; pauses before each request and before each answer.
fn converse(Ends { client, upstream }: Ends, before_request: Duration, before_answer: Duration) {
    const EXCHANGES: usize = 8;
    const ANSWER: usize = 20_000;
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..EXCHANGES {
                (&upstream).read_exact(&mut [0]).unwrap();
                thread::sleep(before_answer);
                (&upstream).write_all(&[7; ANSWER]).unwrap();
            }
        });
        for _ in 0..EXCHANGES {
            thread::sleep(before_request);
            (&client).write_all(b"?").unwrap();
            (&client).read_exact(&mut [0; ANSWER]).unwrap();
        }
    });
}

pub(crate) fn a_client_that_reads_slowly() -> Record {
    let forwarding = Forwarding::new(&[]);
    let Ends { client, upstream } = forwarding.pair();
    let sends = |stream: &TcpStream| send(stream, 30, 1_000_000, ms(0));
    stream(upstream, client, sends, |stream| receive(stream, 300_000, ms(10)));
    forwarding.proxy.the_record()
}

pub(crate) fn an_upstream_that_thinks() -> Record {
    let forwarding = Forwarding::new(&[]);
    converse(forwarding.pair(), ms(0), ms(60));
    forwarding.proxy.the_record()
}

pub(crate) fn an_upstream_that_sends_slowly() -> Record {
    let forwarding = Forwarding::new(&[]);
    let Ends { client, upstream } = forwarding.pair();
    let sends = |stream: &TcpStream| send(stream, 40, 4096, ms(10));
    stream(upstream, client, sends, |stream| receive(stream, 65_536, ms(0)));
    forwarding.proxy.the_record()
}

pub(crate) fn a_client_that_uploads_slowly() -> Record {
    let forwarding = Forwarding::new(&[]);
    let Ends { client, upstream } = forwarding.pair();
    let sends = |stream: &TcpStream| send(stream, 40, 4096, ms(10));
    stream(client, upstream, sends, |stream| receive(stream, 65_536, ms(0)));
    forwarding.proxy.the_record()
}

pub(crate) fn a_client_that_idles_between_instant_answers() -> Record {
    let forwarding = Forwarding::new(&[]);
    converse(forwarding.pair(), ms(60), ms(0));
    forwarding.proxy.the_record()
}

/// Paused for a second while an upstream sends, a little at a time or all that it can.
pub(crate) fn a_paused_proxy(pieces: usize, size: usize, pause: Duration) -> Record {
    let forwarding = Forwarding::new(&[]);
    let Ends { client, upstream } = forwarding.pair();
    let sends = |stream: &TcpStream| send(stream, pieces, size, pause);
    stream(upstream, client, sends, |mut stream| {
        stream.read_exact(&mut vec![0; size * 10]).unwrap();
        forwarding.proxy.pause();
        thread::sleep(ms(1000));
        forwarding.proxy.resume();
        receive(stream, 1 << 20, ms(0));
    });
    forwarding.proxy.the_record()
}

pub(crate) fn a_proxy_that_is_paused_while_little_comes() -> Record {
    a_paused_proxy(30, 4096, ms(10))
}

pub(crate) fn a_proxy_that_is_paused_in_a_fast_stream() -> Record {
    a_paused_proxy(100, 1 << 20, ms(0))
}

pub(crate) fn a_short_exchange_without_pauses() -> Record {
    let forwarding = Forwarding::new(&[]);
    converse(forwarding.pair(), ms(0), ms(0));
    forwarding.proxy.the_record()
}

/// The end from which this way leads sends so much, the other one receives at this pace.
fn carry(
    network: &Network,
    way: Way,
    sends: impl FnOnce(&TcpStream) + Send,
    receives: impl FnOnce(&TcpStream),
) -> Record {
    let forwarding = network.forwarding(&[]);
    let Ends { client, upstream } = network.pair(&forwarding);
    let (from, to) = match way {
        Way::ToClient | Way::FromUpstream => (upstream, client),
        Way::ToUpstream => (client, upstream),
    };
    stream(from, to, sends, receives);
    forwarding.proxy.the_record()
}

fn at_full_speed(stream: &TcpStream) {
    receive(stream, 1 << 20, ms(0));
}

fn a_rate_limited_path(way: Way, congestion: &str) -> Record {
    let network = Network::new();
    network.control(way, congestion);
    network.limit(way);
    carry(&network, way, |stream| send(stream, 12, 1_000_000, ms(0)), at_full_speed)
}

pub(crate) fn a_rate_limited_path_to_the_client() -> Record {
    a_rate_limited_path(Way::ToClient, "bbr")
}

pub(crate) fn a_rate_limited_path_to_the_client_under_cubic() -> Record {
    a_rate_limited_path(Way::ToClient, "cubic")
}

pub(crate) fn a_rate_limited_path_to_the_upstream() -> Record {
    a_rate_limited_path(Way::ToUpstream, "bbr")
}

pub(crate) fn a_rate_limited_path_to_the_upstream_under_cubic() -> Record {
    a_rate_limited_path(Way::ToUpstream, "cubic")
}

/// A client that takes so much every 10 ms, on a path that has none to lose.
fn a_client_that_reads_slowly_over(
    network: &Network,
    congestion: &str,
    at_once: usize,
    times: usize,
) -> Record {
    network.control(Way::ToClient, congestion);
    let sends = |stream: &TcpStream| send(stream, times, at_once, ms(0));
    carry(network, Way::ToClient, sends, |stream| receive(stream, at_once, ms(10)))
}

pub(crate) fn a_client_on_another_machine_that_reads_slowly() -> Record {
    a_client_that_reads_slowly_over(&Network::new(), "bbr", 100_000, 240)
}

pub(crate) fn a_client_on_another_machine_that_reads_slowly_under_cubic() -> Record {
    a_client_that_reads_slowly_over(&Network::new(), "cubic", 100_000, 240)
}

/// 2 MB/s, because CUBIC may stay below 5 MB/s for seconds on such a path.
fn a_client_far_away(congestion: &str) -> Record {
    let network = Network::with(Way::ToClient, FAR);
    a_client_that_reads_slowly_over(&network, congestion, 20_000, 450)
}

pub(crate) fn a_client_far_away_that_reads_slowly() -> Record {
    a_client_far_away("bbr")
}

pub(crate) fn a_client_far_away_that_reads_slowly_under_cubic() -> Record {
    a_client_far_away("cubic")
}

pub(crate) fn a_sender_that_paces_over_a_rate_limited_path() -> Record {
    let network = Network::new();
    network.limit(Way::ToClient);
    let sends = |stream: &TcpStream| send(stream, 30, 4096, ms(15));
    carry(&network, Way::ToClient, sends, at_full_speed)
}

fn a_sender_that_paces_small_messages(way: Way) -> Record {
    let sends = |stream: &TcpStream| send(stream, 30, 4096, ms(30));
    carry(&Network::with(way, FAR), way, sends, at_full_speed)
}

pub(crate) fn a_sender_that_paces_small_messages_over_a_long_path() -> Record {
    a_sender_that_paces_small_messages(Way::ToClient)
}

pub(crate) fn a_sender_that_paces_small_messages_from_afar() -> Record {
    a_sender_that_paces_small_messages(Way::FromUpstream)
}

fn a_long_lossy_path(way: Way, congestion: &str, path: Path, bytes: usize) -> Record {
    let network = Network::with(way, path);
    network.control(way, congestion);
    carry(&network, way, |stream| send(stream, 1, bytes, ms(0)), at_full_speed)
}

pub(crate) fn a_long_lossy_path_to_the_client_under_cubic() -> Record {
    a_long_lossy_path(Way::ToClient, "cubic", FAR_AND_LOSSY, 1_000_000)
}

pub(crate) fn a_long_lossy_path_to_the_client_under_bbr() -> Record {
    a_long_lossy_path(Way::ToClient, "bbr", FAR_AND_LOSSY, 3_000_000)
}

pub(crate) fn a_long_lossy_path_to_the_upstream_under_cubic() -> Record {
    a_long_lossy_path(Way::ToUpstream, "cubic", FAR_AND_LOSSY, 1_000_000)
}

pub(crate) fn a_long_lossy_path_to_the_upstream_under_bbr() -> Record {
    a_long_lossy_path(Way::ToUpstream, "bbr", FAR_AND_LOSSY, 3_000_000)
}

pub(crate) fn a_long_lossy_path_from_the_upstream_under_cubic() -> Record {
    a_long_lossy_path(Way::FromUpstream, "cubic", FAR_AND_LOSSY, 1_000_000)
}

pub(crate) fn a_long_lossy_path_from_the_upstream_under_bbr() -> Record {
    a_long_lossy_path(Way::FromUpstream, "bbr", FAR_AND_LOSSY, 3_000_000)
}

pub(crate) fn a_long_path_from_the_upstream_that_loses_little() -> Record {
    let path = Path { loses: Some(500), ..FAR_AND_LOSSY };
    a_long_lossy_path(Way::FromUpstream, "cubic", path, 4_000_000)
}

pub(crate) fn a_fast_clean_transfer() -> Record {
    let forwarding =
        Forwarding::to(TcpListener::bind("127.0.0.1:0").unwrap(), &mut Command::new(BINARY), &[]);
    let Ends { client, upstream } = forwarding.pair();
    stream(upstream, client, |stream| send(stream, 200, 1_000_000, ms(0)), at_full_speed);
    forwarding.proxy.the_record()
}
