//! The wrapper: any stream, with a report of its connection.

#[cfg(feature = "hyper-util")]
mod connector;
mod context;
mod display;
mod meter;
mod report;
#[cfg(feature = "tokio")]
mod tokio_io;
#[cfg(feature = "proxy")]
mod write_own;

use std::any::Any;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::clock::CompactInstant;
pub(crate) use crate::clock::Epoch;

#[cfg(feature = "hyper-util")]
pub use connector::Connector;
use context::Context;
#[cfg(feature = "tokio")]
pub(crate) use meter::Blocked;
pub(crate) use meter::Meter;
#[cfg(feature = "proxy")]
pub(crate) use meter::OtherPairs;
#[cfg(feature = "proxy")]
pub(crate) use meter::{WINDOW_PROBE, is_on_this_machine};
pub use report::{EofInfo, Report};
#[cfg(feature = "proxy")]
pub(crate) use write_own::write_own;

use crate::tcp_info::Socket;

type Callback = Box<dyn FnOnce(Report) + Send>;

/// Runs a callback. A panic in it does not reach the user of the stream; the panic hook reports it.
fn run_callback(callback: Callback, report: Report) {
    drop(catch_unwind(AssertUnwindSafe(|| callback(report))));
}

/// A stream that counts what passes and asks the kernel about its socket when it opens, before its
/// own end of stream, and when it closes.
///
/// It reads and writes like the inner stream: with the traits of [`std::io`], and with the feature
/// `tokio` those of tokio. So it can replace the stream anywhere, also under TLS. The report is
/// complete when the connection ends: by [`close`](Self::close) or by being dropped, after an error
/// or without one. The callback given to [`Builder::on_close`] then runs exactly once.
///
/// ```
/// use std::io::Write;
/// # fn main() -> std::io::Result<()> {
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let address = listener.local_addr()?;
/// let stream = std::net::TcpStream::connect(address)?;
/// let mut conn = conniver::Conn::new(stream);
/// conn.write_all(b"hello")?;
/// let report = conn.close();
/// assert_eq!(report.tx_bytes, 5);
/// # Ok(())
/// # }
/// ```
pub struct Conn<S> {
    stream: S,
    meter: Meter,
    take_snapshot: SnapshotFn<S>,
    context: Context,
    on_close: Option<Callback>,
    is_finished: bool,
}

/// Takes snapshots of a stream's socket; chosen when the stream is wrapped, so that `Conn<S>` has
/// no bounds on `S`.
type SnapshotFn<S> = fn(&mut Meter, &S, Stage);

#[derive(Clone, Copy)]
enum Stage {
    Open,
    Eof,
    Close,
}

fn snapshot_socket<S: Socket>(meter: &mut Meter, socket: &S, stage: Stage) {
    match stage {
        Stage::Open => {
            let socket_ref = socket2::SockRef::from(socket);
            meter.local = socket_ref.local_addr().ok().and_then(|a| a.as_socket());
            meter.remote = socket_ref.peer_addr().ok().and_then(|a| a.as_socket());
            meter.snapshot_open(socket);
        }
        Stage::Eof => meter.snapshot_eof(socket),
        Stage::Close => meter.snapshot_close(socket),
    }
}

fn snapshot_nothing<S>(meter: &mut Meter, _stream: &S, _stage: Stage) {
    meter.note_snapshot_error(&crate::tcp_info::Error::NotASocket);
}

/// Options and callbacks for wrapping a stream.
///
/// The callbacks run on the thread that opens or ends the connection, without any lock. A panic in
/// one ends only the callback.
#[derive(Default)]
#[must_use]
pub struct Builder {
    reconnects: u32,
    epoch: Option<Epoch>,
    context: Context,
    on_open: Option<Callback>,
    on_close: Option<Callback>,
}

impl Builder {
    /// The clock of the instants in the report. Default: one of its own.
    #[cfg(feature = "stat")]
    pub(crate) fn epoch(mut self, epoch: Epoch) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Number of failed attempts before this connection, for the report.
    pub fn reconnects(mut self, attempts: u32) -> Self {
        self.reconnects = attempts;
        self
    }

    /// Attaches a value to the connection, such as the request that it is for: [`Conn::context`]
    /// and [`Report::context`] return it. There is one value; the last one set counts.
    pub fn context(mut self, value: impl Any + Send + Sync) -> Self {
        self.context = Context::new(value);
        self
    }

    /// Called once, with the report so far, before the wrapped stream is handed over.
    pub fn on_open(mut self, callback: impl FnOnce(Report) + Send + 'static) -> Self {
        self.on_open = Some(Box::new(callback));
        self
    }

    /// Called exactly once, with the complete report, when the connection ends in any way. The
    /// socket closes when the callback returns, so a slow callback keeps the peer waiting.
    pub fn on_close(mut self, callback: impl FnOnce(Report) + Send + 'static) -> Self {
        self.on_close = Some(Box::new(callback));
        self
    }

    /// Wraps a stream with a socket, such as the `TcpStream` of std or tokio. A socket without TCP
    /// information is wrapped as well; `infoErr` then says why.
    pub fn wrap<S: Socket>(self, stream: S) -> Conn<S> {
        self.wrap_with(stream, snapshot_socket::<S>)
    }

