//! The decoders against hand-made buffers: every system's, on every system.

use std::collections::BTreeSet;
use std::mem::{offset_of, size_of};
use std::time::Duration;

use serde_json::Value as Json;

use super::*;

/// A decoder under test: its field list, and JSON of what it makes of bytes.
struct Platform {
    name: &'static str,
    fields: &'static [Field],
    decode: fn(&[u8]) -> SysInfo,
}

fn platforms() -> [Platform; 4] {
    [
        Platform {
            name: "linux",
            fields: LinuxInfo::FIELDS,
            decode: |b| SysInfo::Linux(Box::new(LinuxInfo::decode(b))),
        },
        Platform {
            name: "macos",
            fields: MacosInfo::FIELDS,
            decode: |b| SysInfo::Macos(Box::new(MacosInfo::decode(b))),
        },
        Platform {
            name: "freebsd",
            fields: FreeBsdInfo::FIELDS,
            decode: |b| SysInfo::FreeBsd(Box::new(FreeBsdInfo::decode(b))),
        },
        Platform {
            name: "windows",
            fields: WindowsInfo::FIELDS,
            decode: |b| SysInfo::Windows(Box::new(WindowsInfo::decode(b))),
        },
    ]
}

#[test]
fn no_field_appears_before_its_last_byte_and_every_one_from_it_on() {
    for platform in platforms() {
        for length in 0..=512 {
            // 4: a connection, whichever system's state it is.
            let map = (platform.decode)(&vec![4; length]).to_map();
            let found: BTreeSet<&str> = map.keys().map(String::as_str).collect();
            let mut expected: BTreeSet<&str> =
                platform.fields.iter().filter(|f| f.end <= length).map(|f| f.key).collect();
            expected.insert("os");
            assert_eq!(found, expected, "{} cut at {length} bytes", platform.name);
        }
    }
}

#[test]
fn an_info_of_any_length_reads_back_from_its_json() {
    for platform in platforms() {
        for fill in [0, 1, 7, 255] {
            for length in 0..=512 {
                let info = (platform.decode)(&vec![fill; length]).normalise(length);
                let json = serde_json::to_string(&info).unwrap();
                let again: TcpInfo = serde_json::from_str(&json).unwrap();
                assert_eq!(serde_json::to_string(&again).unwrap(), json);
            }
        }
    }
}

#[test]
fn no_integer_exceeds_what_a_signed_64_bit_reader_takes() {
    for platform in platforms() {
        for (key, value) in (platform.decode)(&[255; 512]).to_map() {
            if let Some(number) = value.as_u64() {
                assert!(number <= i64::MAX as u64, "{} {key} {number}", platform.name);
            }
        }
    }
}

/// The structure as the kernel declares it, laid out by the compiler: an origin of the offsets
/// that is not the table's own.
#[repr(C)]
#[allow(dead_code)]
struct MacosLayout {
    bytes: [u8; 4],
    options: u32,
    flags: u32,
    rto: u32,
    maxseg: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    snd_wnd: u32,
    snd_sbbytes: u32,
    rcv_wnd: u32,
    rttcur: u32,
    srtt: u32,
    rttvar: u32,
    tfo: u32,
    txpackets: u64,
    txbytes: u64,
    txretransmitbytes: u64,
    rxpackets: u64,
    rxbytes: u64,
    rxoutoforderbytes: u64,
    txretransmitpackets: u64,
}

#[repr(C)]
#[allow(dead_code)]
struct WindowsLayout {
    state: u32,
    mss: u32,
    connection_time_ms: u64,
    timestamps_enabled: bool,
    rtt_us: u32,
    min_rtt_us: u32,
    bytes_in_flight: u32,
    cwnd: u32,
    snd_wnd: u32,
    rcv_wnd: u32,
    rcv_buf: u32,
    bytes_out: u64,
    bytes_in: u64,
    bytes_reordered: u32,
    bytes_retrans: u32,
    fast_retrans: u32,
    dup_acks_in: u32,
    timeout_episodes: u32,
    syn_retrans: u8,
    snd_lim_trans_rwin: u32,
    snd_lim_time_rwin: u32,
    snd_lim_bytes_rwin: u64,
    snd_lim_trans_cwnd: u32,
    snd_lim_time_cwnd: u32,
    snd_lim_bytes_cwnd: u64,
    snd_lim_trans_snd: u32,
    snd_lim_time_snd: u32,
    snd_lim_bytes_snd: u64,
}

