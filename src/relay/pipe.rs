//! Pipes for `splice(2)`, shared by all pairs.
//!
//! A half has a pipe only while bytes are in it, so a few serve many pairs. Unused pipes are closed
//! after a while: a proxy whose pairs are idle has none.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use rustix::process::{Resource, getrlimit};
use rustix::system::sysinfo;

/// Pipe sizes to request, the best first. The size decides the cost of bulk data: through 64 KiB
/// pipes a GB took 1.4 times the CPU time that it takes through 1 MiB pipes. An unprivileged user
/// gets large pipes until `fs.pipe-user-pages-soft` is reached.
const SIZES: [usize; 3] = [1 << 20, 256 << 10, 64 << 10];

/// The capacity of all pipes together is at most one part in this many of the machine's memory. The
/// kernel charges the content of a stuck pipe to nobody: neither to the control group nor, when
/// root runs the proxy, to the user.
const MEMORY_SHARE: usize = 64;

/// Pipes that were not used for this long are closed.
const IDLE: Duration = Duration::from_secs(1);

/// After the system refused a pipe, halves copy for this long before it is asked again.
const REFUSED: Duration = Duration::from_secs(1);

/// An empty pipe, or one whose content its owner knows.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
}

impl Pipe {
    /// Opens a pipe with a capacity of at most `room` bytes.
    fn open(room: usize) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let sizes = SIZES.into_iter().filter(|size| *size <= room);
        let sized = sizes.into_iter().find_map(|size| fcntl_setpipe_size(&write, size).ok());
        // Beyond the soft limit a pipe has only a page or two: copying is better.
        let size = sized.ok_or(Errno::PERM)?;
        Ok(Self { read, write, size })
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Moves at most `limit` received bytes from a socket into the pipe; returns how many.
    pub(super) fn fill(&self, source: impl AsFd, limit: usize) -> io::Result<usize> {
        let most = self.size.min(limit);
        Ok(splice(source, None, &self.write, None, most, SpliceFlags::NONBLOCK)?)
    }

    /// Moves `bytes` of the pipe's content to a socket; returns how many it accepted.
    pub(super) fn drain(&self, sink: impl AsFd, bytes: usize) -> io::Result<usize> {
        Ok(splice(&self.read, None, sink, None, bytes, SpliceFlags::NONBLOCK)?)
    }

    /// Takes `bytes` of the pipe's content out as memory.
    pub(super) fn read(&self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut content = vec![0; bytes];
        let mut read = 0;
        while read < bytes {
            match rustix::io::read(&self.read, &mut content[read..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
        }
        Ok(content)
    }
}

/// Whether an error of splice(2) means that it cannot be used at all: the socket does not support
/// it (kernel TLS, for example), or a filter forbids it.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    let refusals = [Errno::INVAL, Errno::NOSYS, Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP];
    refusals.iter().any(|refusal| error.raw_os_error() == Some(refusal.raw_os_error()))
}

#[derive(Debug)]
struct Pool {
    idle: Vec<Pipe>,
    /// Fewest idle pipes since the last round of the janitor; these were not needed.
    unneeded: usize,
    has_janitor: bool,
    /// Pipes that exist, idle or in use.
    open: usize,
    /// Capacity of these pipes, bytes.
    room: usize,
    refused: Option<Instant>,
}

impl Pool {
    const fn new() -> Self {
        Self { idle: Vec::new(), unneeded: 0, has_janitor: false, open: 0, room: 0, refused: None }
    }

    /// Takes an empty pipe; `None` beyond `most_pipes` pipes or `most_room` bytes in total.
    fn take(&mut self, most_pipes: impl FnOnce() -> usize, most_room: usize) -> Option<Pipe> {
        if let Some(pipe) = self.idle.pop() {
            self.unneeded = self.unneeded.min(self.idle.len());
            return Some(pipe);
        }
        if self.refused.is_some_and(|at| at.elapsed() < REFUSED) {
            return None;
        }
        let room = most_room.saturating_sub(self.room);
        if self.open >= most_pipes() || SIZES.iter().all(|size| *size > room) {
            // Treated like a refusal, so that the limits are not checked at every read.
            self.refused = Some(Instant::now());
            return None;
        }
        match Pipe::open(room) {
            Ok(pipe) => {
                self.open += 1;
                self.room += pipe.size;
                self.refused = None;
                Some(pipe)
            }
            Err(error) => {
                tracing::debug!("cannot create a pipe: {error}; copying instead of splicing");
                self.refused = Some(Instant::now());
                None
            }
        }
    }

