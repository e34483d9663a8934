//! Records of connections for a program's own tests.
//!
//! A [`Recorder`] runs between the tested program and a server: the program connects to
//! [`address`](Recorder::address) instead, and the test gets the records at the end.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//!
//! use conniver::testing::Recorder;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = TcpListener::bind("127.0.0.1:0")?;
//! # let to = server.local_addr()?;
//! # let echo = std::thread::spawn(move || -> std::io::Result<()> {
//! #     let (mut stream, _) = server.accept()?;
//! #     let mut request = [0; 4];
//! #     stream.read_exact(&mut request)?;
//! #     stream.write_all(b"pong")
//! # });
//! let recorder = Recorder::to(to)?;
//! let mut client = TcpStream::connect(recorder.address())?;
//! client.write_all(b"ping")?;
//! client.read_to_string(&mut String::new())?;
//! drop(client);
//!
//! let records = recorder.finish();
//! assert_eq!(records.len(), 1);
//! assert_eq!(records[0].client.rx_bytes, 4);
//! # echo.join().expect("the server ends")?;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::output;
use crate::proxy::{Listener, Proxy, Settings, Shutdown};
use crate::record::Record;
use crate::target::Target;

/// A proxy in a separate thread that forwards to one target and keeps the records.
#[derive(Debug)]
#[must_use = "dropped at once, it forwards nothing"]
pub struct Recorder {
    address: SocketAddr,
    records: mpsc::Receiver<Record>,
    /// Dropped, it ends the proxy.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Recorder {
    /// Forwards a free port on loopback to this target: an address, or a name and a port.
    ///
    /// # Errors
    ///
    /// The target is invalid, or the system refuses a port, a thread or resources of the runtime.
    pub fn to(target: impl TryInto<Target, Error: fmt::Display>) -> io::Result<Self> {
        Self::with(Settings::default(), target)
    }

    /// Like [`to`](Self::to), with settings: [`drain`](Settings::drain) is how long
    /// [`finish`](Self::finish) waits for connections that are open.
    ///
    /// # Errors
    ///
    /// As [`to`](Self::to).
    pub fn with(
        settings: Settings,
        target: impl TryInto<Target, Error: fmt::Display>,
    ) -> io::Result<Self> {
        let invalid = |error: &dyn fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
        };
        let target = target.try_into().map_err(|error| invalid(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _within = runtime.enter();
            let on = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            Listener::forward_on(on, target).map_err(|error| error.error)?
        };
        let address = listener.local_addr();
        let (told, records) = mpsc::channel();
        let proxy = Proxy::new(settings, output::Recorder::default(), vec![listener])
            // A dropped recorder needs no records.
            .on_close(move |record| drop(told.send(record.clone())));
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("conniver".to_owned()).spawn(move || {
            let stopped = async { drop(stopped.await) };
            runtime.block_on(proxy.run(Shutdown::graceful(stopped)));
            // A look-up that hangs in the resolver must not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(Self { address, records, stop, thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the record of the next pair that ends. `None` if none does within `timeout`.
    pub fn next(&self, timeout: Duration) -> Option<Record> {
        self.records.recv_timeout(timeout).ok()
    }

    /// Stops accepting, waits until open pairs have ended, and returns all records that
    /// [`next`](Self::next) did not, in the order in which they ended.
    pub fn finish(self) -> Vec<Record> {
        let Self { records, stop, thread, .. } = self;
        drop(stop);
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
        records.try_iter().collect()
    }
}