#[repr(C)]
#[allow(dead_code)]
struct FreeBsdLayout {
    bytes: [u8; 7],
    rto: u32,
    ato: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unfilled: [u32; 5],
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt: u32,
    rttvar: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    snd_wnd: u32,
    snd_bwnd: u32,
    snd_nxt: u32,
    rcv_nxt: u32,
    toe_tid: u32,
    snd_rexmitpack: u32,
    rcv_ooopack: u32,
    snd_zerowin: u32,
    delivered_ce: u32,
    received_ce: u32,
    ecn_bytes: [u32; 6],
    total_tlp: u32,
    total_tlp_bytes: u64,
    snd_una: u32,
    snd_max: u32,
    rcv_numsacks: u32,
    rcv_adv: u32,
    dupacks: u32,
    rttmin: u32,
}

#[test]
fn the_offsets_are_those_that_a_compiler_gives_the_declarations() {
    let offset = |fields: &[Field], key: &str| {
        fields.iter().find(|field| field.key == key).map(|field| field.offset)
    };
    macro_rules! same {
        ($Info:ty, $Layout:ty: $($key:literal $field:ident),+) => {$(
            assert_eq!(offset(<$Info>::FIELDS, $key), Some(offset_of!($Layout, $field)), "{}", $key);
        )+};
    }
    same!(MacosInfo, MacosLayout: "txOptions" options, "flags" flags, "rto" rto, "mss" maxseg,
        "txSSThreshold" snd_ssthresh, "txCWindowBytes" snd_cwnd, "txWindow" snd_wnd,
        "txSendBufferBytes" snd_sbbytes, "rxWindow" rcv_wnd, "rttCur" rttcur, "rttSmoothed" srtt,
        "rttVar" rttvar, "tfoFlags" tfo, "txPackets" txpackets, "txBytes" txbytes,
        "txRetransmitBytes" txretransmitbytes, "rxPackets" rxpackets, "rxBytes" rxbytes,
        "rxOutOfOrderBytes" rxoutoforderbytes, "txRetransmitPackets" txretransmitpackets);
    same!(WindowsInfo, WindowsLayout: "state" state, "mss" mss, "connectedTimeNS" connection_time_ms,
        "timestampsEnabled" timestamps_enabled, "rtt" rtt_us, "rttMin" min_rtt_us,
        "bytesInFlight" bytes_in_flight, "congestionWindow" cwnd, "txWindow" snd_wnd,
        "rxWindow" rcv_wnd, "rxBuffer" rcv_buf, "txBytes" bytes_out, "rxBytes" bytes_in,
        "rxOutOfOrderBytes" bytes_reordered, "txRetransmitBytes" bytes_retrans,
        "fastRetransmissions" fast_retrans, "duplicateAcksIn" dup_acks_in,
        "timeoutEpisodes" timeout_episodes, "synRetransmissions" syn_retrans,
        "sndLimTransRwin" snd_lim_trans_rwin, "sndLimTimeRwin" snd_lim_time_rwin,
        "sndLimBytesRwin" snd_lim_bytes_rwin, "sndLimTransCwnd" snd_lim_trans_cwnd,
        "sndLimTimeCwnd" snd_lim_time_cwnd, "sndLimBytesCwnd" snd_lim_bytes_cwnd,
        "sndLimTransSnd" snd_lim_trans_snd, "sndLimTimeSnd" snd_lim_time_snd,
        "sndLimBytesSnd" snd_lim_bytes_snd);
    same!(FreeBsdInfo, FreeBsdLayout: "rto" rto, "txMSS" snd_mss, "rxMSS" rcv_mss,
        "lastRxAt" last_data_recv, "rtt" rtt, "rttVar" rttvar, "txSSThreshold" snd_ssthresh,
        "txCWindowBytes" snd_cwnd, "rxWindow" rcv_space, "txWindow" snd_wnd, "txNext" snd_nxt,
        "rxNext" rcv_nxt, "toeTID" toe_tid, "txRetransmitPackets" snd_rexmitpack,
        "rxOutOfOrder" rcv_ooopack, "txZeroWindows" snd_zerowin, "deliveredCE" delivered_ce,
        "receivedCE" received_ce, "totalTLP" total_tlp, "totalTLPBytes" total_tlp_bytes,
        "txUnAcked" snd_una, "txMax" snd_max, "rxSACKBlocks" rcv_numsacks,
        "rxAdvertised" rcv_adv, "dupAcks" dupacks, "minRTT" rttmin);
    assert_eq!(size_of::<MacosLayout>(), 112);
    assert_eq!(size_of::<WindowsLayout>(), 136);
    assert_eq!(offset_of!(WindowsLayout, snd_lim_trans_rwin), 88, "where version 0 ends");
}

