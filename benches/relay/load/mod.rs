//! The client: a process of its own that does one work through one address and says how it went.

pub(crate) mod held;
mod http;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::origin::BULK;

const CHUNK: usize = 256 << 10;
const MESSAGE: usize = 64;

/// Requests of `http-kept` before it connects anew.
const GETS_PER_CONNECTION: usize = 100;

/// The process: `KIND ADDRESS TARGET SECONDS PARALLEL`; prints numbers on one line. A proxy that is
/// to be told where to go is told TARGET.
pub(crate) fn run(args: &[String]) {
    let address: SocketAddr = args[1].parse().unwrap();
    let target: SocketAddr = args[2].parse().unwrap();
    let lasts = Duration::from_secs_f64(args[3].parse().unwrap());
    let parallel: usize = args[4].parse().unwrap();
    let connects = |connect: &(dyn Fn() -> TcpStream + Sync)| {
        print_latencies(parallel, lasts, |until| connects(connect, until))
    };
    let gets = |per_connection| {
        let get = |until| http::gets(address, target, per_connection, until);
        print_latencies(parallel, lasts, get);
    };
    match args[0].as_str() {
        "download" => println!("{}", download(address)),
        "upload" => println!("{}", upload(address)),
        "ping" => print_latencies(parallel, lasts, |until| ping(address, until)),
        "crr" => connects(&|| connect(address)),
        "crr-connect" => connects(&|| connect_by_http(address, target)),
        "crr-socks5" => connects(&|| connect_by_socks5(address, target)),
        "http-kept" => gets(GETS_PER_CONNECTION),
        "http-once" => gets(1),
        "idle" => held::idle(address, parallel),
        "pairs" => held::pairs(address, lasts),
        "storm" => held::storm(address, parallel),
        other => panic!("no such load: {other}"),
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn connect_by_http(address: SocketAddr, target: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let (mut answer, mut length) = ([0; 1024], 0);
    while !answer[..length].ends_with(b"\r\n\r\n") {
        match stream.read(&mut answer[length..]).unwrap() {
            0 => panic!("half an answer: {}", String::from_utf8_lossy(&answer[..length])),
            bytes => length += bytes,
        }
    }
    assert_eq!(&answer[8..12], b" 200", "{}", String::from_utf8_lossy(&answer[..length]));
    stream
}

fn connect_by_socks5(address: SocketAddr, target: SocketAddr) -> TcpStream {
    let SocketAddr::V4(target) = target else { panic!("{target} is no IPv4 address") };
    let mut stream = connect(address);
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut method = [0; 2];
    stream.read_exact(&mut method).unwrap();
    assert_eq!(method, [5, 0]);
    let (ip, port) = (target.ip().octets(), target.port().to_be_bytes());
    stream.write_all(&[&[5, 1, 0, 1], &ip[..], &port].concat()).unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..4], [5, 0, 0, 1]);
    stream
}

/// Seconds for all of the bytes.
fn download(address: SocketAddr) -> f64 {
    let mut stream = connect(address);
    let mut chunk = vec![0; CHUNK];
    let began = Instant::now();
    let mut received = 0;
    while let bytes @ 1.. = stream.read(&mut chunk).unwrap() {
        received += bytes as u64;
    }
    assert_eq!(received, BULK);
    began.elapsed().as_secs_f64()
}

fn upload(address: SocketAddr) -> f64 {
    let mut stream = connect(address);
    let chunk = vec![7; CHUNK];
    let began = Instant::now();
    let mut left = BULK;
    while left > 0 {
        let bytes = left.min(CHUNK as u64) as usize;
        stream.write_all(&chunk[..bytes]).unwrap();
        left -= bytes as u64;
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the end that answers ours");
    began.elapsed().as_secs_f64()
}

/// Runs `work` in parallel; prints count, seconds, median and 99th percentile in µs.
fn print_latencies(parallel: usize, lasts: Duration, work: impl Fn(Instant) -> Vec<u32> + Sync) {
    let began = Instant::now();
    let mut nanos: Vec<u32> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..parallel).map(|_| scope.spawn(|| work(began + lasts))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    nanos.sort_unstable();
    let at = |share: f64| quantile(&nanos, share) / 1e3;
    println!("{} {seconds} {} {}", nanos.len(), at(0.5), at(0.99));
}

/// The value that `share` of the sorted values do not exceed.
fn quantile<T: Copy + Into<u64>>(sorted: &[T], share: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * share) as usize;
    sorted.get(at).map_or(f64::NAN, |&value| value.into() as f64)
}

fn round_trip(stream: &mut TcpStream) {
    let mut message = [7; MESSAGE];
    stream.write_all(&message).unwrap();
    stream.read_exact(&mut message).unwrap();
}

fn ping(address: SocketAddr, until: Instant) -> Vec<u32> {
    let mut stream = connect(address);
    let mut nanos = Vec::with_capacity(1 << 20);
    loop {
        let began = Instant::now();
        if began >= until {
            return nanos;
        }
        round_trip(&mut stream);
        nanos.push(began.elapsed().as_nanos() as u32);
    }
}

fn connects(connect: impl Fn() -> TcpStream, until: Instant) -> Vec<u32> {
    let mut nanos = Vec::with_capacity(1 << 16);
    loop {
        let began = Instant::now();
        if began >= until {
            return nanos;
        }
        round_trip(&mut connect());
        nanos.push(began.elapsed().as_nanos() as u32);
    }
}
