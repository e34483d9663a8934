//! Fuzzing of parent proxies' answers: the result must not depend on how they are split.

use super::{TunnelError, TunnelStep, http, socks5};
use crate::dial::via::Credentials;

/// The result of a conversation with a parent.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It is incomplete.
    More,
    /// The tunnel is open after this many bytes.
    Open { used: usize },
    /// The parent refuses, with this code.
    Refused(String),
}

/// An HTTP parent's answers. The first byte says how long pieces are.
pub fn http_parent(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    in_whole_and_in_pieces(bytes, piece, || http::parse_reply);
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
        move |bytes: &[u8]| socks5::parse_reply(&mut stage, bytes, target, credentials)
    });
}

/// Runs the conversation with the parent's bytes in one piece, and again in pieces.
fn in_whole_and_in_pieces<H>(bytes: &[u8], piece: u8, listener: impl Fn() -> H)
where
    H: FnMut(&[u8]) -> Result<TunnelStep, TunnelError>,
{
    let whole = converse(bytes, bytes.len().max(1), listener());
    // All that has come is read again with every piece: long answers come in larger ones.
    let piece = usize::from(piece).max(bytes.len() / 64).max(1);
    assert_eq!(converse(bytes, piece, listener()), whole);
}

/// The result of these bytes, and the bytes sent.
fn converse(
    bytes: &[u8],
    piece: usize,
    mut parse_reply: impl FnMut(&[u8]) -> Result<TunnelStep, TunnelError>,
) -> (End, Vec<u8>) {
    let mut said = Vec::new();
    // Of `bytes`: parsed and received.
    let (mut done, mut come) = (0, 0);
    loop {
        let known = come;
        // Answers received together are parsed one by one.
        come = (come + piece).min(bytes.len());
        loop {
            match parse_reply(&bytes[done..come]) {
                Ok(TunnelStep::Incomplete) => break,
                Ok(TunnelStep::Reply { used, send }) => {
                    assert!((1..=come - done).contains(&used));
                    assert!(done + used > known, "it was complete before");
                    done += used;
                    said.extend_from_slice(&send);
                }
                Ok(TunnelStep::Established { used }) => {
                    assert!((1..=come - done).contains(&used));
                    assert!(done + used > known, "it was complete before");
                    return (End::Open { used: done + used }, said);
                }
                Err(TunnelError { code, text, .. }) => {
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
