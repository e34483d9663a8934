//! A file of records that grows and is rotated, read as `tail -F` does.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time between two checks for more.
const PACE: Duration = Duration::from_millis(100);

/// How much of a file is read at the start, bytes: connections that opened before are known again by
/// their next samples.
const BACKLOG: u64 = 64 << 20;

/// Reads a file to its end and waits for more; continues with the next file when it is rotated.
#[derive(Debug)]
pub(super) struct Tail<F> {
    path: PathBuf,
    file: File,
    /// The file after this one, which has nothing more once it was read to its end again.
    next: Option<File>,
    /// Called when everything was read; returns whether to wait for more.
    at_end: F,
    is_at_line_end: bool,
    /// The backlog began within a line.
    is_skipping: bool,
}

impl<F: FnMut() -> bool> Tail<F> {
    /// Opens the file.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or is a directory.
    pub(super) fn open(path: &Path, at_end: F) -> io::Result<Self> {
        Self::open_last(path, BACKLOG, at_end)
    }

    fn open_last(path: &Path, backlog: u64, at_end: F) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let skipped = metadata.len().saturating_sub(backlog);
        if skipped > 0 {
            file.seek(SeekFrom::Start(skipped))?;
        }
        let (path, is_skipping) = (path.to_owned(), skipped > 0);
        Ok(Self { path, file, next: None, at_end, is_at_line_end: true, is_skipping })
    }

    /// Looks for a file that has taken this one's place. Returns whether there is something to read again.
    fn find_next(&mut self) -> io::Result<bool> {
        // Another kind of file than a regular one has no position.
        let position = self.file.stream_position().unwrap_or(0);
        if self.file.metadata()?.len() < position {
            self.file.seek(SeekFrom::Start(0))?;
            return Ok(true);
        }
        // Between the renaming and the next file there is none.
        let Ok(next) = File::open(&self.path) else { return Ok(false) };
        // Before it writes to the next file, the proxy may still write to this one.
        let is_next = next.metadata()?.len() > 0 && !is_same(&self.file, &next)?;
        self.next = is_next.then_some(next);
        Ok(is_next)
    }

    /// Ends an incomplete line, so that the next file begins with a line of its own.
    fn end_line(&mut self, buffer: &mut [u8]) -> usize {
        match buffer.first_mut() {
            Some(first) if !self.is_at_line_end => {
                *first = b'\n';
                self.is_at_line_end = true;
                1
            }
            _ => 0,
        }
    }

    /// Drops the rest of the line in which the backlog began.
    fn skip(&mut self, buffer: &mut [u8], read: usize) -> usize {
        let Some(end) = memchr::memchr(b'\n', buffer.get(..read).unwrap_or_default()) else {
            return 0;
        };
        self.is_skipping = false;
        buffer.copy_within(end + 1..read, 0);
        read - end - 1
    }
}

impl<F: FnMut() -> bool> Read for Tail<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut read = self.file.read(buffer)?;
            if read > 0 {
                if self.is_skipping {
                    read = self.skip(buffer, read);
                }
                if let Some(last) = read.checked_sub(1).and_then(|last| buffer.get(last)) {
                    self.is_at_line_end = *last == b'\n';
                    return Ok(read);
                }
                continue;
            }
            if let Some(next) = self.next.take() {
                self.file = next;
                match self.end_line(buffer) {
                    0 => continue,
                    ended => return Ok(ended),
                }
            }
            if self.find_next()? {
                if self.next.is_none() && self.end_line(buffer) > 0 {
                    return Ok(1);
                }
                continue;
            }
            if !(self.at_end)() {
                return Ok(0);
            }
            std::thread::sleep(PACE);
        }
    }
}

#[cfg(unix)]
fn is_same(one: &File, two: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let [one, two] = [one.metadata()?, two.metadata()?];
    Ok((one.dev(), one.ino()) == (two.dev(), two.ino()))
}

/// Elsewhere only a file that has become shorter is noticed.
#[cfg(not(unix))]
fn is_same(_one: &File, _two: &File) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;

    fn append(path: &Path, text: &str) {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Reads to the end of a file to which these steps happen, one each time its end is reached.
    fn read_with(path: &Path, backlog: u64, steps: &[&dyn Fn()]) -> String {
        let mut steps = steps.iter();
        let at_end = || steps.next().map(|step| step()).is_some();
        let mut text = String::new();
        Tail::open_last(path, backlog, at_end).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn what_is_appended_is_read_and_nothing_is_lost_when_the_file_is_rotated() {
        let directory = tempfile::tempdir().unwrap();
        let [path, old] = ["records", "records.1"].map(|name| directory.path().join(name));
        append(&path, "1\n2");
        let text = read_with(
            &path,
            BACKLOG,
            &[
                &|| append(&path, "2\n"),
                &|| fs::rename(&path, &old).unwrap(),
                // logrotate makes the next file before the proxy reopens it.
                &|| append(&path, ""),
                &|| append(&old, "3\n"),
                &|| {
                    append(&old, "4");
                    append(&path, "5\n");
                },
                &|| append(&path, "6\n"),
            ],
        );
        assert_eq!(text, "1\n22\n3\n4\n5\n6\n");
    }

    #[test]
    fn a_file_that_was_truncated_is_read_from_its_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records");
        append(&path, "1\n2\n333");
        let text = read_with(&path, BACKLOG, &[&|| fs::write(&path, "4\n").unwrap()]);
        assert_eq!(text, "1\n2\n333\n4\n");
    }

    #[test]
    fn of_a_long_file_the_last_whole_lines_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records");
        append(&path, "first\nsecond\nthird\n");
        assert_eq!(read_with(&path, 10, &[]), "third\n");
        assert_eq!(read_with(&path, 2, &[&|| append(&path, "fourth\n")]), "fourth\n");
    }
}
