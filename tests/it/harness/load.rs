//! Load: clients that come one after the other while something happens to the program.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use super::peers::exchange;
use super::program::PATIENCE;

/// At a time.
const CLIENTS: usize = 4;

/// Connections that each client still makes when the work is done.
const AFTER: usize = 20;

/// One exchange over each connection to an echo behind `address`, while `work` is done and for a
/// while after it: how many there were. All must be served.
pub(crate) fn under_load(address: SocketAddr, work: impl FnOnce()) -> usize {
    let done = AtomicBool::new(false);
    let client = || {
        let (mut made, mut after) = (0, 0);
        while after < AFTER {
            after += usize::from(done.load(Ordering::Relaxed));
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(exchange(&mut client, b"x"), b"x");
            // Its pair has ended before the next one begins.
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            made += 1;
        }
        made
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        work();
        done.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    })
}
