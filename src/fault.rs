//! Errors as shown in records: a symbol, and a text without addresses or numbers.

use std::borrow::Cow;
use std::io;

/// An error as a record shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// A symbol: `ECONNREFUSED`, `EAI_NONAME`, `CONNECT_TIMEOUT`, …
    pub(crate) code: Cow<'static, str>,
    /// A short description.
    pub(crate) text: Cow<'static, str>,
}

impl From<&io::Error> for Fault {
    fn from(error: &io::Error) -> Self {
        Self { code: code_of(error), text: text_of(error) }
    }
}

/// Why a file cannot be created, if that is because its directory does not exist; ends with `or`, for what else can be
/// done.
#[cfg(any(feature = "proxy", feature = "stat"))]
pub fn missing_directory(file: &std::path::Path) -> Option<String> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty())?;
    let sentence = || match unexpanded_home(file) {
        Some(why) => format!("{why}, or"),
        None => format!("the directory '{}' does not exist; create it, or", directory.display()),
    };
    (!directory.exists()).then(sentence)
}

/// Why a file is not found whose name begins with `~`, and what to write. `None` of others, and where there is such a
/// directory.
#[cfg(any(feature = "proxy", feature = "stat"))]
pub fn unexpanded_home(file: &std::path::Path) -> Option<&'static str> {
    let first = std::path::Path::new(file.components().next()?.as_os_str());
    let is_home = first.to_str()?.starts_with('~') && !first.exists();
    is_home.then_some(
        "the shell expands '~' only at the beginning of a word, not behind '=' or '@'; write $HOME \
         instead of '~'",
    )
}

/// The error's symbol: the name of its errno, or one for its kind where it has none.
pub(crate) fn code_of(error: &io::Error) -> Cow<'static, str> {
    match error.raw_os_error() {
        Some(number) => os_code(number),
        None => kind_code(error.kind()).into(),
    }
}

/// The text of the error: by `strerror` or by its kind. The error's own text is not used, because
/// it may contain an address.
pub(crate) fn text_of(error: &io::Error) -> Cow<'static, str> {
    match error.raw_os_error() {
        Some(number) => os_text(number),
        None => error.kind().to_string().into(),
    }
}

/// The symbol of the errno with the same meaning, for errors without a number.
fn kind_code(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ConnectionRefused => "ECONNREFUSED",
        io::ErrorKind::ConnectionReset => "ECONNRESET",
        io::ErrorKind::ConnectionAborted => "ECONNABORTED",
        io::ErrorKind::NotConnected => "ENOTCONN",
        io::ErrorKind::BrokenPipe => "EPIPE",
        io::ErrorKind::TimedOut => "ETIMEDOUT",
        io::ErrorKind::UnexpectedEof => "EOF",
        io::ErrorKind::OutOfMemory => "ENOMEM",
        _ => "EIO",
    }
}

#[cfg(unix)]
fn os_code(number: i32) -> Cow<'static, str> {
    use nix::errno::Errno;
    match Errno::from_raw(number) {
        Errno::UnknownErrno => "EIO".into(),
        errno => format!("{errno:?}").into(),
    }
}

#[cfg(unix)]
fn os_text(number: i32) -> Cow<'static, str> {
    nix::errno::Errno::from_raw(number).desc().into()
}

/// Winsock's errors that a TCP connection meets, under the names that every system shares.
#[cfg(windows)]
fn os_code(number: i32) -> Cow<'static, str> {
    use windows_sys::Win32::Networking::WinSock::*;
    match number {
        WSAECONNREFUSED => "ECONNREFUSED",
        WSAECONNRESET => "ECONNRESET",
        WSAECONNABORTED => "ECONNABORTED",
        WSAETIMEDOUT => "ETIMEDOUT",
        WSAEHOSTUNREACH => "EHOSTUNREACH",
        WSAENETUNREACH => "ENETUNREACH",
        WSAEHOSTDOWN => "EHOSTDOWN",
        WSAENETDOWN => "ENETDOWN",
        WSAENETRESET => "ENETRESET",
        WSAENOTCONN => "ENOTCONN",
        WSAESHUTDOWN => "EPIPE",
        WSAEADDRINUSE => "EADDRINUSE",
        WSAEADDRNOTAVAIL => "EADDRNOTAVAIL",
        WSAEACCES => "EACCES",
        WSAEMFILE => "EMFILE",
        WSAENOBUFS => "ENOBUFS",
        _ => "EIO",
    }
    .into()
}

#[cfg(windows)]
fn os_text(number: i32) -> Cow<'static, str> {
    io::Error::from_raw_os_error(number).kind().to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn an_error_becomes_a_symbol_and_words_without_its_number() {
        let fault = Fault::from(&io::Error::from_raw_os_error(libc::ECONNREFUSED));
        assert_eq!(fault.code, "ECONNREFUSED");
        assert_eq!(fault.text, "Connection refused");
    }

    #[test]
    fn an_errors_own_text_is_not_shown() {
        let fault = Fault::from(&io::Error::other("connecting to 192.0.2.1:80 failed"));
        assert_eq!((&*fault.code, &*fault.text), ("EIO", "other error"));
    }
}
