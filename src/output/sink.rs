//! The output file: opened, reopened, and appended to by whole lines.
//!
//! A line truncated by a full disk is completed when there is space. The file itself is never
//! truncated, because other processes may append to it.

use std::borrow::Cow;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::file_lock::FileLock;
use crate::fault::text_of;
use crate::record::may_hold_records;

/// Longer than any write takes.
const ONE_WRITE: Duration = Duration::from_millis(50);

/// Maximum wait for a lock that another process holds on the file.
const LOCKED: Duration = Duration::from_secs(1);

/// Maximum wait while the file ends with an incomplete line: its writer waits for space to complete
/// it, and our line would end up in the middle.
const LOCKED_IN_A_LINE: Duration = Duration::from_secs(30);

/// How much of a file is read to see whether it holds records, in bytes.
const HEAD: u64 = 64 << 10;

/// An output for lines.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Standard output.
    Stdout,
    /// A file, which is appended to.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Permissions of a new file, before the umask (open(2)); Unix only.
        mode: u32,
    },
}

impl Output {
    /// Default mode of new files: records are private.
    pub const MODE: u32 = 0o600;

    /// A file of mode [`Output::MODE`].
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File { path: path.into(), mode: Self::MODE }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::File { path, .. } => write!(f, "'{}'", path.display()),
        }
    }
}

/// An open output.
pub(super) struct Sink {
    output: Output,
    /// `None` after the file was removed: the next write creates it again.
    file: Option<File>,
    /// It is a regular file, not a pipe or a terminal.
    is_plain: bool,
    /// The file had a name when it was opened, so that it can be removed.
    has_name: bool,
    lock: FileLock,
    /// Where our latest write ended. While that is the end of the file, nobody else has written.
    end: Option<u64>,
    /// Bytes written of an incomplete line. While there are any, the file stays locked.
    torn: usize,
    /// A write without the lock was logged.
    is_overdue: bool,
}

impl Sink {
    pub(super) fn open(output: Output) -> io::Result<Self> {
        let file = open(&output)?;
        let metadata = file.metadata().ok();
        let is_plain = metadata.as_ref().is_some_and(Metadata::is_file);
        let has_name = output != Output::Stdout && metadata.as_ref().is_some_and(has_name);
        let sink = Self {
            output,
            file: Some(file),
            is_plain,
            has_name,
            lock: FileLock::default(),
            end: None,
            torn: 0,
            is_overdue: false,
        };
        if sink.is_foreign() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(sink)
    }

    /// Whether the file holds something else than records, such as a page, a compressed file or another
    /// program's log, which lines would spoil. Of standard output the shell's user has chosen the file.
    fn is_foreign(&self) -> bool {
        if !self.is_plain || self.output == Output::Stdout {
            return false;
        }
        // Who may only write does not learn it.
        let Ok(file) = self.open_file_again(OpenOptions::new().read(true)) else { return false };
        let mut head = Vec::new();
        let read = file.take(HEAD).read_to_end(&mut head);
        read.is_ok() && !may_hold_records(&head)
    }

    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    /// Reopens the file under its name.
    pub(super) fn reopen(&mut self) {
        if self.output == Output::Stdout {
            return;
        }
        match Self::open(self.output.clone()) {
            Ok(mut opened) => {
                if !self.is_same_file(&opened) {
                    self.blank_incomplete_line();
                    // An incomplete line is written again from its beginning.
                    opened.torn = self.torn;
                    *self = opened;
                }
                tracing::info!("reopened {} for records", self.output);
            }
            Err(error) => {
                let text = why_unopened(&error);
                tracing::error!(
                    "cannot reopen {}: {text}; records still go to the old file",
                    self.output
                );
            }
        }
    }

    fn is_same_file(&self, other: &Self) -> bool {
        let identity = |sink: &Self| identity(&sink.file.as_ref()?.metadata().ok()?);
        identity(self).is_some_and(|own| identity(other) == Some(own))
    }

