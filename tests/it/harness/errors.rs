//! What holds for the errors in every record that a test reads.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use conniver::Report;
use conniver::record::Record;

/// The codes that `docs/error-codes.md` explains.
pub(crate) static DOCUMENTED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/error-codes.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let codes = rows.flat_map(|row| row.split(" | ").next().unwrap_or_default().split('`'));
    codes.filter(|code| is_symbol(code)).map(str::to_owned).collect()
});

pub(crate) fn is_symbol(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.len() > 2
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(is_part)
}

/// The name of an errno value, of which there are more than anybody lists.
pub(crate) fn is_of_the_system(code: &str) -> bool {
    code.starts_with('E') && !code.contains('_') && code != "EOF"
}

/// `HTTP_502`, `SOCKS5_05`: another one's status is a part of it.
pub(crate) fn is_of_a_family(code: &str) -> bool {
    let is_status = |status: &str| status.len() == 3 && status.parse::<u16>().is_ok();
    let is_reply = |reply: &str| reply.len() == 2 && u8::from_str_radix(reply, 16).is_ok();
    code.strip_prefix("HTTP_").is_some_and(is_status)
        || code.strip_prefix("SOCKS5_").is_some_and(is_reply)
}

pub(crate) fn is_documented(code: &str) -> bool {
    is_of_the_system(code) || is_of_a_family(code) || DOCUMENTED.contains(code)
}

/// Codes are symbols. Texts are words: no address, no name of a host, no number of the system's.
pub(crate) fn assert_symbols_and_words(record: &Record) {
    let ending = record.ending.iter().map(|ending| (&ending.error_code, &ending.error));
    let attempts = record.attempts.iter().map(|attempt| (&attempt.error_code, &attempt.error));
    let legs = [Some(&record.client), record.upstream.as_ref()].into_iter().flatten();
    for (code, text) in ending.chain(attempts).chain(legs.flat_map(of_leg)) {
        assert_eq!(code.is_some(), text.is_some(), "{code:?} {text:?}");
        let (Some(code), Some(text)) = (code, text) else { continue };
        assert!(is_symbol(code), "{code}");
        assert!(is_documented(code), "docs/error-codes.md does not explain {code}");
        assert!(!text.is_empty() && !text.contains("os error"), "{text}");
        assert!(!text.split_whitespace().any(is_address), "{text}");
        let hosts = [&record.target, &record.target_host, &record.client_host];
        for host in hosts.into_iter().flatten() {
            // A name may be a word as well.
            assert!(!host.contains('.') || !text.contains(&**host), "{text}");
        }
    }
}

fn of_leg(leg: &Report) -> [(&Option<String>, &Option<String>); 3] {
    [
        (&leg.rx_err_code, &leg.rx_err),
        (&leg.tx_err_code, &leg.tx_err),
        (&leg.info_err_code, &leg.info_err),
    ]
}

fn is_address(word: &str) -> bool {
    let word = word.trim_matches(|c: char| c.is_ascii_punctuation() && !"[]:".contains(c));
    let word = word.strip_suffix(':').unwrap_or(word);
    word.parse::<SocketAddr>().is_ok() || word.parse::<IpAddr>().is_ok()
}

#[test]
fn addresses_are_found_in_texts() {
    for text in ["192.0.2.1:80", "(192.0.2.1)", "192.0.2.1:", "[::1]:80", "::1,"] {
        assert!(is_address(text), "{text}");
    }
    for text in ["HTTP", "407", "5", "refused:", "a::"] {
        assert!(!is_address(text), "{text}");
    }
}
