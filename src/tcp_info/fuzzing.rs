//! What kernels return, fuzzed: structures of any bytes and any length.

use super::{
    FreeBsdInfo, LinuxInfo, MacosInfo, PackedSnapshot, Snapshot, SysInfo, TcpInfo, WindowsInfo,
};

/// A structure, and what an algorithm of congestion control adds: each system's decoder takes it, and
/// what it makes of it reads back from its JSON. The first two bytes say which system and which
/// algorithm, and how long the algorithm's data is.
pub fn tcp_info(bytes: &[u8]) {
    let Some((&[choice, length], bytes)) = bytes.split_first_chunk() else { return };
    let (data, info) = bytes.split_at(usize::from(length).min(bytes.len()));
    let name = [None, Some("cubic"), Some("vegas"), Some("dctcp"), Some("bbr")]
        .get(usize::from(choice >> 4))
        .copied()
        .flatten();
    let snapshot = Snapshot::from_parts(info, name, data);
    let packed = PackedSnapshot::pack(&snapshot).map(|packed| packed.unpack());
    assert_eq!(packed, (info.len() <= u16::MAX.into()).then_some(snapshot));

    let sys_info = match choice & 0x03 {
        0 => SysInfo::Linux(Box::new(LinuxInfo::decode(info).with_congestion(name, data))),
        1 => SysInfo::Macos(Box::new(MacosInfo::decode(info))),
        2 => SysInfo::FreeBsd(Box::new(FreeBsdInfo::decode(info))),
        _ => SysInfo::Windows(Box::new(WindowsInfo::decode(info))),
    };
    let decoded = sys_info.normalise(info.len());
    assert!(decoded.warnings().iter().all(|warning| warning.contains('=')));
    // It takes ten times as long as all before: of sixteen inputs one does.
    if bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)) % 16 == 0 {
        reads_back(&decoded);
    }
}

fn reads_back(info: &TcpInfo) {
    // As i64: no integer exceeds 2^63−1.
    let numbers = info.to_map().into_iter().chain(info.sys_info.to_map());
    assert!(numbers.into_iter().all(|(_, value)| !value.is_number() || value.is_i64()));
    let json = serde_json::to_string(info).unwrap_or_default();
    assert_eq!(serde_json::from_str::<TcpInfo>(&json).ok().as_ref(), Some(info), "{json}");
}
