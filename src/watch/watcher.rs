//! The loop of a watch: events as they come, dumps at an interval.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::cgroup::Cgroup;
use super::ended::EndEvent;
use super::lines::LineMaker;
use super::programs::Programs;
use super::table::Table;
use super::{Settings, Summary, WatchError};
use crate::clock::{self, Epoch};
use crate::fault::text_of;
use crate::log_throttle::LogThrottle;
use crate::output::Recorder;
use crate::record::Socket;
use crate::sockets::{DestroyEvents, Dumper, processor_time};

/// Dumps take at most one part in this many of the time.
const SHARE: u32 = 10;

/// Events that the kernel has not passed on yet when the watch ends come within this time.
const LAST_EVENTS: Duration = Duration::from_millis(50);

/// After an overflow, the second dump shows what is gone for certain.
const DUMPS_AFTER_OVERFLOW: u8 = 2;

/// Watches sockets. [`open`](Self::open) has made the first dump; [`run`](Self::run) does the rest, on
/// the calling thread.
#[derive(Debug)]
pub struct Watch {
    dumper: Dumper,
    events: DestroyEvents,
    table: Table,
    lines: LineMaker,
    programs: Option<Programs>,
    cgroup: Option<Cgroup>,
    stop: Arc<OwnedFd>,
    dumps: u64,
    /// When the next dump is due, and before when it would take too much of the time.
    due: Instant,
    earliest: Instant,
    overflows: u64,
    /// Dumps until an overflow is written.
    until_told: Option<u8>,
    throttle: LogThrottle,
}

/// Stops a watch.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<OwnedFd>);

