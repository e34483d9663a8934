//! Pipes for `splice(2)`, shared by all pairs.
//!
//! A half has a pipe only while bytes are in it, so a few serve many pairs. Pipes that nobody
//! needed for a while are closed: a proxy whose pairs are quiet has none.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use rustix::process::{Resource, getrlimit};

/// Sizes to ask for, the best first. The size decides what bulk costs: over 64 KiB pipes a GB took
/// 1.4 times the processor time that it takes over 1 MiB ones. An unprivileged user gets the large ones
/// until `fs.pipe-user-pages-soft` is reached.
const SIZES: [usize; 3] = [1 << 20, 256 << 10, 64 << 10];

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
    fn open() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let sized = SIZES.into_iter().find_map(|size| fcntl_setpipe_size(&write, size).ok());
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
    refused: Option<Instant>,
}

static POOL: Mutex<Pool> =
    Mutex::new(Pool { idle: Vec::new(), unneeded: 0, has_janitor: false, open: 0, refused: None });

/// The pool is consistent after every statement, so a panic elsewhere does not spoil it.
fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An empty pipe, or `None` when none is to be had: then halves copy.
pub(super) fn take() -> Option<Pipe> {
    let mut pool = pool();
    if let Some(pipe) = pool.idle.pop() {
        pool.unneeded = pool.unneeded.min(pool.idle.len());
        return Some(pipe);
    }
    if pool.refused.is_some_and(|at| at.elapsed() < REFUSED) {
        return None;
    }
    if pool.open >= most() {
        // As if refused: the limit is not asked for at every read.
        pool.refused = Some(Instant::now());
        return None;
    }
    match Pipe::open() {
        Ok(pipe) => {
            pool.open += 1;
            pool.refused = None;
            Some(pipe)
        }
        Err(error) => {
            tracing::debug!("opening a pipe: {error}; copying instead");
            pool.refused = Some(Instant::now());
            None
        }
    }
}

/// How many pipes there are, idle or in use.
#[cfg(feature = "metrics")]
pub(crate) fn open() -> usize {
    pool().open
}

/// As many as take a sixteenth of the descriptors, two each: the others are for connections.
fn most() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors / 32).unwrap_or(usize::MAX)
}

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
    drop(pipe);
    pool().open -= 1;
}

/// The janitor: closes what was not needed for a round, and goes when nothing is left.
async fn close_unneeded() {
    loop {
        tokio::time::sleep(IDLE).await;
        let mut pool = pool();
        let unneeded = pool.unneeded.min(pool.idle.len());
        let closing: Vec<Pipe> = pool.idle.drain(..unneeded).collect();
        pool.open -= unneeded;
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
