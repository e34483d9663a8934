//! How far the files have been read, on standard error.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::files::is_stdin;

/// What takes no longer needs no bar.
const SHORT: Duration = Duration::from_secs(1);

/// A bar over all files, on a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    began: Instant,
}

impl Progress {
    /// Over the sizes of these files; without a length if one has none.
    pub(super) fn over<'f>(files: impl Iterator<Item = &'f Path>) -> Self {
        let size = |file: &Path| {
            let metadata = std::fs::metadata(file).ok().filter(|_| !is_stdin(file))?;
            metadata.is_file().then_some(metadata.len())
        };
        let total: Option<u64> = files.map(size).sum();
        let template = match total {
            Some(_) => "reading {wide_bar} {percent:>3} %  {eta}",
            None => "reading {binary_bytes}",
        };
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        // The templates are right: a test draws them.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, began: Instant::now() }
    }

    /// A file, or standard input, whose bytes are counted.
    pub(super) fn open(&self, file: &Path) -> io::Result<Counted> {
        let input: Box<dyn Read + Send> = match is_stdin(file) {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(file)?),
        };
        Ok(Counted { input, bar: self.bar.clone(), began: self.began, is_shown: false })
    }

    /// Removes the bar.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// An input whose bytes are counted.
pub(super) struct Counted {
    input: Box<dyn Read + Send>,
    bar: ProgressBar,
    began: Instant,
    is_shown: bool,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        if !self.is_shown && self.began.elapsed() >= SHORT {
            self.is_shown = true;
            // Nothing is drawn unless it is a terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_valid() {
        for template in ["reading {wide_bar} {percent:>3} %  {eta}", "reading {binary_bytes}"] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
