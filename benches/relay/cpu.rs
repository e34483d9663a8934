//! What a process costs, by its CPU clock and /proc.

use std::fs;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// CPU time of a process, its threads and its children so far, in seconds.
pub(crate) fn seconds(pid: u32) -> f64 {
    let own: f64 = tree(pid).into_iter().map(own_seconds).sum();
    own + ended_children_seconds(pid)
}

/// CPU time of its threads, those that have ended included: some proxies start one a connection.
fn own_seconds(pid: u32) -> f64 {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed()));
    clock.and_then(clock_gettime).map_or(0.0, |time| Duration::from(time).as_secs_f64())
}

/// Children that have ended and were waited for are only counted in clock ticks.
fn ended_children_seconds(pid: u32) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    // cutime and cstime are fields 16 and 17; the state, after the name, is field 3.
    let fields = after_name.split_whitespace().skip(13).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// Waits until the CPU time `used` stands nearly still, at most ten seconds.
pub(crate) fn wait_until_quiet(used: impl Fn() -> f64) {
    const PAUSE: Duration = Duration::from_millis(100);
    const QUIET: f64 = 0.002;
    let mut before = used();
    for _ in 0..100 {
        std::thread::sleep(PAUSE);
        let now = used();
        // Without a process it is NaN, which is quiet.
        let is_busy = now - before > QUIET;
        if !is_busy {
            break;
        }
        before = now;
    }
}

/// The process and all that descend from it.
fn tree(pid: u32) -> Vec<u32> {
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let below = children.split_whitespace().filter_map(|pid| pid.parse().ok()).flat_map(tree);
    std::iter::once(pid).chain(below).collect()
}

/// Resident memory of the process and all that descend from it, in bytes; what they share is
/// counted once.
pub(crate) fn resident_bytes(pid: u32) -> f64 {
    let pss = |pid| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0)
            * 1024.0
    };
    tree(pid).into_iter().map(pss).sum()
}

/// Pipes that a process holds open.
pub(crate) fn pipes(pid: u32) -> usize {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let is_pipe = |path: std::path::PathBuf| {
        fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("pipe:"))
    };
    descriptors.flatten().filter(|descriptor| is_pipe(descriptor.path())).count()
}
