//! Parents' answers, fuzzed: what they are read as does not depend on the pieces that they come in.

use super::{Heard, Refusal, http, socks5};
use crate::dial::via::Credentials;

/// How a conversation with a parent came out.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It goes on.
    More,
    /// The target is reached, after so many bytes.
    Open { used: usize },
    /// The parent gives no tunnel, with this code.
    Refused(String),
}

/// An HTTP parent's answers. The first byte says how long pieces are.
pub fn http_parent(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    in_whole_and_in_pieces(bytes, piece, || http::hear);
}

/// A SOCKS 5 parent's answers. The first byte says how long pieces are, and, by its highest bit,
/// whether we have credentials.
pub fn socks_parent(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let Ok(target) = "name.test:80".parse() else { return };
    let credentials = (first & 0x80 != 0)
        .then(|| Credentials { user: b"me"[..].into(), password: b"secret"[..].into() });
    let (target, credentials) = (&target, credentials.as_ref());
    in_whole_and_in_pieces(bytes, first & 0x7f, || {
        let mut stage = socks5::Stage::Method;
        move |bytes: &[u8]| socks5::hear(&mut stage, bytes, target, credentials)
    });
}

/// Has the conversation with the parent's part in one piece, and again in pieces.
fn in_whole_and_in_pieces<H>(bytes: &[u8], piece: u8, listener: impl Fn() -> H)
where
    H: FnMut(&[u8]) -> Result<Heard, Refusal>,
{
    let whole = converse(bytes, bytes.len().max(1), listener());
    // All that has come is read again with every piece: long answers come in larger ones.
    let piece = usize::from(piece).max(bytes.len() / 64).max(1);
    assert_eq!(converse(bytes, piece, listener()), whole);
}

/// What a listener makes of these bytes, and what it says itself.
fn converse(
    bytes: &[u8],
    piece: usize,
    mut hear: impl FnMut(&[u8]) -> Result<Heard, Refusal>,
) -> (End, Vec<u8>) {
    let mut said = Vec::new();
    // Of `bytes`: answers that are done with, and what has come.
    let (mut done, mut come) = (0, 0);
    loop {
        let known = come;
        // Answers that came together are read one by one.
        come = (come + piece).min(bytes.len());
        loop {
            match hear(&bytes[done..come]) {
                Ok(Heard::More) => break,
                Ok(Heard::Answered { used, say }) => {
                    assert!((1..=come - done).contains(&used));
                    assert!(done + used > known, "it was complete before");
                    done += used;
                    said.extend_from_slice(&say);
                }
                Ok(Heard::Open { used }) => {
                    assert!((1..=come - done).contains(&used));
                    assert!(done + used > known, "it was complete before");
                    return (End::Open { used: done + used }, said);
                }
                Err(Refusal { code, text, .. }) => {
                    let is_symbol = |byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
                    assert!(code.bytes().all(is_symbol), "{code}");
                    let is_shown = |c: char| matches!(c, ' '..='~' | '…');
                    assert!(text.chars().all(is_shown), "{text}");
                    return (End::Refused(code.into_owned()), said);
                }
            }
        }
        if come == bytes.len() {
            return (End::More, said);
        }
    }
}