impl Stopper {
    /// Ends [`Watch::run`] soon.
    pub fn stop(&self) {
        // The counter of an eventfd(2) can be full; then it has been told.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl Watch {
    /// Begins to receive events, and makes the first dump.
    ///
    /// # Errors
    ///
    /// The system has no sock_diag or refuses it, or the filter's process or cgroup cannot be read.
    pub fn open(settings: Settings, recorder: Recorder) -> Result<Self, WatchError> {
        if let Some(pid) = settings.filter.pid {
            let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"));
            descriptors.map_err(|error| WatchError::Process(pid, error))?;
        }
        let cgroup = settings.filter.cgroup.as_deref().map(|path| {
            Cgroup::open(path).map_err(|error| WatchError::Cgroup(path.to_owned(), error))
        });
        let cgroup = cgroup.transpose()?;
        // In this order: what ends during the first dump has an event.
        let events = DestroyEvents::open(settings.receive_buffer).map_err(WatchError::SockDiag)?;
        let dumper = Dumper::open().map_err(WatchError::SockDiag)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let stop = stop.map_err(|error| WatchError::SockDiag(error.into()))?;
        let programs = settings.process.then(Programs::start).transpose();
        let programs = programs.unwrap_or_else(|error| {
            tracing::error!("cannot look up programs: {}", text_of(&error));
            None
        });
        let epoch = Epoch::now();
        let now = Instant::now();
        let lines = LineMaker::new(settings, recorder, epoch);
        lines.start();
        let mut watch = Self {
            dumper,
            events,
            table: Table::new(epoch),
            lines,
            programs,
            cgroup,
            stop: Arc::new(stop),
            dumps: 0,
            due: now,
            earliest: now,
            overflows: 0,
            until_told: None,
            throttle: LogThrottle::default(),
        };
        watch.dump()?;
        if watch.cgroup.is_some() && watch.table.hides_cgroups() {
            return Err(WatchError::NoCgroups);
        }
        Ok(watch)
    }

    /// Calls `callback` with every socket whose connection has ended, if [`Settings::events`] asks for
    /// [`socket`](super::Events::socket). It is called by the thread of [`run`](Self::run), which reads no
    /// events meanwhile, and should return soon. A panic in it ends only the callback.
    #[must_use]
    pub fn on_socket(mut self, callback: impl Fn(&Socket) + Send + Sync + 'static) -> Self {
        self.lines.on_socket.set(callback);
        self
    }

    /// Number of open sockets that the last dump has shown, and that may fit the filter.
    pub fn open_sockets(&self) -> usize {
        self.table.len()
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Watches until it is stopped, or until the process of the filter has ended.
    ///
    /// # Errors
    ///
    /// The kernel does not answer any more.
    pub fn run(mut self) -> Result<Summary, WatchError> {
        loop {
            let timeout = self.due.max(self.earliest).saturating_duration_since(Instant::now());
            let is_stopped = self.wait(timeout)?;
            self.read_events()?;
            if is_stopped {
                break;
            }
            if Instant::now() >= self.due.max(self.earliest) {
                self.dump()?;
                if self.is_process_gone() {
                    tracing::info!("the process of --pid has ended; ending");
                    break;
                }
            }
        }
        // No more sockets are of interest; those that have just ended may be.
        let last = Instant::now() + LAST_EVENTS;
        while let Some(left) = last.checked_duration_since(Instant::now()) {
            self.wait_for_events(left)?;
            self.read_events()?;
        }
        self.table.finish(&mut self.lines);
        if self.until_told.is_some() {
            self.lines.overflow(self.overflows, self.table.last_seen);
        }
        self.lines.stop();
        Ok(self.summary())
    }

    fn summary(&self) -> Summary {
        Summary {
            ended: self.lines.ended,
            overflows: self.overflows,
            last_seen: self.table.last_seen,
            unattributed: self.table.unattributed,
        }
    }

    /// Waits for events or the stop; whether it is the stop.
    fn wait(&self, timeout: Duration) -> Result<bool, WatchError> {
        let mut waited = [
            PollFd::from_borrowed_fd(self.events.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN),
        ];
        poll_for(&mut waited, timeout)?;
        Ok(!waited[1].revents().is_empty())
    }

    fn wait_for_events(&self, timeout: Duration) -> Result<(), WatchError> {
        let mut waited = [PollFd::from_borrowed_fd(self.events.as_fd(), PollFlags::IN)];
        poll_for(&mut waited, timeout)
    }

    /// Processes the events that wait.
    fn read_events(&mut self) -> Result<(), WatchError> {
        let Self { events, table, lines, .. } = self;
        let drained = events.drain(|socket| {
            if let Some(event) = EndEvent::read(socket) {
                table.end(event, lines);
            }
        });
        let drained = drained.map_err(WatchError::SockDiag)?;
        if drained.overflowed {
            self.note_overflow();
        }
        Ok(())
    }

    /// The kernel has dropped events: the next dumps show which sockets are gone.
    fn note_overflow(&mut self) {
        self.overflows += 1;
        self.until_told = Some(DUMPS_AFTER_OVERFLOW);
        self.table.note_overflow();
        self.due = Instant::now();
        if self.throttle.should_log() {
            tracing::warn!(
                "the kernel has dropped events of ended sockets: those that a dump has shown are \
                 written as it showed them, others have no line (see 'overflow' lines)"
            );
        }
    }

    fn dump(&mut self) -> Result<(), WatchError> {
        let (began, used_before) = (Instant::now(), processor_time());
        if let Some(cgroup) = &mut self.cgroup {
            cgroup.refresh();
        }
        self.dumps += 1;
        let dump = self.table.begin(self.dumps);
        let Self { dumper, events, table, lines, cgroup, .. } = self;
        let (mut ended, mut overflowed, mut failed) = (Vec::new(), false, None);
        // What ended before it was shown must not be seen as new after its end: events wait until the
        // dump is complete.
        let result = dumper.dump(
            |socket| table.see(socket, &dump, lines, cgroup.as_ref()),
            || match events.drain(|socket| ended.extend(EndEvent::read(socket))) {
                Ok(drained) => overflowed |= drained.overflowed,
                Err(error) => failed = Some(error),
            },
        );
        result.and(failed.map_or(Ok(()), Err)).map_err(WatchError::SockDiag)?;
        for event in ended {
            table.end(event, lines);
        }
        table.complete(&dump, lines, self.programs.as_ref());
        if overflowed {
            self.note_overflow();
        } else if let Some(left) = &mut self.until_told {
            *left -= 1;
            if *left == 0 {
                self.until_told = None;
                self.lines.overflow(self.overflows, self.table.last_seen);
            }
        }
        let used = processor_time().saturating_sub(used_before);
        let now = Instant::now();
        let interval = self.lines.settings().interval.max(Settings::SHORTEST_INTERVAL);
        self.due = clock::after(began, interval);
        self.earliest = clock::after(now, used * (SHARE - 1));
        tracing::debug!("a dump of {} sockets took {used:?} of CPU time", self.table.len());
        Ok(())
    }

    /// Whether the process of the filter and all its sockets are gone.
    fn is_process_gone(&self) -> bool {
        let pid = self.lines.settings().filter.pid;
        pid.is_some_and(|pid| {
            !std::path::Path::new(&format!("/proc/{pid}")).exists() && !self.table.has_wanted()
        })
    }
}

/// poll(2), which an interrupt ends early.
fn poll_for(waited: &mut [PollFd<'_>], timeout: Duration) -> Result<(), WatchError> {
    // A day at most, so that it fits.
    let timeout = Timespec::try_from(timeout.min(Duration::from_secs(24 * 60 * 60))).ok();
    match poll(waited, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(WatchError::SockDiag(error.into())),
    }
}
