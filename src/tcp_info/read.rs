//! How one figure is read out of a kernel's structure: width, unit, and the values that mean "not known".
//!
//! A reader is only called when the bytes it needs are there, so `None` always means that the
//! kernel says "not known", never that the field is missing. Numbers are in the byte order of
//! this machine, as `getsockopt` returns them.

use std::time::Duration;

use super::{State, TcpOption};

/// Reads one figure of a structure at a byte offset.
pub(super) trait Read {
    /// What the figure is once its unit is known.
    type Out;
    /// Bytes that the figure occupies.
    const SIZE: usize;
    /// The figure at `offset`, or `None` where the value means "not known". `bytes` reaches at
    /// least to the field's end.
    fn read(bytes: &[u8], offset: usize) -> Option<Self::Out>;
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(source) = bytes.get(offset..offset + N) {
        out.copy_from_slice(source);
    }
    out
}

fn byte(bytes: &[u8], offset: usize) -> u8 {
    u8::from_ne_bytes(array(bytes, offset))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(array(bytes, offset))
}

/// The bit-field that has `width` bits and follows `before` others in its byte, as C compilers of this
/// machine lay them out.
fn bit_field(byte: u8, before: u32, width: u32) -> u8 {
    bit_field_of(byte, before, width, cfg!(target_endian = "big"))
}

/// C fills a byte from its lowest bit on little-endian machines, and from its highest one on others, as
/// the ABIs of all systems here have it.
fn bit_field_of(byte: u8, before: u32, width: u32, is_big_endian: bool) -> u8 {
    let shift = if is_big_endian { u8::BITS - before - width } else { before };
    (byte >> shift) & (u8::MAX >> (u8::BITS - width))
}

