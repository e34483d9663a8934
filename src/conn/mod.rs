//! The wrapper: any stream, and what happened on it.

#[cfg(feature = "hyper-util")]
mod connector;
mod context;
mod meter;
#[cfg(feature = "proxy")]
mod own;
mod report;
mod summary;
#[cfg(feature = "tokio")]
mod tokio_io;

use std::any::Any;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) use crate::clock::Epoch;
use crate::clock::Moment;

#[cfg(feature = "hyper-util")]
pub use connector::Connector;
use context::Context;
#[cfg(feature = "tokio")]
pub(crate) use meter::Blocked;
pub(crate) use meter::Meter;
#[cfg(feature = "proxy")]
pub(crate) use meter::{WINDOW_PROBE, is_on_this_machine};
#[cfg(feature = "proxy")]
pub(crate) use own::write_own;
pub use report::{EofInfo, Report};

use crate::tcp_info::Socket;

type Callback = Box<dyn FnOnce(Report) + Send>;

/// A panic stops here: whoever uses the stream goes on, and the panic hook has told of it.
fn tell(callback: Callback, report: Report) {
    drop(catch_unwind(AssertUnwindSafe(|| callback(report))));
}

/// A stream that counts what passes and asks the kernel about its socket when it opens, before its
/// own end of stream, and when it closes.
///
/// It reads and writes as the stream in it does: with [`std::io`]'s traits, and under the feature
/// `tokio` with tokio's; so it goes wherever the stream goes, under a TLS stream as well. The report is
/// complete when the connection ends: by [`close`](Self::close)
/// or by being dropped, after an error or without one. The callback given to
/// [`Builder::on_close`] then runs exactly once.
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
    look: Look<S>,
    context: Context,
    on_close: Option<Callback>,
    over: bool,
}

/// The looks at a stream's socket; chosen when the stream is wrapped, so that `Conn<S>` itself
/// asks nothing of `S`.
type Look<S> = fn(&mut Meter, &S, Stage);

#[derive(Clone, Copy)]
enum Stage {
    Open,
    Eof,
    Close,
}

fn look_at_socket<S: Socket>(meter: &mut Meter, socket: &S, stage: Stage) {
    match stage {
        Stage::Open => {
            let socket_ref = socket2::SockRef::from(socket);
            meter.local = socket_ref.local_addr().ok().and_then(|a| a.as_socket());
            meter.remote = socket_ref.peer_addr().ok().and_then(|a| a.as_socket());
            meter.look_at_open(socket);
        }
        Stage::Eof => meter.look_at_eof(socket),
        Stage::Close => meter.look_at_close(socket),
    }
}

fn look_at_nothing<S>(meter: &mut Meter, _stream: &S, _stage: Stage) {
    meter.look_failed(&crate::tcp_info::Error::NotASocket);
}

/// How a stream is wrapped: what is known of it beforehand, and who is told.
///
/// The callbacks run on whichever thread opens and ends the connection, and under no lock. A panic in
/// one ends the callback and nothing else.
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
    /// The clock that the instants in the report are told by. One of its own, unless set.
    #[cfg(feature = "stat")]
    pub(crate) fn epoch(mut self, epoch: Epoch) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Attempts that failed before this connection; they stand in the report.
    pub fn reconnects(mut self, attempts: u32) -> Self {
        self.reconnects = attempts;
        self
    }

    /// A value of the program's own that goes with the connection, such as the request that it is
    /// for: [`Conn::context`] and [`Report::context`] give it back. One value; the last one counts.
    pub fn context(mut self, value: impl Any + Send + Sync) -> Self {
        self.context = Context::new(value);
        self
    }

    /// Called once, with the report so far, before the wrapped stream is handed over.
    pub fn on_open(mut self, callback: impl FnOnce(Report) + Send + 'static) -> Self {
        self.on_open = Some(Box::new(callback));
        self
    }

    /// Called exactly once, with the complete report, when the connection ends in whichever way.
    /// The socket is still open then and closes when the callback returns, so a callback that takes
    /// long keeps the peer waiting.
    pub fn on_close(mut self, callback: impl FnOnce(Report) + Send + 'static) -> Self {
        self.on_close = Some(Box::new(callback));
        self
    }

    /// Wraps a stream that lends its socket, such as std's or tokio's `TcpStream`. A socket that the
    /// kernel has no TCP information on is wrapped all the same: `infoErr` says why.
    pub fn wrap<S: Socket>(self, stream: S) -> Conn<S> {
        self.wrap_with(stream, look_at_socket::<S>)
    }

    /// Wraps a stream that has no socket to lend: bytes, instants and errors are counted,
    /// addresses and TCP information are unknown.
    pub fn wrap_any<S>(self, stream: S) -> Conn<S> {
        self.wrap_with(stream, look_at_nothing::<S>)
    }

    fn wrap_with<S>(self, stream: S, look: Look<S>) -> Conn<S> {
        let now = Epoch::now();
        let mut meter = Meter::new(self.epoch.unwrap_or(now), now.start());
        meter.reconnects = self.reconnects;
        look(&mut meter, &stream, Stage::Open);
        let (context, on_close) = (self.context, self.on_close);
        let conn = Conn { stream, meter, look, context, on_close, over: false };
        if let Some(on_open) = self.on_open {
            tell(on_open, conn.report());
        }
        conn
    }
}

