//! The file behind the output: opened, opened anew, cut back to whole lines.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fault::text_of;

/// Longer than a write takes.
const ONE_WRITE: Duration = Duration::from_millis(50);

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Standard output.
    Stdout,
    /// A file, appended to, created with mode 0600.
    File(PathBuf),
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::File(path) => write!(f, "'{}'", path.display()),
        }
    }
}

/// An output that is open.
pub(super) struct Sink {
    output: Output,
    /// `None` after somebody removed the file: it is made anew by the next write.
    file: Option<File>,
    /// It is a plain file, no pipe and no terminal.
    is_plain: bool,
    /// The file had a name when it was opened, so that it can be removed.
    has_name: bool,
}

impl Sink {
    pub(super) fn open(output: Output) -> io::Result<Self> {
        let file = open(&output)?;
        let metadata = file.metadata().ok();
        let is_plain = metadata.as_ref().is_some_and(Metadata::is_file);
        let has_name = output != Output::Stdout && metadata.as_ref().is_some_and(has_name);
        Ok(Self { output, file: Some(file), is_plain, has_name })
    }

    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    /// Opens the file anew under its name.
    pub(super) fn reopen(&mut self) {
        if self.output == Output::Stdout {
            return;
        }
        match Self::open(self.output.clone()) {
            Ok(opened) => {
                *self = opened;
                tracing::info!("writing records to {}, opened anew", self.output);
            }
            Err(error) => {
                let text = text_of(&error);
                tracing::error!(
                    "opening {} anew: {text}; records still go to the file that was open",
                    self.output
                );
            }
        }
    }

    /// Writes once, of these lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.file.is_none() {
            *self = Self::open(self.output.clone())?;
        }
        // A pipe whose reader stands still takes a part of what it is given and holds the call up: one
        // line at a time, and it is known how many lines are through.
        let bytes = match memchr::memchr(b'\n', lines) {
            Some(end) if !self.is_plain => &lines[..=end],
            _ => lines,
        };
        self.file.as_mut().map_or(Ok(0), |file| file.write(bytes))
    }

    /// Whether somebody removed the file since it was opened, so that nobody will find what was
    /// written to it. Says yes once; the next write makes a new file.
    pub(super) fn was_removed(&mut self) -> bool {
        let metadata = self.file.as_ref().and_then(|file| file.metadata().ok());
        let removed = self.has_name && metadata.is_some_and(|it| !has_name(&it));
        if removed {
            self.file = None;
        }
        removed
    }

    /// Takes back the last `bytes` that were written; `false` where the output is no plain file, or
    /// somebody else has appended to it meanwhile.
    pub(super) fn cut(&mut self, bytes: usize) -> bool {
        let Some(file) = &mut self.file else { return false };
        let (Ok(metadata), Ok(end)) = (file.metadata(), file.stream_position()) else {
            return false;
        };
        let whole = end.saturating_sub(bytes as u64);
        self.is_plain
            && metadata.len() == end
            && file.set_len(whole).is_ok()
            && file.seek(SeekFrom::Start(whole)).is_ok()
    }
}

/// Whether a file stands in some directory.
#[cfg(unix)]
fn has_name(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) > 0
}

/// Elsewhere an open file is not removed.
#[cfg(not(unix))]
fn has_name(_: &Metadata) -> bool {
    true
}

fn open(output: &Output) -> io::Result<File> {
    match output {
        // A descriptor of our own: std's handle buffers, and would not tell how much was written.
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
        Output::File(path) => {
            let mut options = OpenOptions::new();
            options.append(true).create(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(path)?;
            if file.metadata()?.is_file() && is_torn(path) {
                // A run that was killed left half a line; ours begins on a line of its own.
                file.write_all(b"\n")?;
            }
            Ok(file)
        }
    }
}

/// Whether the file ends in the middle of a line that nobody is writing: another process may have
/// the file open, too.
fn is_torn(path: &Path) -> bool {
    let torn_at = || -> io::Result<Option<u64>> {
        let mut file = File::open(path)?;
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