/// A buffer with some u32s in it.
fn buffer<const N: usize>(length: usize, words: [(usize, u32); N]) -> Vec<u8> {
    let mut bytes = vec![0; length];
    for (offset, word) in words {
        bytes[offset..offset + 4].copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

#[test]
fn units_become_nanoseconds_each_from_its_own() {
    let mut bytes =
        buffer(280, [(8, 204_000), (44, 300), (52, 301), (56, 302), (68, 40_900), (244, 7)]);
    bytes[0] = 1;
    for (offset, value) in [(168, 12_000_u64), (176, 8000), (184, 4000)] {
        bytes[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
    }
    let linux = LinuxInfo::decode(&bytes);
    let millis = |ms| Some(Duration::from_millis(ms));
    assert_eq!(
        (linux.busy_time, linux.rx_window_limited, linux.tx_buffer_limited),
        (millis(12), millis(8), millis(4)),
        "the three timers are in µs"
    );
    assert_eq!(linux.rto, Some(Duration::from_micros(204_000)));
    assert_eq!(linux.last_tx_at, Some(Duration::from_millis(300)), "an age is in ms");
    assert_eq!(linux.last_rx_at, Some(Duration::from_millis(301)));
    assert_eq!(linux.last_rx_ack_at, Some(Duration::from_millis(302)));
    assert_eq!(linux.rtt, Some(Duration::from_micros(40_900)));
    assert_eq!(linux.total_rto_time, Some(Duration::from_millis(7)));
    let json = serde_json::to_value(&linux).unwrap();
    assert_eq!((&json["lastTxAt"], &json["rtt"]), (&300_000_000.into(), &40_900_000.into()));

    let macos = MacosInfo::decode(&buffer(112, [(0, 4), (12, 230), (44, 6), (48, 1)]));
    assert_eq!(macos.rtt_smoothed, Some(Duration::from_millis(6)), "macOS counts in ms");
    let windows = WindowsInfo::decode(&buffer(88, [(20, 6000), (24, 4000)])).normalise(88);
    assert_eq!(windows.rtt, Some(Duration::from_micros(6000)), "the smoothed, not the smallest");
    let freebsd = FreeBsdInfo::decode(&buffer(236, [(52, 1500), (68, 250)]));
    assert_eq!(freebsd.last_rx_at, Some(Duration::from_micros(1500)), "FreeBSD counts ages in µs");
}

#[test]
fn of_a_closed_or_listening_socket_macos_tells_its_state_alone() {
    for (state, named) in [(0, State::Close), (1, State::Listen)] {
        let mut bytes = vec![0; 112];
        bytes[0] = state;
        let info = MacosInfo::decode(&bytes).normalise(112);
        assert_eq!(info.state, Some(named));
        assert_eq!((info.retransmits, info.tx_mss, info.sys_info_length), (None, None, 112));
        let told: Vec<String> = info.sys_info.to_map().into_iter().map(|(key, _)| key).collect();
        assert_eq!(told, ["os", "state"], "what the kernel did not fill is no zero");
    }
}

#[cfg(feature = "proxy")]
#[test]
fn syns_sent_again_are_unknown_where_only_data_is_counted() {
    let counted = buffer(280, [(0, 4), (84, 3), (100, 2), (104, 7), (120, 7)]);
    let infos = platforms().map(|platform| (platform.name, (platform.decode)(&counted)));
    let syns = infos.map(|(name, info)| (name, info.syn_retransmits()));
    assert_eq!(
        syns,
        [("linux", Some(2)), ("macos", None), ("freebsd", None), ("windows", Some(3))]
    );
}

#[test]
fn a_value_that_means_not_known_is_null_and_stays_a_key() {
    let mut bytes = buffer(280, [(76, 0x7fff_ffff), (148, u32::MAX)]);
    bytes[0] = 1;
    bytes[104..120].fill(0xff);
    let json = serde_json::to_value(LinuxInfo::decode(&bytes)).unwrap();
    for key in [
        "txSSThreshold",
        "minRTT",
        "pacingRate",
        "maxPacingRate",
        "rtt",
        "rttVar",
        "rxRTT",
        "lastTxAckAt",
        "fackets",
    ] {
        assert_eq!(json.get(key), Some(&Json::Null), "{key}");
    }
    assert_eq!(json["totalRetrans"], 0, "a zero that was measured stays one");
    let bytes = buffer(88, [(24, u32::MAX)]);
    assert_eq!(serde_json::to_value(WindowsInfo::decode(&bytes)).unwrap()["rttMin"], Json::Null);
    let bytes = buffer(112, [(20, 1_073_725_440)]);
    assert_eq!(
        serde_json::to_value(MacosInfo::decode(&bytes)).unwrap()["txSSThreshold"],
        Json::Null
    );
}

#[test]
fn fackets_are_told_by_kernels_that_still_counted_them() {
    let bytes = buffer(192, [(40, 3)]);
    assert_eq!(LinuxInfo::decode(&bytes).fackets, Some(3));
}

#[test]
fn ages_of_a_socket_that_was_never_connected_are_not_known() {
    let mut bytes = buffer(280, [(44, 4_000_000), (52, 4_000_000), (56, 4_000_000), (72, 250_000)]);
    bytes[0] = 7;
    let info = LinuxInfo::decode(&bytes).normalise(280);
    assert_eq!(info.state, Some(State::Close));
    assert_eq!((info.last_tx_at, info.last_rx_at, info.last_rx_ack_at), (None, None, None));
    assert_eq!(info.rtt_var, None, "the deviation that a socket is born with was not measured");
}

#[test]
fn of_a_listener_only_what_the_kernel_fills_is_told() {
    let mut bytes = buffer(280, [(24, 3), (28, 4096), (80, 10), (88, 3)]);
    bytes[0] = 10;
    let json = serde_json::to_value(LinuxInfo::decode(&bytes)).unwrap();
    assert_eq!((&json["unAcked"], &json["sacked"]), (&3.into(), &4096.into()));
    assert_eq!((&json["rto"], &json["bytesAcked"]), (&Json::Null, &Json::Null));
}

#[test]
fn each_side_shows_the_window_scale_that_it_announced() {
    let mut bytes = vec![0; 104];
    bytes[0] = 1;
    bytes[5] = 0b0000_0111;
    // Ours (rcv_wscale) is 10, the peer's (snd_wscale) 7.
    bytes[6] = if cfg!(target_endian = "big") { 0x7a } else { 0xa7 };
    let linux = LinuxInfo::decode(&bytes);
    assert_eq!((linux.tx_window_scale, linux.rx_window_scale), (Some(7), Some(10)));
    let info = linux.normalise(104);
    assert!(info.tx_options.unwrap().contains(&TcpOption::WindowScale(10)));
    assert!(info.rx_options.unwrap().contains(&TcpOption::WindowScale(7)));
}

#[test]
fn an_older_freebsds_padding_is_not_read_as_zeros() {
    let old = FreeBsdInfo::decode(&buffer(236, [(120, 4)]));
    assert_eq!((old.tx_retransmit_packets, old.dup_acks, old.total_tlp), (Some(4), None, None));
    assert!(serde_json::to_value(&old).unwrap().get("dupAcks").is_none());
    let new = FreeBsdInfo::decode(&buffer(236, [(176, 77)]));
    assert_eq!((new.tx_un_acked, new.dup_acks), (Some(77), Some(0)));
}

#[test]
fn congestion_data_is_read_by_the_algorithms_name() {
    let info = || LinuxInfo::decode(&[1; 280]);
    let bbr = buffer(20, [(0, 500), (4, 1), (8, 40_000), (12, 739), (16, 512)]);
    let bbr = info().with_congestion(Some("bbr"), &bbr);
    assert_eq!(bbr.cc_bbr_bw, Some((1 << 32) + 500));
    assert_eq!(bbr.cc_bbr_min_rtt, Some(Duration::from_millis(40)));
    assert_eq!((bbr.cc_bbr_pacing_gain, bbr.cc_bbr_c_window_gain), (Some(739), Some(512)));

    let vegas = buffer(16, [(0, 1), (4, 3), (8, 0x7fff_ffff), (12, 900)]);
    let vegas = info().with_congestion(Some("vegas"), &vegas);
    assert_eq!((vegas.cc_vegas_enabled, vegas.cc_vegas_rtt_cnt), (Some(true), Some(3)));
    assert_eq!(vegas.cc_vegas_rtt, None);
    assert_eq!(vegas.cc_vegas_rtt_min, Some(Duration::from_micros(900)));

    let dctcp = buffer(16, [(0, 1 | 1 << 16), (4, 1024), (8, 10), (12, 20)]);
    let dctcp = info().with_congestion(Some("dctcp"), &dctcp);
    assert_eq!((dctcp.cc_dctcp_enabled, dctcp.cc_dctcp_ce_state), (Some(true), Some(1)));
    assert_eq!((dctcp.cc_dctcp_alpha, dctcp.cc_dctcp_ab_tot), (Some(1024), Some(20)));

    let short = info().with_congestion(Some("bbr"), &[0; 19]);
    assert_eq!((short.cc_algorithm.as_deref(), short.cc_bbr_bw), (Some("bbr"), None));
    let cubic = info().with_congestion(Some("cubic"), &[]);
    assert_eq!(cubic.cc_algorithm.as_deref(), Some("cubic"));
}

#[test]
fn warnings_name_what_happened_and_call_packets_packets() {
    let mut bytes = buffer(280, [(100, 41), (224, 5)]);
    bytes[0] = 1;
    let warnings = LinuxInfo::decode(&bytes).normalise(280).warnings();
    assert_eq!(warnings, ["retransmits=41", "retransTotal=41", "outOfOrderPackets=5"]);
    assert!(LinuxInfo::decode(&[0; 280]).normalise(280).warnings().is_empty());
}

/// The table of systems in the module's documentation: its cells by key and system.
fn table_of_systems() -> Vec<(&'static str, [&'static str; 4])> {
    let docs = include_str!("mod.rs").lines().map_while(|line| line.strip_prefix("//!"));
    let rows = docs.filter_map(|line| line.trim().strip_prefix("| `"));
    rows.map(|row| {
        let mut cells = row.trim_end_matches('|').split('|').map(str::trim);
        let key = cells.next().unwrap().trim_end_matches('`');
        (key, cells.collect::<Vec<_>>().try_into().unwrap())
    })
    .collect()
}

/// A full structure in which every field has a value that means something.
fn full(platform: &Platform) -> Vec<u8> {
    let end = platform.fields.iter().map(|field| field.end).max().unwrap();
    let mut bytes = vec![7; end];
    match platform.name {
        "windows" => bytes[1..4].fill(0),
        // Both sides' window scales, a nibble each.
        "linux" | "freebsd" => bytes[6] = 0x77,
        _ => {}
    }
    bytes
}

#[test]
fn the_table_of_systems_tells_what_each_decoder_fills_and_from_which_field() {
    let table = table_of_systems();
    for (at, platform) in platforms().iter().enumerate() {
        let bytes = full(platform);
        let normalised = |bytes: &[u8]| {
            let mut map = (platform.decode)(bytes).normalise(bytes.len()).to_map();
            map.remove("sysInfo");
            map.remove("sysInfoLength");
            map
        };
        let map = normalised(&bytes);
        let keys: BTreeSet<&str> = map.keys().map(String::as_str).collect();
        assert_eq!(table.iter().map(|(key, _)| *key).collect::<BTreeSet<_>>(), keys);
        for (key, cells) in &table {
            let place = format!("{key} on {}", platform.name);
            let cell = cells[at];
            assert_eq!(cell != "–", !map[*key].is_null(), "{place}");
            // Whatever of it changes when a field does comes from that field.
            let mut offsets = BTreeSet::new();
            for field in platform.fields {
                let mut changed = bytes.clone();
                // The state stays a connection's: of others macOS tells nothing else.
                changed[field.offset] = if field.offset == 0 { 2 } else { 0 };
                if normalised(&changed)[*key] != map[*key] {
                    offsets.insert(field.offset);
                    let raw: [u8; 4] = bytes[field.offset..][..4].try_into().unwrap();
                    let unit = match map[*key]
                        .as_u64()
                        .map(|ns| ns / u64::from(u32::from_ne_bytes(raw)))
                    {
                        Some(1_000) => Some(", µs"),
                        Some(1_000_000) => Some(", ms"),
                        _ => None,
                    };
                    assert!(unit.is_none_or(|unit| cell.ends_with(unit)), "{place}: {unit:?}");
                }
            }
            let named = cell.split('`').skip(1).step_by(2);
            let named: BTreeSet<usize> = named
                .map(|name| {
                    let field = platform.fields.iter().find(|field| field.kernel == name);
                    field.unwrap_or_else(|| panic!("{place}: {name}")).offset
                })
                .collect();
            assert_eq!(named, offsets, "{place}: {cell}");
        }
    }
}

/// Emulators answer with nothing, or with less than a kernel does.
#[test]
fn a_connection_is_told_as_far_as_the_system_tells_and_nothing_is_made_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    match TcpInfo::of(&stream) {
        Ok(info) => {
            assert_eq!(info.state, Some(State::Established));
            assert!(info.rtt.is_none_or(|rtt| !rtt.is_zero()), "{info:?}");
        }
        Err(error) => assert!(matches!(error, Error::Unsupported), "{error}"),
    }
}

#[cfg(target_os = "linux")]
mod live {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_no_tcp_socket_gives_a_clear_error() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (unix, _other) = UnixStream::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(TcpInfo::of(&udp), Err(Error::NotTcp)));
        assert!(matches!(TcpInfo::of(&unix), Err(Error::NotTcp)));
        assert!(matches!(TcpInfo::of(&file), Err(Error::NotASocket)));
        let text = TcpInfo::of(&udp).unwrap_err().to_string();
        assert_eq!(text, "cannot get TCP information: the socket is not a TCP socket");
    }

    #[test]
    fn a_closed_descriptor_gives_a_clear_error() {
        // A safe program has none to ask about.
        let error = std::io::Error::from_raw_os_error(libc::EBADF);
        assert!(matches!(Error::from_os(error), Error::Closed));
    }

    #[test]
    fn a_listener_and_an_unconnected_socket_are_told_as_what_they_are() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let info = TcpInfo::of(&listener).unwrap();
        assert_eq!((info.state, info.rtt, info.retransmits), (Some(State::Listen), None, None));
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let info = TcpInfo::of(&socket).unwrap();
        assert_eq!((info.state, info.rtt, info.last_tx_at), (Some(State::Close), None, None));
    }

    #[test]
    fn a_structure_that_nobody_filled_is_an_error_not_zeros() {
        // What an emulator answers.
        assert!(matches!(super::super::snapshot::filled(&[0; 280]), Err(Error::Unsupported)));
        assert!(matches!(super::super::snapshot::filled(&[]), Err(Error::Unsupported)));
        let mut bytes = [0; 280];
        bytes[0] = 1;
        assert_eq!(*super::super::snapshot::filled(&bytes).unwrap(), bytes);
    }
}

