//! The README and the pages in `docs/` say what is.
//!
//! Help texts and the reference of keys stand in them as the program prints them:
//! `UPDATE_DOCS=1 cargo test --test it documents` writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::peers::{deaf_port, echo_server, exchange};
use crate::harness::program::{BINARY, Proxy};
use crate::harness::{errors, has_tool, run};

const REFERENCE: [&str; 2] = [
    "<!-- begin: conniver schema --markdown -->\n\n",
    "\n<!-- end: conniver schema --markdown -->\n",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The project's Markdown files, by their paths within it.
fn pages() -> BTreeMap<PathBuf, String> {
    let directories = ["", "docs"].map(|directory| root().join(directory));
    let entries = directories.iter().flat_map(|directory| std::fs::read_dir(directory).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let pages: BTreeMap<_, _> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root()).unwrap().to_owned(), text)
        })
        .collect();
    assert!(pages.len() > 15, "{:?}", pages.keys());
    pages
}

fn page(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// A page must be `expected`. With `UPDATE_DOCS` in the environment it becomes that.
fn assert_page(path: &Path, present: &str, expected: &str) {
    if present == expected {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return std::fs::write(root().join(path), expected).unwrap();
    }
    let mut lines = present.lines().zip(expected.lines()).zip(1..);
    let first = lines.find(|((present, expected), _)| present != expected);
    panic!(
        "{} is not what the program prints; UPDATE_DOCS=1 cargo test --test it documents writes it \
         anew. The first difference: {first:?}",
        path.display()
    );
}

/// The lines of a page outside its blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// A line without what stands in it as code.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

#[test]
fn readme_has_at_most_350_lines() {
    let lines = page("README.md").lines().count();
    assert!(lines <= 350, "{lines}");
}

#[test]
fn pasted_help_is_what_the_program_prints() {
    let mut pasted = BTreeSet::new();
    for (path, text) in pages() {
        let mut expected = String::new();
        let mut rest = &*text;
        while let Some((before, block)) = rest.split_once("```\n$ conniver ") {
            let (command, shown) = block.split_once('\n').unwrap();
            expected += &format!("{before}```\n$ conniver {command}\n");
            rest = shown;
            if let Some(command) = command.strip_suffix(" --help") {
                let args: Vec<_> = command.split(' ').chain(["--help"]).collect();
                expected += &run(BINARY, &args);
                rest = &shown[shown.find("```").unwrap()..];
                pasted.insert(command.split(' ').next().unwrap().to_owned());
            }
        }
        expected += rest;
        assert_page(&path, &text, &expected);
    }
    let help = run(BINARY, &["--help"]);
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands = commands.lines().filter(|line| !line.starts_with("   "));
    let commands = commands.map(|line| line.split_whitespace().next().unwrap().to_owned());
    let commands = commands.filter(|command| command != "help").collect();
    assert_eq!(pasted, commands, "the pages have the help of each");
}

#[test]
fn reference_of_keys_is_what_the_program_prints() {
    let path = Path::new("docs/record.md");
    let text = page("docs/record.md");
    let (before, rest) = text.split_once(REFERENCE[0]).unwrap();
    let (_, after) = rest.split_once(REFERENCE[1]).unwrap();
    let printed = run(BINARY, &["schema", "--markdown"]);
    let expected = [before, REFERENCE[0], &printed, REFERENCE[1], after].concat();
    assert_page(path, &text, &expected);
}

#[test]
fn every_key_that_may_be_null_says_when() {
    let printed = run(BINARY, &["schema", "--markdown"]);
    let lines = printed.split("`client.openedInfo.sysInfo` with").next().unwrap().lines();
    let nullable: Vec<_> = lines.filter(|line| line.contains(" or null | ")).collect();
    assert!(nullable.len() > 60, "{nullable:?}");
    // Where only some systems tell, it is null on others.
    let says_when = ["Null", "null ", "null,", "null.", "Linux", "FreeBSD", "Windows", "No system"];
    for line in nullable {
        let meaning = line.split(" or null | ").nth(1).unwrap();
        assert!(says_when.iter().any(|when| meaning.contains(when)), "{line}");
    }
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose(text).filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim();
        let kept = heading.chars().filter(|&c| c.is_alphanumeric() || " -_".contains(c));
        let anchor = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let mut numbered = anchor.clone();
        for number in 1.. {
            if anchors.insert(numbered) {
                break;
            }
            numbered = format!("{anchor}-{number}");
        }
    }
    anchors
}

/// The targets of a page's links and pictures.
fn links(text: &str) -> Vec<String> {
    prose(text)
        .map(without_code)
        .flat_map(|line| {
            let targets = line.split("](").skip(1);
            let targets = targets.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
            targets.collect::<Vec<_>>()
        })
        .filter(|target| !target.starts_with("https://"))
        .collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let pages = pages();
    let mut linked = BTreeMap::new();
    for (path, text) in &pages {
        let own: BTreeSet<_> = links(text)
            .iter()
            .map(|link| {
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = match file {
                    "" => root().join(path),
                    file => root().join(path).parent().unwrap().join(file),
                };
                let whole = target.canonicalize();
                let whole = whole.unwrap_or_else(|_| panic!("{path:?}: no such file: {link}"));
                let target = whole.strip_prefix(root().canonicalize().unwrap()).unwrap().to_owned();
                let found = anchor.is_empty() || anchors(&pages[&target]).contains(anchor);
                assert!(found, "{path:?}: no such heading: {link}");
                target
            })
            .collect();
        linked.insert(path.as_path(), own);
    }
    let [readme, map] = ["README.md", "docs/ARCHITECTURE.md"].map(|page| &linked[Path::new(page)]);
    for path in pages.keys().filter(|path| path.as_path() != Path::new("README.md")) {
        assert!(readme.contains(path) || map.contains(path), "nothing leads to {path:?}");
    }
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let path = Path::new("docs").join(entry.unwrap().file_name());
        let is_linked = linked.values().any(|links| links.contains(&path));
        assert!(is_linked, "nothing leads to {path:?}");
    }
}

