//! A snapshot that is kept for as long as its connection lives.

use super::Snapshot;

/// Bytes that are stored or left out together.
const WORD: usize = 4;

/// A snapshot without the words that are zero, in one piece of memory. Of a fresh connection's
/// structure most are: 280 bytes become some 120, and thousands of idle connections keep one each.
///
/// The length of the structure, of the congestion control's name and of its data; the name; the
/// data; a bit for each word of the structure; the words that are not zero.
#[derive(Debug)]
pub(crate) struct PackedSnapshot(Box<[u8]>);

impl PackedSnapshot {
    /// `None` if a part is longer than any system's.
    pub(crate) fn pack(snapshot: &Snapshot) -> Option<Self> {
        let (info, name, data) = snapshot.parts();
        let name = name.unwrap_or_default().as_bytes();
        let length = u16::try_from(info.len()).ok()?;
        let lengths = [u8::try_from(name.len()).ok()?, u8::try_from(data.len()).ok()?];

        let mut packed = Vec::with_capacity(info.len() + name.len() + data.len() + 8);
        packed.extend(length.to_ne_bytes());
        packed.extend(lengths);
        packed.extend(name);
        packed.extend(data);
        for eight in info.chunks(8 * WORD) {
            let bits = eight.chunks(WORD).enumerate();
            packed.push(bits.fold(0, |bits, (i, word)| bits | (u8::from(!is_zero(word)) << i)));
        }
        packed.extend(info.chunks(WORD).filter(|word| !is_zero(word)).flatten());
        Some(Self(packed.into()))
    }

    pub(crate) fn unpack(&self) -> Snapshot {
        // What `pack` wrote, which alone makes these, is never short.
        self.read().unwrap_or_else(|| Snapshot::from_parts(&[], None, &[]))
    }

    fn read(&self) -> Option<Snapshot> {
        let (lengths, rest) = self.0.split_first_chunk::<4>()?;
        let [low, high, name, data] = *lengths;
        let (name, rest) = rest.split_at_checked(name.into())?;
        let (data, rest) = rest.split_at_checked(data.into())?;
        let mut info = vec![0; u16::from_ne_bytes([low, high]).into()];
        let (bits, mut words) = rest.split_at_checked(info.len().div_ceil(8 * WORD))?;
        for (eight, bits) in info.chunks_mut(8 * WORD).zip(bits) {
            for (i, word) in eight.chunks_mut(WORD).enumerate() {
                if bits & (1 << i) != 0 {
                    let (stored, rest) = words.split_at_checked(word.len())?;
                    word.copy_from_slice(stored);
                    words = rest;
                }
            }
        }
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
        Some(Snapshot::from_parts(&info, name, data))
    }
}

fn is_zero(word: &[u8]) -> bool {
    word.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_packed_snapshot_is_the_same_when_it_is_unpacked(
            words in prop::collection::vec(prop_oneof![Just([0; WORD]), any::<[u8; WORD]>()], 0..100),
            tail in prop::collection::vec(any::<u8>(), 0..WORD),
            name in prop::option::of("[a-z]{1,15}"),
            data in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let info = [words.as_flattened(), &tail].concat();
            let snapshot = Snapshot::from_parts(&info, name.as_deref(), &data);
            let packed = PackedSnapshot::pack(&snapshot).unwrap();
            prop_assert_eq!(packed.unpack(), snapshot);
        }
    }
}
