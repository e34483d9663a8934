//! Programs that others wrote, as clients of the proxy and as the servers behind it.

use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command};
use std::sync::mpsc::Receiver;

use conniver::TcpInfo;
use conniver::record::{By, How, Mode, Outcome, Record};

use super::output;
use super::program::PATIENCE;

/// The standard output of a client, which shall not know the proxies that this machine's user has set.
pub(crate) fn client(command: &mut Command) -> Vec<u8> {
    output(without_proxies(command)).stdout
}

/// Far from the proxies of whoever runs the tests.
pub(crate) fn without_proxies(command: &mut Command) -> &mut Command {
    for variable in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(variable).env_remove(variable.to_uppercase());
    }
    command
}

/// A server that ends with the test.
pub(crate) struct Server(pub(crate) Child);

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Payload bytes of one connection, as its server's kernel counted them.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Counts {
    /// Of a connection that the server has done with; waits for the other side's end.
    pub(crate) fn of(mut stream: &TcpStream) -> Self {
        stream.shutdown(Shutdown::Write).unwrap();
        // The server's doing counts for every descriptor of the socket.
        stream.set_nonblocking(false).unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        let info = TcpInfo::of(stream).unwrap();
        let kernel = info.sys_info.linux().unwrap();
        Self {
            // The other side's FIN is counted as a byte.
            received: kernel.bytes_received.unwrap() - 1,
            sent: kernel.bytes_sent.unwrap() - kernel.bytes_retrans.unwrap(),
        }
    }

    /// What the record says of the upstream.
    pub(crate) fn in_record(record: &Record) -> Self {
        let upstream = record.upstream.as_ref().unwrap();
        Self { received: upstream.tx_bytes, sent: upstream.rx_bytes }
    }

    /// The records tell what the server counted, of whichever connection each was.
    pub(crate) fn assert_recorded(records: &[Record], served: &Receiver<Self>) {
        let mut recorded: Vec<_> = records.iter().map(Self::in_record).collect();
        let mut served: Vec<_> =
            records.iter().map(|_| served.recv_timeout(PATIENCE).unwrap()).collect();
        recorded.sort();
        served.sort();
        assert_eq!(recorded, served);
    }
}

/// A pair that ended well, and whose payload crossed as it was.
pub(crate) fn assert_tunnelled(record: &Record, target: &str, mode: Mode) {
    assert_eq!((record.target.as_deref(), record.mode), (Some(target), Some(mode)));
    assert_eq!(record.outcome, Some(Outcome::Ok), "{record:?}");
    let (client, upstream) = (&record.client, record.upstream.as_ref().unwrap());
    assert_eq!(client.rx_bytes - client.own_rx_bytes, upstream.tx_bytes);
    assert_eq!(client.tx_bytes - client.own_tx_bytes, upstream.rx_bytes);
}

/// The same of a client of TLS, which does not wait for the server's last words. A server as near as
/// one on this machine may say them before the client has closed; then it closes with something
/// unread, which is a reset.
pub(crate) fn assert_tls_tunnelled(record: &Record, target: &str) {
    assert_eq!((record.target.as_deref(), record.mode), (Some(target), Some(Mode::Connect)));
    let ending = record.ending.as_ref().unwrap();
    let by_client = match ending.first_by {
        By::Client => Some(ending.first_how),
        _ => ending.second_how,
    };
    // It is known to be a good end where the last words were not acknowledged.
    let is_good = record.outcome == Some(Outcome::Ok)
        || (record.outcome, by_client) == (Some(Outcome::Reset), Some(How::Reset));
    assert!(is_good, "{record:?}");
    let (client, upstream) = (&record.client, record.upstream.as_ref().unwrap());
    assert_eq!(client.rx_bytes - client.own_rx_bytes, upstream.tx_bytes);
    assert!(record.delivery.to_client.as_ref().unwrap().undelivered.unwrap() < 100, "{record:?}");
}
