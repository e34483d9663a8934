//! A compact form of a snapshot, for open connections.

use super::Snapshot;

/// Unit that is stored or left out, bytes.
const WORD: usize = 4;
const ZERO: [u8; WORD] = [0; WORD];

/// A snapshot without the words that are zero, in one piece of memory. Of a fresh connection's
/// structure most are: 280 bytes become some 120, and thousands of idle connections keep one each.
///
/// The length of the structure, of the congestion control's name and of its data; the name; the
/// data; a bit for each word of the structure; the words that are not zero; what is left of the
/// structure after its last whole word.
#[derive(Debug)]
pub(crate) struct PackedSnapshot(Box<[u8]>);

impl PackedSnapshot {
    /// `None` if a part is too long for the format.
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
        let (words, tail) = info.as_chunks::<WORD>();
        for eight in words.chunks(8) {
            let bits = eight.iter().enumerate();
            packed.push(bits.fold(0, |bits, (i, word)| bits | (u8::from(*word != ZERO) << i)));
        }
        for word in words.iter().filter(|word| **word != ZERO) {
            packed.extend_from_slice(word);
        }
        packed.extend_from_slice(tail);
        Some(Self(packed.into()))
    }

    pub(crate) fn unpack(&self) -> Snapshot {
        // Only `pack` makes these, so they are never too short.
        self.read().unwrap_or_else(|| Snapshot::from_parts(vec![], None, &[]))
    }

    fn read(&self) -> Option<Snapshot> {
        let (lengths, rest) = self.0.split_first_chunk::<4>()?;
        let [low, high, name, data] = *lengths;
        let (name, rest) = rest.split_at_checked(name.into())?;
        let (data, rest) = rest.split_at_checked(data.into())?;
        let mut info = vec![0; u16::from_ne_bytes([low, high]).into()];
        let (words, tail) = info.as_chunks_mut::<WORD>();
        let (bits, rest) = rest.split_at_checked(words.len().div_ceil(8))?;
        let (mut stored, end) = rest.as_chunks::<WORD>();
        for (eight, bits) in words.chunks_mut(8).zip(bits) {
            for (i, word) in eight.iter_mut().enumerate() {
                if bits & (1 << i) != 0 {
                    let (first, rest) = stored.split_first()?;
                    *word = *first;
                    stored = rest;
                }
            }
        }
        tail.copy_from_slice(end);
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
        Some(Snapshot::from_parts(info, name, data))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_packed_snapshot_is_the_same_when_it_is_unpacked(
            words in prop::collection::vec(prop_oneof![Just(ZERO), any::<[u8; WORD]>()], 0..100),
            tail in prop::collection::vec(any::<u8>(), 0..WORD),
            name in prop::option::of("[a-z]{1,15}"),
            data in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let info = [words.as_flattened(), &tail].concat();
            let snapshot = Snapshot::from_parts(info, name.as_deref(), &data);
            let packed = PackedSnapshot::pack(&snapshot).unwrap();
            prop_assert_eq!(packed.unpack(), snapshot);
        }
    }
}
