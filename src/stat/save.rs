//! Opens the file for a response body.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use hyper::HeaderMap;
use hyper::header::CONTENT_DISPOSITION;
use percent_encoding::percent_decode_str;

use super::failure::Failure;
use super::{Save, Url};
use crate::fault::{Fault, missing_directory, text_of};

/// Longest file name on common systems, bytes.
const LONGEST_NAME: usize = 255;

/// Opens the file for the body of a response; `None` if it is discarded.
///
/// # Errors
///
/// The file cannot be opened. An existing file is never overwritten under a name chosen by the
/// server.
pub(super) fn open(
    save: &Save,
    url: &Url,
    headers: &HeaderMap,
) -> Result<Option<(File, PathBuf)>, Failure> {
    let (path, file) = match save {
        Save::Nothing => return Ok(None),
        Save::To(path) => (path.clone(), File::create(path)),
        Save::UnderItsName => {
            let path = PathBuf::from(name(url, headers));
            let file = OpenOptions::new().write(true).create_new(true).open(&path);
            (path, file)
        }
    };
    match file {
        Ok(file) => Ok(Some((file, path))),
        Err(error) => Err(failure(&error, |why| {
            format!("cannot open '{}' for the body: {why}", path.display())
        })),
    }
}

/// Why a part of the body could not be written to this file.
pub(super) fn unwritten(path: &Path, error: &io::Error) -> Failure {
    failure(error, |why| {
        format!("cannot write the body to '{}', which is incomplete: {why}", path.display())
    })
}

fn failure(error: &io::Error, sentence: impl FnOnce(&str) -> String) -> Failure {
    let Failure { outcome, fault } = Failure::from(error);
    let text = sentence(&fault.text).into();
    Failure { outcome, fault: Fault { text, ..fault } }
}

/// Checks that the file for the body can be opened, without creating or truncating it, so that a
/// response is not lost.
///
/// # Errors
///
/// A sentence on why it cannot.
pub(super) fn check_writable(save: &Save) -> Result<(), String> {
    let (path, shown) = match save {
        Save::Nothing => return Ok(()),
        Save::To(path) => (path.as_path(), format!("'{}'", path.display())),
        Save::UnderItsName => (Path::new("./name"), "a file in this directory".to_owned()),
    };
    writable(path).map_err(|error| {
        let why = missing_directory(path).unwrap_or_else(|| format!("{};", text_of(&error)));
        format!("cannot open {shown} for the body: {why} choose another file with -o FILE")
    })
}

fn writable(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        // Opening anything else, such as a pipe, may affect a process at its other end.
        Ok(metadata) if metadata.is_file() || metadata.is_dir() => {
            OpenOptions::new().append(true).open(path).map(drop)
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let directory = directory.unwrap_or(Path::new("."));
            if !std::fs::metadata(directory)?.is_dir() {
                return Err(io::Error::from(io::ErrorKind::NotADirectory));
            }
            may_create_in(directory)
        }
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn may_create_in(directory: &Path) -> io::Result<()> {
    use nix::unistd::{AccessFlags, access};
    access(directory, AccessFlags::W_OK | AccessFlags::X_OK).map_err(io::Error::from)
}

#[cfg(not(unix))]
fn may_create_in(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The file name that the server gives, or else the last segment of the URL's path, sanitised to a
/// file in the current directory.
fn name(url: &Url, headers: &HeaderMap) -> String {
    let disposition = headers.get(CONTENT_DISPOSITION).map(|value| value.as_bytes());
    let named =
        disposition.and_then(|value| disposition_file_name(&String::from_utf8_lossy(value)));
    named
        .map(|name| sanitize(&name))
        .filter(|name| !name.is_empty())
        .or_else(|| Some(sanitize(&url.last_segment())).filter(|name| !name.is_empty()))
        .unwrap_or_else(|| "index.html".to_owned())
}

/// The file name in a Content-Disposition field (RFC 6266): `filename*` before `filename`.
fn disposition_file_name(disposition: &str) -> Option<String> {
    let (mut plain, mut extended) = (None, None);
    let mut rest = disposition.split_once(';')?.1;
    loop {
        let Some((name, after)) = rest.split_once('=') else { return extended.or(plain) };
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                let (token, after) = after.split_at(end);
                (token.trim().to_owned(), after)
            }
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "filename" => plain = plain.or(Some(value)),
            "filename*" => extended = extended.or_else(|| decoded(&value)),
            _ => {}
        }
        match after.split_once(';') {
            Some((_, after)) => rest = after,
            None => return extended.or(plain),
        }
    }
}

/// The content of a quoted string (RFC 9110 section 5.6.4) whose first quote is gone, and what
/// follows it.
fn unquoted(text: &str) -> (String, &str) {
    let mut content = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (content, text.get(at + 1..).unwrap_or_default()),
            '\\' => content.extend(chars.next().map(|(_, escaped)| escaped)),
            other => content.push(other),
        }
    }
    (content, "")
}

/// `UTF-8'en'a%20name` (RFC 8187).
fn decoded(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let charset = parts.next()?;
    let encoded = parts.nth(1)?;
    let bytes = percent_decode_str(encoded);
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" => bytes.decode_utf8().ok().map(Into::into),
        "iso-8859-1" => Some(bytes.map(char::from).collect()),
        _ => None,
    }
}

