//! Reads lines in blocks, unparsed, so that several threads can parse them.

use std::io::Read;

use super::input::{BLOCK, Input};
use super::read_error::{MAX_LINE, ReadError};

/// Size of a block, bytes; it is exceeded by at most one line.
const SIZE: usize = 256 << 10;

/// Iterator over blocks of whole lines of an input, decompressed. The last line of the last block may
/// lack its line feed. A line longer than [`MAX_LINE`] is skipped and is an error of its own.
pub struct Blocks<R> {
    input: Input<R>,
    /// The beginning of the line after the previous block.
    rest: Vec<u8>,
    /// The current line is too long: what remains of it is skipped.
    is_skipping: bool,
    is_over: bool,
    /// Why the input ended, after the last block.
    failed: Option<ReadError>,
}

impl<R> std::fmt::Debug for Blocks<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

impl<R: Read> Blocks<R> {
    /// The blocks of `input`, which may be compressed by gzip or zstd.
    pub fn new(input: R) -> Self {
        let input = Input::new(input);
        Self { input, rest: Vec::new(), is_skipping: false, is_over: false, failed: None }
    }

    /// Appends what one read brings. At the end, [`Blocks::is_over`].
    fn fill(&mut self, block: &mut Vec<u8>) {
        let have = block.len();
        block.resize(have + BLOCK, 0);
        let read = self.input.read(block.get_mut(have..).unwrap_or_default());
        block.truncate(have + *read.as_ref().unwrap_or(&0));
        self.is_over = !matches!(read, Ok(1..));
        self.failed = read.err();
    }

    /// Skips what remains of a line that is too long.
    fn skip(&mut self) {
        while self.is_skipping && !self.is_over {
            let mut block = Vec::new();
            self.fill(&mut block);
            if let Some(end) = memchr::memchr(b'\n', &block) {
                self.is_skipping = false;
                self.rest = block.split_off(end + 1);
            }
        }
    }

    fn next_block(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        self.skip();
        let mut block = std::mem::take(&mut self.rest);
        block.reserve((SIZE + BLOCK).saturating_sub(block.len()));
        loop {
            if self.is_over {
                // What came before the input failed is read.
                return match self.failed.take() {
                    Some(error) if block.is_empty() => Err(error),
                    failed => {
                        self.failed = failed;
                        Ok(Some(block).filter(|block| !block.is_empty()))
                    }
                };
            }
            if block.len() >= SIZE
                && let Some(end) = memchr::memrchr(b'\n', &block)
            {
                self.rest = block.split_off(end + 1);
                return Ok(Some(block));
            }
            if block.len() > MAX_LINE {
                self.is_skipping = true;
                return Err(ReadError::TooLong);
            }
            self.fill(&mut block);
        }
    }
}

impl<R: Read> Iterator for Blocks<R> {
    type Item = Result<Vec<u8>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_block().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_whole_lines_and_all_of_them() {
        let line = [&b"x"[..].repeat(999)[..], b"\n"].concat();
        let text = [line.repeat(2000), b"torn".to_vec()].concat();
        let blocks: Vec<_> = Blocks::new(&text[..]).map(Result::unwrap).collect();
        assert!(blocks.len() > 3);
        for block in &blocks[..blocks.len() - 1] {
            assert_eq!(block.last(), Some(&b'\n'));
        }
        assert_eq!(blocks.concat(), text);
        assert_eq!(Blocks::new(std::io::empty()).count(), 0);
    }

    #[test]
    fn too_long_lines_are_skipped_to_their_end() {
        let long = [b"x".repeat(2 * MAX_LINE), b"\n".to_vec()].concat();
        let text = [&b"1\n"[..], &long, b"2\n"].concat();
        let blocks: Vec<_> = Blocks::new(&text[..]).collect();
        let errors = blocks.iter().filter(|block| matches!(block, Err(ReadError::TooLong))).count();
        assert_eq!(errors, 1);
        let read: Vec<u8> = blocks.into_iter().flatten().flatten().collect();
        assert!(read.starts_with(b"1\n") && read.ends_with(b"2\n"), "{}", read.len());
        let endless = Blocks::new(std::io::repeat(b'x').take(3 * MAX_LINE as u64));
        let results: Vec<_> = endless.collect();
        assert!(matches!(results[..], [Err(ReadError::TooLong)]), "{results:?}");
    }
}
