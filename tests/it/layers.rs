//! The order of the rooms in `src`: each stands on those before it, and no two files hold each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// From the ground up. `cli` knows the library by its public interface alone.
const ROOMS: &[&str] = &[
    "columns",
    "plural",
    "figures",
    "nanos",
    "fault",
    "clock",
    "secret",
    "log_throttle",
    "descriptors",
    "target",
    "tcp_info",
    "conn",
    "record",
    "report",
    "output",
    "failure",
    "catch_panic",
    "hook",
    "other_protocol",
    "socket_options",
    "relay",
    "observe",
    "sockets",
    "process",
    "access",
    "ingress",
    "dial",
    "judge",
    "expect",
    "proxy",
    "testing",
    "metrics",
    "stat",
    "top",
    "watch",
    "fuzzing",
    "cli",
];

/// The modules of `src` with what each one uses, as paths from the crate's root: what is tested, not what
/// tests.
fn modules() -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let mut modules = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let inner = path.strip_prefix(&root).unwrap().with_extension("");
            let mut name: Vec<String> =
                inner.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if name.iter().any(|part| part == "tests" || part == "fuzzing") || name == ["main"] {
                continue;
            }
            name.pop_if(|last| last == "mod" || last == "lib");
            let text = fs::read_to_string(&path).unwrap();
            let used = uses(&text).iter().filter_map(|path| absolute(&name, path)).collect();
            modules.insert(name, used);
        }
    }
    modules
}

/// All paths after `use`, and those that begin with `crate` or `super` elsewhere.
fn uses(text: &str) -> Vec<String> {
    let tested = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code: Vec<_> = tested.lines().map(|line| line.split("//").next().unwrap()).collect();
    let code = code.join(" ");
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let is_word = code[..at].ends_with([' ', '\n', ')']) || at == 0;
        if let Some((tree, _)) = code[at + 4..].split_once(';').filter(|_| is_word) {
            let tree: String = tree.split_whitespace().collect();
            expand("", &tree, &mut paths);
        }
    }
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            paths.push(code[at..].split(|c| !is_path(c)).next().unwrap().to_owned());
        }
    }
    paths
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        paths.push(format!("{prefix}{tree}"));
        return;
    };
    let prefix = format!("{prefix}{head}");
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                expand(&prefix, &rest[begin..at], paths);
                begin = at + 1;
            }
            _ => {}
        }
    }
}

/// The path from the root, of one that is used in this module.
fn absolute(module: &[String], path: &str) -> Option<Vec<String>> {
    let parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
    let ups = parts.iter().take_while(|part| **part == "super").count();
    let (base, rest) = match *parts.first()? {
        "crate" => (&module[..0], &parts[1..]),
        "self" => (module, &parts[1..]),
        "super" => (&module[..module.len().checked_sub(ups)?], &parts[ups..]),
        _ => (module, &parts[..]),
    };
    Some(base.iter().cloned().chain(rest.iter().map(|part| (*part).to_owned())).collect())
}

#[test]
fn each_room_uses_those_before_it_alone() {
    let rank = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut wrong = Vec::new();
    for (module, used) in modules() {
        let Some(room) = module.first() else { continue };
        let own = rank(room).unwrap_or_else(|| panic!("{room} has no place among the rooms"));
        for path in used {
            // Other crates, and what lib.rs has for all, have no rank.
            if let Some(other) =
                path.first().and_then(|other| rank(other)).filter(|other| *other > own)
            {
                wrong.push(format!("{} uses {}", module.join("::"), ROOMS[other]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_two_files_of_a_room_use_each_other() {
    let modules = modules();
    // What a path leads to: the file that it names, or the one that its room shows under this name.
    let file_of = |path: &[String]| {
        let ends = (1..=path.len()).rev();
        ends.map(|end| path[..end].to_vec()).find(|path| modules.contains_key(path))
    };
    let shown = |file: Vec<String>, path: &[String]| {
        let name = path.get(file.len())?;
        let own = &modules[&file];
        let is_it = |used: &&Vec<String>| {
            used.last() == Some(name) && used.len() == file.len() + 2 && used.starts_with(&file)
        };
        own.iter().find(is_it).and_then(|used| file_of(&used[..used.len() - 1]))
    };
    let mut edges: BTreeMap<&[String], BTreeSet<Vec<String>>> = BTreeMap::new();
    for (module, used) in &modules {
        for path in used {
            let Some(file) = file_of(path) else { continue };
            let file = shown(file.clone(), path).unwrap_or(file);
            // A room shows what its files have.
            if file != *module && !file.starts_with(module) {
                edges.entry(module).or_default().insert(file);
            }
        }
    }
    let reaches = |from: &[String], to: &[String]| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from.to_vec()]);
        while let Some(module) = left.pop() {
            for next in edges.get(&module[..]).into_iter().flatten() {
                if next == to {
                    return true;
                }
                if seen.insert(next.clone()) {
                    left.push(next.clone());
                }
            }
        }
        false
    };
    let circles: Vec<_> =
        modules.keys().filter(|module| reaches(module, module)).map(|m| m.join("::")).collect();
    assert!(circles.is_empty(), "they use each other: {circles:#?}");
}