/// The systems' own declarations, by the compiler for each system: a field at another place does not
/// compile.
#[cfg(any(target_vendor = "apple", target_os = "freebsd", windows))]
mod places {
    use super::*;

    const fn place(fields: &[Field], name: &str) -> usize {
        let mut index = 0;
        while index < fields.len() {
            if is_same(fields[index].kernel.as_bytes(), name.as_bytes()) {
                return fields[index].offset;
            }
            index += 1;
        }
        panic!("no field has this name")
    }

    const fn is_same(one: &[u8], other: &[u8]) -> bool {
        let mut index = 0;
        while index < one.len() && index < other.len() && one[index] == other[index] {
            index += 1;
        }
        index == one.len() && index == other.len()
    }

    macro_rules! same_places {
        ($Info:ty, $System:ty, $($field:ident)+) => {$(
            const _: () = assert!(
                place(<$Info>::FIELDS, stringify!($field)) == std::mem::offset_of!($System, $field),
                concat!(stringify!($field), " is at another place"),
            );
        )+};
    }

    // The rest is declared there without its bit-fields.
    #[cfg(target_vendor = "apple")]
    same_places! {
        MacosInfo, libc::tcp_connection_info,
        tcpi_state tcpi_snd_wscale tcpi_rcv_wscale tcpi_options tcpi_flags tcpi_rto tcpi_maxseg
        tcpi_snd_ssthresh tcpi_snd_cwnd tcpi_snd_wnd tcpi_snd_sbbytes tcpi_rcv_wnd tcpi_rttcur
        tcpi_srtt tcpi_rttvar
    }