/// A name that leads to no other directory, is not hidden, is no option of a program, and has no
/// character that a common system forbids or that is not seen; empty where nothing is left.
fn sanitize(name: &str) -> String {
    let forbidden_last = |c: char| c == '.' || c.is_whitespace();
    // Both separators, on all systems.
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default().trim_start();
    let mut harmless = String::new();
    for c in last.trim_end_matches(forbidden_last).chars() {
        let c = match c {
            '.' | '-' if harmless.is_empty() => '_',
            c if c.is_control() || is_format(c) || "<>:\"|?*".contains(c) => '_',
            c => c,
        };
        if harmless.len() + c.len_utf8() > LONGEST_NAME {
            break;
        }
        harmless.push(c);
    }
    harmless.truncate(harmless.trim_end_matches(forbidden_last).len());
    harmless
}

/// Whether it is one of Unicode's format characters (`Cf`) or ends a line or a paragraph: it is not seen,
/// and may show others in another order.
fn is_format(c: char) -> bool {
    matches!(
        u32::from(c),
        0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x890..=0x891 | 0x8e2 | 0x180e
            | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb
            | 0x110bd | 0x110cd | 0x13430..=0x1343f | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a
            | 0xe0001 | 0xe0020..=0xe007f
    )
}

/// What the fuzz target runs: whatever a server says, the name is one file's in this directory.
#[cfg(any(test, fuzzing))]
pub(super) fn check(disposition: &str) {
    let Some(name) = disposition_file_name(disposition) else { return };
    let name = sanitize(&name);
    assert!(name.len() <= LONGEST_NAME && !name.starts_with(['.', '-']));
    assert!(!name.chars().any(|c| c.is_control() || is_format(c)), "{name:?}");
    let parts: Vec<_> = std::path::Path::new(&name).components().collect();
    assert!(name.is_empty() || matches!(parts[..], [std::path::Component::Normal(_)]), "{name:?}");
    assert_eq!(sanitize(&name), name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name_of(url: &str, disposition: Option<&str>) -> String {
        let mut headers = HeaderMap::new();
        if let Some(disposition) = disposition {
            headers.insert(CONTENT_DISPOSITION, disposition.try_into().unwrap());
        }
        name(&url.parse().unwrap(), &headers)
    }

    #[test]
    fn the_server_names_a_file_or_else_the_url_does() {
        for (url, disposition, expected) in [
            ("h/a/b.txt?c=/d", None, "b.txt"),
            ("h/a/", None, "index.html"),
            ("h/a%20b", None, "a b"),
            ("h/x", Some("attachment; filename=report.pdf"), "report.pdf"),
            ("h/x", Some("attachment; filename=\"a \\\"b\\\"; c\"; y=z"), "a _b_; c"),
            ("h/x", Some("inline; FileName*=UTF-8''%e2%82%ac.txt; filename=e"), "\u{20ac}.txt"),
            ("h/x", Some("inline; filename=e; filename*=UTF-16''%00"), "e"),
            ("h/x", Some("inline; filename*=iso-8859-1'de'%fc"), "\u{fc}"),
            ("h/x", Some("inline; filename=e; "), "e"),
            ("h/x", Some("inline; filename=e; nothing"), "e"),
            ("h/x", Some("inline"), "x"),
            ("h/x", Some("inline; filename="), "x"),
            ("h/x", Some("inline; nothing"), "x"),
        ] {
            assert_eq!(name_of(url, disposition), expected, "{url} {disposition:?}");
        }
    }

    #[test]
    fn no_name_leaves_the_directory_or_hides() {
        for (url, disposition, expected) in [
            ("h/a", Some("a; filename=../../etc/passwd"), "passwd"),
            ("h/a", Some("a; filename=\"..\\\\..\\\\evil.exe\""), "evil.exe"),
            ("h/a", Some("a; filename=/etc/cron.d/x"), "x"),
            ("h/a", Some("a; filename=.bashrc"), "_bashrc"),
            ("h/a", Some("a; filename=.."), "a"),
            ("h/a", Some("a; filename=\"C:x\""), "C_x"),
            ("h/a", Some("a; filename*=UTF-8''..%2F..%2Fx"), "x"),
            ("h/a", Some("a; filename*=UTF-8''a%00b%1b"), "a_b_"),
            ("h/..%2f..%2fevil", None, "evil"),
            ("h/%2e%2e%2f", None, "index.html"),
            ("h/.ssh", None, "_ssh"),
            ("h/a", Some("a; filename=-rf"), "_rf"),
            ("h/--help", None, "_-help"),
            ("h/a", Some("a; filename*=UTF-8''a%E2%80%AEgnp.exe"), "a_gnp.exe"),
            ("h/a%E2%81%A6b%EF%BB%BF%F3%A0%81%81", None, "a_b__"),
        ] {
            assert_eq!(name_of(url, disposition), expected, "{url} {disposition:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_names_one_file_here(
            name in "[-./\\\\a-z\":%;' ]{0,20}|\\PC{0,300}", form in 0..3,
        ) {
            match form {
                0 => check(&format!("a; filename=\"{name}\"")),
                1 => check(&format!("a; filename*=UTF-8''{name}")),
                _ => check(&name),
            }
        }
    }
}