    /// Wraps a stream without a socket: bytes, instants and errors are recorded, addresses and TCP
    /// information are unknown.
    pub fn wrap_any<S>(self, stream: S) -> Conn<S> {
        self.wrap_with(stream, snapshot_nothing::<S>)
    }

    fn wrap_with<S>(self, stream: S, take_snapshot: SnapshotFn<S>) -> Conn<S> {
        let now = Epoch::now();
        let mut meter = Meter::new(self.epoch.unwrap_or(now), now.start());
        meter.reconnects = self.reconnects;
        take_snapshot(&mut meter, &stream, Stage::Open);
        let (context, on_close) = (self.context, self.on_close);
        let conn = Conn { stream, meter, take_snapshot, context, on_close, is_finished: false };
        if let Some(on_open) = self.on_open {
            run_callback(on_open, conn.report());
        }
        conn
    }
}

impl<S: Socket> Conn<S> {
    /// Wraps a stream without callbacks: the report is available by [`report`](Self::report) and
    /// [`close`](Self::close).
    pub fn new(stream: S) -> Self {
        Conn::builder().wrap(stream)
    }

    /// Sends our end of stream and leaves reading open (a half-close), after taking a snapshot.
    ///
    /// # Errors
    ///
    /// Like `shutdown(2)`; the error is also in the report.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.snapshot_before_eof();
        let result = socket2::SockRef::from(&self.stream).shutdown(Shutdown::Write);
        self.note_shutdown(result)
    }
}

impl Conn<()> {
    /// Options and callbacks before a stream is wrapped.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl<S> Conn<S> {
    /// The report so far. `eofInfo` and `closedInfo` are `None` until the connection ends.
    pub fn report(&self) -> Report {
        Report { context: self.context.clone(), ..Report::from(&self.meter) }
    }

    /// The value that was given to [`Builder::context`]. `None` if there was none, or one of another
    /// type.
    pub fn context<C: Any>(&self) -> Option<&C> {
        self.context.get()
    }

    /// Ends the connection and returns the complete report; the callback gets the same report.
    pub fn close(mut self) -> Report {
        self.finish();
        self.report()
    }

    /// The inner stream. Bytes read or written on it are not counted; to end the stream use
    /// [`shutdown_write`](Conn::shutdown_write), which takes a snapshot first.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The inner stream, like [`get_ref`](Self::get_ref).
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The inner stream and its counters, for a conversation before the payload.
    #[cfg(feature = "stat")]
    pub(crate) fn parts(&mut self) -> (&S, &mut Meter) {
        (&self.stream, &mut self.meter)
    }

    pub(crate) fn snapshot_before_eof(&mut self) {
        (self.take_snapshot)(&mut self.meter, &self.stream, Stage::Eof);
    }

    /// Notes the result of our end of stream.
    fn note_shutdown(&mut self, result: io::Result<()>) -> io::Result<()> {
        match &result {
            Ok(()) => self.meter.tx.ended = Some(CompactInstant::now()),
            Err(error) => self.meter.tx.note_error(error),
        }
        result
    }

    /// Notes a read into `room` bytes.
    fn note_read(&mut self, result: &io::Result<usize>, room: usize) {
        let now = CompactInstant::now();
        match result {
            Ok(0) if room > 0 => {
                self.meter.rx.ended.get_or_insert(now);
            }
            Ok(0) => {}
            Ok(bytes) => self.meter.rx.count(*bytes, now),
            Err(error) => self.meter.rx.note_error(error),
        }
    }

    /// Notes a write that returned at `now`.
    fn note_write(&mut self, result: &io::Result<usize>, now: CompactInstant) {
        match result {
            Ok(0) => {}
            Ok(bytes) => self.meter.tx.count(*bytes, now),
            Err(error) => self.meter.tx.note_error(error),
        }
    }

    /// Ends the connection, once: takes the last snapshot, then runs the callback.
    fn finish(&mut self) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        (self.take_snapshot)(&mut self.meter, &self.stream, Stage::Close);
        self.meter.closed = Some(CompactInstant::now());
        if let Some(on_close) = self.on_close.take() {
            run_callback(on_close, self.report());
        }
    }
}

impl<S> Drop for Conn<S> {
    fn drop(&mut self) {
        self.finish();
    }
}

impl<S: io::Read> io::Read for Conn<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let result = self.stream.read(buf);
        self.note_read(&result, buf.len());
        result
    }

    fn read_vectored(&mut self, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        let room = bufs.iter().map(|buf| buf.len()).sum();
        let result = self.stream.read_vectored(bufs);
        self.note_read(&result, room);
        result
    }
}

impl<S: io::Write> io::Write for Conn<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let result = self.stream.write(buf);
        self.note_write(&result, CompactInstant::now());
        result
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let result = self.stream.write_vectored(bufs);
        self.note_write(&result, CompactInstant::now());
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The socket of the inner stream.
#[cfg(unix)]
impl<S: std::os::fd::AsFd> std::os::fd::AsFd for Conn<S> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The socket of the stream in it, so that a wrapped stream can be asked and set as a bare one.
#[cfg(windows)]
impl<S: std::os::windows::io::AsSocket> std::os::windows::io::AsSocket for Conn<S> {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.stream.as_socket()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("reconnects", &self.reconnects)
            .field("context", &self.context)
            .field("on_open", &self.on_open.is_some())
            .field("on_close", &self.on_close.is_some())
            .finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for Conn<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("stream", &self.stream).finish_non_exhaustive()
    }
}
