//! Streams of noise, hashed by both ends: what arrived is what was sent.

use std::io::{Read, Write};
use std::net::TcpStream;

use sha2::{Digest, Sha256};

/// Written or read at once.
const CHUNK: usize = 64 * 1024;

/// Bytes that look random and are the same for the same seed.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn seeded(seed: u64) -> Self {
        // xorshift64 must not begin with 0, and neighbouring seeds should differ in many bits.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn number(&mut self) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of these, each as likely as the others.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.number() % from.len() as u64).unwrap()]
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for eight in bytes.chunks_mut(8) {
            eight.copy_from_slice(&self.number().to_le_bytes()[..eight.len()]);
        }
    }
}

/// What one end sent or received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// A [`Sum`] in the making.
#[derive(Default)]
pub(crate) struct Summing {
    bytes: u64,
    sha256: Sha256,
}

impl Summing {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
    }

    pub(crate) fn sum(self) -> Sum {
        let hash = self.sha256.finalize();
        Sum { bytes: self.bytes, sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect() }
    }
}

/// Sends so many bytes of noise.
pub(crate) fn send(mut stream: &TcpStream, noise: &mut Noise, bytes: u64) -> Sum {
    in_chunks(noise, bytes, |chunk| stream.write_all(chunk).unwrap())
}

/// What sending so many bytes of noise would come to.
pub(crate) fn sum_of(noise: &mut Noise, bytes: u64) -> Sum {
    in_chunks(noise, bytes, |_| {})
}

fn in_chunks(noise: &mut Noise, bytes: u64, mut each: impl FnMut(&[u8])) -> Sum {
    let mut summing = Summing::default();
    let mut chunk = vec![0; CHUNK];
    while summing.bytes < bytes {
        let left = bytes - summing.bytes;
        let chunk = &mut chunk[..usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)];
        noise.fill(chunk);
        summing.add(chunk);
        each(chunk);
    }
    summing.sum()
}

/// Receives to the end of stream.
pub(crate) fn receive(mut stream: &TcpStream) -> Sum {
    let mut summing = Summing::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        match stream.read(&mut chunk).unwrap() {
            0 => return summing.sum(),
            bytes => summing.add(&chunk[..bytes]),
        }
    }
}