    /// A pipe is about to be closed.
    fn forget(&mut self, pipe: &Pipe) {
        self.open -= 1;
        self.room -= pipe.size;
    }
}

static POOL: Mutex<Pool> = Mutex::new(Pool::new());

/// The pool is consistent after every statement, so a panic elsewhere does not spoil it.
fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes an empty pipe. `None` when there is none: then the half copies.
pub(super) fn take() -> Option<Pipe> {
    pool().take(most_pipes, *MOST_ROOM)
}

/// How many pipes there are, idle or in use.
#[cfg(feature = "metrics")]
pub(crate) fn open() -> usize {
    pool().open
}

/// Pipes may use a sixteenth of the descriptors, two each; the others are for connections.
fn most_pipes() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors / 32).unwrap_or(usize::MAX)
}

/// Maximum capacity of all pipes together, bytes.
static MOST_ROOM: LazyLock<usize> = LazyLock::new(|| {
    let system = sysinfo();
    let unit = usize::try_from(system.mem_unit).unwrap_or(1);
    usize::try_from(system.totalram).unwrap_or(usize::MAX).saturating_mul(unit) / MEMORY_SHARE
});

/// Gives an empty pipe back. Must be called within a tokio runtime.
pub(super) fn give_back(pipe: Pipe) {
    let mut pool = pool();
    pool.idle.push(pipe);
    if !std::mem::replace(&mut pool.has_janitor, true) {
        pool.unneeded = 0;
        drop(pool);
        tokio::spawn(close_unneeded());
    }
}

/// Closes a pipe whose content will not be delivered.
pub(super) fn discard(pipe: Pipe) {
    pool().forget(&pipe);
}

/// The janitor: closes pipes that were not needed for a round, and ends when none is left.
async fn close_unneeded() {
    loop {
        tokio::time::sleep(IDLE).await;
        let mut pool = pool();
        let unneeded = pool.unneeded.min(pool.idle.len());
        let closing: Vec<Pipe> = pool.idle.drain(..unneeded).collect();
        for pipe in &closing {
            pool.forget(pipe);
        }
        pool.unneeded = pool.idle.len();
        pool.has_janitor = pool.open > 0;
        let stays = pool.has_janitor;
        drop(pool);
        drop(closing);
        if !stays {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_have_no_more_room_together_than_they_may() {
        let mut pool = Pool::new();
        let most_room = (1 << 20) + (256 << 10) + (64 << 10);
        let take = |pool: &mut Pool| pool.take(|| usize::MAX, most_room);
        let pipes: Vec<Pipe> = std::iter::from_fn(|| take(&mut pool)).collect();
        assert!(pipes.iter().map(Pipe::size).sum::<usize>() <= most_room);
        assert!(!pipes.is_empty());
        assert_eq!(pool.open, pipes.len());

        // What is closed makes room again.
        for pipe in pipes {
            pool.forget(&pipe);
        }
        assert_eq!((pool.open, pool.room), (0, 0));
        pool.refused = None;
        assert!(take(&mut pool).is_some());
    }

    #[test]
    fn all_pipes_together_may_have_a_64th_of_the_machines_memory() {
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
        let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
        let kib: usize = total.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        assert_eq!(*MOST_ROOM, kib * 1024 / 64);
    }

    #[test]
    fn an_idle_pipe_is_taken_before_another_is_opened() {
        let mut pool = Pool::new();
        let pipe = pool.take(|| 1, 1 << 20).unwrap();
        assert!(pool.take(|| 1, 1 << 20).is_none(), "there is one already");
        pool.idle.push(pipe);
        assert!(pool.take(|| 1, 1 << 20).is_some());
        assert_eq!(pool.open, 1);
    }
}
