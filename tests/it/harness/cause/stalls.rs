//! How long this machine keeps a thread waiting that should run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::ms;

const TICK: Duration = ms(1);

/// A thread that sleeps and looks how much longer it was than that.
pub(super) struct Stalls {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Stalls {
    pub(super) fn watch() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !ends.load(Ordering::Relaxed) {
                let began = Instant::now();
                thread::sleep(TICK);
                longest = longest.max(began.elapsed().saturating_sub(TICK));
            }
            longest
        });
        Self { is_over, thread }
    }

    /// The longest so far.
    pub(super) fn longest(self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
