//! A COMMAND that could not be run: why, and what to do.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::cli::advice::{quoted, with_hyphens, without_credentials};
use crate::cli::wrap::unbroken;

/// What a shell would make something of, and the system does not.
const OF_A_SHELL: [char; 7] = ['|', '&', ';', '<', '>', '$', '*'];

/// The sentence on a COMMAND of these words.
pub(super) fn sentence(words: &[OsString], error: &io::Error) -> String {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let (program, arguments) = match words.split_first() {
        Some((program, arguments)) => (&**program, arguments),
        None => ("", &[][..]),
    };
    let shown = match variable(program) {
        // Its value may be a secret.
        Some(name) => format!("{name}=…"),
        None => without_credentials(program),
    };
    let path = Path::new(program);
    let is_path = program.contains('/');
    let (why, advice) = match error.kind() {
        ErrorKind::NotFound if is_path && path.exists() => (
            "its interpreter does not exist".to_owned(),
            "check its first line (#!), or whether it was built for this system".to_owned(),
        ),
        ErrorKind::NotFound => ("not found".to_owned(), not_found(program, arguments)),
        ErrorKind::PermissionDenied if path.is_dir() => {
            ("it is a directory".to_owned(), "give a program".to_owned())
        }
        ErrorKind::PermissionDenied if path.is_file() => (
            "it is not executable".to_owned(),
            format!("run: chmod +x {}, or give its interpreter, such as: sh {0}", quoted(program)),
        ),
        ErrorKind::ArgumentListTooLong => {
            (error.to_string(), "give it fewer or shorter arguments".to_owned())
        }
        _ if is_no_program(error) => (
            "it is not an executable for this system".to_owned(),
            "a script needs #! and its interpreter in its first line".to_owned(),
        ),
        _ => (error.to_string(), String::new()),
    };
    match advice.is_empty() {
        true => format!("cannot run '{shown}': {why}"),
        false => format!("cannot run '{shown}': {why}; {advice}"),
    }
}

/// The name in `NAME=VALUE`, as a shell takes it in front of a command.
fn variable(word: &str) -> Option<&str> {
    let (name, _) = word.split_once('=')?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (!name.is_empty() && name.bytes().all(fits)).then_some(name)
}

fn not_found(program: &str, arguments: &[std::borrow::Cow<'_, str>]) -> String {
    let all = || [&[program.into()], arguments].concat().join(" ");
    if program.is_empty() {
        return "give a program after the --".to_owned();
    }
    if let Some(tip) = with_hyphens(&[program]) {
        return tip;
    }
    if ["http://", "https://"].iter().any(|scheme| program.starts_with(scheme)) {
        let url = quoted(&without_credentials(program));
        return format!("to fetch a URL: {}", unbroken(&format!("conniver stat {url}")));
    }
    if program.starts_with('-') {
        return "options of conniver go before the --".to_owned();
    }
    if let Some(name) = variable(program) {
        let command = unbroken(&format!("conniver run -- env {name}=VALUE COMMAND"));
        return format!("to set a variable: {command}");
    }
    if arguments.iter().any(|word| word == "--") {
        return "only options of conniver go before the --; it may be part of an option's value"
            .to_owned();
    }
    let is_line = program.contains(char::is_whitespace);
    if is_line && program.contains(OF_A_SHELL) {
        return format!(
            "write: {}",
            unbroken(&format!("conniver run -- sh -c {}", quoted(&all())))
        );
    }
    if is_line {
        return format!("write: {}", unbroken(&format!("conniver run -- {}", all())));
    }
    if program.contains('/') {
        return "check the path".to_owned();
    }
    "it is not in PATH; run shell built-ins and aliases with sh -c 'LINE'".to_owned()
}

#[cfg(unix)]
fn is_no_program(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::ENOEXEC as i32)
}

#[cfg(not(unix))]
fn is_no_program(_: &io::Error) -> bool {
    false
}
