//! Users and their passwords, compared in constant time.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// Longest name and longest password, bytes; RFC 1929 can carry no longer ones.
const LONGEST: usize = 255;

/// A name and a password in a block of fixed size, so that a comparison does not leak their
/// lengths. Wiped on drop.
#[derive(Clone)]
pub(crate) struct Credentials(Box<Zeroizing<[u8; 2 * (1 + LONGEST)]>>);

impl Credentials {
    /// `None` if one of them is too long.
    pub(crate) fn new(user: &[u8], password: &[u8]) -> Option<Self> {
        let mut block = Box::new(Zeroizing::new([0; 2 * (1 + LONGEST)]));
        for (half, text) in block.chunks_exact_mut(1 + LONGEST).zip([user, password]) {
            let (length, room) = half.split_first_mut()?;
            *length = u8::try_from(text.len()).ok()?;
            room.get_mut(..text.len())?.copy_from_slice(text);
        }
        Some(Self(block))
    }

    /// The value of an Authorization field of the Basic scheme (RFC 7617); `None` if it is not one.
    pub(crate) fn from_basic(value: &[u8]) -> Option<Self> {
        let (scheme, encoded) = value.split_at_checked("Basic ".len())?;
        if !scheme.eq_ignore_ascii_case(b"Basic ") {
            return None;
        }
        Self::from_line(&Zeroizing::new(BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?))
    }

    /// `user:password`; the password may have colons.
    fn from_line(line: &[u8]) -> Option<Self> {
        let colon = line.iter().position(|&byte| byte == b':')?;
        Self::new(line.get(..colon)?, line.get(colon + 1..)?)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// The users of the proxy, by name and password.
#[derive(Clone)]
pub struct Users(Vec<Credentials>);

/// Why a file of users cannot be used.
#[derive(Debug)]
pub struct UsersError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Unreadable(std::io::Error),
    Malformed {
        line: usize,
    },
    /// The password is a hash, as htpasswd(1) and crypt(3) write them: whoever knew it could use it.
    Hashed {
        line: usize,
    },
    Empty,
}

impl fmt::Display for UsersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read users from '{}': ", self.path.display())?;
        match &self.problem {
            Problem::Unreadable(error) => write!(
                f,
                "{}; {}",
                crate::fault::text_of(error),
                crate::fault::unexpanded_home(&self.path)
                    .unwrap_or("--auth-file expects a file of user:password lines")
            ),
            // Not the line itself: a password may stand in it.
            Problem::Malformed { line } => {
                write!(f, "line {line} is not user:password with at most {LONGEST} bytes each")
            }
            Problem::Hashed { line } => write!(
                f,
                "line {line} has a hash instead of a password; store the password itself, in a file \
                 that only its owner can read"
            ),
            Problem::Empty => f.write_str("the file has none; expected lines of user:password"),
        }
    }
}

impl std::error::Error for UsersError {}

impl Users {
    /// Reads `user:password` lines; empty lines and lines that begin with `#` are ignored.
    ///
    /// # Errors
    ///
    /// The file cannot be read, a line is malformed, or there is no user.
    pub fn read(path: &Path) -> Result<Self, UsersError> {
        let error = |problem| UsersError { path: path.to_owned(), problem };
        let text = std::fs::read(path).map_err(|e| error(Problem::Unreadable(e)))?;
        let text = Zeroizing::new(text);
        let mut users = Vec::new();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() && !line.starts_with(b"#") {
                let user = Credentials::from_line(line);
                users.push(user.ok_or_else(|| error(Problem::Malformed { line: index + 1 }))?);
                if has_hash(line) {
                    return Err(error(Problem::Hashed { line: index + 1 }));
                }
            }
        }
        if users.is_empty() { Err(error(Problem::Empty)) } else { Ok(Self(users)) }
    }

    /// Whether a user has this name and password. Compares with all users, in constant time.
    pub(crate) fn contains(&self, given: &Credentials) -> bool {
        let known = self.0.iter().fold(Choice::from(0), |known, user| {
            known | user.0.as_slice().ct_eq(given.0.as_slice())
        });
        known.into()
    }
}

/// Whether what stands behind the colon is what htpasswd(1) or crypt(3) make of a password.
fn has_hash(line: &[u8]) -> bool {
    let password = line.splitn(2, |&byte| byte == b':').nth(1).unwrap_or_default();
    let is_between = |mark: u8| {
        // `$ID$…`, of a name of letters and digits, and `{SCHEME}…`.
        let inner = password.iter().skip(1).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        inner > 0 && password.get(1 + inner) == Some(&mark)
    };
    match password.first() {
        Some(b'$') => is_between(b'$') && password.len() >= 26,
        Some(b'{') => is_between(b'}') && password.len() >= 20,
        _ => false,
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(text: &str) -> Result<Users, UsersError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        std::fs::write(&path, text).unwrap();
        Users::read(&path)
    }

    #[test]
    fn only_a_whole_name_with_its_whole_password_is_known() {
        let users = users("# us\nann:se:cret\r\n\nbob:\n").unwrap();
        let knows = |user: &str, password: &str| {
            users.contains(&Credentials::new(user.as_bytes(), password.as_bytes()).unwrap())
        };
        assert!(knows("ann", "se:cret") && knows("bob", ""));
        for (user, password) in
            [("ann", ""), ("ann", "se:cre"), ("an", "nse:cret"), ("bob", "se:cret"), ("", "")]
        {
            assert!(!knows(user, password), "{user}:{password}");
        }
        // RFC 7617 section 2.
        let basic = Credentials::from_basic(b"basic YW5uOnNlOmNyZXQ=").unwrap();
        assert!(users.contains(&basic));
        for value in ["Bearer YW5uOnNlOmNyZXQ=", "Basic", "Basic !!", "Basic YW5u", ""] {
            assert!(Credentials::from_basic(value.as_bytes()).is_none(), "{value}");
        }
    }

    #[test]
    fn a_bad_file_is_an_error_that_shows_no_password() {
        let error = users("ann:secret\nhunter2\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
        assert!(users("").unwrap_err().to_string().contains("the file has none"));
        assert!(!format!("{:?}", Credentials::new(b"ann", b"secret")).contains("secret"));
    }
}