impl<S: Socket> Conn<S> {
    /// Wraps a stream and tells nobody: the report is had by [`report`](Self::report) and
    /// [`close`](Self::close).
    pub fn new(stream: S) -> Self {
        Conn::builder().wrap(stream)
    }

    /// Sends our end of stream and leaves reading open (a half-close), after a look at what the
    /// kernel knows before it.
    ///
    /// # Errors
    ///
    /// As `shutdown(2)`; the report has the error too.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.before_our_end();
        let result = socket2::SockRef::from(&self.stream).shutdown(Shutdown::Write);
        self.ended(result)
    }
}

impl Conn<()> {
    /// Options and callbacks before a stream is wrapped.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl<S> Conn<S> {
    /// The report as it is now, detached. `eofInfo` and `closedInfo` are there once their moments
    /// have come.
    pub fn report(&self) -> Report {
        Report { context: self.context.clone(), ..Report::from(&self.meter) }
    }

    /// The value that was given to [`Builder::context`]. `None` if there was none, or one of another
    /// type.
    pub fn context<C: Any>(&self) -> Option<&C> {
        self.context.get()
    }

    /// Ends the connection and returns the complete report; the callback gets the same.
    pub fn close(mut self) -> Report {
        self.finish();
        self.report()
    }

    /// The stream in it. What is read or written there is not counted; to end the stream use
    /// [`shutdown_write`](Conn::shutdown_write), which looks before it.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream in it, as [`get_ref`](Self::get_ref).
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream and what is counted on it, for a conversation before the payload.
    #[cfg(feature = "stat")]
    pub(crate) fn parts(&mut self) -> (&S, &mut Meter) {
        (&self.stream, &mut self.meter)
    }

    pub(crate) fn before_our_end(&mut self) {
        (self.look)(&mut self.meter, &self.stream, Stage::Eof);
    }

    /// Notes how our end of stream went.
    fn ended(&mut self, result: io::Result<()>) -> io::Result<()> {
        match &result {
            Ok(()) => self.meter.tx.ended = Some(Moment::now()),
            Err(error) => self.meter.tx.failed(error),
        }
        result
    }

    /// Notes a read into `room` bytes.
    fn have_read(&mut self, result: &io::Result<usize>, room: usize) {
        let now = Moment::now();
        match result {
            Ok(0) if room > 0 => {
                self.meter.rx.ended.get_or_insert(now);
            }
            Ok(0) => {}
            Ok(bytes) => self.meter.rx.moved(*bytes, now),
            Err(error) => self.meter.rx.failed(error),
        }
    }

    /// Notes a write that returned at `now`.
    fn have_written(&mut self, result: &io::Result<usize>, now: Moment) {
        match result {
            Ok(0) => {}
            Ok(bytes) => self.meter.tx.moved(*bytes, now),
            Err(error) => self.meter.tx.failed(error),
        }
    }

    /// The one way to the end: the last look, then the callback, once.
    fn finish(&mut self) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        (self.look)(&mut self.meter, &self.stream, Stage::Close);
        self.meter.closed = Some(Moment::now());
        if let Some(on_close) = self.on_close.take() {
            tell(on_close, self.report());
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
        self.have_read(&result, buf.len());
        result
    }

    fn read_vectored(&mut self, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        let room = bufs.iter().map(|buf| buf.len()).sum();
        let result = self.stream.read_vectored(bufs);
        self.have_read(&result, room);
        result
    }
}

impl<S: io::Write> io::Write for Conn<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let result = self.stream.write(buf);
        self.have_written(&result, Moment::now());
        result
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let result = self.stream.write_vectored(bufs);
        self.have_written(&result, Moment::now());
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The socket of the stream in it, so that a wrapped stream can be asked and set as a bare one.
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
