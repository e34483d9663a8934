//! Fuzzing of sock_diag answers and files of /proc.

use std::ffi::OsStr;

use super::message::{Message, messages};
use super::{proc_files, sock_diag};

/// An answer of sock_diag, and files of /proc.
pub fn process(bytes: &[u8]) {
    if let Ok(Some(owner)) = sock_diag::answer(bytes) {
        assert!(owner.inode != Some(0));
    }
    for message in messages(bytes) {
        if let Message::Socket(socket) = message {
            let _ = (socket.local(), socket.remote(), socket.cgroup());
            assert!(socket.snapshot().is_none_or(|info| info.bytes().len() < bytes.len()));
        }
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = proc_files::parent_in(&text);
    let _ = proc_files::socket_inode(OsStr::new(&*text));
    let cgroup = proc_files::unified_cgroup(&text);
    assert!(cgroup.is_none_or(|path| !path.contains('\n')));
}
