//! `--html FILE`: the report as a page.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use conniver::record::Record;
use conniver::report::{Builder, Options, Pictures, Summary};
use jiff::tz::TimeZone;

use super::exit::Failure;
use super::files;

/// The file of a page. It is opened first, so that nobody waits for a page that cannot be written.
#[derive(Debug)]
pub(super) struct PageFile {
    path: PathBuf,
    /// `None` for standard output.
    file: Option<File>,
}

impl PageFile {
    /// `others` are files that the page must not overwrite.
    pub(super) fn create(path: &Path, others: &[PathBuf]) -> Result<Self, Failure> {
        let path = path.to_owned();
        if files::is_stdin(&path) {
            return Ok(Self { path, file: None });
        }
        let same = |other: &PathBuf| {
            let paths = [&path, other].map(|path| path.canonicalize().ok());
            matches!(paths, [Some(page), Some(records)] if page == records)
        };
        if others.iter().any(same) {
            let name = path.display();
            return Err(Failure::new(format!("--html: '{name}' has records; name another file")));
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        // What it says of hosts and users is as private as the records.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(|error| unwritten(&path, &error))?;
        Ok(Self { path, file: Some(file) })
    }

    pub(super) fn is_stdout(&self) -> bool {
        self.file.is_none()
    }

    /// Writes the page, with times of the local zone. A reader of standard output that has gone is no
    /// failure.
    pub(super) fn write(self, pictures: &Pictures, summary: &Summary) -> Result<(), Failure> {
        let page = pictures.page(summary, &TimeZone::system());
        let written = match self.file {
            Some(mut file) => file.write_all(page.as_bytes()),
            None => match io::stdout().write_all(page.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                written => written,
            },
        };
        written.map_err(|error| unwritten(&self.path, &error))
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    match files::is_stdin(path) {
        true => Failure::new(format!("cannot write the page to standard output: {error}")),
        false => Failure::new(format!("cannot write the page to '{}': {error}", path.display())),
    }
}

/// The page of connections that this program relays.
#[derive(Debug)]
pub(super) struct LivePage {
    /// `None` once it is written.
    gathered: Mutex<Option<(PageFile, Builder, Pictures)>>,
}

impl LivePage {
    /// As [`PageFile::create`].
    pub(super) fn create(path: &Path, others: &[PathBuf]) -> Result<Self, Failure> {
        let mut options = Options::default();
        Pictures::keep(&mut options);
        let file = PageFile::create(path, others)?;
        let gathered = (file, Builder::new(options), Pictures::default());
        Ok(Self { gathered: Mutex::new(Some(gathered)) })
    }

    /// Adds a connection that has ended.
    pub(super) fn add(&self, record: &Record) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, builder, pictures)) = &mut *gathered {
            builder.add_record(record, |connection| pictures.add(connection));
        }
    }

    /// Writes the page, once.
    pub(super) fn write(&self) -> Result<(), Failure> {
        let gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner).take();
        gathered
            .map_or(Ok(()), |(file, builder, pictures)| file.write(&pictures, &builder.finish()))
    }
}
