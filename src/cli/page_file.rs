//! `--html FILE`: the report as a page.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use conniver::output::missing_directory;
use conniver::record::Record;
use conniver::report::{Builder, Options, Pictures, Summary};
use jiff::tz::TimeZone;
use tempfile::NamedTempFile;

use super::exit::Failure;
use super::files;
use super::usage::wrong_usage;

/// Where a page has what tells it from other files, in bytes from its beginning.
const HEAD: u64 = 4096;

/// The place of a page, which is written at the end. A file takes its name when it is whole, so that no
/// failure leaves a part of a page, or takes an older one away.
#[derive(Debug)]
pub(super) struct PageFile {
    /// As it was named.
    named: PathBuf,
    /// What is replaced: not a symbolic link, but what that names.
    path: PathBuf,
}

impl PageFile {
    /// Checks that the page can be written, without touching its file. `others` are files of records
    /// of the same command line. A file that is not a page is never overwritten: it ends the program as wrong usage
    /// of `command`.
    ///
    /// # Errors
    ///
    /// The page cannot be written.
    pub(super) fn create(path: &Path, others: &[PathBuf], command: &str) -> Result<Self, Failure> {
        let named = path.to_owned();
        let resolved = path.canonicalize().ok().filter(|_| !files::is_stdin(path));
        let page = Self { path: resolved.unwrap_or_else(|| named.clone()), named };
        if page.is_stdout() {
            return Ok(page);
        }
        if let Err(error) = page.check(others).map_err(|error| unwritten(path, &error))? {
            wrong_usage(&[command], &format!("--html: '{}' {error}", path.display()));
        }
        if page.is_replaced() {
            // So that nobody waits for a page that cannot be written.
            page.temporary().map_err(|error| unwritten(path, &error))?;
        }
        Ok(page)
    }

    pub(super) fn is_stdout(&self) -> bool {
        files::is_stdin(&self.named)
    }

    /// Whether the page takes the place of a file, and is not written into a pipe or a device.
    fn is_replaced(&self) -> bool {
        std::fs::metadata(&self.path).map_or(true, |metadata| metadata.is_file())
    }

    /// Whether the page may have this name; why not.
    fn check(&self, others: &[PathBuf]) -> io::Result<Result<(), &'static str>> {
        let page = files::place(&self.path);
        if page.is_some() && others.iter().any(|other| files::place(other) == page) {
            return Ok(Err("has records; name another file"));
        }
        match std::fs::metadata(&self.path) {
            Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(metadata) if metadata.is_file() => {}
            _ => return Ok(Ok(())),
        }
        let mut head = Vec::new();
        File::open(&self.path)?.take(HEAD).read_to_end(&mut head)?;
        Ok(match &head[..] {
            [] => Ok(()),
            head if Pictures::is_page(head) => Ok(()),
            [b'{', ..] => Err("has records; name another file"),
            _ => Err("exists and is not a page of conniver; name another file, or remove it"),
        })
    }

    /// A file beside the page's place, which is removed unless it takes that place. Only its owner may
    /// read it: what a page says of hosts and users is as private as the records.
    fn temporary(&self) -> io::Result<NamedTempFile> {
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut builder = tempfile::Builder::new();
        builder.prefix(".conniver-").suffix(".html");
        builder.tempfile_in(directory.unwrap_or(Path::new(".")))
    }

    /// Writes the page, with times of the local zone. A reader of standard output that has gone is no
    /// failure.
    pub(super) fn write(self, pictures: &Pictures, summary: &Summary) -> Result<(), Failure> {
        let page = pictures.page(summary, &TimeZone::system());
        let written = if self.is_stdout() {
            match io::stdout().write_all(page.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                written => written,
            }
        } else if self.is_replaced() {
            self.replace(page.as_bytes())
        } else {
            let opened = OpenOptions::new().write(true).open(&self.path);
            opened.and_then(|mut file| file.write_all(page.as_bytes()))
        };
        written.map_err(|error| unwritten(&self.named, &error))
    }

    fn replace(&self, page: &[u8]) -> io::Result<()> {
        let mut file = self.temporary()?;
        file.write_all(page)?;
        if let Ok(older) = std::fs::metadata(&self.path) {
            file.as_file().set_permissions(older.permissions())?;
        }
        file.persist(&self.path).map(drop).map_err(|failed| failed.error)
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let is_directory = error.kind() == io::ErrorKind::IsADirectory;
    // tempfile adds the name of its file, which nobody has given.
    let error = error.to_string();
    let error = error.split(" at path ").next().unwrap_or_default();
    let why = match missing_directory(path) {
        Some(missing) => format!("{missing} choose another file"),
        None if is_directory => format!("{error}; name a file in it"),
        None => error.to_owned(),
    };
    match files::is_stdin(path) {
        true => Failure::new(format!("cannot write the page to standard output: {why}")),
        false => Failure::new(format!("cannot write the page to '{}': {why}", path.display())),
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
    pub(super) fn create(path: &Path, others: &[PathBuf], command: &str) -> Result<Self, Failure> {
        let mut options = Options::default();
        Pictures::keep(&mut options);
        let file = PageFile::create(path, others, command)?;
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