/// Declares readers: `Name: width => type = expression of the raw integer`.
macro_rules! readers {
    ($($(#[$meta:meta])* $Name:ident: $raw:ty => $Out:ty, |$value:ident| $result:expr;)+) => {$(
        $(#[$meta])*
        pub(super) enum $Name {}
        impl Read for $Name {
            type Out = $Out;
            const SIZE: usize = size_of::<$raw>();
            fn read(bytes: &[u8], offset: usize) -> Option<$Out> {
                let $value = <$raw>::from_ne_bytes(array(bytes, offset));
                $result
            }
        }
    )+};
}

readers! {
    U8: u8 => u8, |v| Some(v);
    U16: u16 => u16, |v| Some(v);
    U32: u32 => u32, |v| Some(v);
    /// No count or rate reaches 2^63; only the kernel's "unlimited" (all ones) does.
    U64: u64 => u64, |v| (v <= i64::MAX as u64).then_some(v);
    /// The first of two bit-fields of four bits.
    FirstNibble: u8 => u8, |v| Some(bit_field(v, 0, 4));
    /// The second of them.
    SecondNibble: u8 => u8, |v| Some(bit_field(v, 4, 4));
    /// A first bit-field of one bit.
    FirstBit: u8 => bool, |v| Some(bit_field(v, 0, 1) != 0);
    /// The bit-field of two bits behind it.
    NextTwoBits: u8 => u8, |v| Some(bit_field(v, 1, 2));
    Bool: u8 => bool, |v| Some(v != 0);
    Micros: u32 => Duration, |v| Some(Duration::from_micros(v.into()));
    Micros64: u64 => Duration, |v| (v <= i64::MAX as u64 / 1000).then(|| Duration::from_micros(v));
    Millis: u32 => Duration, |v| Some(Duration::from_millis(v.into()));
    Millis64: u64 => Duration, |v| (v <= i64::MAX as u64 / 1_000_000).then(|| Duration::from_millis(v));
    /// µs where 0 means that no sample was taken.
    MicrosIfAny: u32 => Duration, |v| (v != 0).then(|| Duration::from_micros(v.into()));
    /// ms where 0 means no sample (or one below the grain: not told apart by the kernel).
    MillisIfAny: u32 => Duration, |v| (v != 0).then(|| Duration::from_millis(v.into()));
    /// µs where 0 or all ones means that no sample was taken.
    MinMicros: u32 => Duration, |v| (v != 0 && v != u32::MAX).then(|| Duration::from_micros(v.into()));
    /// µs where 2^31−1 or more means that no sample was taken (vegas).
    VegasMicros: u32 => Duration, |v| (v < 0x7fff_ffff).then(|| Duration::from_micros(v.into()));
    /// Linux's slow start threshold: "infinite" until the first loss.
    SsThresholdSegs: u32 => u32, |v| (v < 0x7fff_ffff).then_some(v);
    /// The BSDs' slow start threshold: TCP_MAXWIN << TCP_MAX_WINSHIFT until the first loss.
    SsThresholdBytes: u32 => u32, |v| (v < 65_535 << 14).then_some(v);
    /// A field that the kernel has and never fills.
    NeverFilled: u32 => Duration, |_v| None;
    LinuxState: u8 => State, |v| State::from_linux(v);
    BsdState: u8 => State, |v| State::from_bsd(v);
    WindowsState: u32 => State, |v| State::from_windows(v);
}

/// Declares two readers of the options in use, as we sent them and as the peer did: they differ in the
/// window scale alone.
macro_rules! option_readers {
    ($($(#[$meta:meta])* $Tx:ident, $Rx:ident: $size:literal, $from:path,
        |$bytes:ident, $offset:ident| flags $flags:expr, ours $ours:expr, peers $peers:expr;)+) => {$(
        $(#[$meta])*
        pub(super) enum $Tx {}
        $(#[$meta])*
        pub(super) enum $Rx {}
        impl Read for $Tx {
            type Out = Vec<TcpOption>;
            const SIZE: usize = $size;
            fn read($bytes: &[u8], $offset: usize) -> Option<Vec<TcpOption>> {
                Some($from($flags, $ours))
            }
        }
        impl Read for $Rx {
            type Out = Vec<TcpOption>;
            const SIZE: usize = $size;
            fn read($bytes: &[u8], $offset: usize) -> Option<Vec<TcpOption>> {
                Some($from($flags, $peers))
            }
        }
    )+};
}

option_readers! {
    /// Linux: `tcpi_options` in byte 5; byte 6 holds two bit-fields, the peer's window scale and then
    /// ours.
    LinuxTxOptions, LinuxRxOptions: 1, TcpOption::from_linux,
        |bytes, offset| flags byte(bytes, offset),
        ours bit_field(byte(bytes, offset + 1), 4, 4), peers bit_field(byte(bytes, offset + 1), 0, 4);
    /// FreeBSD: Linux's places, other flags above the fourth.
    FreeBsdTxOptions, FreeBsdRxOptions: 1, TcpOption::from_freebsd,
        |bytes, offset| flags byte(bytes, offset),
        ours bit_field(byte(bytes, offset + 1), 4, 4), peers bit_field(byte(bytes, offset + 1), 0, 4);
    /// macOS: a u32; byte 1 is the scale of the send window (the peer's), byte 2 of the receive
    /// window (ours).
    MacosTxOptions, MacosRxOptions: 4, TcpOption::from_macos,
        |bytes, offset| flags u32_at(bytes, offset), ours byte(bytes, 2), peers byte(bytes, 1);
}

/// BBR's bandwidth estimate: low half at `offset`, high half after it; bytes per second.
pub(super) enum BbrBandwidth {}

impl Read for BbrBandwidth {
    type Out = u64;
    const SIZE: usize = 8;
    fn read(bytes: &[u8], offset: usize) -> Option<u64> {
        let low = u64::from(u32_at(bytes, offset));
        let high = u64::from(u32_at(bytes, offset + 4));
        Some(high << 32 | low).filter(|&rate| rate <= i64::MAX as u64)
    }
}

/// Whether a part of the structure holds nothing but zeros (or is not there): how a tail that an
/// older kernel calls padding looks.
pub(super) fn is_zero(bytes: &[u8], range: std::ops::Range<usize>) -> bool {
    bytes.get(range).is_none_or(|tail| tail.iter().all(|&byte| byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tcpi_snd_wscale` 7 and `tcpi_rcv_wscale` 10; `tcpi_delivery_rate_app_limited` 1 and
    /// `tcpi_fastopen_client_fail` 2: the bytes that gcc makes of them for x86-64 and for s390x.
    #[test]
    fn bit_fields_are_where_compilers_of_either_byte_order_put_them() {
        let scales = |byte, big| (bit_field_of(byte, 0, 4, big), bit_field_of(byte, 4, 4, big));
        assert_eq!(scales(0xa7, false), (7, 10));
        assert_eq!(scales(0x7a, true), (7, 10));
        let flags = |byte, big| (bit_field_of(byte, 0, 1, big), bit_field_of(byte, 1, 2, big));
        assert_eq!(flags(0b0000_0101, false), (1, 2));
        assert_eq!(flags(0b1100_0000, true), (1, 2));
        assert_eq!(bit_field_of(0xff, 0, 8, false), bit_field_of(0xff, 0, 8, true));
    }
}
