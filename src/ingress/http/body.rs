//! Finds the end of a body: by length, by chunks, or with the connection.

/// The framing of a body, and how much of it is still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A known number of bytes.
    Length(u64),
    /// Chunks (RFC 9112 section 7.1).
    Chunked(Chunked),
    /// Everything until the connection ends; only for responses.
    UntilClose,
}

impl Framing {
    /// No body.
    pub(crate) const NONE: Self = Self::Length(0);

    pub(crate) fn chunked() -> Self {
        Self::Chunked(Chunked::default())
    }

    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.state == State::Over,
            Self::UntilClose => false,
        }
    }

    /// Counts the next bytes as read, as far as they are data whatever their content; returns how
    /// many.
    pub(crate) fn take_data(&mut self) -> u64 {
        match self {
            Self::Length(left) => std::mem::take(left),
            Self::Chunked(chunked) => match chunked.state {
                State::Data { left } => {
                    chunked.state = State::DataEnd { returned: false };
                    left
                }
                _ => 0,
            },
            Self::UntilClose => 0,
        }
    }

    /// How many of the next bytes are data whatever their content.
    pub(crate) fn data(&self) -> u64 {
        self.clone().take_data()
    }

    /// Advances over `bytes`; returns how many of them belong to the body.
    ///
    /// # Errors
    ///
    /// What is wrong with the chunks.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        match self {
            Self::Length(left) => {
                let taken = at_most(*left, bytes.len());
                *left -= taken as u64;
                Ok(taken)
            }
            Self::Chunked(chunked) => chunked.advance(bytes),
            Self::UntilClose => Ok(bytes.len()),
        }
    }
}

/// Longest line between chunks, and all trailer fields together, bytes.
const MAX_LINE: u32 = 64 * 1024;

/// A strict parser of chunks: the bytes are passed on unchanged, and the upstream must find the
/// same end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chunked {
    state: State,
    line: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a chunk's size, after this many digits.
    Size {
        size: u64,
        digits: u8,
    },
    /// In the blanks behind it (RFC 9112 section 7.1.1, BWS).
    SizeBlank {
        size: u64,
    },
    /// In a chunk's extensions.
    Extension {
        size: u64,
    },
    /// After the carriage return that ends them.
    SizeEnd {
        size: u64,
    },
    /// In a chunk's data.
    Data {
        left: u64,
    },
    /// After it.
    DataEnd {
        returned: bool,
    },
    /// At the beginning of a trailer field, or of the last line.
    Trailer,
    /// In a trailer field.
    TrailerLine,
    /// After the carriage return that ends it.
    TrailerEnd,
    /// After the carriage return of the last line.
    LastEnd,
    Over,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunked {
    fn advance(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let mut at = 0;
        while let (Some(&byte), true) = (bytes.get(at), self.state != State::Over) {
            if let State::Data { left } = self.state {
                let taken = at_most(left, bytes.len() - at);
                at += taken;
                self.state = match left - taken as u64 {
                    0 => State::DataEnd { returned: false },
                    left => State::Data { left },
                };
                continue;
            }
            at += 1;
            self.line += 1;
            if self.line > MAX_LINE {
                return Err("a chunk size line or trailer field is longer than 64 KiB");
            }
            self.state = self.after(byte)?;
        }
        Ok(at)
    }

    fn after(&mut self, byte: u8) -> Result<State, &'static str> {
        Ok(match (self.state, byte) {
            (State::Size { digits: 1.., size } | State::SizeBlank { size }, b'\r') => {
                State::SizeEnd { size }
            }
            (State::Size { digits: 1.., size } | State::SizeBlank { size }, b';') => {
                State::Extension { size }
            }
            (State::Size { digits: 1.., size } | State::SizeBlank { size }, b' ' | b'\t') => {
                State::SizeBlank { size }
            }
            (State::Size { size, digits }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or("a chunk size is not a number")?;
                if digits == 16 {
                    return Err("a chunk size has more than 16 digits");
                }
                State::Size { size: (size << 4) | u64::from(digit), digits: digits + 1 }
            }
            (State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Extension { size }, _) if is_text(byte) => State::Extension { size },
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailer,
            (State::SizeEnd { size }, b'\n') => State::Data { left: size },
            (State::DataEnd { returned: false }, b'\r') => State::DataEnd { returned: true },
            (State::DataEnd { returned: true }, b'\n') => {
                self.line = 0;
                State::default()
            }
            (State::Trailer, b'\r') => State::LastEnd,
            (State::Trailer, _) if byte.is_ascii_graphic() && byte != b':' => State::TrailerLine,
            (State::TrailerLine, b'\r') => State::TrailerEnd,
            (State::TrailerLine, _) if is_text(byte) => State::TrailerLine,
            (State::TrailerEnd, b'\n') => State::Trailer,
            (State::LastEnd, b'\n') => State::Over,
            (State::DataEnd { .. }, _) => return Err("a chunk is longer than its size"),
            _ => return Err("a chunk size line or trailer field has an invalid byte"),
        })
    }
}