/// All files below a directory with an extension.
fn files(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
}

/// The Rust files at a path.
fn sources(path: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    match path.is_dir() {
        true => files(path, "rs", &mut paths),
        false => paths.push(path.to_owned()),
    }
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn every_test_that_the_tables_of_the_go_package_name_exists() {
    let mut tests = BTreeSet::new();
    for source in ["src", "tests/it"].into_iter().flat_map(|path| sources(&root().join(path))) {
        let after = source.split("#[test]").skip(1).chain(source.split("#[tokio::test").skip(1));
        let name = |text: &str| Some(text.split("fn ").nth(1)?.split('(').next()?.to_owned());
        tests.extend(after.filter_map(name));
    }
    let page = page("docs/go-package.md");
    for (heading, least) in [("## Features", 40), ("## Differences", 15)] {
        let section = page.split(&format!("\n{heading}")).nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| ")).collect();
        assert!(rows.len() >= least, "{}", rows.len());
        assert!(rows[0].ends_with(" | test |") && rows[1].starts_with("| --- |"), "{rows:?}");
        for row in &rows[2..] {
            let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
            let named: Vec<_> = last.split('`').skip(1).step_by(2).collect();
            assert!(!named.is_empty(), "no test: {row}");
            for name in named {
                assert!(tests.contains(name), "no such test: {name}");
            }
        }
    }
}

/// The commands in the pages that begin with jq, run on a file with a good pair, a failed one, and all
/// other lines.
#[test]
fn jq_commands_take_every_line_that_the_program_writes() {
    for tool in ["jq", "bash", "column"] {
        if !has_tool(tool, "jq_commands_take_every_line_that_the_program_writes") {
            return;
        }
    }
    let (_held, deaf) = deaf_port();
    let forwards = [
        format!("0:{}", echo_server()),
        format!("0:{deaf}"),
        "0:no-such-host.invalid:80".to_owned(),
    ];
    let forwards = forwards.each_ref().map(String::as_str);
    let events = "start,open,sample,close,stop";
    let proxy = Proxy::start(&mut Command::new(BINARY), &forwards, &["--events", events]);
    for &address in proxy.addresses() {
        let mut client = std::net::TcpStream::connect(address).unwrap();
        if address == proxy.address() {
            exchange(&mut client, b"x");
        }
    }
    proxy.wait_for_records(3);
    let file = proxy.records_file().display().to_string();
    let pages = pages();
    let lines = pages.values().flat_map(|text| text.lines());
    let commands = lines.map(|line| line.strip_prefix("$ ").unwrap_or(line));
    let commands: Vec<&str> = commands.filter(|line| line.starts_with("jq ")).collect();
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        let command = command.replace("records.ndjson", &file);
        let script = format!("set -o pipefail; {command}");
        run("bash", &["-c", &script]);
    }
}

/// What looks like a code in the sources and is none.
const NO_CODES: [&str; 2] = ["CARGO_PKG_VERSION", "SCREAMING_SNAKE_CASE"];

/// Codes of one word are found in records alone, by what reads them in `harness/`.
#[test]
fn every_error_code_in_the_source_is_in_its_page_and_the_other_way_round() {
    let mut literals = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("src")).unwrap() {
        let entry = entry.unwrap();
        // Variables of the environment, states of TCP, cipher suites.
        let is_without = |room: &str| entry.file_name() != *room;
        if ["cli", "top", "tcp_info", "observe"].into_iter().all(is_without) {
            for source in sources(&entry.path()) {
                let source = source.split("#[cfg(test)]").next().unwrap();
                literals.extend(source.split('"').map(str::to_owned));
            }
        }
    }
    for literal in literals.iter().filter(|literal| literal.contains('_')) {
        let is_whole = errors::is_symbol(literal) && !literal.ends_with('_');
        let is_code = is_whole && !NO_CODES.contains(&&**literal);
        assert!(!is_code || errors::is_documented(literal), "docs/error-codes.md: no {literal}");
    }
    for code in &*errors::DOCUMENTED {
        let is_made_here = !errors::is_of_the_system(code) && !errors::is_of_a_family(code);
        assert!(!is_made_here || literals.contains(code), "docs/error-codes.md: {code}");
    }
}

/// The map names what is there, and all of it.
#[test]
fn architecture_has_every_room_of_the_source() {
    let text = page("docs/ARCHITECTURE.md");
    let named: BTreeSet<&str> = text.split('`').skip(1).step_by(2).collect();
    for path in named.iter().filter(|name| name.starts_with("src/") || name.starts_with("tests/")) {
        assert!(root().join(path).exists(), "no such file: {path}");
    }
    for entry in std::fs::read_dir(root().join("src")).unwrap() {
        let entry = entry.unwrap();
        let end = if entry.path().is_dir() { "/" } else { "" };
        let name = format!("src/{}{end}", entry.file_name().display());
        assert!(named.contains(&*name), "docs/ARCHITECTURE.md does not name {name}");
    }
}
