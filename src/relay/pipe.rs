//! Pipes for `splice(2)`, shared by all pairs.
//!
//! A half has a pipe only while bytes are in it, so a few serve many pairs. Pipes that nobody
//! needed for a while are closed: a proxy whose pairs are quiet has none.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use rustix::process::{Resource, getrlimit};
use rustix::system::sysinfo;

/// Sizes to ask for, the best first. The size decides what bulk costs: over 64 KiB pipes a GB took
/// 1.4 times the processor time that it takes over 1 MiB ones. An unprivileged user gets the large ones
/// until `fs.pipe-user-pages-soft` is reached.
const SIZES: [usize; 3] = [1 << 20, 256 << 10, 64 << 10];

/// All pipes together have room for this share of the machine's memory. A pipe that is stuck holds what
/// it has, and the system counts that for nobody: neither for the control group nor, where root runs
/// the proxy, for the user.
const MEMORY_SHARE: usize = 64;

/// Pipes that nobody took for this long are closed.
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
    /// One that has room for at most `room` bytes.
    fn open(room: usize) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let sizes = SIZES.into_iter().filter(|size| *size <= room);
        let sized = sizes.into_iter().find_map(|size| fcntl_setpipe_size(&write, size).ok());
        // What is left past the soft limit is a page or two: copying is better.
        let size = sized.ok_or(Errno::PERM)?;
        Ok(Self { read, write, size })
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Moves what a socket has received into the pipe, at most `limit` bytes; how much.
    pub(super) fn fill(&self, source: impl AsFd, limit: usize) -> io::Result<usize> {
        let most = self.size.min(limit);
        Ok(splice(source, None, &self.write, None, most, SpliceFlags::NONBLOCK)?)
    }

    /// Moves `bytes` of the pipe's content to a socket; how much it took.
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

/// Whether an error of splice(2) says that it cannot be used here at all: a socket that does not
/// know it (TLS in the kernel, for one), a filter that forbids it.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    let refusals = [Errno::INVAL, Errno::NOSYS, Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP];
    refusals.iter().any(|refusal| error.raw_os_error() == Some(refusal.raw_os_error()))
}

#[derive(Debug)]
struct Pool {
    idle: Vec<Pipe>,
    /// Fewest idle pipes since the last round of the janitor: those were not needed.
    unneeded: usize,
    has_janitor: bool,
    /// Pipes that exist, idle or in use.
    open: usize,
    /// What these have room for, bytes.
    room: usize,
    refused: Option<Instant>,
}

impl Pool {
    const fn new() -> Self {
        Self { idle: Vec::new(), unneeded: 0, has_janitor: false, open: 0, room: 0, refused: None }
    }

    /// An empty pipe, or `None` when none is to be had within `most_pipes` of together `most_room` bytes.
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
            // As if refused: the limits are not asked for at every read.
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

/// An empty pipe, or `None` when none is to be had: then halves copy.
pub(super) fn take() -> Option<Pipe> {
    pool().take(most_pipes, *MOST_ROOM)
}

/// How many pipes there are, idle or in use.
#[cfg(feature = "metrics")]
pub(crate) fn open() -> usize {
    pool().open
}

/// As many as take a sixteenth of the descriptors, two each: the others are for connections.
fn most_pipes() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors / 32).unwrap_or(usize::MAX)
}

/// What all pipes together may have room for, bytes.
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

/// Throws a pipe away whose content nobody will take.
pub(super) fn discard(pipe: Pipe) {
    pool().forget(&pipe);
}

/// The janitor: closes what was not needed for a round, and goes when nothing is left.
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
    fn an_idle_pipe_is_taken_before_another_is_opened() {
        let mut pool = Pool::new();
        let pipe = pool.take(|| 1, 1 << 20).unwrap();
        assert!(pool.take(|| 1, 1 << 20).is_none(), "there is one already");
        pool.idle.push(pipe);
        assert!(pool.take(|| 1, 1 << 20).is_some());
        assert_eq!(pool.open, 1);
    }
}