/// What may stand in a field's value (RFC 9110 section 5.5).
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn at_most(left: u64, there: usize) -> usize {
    usize::try_from(left).map_or(there, |left| left.min(there))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BODY: &[u8] =
        b"5\r\nhello\r\nA \t;name=\"v;\"\r\n0123456789\r\n0\r\nDigest: x\r\nOther: y\r\n\r\n";

    #[test]
    fn a_chunked_body_ends_after_its_trailers() {
        let mut body = Framing::chunked();
        let all = [BODY, b"GET http://other/ HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(body.advance(&all), Ok(BODY.len()));
        assert!(body.is_over());
        assert_eq!(body.advance(b"more"), Ok(0));
    }

    #[test]
    fn blanks_around_chunk_extensions_are_allowed() {
        for body in
            ["5 ;a\r\nhello\r\n0 ; b\r\n\r\n", "5\t; a = \"x y\" ;c\r\nhello\r\n0\t\r\n\r\n"]
        {
            let mut framing = Framing::chunked();
            assert_eq!(framing.advance(body.as_bytes()), Ok(body.len()), "{body:?}");
            assert!(framing.is_over());
        }
    }

    #[test]
    fn chunks_that_could_be_read_in_two_ways_are_errors() {
        for bad in [
            &b"\r\n"[..],
            b"g\r\n",
            b"0x5\r\n",
            b"-1\r\n",
            b" 5\r\nhello\r\n",
            b"5 5\r\nhello\r\n",
            b"5 \nhello\r\n",
            b"5\nhello\r\n",
            b"5\r\nhelloo\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5;a\nhello\r\n",
            b"5;a\rb\r\nhello\r\n",
            b"5;\0\r\nhello\r\n",
            b"11111111111111111\r\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\n: b\r\n\r\n",
        ] {
            let text = String::from_utf8_lossy(bad);
            assert!(Framing::chunked().advance(bad).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_line_between_chunks_has_an_end() {
        let long = [b"5;".to_vec(), vec![b'x'; 70_000]].concat();
        assert!(Framing::chunked().advance(&long).is_err());
    }

    #[test]
    fn a_length_is_counted_down() {
        let mut body = Framing::Length(5);
        assert_eq!(body.advance(b"hel"), Ok(3));
        assert!(!body.is_over());
        assert_eq!(body.advance(b"lo, other"), Ok(2));
        assert!(body.is_over());
    }

    #[test]
    fn data_that_is_taken_as_read_leads_to_the_same_end() {
        let mut body = Framing::chunked();
        assert_eq!(body.take_data(), 0);
        assert_eq!(body.advance(b"A\r\n012"), Ok(6));
        assert_eq!((body.data(), body.take_data(), body.data()), (7, 7, 0));
        assert_eq!(body.advance(b"\r\n0\r\n\r\n"), Ok(7));
        assert!(body.is_over());
        let mut body = Framing::Length(9);
        assert_eq!((body.advance(b"01"), body.take_data()), (Ok(2), 7));
        assert!(body.is_over());
    }

    proptest! {
        #[test]
        fn pieces_are_read_as_the_whole(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
            after in prop::collection::vec(any::<u8>(), 0..20),
            cuts in prop::collection::vec(1usize..9, 1..200),
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let all = [&body[..], &after].concat();
            let mut framing = Framing::chunked();
            let (mut rest, mut taken) = (&all[..], 0);
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, later) = rest.split_at(cut.min(rest.len()));
                taken += framing.advance(piece).unwrap();
                rest = later;
            }
            prop_assert_eq!(taken, body.len());
            prop_assert!(framing.is_over());
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(taken) = Framing::chunked().advance(&bytes) {
                prop_assert!(taken <= bytes.len());
            }
        }
    }
}
