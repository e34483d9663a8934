//! This machine's TCP connections without a proxy: a line for each socket whose connection has ended,
//! with the kernel's last TCP information. Linux.
//!
//! Two sources are joined by the socket's cookie. *Dumps* (sock_diag(7)) at an interval show every
//! open socket: who has it, who listens, how it does. *Events* of destroyed sockets bring the final
//! figures of each, also of those that no dump has seen. Where the kernel drops events, the next
//! dumps show which sockets are gone.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use conniver::output::{Output, QUEUE, Recorder};
//! use conniver::watch::{Settings, Watch};
//!
//! let (recorder, writer) = Recorder::start(Output::Stdout, QUEUE, || {})?;
//! let watch = Watch::open(Settings::default(), recorder)?;
//! let stopper = watch.stopper();
//! let watching = std::thread::spawn(move || watch.run());
//! // …
//! stopper.stop();
//! let summary = watching.join().expect("the watch ends")?;
//! println!("{} connections have ended", summary.ended);
//! writer.finish();
//! # Ok(())
//! # }
//! ```

#[cfg(any(target_os = "linux", target_os = "android"))]
mod cgroup;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod ended;
mod filter;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod known;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod lines;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod listeners;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod programs;
mod settings;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod table;
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "no_watcher.rs")]
mod watcher;

use std::fmt;
use std::io;
use std::path::PathBuf;

pub use filter::{Endpoint, Filter, ParseEndpointError};
pub use settings::{Events, Settings};
pub use watcher::{Stopper, Watch};

use crate::fault::text_of;

/// What a watch has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Lines of ended sockets that were made.
    pub ended: u64,
    /// How often the kernel dropped events.
    pub overflows: u64,
    /// Sockets whose event was among those; their figures are those of the last dump.
    pub last_seen: u64,
    /// Sockets that ended between two dumps, so that nobody knows whether the process or the cgroup of
    /// the filter had them; 0 without such a filter.
    pub unattributed: u64,
}

/// Why sockets cannot be watched.
#[derive(Debug)]
#[non_exhaustive]
pub enum WatchError {
    /// The system has no sock_diag.
    Unsupported,
    /// The kernel refused a dump or the events.
    SockDiag(io::Error),
    /// The cgroup of the filter cannot be read.
    Cgroup(PathBuf, io::Error),
    /// The kernel does not tell the cgroups of sockets, which it does since Linux 5.9.
    NoCgroups,
    /// The descriptors of the process of the filter cannot be read.
    Process(u32, io::Error),
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => f.write_str(
                "cannot watch sockets: it needs Linux (sock_diag); conniver proxy and conniver run \
                 work here",
            ),
            Self::SockDiag(error) => write!(
                f,
                "cannot ask the kernel for TCP sockets: {}; it needs sock_diag (CONFIG_INET_DIAG, \
                 CONFIG_INET_TCP_DIAG), and a sandbox that allows netlink",
                text_of(error)
            ),
            Self::Cgroup(path, error) => {
                write!(
                    f,
                    "cannot read the cgroup '{}': {}; expected a path below the mount of cgroup \
                     version 2, as in /proc/PID/cgroup",
                    path.display(),
                    text_of(error)
                )?;
                // systemctl has services without their slices.
                match path.extension().is_some_and(|kind| kind == "service")
                    && path.components().count() == 1
                {
                    true => write!(f, ", such as /system.slice/{}", path.display()),
                    false => Ok(()),
                }
            }
            Self::NoCgroups => f.write_str(
                "cannot select sockets by cgroup: the kernel does not tell the cgroups of sockets; \
                 it takes Linux 5.9",
            ),
            Self::Process(pid, error) => {
                write!(f, "cannot read the sockets of process {pid}: {}", text_of(error))?;
                match error.kind() {
                    io::ErrorKind::NotFound => f.write_str("; it is not running"),
                    io::ErrorKind::PermissionDenied => {
                        f.write_str("; run as root, or as the user of that process")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for WatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unsupported | Self::NoCgroups => None,
            Self::SockDiag(error) | Self::Cgroup(_, error) | Self::Process(_, error) => Some(error),
        }
    }
}
