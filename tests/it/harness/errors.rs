//! What holds for the errors in every record that a test reads.

use std::net::{IpAddr, SocketAddr};

use conniver::Report;
use conniver::record::Record;

/// Codes are symbols. Texts are words: no address, no name of a host, no number of the system's.
pub(crate) fn assert_symbols_and_words(record: &Record) {
    let ending = record.ending.iter().map(|ending| (&ending.error_code, &ending.error));
    let attempts = record.attempts.iter().map(|attempt| (&attempt.error_code, &attempt.error));
    let legs = [Some(&record.client), record.upstream.as_ref()].into_iter().flatten();
    for (code, text) in ending.chain(attempts).chain(legs.flat_map(of_leg)) {
        assert_eq!(code.is_some(), text.is_some(), "{code:?} {text:?}");
        let (Some(code), Some(text)) = (code, text) else { continue };
        let is_symbol = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        assert!(!code.is_empty() && code.chars().all(is_symbol), "{code}");
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