    /// Writes once; after an incomplete line, only its rest. Returns `WouldBlock` while another
    /// process has locked the file.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.file.is_none() {
            *self = Self::open(self.output.clone())?;
        }
        let first = memchr::memchr(b'\n', lines).and_then(|end| lines.get(..=end));
        if !self.is_plain {
            // A pipe with a stalled reader accepts a part and blocks: with one line at a time, it
            // is known how many lines are through.
            return self.file.as_mut().map_or(Ok(0), |file| file.write(first.unwrap_or(lines)));
        }
        if !self.may_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = match self.torn {
            0 => self.append(lines),
            _ => self.complete(first.unwrap_or(lines)),
        };
        if written.is_err() {
            self.lock.wait_again();
        }
        if self.torn == 0
            && let Some(file) = &self.file
        {
            self.lock.release(file);
        }
        written
    }

    /// Takes the lock. Returns whether to write: with the lock, or after the maximum wait.
    fn may_write(&mut self) -> bool {
        // An inherited standard output may be locked for other reasons.
        let Some(file) = self.file.as_ref().filter(|_| self.output != Output::Stdout) else {
            return true;
        };
        if self.lock.take(file) {
            return true;
        }
        let waited = self.lock.waited();
        let is_overdue = waited >= LOCKED && (waited >= LOCKED_IN_A_LINE || !self.ends_torn());
        if is_overdue && !std::mem::replace(&mut self.is_overdue, true) {
            let seconds = waited.as_secs();
            tracing::warn!(
                "{} has been locked by another process for {seconds} s; writing records without \
                 the lock",
                self.output
            );
        }
        is_overdue
    }

    /// Appends lines, after a line feed if the file ends with an incomplete line.
    fn append(&mut self, lines: &[u8]) -> io::Result<usize> {
        let ends_torn = self.length() != self.end && self.ends_torn();
        let Some(file) = &mut self.file else { return Ok(0) };
        if ends_torn {
            // A killed process left an incomplete line, or another one writes without a lock.
            file.write_all(b"\n")?;
        }
        let written = file.write(lines)?;
        self.end = file.stream_position().ok();
        let done = lines.get(..written).unwrap_or_default();
        self.torn = done.len() - memchr::memrchr(b'\n', done).map_or(0, |end| end + 1);
        Ok(written)
    }

    /// Writes the rest of an incomplete line.
    fn complete(&mut self, rest: &[u8]) -> io::Result<usize> {
        let before = self.end;
        let Some(file) = &mut self.file else { return Ok(0) };
        let written = file.write(rest)?;
        let end = file.stream_position().ok();
        if end.and_then(|end| end.checked_sub(written as u64)) != before {
            // Somebody else has written in between: the rest does not belong there.
            self.end = None;
            return Ok(0);
        }
        self.end = end;
        self.torn += written;
        if rest.get(..written).is_some_and(|done| done.ends_with(b"\n")) {
            self.torn = 0;
        }
        Ok(written)
    }

    /// Takes the number of written bytes of an incomplete line that must be written again, because
    /// somebody else has written after it or truncated the file.
    pub(super) fn take_incomplete(&mut self) -> usize {
        if self.torn > 0 && (self.end.is_none() || self.length() != self.end) {
            std::mem::take(&mut self.torn)
        } else {
            0
        }
    }

    /// Replaces an incomplete line that will not be completed by blanks, which readers skip. If
    /// that fails, the next writer begins a new line.
    pub(super) fn blank_incomplete_line(&mut self) {
        let Some(start) = self.end.and_then(|end| end.checked_sub(self.torn as u64)) else {
            return;
        };
        if self.torn == 0 || self.length() != self.end {
            return;
        }
        let mut blanks = vec![b' '; self.torn];
        if let Some(last) = blanks.last_mut() {
            *last = b'\n';
        }
        let overwrite = |mut file: File| {
            file.seek(SeekFrom::Start(start))?;
            file.write_all(&blanks)
        };
        if let Err(error) = self.open_file_again(OpenOptions::new().write(true)).and_then(overwrite)
        {
            tracing::debug!("cannot complete a line of {}: {}", self.output, text_of(&error));
        }
    }

    /// Whether the file was removed since it was opened. Returns `true` once; the next write
    /// creates a new file.
    pub(super) fn was_removed(&mut self) -> bool {
        let metadata = self.file.as_ref().and_then(|file| file.metadata().ok());
        let removed = self.has_name && metadata.is_some_and(|it| !has_name(&it));
        if removed {
            self.file = None;
            self.torn = 0;
        }
        removed
    }

    fn length(&self) -> Option<u64> {
        Some(self.file.as_ref()?.metadata().ok()?.len())
    }

    /// Whether the file ends with an incomplete line that nobody is writing at the moment.
    fn ends_torn(&self) -> bool {
        let Ok(mut file) = self.open_file_again(OpenOptions::new().read(true)) else {
            return false;
        };
        let mut torn_at = || -> io::Result<Option<u64>> {
            let length = file.seek(SeekFrom::End(-1))?;
            let mut byte = [0];
            file.read_exact(&mut byte)?;
            Ok((byte[0] != b'\n').then_some(length))
        };
        // An empty file has no last byte.
        let Ok(Some(before)) = torn_at() else { return false };
        std::thread::sleep(ONE_WRITE);
        torn_at().is_ok_and(|after| after == Some(before))
    }

    /// Opens the same file again, whatever its current name, without append mode.
    fn open_file_again(&self, options: &OpenOptions) -> io::Result<File> {
        let own = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            use std::os::fd::AsRawFd;
            if let Ok(file) = options.open(format!("/proc/self/fd/{}", own.as_raw_fd())) {
                return Ok(file);
            }
        }
        let Output::File { path, .. } = &self.output else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let file = options.open(path)?;
        if identity(&file.metadata()?) == identity(&own.metadata()?) {
            Ok(file)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

/// Why an output could not be opened.
pub(super) fn why_unopened(error: &io::Error) -> Cow<'static, str> {
    match error.kind() {
        io::ErrorKind::InvalidData => "it has something else than records in it".into(),
        _ => text_of(error),
    }
}

/// The identity of a file, independent of its name. `None` where the system does not report it.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// Whether a file has a name in any directory.
#[cfg(unix)]
fn has_name(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) > 0
}

/// On other systems an open file cannot be removed.
#[cfg(not(unix))]
fn has_name(_: &Metadata) -> bool {
    true
}

fn open(output: &Output) -> io::Result<File> {
    match output {
        // A duplicate descriptor: std's handle buffers, and does not report how much was written.
        #[cfg(unix)]
        Output::Stdout => {
            use std::os::fd::AsFd;
            io::stdout().as_fd().try_clone_to_owned().map(File::from)
        }
        #[cfg(windows)]
        Output::Stdout => {
            use std::os::windows::io::AsHandle;
            io::stdout().as_handle().try_clone_to_owned().map(File::from)
        }
        #[cfg_attr(not(unix), allow(unused_variables, reason = "only Unix has modes"))]
        Output::File { path, mode } => {
            let mut options = OpenOptions::new();
            options.append(true).create(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, *mode);
            #[cfg(unix)]
            if std::fs::metadata(path)
                .is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_fifo(&found.file_type()))
            {
                // open(2) returns when somebody reads from it.
                tracing::warn!("'{}' is a FIFO: waiting for its reader", path.display());
            }
            options.open(path)
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests;
