//! The names in the system's hosts file (hosts(5)).

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::time::SystemTime;

/// The set of names in the hosts file. It is reloaded when the file has changed.
///
/// The addresses are not stored: the system's resolver provides them, in its own order. What
/// matters here is only that it need not ask the network for such a name.
#[derive(Debug)]
pub(super) struct Hosts {
    path: PathBuf,
    version: Option<Version>,
    /// Hashes, because block lists have 200,000 names. A collision is harmless.
    names: HashSet<u64>,
    hasher: RandomState,
}

/// Metadata that change when the file is written.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    modified: Option<SystemTime>,
    length: u64,
}

impl Hosts {
    /// The system's hosts file.
    pub(super) fn system() -> Self {
        Self::from_path(system_path())
    }

    /// A hosts file at this path.
    pub(super) fn from_path(path: PathBuf) -> Self {
        Self { path, version: None, names: HashSet::new(), hasher: RandomState::new() }
    }

    /// Whether the file has this name, in lower case.
    pub(super) fn has(&mut self, name: &str) -> bool {
        let metadata = fs::metadata(&self.path).ok();
        let version =
            metadata.map(|file| Version { modified: file.modified().ok(), length: file.len() });
        if version != self.version {
            let text = fs::read(&self.path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            self.names = names(&text).map(|name| self.hasher.hash_one(name)).collect();
            self.version = version;
        }
        self.names.contains(&self.hasher.hash_one(name))
    }
}

#[cfg(not(windows))]
fn system_path() -> PathBuf {
    "/etc/hosts".into()
}

#[cfg(windows)]
fn system_path() -> PathBuf {
    let root = std::env::var_os("SystemRoot").unwrap_or_else(|| r"C:\Windows".into());
    PathBuf::from(root).join(r"System32\drivers\etc\hosts")
}

/// The names of a hosts file, in lower case: of every line all words but the first, up to a `#`.
fn names(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().flat_map(|line| {
        let entry = line.split('#').next().unwrap_or_default();
        entry.split_whitespace().skip(1).map(str::to_ascii_lowercase)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_again_when_the_file_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        let mut hosts = Hosts::from_path(path.clone());
        assert!(!hosts.has("one"));
        fs::write(&path, "127.0.0.1 One uno # two\n# 127.0.0.1 three\n\n::1\tfour").unwrap();
        for (name, there) in
            [("one", true), ("uno", true), ("two", false), ("three", false), ("four", true)]
        {
            assert_eq!(hosts.has(name), there, "{name}");
        }
        assert!(!hosts.has("127.0.0.1") && !hosts.has("one."));
        fs::write(&path, "127.0.0.1 five\n").unwrap();
        assert!(hosts.has("five") && !hosts.has("one"));
        fs::remove_file(&path).unwrap();
        assert!(!hosts.has("five"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_names_that_were_written_are_there(
            entries in prop::collection::vec(("[0-9.]{1,8}", "[a-zA-Z0-9.-]{1,12}", "[ \t]{1,3}"), 0..8),
            noise in "\\PC{0,40}",
        ) {
            let lines = entries.iter().map(|(ip, name, blank)| format!("{ip}{blank}{name}\n"));
            let text: String = lines.chain([format!("#{noise}\n"), noise.clone()]).collect();
            let found: HashSet<_> = names(&text).collect();
            for (_, name, _) in &entries {
                prop_assert!(found.contains(&name.to_ascii_lowercase()));
            }
        }
    }
}