    #[cfg(target_os = "freebsd")]
    same_places! {
        FreeBsdInfo, libc::tcp_info,
        tcpi_state tcpi_options tcpi_rto tcpi_snd_mss tcpi_rcv_mss tcpi_last_data_recv tcpi_rtt
        tcpi_rttvar tcpi_snd_ssthresh tcpi_snd_cwnd tcpi_rcv_space tcpi_snd_wnd tcpi_snd_nxt
        tcpi_rcv_nxt tcpi_toe_tid tcpi_snd_rexmitpack tcpi_rcv_ooopack tcpi_snd_zerowin
    }

    #[cfg(windows)]
    use windows_sys::Win32::Networking::WinSock::{TCP_INFO_v0, TCP_INFO_v1};

    #[cfg(windows)]
    const _: () = assert!(size_of::<TCP_INFO_v0>() == 88);

    #[cfg(windows)]
    same_places! {
        WindowsInfo, TCP_INFO_v1,
        State Mss ConnectionTimeMs TimestampsEnabled RttUs MinRttUs BytesInFlight Cwnd SndWnd RcvWnd
        RcvBuf BytesOut BytesIn BytesReordered BytesRetrans FastRetrans DupAcksIn TimeoutEpisodes
        SynRetrans SndLimTransRwin SndLimTimeRwin SndLimBytesRwin SndLimTransCwnd SndLimTimeCwnd
        SndLimBytesCwnd SndLimTransSnd SndLimTimeSnd SndLimBytesSnd
    }
}
